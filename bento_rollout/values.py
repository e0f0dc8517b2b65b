"""Names, percentages and durations, as specs, states and commands share them: valid, or refused."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from .errors import InvalidValue

__all__ = [
    "FULL",
    "MAX_AUTHOR",
    "MAX_REASON",
    "MOST_PERCENT",
    "RESERVED",
    "Fraction",
    "Milli",
    "PerSecond",
    "Seconds",
    "Share",
    "Size",
    "Strict",
    "VariantName",
    "check_name",
    "check_text",
    "check_variant",
    "check_weights",
    "in_percent",
    "in_words",
    "is_plain",
    "parse_duration",
    "parse_fraction",
    "parse_milli",
    "parse_millis",
    "parse_rate",
    "parse_share",
    "parse_size",
    "shown",
]

RESERVED = frozenset({"champion", "candidate", "shadow", "standby", "none"})
"""The words of roles: no variant may be called by one of them."""

FULL = 100_000
"""100 percent in thousandths, and the number of buckets."""

MAX_REASON = 4000
"""How many characters a reason may have, at every door."""

MAX_AUTHOR = 400
"""How many characters an author may have: a token's name on behalf of a person, at most."""

MOST_PERCENT = 100_000.0
"""Percent of one core that a share may be: a thousand cores."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]i?B|B)", re.IGNORECASE)
_BYTES = {"b": 1} | {
    f"{letter}{middle}b": base ** (power + 1)
    for power, letter in enumerate("kmgt")
    for middle, base in (("", 1000), ("i", 1024))
}
_MOST_BYTES = 10**15
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ROUNDING = 1e-9
"""How far from a whole thousandth a percentage may be: what adding decimals in binary costs, and no more."""

_SPACES = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
"""Spaces that some languages are written with, and that `str.isprintable` does not count."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


class Strict(BaseModel):
    """A frozen model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def shown(value: object) -> str:
    """Return a value as an error message shows it: its repr, cut short, however large it is.

    >>> shown("x" * 1000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    try:
        return _short.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__} of very many digits"


def check_name(value: object, what: str = "name") -> str:
    """Return the name of a rollout or a variant, or raise `InvalidValue`.

    Names become file names and header values: letters, digits, ``.``, ``_`` and ``-``, at most 100 of them.

    >>> check_name("screening-v2")
    'screening-v2'
    """
    if isinstance(value, bool):
        word = "yes, on or true" if value else "no, off or false"
        raise InvalidValue(
            f"{what} {value!r} is not text: YAML reads {word} as a truth value; write it in quotes"
        )
    if not isinstance(value, str):
        raise InvalidValue(f"{what} {shown(value)} is not text: write it in quotes")
    if not _NAME.fullmatch(value):
        raise InvalidValue(
            f"{what} {shown(value)} is not valid: use 1 to 100 letters, digits, '_', '-' or '.', "
            "and begin with a letter, digit or '_'"
        )
    return value


def check_variant(value: object) -> str:
    """Return a variant's name, or raise `InvalidValue`: the words of roles are reserved.

    >>> check_variant("boosted")
    'boosted'
    """
    name = check_name(value, "variant name")
    if name.lower() in RESERVED:
        words = ", ".join(sorted(RESERVED))
        raise InvalidValue(f"variant name {name!r} is reserved for a role ({words}); choose another")
    return name


def is_plain(text: str) -> bool:
    """Whether text can be shown on one line as it is: no control characters, no line ends, no hidden ones.

    >>> is_plain("für Ärzte"), is_plain(f"two{chr(10)}lines"), is_plain(f"{chr(27)}[2J")
    (True, False, False)
    """
    return text.isprintable() or all(c.isprintable() or c in _SPACES for c in text)


def check_text(value: object, what: str, longest: int) -> str:
    """Return what a person wrote for the history, or raise `InvalidValue`.

    Args:
        value: the text.
        what: what it is, like ``reason``.
        longest: how many characters it may have.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"the {what} {shown(value)} is not text")
    if len(value) > longest:
        raise InvalidValue(f"the {what} has {len(value)} characters; at most {longest} are kept")
    if not is_plain(value):
        odd = next(c for c in value if not is_plain(c))
        raise InvalidValue(
            f"the {what} has the control character U+{ord(odd):04X} at place {value.index(odd) + 1}: "
            "write it on one line, in characters that can be seen"
        )
    return value


def parse_duration(value: object) -> float:
    """Return seconds: from a number of seconds, or text like ``500ms``, ``30s``, ``5m``, ``1h``, ``2d``.

    >>> parse_duration("5m")
    300.0
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNITS[match[2]]
    else:
        raise InvalidValue(
            f"duration {shown(value)} is not valid: write a number with a unit, like 500ms, 30s, 5m, 1h or 2d"
        )
    if not math.isfinite(seconds) or seconds <= 0:
        raise InvalidValue(f"duration {shown(value)} is not valid: it must be finite and above zero")
    return seconds


def parse_milli(value: object) -> int:
    """Return a percentage (0 to 100, at most three decimals) in thousandths of a percent.

    >>> parse_milli(12.5)
    12500
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidValue(f"percentage {shown(value)} is not a number; write one from 0 to 100, like 12.5")
    percent = int(value) if isinstance(value, Integral) else float(value)
    if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
        raise InvalidValue(f"percentage {shown(value)} is not valid: it must lie between 0 and 100")
    milli = round(percent * 1000)
    if abs(percent * 1000 - milli) > _ROUNDING:
        raise InvalidValue(f"percentage {shown(value)} has more than three decimals")
    return milli


def parse_millis(percents: Mapping[str, object], nothing: str) -> dict[str, int]:
    """Return the percentages of variants in thousandths of a percent.

    Args:
        percents: by variant.
        nothing: what is said when none is named.

    Raises:
        InvalidValue: naming the variant whose percentage is none.

    >>> parse_millis({"boosted": 12.5}, "name at least one")
    {'boosted': 12500}
    """
    if not percents:
        raise InvalidValue(nothing)
    found = {}
    for name, percent in percents.items():
        try:
            found[name] = parse_milli(percent)
        except InvalidValue as error:
            raise InvalidValue(f"{name}: {error}") from None
    return found


def parse_share(value: object) -> float:
    """Return a share of one core, from text like ``25%`` or a number of percent: 1 is one whole core.

    >>> parse_share("25%")
    0.25
    """
    given = (
        value.strip().removesuffix("%") if isinstance(value, str) and value.strip().endswith("%") else value
    )
    percent = _number(given)
    if percent is None or not 0 < percent <= MOST_PERCENT:
        raise InvalidValue(
            f"share of a core {shown(value)} is not valid: write percent of one core, like 25% "
            f"(above 0, at most {MOST_PERCENT:g}%)"
        )
    return percent / 100


def parse_rate(value: object) -> float:
    """Return calls a second, from a number, or text like ``10/s``, ``600/m`` or ``1/h``.

    >>> parse_rate("600/m")
    10.0
    """
    count, _, unit = value.strip().partition("/") if isinstance(value, str) else (value, "", "s")
    calls = _number(count)
    if calls is None or not 0 < calls < math.inf or unit not in _UNITS or unit == "ms":
        raise InvalidValue(
            f"rate {shown(value)} is not valid: write calls a second, like 10, or 10/s or 600/m"
        )
    return calls / _UNITS[unit]


def parse_fraction(value: object) -> float:
    """Return a part of all, from a number from 0 to 1 or text like ``10%``.

    >>> parse_fraction("10%"), parse_fraction(0.1)
    (0.1, 0.1)
    """
    percent = isinstance(value, str) and value.strip().endswith("%")
    number = _number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    if number is None or not 0 <= number <= (100 if percent else 1):
        raise InvalidValue(f"fraction {shown(value)} is not valid: write a number from 0 to 1, or like 10%")
    return number / 100 if percent else number


def parse_size(value: object) -> int:
    """Return bytes: from a whole number of them, or text like ``64KB``, ``100MB``, ``1GB`` or ``1GiB``.

    >>> parse_size("1.5MB"), parse_size("1KiB")
    (1500000, 1024)
    """
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number = _number(match[1]) if match else None if isinstance(value, str) else _number(value)
    unit = _BYTES[match[2].lower()] if match else 1
    if number is None or not 1 <= number * unit <= _MOST_BYTES:
        raise InvalidValue(
            f"size {shown(value)} is not valid: write bytes with a unit, like 64KB, 100MB, 1GB or 1GiB"
        )
    return int(number * unit)


def _number(value: object) -> float | None:
    """Return a number, or text that is one, as a float; None for anything else, NaN included."""
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def in_percent(milli: int) -> str:
    """Return thousandths of a percent as people write them.

    >>> in_percent(12500)
    '12.5 %'
    """
    return f"{milli / 1000:g} %"


def in_words(weights: Mapping[str, int]) -> str:
    """Return weights in thousandths as a sentence has them, or ``none``.

    >>> in_words({"boosted": 5000, "forest": 0})
    'boosted 5 %'
    """
    return (
        ", ".join(f"{name} {in_percent(milli)}" for name, milli in sorted(weights.items()) if milli) or "none"
    )


def check_weights(weights: Mapping[str, int]) -> Mapping[str, int]:
    """Return weights in thousandths, or raise `InvalidValue` when they add up to over 100 percent."""
    if (total := sum(weights.values())) > FULL:
        parts = " + ".join(f"{name} {milli / 1000:g}" for name, milli in sorted(weights.items()))
        raise InvalidValue(
            f"weights add up to {total / 1000:g} percent ({parts}); at most 100 are there to give"
        )
    return weights


VariantName = Annotated[str, BeforeValidator(check_variant)]
"""A variant's name in a spec."""

Milli = Annotated[int, BeforeValidator(parse_milli)]
"""A percentage in a spec, kept in thousandths of a percent."""

Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A duration in a spec, kept in seconds."""

Share = Annotated[float, BeforeValidator(parse_share)]
"""A share of one core in a spec; 1 is one whole core."""

PerSecond = Annotated[float, BeforeValidator(parse_rate)]
"""A rate in a spec, kept in calls a second."""

Fraction = Annotated[float, BeforeValidator(parse_fraction)]
"""A part of all in a spec, from 0 to 1."""

Size = Annotated[int, BeforeValidator(parse_size)]
"""A number of bytes in a spec."""
