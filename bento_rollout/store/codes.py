"""`Codes`: which codes have served a rollout, in the order in which they came."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..errors import StoreUnreachable
from ..mixing import entered
from .keepsake import Keepsake
from .place import Place

__all__ = ["Codes", "Known"]

PATIENCE = 3.0
"""Seconds that a worker that starts waits for another one that is just being entered."""

PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Known:
    """The codes that are known.

    Attributes:
        order: the newest last.
        since: when each became the newest, in seconds since 1970 by the clock of the host that noted it.
    """

    order: tuple[str, ...] = ()
    since: tuple[float, ...] = ()

    def came(self, living: Collection[str]) -> float | None:
        """Return when the newest of those that live came; None: nobody knows."""
        times = [at for code, at in zip(self.order, self.since, strict=True) if code in living]
        return times[-1] if times else None


class Codes:
    """A small document beside the state: a file on one host, a row of the database of many.

    Args:
        place: where what belongs to the rollout lies.
    """

    def __init__(self, place: Place) -> None:
        self._kept = Keepsake(place, "codes")

    def known(self) -> Known:
        """Return which codes there were; a document that is damaged counts as none.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        found = self._kept.read()
        rows = found if isinstance(found, list) else []
        try:
            pairs = [(str(row["code"]), float(row["since"])) for row in rows]
        except (TypeError, KeyError, ValueError):
            return Known()
        return Known(tuple(code for code, _ in pairs), tuple(since for _, since in pairs))

    def enter(self, code: str, living: Callable[[], Collection[str]]) -> None:
        """Note that a worker of a code starts; call it before the worker counts as alive.

        Two that start at once come one after the other: so the first of several workers that bring a code
        back, of which none is alive yet, makes it the newest.

        Args:
            code: what it runs.
            living: returns what the others run that are alive.

        Raises:
            StoreUnreachable: nothing can be noted.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            with self._kept.turn() as mine:
                if mine:
                    self._enter(code, living())
                    return
            if time.monotonic() > deadline:
                raise StoreUnreachable(f"{self._kept.where}: somebody else keeps it locked")
            time.sleep(PAUSE)

    def _enter(self, code: str, living: Collection[str]) -> None:
        known = self.known()
        order = entered(known.order, code, living)
        if order == known.order:
            return
        since = {**dict(zip(known.order, known.since, strict=True)), code: time.time()}
        self._kept.write([{"code": one, "since": since[one]} for one in order])
