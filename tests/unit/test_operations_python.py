"""A rollout in somebody's Python session: what it takes, and how it shows itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import FlipTimeout, InvalidValue, NotFound
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.store.presence import Presence
from bento_rollout.store.sqlite import SQLiteStore


@pytest.mark.parametrize("timeout", ["100ms", "0.1s", 0.1])
def test_a_timeout_is_seconds_or_text(
    timeout: float | str, screening: Rollout, join: Callable[..., Presence]
) -> None:
    """`flip` takes the durations that the command line and the spec take."""
    join(before_flip=1)
    began = time.monotonic()
    with pytest.raises(FlipTimeout):
        screening.flip("boosted", timeout=timeout)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("timeout", ["5", "soon", 0, -1, float("nan"), None, True])
def test_what_is_no_time_is_refused(timeout: object, screening: Rollout) -> None:
    """Anything else is an error that says what would be right, and nothing changes."""
    with pytest.raises(InvalidValue, match="duration"):
        screening.flip("boosted", timeout=timeout)  # type: ignore[arg-type]  # on purpose
    assert screening.state.revision == 1


def test_a_rollout_that_is_not_there(store: SQLiteStore) -> None:
    """It is opened, since its service may start later; its use names the store and what that knows."""
    absent = open_rollout("nope")
    with pytest.raises(NotFound) as error:
        absent.set_weights({"boosted": 5})
    for text in (str(store.path), "'nope'", "it has: screening", "BENTO_ROLLOUT_STORE"):
        assert text in str(error.value)


def test_an_empty_store(tmp_path: Path) -> None:
    """A store without any rollout says so."""
    SQLiteStore(tmp_path / "empty.db", create=True).read("any")
    with pytest.raises(NotFound, match="it has: none yet"):
        _ = open_rollout("nope", store=f"sqlite:///{tmp_path}/empty.db").state


def test_how_they_show_themselves(screening: Rollout, store: SQLiteStore) -> None:
    """A rollout and a change are one short line that says what one wants to know."""
    assert repr(screening) == f"<Rollout 'screening' in sqlite:///{store.path}, for ann>"
    screening.target("forest", keys=[f"user-{n}" for n in range(1000)])
    change = screening.set_weights({"boosted": 12.5, "forest": 0})
    assert repr(change).startswith(
        "<Change of 'screening': changed=True, revision 3, champion logistic, boosted 12.5 %"
    )
    assert len(repr(change)) < 250
    assert "nothing to roll back" in repr((screening.rollback(), screening.rollback())[1])
