"""Conditions: when a person is asked although the model has an answer; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from numbers import Number
from typing import Any

from .arrays import is_array, is_scalar
from .keys import follow
from .references import name_of

__all__ = [
    "CERTIFIED",
    "Above",
    "Below",
    "Condition",
    "Drift",
    "Facts",
    "Missing",
    "OneOf",
    "ScoreBelow",
    "When",
    "asked_by",
    "bare",
    "is_same",
]

CERTIFIED = "threshold"
"""What stands in ``score_below`` for the threshold that was certified."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one prediction when it is decided who answers. Immutable; never written down.

    Attributes:
        score: how sure the model is; None or NaN: it has no score, which is below every threshold.
        label: the class that it answered; None: it has none.
        failed: whether it raised, or was too late.
        drift: whether drift is latched.
        arguments: those of the call, by name.
        asked: the functions of ``when:`` that asked for a person, as `asked_by` returns them.
    """

    score: float | None = None
    label: str | None = field(default=None, repr=False)
    failed: bool = False
    drift: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that sends a prediction to a person."""

    def holds(self, facts: Facts, threshold: float | None) -> str | None:
        """Return why a person is asked, in words without payload; None: this condition asks nobody.

        Args:
            facts: what is known of the prediction.
            threshold: the score that was certified for it; None: none was.
        """
        return self._why(facts, threshold)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The endpoint's arguments that it looks at, without what leads on from them."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path in self._paths()))

    @property
    def plain(self) -> dict[str, Any]:
        """As a spec writes it."""
        return self._plain()

    def _why(self, facts: Facts, threshold: float | None, /) -> str | None:
        raise NotImplementedError

    def _paths(self) -> Iterable[str]:
        return ()

    def _plain(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ScoreBelow(Condition):
    """The score is below a number; None: below the threshold that was certified.

    >>> ScoreBelow(0.9).holds(Facts(score=0.71), None), ScoreBelow(None).holds(Facts(score=0.95), 0.93)
    ('score 0.71 below 0.9', None)
    """

    bound: float | None = None

    def _why(self, facts: Facts, threshold: float | None, /) -> str | None:
        bound = threshold if self.bound is None else self.bound
        if bound is None or math.isnan(bound):
            return "no threshold is certified"
        if facts.score is None or math.isnan(facts.score):
            return "no score"
        return None if facts.score >= bound else f"score {facts.score:.6g} below {bound:.6g}"

    def _plain(self) -> dict[str, Any]:
        return {"score_below": CERTIFIED if self.bound is None else self.bound}


@dataclass(frozen=True, slots=True)
class Drift(Condition):
    """Drift is latched.

    >>> Drift().holds(Facts(drift=True), None)
    'drift'
    """

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        return "drift" if facts.drift else None

    def _plain(self) -> dict[str, Any]:
        return {"drift": True}


@dataclass(frozen=True, slots=True)
class Missing(Condition):
    """An argument is not there: absent, null, NaN, blank text, or without any item.

    >>> Missing(("amount",)).holds(Facts(arguments={"amount": None}), None)
    'amount missing'
    """

    names: tuple[str, ...]

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        for name in self.names:
            if _is_missing(_value(facts, name)):
                return f"{name} missing"
        return None

    def _paths(self) -> Iterable[str]:
        return self.names

    def _plain(self) -> dict[str, Any]:
        return {"missing": list(self.names)}


@dataclass(frozen=True, slots=True)
class _Bounded(Condition):
    """An argument lies beyond a number; one that is there and is no number counts as beyond it."""

    bounds: tuple[tuple[str, float], ...]

    def _paths(self) -> Iterable[str]:
        return (name for name, _ in self.bounds)

    def _beyond(self, facts: Facts, word: str, is_beyond: Callable[[float, float], bool]) -> str | None:
        for name, bound in self.bounds:
            value = _value(facts, name)
            if value is None:
                continue
            if (number := _number(value)) is None:
                return f"{name} is no number"
            if is_beyond(number, bound):
                return f"{name} {word} {bound:.6g}"
        return None


@dataclass(frozen=True, slots=True)
class Above(_Bounded):
    """An argument is above a number, or is no number.

    >>> Above((("amount", 10000),)).holds(Facts(arguments={"amount": 12000}), None)
    'amount above 10000'
    """

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        return self._beyond(facts, "above", lambda number, bound: number > bound)

    def _plain(self) -> dict[str, Any]:
        return {"above": dict(self.bounds)}


@dataclass(frozen=True, slots=True)
class Below(_Bounded):
    """An argument is below a number, or is no number.

    >>> Below((("age", 18),)).holds(Facts(arguments={"age": 17}), None)
    'age below 18'
    """

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        return self._beyond(facts, "below", lambda number, bound: number < bound)

    def _plain(self) -> dict[str, Any]:
        return {"below": dict(self.bounds)}


@dataclass(frozen=True, slots=True)
class OneOf(Condition):
    """An argument is one of some values; the words do not say which, as that is the argument's value.

    >>> OneOf((("ward", ("icu", "er")),)).holds(Facts(arguments={"ward": "er"}), None)
    'ward is a value that is asked about'
    """

    values: tuple[tuple[str, tuple[Any, ...]], ...]
    word: str = "one_of"

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        for name, values in self.values:
            value = bare(_value(facts, name))
            if any(is_same(value, one) for one in values):
                return f"{name} is a value that is asked about"
        return None

    def _paths(self) -> Iterable[str]:
        return (name for name, _ in self.values)

    def _plain(self) -> dict[str, Any]:
        single = self.word == "equals"
        return {self.word: {name: values[0] if single else list(values) for name, values in self.values}}


@dataclass(frozen=True, slots=True)
class When(Condition):
    """A function of the user's, called with the arguments and the output, asks for a person, or failed.

    >>> When("wards:is_odd").holds(Facts(asked=("wards:is_odd",)), None)
    'wards:is_odd asks'
    """

    function: str | Callable[..., Any]

    @property
    def name(self) -> str:
        """What the function is called."""
        return name_of(self.function)

    def _why(self, facts: Facts, _: float | None, /) -> str | None:
        return f"{self.name} asks" if self.name in facts.asked else None

    def _plain(self) -> dict[str, Any]:
        return {"when": self.name}


def asked_by(
    functions: Mapping[str, Callable[..., Any]], arguments: Mapping[str, Any], output: object
) -> tuple[str, ...]:
    """Return which functions of ``when:`` ask for a person; never raises: one that raises asks.

    Args:
        functions: the imported functions, by the `When.name` of their conditions.
        arguments: those of the call, by name.
        output: what the model answered.

    >>> asked_by({"a:large": lambda arguments, output: output > 3, "a:broken": len}, {}, 7)
    ('a:large', 'a:broken')
    """
    return tuple(name for name, function in functions.items() if _asks(function, arguments, output))


def _asks(function: Callable[..., Any], arguments: Mapping[str, Any], output: object) -> bool:
    try:
        return bool(function(arguments, output))
    except Exception:  # noqa: BLE001 - who cannot say that the model may answer has not said it
        return True


def _value(facts: Facts, name: str) -> Any:
    """Return what an argument's name, or a path from it, leads to; None where it leads nowhere."""
    try:
        return follow(facts.arguments, name.split("."))
    except Exception:  # noqa: BLE001 - a property of the caller's input may raise anything; then there is nothing
        return None


def bare(value: Any) -> Any:
    """Return a member's value, and numpy's scalars as Python's."""
    value = value.value if isinstance(value, Enum) else value
    return value.item() if is_scalar(value) else value


def _number(value: Any) -> float | None:
    """Return a value as a number; None for anything else, truth values and NaN included."""
    value = bare(value)
    if isinstance(value, bool) or not isinstance(value, Number):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # a complex one is refused here
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _is_missing(value: Any) -> bool:
    value = bare(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if is_array(value):
        return value.size == 0
    return isinstance(value, (list, tuple, Mapping, bytes)) and not value


def is_same(value: Any, one: Any) -> bool:
    """Whether two plain values are equal; a truth value equals no number."""
    if isinstance(value, bool) or isinstance(one, bool):
        return value is one
    return isinstance(value, (str, int, float)) and bool(value == one)
