"""What a shadow's lane needs: where the shadow's code runs, and the worker around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .tally import Sums
from .telemetry.spans import Running
from .witness import Witness

__all__ = ["Aside", "Host", "Outcome", "Shadowed", "Surroundings"]

Aside = Callable[[Coroutine[Any, Any, Any]], tuple["asyncio.Task[Any]", Callable[[], None]]]
"""Starts work whose effects on the request and the response go nowhere; the second value ends these."""


@dataclass(slots=True)
class Outcome:
    """What a shadow made of one call.

    Attributes:
        answer: its answer; of a stream its items.
        refused: what it told the caller that the caller did wrong, if so.
        cut: whether a stream's items are not all of them.
        seconds: how long it took; of a stream, to its first item.
        trace: trace id and span id of its own span, in hexadecimal, if there is one.
    """

    answer: Any = None
    refused: str | None = None
    cut: bool = False
    seconds: float = 0.0
    trace: tuple[str, str] | None = None


class Shadowed(Protocol):
    """Where a shadow's code runs."""

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""

    async def watch(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint on one input, or on a batch that was merged already."""

    def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint."""


class Surroundings(Protocol):
    """What shadows need of those who know BentoML."""

    def runner(self, name: str) -> Shadowed | None:
        """Return where a shadow's code runs, the champion's own where it harms no call; None: nowhere."""

    def refusal(self, error: BaseException) -> str | None:
        """Return in words what the caller did wrong, when that is what an error says."""

    def plain(self, answer: Any) -> Any:
        """Return an answer as what can be compared; called in a thread."""

    def merged(
        self, endpoint: str, witnesses: Sequence[Witness], *, copy: bool
    ) -> tuple[Sequence[Any], Mapping[str, Any], Any]:
        """Return the arguments of a batch, and what tells how to take its answer apart."""

    def parted(self, endpoint: str, answer: Any, cuts: Any) -> Sequence[Any]:
        """Return the answers of a batch's requests."""


class Host(Protocol):
    """What a lane needs of the worker that it is in."""

    isolate: Aside

    def begin_span(self, name: str, witness: Witness) -> Running | None:
        """Begin the span of a shadow's call in this context; None when nobody traces it."""

    def has_become_champion(self, name: str, witness: Witness) -> bool:
        """Whether a candidate has become the champion since a call came: it has other things to do."""

    def refusal(self, error: BaseException) -> str | None:
        """Return in words what the caller did wrong, when that is what an error says."""

    def merged(
        self, endpoint: str, witnesses: Sequence[Witness], *, copy: bool
    ) -> tuple[Sequence[Any], Mapping[str, Any], Any]:
        """Return the arguments of a batch, and what tells how to take its answer apart."""

    def parted(self, endpoint: str, answer: Any, cuts: Any) -> Sequence[Any]:
        """Return the answers of a batch's requests."""

    def compare(self, name: str, witness: Witness, outcome: Outcome) -> Sums:
        """Compare what a shadow made of a call with what the champion did, and add up; in a thread."""

    def compared(self, sums: Sums) -> None:
        """Count what comparisons came to."""

    def failed(self, name: str, witness: Witness, error: BaseException) -> None:
        """Count a call whose shadow raised."""

    def dropped(self, name: str, witness: Witness, reason: str) -> None:
        """Count a call that was not shadowed."""
