"""What counting for a strategy costs a prediction: on its path, and in the thread beside it.

Run ``python -m benchmarks.evidence``. A worker's sink is told of predictions with and without somebody who
counts them, in rounds whose order is drawn anew; the difference is what `EvidenceWriter.offer` adds to each
request. It fails at more than 5 µs of the caller's own CPU time (median of the rounds). Beside it: what the
thread beside it needs to count one prediction, and to write the sums of half a second down.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._ab import interleaved
from bento_rollout.evidence import Evidence
from bento_rollout.ids import uuid7
from bento_rollout.records import Observation, Outcome, Plan, Prediction, Reason, Reply
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.evidence_writer import EvidenceWriter
from bento_rollout.telemetry.fanout import Fanout

BAR = 5.0
"""Microseconds that a request may pay."""


def prediction(number: int) -> Prediction:
    """Return what is told of one request."""
    name = uuid7(number, number.to_bytes(10, "big"))
    run = Observation("r", "predict", "one", 3, Reason.SPLIT, name, Outcome.OK, 0.004)
    reply = Reply(200, "application/json", b'{"score":0.5}', 13)
    plans = (Plan("one", 3, Reason.SPLIT, number),)
    keys, ids = (f"user {number}",), (f"tx-{number}",)
    told = name, 1.0, plans, (run,), Outcome.OK, 0.004, keys, ids
    return Prediction("r", "predict", *told, reply=reply)


def offering(
    take: Callable[[Prediction], None], facts: Sequence[Prediction], writer: EvidenceWriter
) -> Callable[[], None]:
    """Return what tells a sink of predictions, and lets all be counted: no request comes as fast as these."""
    sink = Fanout([((Prediction,), take)])

    def run() -> None:
        for fact in facts:
            sink.offer(fact)
        writer.flush(30)

    return run


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    facts = [prediction(number) for number in range(options.count)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "r"
        writer = EvidenceWriter(place, "w", salt="s", sticky=("predict",))
        log, evidence = EvidenceLog(place), Evidence(salt="s", sticky=("predict",))

        def nobody(_: Prediction) -> None:
            """Want to know nothing."""

        told, counted = offering(nobody, facts, writer), offering(writer.offer, facts, writer)

        def all_counted() -> None:
            evidence.take()
            for fact in facts:
                evidence.count(fact)

        own = interleaved({"nobody": told, "counted": counted}, options.rounds, clock=time.thread_time)
        beside = interleaved(
            {"count": all_counted, "write": lambda: log.add("w", evidence, 0.0)},
            min(options.rounds, 15),
            clock=time.thread_time,
        )
        assert writer.close(30)
        lost = writer.lost
    costs = sorted(
        (with_it - without) / options.count * 1e6
        for with_it, without in zip(own["counted"], own["nobody"], strict=True)
    )
    cost, worst = statistics.median(costs), costs[int(len(costs) * 0.9)]
    count = statistics.median(beside["count"]) / options.count * 1e6
    write = statistics.median(beside["write"]) * 1e3
    met = cost <= BAR and not lost
    if options.json:
        print(json.dumps({"offer_us": cost, "count_us": count, "write_ms": write, "lost": lost, "met": met}))
        return 0 if met else 1
    print(f"on the path of a request   {cost:6.2f} µs  (nine of ten rounds below {worst:.2f})")
    print(f"in the thread beside it    {count:6.2f} µs for each prediction")
    print(f"a flush of {options.count:5} keys      {write:6.2f} ms")
    print(f"bar {BAR:.1f} µs, none lost: {'met' if met else f'MISSED ({lost} lost)'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
