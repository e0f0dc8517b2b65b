"""How many predictions a second the ledger writes: from the sink's offer until all of them are committed.

Run ``python -m benchmarks.ledger``. A worker's `LedgerWriter` is given predictions as fast as one thread can.
In rounds interleaved with it the same rows, ready made, go through plain `sqlite3` (``executemany``, batches
of 1000, WAL, ``synchronous=NORMAL``) into a table without indexes: what SQLite takes by itself. It fails when
fewer than 20 000 predictions a second are written (median of the rounds).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._ab import interleaved, ratio
from bento_rollout.ids import uuid7
from bento_rollout.records import Observation, Outcome, Plan, Prediction, Reason, Reply
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger_rows import Keeping
from bento_rollout.store.ledger_writer import MOST_WAITING, LedgerWriter

BAR = 20_000
BODY = json.dumps({"label": "fraud", "score": 0.8731, "reasons": ["amount", "country", "hour"]}).encode()


def predictions(count: int) -> list[Prediction]:
    """Return what a canary's worker tells: keys, inference ids, spans, a small JSON answer."""
    plans = Plan("logistic", 12, Reason.SPLIT, 71_000), Plan("boosted", 12, Reason.SPLIT, 200)
    told, now = [], time.time()
    for number in range(count):
        name, plan = uuid7(int(now * 1000) + number // 20, os.urandom(10)), plans[number % 20 == 0]
        run = Observation("screening", "predict", plan.variant, 12, plan.reason, name, Outcome.OK, 0.0123)
        keys, ids, trace = (f"patient-{number}",), (f"tx-{number:09d}",), os.urandom(24).hex()
        reply = Reply(200, "application/json", BODY, len(BODY))
        told.append(
            Prediction(
                "screening", "predict", name, now, (plan,), (run,), Outcome.OK, 0.0123, keys, ids,
                trace[:32], trace[32:], sampled=False, reply=reply,
            )
        )  # fmt: skip
    return told


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--predictions", type=int, default=MOST_WAITING)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count = min(options.predictions, MOST_WAITING)
    facts = predictions(count)
    rows = [row for fact in facts for row in Keeping(hashed=lambda _: "0" * 32).predictions(fact)]
    folder, number = Path(tempfile.mkdtemp(prefix="ledger-", dir=Path.cwd())), itertools.count()
    try:
        times = interleaved(
            {
                "the ledger": lambda: through_the_ledger(folder / f"s{next(number)}" / "r", facts),
                "plain sqlite3": lambda: through_sqlite(folder / f"{next(number)}.db", rows),
                "the same again": lambda: through_sqlite(folder / f"{next(number)}.db", rows),
            },
            options.rounds,
            time.perf_counter,
        )
    finally:
        shutil.rmtree(folder)
    rates = {name: count / statistics.median(values) for name, values in times.items()}
    met = rates["the ledger"] >= BAR
    if options.json:
        print(json.dumps({"predictions_per_second": rates, "met": met}))
        return 0 if met else 1
    for name, rate in rates.items():
        low, high = count / max(times[name]), count / min(times[name])
        print(f"{name:16} {rate:10,.0f} predictions a second   ({low:,.0f} to {high:,.0f})")
    print(f"the ledger / plain sqlite3   {ratio(times['the ledger'], times['plain sqlite3'])} of its time")
    print(f"the same again (noise)       {ratio(times['the same again'], times['plain sqlite3'])}")
    print(f"bar: {BAR:,} predictions a second: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def through_the_ledger(place: Path, facts: list[Prediction]) -> None:
    """Offer all, and wait until all are committed."""
    writer = LedgerWriter(place, Settings(), environ={"BENTO_ROLLOUT_HASH_KEY": "benchmark"})
    for fact in facts:
        writer.offer(fact)
    if not writer.close(60) or writer.lost:
        raise SystemExit(f"{writer.lost} predictions were lost")


def through_sqlite(path: Path, rows: list[tuple[object, ...]]) -> None:
    """Insert the same rows in batches, without an index."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"CREATE TABLE rows ({', '.join(f'c{number}' for number in range(len(rows[0])))})")
    marks = ", ".join("?" * len(rows[0]))
    for start in range(0, len(rows), 1000):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(f"INSERT INTO rows VALUES ({marks})", rows[start : start + 1000])  # noqa: S608 - constants
        db.execute("COMMIT")
    db.close()


if __name__ == "__main__":
    sys.exit(main())
