"""How exams are written down: plain JSON values, refused where they are not whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..analysis import (
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    KeyedTest,
    KeyWindows,
    LatencyHealthTest,
    LatencyTest,
)
from ..errors import InvalidValue
from ..histogram import ABOVE
from .agreement import AgreementExam
from .exam import Exam, Heard
from .latency import LatencyExam
from .lost import Lost
from .rates import RateExam
from .threshold import ThresholdExam

__all__ = ["from_plain", "to_plain"]

_EXAMS: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (RateExam, LatencyExam, AgreementExam, ThresholdExam)
}
_STORED: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        EventTest,
        FloorTest,
        HarmTest,
        HealthTest,
        KeyedTest,
        KeyWindows,
        LatencyHealthTest,
        LatencyTest,
        Lost,
    )
}
_HEARD = tuple(field.name for field in fields(Heard))


def to_plain(exam: Exam) -> dict[str, Any]:
    """Return an exam as plain JSON values, from which `from_plain` makes the same."""
    kind = type(exam)
    found = {field.name: _plain(getattr(exam, field.name)) for field in fields(kind)}  # type: ignore[arg-type]
    return {"exam": kind.__name__, **found}


def from_plain(data: object) -> Exam:
    """Return a stored exam.

    Raises:
        InvalidValue: it is none, or not whole, naming what is wrong.
    """
    if not isinstance(data, Mapping) or (kind := _EXAMS.get(str(data.get("exam")))) is None:
        raise InvalidValue(f"this is no stored exam; one of {', '.join(_EXAMS)} is needed")
    names = {field.name for field in fields(kind)}
    if (found := set(data) - {"exam"}) != names:
        odd = ", ".join(sorted(map(str, found ^ names)))
        raise InvalidValue(f"a stored {kind.__name__} is of another version: it has, or lacks, {odd}")
    exam: Exam = kind(**{name: _read(f"{kind.__name__}.{name}", data[name]) for name in names})
    return exam


def _plain(value: Any) -> Any:
    if isinstance(value, Heard):
        return {"heard": [getattr(value, name) for name in _HEARD]}
    if isinstance(value, Mapping):
        return {"bins": sorted([index, count] for index, count in value.items())}
    return value.to_dict() if type(value).__name__ in _STORED else value


def _read(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {"heard"}:
            return Heard(*_numbers(name, value["heard"], len(_HEARD)))
        if value.keys() == {"bins"}:
            return _bins(name, value["bins"])
        if (kind := _STORED.get(str(value.get("kind")))) is None:
            raise InvalidValue(f"{name} was stored as {value.get('kind')!r}, which is no test")
        return kind.from_dict(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    return _finite(name, value)


def _numbers(name: str, values: Any, length: int) -> list[float]:
    if not isinstance(values, list) or len(values) != length:
        raise InvalidValue(f"{name} is no list of {length} numbers")
    found = [_finite(name, value) for value in values]
    if min(found) < 0:
        raise InvalidValue(f"{name} has {min(found)}; sums are not negative")
    return found


def _bins(name: str, pairs: Any) -> dict[int, int]:
    if not isinstance(pairs, list):
        raise InvalidValue(f"{name} is no list of bins and counts")
    found = {}
    for pair in pairs:
        index, number = map(int, _numbers(name, pair, 2))
        if index > ABOVE:
            raise InvalidValue(f"{name} has bin {index}; the last one is {ABOVE}")
        found[index] = number
    return found


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidValue(f"{name} is {value!r}; a finite number is needed")
    return value
