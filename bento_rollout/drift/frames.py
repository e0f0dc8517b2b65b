"""How tests are stored: a line of JSON, then arrays as they are; refused where another version or damaged."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .engine import Bets, Wealth

__all__ = ["opened", "packed", "wealth_arrays", "wealth_of"]

VERSION = 1

_TYPES = {"f": "<f8", "i": "<i8", "u": "|u1", "b": "|b1"}
"""What arrays are stored as, by their kind: the same on every machine."""

_WEALTH = ("sums", "best", "began", "scale", "log_peak")

_SUM = 4
"""Bytes of the checksum, at the end."""


def packed(kind: str, fields: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return fields and arrays as bytes that `opened` reads.

    >>> fields, arrays = opened(packed("a test", {"seed": 1}, {"sums": np.zeros(3)}), "a test")
    >>> fields["seed"], arrays["sums"].tolist()
    (1, [0.0, 0.0, 0.0])
    """
    stored = {name: np.ascontiguousarray(array, _TYPES[array.dtype.kind]) for name, array in arrays.items()}
    shapes = {name: [array.dtype.str, *array.shape] for name, array in stored.items()}
    head = {"kind": kind, "version": VERSION, "fields": dict(fields), "arrays": shapes}
    line = json.dumps(head, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    body = line + b"".join(array.tobytes() for array in stored.values())
    return body + zlib.crc32(body).to_bytes(_SUM, "little")


def opened(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the fields and arrays of stored bytes.

    Raises:
        InvalidValue: another kind, another version, or damaged bytes.
    """
    line, _, rest = data.partition(b"\n")
    try:
        head = json.loads(line)
        found, version = head["kind"], head["version"]
    except (ValueError, TypeError, KeyError):
        raise InvalidValue(
            f"this is no stored {kind}: its first line cannot be read; start a new epoch"
        ) from None
    if found != kind:
        raise InvalidValue(f"this was stored as {found!r}; {kind!r} is needed")
    if version != VERSION:
        raise InvalidValue(
            f"this {kind} was stored in version {version!r} of its form; this release reads {VERSION}:"
            " start a new epoch, or go back to the release that wrote it"
        )
    if zlib.crc32(data[:-_SUM]) != int.from_bytes(data[-_SUM:], "little"):
        raise InvalidValue(f"the stored {kind} is damaged: its checksum is another; start a new epoch")
    arrays, at = {}, 0
    for name, (written, *shape) in head["arrays"].items():
        dtype, size = np.dtype(written), math.prod(shape)
        arrays[name] = np.frombuffer(rest, dtype, size, at).reshape(shape)
        at += size * dtype.itemsize
    return head["fields"], arrays


def wealth_arrays(wealth: Wealth) -> dict[str, NDArray[Any]]:
    """Return the arrays that a wealth is stored as; `wealth_of` takes them."""
    return {name: getattr(wealth, name) for name in _WEALTH}


def wealth_of(arrays: Mapping[str, NDArray[Any]], rows: int, bets: Bets, single: NDArray[np.bool_]) -> Wealth:
    """Return a stored wealth.

    Args:
        arrays: as `wealth_arrays` named them, among others.
        rows: how many rows it has seen.
        bets: what it bets.
        single: which of its lanes have only two values.
    """
    start = Wealth.start(len(single), bets, single)
    for name in _WEALTH:
        if name not in arrays or arrays[name].shape != getattr(start, name).shape:
            raise InvalidValue(f"{name} of the stored test is of other bets or features; start a new epoch")
    return replace(
        start,
        rows=rows,
        sums=arrays["sums"],
        best=arrays["best"],
        began=arrays["began"],
        scale=arrays["scale"],
        log_peak=arrays["log_peak"],
    )
