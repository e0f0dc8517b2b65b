"""What reviewers are shown of a call: its arguments as plain data, a table, text or an image; bounded."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from .arrays import is_array, is_scalar
from .duplicates import duplicate
from .reviewing import Shown

__all__ = ["link_or_text", "named", "plain_of", "show", "take"]

MOST_BYTES = 8 << 20
"""Bytes of an image, or of a file, that is shown."""

MOST_PARTS = 20_000
"""Values that one input shows; of more the first ones, and a word that there are more."""

MOST_ROWS = 200
"""Rows of a table that are shown."""

LONGEST = 100_000
"""Characters of a text that are shown."""

MOST_CHARACTERS = 1 << 24
"""Characters of all texts and images in one input, beyond which none is shown any more."""

DEEPEST = 32
"""Levels of nested data that are shown."""

MOST_PIXELS = 4096
"""Pixels of an image's longer side, beyond which a smaller copy is shown."""

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""The images that browsers show, by how they begin."""


class _File:
    """An uploaded file that is read later, though its folder is cleared by then.

    Attributes:
        nbytes: what one weighs that waits: not many files are held open at a time.
    """

    nbytes = 1 << 20

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._open: BinaryIO | None = path.open("rb")

    def read(self) -> tuple[bytes, int]:
        """Return the file's beginning, and its size; once."""
        file, self._open = self._open, None
        if file is None:
            return b"", 0
        with file:
            size = os.fstat(file.fileno()).st_size
            return file.read(MOST_BYTES + 1), size


def take(
    names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], *, copy: bool = True
) -> Mapping[str, Any]:
    """Return the arguments of a call by name, as they are whatever a model makes of them; never raises.

    Uploaded files are opened: they can be read once, even when their folder is gone.

    Args:
        names: the endpoint's parameters, in their order.
        args, kwargs: what it is called with.
        copy: whether something else uses them before they are shown.
    """
    found = {**dict(zip(names, args, strict=False)), **kwargs}
    return {name: _copy(value, copy=copy) for name, value in found.items()}


def _copy(value: Any, *, copy: bool) -> Any:
    try:
        if isinstance(value, Path):
            return _File(value)
        return duplicate(value) if copy else value
    except BaseException:  # noqa: BLE001 - what cannot be copied (an open file) is shown as it is then
        return value


def show(arguments: Mapping[str, Any]) -> Shown:
    """Return what reviewers see of arguments; never raises, and is never large.

    One argument is shown as what it is: an image, a table, text. Several are shown together as plain data,
    the images among them as ``{"media_type": …, "base64": …}``.

    >>> show({"text": "two small nodules"})
    Shown(kind='text', media_type='')
    >>> show({"age": 61, "smoker": True}).content
    {'age': 61, 'smoker': True}
    """
    try:
        if len(arguments) == 1:
            return _single(next(iter(arguments.values())))
        return Shown("json", {name: _embedded(value) for name, value in arguments.items()})
    except BaseException as error:  # noqa: BLE001 - a case is asked about, whatever its input does when it is looked at
        return Shown("json", {"not shown": f"the input raised {type(error).__name__}"})


def link_or_text(value: object) -> Shown:
    """Return what a ``display:`` function returned: an address, or text.

    >>> link_or_text("https://pacs/7").kind, link_or_text("patient 7").kind
    ('link', 'text')
    """
    text = _text(str(value))
    return Shown("link" if text.startswith(("https://", "http://", "/")) else "text", text)


def named(prediction_id: str, own: str | None) -> Shown:
    """Return a word for a call whose input lies elsewhere: the caller's own id, else the prediction's.

    >>> named("0197", "scan-7").content, named("0197", None).content
    ('inference id scan-7', 'prediction id 0197')
    """
    return Shown("text", f"inference id {_text(own)}" if own else f"prediction id {prediction_id}")


def _text(text: str, most: int = LONGEST) -> str:
    """Return a text, or its beginning, in characters that every file and page can hold.

    JSON can say half of a pair of surrogates, which is no character: it is shown as it is written.
    """
    cut = text[:most]
    try:
        cut.encode()
    except UnicodeEncodeError:
        return cut.encode("utf-8", "backslashreplace").decode()
    return cut


def _single(value: Any) -> Shown:
    if isinstance(value, str):
        return Shown("text", _text(value))
    if (image := _image(value)) is not None:
        return Shown("image", image[1], image[0])
    if isinstance(value, (_File, bytes, bytearray)):
        return _of_bytes(value)
    if (table := _table(value)) is not None:
        return Shown("table", table)
    return Shown("json", plain_of(value))


def _embedded(value: Any) -> Any:
    """Return one of several arguments as plain data."""
    if isinstance(value, str):
        return _text(value)
    if (image := _image(value)) is not None:
        return {"media_type": image[0], "base64": image[1]}
    if isinstance(value, (_File, bytes, bytearray)):
        return _of_bytes(value).content
    table = _table(value)
    return plain_of(value) if table is None else table


def _table(value: Any) -> dict[str, Any] | None:
    """Return a frame, or an array of two dimensions, as columns and rows; None: it is neither."""
    if hasattr(type(value), "iloc") and hasattr(value, "columns"):
        whole = (len(value), len(value.columns))
        most = _columns(whole[0])
        columns, head = list(value.columns[:most]), value.iloc[:MOST_ROWS, :most]
        rows = [list(row) for row in head.itertuples(index=False, name=None)]
    elif is_array(value) and value.ndim == 2 and value.size:  # noqa: PLR2004 - rows and columns
        whole = value.shape
        most = _columns(whole[0])
        columns, rows = list(range(whole[1]))[:most], value[:MOST_ROWS, :most].tolist()
    else:
        return None
    budget = _Budget(2 * MOST_PARTS)
    table: dict[str, Any] = {
        "columns": [_text(str(name), 200) for name in columns],
        "rows": [_plain(row, budget, DEEPEST) for row in rows],
    }
    if whole != (len(rows), len(table["columns"])):
        table["of"] = {"rows": whole[0], "columns": whole[1]}
    return table


def _columns(rows: int) -> int:
    """Return how many columns of a table are shown that has so many rows."""
    return MOST_PARTS // max(1, min(rows, MOST_ROWS))


# -- images and files ---------------------------------------------------------------------------------------


def _image(value: Any) -> tuple[str, str] | None:
    """Return media type and base64 of an image; None: it is none."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", ())
    if not isinstance(value, kind):
        return None
    shown = value
    if max(value.size) > MOST_PIXELS:
        shown = value.copy()
        shown.thumbnail((MOST_PIXELS, MOST_PIXELS))
    while True:
        box = io.BytesIO()
        (shown if shown.mode in _PNG else shown.convert("RGB")).save(box, "PNG")
        if box.tell() <= MOST_BYTES:
            return "image/png", base64.b64encode(box.getvalue()).decode("ascii")
        shown = shown.copy()
        shown.thumbnail((max(1, shown.size[0] // 2), max(1, shown.size[1] // 2)))


_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""Modes of an image that a PNG keeps and browsers show."""


def _of_bytes(value: Any) -> Shown:
    """Return a file as what it is by its first bytes: an image, text, or only its size."""
    name = getattr(value, "name", "")
    data, size = value.read() if isinstance(value, _File) else (bytes(value), len(value))
    if size <= MOST_BYTES:
        for begin, media_type in _IMAGES:
            if data.startswith(begin) and (media_type != "image/webp" or data[8:12] == b"WEBP"):
                return Shown("image", base64.b64encode(data).decode("ascii"), media_type)
        with suppress(UnicodeDecodeError):
            text = data.decode("utf-8")
            if "\0" not in text:
                return Shown("text", text[:LONGEST])
    return Shown("json", {"file": name, "bytes": size})


# -- plain data ---------------------------------------------------------------------------------------------


class _Budget:
    """How many more values are shown, and how many characters of them."""

    def __init__(self, parts: int) -> None:
        self.left, self.characters = parts, MOST_CHARACTERS

    def spend(self) -> bool:
        """Whether there was room for one more."""
        self.left -= 1
        return self.left >= 0

    def spell(self, text: str) -> str:
        """Return a text, or a word that there is more of it, where there is no more room."""
        self.characters -= len(text)
        return text if self.characters >= 0 else CUT


CUT = "…"
"""Stands where more would follow."""


def plain_of(value: Any, most: int = MOST_PARTS) -> Any:
    """Return a value as JSON has it, cut where it is too large or too deep; never raises.

    >>> from enum import Enum
    >>> plain_of({"kind": Enum("Kind", "SOLID").SOLID, "size": float("inf"), "at": (1, 2)})
    {'kind': 1, 'size': 'inf', 'at': [1, 2]}
    """
    try:
        return _plain(value, _Budget(most), DEEPEST)
    except BaseException as error:  # noqa: BLE001 - whatever a value does when it is looked at
        return f"({type(value).__name__}: {type(error).__name__})"


def _plain(value: Any, budget: _Budget, depth: int) -> Any:  # noqa: PLR0911 - a table of kinds
    if not budget.spend() or depth < 0:
        return CUT
    value = value.value if isinstance(value, Enum) else value
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or abs(int(value)) < 1 << 63 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return budget.spell(_text(value) if len(value) <= LONGEST else _text(value) + CUT)
    if is_scalar(value):
        inner = str(value) if value.dtype.kind in "mMV" else value.item()
        return _plain(str(inner) if is_scalar(inner) else inner, budget, depth - 1)
    if isinstance(value, Mapping):
        return _entries(value.items(), budget, depth)
    if (parts := _parts(value, budget.left)) is not None:
        return _items(parts, budget, depth)
    if (fields := _fields(value)) is not None:
        return _entries(fields.items(), budget, depth)
    if (image := _image(value)) is not None:
        return {"media_type": image[0], "base64": budget.spell(image[1])}
    return _word(value)


def _entries(pairs: Iterable[tuple[Any, Any]], budget: _Budget, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if budget.left <= 0:
            found[CUT] = CUT
            break
        key = name.value if isinstance(name, Enum) else name
        found[budget.spell(_text(str(key), 200))] = _plain(value, budget, depth - 1)
    return found


def _items(parts: Iterable[Any], budget: _Budget, depth: int) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        if budget.left <= 0:
            found.append(CUT)
            break
        found.append(_plain(part, budget, depth - 1))
    return found


def _parts(value: Any, most: int) -> Iterable[Any] | None:
    """Return the items of what has some, of large arrays only the first ones; None: it has none."""
    if is_array(value):
        if value.ndim == 0:
            return [value.item()]
        across = max(1, value.size // max(1, len(value)))
        head = value[: max(1, most // across) + 1]
        return head.tolist()  # type: ignore[no-any-return]  # numpy's
    if hasattr(type(value), "iloc"):
        if hasattr(value, "columns"):
            return value.iloc[: max(1, most // max(1, value.shape[1])) + 1].to_dict("records")  # type: ignore[no-any-return]  # pandas'
        return value.iloc[:most].tolist()  # type: ignore[no-any-return]  # pandas'
    return value if isinstance(value, (list, tuple, set, frozenset)) else None


def _fields(value: Any) -> Mapping[str, Any] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields") and hasattr(value, "__dict__"):
        return {**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})}
    return None


def _word(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID, Path)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value)}
    return f"({type(value).__name__})"
