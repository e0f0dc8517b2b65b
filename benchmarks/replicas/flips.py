"""Flips under load, through the load balancer."""

from __future__ import annotations

import statistics
import time

from .database import Topology
from .findings import Finding, Outcome
from .load import loaded

__all__ = ["flips"]

BAR = 0.100


def flips(topology: Topology, count: int) -> Outcome:
    """Flip to and fro; a request that begins after an acknowledgement is answered by the new champion."""
    with loaded(topology.balancer.port) as load:
        operator = topology.database.operator()
        time.sleep(1.0)
        times, windows = [], list[tuple[float, float, str]]()
        for number in range(count):
            colour = "green" if number % 2 == 0 else "blue"
            began = time.monotonic()
            operator.flip(colour, reason="benchmark")
            acknowledged = time.monotonic()
            times.append(acknowledged - began)
            time.sleep(0.15)
            windows.append((acknowledged, time.monotonic(), colour))
    wrong = sum(
        one.variant != colour
        for start, end, colour in windows
        for one in load.answers
        if start < one.began and one.ended < end  # later ones may have met the next flip
    )
    seen = sum(start < one.began and one.ended < end for start, end, _ in windows for one in load.answers)
    median, most, failed = statistics.median(times), max(times), load.failed
    taken = f"median {median * 1000:.0f} ms, most {most * 1000:.0f} ms"
    bar = f"median under {BAR * 1000:g} ms"
    late = "answers of the old champion to requests after an acknowledgement"
    return [
        Finding(f"a flip, acknowledged ({count} flips)", taken, bar, median < BAR),
        Finding(late, f"{wrong} of {seen}", "none", not wrong),
        Finding("requests that failed", load.told_failed, "none", not failed),
    ]
