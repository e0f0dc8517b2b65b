"""JSON in one canonical form, and a bounded strict reader for JSON of strangers.

The canonical form is RFC 8785 (JCS) for values without floats: UTF-8 without a byte order mark, no white
space, members sorted by name, integers in plain decimal from -(2^53-1) to 2^53-1, and only the escapes that
JSON needs: of the quotation mark, the backslash, and the characters below U+0020 (five by a letter, the
others as ``u00xx`` in lower case). Two equal values have the same bytes, so a value may be signed or
authenticated by its bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from typing import Any, NoReturn

__all__ = [
    "GREATEST",
    "Malformed",
    "as_base64",
    "as_constant",
    "as_integer",
    "as_list",
    "as_object",
    "as_text",
    "canonical",
    "parse",
    "shown",
]

GREATEST = 2**53 - 1
"""The greatest integer that every JSON reader keeps exactly."""

DEPTH = 16
"""How deep lists and objects may lie in each other; no format here needs more than five."""

_STRING = re.compile(rb'"[^"]*(?:"|\Z)')
SHOWN = 80
"""How many characters of a text a message shows."""

_BRACKET = re.compile(rb"[\[\]{}]")
_OPENING = frozenset((b"[", b"{"))


class Malformed(ValueError):
    """Bytes that are no JSON of the wanted kind; the message says what is wrong, and shows no content."""


def canonical(value: object) -> bytes:
    """Return the canonical JSON of a value.

    Args:
        value: dicts with text keys, lists, text, integers, booleans and None.

    Raises:
        Malformed: a float, an integer beyond 2^53-1, text with a lone surrogate, or another type.

    >>> canonical({"b": [1, 2], "a": "é"}).decode()
    '{"a":"é","b":[1,2]}'
    """
    _check(value)
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Malformed(f"this has no canonical JSON: {error}") from None


def _check(value: object, depth: int = 0) -> None:
    """Refuse what Python would write and RFC 8785 would write otherwise, or not at all."""
    if depth > DEPTH:
        raise Malformed(f"lists and objects lie more than {DEPTH} deep")
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or any(character > "\uffff" for character in name):
                raise Malformed("a member's name must be text of the basic multilingual plane")
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, int):
        if abs(value) > GREATEST:
            raise Malformed(f"{value:#x} is beyond 2^53-1")
    elif value is not None and not isinstance(value, str):
        raise Malformed(f"{type(value).__name__} has no canonical JSON")


def parse(raw: bytes, *, limit: int, containers: int) -> Any:
    """Return what JSON says, of dicts, lists, text, integers, booleans and None.

    The bounds are checked before anything is built, so that what a stranger sent costs no more than they say.

    Args:
        raw: the bytes.
        limit: how many bytes there may be.
        containers: how many lists and objects there may be.

    Raises:
        Malformed: too large, too deep, no UTF-8, no JSON, a name twice in one object, a float, ``NaN``, an
            integer beyond 2^53-1, or a lone surrogate.
    """
    if len(raw) > limit:
        raise Malformed(f"it has {len(raw)} bytes, more than {limit}")
    _bound(raw, containers)
    try:
        value = _DECODER.decode(raw.decode())
    except Malformed:
        raise
    except UnicodeDecodeError as error:
        raise Malformed(f"byte {error.start} is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise Malformed("no JSON") from None
    return _whole(value) if rb"\u" in raw else value  # only an escape can be half of a pair


def _bound(raw: bytes, containers: int) -> None:
    """Count lists and objects, and how deep they lie, without building any."""
    depth = count = 0
    plain = raw.replace(rb"\\", b"").replace(
        rb"\"", b""
    )  # no string ends early; one pattern with escapes backtracks
    for bracket in _BRACKET.finditer(_STRING.sub(b"", plain)):
        if bracket[0] in _OPENING:
            depth, count = depth + 1, count + 1
            if depth > DEPTH:
                raise Malformed(f"lists and objects lie more than {DEPTH} deep")
            if count > containers:
                raise Malformed(f"it has more than {containers} lists and objects")
        else:
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, unless it has a name twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()  # to count each name would take hours where a stranger wrote a million
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Malformed(f"an object has the member {shown(twice)} twice")
    return members


def _integer(digits: str) -> int:
    """Read an integer, unless it is too large or a negative zero."""
    if len(digits) > len(str(-GREATEST)) or abs(int(digits)) > GREATEST or digits == "-0":
        raise Malformed(f"the number {digits[:20]} is no integer from -(2^53-1) to 2^53-1")
    return int(digits)


def _no_float(text: str) -> NoReturn:
    raise Malformed(f"the number {text[:20]} is no integer")


def _whole(value: Any) -> Any:
    """Refuse text that has no UTF-8: JSON can escape one half of a surrogate pair."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and not item.isascii():
            try:
                item.encode()
            except UnicodeEncodeError:
                raise Malformed("a text holds half of a surrogate pair") from None
    return value


def shown(value: object) -> str:
    """Return a value as a message may show it: short, and in quotes if it is text.

    >>> shown("x" * 100)[:20], shown([1])
    ("'xxxxxxxxxxxxxxxxxxx", 'list')
    """
    if isinstance(value, str):
        return ascii(value if len(value) <= SHOWN else value[:SHOWN] + "...")
    if isinstance(value, int) and abs(value) > GREATEST:
        return f"an integer of {value.bit_length()} bits"  # Python writes no decimal of many thousand digits
    return ascii(value) if value is None or isinstance(value, int) else type(value).__name__


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)


def as_object(value: Any, members: Collection[str], where: str) -> dict[str, Any]:
    """Return an object that has exactly these members.

    Raises:
        Malformed: it is none, or has others, or lacks some.
    """
    if not isinstance(value, dict):
        raise Malformed(f"{where} is {shown(value)}, no object")
    if unknown := sorted(value.keys() - set(members)):
        raise Malformed(f"{where} has the unknown member {shown(unknown[0])}")
    if missing := sorted(set(members) - value.keys()):
        raise Malformed(f"{where} lacks the member {missing[0]!r}")
    return value


def as_constant(value: Any, wanted: object, where: str) -> None:
    """Check that a value is the only one that is allowed there; True is not 1.

    Raises:
        Malformed: it is another one.
    """
    if type(value) is not type(wanted) or value != wanted:
        raise Malformed(f"{where} is {shown(value)}, not {wanted!r}")


def as_list(value: Any, where: str) -> list[Any]:
    """Return a list.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(value, list):
        raise Malformed(f"{where} is {shown(value)}, no list")
    return value


def as_text(value: Any, where: str, pattern: re.Pattern[str] | None = None, wanted: str = "") -> str:
    """Return text, of this pattern as a whole if one is given; ``wanted`` says it in words.

    Raises:
        Malformed: it is no text, or of another form.
    """
    if not isinstance(value, str):
        raise Malformed(f"{where} is {shown(value)}, no text")
    if pattern is not None and not pattern.fullmatch(value):
        raise Malformed(f"{where} is {shown(value)}, not {wanted}")
    return value


def as_integer(value: Any, where: str) -> int:
    """Return an integer from 0 to 2^53-1.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= GREATEST:
        raise Malformed(f"{where} is {shown(value)}, no integer from 0 to 2^53-1")
    return value


def as_base64(value: Any, where: str) -> bytes:
    """Return the bytes of standard base64 with padding, in its one canonical form.

    Raises:
        Malformed: it is no text, or in another form.
    """
    text = as_text(value, where)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{where} is no base64") from None
    if base64.b64encode(raw).decode() != text:
        raise Malformed(f"{where} is not in the canonical form of base64")
    return raw
