"""What `benchmarks.shadow` serves: a champion whose shadows do as they are told, and the same by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import bentoml
import numpy as np

from benchmarks.shadow_peers import SLEEP, burn
from bento_rollout import RolloutSpec, Variant, rollout

LEAK = 1 << 15
LIMIT = 3
"""Seconds that a request may take: BentoML keeps something of each for so long, whoever shadows it."""

leaked: list[bytes] = []
"""What a candidate never lets go of."""


def misbehave(how: str, place: str) -> None:
    """Do as a caller tells a candidate to."""
    if how == "sleep":
        time.sleep(SLEEP)
    elif how == "burn":
        burn()
    elif how == "leak":
        leaked.append(os.urandom(LEAK))
    elif how == "hang":
        time.sleep(3600)
    elif how == "exit" and place == "beside":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        raise SystemExit


@rollout(
    champion="calm",
    candidates={
        "near": Variant(attributes={"place": "near"}),
        "beside": Variant(attributes={"place": "beside"}, runner="process"),
    },
    spec=RolloutSpec.parse({"routing": {"key": "header:x-user"}}),  # its shadows have the default limits
)
@bentoml.service(name="shadow_bench", workers=1, traffic={"timeout": LIMIT})
class Ours:
    """Sums rows; whoever is a candidate does something else first."""

    place = ""

    @bentoml.api
    def predict(self, rows: np.ndarray, how: str = "") -> np.ndarray:
        """Return each row's sum."""
        if self.place:
            misbehave(how, self.place)
        total: np.ndarray = rows.sum(axis=1)
        return total

    @bentoml.api
    async def on_loop(self, rows: np.ndarray, how: str = "") -> np.ndarray:
        """Do the same on the worker's event loop."""
        if self.place and how == "sleep":
            await asyncio.sleep(SLEEP)
        elif self.place:
            misbehave(how, self.place)
        total: np.ndarray = rows.sum(axis=1)
        return total


@bentoml.service(name="shadow_by_hand", workers=1, traffic={"timeout": LIMIT})
class ByHand:
    """The same model without a rollout; its shadow is a thread that somebody wrote into the endpoint."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def _candidate(self, rows: np.ndarray, how: str) -> None:
        misbehave(how, "near")
        rows.sum(axis=1)

    @bentoml.api
    def predict(self, rows: np.ndarray, how: str = "") -> np.ndarray:
        """Return each row's sum, and hand the input to the thread."""
        if how:
            self._thread.submit(self._candidate, rows, how)
        total: np.ndarray = rows.sum(axis=1)
        return total

    @bentoml.api
    def forget(self) -> None:
        """Drop what waits for the thread, so that the next round begins without it."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._thread = ThreadPoolExecutor(1)
