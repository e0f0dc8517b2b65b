"""`Latches`: what every worker knows of drift: whether an alarm is latched; read twice a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .errors import RolloutError
from .gauged import Drifted
from .store.drift_file import DriftFile
from .store.drift_rows import Latch
from .store.place import Place

__all__ = ["QUIET", "Latches", "Switch"]

PATIENCE = 0.2
"""Seconds to wait for the owner's lock: it is looked again soon."""


class Switch:
    """Whether drift is latched at an endpoint; read by calls, and written by whoever looks.

    Attributes:
        on: whether any alarm about what comes in, or what it means, waits for a person.
        told: what a span says then: the tests, with commas between them.
    """

    __slots__ = ("on", "told")

    def __init__(self) -> None:
        self.on = False
        self.told = ""


QUIET = Switch()
"""Of an endpoint that nobody watches."""


class Latches:
    """What one worker knows.

    Args:
        place: where what belongs to the rollout lies.
        rollout: its name.
        tell: takes facts; None: nobody wants them.

    Attributes:
        switch: what calls of the endpoint that is watched read.
    """

    def __init__(self, place: Place, rollout: str, tell: Callable[[Drifted], object] | None) -> None:
        self.switch = Switch()
        self._file, self._rollout, self._tell = DriftFile(place, patience=PATIENCE), rollout, tell
        self._seen: object | None = None
        self._latches: tuple[Latch, ...] = ()

    def look(self, rows: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """Look once; what cannot be read now stays as it was.

        Args:
            rows: what the owner took since, by test and by what became of it.
        """
        seen = self._file.mark()
        if seen is None or seen != self._seen:
            try:
                self._latches = () if seen is None else self._file.latches()
                self._seen = seen
            except RolloutError:  # the owner says so
                pass
        found = [one.test for one in self._latches if one.latched and one.kind != "schema"]
        self.switch.told = ",".join(found)
        self.switch.on = bool(found)
        if self._tell is not None:
            for one in self._latches:
                evidence = None if one.kind == "schema" else one.log_evidence
                taken = (rows or {}).get(one.test, {})
                self._tell(Drifted(self._rollout, one.endpoint, one.test, evidence, one.latched, taken))
