"""Predictions that go through the collector of the package, to the test that looks at them."""

from __future__ import annotations

from bento_rollout.analysis import Block, HarmTest
from bento_rollout.arms import Arm
from bento_rollout.evidence import Evidence, Place
from bento_rollout.records import Observation, Outcome, Prediction, Reason

__all__ = ["Collector"]

PLACE = Place(7, "predict")


class Collector:
    """What one rollout counts.

    Attributes:
        test: what it says.
        apart: pinned calls that were counted apart.
    """

    def __init__(self) -> None:
        self.test, self.apart = HarmTest(), 0
        self._evidence, self._served = Evidence(), 0

    def served(self, variant: str, calls: int, bad: int, reason: Reason = Reason.SPLIT) -> None:
        """Count so many calls, the first of which fail."""
        for call in range(calls):
            self._served += 1
            outcome = Outcome.ERROR if call < bad else Outcome.OK
            name = str(self._served)
            run = Observation("r", "predict", variant, PLACE.revision, reason, name, outcome, 0.01)
            self._evidence.count(Prediction("r", "predict", name, 0.0, (), (run,), outcome, 0.01, ()))

    def pinned(self, variant: str, calls: int) -> None:
        """Count calls that somebody pinned to a variant, and that fail."""
        self.served(variant, calls, calls, Reason.PINNED)

    def look(self) -> None:
        """Give the test what was counted since the last time."""
        arms = self._evidence.take().arms.get(PLACE, {})
        boosted, plain = arms.get("boosted", Arm()), arms.get("plain", Arm())
        self.apart += sum(boosted.apart.values())
        block = Block(boosted.calls, float(boosted.errors), plain.calls, float(plain.errors))
        self.test = self.test.update(block)
