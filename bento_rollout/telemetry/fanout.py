"""`Fanout`: one sink for all who want to know; each is given the kinds of facts that it asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..records import Fact

__all__ = ["Fanout", "Subscription"]

Subscription = tuple[Iterable[type[Any]], Callable[[Any], None]]
"""Kinds of facts, and what takes one at once."""


class Fanout:
    """Gives each fact to those who asked for its kind; whatever one of them raises costs nobody else.

    Args:
        subscriptions: who wants what.

    >>> seen = []
    >>> Fanout([((int,), seen.append)]).offer(7)
    >>> seen
    [7]
    """

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        takers: dict[type[Any], list[Callable[[Any], None]]] = {}
        for kinds, take in subscriptions:
            for kind in kinds:
                takers.setdefault(kind, []).append(take)
        self._takers = {kind: tuple(found) for kind, found in takers.items()}

    def wants(self, kind: type[Any]) -> bool:
        """Whether anybody asked for a kind of facts."""
        return kind in self._takers

    def offer(self, fact: Fact) -> None:
        """Give a fact to those who want it; never raises."""
        for take in self._takers.get(type(fact), ()):
            try:  # noqa: SIM105 - a context manager would cost more than most takers
                take(fact)
            except Exception:  # noqa: BLE001, S110 - it costs nobody else
                pass
