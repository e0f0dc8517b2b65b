"""What BentoML's access log does not get to see: whole ids of cases, each of which opens a decision."""

from __future__ import annotations

import logging
import re

__all__ = ["keep_ids_out"]

_ID = re.compile(r"(/rollout/(?:decisions|reviews)/[0-9a-fA-F]{8})[0-9a-fA-F]+")
"""Whose eight first digits stay: enough to find the case in the trail, and no way to its answer."""

_LOGGER = "bentoml.access"


class _Shortening(logging.Filter):
    """Cuts ids in the arguments of a record; lets each record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_ID.sub(r"\1", one) if isinstance(one, str) else one for one in record.args)
        return True


def keep_ids_out() -> None:
    """Let BentoML's access log say only the first eight digits of a case's id; once is enough."""
    logger = logging.getLogger(_LOGGER)
    if not any(isinstance(one, _Shortening) for one in logger.filters):
        logger.addFilter(_Shortening())
