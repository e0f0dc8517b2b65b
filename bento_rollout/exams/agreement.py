"""`AgreementExam`: whether the trial's answers agree with those that it watched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..analysis import Block, FloorTest, KeyBlock, KeyedTest, finding_of, needed, typical_block
from ..assessment import Assessment, Finding
from ..rounds import Round, disagreed_of
from .exam import HEALTH_ALPHA, levels

__all__ = ["AgreementExam"]


@dataclass(frozen=True, slots=True)
class AgreementExam:
    """Whether the trial's answers agree with those that it watched, but for the noise floor.

    Attributes:
        harm, good: is the part that disagrees above what is allowed; is it shown to be below.
        seen, disagreed: pairs (or keys) so far.
        floor: which part of its own answers the control disagrees with.
    """

    harm: FloorTest | KeyedTest
    good: FloorTest | KeyedTest
    floor: float
    seen: int = 0
    disagreed: float = 0.0

    @classmethod
    def start(cls, alpha: float, *, least: float, floor: float, sticky: bool = False) -> AgreementExam:
        """Return the exam before anything was compared.

        Args:
            alpha: the chance of a false alarm that it has.
            least: the part that must agree.
            floor: which part of its own answers the control disagrees with.
            sticky: whether the unit is the key.
        """
        allowed = min(1.0 - 1e-6, 1.0 - least + max(0.0, floor))
        harm, good = FloorTest(allowed, alpha), FloorTest(allowed, HEALTH_ALPHA, good=True)
        if sticky:
            return cls(KeyedTest(harm), KeyedTest(good), floor)
        return cls(harm, good, floor)

    def fed(self, round_: Round) -> AgreementExam:
        """Return the exam after one more round."""
        (pairs, bad), firsts = disagreed_of(round_.pairs)
        if not pairs and not firsts:
            return self
        seen, disagreed = self.seen + pairs + len(firsts), self.disagreed + bad + math.fsum(firsts.values())
        if isinstance(self.harm, FloorTest) and isinstance(self.good, FloorTest):
            if firsts:
                pairs, bad = pairs + len(firsts), bad + math.fsum(firsts.values())
            tests = self.harm.update(pairs, bad), self.good.update(pairs, bad)
            return replace(self, harm=tests[0], good=tests[1], seen=seen, disagreed=disagreed)
        keyless = Block(pairs, bad, 0, 0) if pairs else None
        keys = KeyBlock(firsts, {}, None, calls=pairs + len(firsts), keyless=keyless)
        assert isinstance(self.harm, KeyedTest)
        assert isinstance(self.good, KeyedTest)
        harm, good = self.harm.update(keys), self.good.update(keys)
        return replace(self, harm=harm, good=good, seen=seen, disagreed=disagreed)

    def epoch(self) -> AgreementExam:
        """Return the exam with a new epoch open."""
        return replace(self, harm=self.harm.epoch())

    def told(self, share: float | None, *, watching: bool, needs: bool) -> Assessment:  # noqa: ARG002
        """Return what it says now; a split has nothing to do with it."""
        finding = finding_of(harm=[self.harm], health=[self.good], heard=bool(self.seen))
        more: int | None = None
        if needs and finding in (Finding.INCONCLUSIVE, Finding.NO_DATA):
            rate = (self.disagreed + 0.5) / (self.seen + 50)
            more = needed(self.good, typical_block(0.5, rate))
        numbers: dict[str, float] = {"pairs": self.seen, "disagreed": self.disagreed, "floor": self.floor}
        words = ""
        if self.seen:
            numbers["agreement"] = 1.0 - self.disagreed / self.seen
            words = f"{numbers['agreement']:.2%} of {self.seen} agree"
        unit = "keys" if isinstance(self.harm, KeyedTest) else "pairs"
        return Assessment(finding, words, more, unit, numbers | levels([self.harm], [self.good]))
