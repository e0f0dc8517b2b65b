"""Progress bars on standard error, of what is long enough to ask for one; none in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["LARGE", "counting_bar", "progress_bar"]

LARGE = 64 * 2**20
"""Bytes from which on there is a bar: less is done before anybody has read it."""


@contextmanager
def progress_bar(what: str, total: Callable[[], int]) -> Iterator[Callable[[int], object] | None]:
    """Give a function that is told how many bytes more are done, from any thread; None where nobody looks.

    The bar is gone when the block ends.

    Args:
        what: stands before the bar.
        total: says how many bytes there are in all; asked only if somebody looks.
    """
    size = total() if _terminal() else 0
    if size < LARGE:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    from .output import visible

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Progress(*columns, Speed(), TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(visible(what), total=size)
        yield lambda count: progress.advance(task, count)


def _terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


@contextmanager
def counting_bar(what: str, total: int) -> Iterator[Callable[[], object]]:
    """Give a function that is told when one more is done; it draws a bar where somebody looks.

    Args:
        what: stands before the bar, in the plural.
        total: how many there are in all.
    """
    if not _terminal():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
