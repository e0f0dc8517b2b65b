"""What a broken candidate costs before it is rolled back by itself, and how fast that is.

Run ``python -m benchmarks.rollback``. A real ``bentoml serve`` with 2 workers gets keyed requests, each of
another user. (1) A candidate with 5 % of the users fails a fifth of its calls: how many requests were lost
until it was rolled back; bar: at most 15, the median of 20 tries. (2) A candidate with half of the users
fails every call: how long from its fifth failure, which is evidence enough, to the last answer that any
worker let it give; bar: 2 s, each time. Every try begins with fresh evidence.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field

from benchmarks.flip import served
from bento_rollout import open_rollout

CONNECTIONS, RATE = 8, 200
ENOUGH = 5
PATIENCE = 60.0
AFTER = 1.0
"""Seconds for which the traffic goes on after a rollback: whoever still serves the candidate shows."""

_numbers = itertools.count()


@dataclass
class Try:
    """What callers saw: when each answer of the candidate came, and whether it was a failure."""

    candidate: list[tuple[float, bool]] = field(default_factory=list)
    others: int = 0
    elsewhere: int = 0
    over: bool = False

    @property
    def lost(self) -> list[float]:
        """When the candidate failed."""
        return [when for when, failed in self.candidate if failed]


async def _caller(port: int, seen: Try, rate: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.monotonic()
    while not seen.over:
        head = f"POST /who HTTP/1.1\r\nhost: x\r\nx-key: user-{next(_numbers)}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(answer.split("content-length: ")[1].split("\r\n")[0]))
        failed = " 200 " not in answer.split("\r\n")[0]
        if "x-rollout-variant: broken" in answer:
            seen.candidate.append((time.monotonic(), failed))
        else:
            seen.others += 1
            seen.elsewhere += failed
        due = max(due + 1.0 / rate, time.monotonic() - 1.0)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    writer.close()


async def _one(port: int, number: int) -> Try:
    """Begin a try under load, and wait until it is rolled back."""
    operator, seen = open_rollout("rolling"), Try()
    callers = [asyncio.create_task(_caller(port, seen, RATE / CONNECTIONS)) for _ in range(CONNECTIONS)]
    await asyncio.sleep(1.0)
    await asyncio.to_thread(operator.start if not number else operator.retry, reason="benchmark")
    deadline = time.monotonic() + PATIENCE
    while (await asyncio.to_thread(lambda: operator.state)).running is not None:
        if time.monotonic() > deadline:
            raise RuntimeError("the candidate was not rolled back")
        await asyncio.sleep(0.05)
    await asyncio.sleep(AFTER)
    seen.over = True
    await asyncio.gather(*callers)
    return seen


def tries(fails: float, weight: float, number: int) -> list[Try]:
    """Return what callers saw in some tries, each with fresh evidence."""
    with tempfile.TemporaryDirectory() as home:
        service = "benchmarks.rollback_service:Rolling"
        more = {"BENCH_FAILS": str(fails), "BENCH_WEIGHT": str(weight)}
        with served(home, service, "rolling", 2, **more) as port:
            return [asyncio.run(_one(port, count)) for count in range(number)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20, help="tries of each kind (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    slight, total = tries(0.2, 5, options.tries), tries(1.0, 50, options.tries)
    lost = sorted(len(one.lost) for one in slight)
    seconds = sorted(one.candidate[-1][0] - one.lost[ENOUGH - 1] for one in total)
    others = sum(one.elsewhere for one in (*slight, *total))
    result = {
        "lost_median": statistics.median(lost),
        "lost": lost,
        "seconds_median": statistics.median(seconds),
        "seconds_most": seconds[-1],
        "failed_of_others": others,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{len(lost)} tries, {RATE} requests/s, 2 workers, keys of their own")
    print(
        f"5 % of users, a fifth of their calls fails: {result['lost_median']:g} lost (median; {lost}); bar 15"
    )
    print(
        f"50 % of users, all calls fail: {statistics.median(seconds):.2f} s (median), {seconds[-1]:.2f} s "
        "(most) from the fifth failure to the candidate's last answer; bar 2 s"
    )
    print(f"requests that the candidate did not serve and that failed: {others}")


if __name__ == "__main__":
    main()
