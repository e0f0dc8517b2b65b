"""Drift: what comes to a service changes at once, then slowly; each is found, and the rollout is paused.

Run ``python examples/drift.py``, which leaves its report in ``drift.html``; or serve it with
``bentoml serve examples.drift:Triage``. ``bento-rollout drift triage fit`` made its reference of `visits`.
"""

from __future__ import annotations

import subprocess
import sys
import time

import bentoml
import httpx
import numpy as np
from rich.console import Console

from bento_rollout import Rollout, Variant, open_rollout, rollout

told = Console(highlight=False, soft_wrap=True)


@rollout(champion="plain", candidates={"careful": Variant(attributes={"border": 0.4})}, spec="drift.yaml")
@bentoml.service(name="triage", logging={"access": {"enabled": False}})
class Triage:
    """Says who must be seen at once; the candidate is the same code, and lets fewer people wait."""

    border = 0.5

    @bentoml.api
    def urgent(self, age: float, temperature: float, pulse: float) -> bool:
        """Return whether this visitor must be seen at once."""
        return (age > 75) * 0.3 + (temperature > 39) * 0.4 + (pulse > 110) * 0.3 > self.border


def visits(count: int, seed: int, warmer: float = 0.0, aging: float = 0.0) -> list[dict[str, float]]:
    """Return visitors: all `warmer` by some degrees, and each older than the one before by `aging` years."""
    rows = np.random.default_rng(seed).normal([50, 37.2 + warmer, 85], [15, 0.7, 14], (count, 3))
    rows[:, 0] += np.arange(count) * aging
    return [dict(zip(("age", "temperature", "pulse"), row, strict=True)) for row in rows.round(2).tolist()]


def come(client: httpx.Client, triage: Rollout, people: list[dict[str, float]]) -> None:
    """Let people come until all were there, or a new alarm has paused the rollout; tell of that."""
    watch, paused, number, evidence = triage.drift, triage.state.paused, 0, ""
    while not watch.status()["watched"]:
        time.sleep(0.05)
    rows = watch.status()["tests"]["data"]["rows"]
    with told.status("they come") as line:  # in a terminal one line that changes; in a pipe none
        for number, one in enumerate(people, 1):
            client.post("/urgent", json=one, headers={"x-visitor": f"{number}"}).raise_for_status()
            if number % 50:
                continue
            while (data := watch.status()["tests"]["data"])["rows"] < rows + number:
                time.sleep(0.05)
            evidence = f"evidence {data['odds']}, alarm at {data['odds_needed']}"
            line.update(f"{number} visitors: {evidence}")
            if triage.state.paused and not paused:
                break
    told.print(f"  {number} visitors: {evidence}")
    if triage.state.paused and not paused:
        told.print(f"  [bold red]ALARM[/] {watch.status()['alarms'][0]['words']}")
        told.print(f"  the try is paused by [bold]{triage.history()[0].author}[/]")
        told.print(f"  bento-rollout drift triage status: exit code {drift('status')}")


def drift(*arguments: str) -> int:
    """Run ``bento-rollout drift triage``, and return its exit code."""
    command = [sys.executable, "-m", "bento_rollout.cli", "drift", "triage", *arguments]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


def story(client: httpx.Client) -> None:
    """Ask quietly; then with other thermometers; then while the town grows older."""
    triage = open_rollout("triage")
    triage.start(reason="fewer people should wait")
    told.print("[bold]people come as they did when the model was made[/]")
    come(client, triage, visits(300, seed=1))
    told.print("[bold]new thermometers read 0.7 degrees more, all at once[/]")
    come(client, triage, visits(400, seed=2, warmer=0.7))
    come(client, triage, visits(200, seed=3, warmer=0.7))
    told.print(f"  ack: {triage.drift.ack(reason='the new thermometers')['words'][0]}")
    told.print(f"  rebase: {triage.drift.rebase(rows=200, reason='they stay')['words'][0]}")
    triage.resume(reason="the model was looked at with them")
    told.print("[bold]the town grows older, by a year every 50 visitors[/]")
    come(client, triage, visits(2000, seed=4, warmer=0.7, aging=0.02))
    drift("report", "--html", "drift.html")
    told.print("the whole report: [bold]drift.html[/]")


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    with served("drift:Triage", rollout="triage") as client:
        story(client)
