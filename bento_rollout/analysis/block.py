"""What one flush counted for both arms: sums that workers add, and tests look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InvalidValue
from .arithmetic import count, finite, inside
from .stored import opened, pack

__all__ = ["Block", "joint_share", "realised"]

_FIELDS = ("n_candidate", "x_candidate", "n_champion", "x_champion", "share")


def joint_share(left: float | None, right: float | None) -> float | None:
    """Return the share of two blocks; refuse blocks of different ones, they are of different revisions."""
    if left != right:
        raise InvalidValue(f"blocks with the shares {left} and {right} cannot be added: give them one by one")
    return left


def realised(share: float | None, n_candidate: float, n_champion: float) -> float | None:
    """Return the assigned share, or the realised one where none was; None where one arm then has nothing."""
    if share is not None:
        return share
    return n_candidate / (n_candidate + n_champion) if n_candidate and n_champion else None


@dataclass(frozen=True, slots=True)
class Block:
    """The sums of one flush for both arms, closed by clock or count, never across a revision.

    ``+`` merges the blocks of several workers, in any order.

    Args:
        n_candidate: calls (or keys) of the candidate.
        x_candidate: their bad outcomes, each from 0 to 1; a sum may be fractional.
        n_champion: calls (or keys) of the champion.
        x_champion: their bad outcomes.
        share: the share of the candidate among the two that routing *assigned*, above 0 and below 1;
            None: the realised one, which needs outcomes that are independent within a block.

    Raises:
        InvalidValue: a sum that is negative, not finite, or above its count; a share out of range; or
            ``+`` of blocks with different shares.

    >>> Block(5, 1, 95, 0, share=0.05) + Block(5, 0, 95, 2, share=0.05)
    Block(n_candidate=10, x_candidate=1.0, n_champion=190, x_champion=2.0, share=0.05)
    """

    n_candidate: int
    x_candidate: float
    n_champion: int
    x_champion: float
    share: float | None = None

    def __post_init__(self) -> None:
        for arm in ("candidate", "champion"):
            n = count(f"n_{arm}", getattr(self, f"n_{arm}"))
            x = finite(f"x_{arm}", getattr(self, f"x_{arm}"))
            if not 0.0 <= x <= n:
                raise InvalidValue(f"x_{arm} is {x!r}; a sum from 0 to n_{arm}, {n}, is needed")
            object.__setattr__(self, f"n_{arm}", n)
            object.__setattr__(self, f"x_{arm}", x)
        if self.share is not None:
            object.__setattr__(self, "share", inside("share", self.share))

    def __add__(self, other: Block) -> Block:
        if not isinstance(other, Block):
            return NotImplemented
        return Block(
            self.n_candidate + other.n_candidate,
            self.x_candidate + other.x_candidate,
            self.n_champion + other.n_champion,
            self.x_champion + other.x_champion,
            joint_share(self.share, other.share),
        )

    @property
    def sums(self) -> tuple[float, float, float, float]:
        """Bad and good outcomes of the candidate, then bad and good ones of the champion."""
        return (
            self.x_candidate,
            self.n_candidate - self.x_candidate,
            self.x_champion,
            self.n_champion - self.x_champion,
        )

    @property
    def realised_share(self) -> float | None:
        """The assigned share, or the realised one; None where that would say nothing (one arm is empty)."""
        return realised(self.share, self.n_candidate, self.n_champion)

    def needed_share(self, kind: str) -> float:
        """Return the assigned share; refuse a block without one, for a test of this kind."""
        if self.share is None:
            raise InvalidValue(f"share is None; {kind} needs the share that was assigned")
        return self.share

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same block."""
        return pack("Block", **{name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def from_dict(cls, data: object) -> Block:
        """Return a stored block; refuse what is none, by name, with `InvalidValue`."""
        fields = opened(data, "Block", frozenset(_FIELDS))
        return cls(**{name: fields[name] for name in _FIELDS})
