"""Seals two models and serves them; a release that fails is rolled back by itself.

Mended, it watches, is led to 10 and 50 percent, flipped to and rolled back by a person. The truth about every
answer is told, and read beside it in the ledger. Then evidence leads the same candidate up, and promotes it.
The service is built, and what that makes is searched for plaintext. People decide what another one is asked.
What comes to a third one changes, which pauses its rollout. At last a candidate runs in four places.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live

from services.data import Patients, split
from services.demo.drifting import alarm_and_pause
from services.demo.operator import NAME, CommandFailed, Operator, Step
from services.demo.people import held_for_people
from services.demo.places import four_places
from services.demo.promises import CANDIDATE, CHAMPION, Evidence, Verdict, judge
from services.demo.screen import Screen
from services.demo.sealed import nothing_plain, opened
from services.demo.server import ROOT, environment, serving, tail
from services.demo.traffic import Patient, Traffic
from services.demo.tries import judged as tries_judged
from services.demo.tries import tried
from services.demo.truth import joined
from services.demo.watching import judged, report_of
from services.train import BOOSTED, LOGISTIC

WORKERS = 2
VISITS = 4
"""How many patients share the measurements of one held-out row: more keys, same truth."""
VISITS_OF_A_TRY = 12
"""The same while evidence decides, which counts each patient once."""
PASSES = 2
"""How often every patient comes while a state holds (the first pass may have begun before)."""
PATIENCE = 60.0
Result = TypeVar("Result")


def patients(held: Patients, visits: int = VISITS) -> list[Patient]:
    """Return the callers: every held-out row, under several keys of its own."""
    bodies = [json.dumps({"rows": [row.tolist()]}).encode() for row in held.rows]
    total = len(bodies) * visits
    return [Patient(f"patient-{n:04d}", n % len(bodies), bodies[n % len(bodies)]) for n in range(total)]


def own_answers(home: Path, held: Patients) -> dict[str, NDArray[np.float64]]:
    """Return what each sealed model itself says about every held-out row."""
    return {
        variant: joblib.load(opened(home, name).open("model.joblib")).predict_proba(held.rows)[:, 1]
        for variant, name in ((CHAMPION, LOGISTIC), (CANDIDATE, BOOSTED))
    }


class Story:
    """Runs the operator's commands while the screen follows the traffic."""

    def __init__(self, operator: Operator, traffic: Traffic, screen: Screen, live: Live | None) -> None:
        self._operator = operator
        self._traffic = traffic
        self._screen = screen
        self._live = live

    def begin(self) -> None:
        """Take the state as the service started with it for the first step."""
        issued = time.monotonic()
        revision = int(self._during(self._operator.status)["revision"])
        self._screen.steps.append(Step("start", 0, issued, time.monotonic(), revision))
        self._watch()

    def change(
        self, title: str, share: float, verb: str, *arguments: str, reason: str, watch: bool = True
    ) -> None:
        """Let the operator change the state, then, if that is to be watched, let every patient come again."""
        step = self._during(lambda: self._operator.step(title, share, verb, arguments, reason))
        self._screen.steps.append(step)
        took = (step.returned - step.issued) * 1000
        self._screen.say(f"$ {step.line}")
        self._screen.say(f"  revision {step.revision} after {took:.0f} ms, interpreter start included")
        if watch:
            self._watch()

    def shadow(self, percent: int, reason: str) -> None:
        """Let the candidate, and the champion beside itself, watch a part of the calls."""
        shares = [f"{name}={percent}" for name in (CANDIDATE, CHAMPION)]
        self.change(f"shadow {percent}%", 0, "shadow", *shares, reason=reason, watch=percent > 0)

    def report(self, page: Path) -> Verdict:
        """Show and judge what the shadows found."""
        return judged(self._during(lambda: report_of(self._operator, page)), self._screen, page)

    def ask_about(self, keys: list[str]) -> dict[str, str]:
        """Ask who answers these patients now."""
        return self._during(lambda: self._operator.assigned(keys))

    def _during(self, action: Callable[[], Result]) -> Result:
        """Run a command beside the screen, so that the table goes on filling."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(action)
            while not future.done():
                self._refresh()
            return future.result()

    def _watch(self) -> None:
        before = list(self._traffic.passes)
        deadline = time.monotonic() + PATIENCE
        while min(now - then for now, then in zip(self._traffic.passes, before, strict=True)) < PASSES:
            if time.monotonic() > deadline or not self._traffic.alive:
                raise RuntimeError(f"the traffic stalled: {self._traffic.passes} passes, {before} before")
            self._refresh()

    def _refresh(self) -> None:
        self._screen.count(self._traffic.answers)
        if self._live is not None:
            self._live.update(self._screen.render())
        time.sleep(0.1)


def wait_for_workers(operator: Operator) -> None:
    """Return once every worker can serve; the first 200 of ``/readyz`` may come before the second is up."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = operator.status()
        states = {variant["state"] for variant in status["variants"].values()}
        if len(status["workers"]) >= WORKERS and states == {"ready"}:
            return
        time.sleep(0.2)
    raise RuntimeError(f"not every worker became ready: {operator.status()}")


def tell(story: Story, keys: list[str], page: Path) -> tuple[dict[str, str], Verdict]:
    """Play the whole story; return what ``assign`` said in the middle of it, and how the shadow did."""
    story.shadow(100, "what would the candidate have said?")
    watched = story.report(page)
    story.shadow(0, "seen enough")
    story.begin()
    story.change("canary 10%", 10, "weight", f"{CANDIDATE}=10", reason="first patients")
    story.change("canary 50%", 50, "weight", f"{CANDIDATE}=50", reason="nothing failed at 10 percent")
    told = story.ask_about(keys)
    story.change("flip", 100, "flip", "--to", CANDIDATE, reason="all patients")
    story.change("rollback", 0, "rollback", reason="now let evidence decide")
    return told, watched


def train(home: Path, *arguments: str) -> None:
    """Train and seal models, as a person would."""
    command = [sys.executable, "-m", "services.train", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment(home), check=True)


def run(home: Path, console: Console) -> bool:
    """Play the demo in a home of its own; return whether every promise was kept."""
    _, held = split()
    everybody, many = patients(held), patients(held, VISITS_OF_A_TRY)
    screen, operator = Screen(console, held.malignant), Operator(home)
    screen.say(
        "training two models on scikit-learn's breast-cancer data, one of them carelessly, and sealing them"
    )
    train(home, "--careless")
    screen.say(f"starting bentoml serve with {WORKERS} workers")
    with serving(home, home / "server.log") as port:
        wait_for_workers(operator)
        bad = tried(operator, port, many, screen, "start", "a better model")
    screen.say("mending the model, and starting the service with it")
    train(home, BOOSTED)
    own = own_answers(home, held)
    with serving(home, home / "server.log") as port:
        wait_for_workers(operator)
        screen.say(f"sending {len(everybody)} patients ({len(held.rows)} held-out rows), again and again")
        keys, page = [p.key for p in everybody[:20]], home / "shadow.html"
        with Traffic(port, everybody) as traffic:
            if console.is_terminal:
                with Live(console=console, refresh_per_second=4) as live:
                    told, watched = tell(Story(operator, traffic, screen, live), keys, page)
            else:
                told, watched = tell(Story(operator, traffic, screen, None), keys, page)
        history = operator.history()
        truth = joined(operator, traffic.answers, held.malignant, home, screen)
        screen.say("the mended model by evidence of errors, time and doubt; the truth comes later than that")
        good = tried(operator, port, many, screen, "retry", "unknown values are no errors any more")
    screen.count(traffic.answers)
    if not console.is_terminal:
        console.print(screen.render())
    plain = nothing_plain(home, screen)
    people = held_for_people(home, screen)
    drift = alarm_and_pause(home, screen)
    places = four_places(home, screen)
    steps = [step for step in screen.steps if not step.title.startswith("shadow")]
    judged_steps = judge(Evidence(traffic.answers, steps, own, told, history))
    verdicts = [*tries_judged(bad, good), watched, *judged_steps, truth, plain, people, drift, places]
    screen.verdicts(verdicts)
    return all(verdict.kept for verdict in verdicts)


def main() -> int:
    """Run the demo; return 0 when every promise was kept, and leave nothing behind then."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=110)
    (ROOT / ".demo").mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=ROOT / ".demo"))
    began = time.monotonic()
    kept = False
    try:
        kept = run(home, console)
    except (RuntimeError, CommandFailed, subprocess.SubprocessError) as error:
        console.print(f"the demo of {NAME} could not go on: {error}", style="bold red", markup=False)
        if (home / "server.log").exists():
            console.print(tail(home / "server.log"), markup=False, soft_wrap=True)
    finally:
        if kept:
            shutil.rmtree(home, ignore_errors=True)
    left = "" if kept else f"; left for a look: {home.relative_to(ROOT)}"
    console.print(f"{time.monotonic() - began:.0f} s{left}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
