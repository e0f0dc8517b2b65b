"""Simulated people who read biopsies, over the routes that real ones have: claim a case, answer it."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx

MALIGNANT, BENIGN = "malignant", "benign"


class Reader:
    """Somebody with a known rate of error; adjudicators get only what two others disagree on.

    Attributes:
        name: who it is.
        errs: the chance to be wrong about a case.
        sways: the chance to follow the model, once it is seen to say otherwise.
        right: whether each case was answered right, before the model was seen.
    """

    def __init__(self, name: str, *, errs: float, sways: float = 0.3) -> None:
        self.name, self.errs, self.sways = name, errs, sways
        self.token = secrets.token_urlsafe(24)
        self.right: list[bool] = []

    def work(self, url: str, truth: Sequence[bool], over: Event) -> None:
        """Answer what there is until it is over."""
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {self.token}"}) as client:
            while not over.is_set():
                claimed = client.post("/rollout/reviews/claim", json={"endpoint": "read"})
                claimed.raise_for_status()
                if claimed.status_code == httpx.codes.NO_CONTENT:
                    time.sleep(0.03)
                else:
                    self._answer(client, claimed.json(), truth)

    def _answer(self, client: httpx.Client, claim: dict[str, Any], truth: Sequence[bool]) -> None:
        patient = _patient(claim["input"])
        chance = random.Random(f"{self.name} reads {patient}")  # the same at each run, whoever comes first
        self.right.append(chance.random() >= self.errs)
        choice = MALIGNANT if truth[patient] is self.right[-1] else BENIGN
        seconds = round(random.Random(f"{self.name} looks at {patient}").uniform(5, 40), 1)
        shown = self._say(client, claim, choice, seconds)
        if shown["status"] == "revealed":
            suggestion = shown["suggestion"]["choice"]
            if suggestion != choice and chance.random() < self.sways:
                choice = suggestion
            self._say(client, claim, choice, seconds)

    def _say(
        self, client: httpx.Client, claim: dict[str, Any], choice: str, seconds: float
    ) -> dict[str, Any]:
        body = {"token": claim["token"], "choice": choice, "seconds": seconds}
        answer = client.post(f"/rollout/reviews/{claim['task']}/answer", json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def _patient(shown: dict[str, Any]) -> int:
    """Return whose slides a case is about: all that it shows is a link."""
    return int(str(shown["content"]).rpartition("/")[2])


def write_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    """Write the file that ``BENTO_ROLLOUT_REVIEW_TOKEN_FILE`` names: each has a token of their own."""
    path.write_text("".join(f"{name}:{token}\n" for name, token in tokens.items()), encoding="utf-8")
    path.chmod(0o600)


def read_tokens(path: Path) -> dict[str, str]:
    """Return whose token is which."""
    parts = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: token for name, _, token in parts}


@contextmanager
def at_work(readers: Sequence[Reader], url: str, truth: Sequence[bool]) -> Iterator[None]:
    """Let readers answer meanwhile; what one of them stumbles over is raised at the end."""
    over = Event()
    with ThreadPoolExecutor(len(readers)) as pool:
        working = [pool.submit(one.work, url, truth, over) for one in readers]
        try:
            yield
        finally:
            over.set()
            for one in working:
                one.result()
