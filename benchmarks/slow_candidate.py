"""What a candidate that sleeps for ten seconds does to the champion beside it: its p99, with and without.

Run ``python -m benchmarks.slow_candidate``. One worker, sync endpoints. In turn, rounds in which 5 % of the
traffic goes to the sleeper and rounds in which none does, the champion's callers paced alike. Bar: the
champion's p99 within 2x of the rounds without, and none of its requests fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field

from benchmarks._ab import ratio
from benchmarks.flip import served
from bento_rollout import open_rollout

BAR = 2.0
SHARE = 0.05
CALLERS = 8
PAUSE = 0.04


def keys() -> tuple[list[str], list[str]]:
    """Return users of the champion and of the candidate, at 5 percent."""
    rollout = open_rollout("awake")
    names = [f"user-{number}" for number in range(20_000)]
    who = rollout.assign(names)
    return [n for n, w in zip(names, who, strict=True) if w == "awake"], [
        n for n, w in zip(names, who, strict=True) if w == "sleeper"
    ]


@dataclass
class Callers:
    """Paced callers of the champion, and others whose requests go to the sleeper and hang."""

    port: int
    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    async def ask(self, user: str) -> bytes:
        """Send one request over a connection of its own and return the answer's first line."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /answer HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())
        try:
            return await reader.readline()
        finally:
            writer.close()

    async def champion(self, users: list[str], until: float) -> None:
        """Ask the champion again and again, at a steady pace."""
        for user in users:
            began = time.monotonic()
            if began > until:
                return
            if b" 200 " in await self.ask(user):
                self.seconds.append(time.monotonic() - began)
            else:
                self.failures += 1
            await asyncio.sleep(max(0.0, began + PAUSE - time.monotonic()))

    async def sleeper(self, users: list[str], until: float) -> None:
        """Ask the sleeper at its share of the rate, and never wait for it."""
        hanging = []
        for user in users:
            if time.monotonic() > until:
                break
            hanging.append(asyncio.ensure_future(self.ask(user)))
            await asyncio.sleep(PAUSE / CALLERS / SHARE)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def a_round(port: int, users: tuple[list[str], list[str]], length: float, *, asleep: bool) -> Callers:
    """Return one round's times."""
    callers, until = Callers(port), time.monotonic() + length
    part = len(users[0]) // CALLERS
    work = [callers.champion(users[0][n * part : (n + 1) * part], until) for n in range(CALLERS)]
    if asleep:
        work.append(callers.sleeper(users[1], until))
    await asyncio.gather(*work)
    return callers


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    tails: dict[bool, list[float]] = {False: [], True: []}
    failures = 0
    service = "benchmarks.slow_candidate_service:Awake"
    with tempfile.TemporaryDirectory() as home, served(home, service, "awake", 1) as port:
        open_rollout("awake").set_weights({"sleeper": SHARE * 100})
        users = keys()
        for number in range(options.rounds):
            for asleep in (False, True) if number % 2 else (True, False):
                done = asyncio.run(a_round(port, users, options.seconds, asleep=asleep))
                tails[asleep].append(statistics.quantiles(done.seconds, n=100)[98])
                failures += done.failures
            print(f"\r{number + 1}/{options.rounds} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    cost = ratio(tails[True], tails[False])
    met = cost.value <= BAR and not failures
    with contextlib.suppress(BrokenPipeError):
        print(
            f"champion's p99: {statistics.median(tails[False]) * 1e3:.1f} ms alone, "
            f"{statistics.median(tails[True]) * 1e3:.1f} ms beside the sleeper: "
            f"{cost}, bar {BAR}x; failed {failures}; {'met' if met else 'MISSED'}"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
