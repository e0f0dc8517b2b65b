"""A service that is asked a lot, and whose log the tests break, as its environment says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
import structlog
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, Variant, rollout

CONFIGURED = os.environ.get("LOGGED_STRUCTLOG", "")
SAMPLE = float(os.environ.get("LOGGED_SAMPLE", "1"))


def raising(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A processor with a bug."""
    if fields.get("endpoint") == "fail":
        raise KeyError("secret")
    return fields


if CONFIGURED:
    structlog.configure(
        processors=[raising, structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.WriteLoggerFactory(Path(CONFIGURED).open("a", buffering=1)),  # noqa: SIM115 - open as long as the service
    )


@rollout(
    champion="one",
    candidates={"two": Variant(attributes={"word": "two"})},
    spec=RolloutSpec.parse(
        {
            "weights": {"two": 30},
            "log": {"sample": {"prediction.served": SAMPLE}},
            "routing": {"key": "header:x-key"},
        }
    ),
)
@bentoml.service(name="logged", workers=2)
class Logged:
    """The champion."""

    word = "one"

    @bentoml.api
    async def who(self) -> dict[str, Any]:
        """Return who answers, and in which process."""
        return {"variant": self.word, "pid": os.getpid()}

    @bentoml.api
    async def fail(self) -> None:
        """Say that the caller is wrong."""
        raise InvalidArgument("no")
