"""Amounts of strategies as people write them: percentage points, bounds with units, weights, durations."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from numbers import Real
from typing import Annotated

from pydantic import BeforeValidator

from .errors import InvalidValue
from .values import parse_duration, parse_fraction, parse_size, shown

__all__ = [
    "DAY",
    "MOST_WEIGHT",
    "Bound",
    "Margin",
    "Number",
    "Points",
    "Weight",
    "in_short",
    "in_time",
    "parse_bound",
    "parse_number",
    "parse_points",
    "whole_number",
]

DAY = 86400.0
"""Seconds of a day."""

MOST_WEIGHT = 1000.0
"""The largest weight of a guardrail; the least is one divided by it."""

_POINTS = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*pp")


def parse_points(value: object) -> float:
    """Return a difference of two rates, from text like ``1pp`` (percentage points) or a number like 0.01.

    >>> parse_points("1pp"), parse_points(0.01)
    (0.01, 0.01)
    """
    if isinstance(value, str) and (match := _POINTS.fullmatch(value.strip())):
        points = float(match[1]) / 100
    elif isinstance(value, Real) and not isinstance(value, bool):
        points = parse_number(value)
    else:
        raise InvalidValue(f"difference {shown(value)} is not valid: write percentage points, like 1pp")
    if not 0 <= points < 1:
        raise InvalidValue(
            f"difference {shown(value)} is not valid: it lies from 0pp to below 100pp; "
            "write percentage points, like 1pp"
        )
    return points


def _margin(value: object) -> float:
    if (points := parse_points(value)) == 0:
        raise InvalidValue(
            "a margin of 0 is not valid: that two rates are exactly equal can never be shown; "
            "write how much worse is still fine, like 1pp"
        )
    return points


def parse_number(value: object) -> float:
    """Return a finite number as a float, or raise `InvalidValue`."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValue(f"{shown(value)} is not a finite number")
    return number


def whole_number(what: str, least: int, most: int) -> Callable[[object], int]:
    """Return what takes a whole number of a range only.

    >>> whole_number("every", 1, 10)(5)
    5
    """

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidValue(
                f"{what} {shown(value)} is not valid: write a whole number from {least} to {most}"
            )
        return value

    return parse


def parse_bound(value: object) -> float:
    """Return the bound of a threshold: a number, or text with the unit of a part, a duration or a size.

    >>> parse_bound("1%"), parse_bound("200ms"), parse_bound("1KiB")
    (0.01, 0.2, 1024.0)
    """
    if isinstance(value, str):
        for parse in (parse_fraction, parse_duration, parse_size):
            try:
                return float(parse(value))
            except InvalidValue:
                continue
        raise InvalidValue(
            f"bound {shown(value)} is not valid: write a number, or one with a unit: 1%, 200ms or 4GiB"
        )
    return parse_number(value)


def _weight(value: object) -> float:
    weight = parse_number(value)
    if not 1 / MOST_WEIGHT <= weight <= MOST_WEIGHT:
        raise InvalidValue(
            f"weight {shown(value)} is not valid: it lies from {1 / MOST_WEIGHT:g} to {MOST_WEIGHT:g}"
        )
    return weight


Number = Annotated[float, BeforeValidator(parse_number)]
"""A finite number."""

Points = Annotated[float, BeforeValidator(parse_points)]
"""A difference of two rates, as a part of one."""

Margin = Annotated[float, BeforeValidator(_margin)]
"""The same, above zero."""

Bound = Annotated[float, BeforeValidator(parse_bound)]
"""The bound of a plain threshold."""

Weight = Annotated[float, BeforeValidator(_weight)]
"""What something counts beside others."""


def in_time(seconds: float) -> str:
    """Return a duration as a spec writes it, in its largest whole unit.

    >>> in_time(1800), in_time(86400), in_time(1.5)
    ('30m', '1d', '1.5s')
    """
    for unit, length in (("d", DAY), ("h", 3600.0), ("m", 60.0)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def in_short(seconds: float) -> str:
    """Return about how long something still takes, in its two largest units, rounded up.

    >>> in_short(5430), in_short(0.2), in_short(200_000)
    ('1h 31m', '1s', '2d 8h')
    """
    whole = max(1, math.ceil(seconds))
    parts = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    first = next(at for at, (_, length) in enumerate(parts) if whole >= length)
    unit, length = parts[first]
    if unit == "s":
        return f"{whole}s"
    smaller, least = parts[first + 1]
    count = math.ceil(whole / least)
    big, small = divmod(count, length // least)
    return f"{big}{unit} {small}{smaller}" if small else f"{big}{unit}"
