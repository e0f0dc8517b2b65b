"""How much of something may be used in a time: calls a second, CPU seconds a second."""

from __future__ import annotations

from collections import deque

__all__ = ["Budget", "Rate"]


class Rate:
    """At most so many calls a second: a token bucket that holds one second's worth, at least one call.

    Args:
        limit: calls a second; None: as many as come.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._most = max(1.0, limit or 0.0)
        self._tokens, self._at = self._most, 0.0

    def take(self, now: float) -> bool:
        """Whether one more call fits now; ``now`` is a monotonic time in seconds."""
        if self._limit is None:
            return True
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._limit)
        self._at = now
        if self._tokens < 1.0 - _ROUNDING:
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True


class Budget:
    """CPU time, at most a share of one core over wall time; what was overdrawn is waited for.

    Args:
        share: CPU seconds a second: 0.25 is a quarter of one core; None: as much as it takes.
    """

    def __init__(self, share: float | None) -> None:
        self._share = share
        self._balance, self._at = share or 0.0, 0.0
        self._spent: deque[float] = deque()

    def spend(self, seconds: float) -> None:
        """Take from it; from any thread."""
        self._spent.append(seconds)

    def has(self, now: float) -> bool:
        """Whether anything is left now; ``now`` is a monotonic time in seconds."""
        while self._spent:
            self._balance -= self._spent.popleft()
        share = self._share
        if share is None:
            return True
        balance = self._balance + (now - self._at) * share
        self._balance = balance if balance < share else share  # noqa: FURB136 - on each call's path, and slower
        self._at = now
        return balance > 0.0


_ROUNDING = 1e-9
"""How far a sum of binary fractions may be below a whole call."""
