"""What of a ledger can be replayed: a champion's own calls, in the order of their time, in arrays."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.errors import InvalidValue, StoreCorrupt
from bento_rollout.label_evidence import unit_of
from bento_rollout.records import Outcome, Plan, Prediction, Reason
from bento_rollout.store import ledger_replay
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_replay import MOST, replayable
from bento_rollout.store.place import Place, folder_of
from tests.ledgers import NOW, by_rows, prediction, written

DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def call(
    at: float, key: str | None = "u1", reason: Reason = Reason.SPLIT, variant: str = "one", **more: Any
) -> Prediction:
    """Return a call at a time from now."""
    return prediction(key, at=NOW + at, plans=(Plan(variant, 3, reason),), **more)


def wrong(label: Any, output: Any) -> float:
    """Say how far an answer is from its label."""
    return abs(float(label) - float(output["score"]))


def test_in_the_order_of_time(place: Place) -> None:
    """All that a replay needs, oldest first, whatever came in which order; nobody may write to it."""
    written(
        place,
        call(3.0, "u2", outcome=Outcome.ERROR, seconds=0.5),
        call(1.0, None, Reason.NO_KEY, inference_ids=("tx",)),
        call(2.0, None, Reason.DEFAULT, outcome=Outcome.CLIENT_ERROR),
    )
    found = replayable(place, "one")
    assert (len(found), found.times.tolist()) == (3, [NOW + 1, NOW + 2, NOW + 3])
    assert found.failed.tolist() == [False, False, True]
    assert found.seconds.tolist() == [0.01, 0.01, 0.5]
    assert found.keyed.tolist() == [False, False, True]
    key_hash = Ledger(place).key_hash("u2")
    assert [found.units[0], found.units[2]] == [unit_of(None, "tx", ""), unit_of(key_hash, None, "")]
    assert len(set(found.units.tolist())) == 3
    assert (found.endpoints, found.endpoint.tolist()) == (("predict",), [0, 0, 0])
    assert np.isnan(found.bad).all()
    assert {
        name: getattr(found, name).dtype.name for name in ("times", "units", "endpoint", "failed", "bad")
    } == {
        "times": "float64",
        "units": "uint64",
        "endpoint": "int32",
        "failed": "bool",
        "bad": "float64",
    }
    with pytest.raises(ValueError, match="read-only"):
        found.times[0] = 0.0


def test_only_its_own_calls(place: Place) -> None:
    """What somebody chose, what it answered for another, and what another answered is left out."""
    reasons = (Reason.PINNED, Reason.TARGETED, Reason.FALLBACK, Reason.UNAVAILABLE)
    own = call(0)
    written(place, call(1, variant="two"), *(call(2, reason=reason) for reason in reasons), own)
    assert replayable(place, "one").times.tolist() == [NOW]
    assert len(replayable(place, "three")) == 0


def test_endpoints(place: Place) -> None:
    """They are counted in the order of the alphabet."""
    names = ("score", "explain", "score")
    written(place, *(call(at)._replace(endpoint=name) for at, name in enumerate(names)))
    found = replayable(place, "one")
    assert (found.endpoints, found.endpoint.tolist()) == (("explain", "score"), [1, 0, 1])


def test_each_row_is_a_call(place: Place) -> None:
    """The one that the champion answered for another variant is none."""
    written(place, by_rows())
    assert len(replayable(place, "one")) == 2


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_the_last_ones(place: Place, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """However the file is read, those that arrived last are there, each once."""
    monkeypatch.setattr(ledger_replay, "_CHUNK", chunk)
    written(place, *(call(at, variant="one" if at % 3 else "two") for at in range(30)))
    times = [NOW + at for at in range(30) if at % 3]
    assert replayable(place, "one").times.tolist() == times
    assert replayable(place, "one", last=5).times.tolist() == times[-5:]
    assert replayable(place, "one", last=20).times.tolist() == times


def test_how_bad_answers_were(place: Place) -> None:
    """By their labels, as far as these came in time; a failed call has no answer."""
    facts = [call(-2 * DAY + at, outcome=Outcome.ERROR if at == 3 else Outcome.OK) for at in range(5)]
    written(place, *facts)

    def told(number: int, label: Any, ago: float) -> None:
        item = {"prediction_id": facts[number].prediction_id, "label": label, "name": "score"}
        assert Ledger(place, clock=lambda: NOW - ago).label([item]).accepted == 1

    told(0, 0.75, DAY + 60)
    told(1, "no number", DAY + 60)
    told(2, 0.75, 0)
    told(3, 0.75, DAY + 60)
    found = replayable(place, "one", label="score", bad_of=wrong, matures=DAY).bad.tolist()
    assert [None if math.isnan(one) else one for one in found] == [0.25, None, None, None, None]
    whole = replayable(place, "one", label="score", bad_of=wrong).bad.tolist()
    assert [None if math.isnan(one) else one for one in whole] == [0.25, None, 0.25, None, None]


def test_nothing_to_replay(place: Place) -> None:
    """Where nothing was kept there are no calls, and no file is made."""
    empty = replayable(place, "one")
    assert (len(empty), empty.endpoints, empty.endpoint.tolist()) == (0, (), [])
    assert not folder_of(place).exists()


@pytest.mark.parametrize("last", [0, -1, MOST + 1])
def test_too_many_or_too_few(place: Place, last: int) -> None:
    """That is refused, with what can be had."""
    with pytest.raises(InvalidValue, match=f"last is {last}: 1 to 1000000"):
        replayable(place, "one", last=last)


def test_a_name_without_a_function(place: Place) -> None:
    """Both are needed."""
    with pytest.raises(InvalidValue, match="both"):
        replayable(place, "one", label="score")
    with pytest.raises(InvalidValue, match="both"):
        replayable(place, "one", bad_of=wrong)


def test_a_damaged_ledger(folder: Path) -> None:
    """That is said in our words."""
    written(folder, call(0))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("PRAGMA application_id = 7")
    with pytest.raises(StoreCorrupt, match="is not a ledger"):
        replayable(folder, "one")


def test_a_value_that_cannot_be(folder: Path) -> None:
    """It is one of our errors, and not numpy's."""
    written(folder, call(0))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE predictions SET seconds = 'soon'")
    with pytest.raises(StoreCorrupt, match="a prediction in it cannot be"):
        replayable(folder, "one")
