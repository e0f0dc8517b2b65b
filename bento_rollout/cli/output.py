"""Prints facts: a table with colour in a terminal, aligned plain text in a pipe, or one JSON document."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "Block",
    "Cell",
    "Grid",
    "Line",
    "OutputLost",
    "console_of_terminal",
    "emit",
    "emit_json",
    "in_terminal",
    "renderable",
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
    """A table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Block = Line | Grid


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
        OutputLost: when it cannot be written for another reason, like a full disk.
    """
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(text + "\n")
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
    return emit(json.dumps(document, indent=indent, ensure_ascii=False))


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
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for is_grid, members in groupby(blocks, lambda block: isinstance(block, Grid)):
        if not is_grid:
            lines = Table.grid(padding=(0, 2))
            lines.add_column(style="dim", no_wrap=True)
            lines.add_column(overflow="fold")
            for line in members:
                if isinstance(line, Line):
                    lines.add_row(
                        line.label, Text.assemble(*((visible(c.text), c.style) for c in line.cells))
                    )
            parts.append(lines)
            continue
        for grid in members:
            if isinstance(grid, Grid):
                table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
                for column in grid.columns:
                    table.add_column(column.upper(), overflow="fold")
                for row in grid.rows:
                    table.add_row(*(Text(visible(cell.text), cell.style) for cell in row))
                parts += [Text(""), table] if parts else [table]
    return Group(*parts)


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
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _silence() -> None:
    """Point standard output nowhere, so that nothing complains when the process ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
