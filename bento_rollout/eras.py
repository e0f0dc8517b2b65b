"""What comparisons of two variants must have in common to be counted together; frozen."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Era", "Series"]


@dataclass(frozen=True, slots=True)
class Era:
    """What comparisons must have in common to be counted together.

    Attributes:
        champion, candidate: whose answers are compared; the same name twice: the champion with itself.
        champion_digest, candidate_digest: what these were.
        settings: how they are compared, in words.
    """

    champion: str
    champion_digest: str
    candidate: str
    candidate_digest: str
    settings: str


@dataclass(frozen=True, slots=True)
class Series:
    """Comparisons of one era, at one revision, of one endpoint."""

    era: Era
    revision: int
    endpoint: str
