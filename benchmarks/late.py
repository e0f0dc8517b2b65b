"""What a candidate that is ten seconds late does to the champion beside it, wherever the candidate runs.

Run ``python -m benchmarks.late``. For a candidate in a service of its own, in a process and at a URL: a
minute in which 5 % of the traffic goes to it, with a time limit of one second and the champion behind it,
after a minute in which the same callers ask the champion alone. Then the same with a candidate in a process
that blocks its event loop, asked 20 times a second with a text of 1 MB each. Bars: 1.5x of the champion's p99
alone, no failed request, and no more than 20 MB that the champion's worker grows more than alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks._ab import Ratio
from benchmarks.service import BODY, Line, served, settle
from bento_rollout import open_rollout

TAIL_BAR = 1.5
MEMORY_BAR = 20.0
SHARE = 0.05
CALLERS = 4
PAUSE = 0.1
SLICE = 5.0
NAME = "late_bench"
PLACES = ("service", "process", "url", "stuck")


@dataclass(frozen=True)
class Load:
    """What the candidate is asked, and how often in a second."""

    path: str
    body: bytes
    rate: float


LOADS = dict.fromkeys(PLACES, Load("/predict", BODY, CALLERS / PAUSE * SHARE))
LOADS["stuck"] = Load("/read", json.dumps({"text": "x" * 1_000_000}).encode(), 20.0)


@dataclass
class Phase:
    """How long the champion's callers waited, by slices of a few seconds, and what became of it all."""

    times: list[list[float]] = field(default_factory=list)
    failures: int = 0
    fallbacks: int = 0
    grown: float = 0.0

    @property
    def tail(self) -> float:
        """The p99: of all slices together, since the collector's pauses come in some of them only."""
        return tail_of(self.times)


def tail_of(slices: Sequence[Sequence[float]]) -> float:
    """Return the p99 of all times."""
    return statistics.quantiles(itertools.chain.from_iterable(slices), n=100)[98]


def cost_of(late: Phase, alone: Phase, draws: int = 2000) -> Ratio:
    """Return the ratio of two tails, with its 95 % interval over slices drawn anew."""

    def drawn(phase: Phase) -> float:
        return tail_of(random.choices(phase.times, k=len(phase.times)))

    found = sorted(drawn(late) / drawn(alone) for _ in range(draws))
    return Ratio(late.tail / alone.tail, found[int(draws * 0.025)], found[int(draws * 0.975)])


Answers = list[tuple[float, float, int, str]]
"""When each was asked for, how long it took, its status and its variant."""


async def paced(port: int, users: Sequence[str], load: Load, until: float, pause: float) -> Answers:
    """Ask at a steady pace over one connection."""
    line, answers = Line(port), Answers()
    for user in itertools.cycle(users):
        if (began := time.monotonic()) > until:
            break
        status, variant = await line.ask(user, load.path, load.body)
        answers.append((began, time.monotonic() - began, status, variant))
        await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
    line.close()
    return answers


async def asked(port: int, users: dict[str, list[str]], who: str, load: Load, seconds: float) -> Phase:
    """Time the champion's callers for a while, in one piece; others ask one variant at their rate."""
    began, part = time.monotonic(), len(users["first"]) // (CALLERS + 1)
    until = began + seconds
    champion = Load("/predict", BODY, 0)
    own = [
        paced(port, users["first"][n * part : (n + 1) * part], champion, until, PAUSE) for n in range(CALLERS)
    ]
    waiting = round(2 * load.rate)  # each of them waits for a second: these are enough
    others = users[who][-part:]
    theirs = [paced(port, others[n::waiting], load, until, waiting / load.rate) for n in range(waiting)]
    found = await asyncio.gather(*own, *theirs)
    phase = Phase([[] for _ in range(max(1, round(seconds / SLICE)))])
    for at, took, _, _ in itertools.chain.from_iterable(found[:CALLERS]):
        phase.times[min(int((at - began) / SLICE), len(phase.times) - 1)].append(took)
    phase.failures = sum(status != 200 for answers in found for *_, status, _ in answers)
    phase.fallbacks = sum(variant == "first" for answers in found[CALLERS:] for *_, variant in answers)
    return phase


def compare(port: int, place: str, seconds: float, warm: float) -> tuple[Phase, Phase]:
    """Return a phase in which only the champion is asked, and one beside the candidate at a place."""
    rollout, load = open_rollout(NAME), LOADS[place]
    settle(place, name=NAME)
    rollout.set_weights({name: SHARE * 100 if name == place else 0 for name in PLACES})
    names = [f"user-{number}" for number in range(10_000)]
    users: dict[str, list[str]] = {"first": [], place: []}
    for name, who in zip(names, rollout.assign(names), strict=True):
        users[who].append(name)
    worker = psutil.Process(rollout.status()["workers"][0]["pid"])
    for who in ("first", place):  # to be warm, longer than the server's time limit
        asyncio.run(asked(port, users, who, load, warm))
    phases = []
    for who in ("first", place):
        before = worker.memory_info().rss
        phases.append(asyncio.run(asked(port, users, who, load, seconds)))
        phases[-1].grown = (worker.memory_info().rss - before) / 1e6
    return phases[0], phases[1]


def told(place: str, alone: Phase, late: Phase) -> bool:
    """Print what a candidate did to the champion, and return whether the bars are met."""
    cost = cost_of(late, alone)
    failures = alone.failures + late.failures
    good = cost.value <= TAIL_BAR and not failures and late.grown - alone.grown < MEMORY_BAR
    print(
        f"{place}: champion's p99 {alone.tail * 1e3:.1f} ms alone, {late.tail * 1e3:.1f} ms beside it: "
        f"{cost}, bar {TAIL_BAR}x; failed {failures}, answered by the champion {late.fallbacks}; memory "
        f"{alone.grown:+.1f} MB alone, {late.grown:+.1f} MB beside it, bar {MEMORY_BAR:+g}: "
        f"{'met' if good else 'MISSED'}",
        flush=True,
    )
    return good


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it: whether it works at all")
    parser.add_argument("--only", choices=PLACES, help="one place")
    options = parser.parse_args()
    seconds, warm = (10.0, 2.0) if options.quick else (60.0, 15.0)
    places = PLACES if options.only is None else (options.only,)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(BENTOML_HOME=home, BENTO_ROLLOUT_STORE=f"sqlite:///{home}/store.db")
        with served(home, "Deployed", module="late_service") as deployed:
            os.environ["LATE_URL"] = f"http://127.0.0.1:{deployed.port}"
            with served(home, "Ours", module="late_service") as ours:
                met = [told(place, *compare(ours.port, place, seconds, warm)) for place in places]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
