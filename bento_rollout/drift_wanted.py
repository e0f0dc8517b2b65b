"""What of a rollout is watched for drift, as its owner wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .concept_watch import ConceptSettings
from .drift_watch import DataRules

if TYPE_CHECKING:
    from .drift import Reference

__all__ = ["Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is watched. Immutable.

    Attributes:
        data: how what comes in is tested; None: it is not.
        concept: how losses are tested; None: they are not.
        source: where the reference comes from, in words.
        warnings: what people should know of the settings.
    """

    data: DataRules | None = None
    concept: ConceptSettings | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()

    def told_of(self, reference: Reference) -> dict[str, Any]:
        """Return what people are told of the reference."""
        return {
            "digest": reference.digest,
            "rows": reference.rows,
            "features": len(reference.tested),
            "skipped": {one.name: one.skipped for one in reference.features if one.skipped},
            "warnings": [*reference.warnings, *self.warnings],
            "model": reference.model,
            "source": self.source,
        }
