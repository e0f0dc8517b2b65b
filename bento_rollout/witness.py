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
        trace: trace id and span id of the request.
        keys, inference_ids: the request's routing keys and the caller's own ids. Personal data.
    """

    __slots__ = (
        "_began", "_finish", "_kept", "_size", "_users", "answer", "args", "batch",
        "champion", "clock", "context", "cut", "endpoint", "inference_ids", "keys", "kwargs", "names",
        "prediction_id", "refused",
        "revision", "rows", "seconds", "spare", "stream", "total", "trace", "whole",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        names: tuple[str, ...],
        champion: str,
        revision: int,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        copy: bool = False,
    ) -> None:
        self.endpoint, self.prediction_id = call.endpoint, call.prediction_id
        self.keys, self.inference_ids = call.keys, call.inference_ids
        self.trace = call.trace
        self.names, self.champion, self.revision = names, champion, revision
        self.args, self.kwargs = args, kwargs
        self._kept: tuple[Kept, ...] = ()
        for value in (*args, *kwargs.values()) if args else kwargs.values():
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
        self.clock: Clock = []
        self._users = len(names)
        self._began = time.perf_counter()

    def _keep(self) -> None:
        """Keep the files of the input, if there are any."""
        kept = Kept(self.args, self.kwargs)
        self._kept, self.args, self.kwargs = (kept,), kept.args, kept.kwargs

    # -- what the champion does ------------------------------------------------------------------------

    def noting(self, finish: Finish | None) -> Finish:
        """Return what finishes an answer as ``finish`` does, and notes it when it is the champion's."""
        self._finish = _as_it_is if finish is None else finish
        return self._noted

    def _noted(self, value: Any, variant: str) -> Awaitable[Any]:
        if variant == self.champion:
            try:
                self.note(value)
            except Exception:  # noqa: BLE001 - there is then nothing to compare with, and still an answer
                self.whole = False
        finish, self._finish = self._finish, _as_it_is  # it may hold the request, which need not wait
        return finish(value, variant)

    def note(self, answer: Any) -> None:
        """Note the champion's answer."""
        self.answer, self.whole = self._lasting(answer) if isinstance(answer, Path) else answer, True
        self.seconds = self.total = time.perf_counter() - self._began

    def _lasting(self, answer: Path) -> Path:
        """Return an answer that lasts: a file in the request's folder gets a second name."""
        kept = Kept((answer,), {})
        self._kept = (*self._kept, kept)
        return Path(kept.args[0])

    def note_refusal(self, words: str) -> None:
        """Note that the champion told the caller what the caller did wrong: that is an answer, too."""
        self.refused, self.whole, self.answer = words, True, None
        self.seconds = self.total = time.perf_counter() - self._began

    def ran(self, batch: Together | None) -> None:
        """Note in which batch the champion answered, and how long its own code ran."""
        self.batch = batch
        if batch is not None and batch.seconds is not None:
            self.seconds = batch.seconds
        elif self.clock:
            self.seconds = self.clock[0]

    async def noting_items(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Yield a stream's items, and note as many as are compared; only a whole stream is an answer."""
        self.stream, self.answer, self._size = True, [], 0
        CLOCK.set(self.clock)
        try:
            async for item in items:
                if not self.answer:
                    self.seconds = self.clock[0] if self.clock else time.perf_counter() - self._began
                if not self.cut:
                    self._note_item(item)
                yield item
            self.whole, self.total = True, time.perf_counter() - self._began
        finally:
            await items.aclose()

    def _note_item(self, item: Any) -> None:
        self._size += size_of(item)
        self.cut = len(self.answer) >= MOST_ITEMS or (bool(self.answer) and self._size > MOST_BYTES)
        if not self.cut:
            self.answer.append(item)

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
        if self._users <= 0:
            for kept in self._kept:
                kept.drop()


async def _as_it_is(value: Any, _: str) -> Any:
    return value


def size_of(item: Any) -> int:
    """Return about how many bytes an item takes; too many where that cannot be told, or it has many parts.

    Nothing that it does reaches the caller.
    """
    try:
        size, parts = 0, [item]
        for _ in range(_MOST_PARTS):
            if not parts:
                return size
            part = parts.pop()
            size += sys.getsizeof(part, 64) if not hasattr(type(part), "nbytes") else int(part.nbytes)
            if isinstance(part, dict):
                parts += part.values()
            elif isinstance(part, (list, tuple, set, frozenset)):
                parts += part
            elif isinstance(inner := getattr(part, "__dict__", None), dict):
                parts += inner.values()
    except BaseException:  # noqa: BLE001 - whatever an answer does when it is looked at
        return MOST_BYTES + 1
    return MOST_BYTES + 1


_MOST_PARTS = 1000
"""Parts of an item that are looked at."""
