"""`Lost`: whether labels of both arms go missing alike; where they do not, what is left is no fair sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..analysis import Block, HarmTest, KeyBlock, KeyedTest
from ..rounds import Rates

__all__ = ["Lost"]

ALPHA = 0.001
"""The chance of calling labels lost that are not; half of it for each arm."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Predictions whose label is missing when they mature, in both directions. Immutable.

    Attributes:
        of_trial, of_control: is it missing more often in this arm than in the other?
    """

    of_trial: HarmTest | KeyedTest
    of_control: HarmTest | KeyedTest

    @classmethod
    def start(cls, *, sticky: bool) -> Lost:
        """Return it before anything matured.

        Args:
            sticky: whether the unit is the key.
        """
        test = HarmTest(ALPHA / 2)
        return cls(KeyedTest(test), KeyedTest(test)) if sticky else cls(test, test)

    @property
    def alarm(self) -> bool:
        """Whether labels of one arm are lost."""
        return self.of_trial.alarm or self.of_control.alarm

    def fed(self, missing: Rates) -> Lost:
        """Return it after a round, of which the bad part is the part without a label."""
        if isinstance(self.of_trial, HarmTest) and isinstance(self.of_control, HarmTest):
            block = missing.block()
            return Lost(self.of_trial.update(block), self.of_control.update(_swapped(block)))
        assert isinstance(self.of_trial, KeyedTest)
        assert isinstance(self.of_control, KeyedTest)
        keys = missing.key_block()
        keyless = _swapped(missing.block()) if any(missing.sums) else None
        other = KeyBlock(keys.champion, keys.candidate, calls=missing.calls, keyless=keyless)
        return Lost(self.of_trial.update(keys), self.of_control.update(other))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same."""
        kind = "keyed" if isinstance(self.of_trial, KeyedTest) else "plain"
        return {
            "kind": "Lost",
            "unit": kind,
            "of_trial": self.of_trial.to_dict(),
            "of_control": self.of_control.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Lost:
        """Return what was stored.

        Raises:
            InvalidValue: it is none, or not whole.
        """
        test = KeyedTest if data["unit"] == "keyed" else HarmTest
        return cls(test.from_dict(data["of_trial"]), test.from_dict(data["of_control"]))


def _swapped(block: Block) -> Block:
    share = None if block.share is None else 1.0 - block.share
    return Block(block.n_champion, block.x_champion, block.n_candidate, block.x_candidate, share)
