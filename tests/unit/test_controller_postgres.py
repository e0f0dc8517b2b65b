"""Who leads a rollout of many hosts: as on one host, and whatever becomes of sessions and of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bento_rollout.errors import StoreUnreachable
from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.leadership import leadership_at
from bento_rollout.store.location import locate
from bento_rollout.store.opened import open_at, presence_at
from bento_rollout.store.postgres.engine import engine_at
from bento_rollout.store.postgres.store import PostgresStore
from bento_rollout.store.presence import Card, VariantCard, Workers
from tests.places import cut_off, end_holders
from tests.postgres import Database
from tests.states import wait_until
from tests.unit import test_controller as on_one_host
from tests.unit.conftest import DIGESTS
from tests.unit.crew import LONG, Crew
from tests.unit.test_controller import begun

__all__ = ["begun"]

Begun = Callable[..., Crew]


@pytest.fixture
def store(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """The store that the environment names; it knows ``screening``: champion logistic, revision 1."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", database.url)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    store = open_at(locate())
    assert isinstance(store, PostgresStore)
    store.commit(first_commit("screening", "logistic", RolloutSpec.parse({}), DIGESTS), after=0)
    yield store
    engine_at(database.url).close()


@pytest.fixture
def join(store: PostgresStore) -> Iterator[Callable[..., Workers]]:
    """Let a worker live; arguments replace fields of its card."""
    living: list[Workers] = []

    def join(**fields: object) -> Workers:
        presence = presence_at(store.place("screening"))
        variants = {name: VariantCard("ready", "worker", digest) for name, digest in DIGESTS.items()}
        card = Card(presence.token, 4000 + len(living), len(living) + 1, "Screening", 1, variants)
        presence.join()
        presence.write(replace(card, **fields))  # type: ignore[arg-type]  # the test knows the fields
        living.append(presence)
        return presence

    yield join
    for presence in living:
        presence.leave()


def test_one_leads_and_the_next_takes_over(begun: Begun, capfd: pytest.CaptureFixture[str]) -> None:
    """As on one host."""
    on_one_host.test_one_leads_and_the_next_takes_over(begun, capfd)


def test_no_decision_is_taken_twice_and_none_is_lost(begun: Begun) -> None:
    """Anybody may die before and after the notes are saved, and before and after a decision is committed."""
    on_one_host.test_no_decision_is_taken_twice_and_none_is_lost(begun, 3)


def test_a_person_who_is_faster(begun: Begun) -> None:
    """What somebody commits between decision and commit is looked at first."""
    on_one_host.test_a_person_who_is_faster(begun)


def test_a_leader_that_loses_its_session(begun: Begun, database: Database) -> None:
    """Another one leads at its next look; the old one sees it, and nothing is counted twice."""
    crew = begun(LONG)
    first, second = crew.worker(), crew.worker()
    crew.second(first, second)
    end_holders(database)
    crew.second(second, first)
    assert (first.leads, second.leads) == (False, True)
    crew.second(first, second)
    second.resign(crew.now)
    assert crew.heard == crew.sent


def test_two_who_think_they_lead(begun: Begun, database: Database) -> None:
    """One was cut off in the midst of its look: what it saves is refused, and what it read counts once."""
    crew = begun(LONG)
    first, second = crew.worker(), crew.worker()
    crew.second(first)
    hold, late = first._leadership.hold, iter((True,))

    def cut() -> bool:
        held = hold()
        if next(late, False):
            end_holders(database)
            crew.second(second)
        return held

    first._leadership.hold = cut  # type: ignore[method-assign]  # it loses the lead right after it has asked
    for _ in range(12):
        crew.second(first)
        crew.second(second)
    assert not (first.leads and second.leads)
    for worker in (first, second):
        worker.resign(crew.now)
    crew.second(second)
    second.resign(crew.now)
    assert crew.heard == crew.sent


def test_a_database_that_is_away_for_a_while(begun: Begun, database: Database) -> None:
    """Nothing is decided while it is, and nothing is lost."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    crew.flush()
    with cut_off(database):
        crew.now += 1
        assert worker.look(crew.now) is None  # it has lost the lead
        with pytest.raises(StoreUnreachable):
            worker.look(crew.now)
    place = crew.store.place("screening")

    def back() -> bool:
        try:
            return leadership_at(place).hold()
        except StoreUnreachable:
            return False

    wait_until(back)
    wait_until(lambda: crew.second(worker) is not None and worker.leads)
    worker.resign(crew.now)
    assert crew.heard == crew.sent
