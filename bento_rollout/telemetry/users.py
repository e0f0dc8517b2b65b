"""The user's own structlog configuration: what is bound for its lines, and the way of one of ours into it."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .rendering import Line, checked

__all__ = ["bound", "context_of", "hand_over", "is_configured", "users_logger"]


def is_configured() -> bool:
    """Whether the user has configured structlog; where nobody has imported it, nobody has."""
    structlog: Any = sys.modules.get("structlog")
    return structlog is not None and bool(structlog.is_configured())


def bound() -> Mapping[str, Any] | None:
    """Return what is bound here for each line (`structlog.contextvars`), if the user's processors merge it.

    A line is written by another thread, where nothing is bound. Never raises.
    """
    try:
        if not is_configured():
            return None
        import structlog

        merge = structlog.contextvars.merge_contextvars
        if all(each is not merge for each in structlog.get_config()["processors"]):
            return None
        return structlog.contextvars.get_contextvars() or None
    except Exception:  # noqa: BLE001 - a log line has less in it, and an answer nothing
        return None


def context_of(bound: Mapping[str, Any]) -> contextvars.Context:
    """Return a context in which this is bound, and nothing else."""
    import structlog

    context = contextvars.Context()
    context.run(structlog.contextvars.bind_contextvars, **bound)
    return context


def users_logger() -> Any:
    """Return a logger of the user's configuration as it is now; of one that is awaited its plain side."""
    import structlog

    logger = structlog.get_logger("bento_rollout")
    if not issubclass(structlog.get_config()["wrapper_class"], structlog.stdlib.AsyncBoundLogger):
        return logger.bind()
    return _awaited(logger).sync_bl


def _awaited(logger: Any) -> Any:
    """Return a logger that asks for a loop when it is made."""
    import asyncio

    async def made() -> Any:
        return logger.bind()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(made())
    return logger.bind()


def hand_over(line: Line, logger: Any) -> None:
    """Give a line to the user's processors, in its own context.

    Raises:
        BaseException: whatever they raise.
    """
    write: Callable[..., Any] = getattr(logger, checked(line).level)
    fields = dict(line.fields)
    if "timestamp" in fields and _stamps():
        fields.setdefault("time", fields["timestamp"])
    if line.context is None:
        write(line.name, **fields)
    else:
        line.context.run(write, line.name, **fields)


def _stamps() -> bool:
    """Whether the user's processors put the moment of writing in the place of a line's own time."""
    import structlog

    stamper = structlog.processors.TimeStamper
    found = (each for each in structlog.get_config()["processors"] if isinstance(each, stamper))
    return any(each.key == "timestamp" for each in found)
