"""How many predictions a second several workers write into one PostgreSQL, until all of them are there.

Run ``python -m benchmarks.ledger_shared postgresql://…`` with an empty database: its tables are made, and
stay. Each of some processes (6, as many replicas of one worker have) gives its `LedgerWriter` predictions as
fast as it takes them; all, and the server, share the machine's cores if it runs there. It fails when fewer
than 10 000 a second are written, one is lost, or one is there twice.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.ledger import predictions
from bento_rollout.ids import uuid7
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.place import Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.migrate import migrate

BAR = 10_000
WAITING = 8_000
NAME = "benchmark"


def work(url: str, folder: str, seconds: float, start: Any, told: Any) -> None:
    """Be one worker."""
    writer = LedgerWriter(Shared(Engine(url), NAME, Path(folder) / NAME), Settings())
    facts = itertools.cycle(predictions(1000))
    writer.offer(next(facts))
    writer.flush(60)
    told.put(1)
    start.wait()
    began, cpu, offered = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        if writer.waiting > WAITING:
            time.sleep(0.002)
            continue
        now = int(time.time() * 1000)
        for fact in itertools.islice(facts, 250):
            writer.offer(fact._replace(prediction_id=uuid7(now, os.urandom(10))))
        offered += 250
    writer.flush(120)
    spooled = writer.spooled
    while writer.spooled:
        time.sleep(0.05)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    writer.close(30)
    told.put((offered, writer.lost, spooled, took, cpu))


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    engine = Engine(options.url)
    migrate(engine)
    place = Shared(engine, NAME, Path())
    with closing(place.connect("ledger")) as db:
        before = db.execute("SELECT count(*) FROM predictions").fetchone()[0]
    context = multiprocessing.get_context("spawn")
    start, told = context.Event(), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            context.Process(
                target=work, args=(options.url, f"{folder}/{number}", options.seconds, start, told)
            )
            for number in range(options.workers)
        ]
        for worker in workers:
            worker.start()
        for _ in workers:
            told.get()
        start.set()
        found = [told.get() for _ in workers]
        for worker in workers:
            worker.join()
    with closing(place.connect("ledger")) as db:
        after = db.execute("SELECT count(*) FROM predictions").fetchone()[0]
    offered, lost, spooled = (sum(one[part] for one in found) for part in range(3))
    kept = after - before - len(workers)  # each wrote one to begin with
    result = {
        "predictions": offered,
        "kept": kept,
        "lost": lost,
        "spooled": spooled,
        "per_second": round(kept / max(one[3] for one in found)),
        "cpu_us": round(sum(one[4] for one in found) / offered * 1e6, 1),
        "bar": BAR,
    }
    if options.json:
        print(json.dumps(result))
    else:
        words = (
            "{kept} of {predictions} kept, {lost} lost, {spooled} by way of a spool: {per_second} a second "
        )
        print((words + "(bar: {bar}); {cpu_us} us of the workers' CPU for each").format(**result))
    return 0 if kept == offered and not lost and result["per_second"] >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
