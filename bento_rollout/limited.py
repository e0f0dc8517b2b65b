"""Calls the user's own functions where nobody waits for them longer than they have."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .calls import Late

__all__ = ["limited"]

T = TypeVar("T")


def limited(seconds: float, function: Callable[..., T], /, *args: Any) -> T:
    """Return what a function returns, or raise what it raises, if it does so in time. Not on an event loop.

    It runs in a daemon thread of its own: one that hangs holds neither its caller nor the exit.

    Args:
        seconds: how long it has.
        function, args: what is called.

    Raises:
        Late: it was not in time.

    >>> limited(5.0, len, "abc")
    3
    """
    box: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            box.put((True, context.run(function, *args)))
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits
            box.put((False, error))

    threading.Thread(target=run, name="rollout-limited", daemon=True).start()
    try:
        good, value = box.get(timeout=seconds)
    except queue.Empty:
        raise Late(f"no answer within {seconds:g} s") from None
    if good:
        return value  # type: ignore[no-any-return]  # what the function returned
    if isinstance(value, Exception):
        raise value
    raise RuntimeError(f"it raised {type(value).__name__}")  # what would end the thread of who waits
