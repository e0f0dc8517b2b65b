"""BentoML's access log says no whole id of a case: each opens a decision."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from bentoml._internal.server.http.access import AccessLogMiddleware

from bento_rollout.bento.unlogged import keep_ids_out

CASE = "c4a110ac9da30f99bebac9c2ebc06c13"


class Heard(logging.Handler):
    """What was logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


async def answered(scope: Any, receive: Any, send: Any) -> None:
    """Answer as any service does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing() -> dict[str, Any]:
    """Receive nothing."""
    return {}


async def passed_on(message: Any) -> None:
    """Send to nobody."""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"/rollout/decisions/{CASE}", "path=/rollout/decisions/c4a110ac)"),
        (f"/read/rollout/reviews/{CASE}/answer", "path=/read/rollout/reviews/c4a110ac/answer)"),
        (f"/files/{CASE}", f"path=/files/{CASE})"),
        ("/rollout/reviews/claim", "path=/rollout/reviews/claim)"),
    ],
)
def test_the_access_log_says_the_first_digits_of_a_case(path: str, said: str) -> None:
    """By BentoML's own middleware; other paths stay whole, and whoever asks twice has one filter."""
    keep_ids_out()
    keep_ids_out()
    logger, heard = logging.getLogger("bentoml.access"), Heard()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(heard)
    try:
        scope = {"type": "http", "scheme": "http", "method": "GET", "path": path, "headers": []}
        asyncio.run(AccessLogMiddleware(answered)({**scope, "client": ("::1", 1)}, nothing, passed_on))
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
    (line,) = heard.lines
    assert said in line
    assert sum(type(one).__name__ == "_Shortening" for one in logger.filters) == 1
