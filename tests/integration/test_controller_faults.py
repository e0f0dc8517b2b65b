"""A leader on a file system that is full, or read-only: nothing is decided, nothing is lost, all goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bento_rollout.controller import Controller
from bento_rollout.errors import RolloutError
from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.presence import Card, Presence
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import fill, mounted
from tests.unit.crew import QUICK, Crew
from tests.unit.trying import parsed
from tests.unit.workers import READY

pytestmark = pytest.mark.fault


@dataclass
class Small:
    """A crew whose store lies on a small file system."""

    crew: Crew
    card: Card
    folder: Path
    again: Callable[[str], None]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    """A try of ``boosted`` that has begun on a file system of 4 MiB."""
    folder = tmp_path / "small"
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{folder / 'rollouts.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    with mounted(folder, "4m") as again:
        store = SQLiteStore(folder / "rollouts.db", create=True, patience=0.1)
        digests = {name: card.digest for name, card in READY.items()}
        store.commit(first_commit("screening", "logistic", RolloutSpec.parse({}), digests), after=0)
        host = Presence(store.place("screening"))
        host.join()
        card = Card(host.token, 4000, 1, "Screening", 1, READY, spec={"strategy": parsed(QUICK).plain})
        host.write(card)
        crew = Crew(store, host)
        crew.person.start()
        yield Small(crew, card, folder, again)
        again("rw")
        host.leave()


def away(small: Small, begin: Callable[[Controller], object], end: Callable[[], object]) -> None:
    """Let nothing be written from the first decision on, for some looks; then the try goes on to its end."""
    crew = small.crew
    first, second = crew.worker(), crew.worker()
    crew.until(lambda: crew.decisions == ["advance"], first)
    crew.flush()
    begin(first)
    for _ in range(4):
        crew.now += 1
        for worker in (first, second):
            with pytest.raises((RolloutError, OSError)):
                worker.look(crew.now)
    assert crew.decisions == ["advance"]
    assert crew.person.state.percents == {"boosted": 50}
    end()
    crew.until(lambda: crew.stage == "done", second)
    assert crew.decisions == ["advance", "promote", "end_bake"]
    assert crew.log.read(0) == []


def test_a_full_disk(small: Small) -> None:
    """What is known cannot be written down, so nothing is done about it."""
    ballast = small.folder / "ballast"
    away(small, lambda _: fill(small.folder), ballast.unlink)


def test_a_read_only_disk(small: Small) -> None:
    """Nobody can take the lead there; a mount cannot become so while somebody holds it."""
    host = small.crew.host

    def begin(leader: Controller) -> None:
        leader.resign(small.crew.now)
        host.leave()
        small.again("ro")

    def end() -> None:
        small.again("rw")
        host.join()
        host.write(small.card)

    away(small, begin, end)
