"""What waits for the ledger is weighed whole and in bounded time; what is too large for that stays out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.records import Compared, Prediction
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store import ledger_writer
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_weight import MOST_PARTS, TooLarge, light, weight_of
from bento_rollout.store.ledger_writer import LedgerWriter
from tests.ledgers import prediction, reply_of, said, written

BIG = "x" * 1_000_000

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda items: st.lists(items) | st.dictionaries(st.text(), items) | st.tuples(items, items),
)


def bytes_in(value: Any) -> int:
    """Return how many bytes of text and data a value holds, the slow and sure way."""
    if isinstance(value, dict):
        return sum(bytes_in(name) + bytes_in(item) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(map(bytes_in, value))
    return len(value) if isinstance(value, (str, bytes)) else 0


@given(values)
def test_nothing_is_overlooked(value: Any) -> None:
    """Whatever the shape: a value weighs at least what is in it."""
    assert weight_of(value) >= bytes_in(value)


@dataclass
class Model:
    """A model as a user has it."""

    text: str


@pytest.mark.parametrize(
    "value",
    [
        [*("y" * number for number in range(99)), BIG, *("z" * number for number in range(99))],
        {"rows": [{"a": 1}] * 500 + [{"a": {"b": [BIG]}}]},
        {BIG: 1},
        BIG.encode(),
        bytearray(BIG, "ascii"),
        memoryview(BIG.encode()),
        np.zeros(125_000),
        np.zeros(125_000)[:1],
        np.array([1, [BIG]], dtype=object),
        pd.DataFrame({"a": np.zeros(125_000)}),
        pd.DataFrame({"a": [1, 2], "b": ["x", BIG]}),
        pd.Series(["x", BIG]),
        Model(BIG),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_heavy_weighs_much(value: Any) -> None:
    """Wherever the bytes are."""
    assert 1_000_000 <= weight_of(value) < 4_000_000


def test_a_fact_weighs_what_it_holds() -> None:
    """Its answer by its size; the key, arguments and a task's value, too."""
    least = light(prediction())[1]
    heavies: list[Prediction | Compared] = [
        prediction(BIG),
        prediction(None, BIG),
        prediction(inputs={"a": [1, BIG]}),
        prediction(reply=reply_of(BIG.encode())),
        prediction(task_id="t", reply=reply_of()._replace(value={"a": BIG})),
        said(prediction(), [BIG]),
    ]
    for heavy in heavies:
        fact, weight = light(heavy)
        assert fact is heavy
        assert 1_000_000 <= weight - least + 1200 < 1_100_000


def lightened(fact: Prediction) -> Prediction:
    """Return a prediction without what is too large."""
    found, _ = light(fact)
    assert isinstance(found, Prediction)
    return found


class Sly:
    """A value that cannot be looked at."""

    @property
    def nbytes(self) -> int:
        """Raise."""
        raise LookupError


LARGE = [
    [0.5] * (MOST_PARTS + 1),
    [[]] * MOST_PARTS,
    {"deep": eval("[" * 90 + "]" * 90)},
    pd.DataFrame({"a": ["x"] * (MOST_PARTS + 1)}),
    Sly(),
]


@pytest.mark.parametrize("value", LARGE, ids=["long", "many lists", "deep", "frame", "sly"])
def test_what_cannot_be_weighed_stays_out(value: Any) -> None:
    """The fact is kept without it, and holds no more than it says."""
    if not isinstance(value, Sly):
        with pytest.raises(TooLarge):
            weight_of(value)
    assert lightened(prediction(inputs={"a": value})).inputs is None
    task = prediction(task_id="t", reply=reply_of()._replace(value=value), inputs={"a": 1})
    assert light(task)[1] < 10_000
    assert (lightened(task).reply.value, lightened(task).inputs) == (None, {"a": 1})
    shadow = light(said(task, value))[0]
    assert isinstance(shadow, Compared)
    assert shadow.answer is None


def test_a_circle_ends() -> None:
    """It has no end, and is too large."""
    circle: list[Any] = []
    circle.append(circle)
    assert lightened(prediction(inputs={"a": circle})).inputs is None


def test_one_large_item_among_many_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that wait are bounded, wherever in the arguments they are; those of a batch, too."""
    monkeypatch.setattr(ledger_writer, "HEAVIEST", 5_000_000)
    place = tmp_path / "store.d" / "r"
    settings = Settings(inputs=True)
    written(place, prediction())
    writer = LedgerWriter(place, settings)
    for _ in range(20):
        writer.offer(prediction(inputs={"rows": ["a"] * 50 + [BIG] + ["a"] * 50}))
    assert writer.close(30)
    assert writer.lost >= 15
    assert Ledger(place).counts().predictions == 21 - writer.lost
