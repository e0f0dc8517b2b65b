"""Refuses, while ``bentoml build`` imports the service, a bento that would lack the spec."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["check_included"]


def check_included(spec: Path) -> None:
    """Raise when a build is going on whose ``include`` leaves the spec out; outside builds do nothing.

    BentoML offers no hook at build time, so the build that is importing us is looked up on the stack, read only.
    """
