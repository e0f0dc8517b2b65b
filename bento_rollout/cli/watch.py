"""``status --watch``: a screen that is drawn anew each second, or a line of JSON for each change."""

from __future__ import annotations

import select
import sys
import time
from typing import Any

from ..errors import RolloutError
from .output import Block, Cell, Line, console_of_terminal, emit_json, renderable
from .reaching import AnyRollout
from .views import watched

__all__ = ["watch_status"]

PERIOD = 1.0
INTERRUPTED = 130


def watch_status(rollout: AnyRollout, *, as_json: bool) -> int:
    """Go on showing a rollout until the reader goes away or the process is interrupted.

    Raises:
        RolloutError: when the first look fails; later failures are shown, and the watch goes on.
    """
    try:
        first = rollout.status()
        return _lines(rollout, first) if as_json else _screen(rollout, first)
    except KeyboardInterrupt:  # the way to end it, and nothing to complain of
        return INTERRUPTED


def _lines(rollout: AnyRollout, facts: dict[str, Any]) -> int:
    shown: dict[str, Any] | None = None
    while True:
        if facts != shown and not emit_json(facts, indent=None):
            return 0
        shown = facts
        if _reader_left(PERIOD):
            return 0
        facts = _look(rollout)


def _screen(rollout: AnyRollout, facts: dict[str, Any]) -> int:
    from rich.live import Live

    with Live(renderable(watched(facts)), console=console_of_terminal(), auto_refresh=False) as live:
        while True:
            time.sleep(PERIOD)
            live.update(renderable(_blocks(_look(rollout))), refresh=True)


def _look(rollout: AnyRollout) -> dict[str, Any]:
    try:
        return rollout.status()
    except RolloutError as error:
        from ..admin.problems import kind_of

        return {"error": {"type": kind_of(error), "message": str(error), "exit_code": error.exit_code}}


def _blocks(facts: dict[str, Any]) -> list[Block]:
    if "error" in facts:
        return [Line("", (Cell(facts["error"]["message"], "bold red"),))]
    return watched(facts)


def _reader_left(seconds: float) -> bool:
    """Wait, and say whether the reader of standard output has gone away meanwhile."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors are told of unasked
        deadline = time.monotonic() + seconds
        for _, happened in poll.poll(seconds * 1000):
            if happened & select.POLLERR:
                return True
    except (OSError, ValueError, AttributeError):
        deadline = time.monotonic() + seconds
    time.sleep(max(0.0, deadline - time.monotonic()))
    return False
