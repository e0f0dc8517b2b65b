"""Each change of the champion is told once on a host, however many workers see it, and whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.flips import Flips
from bento_rollout.records import FlipEnd, Flipped
from bento_rollout.state import Commit
from bento_rollout.store import ballot as ballots
from bento_rollout.store.ballot import Ballot
from tests.states import NAME, following, seed

Workers = Callable[[int], list[Flips]]


@pytest.fixture
def told() -> list[Flipped]:
    """What the workers told."""
    return []


@pytest.fixture
def workers(tmp_path: Path, told: list[Flipped]) -> Workers:
    """Return as many workers as are wanted, each with its own view of the same folder."""

    def some(count: int) -> list[Flips]:
        made = [Flips(Ballot(tmp_path), NAME) for _ in range(count)]
        for one in made:
            one.tell = told.append
        return made

    return some


def flipped(revision: int = 2, time: float = 1.5) -> Commit:
    """Return a commit that made boosted the champion."""
    commit = following(seed())
    state = commit.state.model_copy(update={"champion": "boosted", "revision": revision})
    return commit.model_copy(update={"state": state, "time": time})


def test_a_commit_that_all_see(workers: Workers, told: list[Flipped]) -> None:
    """One of them tells; one that begins later, too, tells nothing."""
    for one in (*workers(3), *workers(1)):
        one.committed(flipped(), "logistic")
    assert told == [Flipped(NAME, "logistic", "boosted", FlipEnd.COMMITTED)]


def test_revisions_of_a_new_store(workers: Workers, told: list[Flipped]) -> None:
    """A store that was made anew counts again from 1: its flips are others."""
    (one,) = workers(1)
    one.committed(flipped(time=1.5), "logistic")
    one.committed(flipped(time=99.5), "logistic")
    assert len(told) == 2


def test_a_veto_of_several(workers: Workers, told: list[Flipped], tmp_path: Path) -> None:
    """However many say no: it is one flip, and it was not abandoned."""
    some = workers(3)
    with Ballot(tmp_path).propose("logistic", "boosted", 1, "ann", "") as proposal:
        for one in some:
            one.proposed(proposal)
        some[0].vetoed(proposal)
        some[1].vetoed(proposal)
    for one in some:
        one.settle()
    assert told == [Flipped(NAME, "logistic", "boosted", FlipEnd.VETOED)]


def test_a_flip_that_comes_to_nothing(workers: Workers, told: list[Flipped], tmp_path: Path) -> None:
    """Nobody said no, and nothing was committed: it was abandoned, which is seen when it is over."""
    some = workers(2)
    with Ballot(tmp_path).propose("logistic", "boosted", 1, "ann", "") as proposal:
        for one in some:
            one.proposed(proposal)
            one.settle()
        assert told == []
    for one in some:
        one.settle()
        one.settle()
    assert told == [Flipped(NAME, "logistic", "boosted", FlipEnd.ABANDONED)]


def test_a_flip_that_was_prepared_and_committed(
    workers: Workers, told: list[Flipped], tmp_path: Path
) -> None:
    """It is told by its commit alone."""
    some = workers(2)
    with Ballot(tmp_path).propose("logistic", "boosted", 1, "ann", "") as proposal:
        for one in some:
            one.proposed(proposal)
    for one in some:
        one.committed(flipped(), "logistic")
        one.settle()
    assert told == [Flipped(NAME, "logistic", "boosted", FlipEnd.COMMITTED)]


def test_nobody_wants_to_know(workers: Workers, tmp_path: Path) -> None:
    """Then no mark is left."""
    (one,) = workers(1)
    one.tell = None
    one.committed(flipped(), "logistic")
    assert not (tmp_path / "told").exists()


def test_no_mark_can_be_left(workers: Workers, told: list[Flipped], tmp_path: Path) -> None:
    """Nothing is told rather than by each worker; nothing is raised."""
    (tmp_path / "told").write_text("in the way")
    for one in workers(2):
        one.committed(flipped(), "logistic")
    assert told == []


def test_marks_do_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go."""
    monkeypatch.setattr(ballots, "KEEP", 5)
    ballot = Ballot(tmp_path)
    assert all(ballot.is_first(f"{number}") for number in range(20))
    assert len(list((tmp_path / "told").iterdir())) <= 6
    assert not ballot.is_first("19")
