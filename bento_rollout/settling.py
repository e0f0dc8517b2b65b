"""The stack of settled states that led to the present one, and where a rollback goes in it; pure.

A state is *settled* when all traffic goes to the champion and no try runs. A rollback goes to the newest
settled state that is not the present, and cuts the stack there, so that two operators who both roll back do
it once.
"""

from __future__ import annotations

from .values import Strict

__all__ = [
    "MAX_SETTLED",
    "Settled",
    "Stack",
    "back_from_settled",
    "cut_at",
    "newest_of",
    "pushed",
    "restored",
    "without",
]

MAX_SETTLED = 100
"""How many settled states are remembered for a rollback; the history has them all."""


class Settled(Strict):
    """A settled state that was once committed: its revision and its champion."""

    revision: int
    champion: str


Stack = tuple[Settled, ...]
"""Settled states, oldest first."""


def pushed(stack: Stack, point: Settled) -> Stack:
    """Return a stack with one more state; one of the same revision, made on the way to it, is replaced."""
    return (*(old for old in stack if old.revision < point.revision), point)[-MAX_SETTLED:]


def back_from_settled(stack: Stack, *, rolled_back: bool, again: bool) -> Settled | None:
    """Return where a rollback goes from the settled state on top, or None: nothing is to be rolled back.

    Args:
        stack: with the present state on top.
        rolled_back: whether the present state is what a rollback led to.
        again: go further back, to another champion, whatever led to the present state.
    """
    if not stack:
        return None
    present, earlier = stack[-1].champion, stack[:-1]
    if again:
        return next((point for point in reversed(earlier) if point.champion != present), None)
    if rolled_back or not earlier or earlier[-1].champion == present:
        return None
    return earlier[-1]


def newest_of(stack: Stack, champion: str, before: int) -> Settled:
    """Return the newest settled state of a champion; when none is remembered, one before that revision."""
    found = (point for point in reversed(stack) if point.champion == champion)
    return next(found, Settled(revision=max(0, before - 1), champion=champion))


def cut_at(stack: Stack, point: Settled) -> Stack:
    """Return a stack that ends with ``point``, or with an older state of the same champion."""
    kept = tuple(old for old in stack if old.revision <= point.revision)
    return kept if kept and kept[-1].champion == point.champion else (*kept, point)


def without(stack: Stack, variant: str) -> Stack:
    """Return a stack in which a variant was never champion."""
    return tuple(point for point in stack if point.champion != variant)


def restored(before: Stack, after: Stack, now: Stack) -> Stack:
    """Return the stack ``before`` a change that led to ``after``, less who was retired since (``now``)."""
    retired = {point.champion for point in after} - {point.champion for point in now}
    top = before[-1].champion if before else None
    return tuple(point for point in before if point.champion not in retired or point.champion == top)
