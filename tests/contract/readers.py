"""What the guide's spec names: what a reader's choice means."""

from __future__ import annotations

from typing import Any


def to_finding(choice: str, suggestion: Any) -> dict[str, Any]:
    """What a choice is to callers."""
    return {"label": choice, "score": 1.0}
