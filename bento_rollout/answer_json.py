"""What a decision answers, as JSON has it: for its caller, and for a webhook that may be told."""

from __future__ import annotations

import base64
import json
from typing import Any

from .reviewing import Decision, Status

__all__ = ["answer_json"]


def answer_json(decision: Decision) -> Any:
    """Return the answer as JSON has it: its value, its text, or its bytes in base64; None: there is none."""
    if decision.status not in (Status.ANSWERED, Status.DEFAULTED):
        return None
    kind = decision.media_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(decision.body, parse_constant=_not_json)
        except (ValueError, RecursionError):
            pass
    elif kind.startswith("text/"):
        try:
            return decision.body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return {"media_type": decision.media_type, "base64": base64.b64encode(decision.body).decode("ascii")}


def _not_json(word: str) -> Any:
    raise ValueError(word)
