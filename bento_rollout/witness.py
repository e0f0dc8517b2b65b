"""What the champion made of one call: what its shadows are given, and what they are compared with."""

from __future__ import annotations

import contextvars
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .calls import Call, Finish, Together
from .copying import copied
from .keeping import Kept
from .shadowing import CLOCK, Clock

__all__ = ["MOST_BYTES", "MOST_ITEMS", "Witness", "size_of"]

_HOLDERS = (Path, list, tuple)
"""What may be a file that was sent, or hold some; nothing else is looked at on a request's path."""

MOST_ITEMS, MOST_BYTES = 1000, 1 << 20
"""Items of a stream, and about how many bytes of them, that are kept for the comparison."""


class Witness:
    """One answer of the champion.

    The input is kept as it is, and not copied: an endpoint that changes it shows its shadows what it made of
    it, unless a copy is asked for.

    Args:
        call: the request.
        names: who shadows it.
        champion: who answers.
        revision: the plan's.
        args, kwargs: what the endpoint is called with.
        copy: whether a shadow wants the input as it was sent.

    Attributes:
        answer: what the champion answered; of a stream its items.
        refused: what the champion told the caller that it did wrong, if so.
        whole: whether there is an answer to compare with.
        cut: whether a stream's items are not all of them.
        seconds: how long the champion's own code ran, where that is known, else how long the answer took;
            of a stream, to its first item.
        total: how long all of a stream took; else the same.
        rows: the rows of the request that are compared one by one; None: the answer is one.
        stream: whether it is a stream.
    """

    __slots__ = (
        "_began", "_finish", "_kept", "_users", "answer", "args", "batch", "champion", "clock", "context",
        "cut", "endpoint", "kwargs", "names", "prediction_id", "refused", "revision", "rows", "seconds",
        "spare", "stream", "total", "whole",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        names: Sequence[str],
        champion: str,
        revision: int,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        copy: bool = False,
    ) -> None:
        self.endpoint, self.prediction_id = call.endpoint, call.prediction_id
        self.names, self.champion, self.revision = tuple(names), champion, revision
        self.args, self.kwargs = args, kwargs
        self._kept: Kept | None = None
        for value in (*args, *kwargs.values()):
            if isinstance(value, _HOLDERS):
                self._keep()
                break
        self.spare = copied(self.args, self.kwargs) if copy else None
        self.answer: Any = None
        self.refused: str | None = None
        self.batch: Together | None = None
        self.rows: tuple[int, ...] | None = None
        self.whole = self.cut = self.stream = False
        self.seconds = self.total = 0.0
        self.context = contextvars.copy_context()
        self.clock = Clock()
        self._users = len(self.names)
        self._began = time.perf_counter()

    def _keep(self) -> None:
        """Keep the files of the input, if there are any."""
        self._kept = Kept(self.args, self.kwargs)
        self.args, self.kwargs = self._kept.args, self._kept.kwargs

    # -- what the champion does ------------------------------------------------------------------------

    def noting(self, finish: Finish | None) -> Finish:
        """Return what finishes an answer as ``finish`` does, and notes it when it is the champion's."""
        self._finish = _as_it_is if finish is None else finish
        return self._noted

    def _noted(self, value: Any, variant: str) -> Awaitable[Any]:
        if variant == self.champion:
            self.note(value)
        finish, self._finish = self._finish, _as_it_is  # it may hold the request, which need not wait
        return finish(value, variant)

    def note(self, answer: Any) -> None:
        """Note the champion's answer."""
        self.answer, self.whole = answer, True
        self.seconds = self.total = time.perf_counter() - self._began

    def note_refusal(self, words: str) -> None:
        """Note that the champion told the caller what the caller did wrong: that is an answer, too."""
        self.refused, self.whole, self.answer = words, True, None
        self.seconds = self.total = time.perf_counter() - self._began

    def ran(self, batch: Together | None) -> None:
        """Note in which batch the champion answered, and how long its own code ran."""
        self.batch = batch
        own = self.clock.seconds if batch is None or batch.seconds is None else batch.seconds
        if own is not None:
            self.seconds = own

    async def noting_items(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Yield a stream's items, and note as many as are compared; only a whole stream is an answer."""
        self.stream, self.answer, size = True, [], 0
        CLOCK.set(self.clock)
        try:
            async for item in items:
                if not self.answer:
                    self.seconds = self.clock.seconds or time.perf_counter() - self._began
                if len(self.answer) < MOST_ITEMS and size < MOST_BYTES:
                    self.answer.append(item)
                    size += size_of(item)
                else:
                    self.cut = True
                yield item
            self.whole, self.total = True, time.perf_counter() - self._began
        finally:
            await items.aclose()

    @property
    def count(self) -> int:
        """How many comparisons it is good for."""
        return 1 if self.rows is None else len(self.rows)

    # -- what the shadows do ---------------------------------------------------------------------------

    def input(self, *, copy: bool) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the input for one shadow: as it is, or a copy of what was sent."""
        if not copy or self.spare is None:
            return self.args, self.kwargs
        return self.spare if len(self.names) == 1 else copied(*self.spare)

    def done(self) -> None:
        """One of the shadows needs it no more; after the last one its files go."""
        self._users -= 1
        if self._users <= 0 and self._kept is not None:
            self._kept.drop()


async def _as_it_is(value: Any, _: str) -> Any:
    return value


def size_of(item: Any) -> int:
    """Return about how many bytes an item of a stream takes."""
    size = getattr(item, "nbytes", None)
    return size if isinstance(size, int) else sys.getsizeof(item, 64)
