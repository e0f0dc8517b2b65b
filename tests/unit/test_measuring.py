"""`measure` and its sheet: what is noted, what is refused, and that nothing raises."""

from __future__ import annotations

import contextvars
import decimal
import fractions
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout import measure
from bento_rollout.guardrails import _KINDS, _LABEL
from bento_rollout.measuring import _OURS, MOST_NAMES, MOST_SAID, REFUSED, SHEET, Refused, Sheet, left, share
from bento_rollout.records import Measures
from bento_rollout.shadowing import enter_shadow


@pytest.fixture
def sheet() -> Iterator[Sheet]:
    """The sheet of a call that counts once."""
    sheet = Sheet()
    token = SHEET.set(sheet)
    yield sheet
    left(token)


def noted(value: object, rows: int = 0) -> Any:
    """Return what a sheet notes of a value; None: nothing."""
    sheet = Sheet(rows)
    sheet.add("x", value)
    return dict(sheet.taken()).get("x")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.5, 0.5), (3, 3.0), (True, 1.0), (np.float32(0.5), 0.5), (np.int8(-3), -3.0), (np.bool_(True), 1.0),
        (np.array(2), 2.0), (decimal.Decimal("1.5"), 1.5), (fractions.Fraction(1, 4), 0.25),
        ([1, 0], 0.5), ((1.0, True), 1.0), (np.array([1, 0, 1, 1]), 0.75), (pd.Series([1.0, 2.0]), 1.5),
        (np.array([True, False]), 0.5),
    ],
)  # fmt: skip
def test_numbers(value: object, number: float, sheet: Sheet) -> None:
    """Whatever is a number is noted as one; of many the mean."""
    measure("x", value)
    assert sheet.taken() == (("x", number),)


class Odd:
    """Raises when it is asked for its number."""

    def __float__(self) -> float:
        raise RuntimeError("a bug")


class OddArray:
    """Says that it has a shape."""

    shape = (3,)

    def tolist(self) -> list[float]:
        """Do not."""
        raise MemoryError


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, "0.5", b"1", np.array(["1"]), np.array("1"), np.str_("1"), None, 1j,
        10**400, object(), Odd(), OddArray(), [], np.array([]), np.zeros((2, 2)), [0.5, "1"], [0.5, math.nan],
        np.zeros(200_000), np.ndarray, {}, {1.0}, pd.DataFrame({"a": [1]}), decimal.Decimal("NaN"),
        np.datetime64("2026-01-01"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_number_is_counted(value: object, sheet: Sheet) -> None:
    """It is dropped, and raises nothing."""
    before = REFUSED.lost
    measure("x", value)
    assert sheet.taken() == ()
    assert REFUSED.lost == before + 1


@pytest.mark.parametrize(
    "name",
    ["", "a b", "ä", "x" * 101, "x" * 10**7, 3, None, b"x", ["x"], "latency", "error_rate", "label.correct"],
)
def test_what_is_no_name_is_counted(name: Any, sheet: Sheet) -> None:
    """So is one of the library's own metrics."""
    before = REFUSED.lost
    measure(name, 1)
    assert (sheet.taken(), REFUSED.lost) == ((), before + 1)


def test_the_librarys_own_metrics_are_those_of_guardrails() -> None:
    """Who adds one there adds it here."""
    assert set(_KINDS) == _OURS
    assert _LABEL == "label."


def test_rows() -> None:
    """One value for each row; another number of them is none."""
    assert noted([1, 2, 3], rows=3) == (1.0, 2.0, 3.0)
    assert noted(np.array([True]), rows=1) == (1.0,)
    assert noted(0.5, rows=3) == 0.5
    assert noted([1, 2], rows=3) is None


def test_it_adds_up(sheet: Sheet) -> None:
    """Within a call; past what a number can be it stays as it was."""
    for number in (1, 2.5, True):
        measure("x", number)
    measure("big", 1e308)
    measure("big", 1e308)
    assert dict(sheet.taken()) == {"x": 4.5, "big": 1e308}
    rows = Sheet(2)
    for rowwise in ([1, 2], 10, [0.5, 0]):
        rows.add("x", rowwise)
    rows.add("y", 1)
    rows.add("y", [1, 2])
    assert dict(rows.taken()) == {"x": (11.5, 12.0), "y": (2.0, 3.0)}


def test_names_are_bounded(sheet: Sheet) -> None:
    """The first ones are kept, and what comes of them still adds up."""
    for number in range(10_000):
        measure(f"n{number}", 1)
    measure("n0", 1)
    found = dict(sheet.taken())
    assert len(found) == MOST_NAMES
    assert found["n0"] == 2.0


def test_what_comes_late_is_dropped(sheet: Sheet) -> None:
    """Nobody waits for a run that is over."""
    measure("x", 1)
    assert sheet.taken() == (("x", 1.0),)
    measure("x", 1)
    assert sheet.taken() == ()


def test_outside_a_call_and_in_a_shadow_it_does_nothing(sheet: Sheet) -> None:
    """Nothing is noted, counted or raised."""
    before = REFUSED.lost
    contextvars.Context().run(measure, "x", "no number")

    def shadowed() -> None:
        enter_shadow(False)
        measure("x", 1)

    contextvars.copy_context().run(shadowed)
    assert (sheet.taken(), REFUSED.lost) == ((), before)


def test_from_many_threads(sheet: Sheet) -> None:
    """No value is lost between threads that have the call's context."""
    contexts = [contextvars.copy_context() for _ in range(8)]

    def work() -> None:
        for _ in range(1000):
            measure("x", 1)

    threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sheet.taken() == (("x", 8000.0),)


def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name and cause is said once, no name that may be data is repeated, and there is an end."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr("bento_rollout.measuring.log.event", lambda *_, **fields: said.append(fields))
    refused = Refused()
    for _ in range(3):
        refused.note("score", "why", "do")
        refused.note("Jane Doe", "no name", "do")
    assert [line["measure"] for line in said] == ["score", "a str that is no name"]
    for number in range(1000):
        refused.note(f"n{number}", "why", "do")
    assert (len(said), refused.lost) == (MOST_SAID, 1006)


# -- to and from elsewhere -----------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: name not in _OURS and not name.startswith(_LABEL)
)


@given(st.dictionaries(NAMES, NUMBERS | st.lists(NUMBERS, min_size=3, max_size=3), max_size=MOST_NAMES))
def test_it_crosses_as_text(told: dict[str, Any]) -> None:
    """What one sheet says another one notes, number by number."""
    there, here = Sheet(3), Sheet(3)
    for name, value in told.items():
        there.add(name, value)
    text = there.as_text(1 << 20)
    if text is not None:
        assert text.isascii()
        here.carry_text(text)
    assert here.taken() == there.taken()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.integers(0, 3))
def test_whatever_comes_from_elsewhere(told: Any, rows: int) -> None:
    """It raises nothing, and what is noted are finite numbers, one or one a row."""
    sheet = Sheet(rows)
    sheet.carry_text(json.dumps(told))
    taken: Measures = sheet.taken()
    assert len(taken) <= MOST_NAMES
    for _, value in taken:
        values = (value,) if isinstance(value, float) else value
        assert all(map(math.isfinite, values))
        assert isinstance(value, float) or len(value) == rows


def test_what_is_new_is_told_once() -> None:
    """All that was measured so far, when something came since."""
    sheet = Sheet()
    assert sheet.news() is None
    sheet.add("x", 1)
    assert sheet.news() == {"x": 1.0}
    assert sheet.news() is None
    here = Sheet()
    for _ in range(2):  # it is said instead of what was said before
        here.carry({"x": 1.0})
    assert here.taken() == (("x", 1.0),)


def test_a_head_has_an_end() -> None:
    """The longest arrays are left out first."""
    sheet, before = Sheet(2000), REFUSED.lost
    sheet.add("long", [0.1] * 2000)
    sheet.add("x", 1)
    assert sheet.as_text(6000) == '{"x":1.0}'
    assert REFUSED.lost == before + 1


def test_a_batch_is_shared() -> None:
    """Each gets what was said of its own rows: a value, a mean, or one for each row."""
    batch, one, two, three = Sheet(6), Sheet(), Sheet(), Sheet(3)
    batch.add("x", [1, 2, 4, 5, 6, 7])
    batch.add("whole", 1)
    share(batch, [(one, 0, 1), (two, 1, 3), (three, 3, 6), (None, 6, 6)])
    assert [sheet.taken() for sheet in (one, two, three)] == [
        (("x", 1.0),), (("x", 3.0),), (("x", (5.0, 6.0, 7.0)),)
    ]  # fmt: skip
    alone, batch = Sheet(), Sheet(2)
    batch.add("whole", 1)
    share(batch, [(alone, 0, 2)])
    assert alone.taken() == (("whole", 1.0),)
