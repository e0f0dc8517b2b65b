"""Values as JSON text for the ledger: what JSON cannot say is told by its kind; none is over 64 KiB."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from ..arrays import is_array, is_scalar

__all__ = [
    "LONGEST",
    "Plain",
    "as_is",
    "check_depth",
    "compact",
    "json_of",
    "kept_text",
    "read",
    "rows_of_text",
]

LONGEST = 1 << 16
"""Bytes of JSON text of one value; a longer one is not kept."""

Plain = Callable[[Any], Any]
"""Returns an answer as what JSON can say, as far as BentoML's own kinds go."""

_DEEPEST = 64
_ODD = (b"NaN", b"Infinity", b"\\u")
"""What JSON cannot say, and what half a character begins with."""

_MOST_PARTS = LONGEST // 2
"""Parts of a value that are looked at: each takes two bytes of JSON or more."""


def as_is(value: Any) -> Any:
    """Return a value as it is."""
    return value


def compact(value: Any) -> str:
    """Return what is already plain as JSON text.

    Raises:
        ValueError: NaN, an infinity, or a circle.
        TypeError: what JSON cannot say.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_of(value: Any, plain: Plain = as_is) -> str | None:
    """Return any value as JSON text; None when that is too long, or cannot be made. Raises nothing.

    Arrays and frames are lists, models and dataclasses are objects; of bytes and files only the size or the
    kind is told; NaN and infinities are null.
    """
    try:
        text = compact(_simple(plain(value), 0, [_MOST_PARTS]))
        return text if len(text.encode()) <= LONGEST else None
    except Exception:  # noqa: BLE001 - whatever a value does when it is looked at costs its own place only
        return None


def kept_text(body: bytes) -> str | None:
    """Return the JSON that was sent, as text; None when it is too long or no JSON.

    What is shallow and says nothing that JSON cannot is kept as it was sent: to parse each answer would cost
    more than all else that is done for its row. A body that only calls itself JSON reads as none.
    """
    if len(body) > LONGEST:
        return None
    try:
        if body.count(b"[") + body.count(b"{") <= _DEEPEST and not any(odd in body for odd in _ODD):
            return body.decode()
        text = compact(_simple(json.loads(body), 0, [_MOST_PARTS]))
        return text if len(text.encode()) <= LONGEST else None
    except (ValueError, RecursionError):
        return None


def rows_of_text(body: bytes, count: int) -> list[str | None] | None:
    """Return the items of a JSON list of so many items as texts; None when it is none.

    >>> rows_of_text(b'[1,{"a":2}]', 2)
    ['1', '{"a":2}']
    """
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or len(items) != count:
        return None
    return [json_of(item) for item in items]


def read(text: str | None) -> Any:
    """Return what JSON text of the ledger says; None where there is none, or it is none."""
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None


def check_depth(value: Any, depth: int = 0) -> None:
    """Raise ValueError for a value that is nested deeper than anybody could show it."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, (list, tuple)):
        for item in value:
            check_depth(item, depth + 1)
    elif isinstance(value, Mapping):
        for item in value.values():
            check_depth(item, depth + 1)


def _simple(value: Any, depth: int, left: list[int]) -> Any:
    """Return a value as what JSON can say.

    Raises:
        ValueError: it is too deep, or has too many parts.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        _charge(len(value), depth, left)
        return {str(name): _simple(item, depth + 1, left) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        _charge(len(value), depth, left)
        return [_simple(item, depth + 1, left) for item in value]
    if isinstance(size := getattr(value, "size", None), int):  # of an array or a frame
        _charge(size, depth, [left[0]])
    _charge(1, depth, left)
    return _simple(_taken_apart(value), depth + 1, left)


def _charge(parts: int, depth: int, left: list[int]) -> None:
    left[0] -= parts
    if left[0] < 0 or depth > _DEEPEST:
        raise ValueError("too large")


def _taken_apart(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind
    """Return what an array, a model, a frame, a tensor, or something else consists of."""
    if is_scalar(value):
        return value.item()
    if is_array(value):
        return value.tolist()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value)}
    if isinstance(value, PurePath):
        return {"file": value.suffix}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_dict"):
        return value.to_dict(orient="records") if hasattr(value, "columns") else value.tolist()
    for way in ("isoformat", "tolist"):  # a time, a tensor
        if hasattr(value, way):
            return getattr(value, way)()
    return value.value if isinstance(value, Enum) else {"kind": type(value).__name__}
