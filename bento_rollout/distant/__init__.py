"""A rollout whose service runs elsewhere: the operators' verbs over its HTTP routes."""

from __future__ import annotations

from .distant import Distant, Done
from .service import Service

__all__ = ["Distant", "Done", "Service"]
