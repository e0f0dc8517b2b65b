"""The options that commands share, and how ``NAME=VALUE`` arguments are read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import click

from ..errors import InvalidValue
from .reaching import elsewhere

__all__ = [
    "Asked",
    "Whole",
    "changing",
    "key_options",
    "parse_headers",
    "parse_pairs",
    "parse_percents",
    "parse_time",
    "printing",
    "rollout_name",
    "waiting",
]

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|nan|[+-]?inf(?:inity)?", re.IGNORECASE)


class Common(TypedDict):
    """What every changing verb takes."""

    reason: str
    if_revision: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """How a change was asked for.

    Attributes:
        reason: why; kept in the history.
        if_revision: refuse unless this is the current revision.
        author: who asks; None: ``BENTO_ROLLOUT_AUTHOR``, else user@host.
        as_json: whether a program reads the answer.
    """

    reason: str
    if_revision: int | None
    author: str | None
    as_json: bool

    @property
    def common(self) -> Common:
        """The keyword arguments that every changing verb takes."""
        return {"reason": self.reason, "if_revision": self.if_revision}


if TYPE_CHECKING:
    Integer = click.ParamType[int]
else:
    Integer = click.ParamType  # not generic in every version


class Whole(Integer):
    """A whole number of at least so much; its help says so in words, and not as ``[x>=1]``."""

    name = "integer"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that an argument says."""
        if not re.fullmatch(r"[0-9]{1,18}", str(value)) or int(value) < self._least:
            self.fail(f"{value!r} is not a whole number from {self._least} on", param, ctx)
        return int(value)


rollout_name = click.argument("name")
printing = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
key_options = click.option(
    "--key", "keys", multiple=True, metavar="K", help="A routing key; may stand several times."
)

waiting = click.option(
    "--timeout",
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for every worker's before_flip hooks, like 500ms, 30s or 5m.",
)


def changing(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of every change; it gets them as its first argument, an `Asked`."""

    @click.option("--reason", default="", metavar="TEXT", help="Why; kept in the history.")
    @click.option(
        "--if-revision", type=Whole(0), metavar="N", help="Refuse unless N is the current revision."
    )
    @click.option("--author", metavar="WHO", help="Who asks; default BENTO_ROLLOUT_AUTHOR, else user@host.")
    @printing
    @elsewhere
    @functools.wraps(command)
    def wrapped(reason: str, if_revision: int | None, author: str | None, as_json: bool, **rest: Any) -> int:
        return command(Asked(reason, if_revision, author or None, as_json), **rest)

    return wrapped


def parse_percents(pairs: Iterable[str]) -> dict[str, float]:
    """Return percents by variant from arguments like ``boosted=5`` or ``boosted=2.5%``."""
    found: dict[str, float] = {}
    for name, text in _pairs(pairs, "VARIANT=PERCENT", "boosted=5"):
        number = text.removesuffix("%").strip()
        if not _NUMBER.fullmatch(number):
            raise click.UsageError(
                f"{name}: {text!r} is not a percentage; write a number from 0 to 100, like 12.5"
            )
        if name in found:
            raise click.UsageError(f"{name!r} stands twice; which of the two should hold?")
        found[name] = float(number)
    return found


def parse_time(option: str, text: str) -> float:
    """Return the seconds that an option says, like ``30s``."""
    from ..values import parse_duration  # late: pydantic is not for every command's start

    try:
        return parse_duration(text)
    except InvalidValue as error:
        raise InvalidValue(f"{option}: {error}") from None


def parse_headers(pairs: Iterable[str]) -> dict[str, str]:
    """Return header values by name from arguments like ``x-ring=dogfood``."""
    found: dict[str, str] = {}
    for name, value in _pairs(pairs, "NAME=VALUE", "x-ring=dogfood"):
        if name.lower() in found:
            raise click.UsageError(f"the header {name!r} stands twice")
        found[name.lower()] = value
    return found


def parse_pairs(pairs: Iterable[str], form: str, example: str) -> dict[str, str]:
    """Return values by name from arguments like ``town=category``."""
    found: dict[str, str] = {}
    for name, value in _pairs(pairs, form, example):
        if name in found:
            raise click.UsageError(f"{name!r} stands twice; which of the two should hold?")
        found[name] = value
    return found


def _pairs(pairs: Iterable[str], form: str, example: str) -> Iterable[tuple[str, str]]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise click.UsageError(f"{pair!r} is not {form}; write it like {example}")
        yield name.strip(), value.strip()
