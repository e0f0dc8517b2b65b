"""Hears of a worker's end when it begins: the server waits for held calls before it says so to anybody."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["at_the_end"]


def at_the_end(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> Callable[[], None]:
    """Do something on the loop when the process is asked to end; return what ends that.

    Whoever listens already is told as before. Outside of the main thread nobody can listen.

    Args:
        loop: where it is done.
        do: what is done; more than once when the process is asked more than once.
    """
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def heard(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(do)
        listener = before.get(signal.Signals(number))
        if callable(listener):
            listener(number, frame)

    # Who has no handler of Python's own is left alone: what the process does then is not ours to say.
    heard_of = [number for number, listener in before.items() if callable(listener)]
    for number in heard_of:
        signal.signal(number, heard)

    def end() -> None:
        if threading.current_thread() is threading.main_thread():
            for number in heard_of:
                if signal.getsignal(number) is heard:
                    signal.signal(number, before[number])

    return end


def _nothing() -> None:
    """Do nothing."""
