"""A service whose candidate hangs as a shadow, in a process of its own; at module level: that imports it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, is_shadow, rollout


def until(path: str) -> None:
    """Hang while there is no file, though not for ever."""
    last = time.monotonic() + 30
    while not Path(path).exists() and time.monotonic() < last:
        time.sleep(0.01)


class Hangs:
    """Hangs in its second variant, in whatever way is asked for, until a file is there."""

    who = "one"

    @bentoml.api
    def sync(self, path: str) -> str:
        if is_shadow():
            until(path)
        return path

    @bentoml.api
    async def inner(self, path: str) -> str:
        if is_shadow():
            await asyncio.to_thread(until, path)
        return path

    @bentoml.api
    def generator(self, path: str) -> Generator[str, None, None]:
        yield "0"
        if is_shadow():
            until(path)

    @bentoml.api
    def temporary(self, path: str, ctx: bentoml.Context) -> str:
        if self.who == "two":
            Path(ctx.temp_dir, "answer.bin").write_bytes(b"x" * 100)
        return path


SHADOW: dict[str, Any] = {"percent": 100, "timeout": "300ms"}
HANGS: Any = rollout(
    champion="one",
    candidates={"two": Variant(attributes={"who": "two"}, runner="process")},
    spec=RolloutSpec.parse({"name": "hangs", "shadow": {"two": SHADOW}}),
)(bentoml.service(name="hangs")(Hangs))
