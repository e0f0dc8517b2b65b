"""Which of several codes is the newest, who gives way to whom, and what is said while they differ; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["MOST_CODES", "UNTOLD", "by_code", "entered", "newest", "outranked", "waits_for"]

MOST_CODES = 50
"""Codes that are remembered; of those that are forgotten none has run for long."""

UNTOLD = "unknown"
"""What stands for the code of a worker that tells none: it could not write down what it is."""


def entered(order: Sequence[str], code: str, living: Collection[str]) -> tuple[str, ...]:
    """Return the codes in the order in which they came, the newest last, after a worker of one starts.

    A code that comes back after its last worker has gone is a rollback of the deployment, and the newest. One
    of which others live stays where it is: a worker was only started again.

    Args:
        order: as it was before.
        code: what the worker that starts runs.
        living: what the others that are alive run.

    >>> entered(("a", "b"), "a", {"b"}), entered(("a", "b"), "a", {"a", "b"})
    (('b', 'a'), ('a', 'b'))
    """
    if code in order[-1:] or (code in order and code in living):
        return tuple(order)
    return (*(one for one in order if one != code), code)[-MOST_CODES:]


def newest(order: Sequence[str], living: Collection[str]) -> str | None:
    """Return the newest code of those that live; of all when none does; None: nobody knows one."""
    known = [one for one in order if one in living] or list(order)
    return known[-1] if known else None


def outranked(order: Sequence[str], code: str, able: Iterable[str]) -> bool:
    """Whether somebody who is able to take over runs newer code; what is in no order is the oldest."""
    rank = {one: number for number, one in enumerate(order)}
    mine = rank.get(code, -1)
    return any(rank.get(one, -1) > mine for one in able)


def by_code(workers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return who runs which code, from pairs of a code and a name."""
    found: dict[str, list[str]] = {}
    for code, who in workers:
        found.setdefault(code or UNTOLD, []).append(who)
    return found


def waits_for(code: str, workers: Mapping[str, Sequence[str]]) -> str:
    """Return what a try waits for while workers run other code; empty: all run the same.

    >>> waits_for("b", {"a": ["worker 1", "worker 2"], "b": ["worker 3"]})
    '2 of 3 workers still run other code (a)'
    """
    others = {one: len(who) for one, who in workers.items() if one != (code or UNTOLD)}
    count, every = sum(others.values()), sum(map(len, workers.values()))
    run = "runs" if count == 1 else "run"
    return (
        f"{count} of {every} workers still {run} other code ({', '.join(sorted(others))})" if others else ""
    )
