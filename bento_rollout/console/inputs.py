"""What a reviewer is shown of a case, made ready for a template: nothing in it becomes markup or a script."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..reviewing import Shown

__all__ = ["Seen", "plain", "seen"]

NONE = "\u2013"

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"})
"""Pictures that browsers show; none of them can hold a script."""

MOST_ROWS, MOST_CELLS, MOST_TEXT = 500, 50, 200_000
"""Of a table, of a row of it, and characters of a text: more is cut, and the page says so."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a template shows.

    Attributes:
        kind: ``image``, ``text``, ``table``, ``pairs``, ``json`` or ``link``.
        text: of a text, of JSON, of a link; an image's address.
        columns, rows: of a table; of pairs the rows have a name and a value.
        cut: what was left out, in words; empty: nothing.
    """

    kind: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    cut: str = ""


def seen(shown: Shown) -> Seen:
    """Return what is seen of an input; what is not what it says it is, is shown as text.

    >>> seen(Shown("link", "javascript:alert(1)")).kind, seen(Shown("link", "https://a.example/x")).kind
    ('text', 'link')
    """
    content = shown.content
    if shown.kind == "image" and (address := _image(content, shown.media_type)):
        return Seen("image", address)
    if shown.kind == "link" and isinstance(content, str) and _leads(content):
        return Seen("link", content)
    if shown.kind == "table" and (table := _table(content)):
        return table
    if shown.kind == "image":
        return Seen("text", f"An image of type {shown.media_type or 'unknown'} cannot be shown here.")
    return _values(content)


def plain(value: object) -> str:
    r"""Return a value as one line of text.

    >>> plain({"a": 1}), plain("x"), plain(0.1 + 0.2), plain(None)
    ('{"a": 1}', 'x', '0.3', '\u2013')
    """
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _values(content: object) -> Seen:
    if isinstance(content, str):
        return Seen("text", content[:MOST_TEXT], cut=_cut(len(content), MOST_TEXT, "characters"))
    if isinstance(content, Mapping) and content and not any(_is_deep(value) for value in content.values()):
        rows = tuple((str(name), plain(value)) for name, value in list(content.items())[:MOST_ROWS])
        return Seen("pairs", rows=rows, cut=_cut(len(content), MOST_ROWS, "fields"))
    if isinstance(content, Sequence) and content and all(isinstance(row, Mapping) for row in content):
        columns = dict.fromkeys(str(name) for row in content[:MOST_ROWS] for name in row)
        cells = [[row.get(name) for name in columns] for row in content]
        return _table({"columns": list(columns), "rows": cells}) or Seen("text")
    text = json.dumps(content, ensure_ascii=False, indent=2, default=str)
    return Seen("json", text[:MOST_TEXT], cut=_cut(len(text), MOST_TEXT, "characters"))


def _is_deep(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _image(content: object, media_type: str) -> str:
    kind = media_type.partition(";")[0].strip().lower()
    if kind not in IMAGES or not isinstance(content, str):
        return ""
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:{kind};base64,{content}"


def _leads(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable()


def _table(content: object) -> Seen | None:
    if not isinstance(content, Mapping):
        return None
    columns, rows = content.get("columns"), content.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        return None
    if not all(isinstance(row, list) for row in rows):
        return None
    cut = _cut(len(rows), MOST_ROWS, "rows") or _cut(len(columns), MOST_CELLS, "columns")
    return Seen(
        "table",
        columns=tuple(plain(name) for name in columns[:MOST_CELLS]),
        rows=tuple(tuple(plain(cell) for cell in row[:MOST_CELLS]) for row in rows[:MOST_ROWS]),
        cut=cut,
    )


def _cut(has: int, most: int, what: str) -> str:
    return f"{has - most} more {what} are not shown" if has > most else ""
