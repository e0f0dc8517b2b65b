"""How answers are compared, as a spec says it: valid, or refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .errors import InvalidValue
from .values import check_name, is_plain, shown

__all__ = ["Comparing", "Step", "as_path", "parse_compare", "parse_path"]

Step = str | int | None
"""One step of a path: the name of a field, the index of an item, or None for whatever is there."""

RTOL, ATOL = 1e-5, 1e-8
"""numpy's tolerances."""

MOST_IGNORED = 100
"""Paths that one comparator leaves out."""

MOST_LETTERS = 100
"""Letters of a field's name that are shown."""

_OPTIONS: dict[str, tuple[str, ...]] = {
    "exact": (),
    "close": ("rtol", "atol"),
    "label": (),
    "set": (),
    "json": ("rtol", "atol", "ignore"),
    "function": ("function",),
}
"""The kinds of comparators, and the options that belong to each."""

_ALL_OPTIONS = ("rtol", "atol", "ignore", "function")
_KINDS = f"{', '.join(kind for kind in _OPTIONS if kind != 'function')} or module:function"
_FORMS = f"write {_KINDS}, or a mapping like {{kind: close, rtol: 0.001}}, or one by endpoint"

_PLAIN = re.compile(r"[^\s.\[\]\"'*]+")
_STEP = re.compile(
    r"""\.(?P<name>[^\s.\[\]"'*]+)|(?P<any>\.\*|\[\*\])|\[(?P<index>[0-9]{1,9})\]"""
    r"""|\["(?P<double>[^"]+)"\]|\['(?P<single>[^']+)'\]"""
)


@dataclass(frozen=True)
class Comparing:
    """A comparator and its options; valid, or not constructed.

    ``str()`` tells it in one line, which is part of what makes comparisons countable together: equal
    comparators have equal words, others have others.

    Args:
        kind: ``exact``, ``close``, ``label``, ``set``, ``json`` or ``function``.
        rtol, atol: of ``close`` and ``json``: numbers agree within ``atol + rtol * |champion's|``.
        ignore: of ``json``: paths that are left out, like ``$.time`` or ``$.items[*].id``.
        function: of ``function``: the user's callable, or where it is, as ``module:function``.

    Raises:
        InvalidValue: naming what is wrong, and what is possible.

    >>> str(Comparing("json", ignore=("$.time", "$['id']")))
    'json rtol=1e-05 atol=1e-08 ignore=$.id ignore=$.time'
    """

    kind: str = "close"
    rtol: float = RTOL
    atol: float = ATOL
    ignore: tuple[str, ...] = ()
    function: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        kind: object = self.kind
        if not isinstance(kind, str) or kind not in _OPTIONS:
            raise InvalidValue(f"comparator {shown(kind)} is not known: write {_KINDS}")
        settle = object.__setattr__
        settle(self, "rtol", _tolerance("rtol", self.rtol))
        settle(self, "atol", _tolerance("atol", self.atol))
        settle(self, "ignore", _ignored(self.ignore))
        given = {"rtol": self.rtol != RTOL, "atol": self.atol != ATOL}
        given |= {"ignore": bool(self.ignore), "function": self.function is not None}
        _check_options(self.kind, [name for name in _ALL_OPTIONS if given[name]])
        if self.kind == "function":
            _check_function(self.function)

    @property
    def key(self) -> tuple[str, int]:
        """What tells this comparator from every other one here, two callables of one name included."""
        return str(self), id(self.function) if callable(self.function) else 0

    def __str__(self) -> str:
        words = [self.kind]
        for name in _OPTIONS[self.kind]:
            if name == "ignore":
                words += [f"ignore={path}" for path in self.ignore]
            elif name == "function":
                words.append(self.function if isinstance(self.function, str) else _told(self.function))
            else:
                words.append(f"{name}={getattr(self, name)!r}")
        return " ".join(words)


def parse_compare(value: object) -> dict[str, Comparing]:
    """Return the comparators by endpoint (``*``: all others) that a spec's ``compare`` names.

    It is a kind as text, ``module:function``, a callable, a mapping with ``kind`` and its options, or a
    mapping of any of these by endpoint.

    Raises:
        InvalidValue: naming what is wrong, and what is possible.

    >>> {endpoint: str(found) for endpoint, found in parse_compare({"predict": "label", "*": "set"}).items()}
    {'predict': 'label', '*': 'set'}
    """
    if not isinstance(value, Mapping) or "kind" in value:
        return {"*": _parse(value)}
    if not value:
        raise InvalidValue(f"comparator {{}} is empty: {_FORMS}")
    if all(name in _ALL_OPTIONS for name in value):
        raise InvalidValue(f"comparator {shown(value)} has options and no kind: add one, like kind: close")
    found: dict[str, Comparing] = {}
    for endpoint, entry in value.items():
        name = "*" if endpoint == "*" else check_name(endpoint, "endpoint name")
        try:
            found[name] = _parse(entry)
        except InvalidValue as error:
            raise InvalidValue(f"endpoint {name!r}: {error}") from None
    _check_told_apart(found)
    return found


def _parse(value: object) -> Comparing:
    """Return the comparator that a spec names for one endpoint, or for all."""
    if isinstance(value, Comparing):
        return value
    if isinstance(value, str):
        return Comparing("function", function=value) if ":" in value else Comparing(value)
    if isinstance(value, Mapping):
        return _parse_mapping(value)
    if callable(value):
        return Comparing("function", function=value)
    raise InvalidValue(f"comparator {shown(value)} is not valid: {_FORMS}")


def _parse_mapping(value: Mapping[Any, Any]) -> Comparing:
    if "kind" not in value:
        raise InvalidValue(f"comparator {shown(value)} has no kind: {_FORMS}")
    kind = value["kind"]
    options = {name: option for name, option in value.items() if name != "kind"}
    if isinstance(kind, (Mapping, Comparing)):
        raise InvalidValue(f"comparator {shown(kind)} is not known: write {_KINDS}")
    found = None if kind == "function" else _parse(kind)
    name = "function" if found is None else found.kind
    for option in options:
        if option not in _ALL_OPTIONS:
            raise InvalidValue(f"comparator {name} has no option {shown(option)}; {_belonging(name)}")
    _check_options(name, options)
    if found is None or found.function is None:
        return Comparing(name, **options)
    if options:
        raise InvalidValue(f"comparator {shown(value)} names two functions: write kind: module:function")
    return found


def _check_options(kind: str, given: Mapping[str, Any] | list[str]) -> None:
    for name in given:
        if name not in _OPTIONS[kind]:
            raise InvalidValue(f"option {name} does not belong to comparator {kind}; {_belonging(kind)}")


def _belonging(kind: str) -> str:
    options = () if kind == "function" else _OPTIONS[kind]
    return f"its options: {', '.join(options)}" if options else "it has no options"


def _tolerance(name: str, value: object) -> float:
    number = math.nan
    if isinstance(value, (Real, str)) and not isinstance(value, bool):  # YAML reads 1e-3 as text
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidValue(f"{name} {shown(value)} is not valid: write a finite number from 0 up, like 0.001")
    return abs(number)


# -- paths -----------------------------------------------------------------------------------------------


def _ignored(value: object) -> tuple[str, ...]:
    """Return ignored paths in their one form, each once."""
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise InvalidValue(f"ignore {shown(value)} is not valid: write a list of paths, like [$.time]")
    if len(value) > MOST_IGNORED:
        raise InvalidValue(f"ignore has {len(value)} paths; at most {MOST_IGNORED} are possible")
    return tuple(sorted({as_path(parse_path(path), None) for path in value}))


def parse_path(value: object) -> tuple[Step, ...]:
    """Return the steps of a path: a subset of JSONPath (RFC 9535): ``.name``, ``["name"]``, ``[3]``, ``[*]``.

    >>> parse_path("$.items[*].id")
    ('items', None, 'id')
    """
    wrong = f"ignored path {shown(value)} is not valid"
    if not isinstance(value, str) or not value.startswith("$") or not is_plain(value):
        raise InvalidValue(f"{wrong}: begin with $, as in $.time, $.items[*].id or $.items[3]")
    at, steps = 1, list[Step]()
    while at < len(value):
        if (match := _STEP.match(value, at)) is None:
            raise InvalidValue(
                f'{wrong} from {shown(value[at:])} on: a step is .name, .*, [3], [*] or ["name"]'
            )
        at = match.end()
        name = match["name"] or match["double"] or match["single"]
        steps.append(None if match["any"] else int(match["index"]) if match["index"] else name)
    if not steps:
        raise InvalidValue(f"{wrong}: it names the whole answer, and nothing would be compared")
    return tuple(steps)


def as_path(steps: tuple[Step, ...], longest: int | None = MOST_LETTERS) -> str:
    """Return a path in words; names are cut at so many letters.

    >>> as_path(("items", 3, "user id"))
    '$.items[3]["user id"]'
    """
    return "$" + "".join(_as_step(step, longest) for step in steps)


def _as_step(step: Step, longest: int | None) -> str:
    if not isinstance(step, str):
        return "[*]" if step is None else f"[{step}]"
    if longest is not None:
        step = step if len(step) <= longest else step[: longest - 1] + "…"
        step = step if is_plain(step) else "".join(c if is_plain(c) else "?" for c in step)
    if _PLAIN.fullmatch(step):
        return f".{step}"
    return f"['{step}']" if '"' in step else f'["{step}"]'


# -- functions -------------------------------------------------------------------------------------------


def _check_function(function: object) -> None:
    if isinstance(function, str):
        module, _, path = function.partition(":")
        if all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
            return
        raise InvalidValue(f"comparator {shown(function)} is neither a kind nor module:function: {_FORMS}")
    if not callable(function):
        raise InvalidValue(f"comparator function {shown(function)} is not valid: write module:function")
    if not _name_of(function):
        kind = type(function).__name__
        raise InvalidValue(f"a comparator of type {kind} has no name: give a function that calls it (def)")


def _name_of(function: Any) -> str | None:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}:{name}" if isinstance(module, str) and isinstance(name, str) else None


def _told(function: Any) -> str:
    """Return a callable as ``module:qualname``; one without a name of its own also by line and variables."""
    name, code = _name_of(function), getattr(function, "__code__", None)
    if code is None or "<" not in str(name):
        return str(name)
    words = [f"line={code.co_firstlineno}"]
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
        plain = value is None or isinstance(value, (bool, int, float, str))
        words.append(f"{variable}={shown(value) if plain else type(value).__name__}")
    return f"{name}({', '.join(words)})"


def _check_told_apart(found: Mapping[str, Comparing]) -> None:
    """Refuse two functions of one name: what they count would be counted together."""
    named: dict[str, Comparing] = {}
    for comparing in found.values():
        other = named.setdefault(str(comparing), comparing)
        both = callable(other.function) and callable(comparing.function)
        if both and other.function != comparing.function:
            raise InvalidValue(f"two comparators are called {_told(other.function)}: give each its own name")
