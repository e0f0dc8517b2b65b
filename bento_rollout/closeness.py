"""Where two arrays, or two numbers, are neither equal nor close; many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["Spot", "Tolerance", "as_array", "group_of", "near", "relative", "worst"]

_DEEPEST_ARRAY = 8
"""Dimensions that nested lists may have to be looked at as an array."""

_CHUNK = 1 << 15
"""Items of arrays that are compared at once: as many as a processor's cache holds."""

_MOST_ROWS, _MOST_NUMBERS = 1 << 20, 1 << 24
"""Lists, and numbers in them, that are looked at as one array; lists that hold themselves have no end."""

_GROUPS = {"i": "number", "u": "number", "f": "number", "c": "number", "T": "U"}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far numbers may be apart: ``|candidate - champion| <= atol + rtol * |champion|``, as in numpy."""

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Spot:
    """One place of two arrays at which they differ.

    Attributes:
        index: where.
        magnitude: the relative difference; 1 where there is no measure.
        lone: whether only one of the two is NaN (or no time) there.
    """

    index: tuple[int, ...]
    magnitude: float
    lone: bool


def near(champion: Any, candidate: Any, tolerance: Tolerance) -> bool:
    """Whether two unequal numbers are close; an infinite one is close to nothing, nor are two integers.

    Integers are counts, ids, codes and cents: what is near them is something else.

    >>> near(1.0, 1.000001, Tolerance(1e-5, 0))
    True
    """
    if isinstance(champion, Integral) and isinstance(candidate, Integral):
        return False
    ours, theirs = _wide(champion), _wide(candidate)
    gap = _size(theirs - ours)
    return math.isfinite(gap) and bool(gap <= tolerance.atol + tolerance.rtol * _size(ours))


def relative(champion: Any, candidate: Any) -> float:
    """Return the relative difference of two numbers, 1 where there is no measure."""
    ours, theirs = _wide(champion), _wide(candidate)
    most, gap = max(_size(ours), _size(theirs)), _size(theirs - ours)
    return float(gap / most) if most > 0 and math.isfinite(gap) else 1.0


def _size(value: Any) -> float:
    try:
        return float(abs(value))
    except OverflowError:  # a complex number whose parts are finite
        return math.inf


def _wide(value: Any) -> Any:
    if isinstance(value, complex):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def group_of(array: Array) -> str:
    """Return which arrays an array can be looked at with: numbers are of one group, whatever their dtype."""
    kind: str = array.dtype.kind
    return _GROUPS.get(kind, kind)


def as_array(items: Sequence[Any], *, mixed: bool) -> Array | None:
    """Return nested lists of numbers as an array; None if they are not regular, or hold anything else.

    Args:
        items: a list or tuple.
        mixed: whether integers may stand beside floats.
    """
    level: Sequence[Any] = [items]
    for _ in range(_DEEPEST_ARRAY):
        size, types = sum(map(len, level)), set[type]()
        if size > _MOST_NUMBERS:
            return None
        for part in level:
            types.update(map(type, part))
        if types and types <= {int, float}:
            return _made(items, types) if mixed or len(types) == 1 else None
        if not types or not types <= {list, tuple} or size > _MOST_ROWS:
            return None
        level = [part for parts in level for part in parts]
    return None


def _made(items: Sequence[Any], types: set[type]) -> Array | None:
    import numpy as np

    try:
        array = np.array(items)
    except (ValueError, OverflowError):  # lists of several lengths, or a huge integer beside a float
        return None
    return array if array.dtype.kind in ("f" if float in types else "iu") else None


def worst(
    champion: Array, candidate: Array, tolerance: Tolerance | None, most: int
) -> tuple[list[Spot], bool]:
    """Return the most telling places at which two arrays of one shape and group differ, most telling first.

    Args:
        champion, candidate: arrays.
        tolerance: None: numbers must be equal.
        most: how many places to return.

    Returns:
        The places, and whether there is any with NaN in only one of the two.
    """
    import numpy as np

    ours, theirs = champion.ravel(), candidate.ravel()
    spots, lone = list[tuple[float, int, bool]](), False
    with np.errstate(all="ignore"):
        for start in range(0, ours.size, _CHUNK):
            least = spots[-1][0] if len(spots) == most else 0.0
            chunk = slice(start, start + _CHUNK)
            at, sizes, alone = _chunk_worst(ours[chunk], theirs[chunk], tolerance, least)
            lone = lone or alone is not None
            if at.size > most:
                some = np.argpartition(-sizes, most - 1)[:most]
                at, sizes = at[some], sizes[some]
            blanks = np.zeros(at.size, bool) if alone is None else alone[at]
            spots += zip(sizes.tolist(), (at + start).tolist(), blanks.tolist(), strict=True)
            spots = sorted(spots, key=_most_telling)[:most]
    return [Spot(_index(at, champion.shape), size, blank) for size, at, blank in spots], lone


def _most_telling(spot: tuple[float, int, bool]) -> tuple[float, int]:
    return -spot[0], spot[1]


def _index(at: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    import numpy as np

    return tuple(int(axis) for axis in np.unravel_index(at, shape)) if shape else ()


def _chunk_worst(
    champion: Array, candidate: Array, tolerance: Tolerance | None, least: float
) -> tuple[Array, Array, Array | None]:
    """Return where two arrays differ by more than what was seen, by how much, and where one alone is NaN."""
    import numpy as np

    unlike = np.asarray(champion != candidate)
    if not unlike.any():
        at = np.flatnonzero(unlike)
        return at, at.astype(np.float64), None
    blanks = _blank(champion), _blank(candidate)
    unlike &= ~(blanks[0] & blanks[1])
    lone = blanks[0] ^ blanks[1]
    sizes = np.ones(unlike.size)
    if group_of(champion) == "number":
        close, sizes = _distances(champion, candidate, tolerance)
        unlike &= ~close
    at = np.flatnonzero(unlike & (sizes > least))
    return at, sizes[at], lone if lone.any() else None


def _blank(array: Array) -> Array:
    """Return where an array has NaN, or no time."""
    import numpy as np

    if array.dtype.kind in "fc":
        return np.asarray(np.isnan(array))
    return np.asarray(np.isnat(array)) if array.dtype.kind in "mM" else np.zeros(array.shape, bool)


def _distances(champion: Array, candidate: Array, tolerance: Tolerance | None) -> tuple[Array, Array]:
    """Return which unequal numbers are close, and the relative differences of all."""
    import numpy as np

    wide = np.result_type(champion, candidate, np.float64)
    ours, theirs = champion.astype(wide, copy=False), candidate.astype(wide, copy=False)
    gap, scale = np.abs(theirs - ours), np.abs(ours)
    whole = champion.dtype.kind in "iu" and candidate.dtype.kind in "iu"
    if whole:
        gap = np.maximum(gap, 1)  # large ones are unequal, though not as floats
    close = np.zeros(gap.shape, bool)
    if tolerance is not None and not whole:
        close = (gap <= tolerance.atol + tolerance.rtol * scale) & np.isfinite(scale)
    sizes = (gap / np.maximum(scale, np.abs(theirs))).astype(np.float64, copy=False)
    sizes[~np.isfinite(sizes)] = 1.0
    return close, sizes
