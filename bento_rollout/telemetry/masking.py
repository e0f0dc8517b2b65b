"""`Masking`: a prediction's arguments as plain data for a log line, without what must not be told; pure.

What is not known to be plain is never printed, and a path that leads where it cannot be followed takes the
whole argument with it: what was meant to be hidden is hidden, or nothing is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import RootModel

from ..keys import quiet_key
from ..kinds import Fields, Kind, class_of, read, step_of
from .paths import ITEM, Does, Node, Nodes, after, ways_to

__all__ = ["MASKED", "MOST_BYTES", "Masking", "Told"]

MASKED = "***"
"""What stands for a value that is masked."""

MOST_BYTES = 6000
"""Bytes of JSON that the arguments of one line may take, about."""

LONGEST_TEXT = 2000
"""Characters of one text that are told."""

MOST_ITEMS = 20
"""Items of one list, and rows of one table, that are told."""

HASHED = 1 << 16
"""Bytes of a structure that its hash is made of; of a text or of bytes it is all."""

DEEPEST = 12
"""Levels of an argument that are told."""

_LONGEST_NAME = 100
"""Characters of a field's name that are told."""

_WHOLE = 10**40
"""No integer beyond this is written out."""

_SCALARS = frozenset({"datetime", "decimal", "fractions", "ipaddress", "uuid"})
"""Modules whose objects are told by their text."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a line tells of a prediction's arguments. Immutable.

    Attributes:
        inputs: by argument, plain data.
        left_out: the arguments that could not be told.
        matched: the paths that led to something.
        missing: the paths that led to nothing where they should have led to something.
    """

    inputs: dict[str, Any]
    left_out: tuple[str, ...]
    matched: frozenset[str]
    missing: frozenset[str]


class Masking:
    """Which parts of arguments are left out, masked or hashed.

    Args:
        drop, mask, hashes: paths like ``argument.field``, ``rows[].name`` or ``patient.*``. Of several that
            lead to the same place the first of the three wins; of one that leads into what another leads to,
            the other.
        hashed: the keyed hash of a text.

    >>> Masking(mask=["patient.name"]).tell({"patient": {"name": "Ann", "age": 7}}).inputs
    {'patient': {'name': '***', 'age': 7}}
    """

    def __init__(
        self,
        *,
        drop: Collection[str] = (),
        mask: Collection[str] = (),
        hashes: Collection[str] = (),
        hashed: Callable[[str], str] | None = None,
    ) -> None:
        if hashes and hashed is None:
            raise ValueError("paths are to be hashed, and nothing hashes")
        self._hashed = hashed or str
        self._root = Node()
        for does, paths in ((Does.DROP, drop), (Does.MASK, mask), (Does.HASH, hashes)):
            for path in paths:
                self._root.add(path, does)

    def tell(self, inputs: Mapping[str, Any]) -> Told:
        """Return what may be told of a prediction's arguments; never raises an `Exception`."""
        walk = _Walk(self._hashed, MOST_BYTES, MOST_ITEMS, LONGEST_TEXT)
        told: dict[str, Any] = {}
        left_out, room = [], MOST_BYTES
        for number, (name, value) in enumerate(inputs.items()):
            if room <= 0:
                told[_MORE] = f"{len(inputs) - number} more"
                break
            node, share = self._root.steps.get(name), room // (len(inputs) - number)
            walk.left = share - len(name) - 6
            try:
                plain = walk.at(() if node is None else (node,), value, 0)
            except Exception:  # noqa: BLE001 - astray, or whatever an argument does when it is looked at
                left_out.append(name)
            else:
                if plain is not _GONE:
                    told[name] = plain
            room -= share - walk.left
        missing = frozenset(walk.missing - walk.matched)
        return Told(told, tuple(left_out), frozenset(walk.matched), missing)


class _Astray(Exception):
    """A path leads where it cannot be followed."""


_GONE = object()
"""Stands for what is left out."""


class _Walk:
    """Makes plain data of arguments, as much as there is room for.

    Attributes:
        left: bytes of JSON that there is still room for.
        matched: the paths that led to something.
        missing: the paths that a mapping or a model had no field for.
    """

    def __init__(self, hashed: Callable[[str], str], room: int, items: int, letters: int) -> None:
        self.left = room
        self.matched: set[str] = set()
        self.missing: set[str] = set()
        self._hashed, self._most, self._letters = hashed, items, letters

    def at(self, nodes: Nodes, value: Any, depth: int) -> Any:
        """Return what is told of a value that paths may lead to, or `_GONE`."""
        ends = [node for node in nodes if node.does is not None]
        if not ends:
            return self._shown(nodes, value, depth)
        self.matched.update(*(node.ends for node in ends))
        does = min((node.does for node in ends if node.does is not None), key=lambda does: does.value)
        if does is Does.DROP:
            return _GONE
        if does is Does.MASK:
            self.left -= len(MASKED) + 4
            return MASKED
        text = None if value is None else self._hashed(_canonical(value))
        self.left -= len(text or "") + 6
        return text

    def _shown(self, nodes: Nodes, value: Any, depth: int) -> Any:
        if isinstance(value, RootModel):
            return self._shown(nodes, value.root, depth)
        kind, contents = read(value)
        self.left -= 4
        if kind is Kind.ENUM:
            return self._shown(nodes, contents, depth + 1)
        if kind in _FIELDS:
            return self._fields(nodes, type(value), contents, depth)
        if kind is Kind.FRAME:
            return self._rows(nodes, contents, depth)
        if kind in _ITEMS and (kind is not Kind.ARRAY or contents.ndim):
            items = contents.iloc[: self._most].tolist() if kind is Kind.SERIES else contents
            return self._list(nodes, items, len(contents), depth)
        if kind is not Kind.NOTHING and any(node.steps for node in nodes):
            raise _Astray
        return self._scalar(kind, contents)

    # -- what has parts --------------------------------------------------------------------------------

    def _fields(self, nodes: Nodes, cls: type, fields: Mapping[Any, Any], depth: int) -> dict[str, Any] | str:
        if any(ITEM in node.steps for node in nodes):
            raise _Astray
        if depth > DEEPEST:
            return _MORE
        told: dict[str, Any] = {}
        seen: set[str] = set()
        for number, (key, value) in enumerate(fields.items()):
            if self.left <= 0:
                told[_MORE] = f"{len(fields) - number} more"
                return told
            name = step_of(key)
            if _is_nameless(key) and any(node.steps for node in nodes):
                raise _Astray
            ways = ways_to(cls, name) if nodes else []
            seen.update(way[0] for way in ways)
            plain = self.at(after(nodes, *ways), value, depth + 1)
            if plain is not _GONE:
                told[self._text(name, _LONGEST_NAME)] = plain
        for node in nodes:
            for step in node.steps.keys() - seen - {"*"}:
                self.missing |= node.steps[step].below
        return told

    def _list(self, nodes: Nodes, items: Iterable[Any], count: int, depth: int) -> list[Any] | str:
        if any(node.steps.keys() - {ITEM} for node in nodes):
            raise _Astray
        return self._items(after(nodes, (ITEM,)), items, count, depth)

    def _rows(self, nodes: Nodes, frame: Any, depth: int) -> list[Any] | str:
        """Return a table row by row; a path may name a column of the table, or of each row."""
        own = (Node({step: place for step, place in node.steps.items() if step != ITEM}) for node in nodes)
        inner = (*after(nodes, (ITEM,)), *(node for node in own if node.steps))
        if inner and any(map(_is_nameless, frame.columns)):
            raise _Astray
        width = frame.shape[1]
        shown = min(width, max(self.left // 8, 1))
        head, names = frame.iloc[: self._most, :shown], [step_of(name) for name in frame.columns[:shown]]
        cells = [head.iloc[:, number].tolist() for number in range(shown)]
        rows = (Fields(zip(names, row, strict=True)) for row in zip(*cells, strict=True))
        missing = set(self.missing)
        told = self._items(inner, rows, len(frame), depth)
        if shown < width:  # a column may be among those that are not shown
            self.missing = missing
        return told

    def _items(self, inner: Nodes, items: Iterable[Any], count: int, depth: int) -> list[Any] | str:
        if depth > DEEPEST:
            return _MORE
        told: list[Any] = []
        looked_at = 0
        for _, item in zip(range(self._most), items, strict=False):
            if self.left <= 0:
                break
            plain = self.at(inner, item, depth + 1)
            looked_at += 1
            if plain is not _GONE:
                told.append(plain)
        if looked_at < count:
            told.append(f"{_MORE} {count - looked_at} more")
            self.left -= 24
        return told

    # -- what has none ---------------------------------------------------------------------------------

    def _scalar(self, kind: Kind, contents: Any) -> Any:
        if kind in (Kind.NOTHING, Kind.TRUTH):
            return None if contents is None else bool(contents)
        if kind is Kind.NUMBER:
            return self._number(contents)
        if kind is Kind.TEXT:
            return self._text(str(contents), self._letters)
        if kind is Kind.BYTES:
            return self._bytes(bytes(contents))
        if kind is Kind.ARRAY:
            return self._shown((), contents.item(), DEEPEST)
        return self._object(contents)

    def _number(self, number: Any) -> Any:
        if isinstance(number, int):
            whole = int(number)
            self.left -= min(whole.bit_length() // 3, 40)
            return whole if -_WHOLE < whole < _WHOLE else f"an integer of {whole.bit_length()} bits"
        if isinstance(number, float):
            self.left -= len(repr(number))
            return float(number) if math.isfinite(number) else str(float(number))
        return self._text(str(number), _LONGEST_NAME)

    def _text(self, text: str, longest: int) -> str:
        width = _width(text[:longest])
        room = min(longest, max(self.left // width, 1))
        if len(text) > room:
            self.left -= width * room + 30
            return f"{text[:room]}{_MORE} ({len(text)} characters)"
        self.left -= width * len(text)
        return text

    def _bytes(self, contents: bytes) -> str:
        return self._text(f"{len(contents)} bytes", _LONGEST_NAME)

    def _object(self, value: Any) -> str:
        """Return the text of what is known to be plain, the name of a file, and of others the class."""
        for base in type(value).__mro__:
            module = base.__module__.partition(".")[0]
            if module == "pathlib":
                return self._text(str(value.name), _LONGEST_NAME)
            if module in _SCALARS:  # by its own text, whatever a user's class makes of it
                return self._text(cast(Any, base).__str__(value), _LONGEST_NAME)
        return self._text(f"<{class_of(value)}>", _LONGEST_NAME)


class _Whole(_Walk):
    """Makes of a structure what it is hashed by: all that belongs to it, or nothing."""

    def _bytes(self, contents: bytes) -> str:
        return self._text(contents.decode("latin-1"), self._letters)

    def _object(self, value: Any) -> str:
        text = super()._object(value)
        if text.startswith("<"):
            raise _Astray
        return text


def _canonical(value: Any) -> str:
    """Return the text that a value is hashed by; of a text, and of a number that is a key, as a key's."""
    kind, contents = read(value)
    if kind is Kind.TEXT:
        return str(contents)
    if kind is Kind.BYTES:
        return bytes(contents).decode("latin-1")
    key = quiet_key(value)
    return repr(_Whole(str, HASHED, HASHED, HASHED).at((), value, 0)) if key is None else key


def _is_nameless(key: Any) -> bool:
    """Whether a key is a tuple, or the like: no path can name it, though one may be meant to."""
    return not isinstance(key, str) and step_of(key).startswith("(")


def _width(text: str) -> int:
    """Return the most bytes that a character of a text takes in JSON."""
    if not text.isascii():
        return 12
    if not text.isprintable():
        return 6
    return 2 if '"' in text or "\\" in text else 1


_FIELDS = frozenset({Kind.MAPPING, Kind.MODEL})
_ITEMS = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.ARRAY, Kind.SERIES})

_MORE = "…"
"""Stands for what there is no room for."""
