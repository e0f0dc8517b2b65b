"""The watch for drift of a rollout of many hosts: the same as on one host, over one database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_rollout.errors import StoreUnreachable
from bento_rollout.store.location import locate
from bento_rollout.store.postgres.engine import engine_at
from tests.drift_host import Host, host_at
from tests.drift_rows import draw, write
from tests.places import cut_off, end_holders
from tests.postgres import Database
from tests.states import wait_until
from tests.unit import test_drift_monitor as on_one_host


@pytest.fixture
def host(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with one rollout."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", database.url)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    yield host_at(locate())
    engine_at(database.url).close()


def test_a_shift_is_found_acted_on_and_told_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """It pauses the rollout, once."""
    on_one_host.test_a_shift_is_found_acted_on_and_told_once(host, caplog)


def test_a_new_owner_goes_on_where_the_last_one_was_killed(host: Host) -> None:
    """With the same evidence as from one who read it all."""
    on_one_host.test_a_new_owner_goes_on_where_the_last_one_was_killed(host)


def test_an_owner_killed_between_act_and_note_acts_once(host: Host) -> None:
    """Whoever owns the watch next finds what was done."""
    on_one_host.test_an_owner_killed_between_act_and_note_acts_once(host, True)


def test_a_verb_wins_over_rows_that_wait_to_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else wrote meanwhile is never lost."""
    on_one_host.test_a_verb_wins_over_rows_that_wait_to_be_written(host, monkeypatch)


def test_calls_that_were_refused_are_counted_once(host: Host) -> None:
    """Whoever owns the watch."""
    on_one_host.test_calls_that_were_refused_are_counted_once(host)


def test_another_reference_begins_another_epoch_and_ends_the_alarm(host: Host) -> None:
    """As on one host."""
    on_one_host.test_another_reference_begins_another_epoch_and_ends_the_alarm(host)


def test_an_owner_that_loses_its_session_or_the_database(host: Host, database: Database) -> None:
    """Another one goes on from what was written down, and each row counts once."""
    first, second = host.worker(), host.worker()
    first.look(host.now)
    write(host.place, draw(300, 1), host.of)
    host.settle(first)
    end_holders(database)
    second.look(host.now)
    assert second.owns
    first.look(host.now)
    assert not first.owns
    with cut_off(database):
        second.look(host.now)
        assert not second.owns
        with pytest.raises(StoreUnreachable):
            first.look(host.now)

    def back() -> bool:
        try:
            first.look(host.now)
        except StoreUnreachable:
            return False
        return first.owns

    wait_until(back)
    write(host.place, draw(300, 2), host.of, start=300)
    host.settle(first)
    data = host.file.levels()[0]
    assert data.rows == 600
    assert data.log_evidence == pytest.approx(on_one_host.reference_evidence(host, 300, 300), abs=1e-9)
