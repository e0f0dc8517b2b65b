"""Reads conditions as a spec writes them: ``ask_when: [{score_below: threshold}, {drift: true}]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from .amounts import parse_number
from .asking import CERTIFIED, Above, Below, Condition, Drift, Missing, OneOf, ScoreBelow, When
from .errors import InvalidValue
from .explaining import Problem, Problems
from .references import parse_reference
from .values import parse_fraction, shown

__all__ = ["Conditions", "parse_argument", "parse_conditions", "parse_scalar"]

MOST_CONDITIONS = 100
"""Conditions that one endpoint may have."""


def parse_conditions(value: object) -> tuple[Condition, ...]:
    """Return the conditions that a list of plain data describes.

    Raises:
        Problems: naming each entry that is none.

    >>> parse_conditions([{"drift": True}, {"above": {"amount": 10000}}])
    (Drift(), Above(bounds=(('amount', 10000.0),)))
    """
    if not isinstance(value, (list, tuple)):
        raise Problems([Problem((), f"a list of conditions is expected, like [{{drift: true}}] ({_KNOWN})")])
    if len(value) > MOST_CONDITIONS:
        raise Problems([Problem((), f"{len(value)} conditions are too many: at most {MOST_CONDITIONS}")])
    found, wrong = list[Condition](), list[Problem]()
    for at, item in enumerate(value):
        try:
            found.append(_condition(item))
        except InvalidValue as error:
            wrong.append(Problem((at,), str(error)))
    if wrong:
        raise Problems(wrong)
    return tuple(found)


def _condition(value: object) -> Condition:
    if isinstance(value, Condition):
        return value
    if not isinstance(value, Mapping) or len(value) != 1:
        raise InvalidValue(f"{shown(value)} is no condition: write one of them in each entry ({_KNOWN})")
    ((word, given),) = value.items()
    if word not in _READERS:
        raise InvalidValue(f"unknown condition {shown(word)}; known here: {', '.join(sorted(_READERS))}")
    try:
        return _READERS[word](given)
    except InvalidValue as error:
        raise InvalidValue(f"{word}: {error}") from None


def _score_below(value: object) -> Condition:
    if value == CERTIFIED:
        return ScoreBelow(None)
    return ScoreBelow(parse_fraction(value) if isinstance(value, str) else parse_number(value))


def _drift(value: object) -> Condition:
    if value is not True:
        raise InvalidValue(f"{shown(value)} is not valid: write true, or leave the condition out")
    return Drift()


def _missing(value: object) -> Condition:
    names = value if isinstance(value, (list, tuple)) else [value]
    if not names:
        raise InvalidValue("name at least one argument, like [amount]")
    return Missing(tuple(map(parse_argument, names)))


def _bounds(value: object) -> tuple[tuple[str, float], ...]:
    return tuple((parse_argument(name), parse_number(bound)) for name, bound in _of_arguments(value, "10000"))


def _equals(value: object) -> Condition:
    values = tuple((parse_argument(name), (parse_scalar(one),)) for name, one in _of_arguments(value, "icu"))
    return OneOf(values, "equals")


def _one_of(value: object) -> Condition:
    found = []
    for name, several in _of_arguments(value, "[icu, er]"):
        if not isinstance(several, (list, tuple)) or not several:
            raise InvalidValue(f"{shown(several)} is no list of values: write like {{{name}: [icu, er]}}")
        found.append((parse_argument(name), tuple(map(parse_scalar, several))))
    return OneOf(tuple(found))


def _of_arguments(value: object, like: str) -> Sequence[tuple[object, object]]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidValue(f"{shown(value)} names no argument: write like {{ARGUMENT: {like}}}")
    return list(value.items())


def parse_argument(value: object) -> str:
    """Return an argument's name, or a path that begins with one."""
    name, *rest = value.split(".") if isinstance(value, str) else ("",)
    if not name.isidentifier() or not all(rest):
        raise InvalidValue(f"{shown(value)} is no argument: write ARGUMENT or ARGUMENT.attribute")
    return str(value)


def parse_scalar(value: object) -> Any:
    """Return a value that an argument may have: a text, a number or a truth value."""
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return parse_number(value)
    raise InvalidValue(f"{shown(value)} is not a text, a number or a truth value")


_READERS: Mapping[str, Callable[[object], Condition]] = {
    "score_below": _score_below,
    "drift": _drift,
    "missing": _missing,
    "above": lambda value: Above(_bounds(value)),
    "below": lambda value: Below(_bounds(value)),
    "equals": _equals,
    "one_of": _one_of,
    "when": lambda value: When(parse_reference(value)),
}

_KNOWN = (
    "{score_below: threshold}, {drift: true}, {missing: [ARGUMENT]}, {above: {ARGUMENT: 10}}, "
    "{below: {ARGUMENT: 10}}, {equals: {ARGUMENT: icu}}, {one_of: {ARGUMENT: [icu, er]}} "
    "or {when: module:function}"
)

Conditions = Annotated[
    tuple[Condition, ...],
    PlainValidator(parse_conditions),
    PlainSerializer(lambda found: [one.plain for one in found], return_type=list),
]
"""The conditions of a spec, of which each one asks for itself."""
