"""A flip in preparation: one at a time, gone with its proposer, and what follows it is run once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import Refused, StoreUnreachable
from bento_rollout.store.ballot import KEEP, After, Ballot, Proposal, Vote, ballot_at
from bento_rollout.store.place import Place, Shared
from tests.places import cut_off, end_holders, run
from tests.postgres import Database
from tests.states import finish, fork, mounted, started, wait_until

FLIP = ("logistic", "boosted", 7, "zoë@host", "it is better")


def left_in(place: Place) -> list[str]:
    """What is left of proposals and votes."""
    if isinstance(place, Path):
        return sorted(path.name for path in place.rglob("*") if path.name not in ("flip.lock", "votes"))
    with place.engine.lent() as db:
        shown = db.execute("SELECT id FROM proposals WHERE rollout = ?", (place.name,)).fetchall()
        return [name for (name,) in [*shown, *db.execute("SELECT token FROM votes").fetchall()]]


def test_a_proposal_is_seen_and_gone(place: Place) -> None:
    """While a flip is being prepared every worker sees who wants what; afterwards nobody does."""
    ballot = ballot_at(place)
    assert ballot.pending() is None
    with ballot.propose(*FLIP) as proposal:
        assert ballot_at(place).pending() == proposal
        assert (proposal.source, proposal.target, proposal.after) == FLIP[:3]
        assert (proposal.author, proposal.reason) == FLIP[3:]
    assert ballot.pending() is None
    assert left_in(place) == []


def test_one_at_a_time(place: Place) -> None:
    """Who proposes while another flip is being prepared is told whose; the other goes on."""
    with ballot_at(place).propose(*FLIP) as proposal:
        refused = pytest.raises(Refused, match="another flip is being prepared: to 'boosted' by zoë@host")
        with refused, ballot_at(place).propose("logistic", "other", 7, "me", ""):
            pass
        assert ballot_at(place).pending() == proposal
    with ballot_at(place).propose("logistic", "other", 7, "me", "") as mine:
        assert ballot_at(place).pending() == mine


def test_votes(place: Place) -> None:
    """Each worker's vote is seen by the proposer, under its token; the last one of a worker counts."""
    proposer = ballot_at(place)
    with proposer.propose(*FLIP) as proposal:
        for number in range(3):
            ballot_at(place).vote(proposal, Vote(f"t{number}", number, None, 0.5))
        ballot_at(place).vote(proposal, Vote("t1", 1, "too slow", 0.5))
        if isinstance(place, Path):
            (place / "votes" / proposal.id / "junk.json").write_text("[1]")
        else:
            run(place, "drift", f"INSERT INTO bento_rollout.votes VALUES ('{proposal.id}', 'junk', '[1]')")
        for ballot in (proposer, ballot_at(place)):
            vetoes = {token: vote.veto for token, vote in ballot.votes(proposal).items()}
            assert vetoes == {"t0": None, "t1": "too slow", "t2": None}
    assert left_in(place) == []


def test_a_vote_that_is_too_late(place: Place) -> None:
    """A vote for a flip that is over is lost, and leaves nothing behind."""
    with ballot_at(place).propose(*FLIP) as proposal:
        pass
    ballot_at(place).vote(proposal, Vote("t", 1, None, 0))
    assert ballot_at(place).votes(proposal) == {}
    assert left_in(place) == []


def test_the_block_may_raise(place: Place) -> None:
    """What is raised while a flip is prepared arrives as it was, and the flip is gone."""
    with pytest.raises(ConnectionError, match="mine"), ballot_at(place).propose(*FLIP):
        raise ConnectionError("mine")
    assert ballot_at(place).pending() is None


def _propose(place: Place, ready: Any) -> None:
    with ballot_at(place).propose(*FLIP):
        ready.set()
        time.sleep(120)


def test_a_killed_proposer(place: Place) -> None:
    """When the proposer is killed nothing is pending, and the next one is not held up or mistaken for it."""
    ready = fork.Event()
    process = started(_propose, place, ready)
    assert ready.wait(30)
    ballot = ballot_at(place)
    dead = ballot.pending()
    assert dead is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_until(lambda: ballot.pending() is None, 2.0)  # the server sees the end of the connection first
    ballot.vote(dead, Vote("late", 1, None, 0))
    if isinstance(ballot, Ballot):
        fd = ballot._claim()  # the next proposer, before it has said what it wants
        assert ballot.pending() is None
        os.close(fd)
    with ballot.propose("logistic", "other", 7, "me", "") as mine:
        assert ballot_at(place).pending() == mine
        assert ballot_at(place).votes(mine) == {}
    assert left_in(place) == []


def test_a_stopped_proposer(place: Place) -> None:
    """A proposer that is stopped still holds the right; the next one is refused soon, with a reason."""
    ready = fork.Event()
    process = started(_propose, place, ready)
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Refused, match="to 'boosted' by"), ballot_at(place).propose(*FLIP):
        pass
    assert time.monotonic() - began < 5
    process.kill()
    process.join()


def test_a_proposer_that_loses_its_session(shared: Callable[..., Shared], database: Database) -> None:
    """It is told so instead of going on alone, and the next one proposes; a change is still made by one."""
    place = shared()
    ballot = ballot_at(place)
    with ballot.propose(*FLIP) as proposal:
        assert ballot.votes(proposal) == {}
        end_holders(database)
        with pytest.raises(StoreUnreachable, match="nothing changed"):
            ballot.votes(proposal)
        with ballot_at(place).propose("logistic", "other", 7, "me", "") as mine:
            assert ballot.pending() == mine
    assert left_in(place) == []


def test_without_a_database_a_flip_is_refused(shared: Callable[..., Shared], database: Database) -> None:
    """Nobody is asked, nothing is pending, and whoever would run what follows is told why it does not."""
    place = shared()
    ballot = ballot_at(place)
    with ballot.propose(*FLIP) as proposal:
        pass
    assert ballot.claim_after(3, "t")
    with cut_off(database):
        refused = pytest.raises(StoreUnreachable, match=r"cannot be used: .*; nothing changed")
        with refused as error, ballot.propose(*FLIP):
            pass
        assert "secret-word" not in str(error.value)
        assert ballot.pending() is None
        ballot.vote(proposal, Vote("t", 1, None, 0))
        ballot.report_after(After(3, "t", 1, "done"))
        assert not ballot.is_followed(4)
        assert not ballot.is_first("a")
        with pytest.raises(StoreUnreachable, match="after_flip hooks do not run"):
            ballot.claim_after(4, "t")
        for read in (ballot.afters, lambda: ballot.votes(proposal)):
            with pytest.raises(StoreUnreachable):
                read()
    wait_until(lambda: ballot.is_followed(3))
    with ballot.propose(*FLIP) as proposal:
        assert ballot.pending() == proposal


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


def test_one_runs_what_follows(place: Place) -> None:
    """Of many workers that see a flip exactly one runs its hooks, for each flip anew."""
    claims, go = fork.SimpleQueue(), fork.Event()

    def claim() -> None:
        go.wait(30)
        for revision in range(2, 42):
            if ballot_at(place).claim_after(revision, str(os.getpid())):
                claims.put(revision)

    processes = [started(claim) for _ in range(6)]
    go.set()
    for process in processes:
        finish(process)
    found = []
    while not claims.empty():
        found.append(claims.get())
    assert sorted(found) == list(range(2, 42))


def test_it_is_known_how_it_went(place: Place) -> None:
    """Everybody can read how the hooks of a flip went, and who ran them."""
    ballot = ballot_at(place)
    assert ballot.afters() == {}
    assert ballot.claim_after(3, "t")
    assert ballot_at(place).afters()[3] == After(3, "t", os.getpid(), "running")
    ballot.report_after(After(3, "t", os.getpid(), "failed", "ValueError: x"))
    if isinstance(place, Path):
        (place / "after" / "junk.json").write_text("[]")
    assert ballot.is_followed(3)
    assert not ballot.is_followed(4)
    assert ballot.interrupted() == []
    assert {revision: after.error for revision, after in ballot.afters().items()} == {3: "ValueError: x"}


def test_an_event_is_counted_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever asks first, wherever; of old ones nothing is kept."""
    monkeypatch.setattr("bento_rollout.store.ballot.KEEP", 3)
    monkeypatch.setattr("bento_rollout.store.postgres.ballot.KEEP", 3)
    first, second = ballot_at(place), ballot_at(place)
    assert [first.is_first("a"), second.is_first("a"), first.is_first("a")] == [True, False, False]
    assert all(second.is_first(f"b{number}") for number in range(3))
    assert first.is_first("a")  # forgotten
    assert not first.is_first("b2")


def test_old_claims_are_forgotten_and_not_given_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest flips are kept; who comes late does not run the hooks of a forgotten one."""
    most = 20
    assert most < KEEP
    monkeypatch.setattr("bento_rollout.store.ballot.KEEP", most)
    monkeypatch.setattr("bento_rollout.store.postgres.ballot.KEEP", most)
    ballot = ballot_at(place)
    if isinstance(place, Path):
        (place / "after").mkdir(parents=True)
        (place / "after" / "junk.claim").touch()
    for revision in range(1, most + 5):
        assert ballot.claim_after(revision, "t")
    assert len(ballot.afters()) == most
    assert not ballot.claim_after(1, "late")
    assert not ballot.claim_after(most, "late")
    assert ballot.is_followed(1)
    assert ballot.claim_after(most + 5, "t")


def test_proposers_race(place: Place) -> None:
    """Of many proposers at once each gets its turn or a refusal, and no two are shown at the same time."""

    def propose() -> None:
        for _ in range(15):
            try:
                with ballot_at(place).propose("a", str(os.getpid()), 1, "me", "") as mine:
                    assert ballot_at(place).pending() == mine
            except Refused:
                continue

    processes = [started(propose) for _ in range(5)]
    wait_until(lambda: ballot_at(place).pending() is not None or not any(p.is_alive() for p in processes))
    for process in processes:
        finish(process)
    assert ballot_at(place).pending() is None
