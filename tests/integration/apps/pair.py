"""Two variants that say who answered, with hooks around a flip that do what a file tells them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import bentoml

from bento_rollout import Flip, Hook, RolloutSpec, Veto, rollout

HOOKED = bool(os.environ.get("PAIR_HOOKS"))
PLACE = Path(os.environ.get("PAIR_HOOKS", "."))
WORKERS = int(os.environ.get("PAIR_WORKERS", "3"))


def told(moment: str) -> dict[str, Any]:
    """Return what the test wants to happen now."""
    try:
        return dict(json.loads((PLACE / f"{moment}.json").read_text()))
    except FileNotFoundError:
        return {}


def note(moment: str, flip: Flip, answer: str) -> None:
    """Write down who was called, with what; one line, appended in one write."""
    fields = {
        "pid": os.getpid(),
        "source": flip.source,
        "target": flip.target,
        "reason": flip.reason,
        "author": flip.author,
        "answer": answer,
    }
    with (PLACE / f"{moment}.log").open("a") as file:
        file.write(json.dumps(fields) + "\n")


def act(order: dict[str, Any]) -> None:
    """Do what the test wants."""
    if os.getpid() not in order.get("pids", [os.getpid()]):
        return
    time.sleep(order.get("moment", 0))
    if random.random() < order.get("vetoes", 0):
        raise Veto("a bad moment")
    if "veto" in order:
        raise Veto(order["veto"])
    if "raise" in order:
        raise RuntimeError(order["raise"])
    if "die" in order:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(order.get("sleep", 0))
    deadline = time.monotonic() + 60
    while "until" in order and not Path(order["until"]).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def smoke_test(flip: Flip) -> None:
    """Ask the target in this worker who it is, and do what the test wants."""
    note("before", flip, flip.instance.name())
    act(told("before"))


async def warm_up(flip: Flip) -> None:
    """Ask the target on the worker's own event loop."""
    await asyncio.sleep(0)
    note("async", flip, (await flip.instance.who())["variant"])


def quick(flip: Flip) -> None:
    """A hook that has one second."""
    act(told("quick"))


def tell(flip: Flip) -> None:
    """Note a flip that was made."""
    note("after", flip, flip.instance.name())
    act(told("after"))


@bentoml.service(name="other")
class Other:
    """The candidate."""

    @bentoml.api
    async def who(self, wait: float = 0) -> dict[str, Any]:
        """Return who answers, and in which process."""
        await asyncio.sleep(wait)
        return {"variant": "green", "pid": os.getpid()}

    @bentoml.api
    def name(self) -> str:
        """Return who answers."""
        return "green"


@rollout(
    champion="blue",
    candidates={"green": Other},
    spec=RolloutSpec.parse({"routing": {"key": "header:x-key"}}),
    before_flip=[Hook(smoke_test, timeout="1m"), warm_up, Hook(quick, timeout=1)] if HOOKED else None,
    after_flip=[Hook(tell, timeout="1m")] if HOOKED else None,
)
@bentoml.service(name="pair", workers=WORKERS, threads=2)
class Pair:
    """The champion."""

    @bentoml.api
    async def who(self, wait: float = 0) -> dict[str, Any]:
        """Return who answers, and in which process."""
        await asyncio.sleep(wait)
        return {"variant": "blue", "pid": os.getpid()}

    @bentoml.api
    def name(self) -> str:
        """Return who answers."""
        return "blue"
