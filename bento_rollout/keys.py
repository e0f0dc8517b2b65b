"""Routing keys: where a key is read from, and which text it becomes; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .arrays import is_array, is_scalar
from .errors import InvalidKey, InvalidValue
from .values import shown

__all__ = ["MAX_KEY_BYTES", "KeySource", "follow", "normal_key", "normal_keys", "quiet_key"]

MAX_KEY_BYTES = 8192
"""A longer key is refused: it is a payload, and no name of somebody."""

_LONGEST_WHOLE = 10**4000
"""No integer beyond this is written out: Python refuses to, from 4 300 digits on."""

_REQUEST_SOURCES = ("header", "cookie", "query", "baggage")
_ARGUMENT_SOURCES = ("field", "rows")
_FORMS = "header:NAME, cookie:NAME, query:NAME, baggage:NAME, field:ARG, rows:ARG or module:function"


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a routing key (or an inference id) is read from.

    Attributes:
        kind: ``header``, ``cookie``, ``query``, ``baggage``, ``field``, ``rows`` or ``call``.
        name: the header's, cookie's or argument's name; for ``call`` the module.
        path: the attributes or items that lead from an argument to the key; for ``call`` the function's name.
    """

    kind: str
    name: str
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: object) -> KeySource:
        """Return the source that a text like ``header:x-user`` or ``rows:batch.user_id`` names.

        >>> KeySource.parse("field:tx.id")
        KeySource(kind='field', name='tx', path=('id',))
        """
        if not isinstance(text, str) or ":" not in text:
            raise InvalidValue(f"key source {shown(text)} is not valid: write {_FORMS}")
        kind, _, rest = text.partition(":")
        if not rest.strip() or rest != rest.strip():
            raise InvalidValue(
                f"key source {shown(text)} names nothing after the colon, or has blanks around it"
            )
        if kind in _REQUEST_SOURCES:
            if not rest.isprintable() or (kind != "query" and any(letter in rest for letter in ' ,;="')):
                raise InvalidValue(f"key source {shown(text)}: {rest!r} is not the name of a {kind}")
            return cls(kind, rest.lower() if kind == "header" else rest)
        if kind in _ARGUMENT_SOURCES:
            name, *path = rest.split(".")
            if not name.isidentifier() or not all(path):
                raise InvalidValue(
                    f"key source {shown(text)} is not valid: "
                    f"write {kind}:ARGUMENT or {kind}:ARGUMENT.attribute"
                )
            return cls(kind, name, tuple(path))
        if not all(part.isidentifier() for part in (*kind.split("."), *rest.split("."))):
            kinds = ", ".join((*_REQUEST_SOURCES, *_ARGUMENT_SOURCES))
            raise InvalidValue(
                f"key source {shown(text)} is neither of a known kind ({kinds}) nor module:function"
            )
        return cls("call", kind, tuple(rest.split(".")))

    def __str__(self) -> str:
        if self.kind == "call":
            return f"{self.name}:{'.'.join(self.path)}"
        return f"{self.kind}:{'.'.join((self.name, *self.path))}"


def follow(value: Any, path: Sequence[str]) -> Any:
    """Return what a path of items, attributes or positions leads to, or None when it leads nowhere."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif (isinstance(value, (list, tuple)) or is_array(value)) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = getattr(value, part, None)
        if value is None:
            return None
    return value


def normal_key(key: object) -> str:
    """Return a key as text: text as given, integers and floats of integral value as decimal digits.

    Raises:
        InvalidKey: for None, an empty text, more than 8 KiB of UTF-8, text that is not encodable, a boolean,
            NaN, an infinity, a float with a fraction, or any other type.

    >>> normal_key(7.0), normal_key(7), normal_key("7")
    ('7', '7', '7')
    """
    if type(key) is str and key.isascii() and 0 < len(key) <= MAX_KEY_BYTES:
        return key  # as nearly all are
    if is_scalar(key):
        key = key.item()
    text = str.__str__(key) if isinstance(key, str) else _digits(key)
    if not text:
        raise InvalidKey("the key is empty")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKey("the key is not valid Unicode text (it holds a lone surrogate)") from None
    if size > MAX_KEY_BYTES:
        raise InvalidKey(f"the key has {size} bytes; at most {MAX_KEY_BYTES} are hashed")
    return text


def _digits(key: object) -> str:
    if isinstance(key, bool) or not isinstance(key, (int, float)):
        raise InvalidKey(f"a key must be text or a whole number, not {_kind(key)}")
    if isinstance(key, float) and not key.is_integer():
        raise InvalidKey(f"a key must be text or a whole number, not {key!r}")
    if not -_LONGEST_WHOLE < key < _LONGEST_WHOLE:
        raise InvalidKey("the key is a number of over 4000 digits")
    return str(int(key))


def _kind(key: object) -> str:
    return "nothing (null)" if key is None else type(key).__name__


def quiet_key(key: object) -> str | None:
    """Return a key as text, or None when it cannot be hashed: a caller's odd key costs no answer."""
    if key is None:
        return None
    try:
        return normal_key(key)
    except InvalidKey:
        return None


def normal_keys(keys: Any) -> list[str]:
    """Return many keys (a list, a numpy array, a pandas series, …) as text, fast where all are alike.

    Raises:
        InvalidKey: for a key that `normal_key` refuses, or for one text instead of a list of keys.

    >>> normal_keys([7, "u1"])
    ['7', 'u1']
    """
    if isinstance(keys, (str, bytes)):
        raise InvalidKey(f"a list of keys is expected, not one {type(keys).__name__}: write [{shown(keys)}]")
    if is_array(keys) and keys.ndim != 1:
        raise InvalidKey(f"an array of keys has one dimension, not {keys.ndim}")
    listed: list[Any] = keys.tolist() if is_array(keys) else list(keys)
    kinds = set(map(type, listed))
    if kinds == {str} and _plain(listed):
        return listed
    if kinds == {int} and max(listed) < _LONGEST_WHOLE and min(listed) > -_LONGEST_WHOLE:
        return list(map(str, listed))
    return [_numbered(index, key) for index, key in enumerate(listed)]


def _plain(texts: list[str]) -> bool:
    """Whether no text needs a closer look; passes at the speed of C instead of a call for each key."""
    return all(texts) and all(map(str.isascii, texts)) and max(map(len, texts)) <= MAX_KEY_BYTES


def _numbered(index: int, key: object) -> str:
    try:
        return normal_key(key)
    except InvalidKey as error:
        raise InvalidKey(f"key {index}: {error}") from None
