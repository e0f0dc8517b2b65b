"""A flip in preparation: one at a time, gone with its proposer, and what follows it is run once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import Refused, StoreUnreachable
from bento_rollout.store.ballot import KEEP, After, Ballot, Proposal, Vote
from tests.states import finish, fork, mounted, started, wait_until

FLIP = ("logistic", "boosted", 7, "zoë@host", "it is better")


def test_a_proposal_is_seen_and_gone(tmp_path: Path) -> None:
    """While a flip is being prepared every worker sees who wants what; afterwards nobody does."""
    ballot = Ballot(tmp_path)
    assert ballot.pending() is None
    with ballot.propose(*FLIP) as proposal:
        assert Ballot(tmp_path).pending() == proposal
        assert (proposal.source, proposal.target, proposal.after) == FLIP[:3]
        assert (proposal.author, proposal.reason) == FLIP[3:]
    assert ballot.pending() is None
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["flip.lock", "votes"]


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who proposes while another flip is being prepared is told whose; the other goes on."""
    with Ballot(tmp_path).propose(*FLIP) as proposal:
        refused = pytest.raises(Refused, match="another flip is being prepared: to 'boosted' by zoë@host")
        with refused, Ballot(tmp_path).propose("logistic", "other", 7, "me", ""):
            pass
        assert Ballot(tmp_path).pending() == proposal
    with Ballot(tmp_path).propose("logistic", "other", 7, "me", "") as mine:
        assert Ballot(tmp_path).pending() == mine


def test_votes(tmp_path: Path) -> None:
    """Each worker's vote is seen by the proposer, under its token; the last one of a worker counts."""
    with Ballot(tmp_path).propose(*FLIP) as proposal:
        for number in range(3):
            Ballot(tmp_path).vote(proposal, Vote(f"t{number}", number, None, 0.5))
        Ballot(tmp_path).vote(proposal, Vote("t1", 1, "too slow", 0.5))
        (tmp_path / "votes" / proposal.id / "junk.json").write_text("[1]")
        votes = Ballot(tmp_path).votes(proposal)
        assert {token: vote.veto for token, vote in votes.items()} == {
            "t0": None,
            "t1": "too slow",
            "t2": None,
        }


def test_a_vote_that_is_too_late(tmp_path: Path) -> None:
    """A vote for a flip that is over is lost, and leaves nothing behind."""
    with Ballot(tmp_path).propose(*FLIP) as proposal:
        pass
    Ballot(tmp_path).vote(proposal, Vote("t", 1, None, 0))
    assert Ballot(tmp_path).votes(proposal) == {}
    assert list((tmp_path / "votes").iterdir()) == []


def test_the_block_may_raise(tmp_path: Path) -> None:
    """What is raised while a flip is prepared arrives as it was, and the flip is gone."""
    with pytest.raises(ConnectionError, match="mine"), Ballot(tmp_path).propose(*FLIP):
        raise ConnectionError("mine")
    assert Ballot(tmp_path).pending() is None


def _propose(folder: Path, ready: Any) -> None:
    with Ballot(folder).propose(*FLIP):
        ready.set()
        time.sleep(120)


def test_a_killed_proposer(tmp_path: Path) -> None:
    """When the proposer is killed nothing is pending, and the next one is not held up or mistaken for it."""
    ready = fork.Event()
    process = started(_propose, tmp_path, ready)
    assert ready.wait(30)
    dead = Ballot(tmp_path).pending()
    assert dead is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Ballot(tmp_path).pending() is None
    Ballot(tmp_path).vote(dead, Vote("late", 1, None, 0))
    fd = Ballot(tmp_path)._claim()  # the next proposer, before it has said what it wants
    assert Ballot(tmp_path).pending() is None
    os.close(fd)
    with Ballot(tmp_path).propose("logistic", "other", 7, "me", "") as mine:
        assert Ballot(tmp_path).pending() == mine
        assert Ballot(tmp_path).votes(mine) == {}
    assert list((tmp_path / "votes").iterdir()) == []


def test_a_stopped_proposer(tmp_path: Path) -> None:
    """A proposer that is stopped still holds the right; the next one is refused soon, with a reason."""
    ready = fork.Event()
    process = started(_propose, tmp_path, ready)
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Refused, match="to 'boosted' by"), Ballot(tmp_path).propose(*FLIP):
        pass
    assert time.monotonic() - began < 5
    process.kill()
    process.join()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"id": "../..", "source": "a"}', b"\xff"])
def test_a_damaged_proposal(tmp_path: Path, content: bytes) -> None:
    """A proposal that cannot be read is none."""
    with Ballot(tmp_path).propose(*FLIP):
        (tmp_path / "flip.json").write_bytes(content)
        assert Ballot(tmp_path).pending() is None


def test_a_proposal_is_no_path(tmp_path: Path) -> None:
    """A proposal's id leads nowhere else."""
    assert tmp_path.exists()
    with pytest.raises(ValueError, match="no proposal"):
        Ballot(tmp_path).votes(Proposal("../..", *FLIP))


def test_nothing_can_be_written(tmp_path: Path) -> None:
    """Where nothing can be written a flip is refused before any worker is asked, with exit 4."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnreachable, match="nothing changed"), Ballot(tmp_path / "file").propose(*FLIP):
        pass
    with mounted(tmp_path / "small") as again:
        again("ro")
        with pytest.raises(StoreUnreachable), Ballot(tmp_path / "small" / "x").propose(*FLIP):
            pass
        with pytest.raises(StoreUnreachable, match="after_flip hooks do not run"):
            Ballot(tmp_path / "small").claim_after(3, "t")


def test_one_runs_what_follows(tmp_path: Path) -> None:
    """Of many workers that see a flip exactly one runs its hooks, for each flip anew."""
    claims, go = fork.SimpleQueue(), fork.Event()

    def claim() -> None:
        go.wait(30)
        for revision in range(2, 42):
            if Ballot(tmp_path).claim_after(revision, str(os.getpid())):
                claims.put(revision)

    processes = [started(claim) for _ in range(6)]
    go.set()
    for process in processes:
        finish(process)
    found = []
    while not claims.empty():
        found.append(claims.get())
    assert sorted(found) == list(range(2, 42))


def test_it_is_known_how_it_went(tmp_path: Path) -> None:
    """Everybody can read how the hooks of a flip went, and who ran them."""
    ballot = Ballot(tmp_path)
    assert ballot.afters() == {}
    assert ballot.claim_after(3, "t")
    assert Ballot(tmp_path).afters()[3] == After(3, "t", os.getpid(), "running")
    ballot.report_after(After(3, "t", os.getpid(), "failed", "ValueError: x"))
    (tmp_path / "after" / "junk.json").write_text("[]")
    assert {revision: after.error for revision, after in ballot.afters().items()} == {3: "ValueError: x"}


def test_old_claims_are_forgotten_and_not_given_again(tmp_path: Path) -> None:
    """Only the newest flips are kept; who comes late does not run the hooks of a forgotten one."""
    ballot = Ballot(tmp_path)
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / "junk.claim").touch()
    for revision in range(1, KEEP + 20):
        assert ballot.claim_after(revision, "t")
    assert len(ballot.afters()) == KEEP
    assert not ballot.claim_after(1, "late")
    assert not ballot.claim_after(KEEP, "late")
    assert ballot.claim_after(KEEP + 20, "t")


def test_proposers_race(tmp_path: Path) -> None:
    """Of many proposers at once each gets its turn or a refusal, and no two are shown at the same time."""

    def propose() -> None:
        for _ in range(15):
            try:
                with Ballot(tmp_path).propose("a", str(os.getpid()), 1, "me", "") as mine:
                    assert Ballot(tmp_path).pending() == mine
            except Refused:
                continue

    processes = [started(propose) for _ in range(5)]
    wait_until(lambda: Ballot(tmp_path).pending() is not None or not any(p.is_alive() for p in processes))
    for process in processes:
        finish(process)
    assert Ballot(tmp_path).pending() is None
