"""Refuses, while ``bentoml build`` imports the service, a bento that would lack the spec."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bentoml._internal.bento.build_config import BentoPathSpec

from ..errors import InvalidSpec

__all__ = ["check_included"]

BUILDER = "bentoml._internal.bento.bento"


def check_included(spec: Path) -> None:
    """Raise `InvalidSpec` when a build is going on whose files leave the spec out; outside builds do nothing.

    BentoML has no hook at build time, so the build that is importing us is looked up on the stack, and only
    read.
    """
    build = _running_build()
    if build is None:
        return
    config, context = build
    place = os.path.relpath(spec.resolve(), Path(context).resolve())
    if place.startswith(os.pardir):
        raise InvalidSpec(
            f"{spec} lies outside the build context {context}, so the bento would lack it: "
            "move it beside the service"
        )
    filled = config.with_defaults()
    if not BentoPathSpec(filled.include, filled.exclude, context).includes(place):
        raise InvalidSpec(
            f"the bento would lack {place}: add it to `include:` in bentofile.yaml "
            f'(or [tool.bentoml.build]), like  include: ["*.py", "{place}"]'
        )


def _running_build() -> tuple[Any, str] | None:
    """Return the configuration and the folder of the build that is importing this module, or None."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the stack
    while frame is not None:
        if frame.f_code.co_name == "create" and frame.f_globals.get("__name__") == BUILDER:
            config, context = frame.f_locals.get("build_config"), frame.f_locals.get("build_ctx")
            return None if config is None or context is None else (config, str(context))
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom of the stack
    return None
