"""`measure`: what an endpoint says of its own prediction, and the sheet on which a run has that noted."""

from __future__ import annotations

import contextvars
import json
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .records import Measures
from .shadowing import SHADOW
from .telemetry import log
from .values import check_name

__all__ = [
    "MOST_NAMES",
    "MOST_VALUES",
    "REFUSED",
    "SHEET",
    "Refused",
    "RefusedSince",
    "Sheet",
    "left",
    "measure",
    "share",
]

MOST_NAMES = 20
"""Names that one call may measure."""

MOST_VALUES = 100_000
"""Values of an array whose mean is taken."""

MOST_SAID = 100
"""Lines in the log about measures that were refused, in one process."""

SHEET: contextvars.ContextVar[Sheet | None] = contextvars.ContextVar("bento_rollout_sheet", default=None)
"""The sheet of the run whose code is running; None: nobody wants to know. Small: it may live for a while."""

Told = float | tuple[float, ...]
"""One number for all of a run, or one for each of its rows."""

_LOCK = threading.Lock()
"""Held for a few operations on a dict: an endpoint may measure from several threads."""

_OURS = frozenset(("error_rate", "latency", "agreement"))
_LABEL = "label."
_LONGEST = 100


def measure(name: str, value: Any) -> None:
    """Say a number about the prediction that is being made, for guardrails of the same name.

    Call it anywhere in an endpoint's code, sync or async, in the champion and in candidates, wherever these
    run. It never raises, whatever it is given; what is no measure is dropped, counted, and logged once.
    Outside a call that is served (in unit tests, in hooks) it does nothing; so in a shadow's call.

    Args:
        name: the guardrail's metric: letters, digits, ``.``, ``_`` and ``-``; at most 20 names in one call.
            Not ``error_rate``, ``latency``, ``agreement``, ``label.…``: these are not the endpoint's to say.
        value: a finite number; a truth value is 1 or 0. Or a list or array of such. Where each row of the
            call has a key of its own (``rows:``) that is one value for each row that the endpoint was given,
            and a single number holds for all of them. Where a call counts once its mean is taken. In a batch
            of several requests only an array (a value for each row of the batch) is known to be of whom.

    What is said several times under one name in a call adds up, so that events can be counted one by one.

    Example::

        @bentoml.api
        def predict(self, rows: np.ndarray) -> np.ndarray:
            scores = self.model.predict_proba(rows)[:, 1]
            measure("declined", scores > 0.5)
            return scores
    """
    sheet = SHEET.get()
    if sheet is not None and SHADOW.get() is None:
        sheet.add(name, value)


class Refused:
    """What was measured and could not be noted, in this process.

    Attributes:
        lost: how many times; the metrics tell it.
        waiting: 0; nothing waits here.
    """

    waiting = 0

    def __init__(self) -> None:
        self.lost = 0
        self._said: set[tuple[str, str]] = set()

    def from_now(self) -> RefusedSince:
        """Return what tells how many come from now on: those before were no loss of who begins now."""
        return RefusedSince(self, self.lost)

    def note(self, name: object, why: str, hint: str) -> None:
        """Count one, and say so once for each name and cause; what is no name is not told: it may be data."""
        self.lost += 1
        told = name if type(name) is str and _is_name(name) else f"a {type(name).__name__} that is no name"
        key = ("" if why is _MANY else told, why)
        if key in self._said or len(self._said) >= MOST_SAID:
            return
        self._said.add(key)
        log.event("call.measure_refused", "warning", measure=told, problem=why, hint=f"{hint}; {_COUNTED}")


class RefusedSince(NamedTuple):
    """What was refused in this process since a rollout began to serve here.

    Attributes:
        whole: all that was refused in this process.
        before: how many of them came before.
    """

    whole: Refused
    before: int

    @property
    def lost(self) -> int:
        """How many times; the metrics tell it."""
        return self.whole.lost - self.before

    @property
    def waiting(self) -> int:
        """0; nothing waits here."""
        return self.whole.waiting


_MANY = f"a call measures at most {MOST_NAMES} names"
_COUNTED = "further ones are only counted"

REFUSED = Refused()
"""Of this process."""


class Sheet:
    """What one run of a variant has measured.

    Args:
        rows: how many rows it was given, each a unit of its own; 0: the call counts once.
    """

    __slots__ = ("_closed", "_news", "_values", "rows")

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows
        self._values: dict[str, Told] = {}
        self._closed = self._news = False

    def add(self, name: object, value: object) -> None:
        """Note a value, or refuse it; never raises."""
        try:
            self._add(name, value)
        except _Bad as bad:
            REFUSED.note(name, bad.why, bad.hint)
        except Exception as error:  # noqa: BLE001 - whatever a value does when it is asked for its number
            REFUSED.note(name, f"a {type(value).__name__} gave no number ({type(error).__name__})", _A_NUMBER)

    def _add(self, name: object, value: object) -> None:
        if type(name) is not str or not _is_name(name):
            raise _Bad("this is no metric name", _A_NAME)
        self._put(name, float(value) if type(value) is float else _told(value, self.rows))

    def _put(self, name: str, told: Told) -> None:
        if not _is_finite(told):
            raise _Bad("the value is not finite", _A_NUMBER)
        with _LOCK:
            if self._closed:
                return  # nobody waits for this run any more
            known = self._values.get(name)
            if known is None and len(self._values) >= MOST_NAMES:
                raise _Bad(_MANY, "leave some out")
            total = told if known is None else _sum(known, told)
            if known is not None and not _is_finite(total):
                raise _Bad("what it adds up to is not finite", _A_NUMBER)
            self._values[name], self._news = total, True

    def taken(self) -> Measures:
        """Return what was measured; what comes later is dropped."""
        with _LOCK:
            self._closed = True
            values, self._values = self._values, {}
        return tuple(values.items())

    # -- to and from elsewhere -------------------------------------------------------------------------

    def news(self) -> dict[str, Told] | None:
        """Return all that was measured so far; None if nothing came since the last time."""
        if not self._news:
            return None
        with _LOCK:
            self._news = False
            return dict(self._values)

    def carry(self, told: object) -> None:
        """Note what a variant elsewhere has measured so far, instead of what it said before; never raises."""
        if told is None:
            return
        if not isinstance(told, Mapping):
            REFUSED.note("measures", f"a {type(told).__name__} came from elsewhere", _AN_OBJECT)
            return
        with _LOCK:
            self._values = {}
        for name, value in told.items():
            self.add(name, value)

    def carry_text(self, text: str) -> None:
        """Note what a variant elsewhere has measured, told as a JSON object; never raises."""
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            REFUSED.note("measures", "text came from elsewhere that is no JSON", _AN_OBJECT)
        else:
            self.carry({} if told is None else told)

    def as_text(self, most: int) -> str | None:
        """Return all that was measured so far as JSON, of so many bytes at most; None: nothing was."""
        told = self.news()
        while told and len(text := json.dumps(told, separators=(",", ":"))) > most:
            longest = max(told, key=lambda name: _length(told[name]))
            del told[longest]
            REFUSED.note(
                longest, f"measures of more than {most} bytes cannot be carried", "measure fewer rows"
            )
        return text if told else None


def share(batch: Sheet, shares: Sequence[tuple[Sheet | None, int, int]]) -> None:
    """Give those whose inputs were merged what was measured of each one's rows; never raises.

    Args:
        batch: what was measured of all rows together.
        shares: whose, and from which row to which; None: nobody wants to know.
    """
    for name, told in batch.taken():
        if isinstance(told, float) and len(shares) > 1:
            REFUSED.note(name, "one number for a batch of several requests is nobody's", _AN_ARRAY)
            continue
        for sheet, begin, end in shares:
            if sheet is not None:
                sheet.add(name, told if isinstance(told, float) else told[begin:end])


def left(token: contextvars.Token[Sheet | None]) -> None:
    """End what ``SHEET.set`` began; a call that nobody waits for any more may end in another context."""
    try:
        SHEET.reset(token)
    except ValueError:
        SHEET.set(None)


class _Bad(ValueError):
    """A value is not noted: why, and what to do."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


_A_NAME = "use 1 to 100 letters, digits, '_', '-' or '.', and none of the library's own metrics"
_A_NUMBER = "give a finite number, or a list or array of them in one dimension"
_AN_ARRAY = "give an array with a value for each row of the batch"
_AN_OBJECT = 'the header has a JSON object, like {"score": 0.7}'


def _is_name(name: str) -> bool:
    if len(name) > _LONGEST or name in _OURS or name.startswith(_LABEL):
        return False
    try:
        check_name(name)
    except ValueError:
        return False
    return True


def _told(value: object, rows: int) -> Told:
    """Return what a value says: a number, or one for each row."""
    if isinstance(value, (list, tuple)):
        return _of_many(len(value), lambda: value, rows)
    shape = getattr(value, "shape", None)
    if shape is None or isinstance(value, type):
        return _number(value)
    if len(shape) == 0:
        return _number(value.item() if hasattr(value, "item") else value)
    if len(shape) != 1:
        raise _Bad(f"an array of {len(shape)} dimensions is no list of values", _A_NUMBER)
    return _of_many(int(shape[0]), value.tolist, rows)  # type: ignore[attr-defined]  # as arrays, tensors, columns have it


def _of_many(count: int, values: Any, rows: int) -> Told:
    if rows:
        if count != rows:
            raise _Bad("there are not as many values as rows", "give one value for each row of the input")
        return tuple(map(_number, values()))
    if not 0 < count <= MOST_VALUES:
        raise _Bad(f"the mean is taken of 1 to {MOST_VALUES} values", "give the number itself")
    return math.fsum(map(_number, values())) / count


def _number(value: object) -> float:
    if type(value) in _PLAIN:
        return float(value)  # type: ignore[arg-type]  # it is one of them
    if isinstance(value, (str, bytes, bytearray)):
        raise _Bad("text is no number", _A_NUMBER)
    if not hasattr(value, "__float__"):
        raise _Bad(f"a {type(value).__name__} is no number", _A_NUMBER)
    return float(value)


_PLAIN = frozenset((float, int, bool))


def _is_finite(told: Told) -> bool:
    return math.isfinite(told) if isinstance(told, float) else all(map(math.isfinite, told))


def _sum(one: Told, other: Told) -> Told:
    if isinstance(one, float):
        return one + other if isinstance(other, float) else tuple(one + value for value in other)
    if isinstance(other, float):
        return tuple(value + other for value in one)
    return tuple(map(float.__add__, one, other))


def _length(told: Told) -> int:
    return 1 if isinstance(told, float) else len(told)
