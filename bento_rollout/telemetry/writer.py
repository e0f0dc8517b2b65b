"""`Writer`: where all log lines of a process go: at once, or in a serving worker by a thread of its own."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .channel import Channel
from .rendering import Line, as_text, checked, is_terminal
from .stderr import Stderr
from .users import hand_over, is_configured, users_logger

__all__ = ["LIGHT", "Make", "Writer"]

Make = Callable[[Any], "Line | None"]
"""Makes a line of a fact; None: nothing is to be written."""

Entry = tuple[Make, Any, int]

LIGHT = 1024
"""About how many bytes a fact or an event without payload holds."""

LAST_WORDS = 1.0
"""Seconds that the lines which wait have when the process ends."""

QUIET = 60.0
"""Seconds after which lost lines are told of, though more of them are still being lost."""


class Writer:
    """Writes lines to standard error, or hands them to the user's structlog configuration.

    Lines are written at once by whoever has them, as in a command. While somebody serves, they are written by
    one thread behind a bounded queue: a pipe that is full and never read, or a processor that takes its time,
    holds that thread and nobody else. Lines that find no room, or cannot be written, are counted, and told of
    when writing works again (``log.lost``).

    Attributes:
        failed: how many lines a processor of the user's, or a field, raised for.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._stderr = Stderr()
        self._serving, self._lock = 0, threading.Lock()
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)  # threads and held locks stay with the parent
        self._at_exit = False

    def _begin_anew(self) -> None:
        self._channel: Channel[Entry] = Channel("rollout-log", self._work)
        self._serving, self._lock = 0, threading.Lock()
        self._unwritten = self._told = 0
        self._losing_since = 0.0
        self._said: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return self._channel.waiting

    @property
    def lost(self) -> int:
        """How many lines found no room, or could not be written, since somebody served first."""
        return self._channel.dropped + self._unwritten

    def take(self, make: Make, fact: Any, weight: int = LIGHT) -> None:
        """Write a line, or let it be written; never raises, and never blocks while somebody serves.

        Args:
            make: makes the line; called by whoever writes it.
            fact: what it is made of.
            weight: about how many bytes the fact holds.
        """
        if self._serving:
            self._channel.offer((make, fact, weight), weight)
            return
        with suppress(Exception, SystemExit):  # a log sink must not change anybody's answer
            if (line := make(fact)) is None:
                return
            if is_configured():
                hand_over(line, users_logger())
            else:
                self._stderr.write([as_text(checked(line), terminal=is_terminal())])

    def serve(self) -> None:
        """Let lines be written by the thread from now on, until `end` was called as often."""
        with self._lock:
            self._serving += 1
            if not self._at_exit:
                atexit.register(self.flush, LAST_WORDS)
                self._at_exit = True

    def end(self, timeout: float) -> bool:
        """Wait until all lines are written, and write them at once again when nobody else serves.

        When they were not written in time it stays as it is: whoever waits for them would wait for good.

        Args:
            timeout: seconds to wait. Not on a loop.

        Returns:
            Whether they were written in time.
        """
        done = self.flush(timeout)
        with self._lock:
            self._serving -= done
        return done

    def flush(self, timeout: float) -> bool:
        """Wait until all lines that were taken are written; return whether it was in time."""
        until = time.monotonic() + timeout
        first = self._channel.flush(timeout)  # what the thread says of lines comes after them
        return first and self._channel.flush(max(0.0, until - time.monotonic()))

    # -- in the thread ---------------------------------------------------------------------------------

    def _work(self, batch: Sequence[Entry]) -> None:
        lines = [line for entry in batch if (line := self._made(entry)) is not None]
        before = self._unwritten
        self._write(lines)
        if self._unwritten == before and self.lost > self._told:
            now = time.monotonic()
            self._losing_since = self._losing_since or now
            if self._channel.waiting <= len(batch) or now - self._losing_since > QUIET:
                self._say_lost()

    def _write(self, lines: Sequence[Line]) -> None:
        if is_configured():
            logger = None
            for line in lines:
                try:
                    logger = logger or users_logger()
                    hand_over(line, logger)
                except OSError:  # the user's own destination takes nothing
                    self._unwritten += 1
                except BaseException as error:  # noqa: BLE001 - whatever a processor of the user's does
                    self._say_failed(line.name, error)
            return
        terminal, texts = is_terminal(), list[str]()
        for line in lines:
            try:
                texts.append(as_text(checked(line), terminal=terminal))
            except BaseException as error:  # noqa: BLE001 - a field that cannot be told costs its own line
                self._say_failed(line.name, error)
        self._unwritten += self._stderr.write(texts, patient=True) if texts else 0

    def _made(self, entry: Entry) -> Line | None:
        make, fact, _ = entry
        try:
            return make(fact)
        except BaseException as error:  # noqa: BLE001 - one line less, and the others are written
            self._say_failed(type(fact).__name__, error)
            return None

    def _say_failed(self, name: str, error: BaseException) -> None:
        """Count a line that could not be made; say once for each kind of failure, past what failed."""
        self.failed += 1
        kind = type(error).__name__
        if kind in self._said or len(self._said) > 20:  # noqa: PLR2004 - kinds are few, or made by somebody
            return
        self._said.add(kind)
        hint = (
            "a processor of your structlog configuration, a handler, or a field, raised; this line is lost, "
        )
        hint += "and further ones of this kind are only counted"
        fields = {"line": name, "error": kind, "hint": hint}
        line = Line("log.failed", "error", fields, time.time())
        self._stderr.write([as_text(line, terminal=is_terminal())], patient=True)

    def _say_lost(self) -> None:
        before, lost = self._unwritten, self.lost
        fields = {"count": lost - self._told, "hint": "log lines found no room, or could not be written"}
        self._write([Line("log.lost", "warning", fields, time.time())])
        if self._unwritten == before:
            self._told, self._losing_since = lost, 0.0
        else:
            self._unwritten = before  # this line tells of losses, and is none of them
