"""Prints facts: a table with colour in a terminal, aligned plain text in a pipe, or one JSON document."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

__all__ = [
    "EMPTY",
    "Block",
    "Cell",
    "Grid",
    "Line",
    "OutputLost",
    "console_of_terminal",
    "emit",
    "emit_json",
    "in_terminal",
    "pour",
    "renderable",
    "safe_json",
    "show",
    "tolerate_any_text",
    "visible",
]


class OutputLost(Exception):
    """Standard output could not be written, for another reason than that its reader went away."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of text and its style, in the words of `rich`."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A label and what it is about; without a label, a sentence."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; its ``firm`` columns head the paragraphs that a terminal shows which is too narrow for it.

    Where there is no terminal a table is as wide as its texts, unless ``longest`` says how long a line may
    be: then the text of the last column goes on below.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    firm: frozenset[str] = frozenset()
    longest: int | None = None


Block = Line | Grid

EMPTY = "-"
"""What stands in a table where nothing is to be said."""


PADDING, NARROW = 2, 16
"""How many characters are between columns, and how few of a longer text still are a column."""


def tolerate_any_text() -> None:
    """Let text that the terminal's encoding lacks be shown escaped, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def in_terminal() -> bool:
    """Whether standard output is a terminal."""
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except ValueError:
        return False


def emit(text: str) -> bool:
    """Print text at once; False when the reader has gone away, which is quiet.

    Raises:
        OutputLost: when it cannot be written for another reason: it is closed, or a disk is full.
    """
    return _put(lambda: sys.stdout.write(text + "\n"))


def pour(content: memoryview) -> bool:
    """Write bytes as they are; else as `emit`."""
    return _put(lambda: sys.stdout.buffer.write(content))


def _put(write: Callable[[], object]) -> bool:
    if sys.stdout is None:
        raise OutputLost("standard output is closed: nothing could be written there")
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return False
    except OSError as error:
        _silence()
        raise OutputLost(f"standard output cannot be written: {error.strerror}") from None
    return True


def emit_json(document: Any, *, indent: int | None = 2) -> bool:
    """Print one JSON document; with ``indent=None`` on one line."""
    return emit(safe_json(json.dumps(document, indent=indent, ensure_ascii=False)))


def safe_json(text: str) -> str:
    """Return JSON text that says the same, and which standard output can show without harm.

    Characters that move a cursor or turn the text around are escaped (JSON itself leaves those from U+007F
    on as they are), and where standard output is not UTF-8 every one that is not ASCII.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    harmful = _HARMFUL if encoding.lower().replace("-", "").startswith("utf") else _BEYOND_ASCII
    return harmful.sub(_escaped, text)


_HARMFUL = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BEYOND_ASCII = re.compile("[^\0-\x7e]")


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] > "\x7f" else "\\u007f"


def visible(text: str) -> str:
    """Return text on one line, with control characters written out: nobody's reason may move the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def show(blocks: Iterable[Block]) -> None:
    """Print blocks for people."""
    blocks = list(blocks)
    if in_terminal():
        console = console_of_terminal()
        with console.capture() as captured:
            console.print(renderable(blocks))
        emit(captured.get().rstrip("\n"))
    else:
        emit("\n".join(_plain(blocks)))


def console_of_terminal() -> Console:
    """Return the terminal as `rich` writes to it."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def renderable(blocks: Iterable[Block]) -> RenderableType:
    """Return blocks as `rich` draws them."""
    blocks = list(blocks)
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    width = max((len(block.label) for block in blocks if isinstance(block, Line)), default=0)
    parts: list[RenderableType] = []
    for kind, members in groupby(blocks, lambda block: isinstance(block, Line) and bool(block.label)):
        if kind:
            lines = Table.grid(padding=(0, 2))
            lines.add_column(style="dim", no_wrap=True)
            lines.add_column(overflow="fold")
            for line in members:
                if isinstance(line, Line):
                    lines.add_row(line.label.ljust(width), _text(line))
            parts.append(lines)
            continue
        for block in members:
            if isinstance(block, Line):  # a sentence stands where the labels stand
                parts.append(_text(block))
                continue
            parts += [Text(""), _Fitted(block)] if parts else [_Fitted(block)]
    return Group(*parts)


class _Fitted:
    """A grid as `rich` draws it: a table, or a paragraph for each row where columns would be too narrow."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        grid = self._grid
        texts = [list(grid.columns), *([visible(c.text) for c in row] for row in grid.rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        least = sum(
            PADDING + (width if column in grid.firm else min(width, NARROW))
            for column, width in zip(grid.columns, widths, strict=True)
        )
        return self._paragraphs() if grid.firm and least > options.max_width else iter([self._table()])

    def _table(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="dim", padding=(0, PADDING, 0, 0))
        for column in self._grid.columns:
            table.add_column(column.upper(), overflow="fold", no_wrap=column in self._grid.firm)
        for row in self._grid.rows:
            table.add_row(*(Text(visible(cell.text), cell.style) for cell in row))
        return table

    def _paragraphs(self) -> Iterator[RenderableType]:
        from rich.padding import Padding
        from rich.text import Text

        for row in self._grid.rows:
            head, rest = Text(overflow="fold"), Text(overflow="fold")
            for column, cell in zip(self._grid.columns, row, strict=True):
                if column in self._grid.firm:
                    head.append(visible(cell.text), cell.style).append("  ")
                elif cell.text != EMPTY:
                    rest.append(f"{column} ", "dim").append(visible(cell.text), cell.style).append("  ")
            yield head
            yield Padding(rest, (0, 0, 0, 4))


def _text(line: Line) -> Text:
    from rich.text import Text

    return Text.assemble(*((visible(cell.text), cell.style) for cell in line.cells), overflow="fold")


def _plain(blocks: Iterable[Block]) -> Iterator[str]:
    blocks = list(blocks)
    width = max((len(block.label) for block in blocks if isinstance(block, Line)), default=0)
    for index, block in enumerate(blocks):
        if isinstance(block, Line):
            text = "".join(visible(cell.text) for cell in block.cells)
            yield f"{block.label:<{width}}  {text}".rstrip() if block.label else text
        else:
            if index:
                yield ""
            yield from _aligned(block)


def _aligned(grid: Grid) -> Iterator[str]:
    rows = [tuple(column.upper() for column in grid.columns)]
    rows += [tuple(visible(cell.text) for cell in row) for row in grid.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if grid.longest is not None:
        before = sum(widths[:-1]) + PADDING * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(NARROW, grid.longest - before))
        rows = [part for row in rows for part in _below(row, widths[-1])]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _below(row: tuple[str, ...], width: int) -> Iterator[tuple[str, ...]]:
    """Yield a row, and those in which the text of its last column goes on."""
    first, *more = textwrap.wrap(row[-1], width, break_on_hyphens=False) or [""]
    yield (*row[:-1], first)
    for text in more:
        yield (*[""] * (len(row) - 1), text)


def _silence() -> None:
    """Point standard output nowhere, so that nothing complains when the process ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
