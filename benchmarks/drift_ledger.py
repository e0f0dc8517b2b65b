"""What the watch for drift costs a call: what its caller waits for, and what the ledger's thread does later.

Run ``python -m benchmarks.drift_ledger``. For calls of 30 features, of one row and of 1 000, it prints how
long the copy of the first rows takes (on the request's path), beside the whole copy which ``ledger.inputs``
makes; then how long the ledger's thread takes to write predictions with and without bins, interleaved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._ab import interleaved, ratio
from benchmarks.ledger import predictions
from bento_rollout.copying import copied
from bento_rollout.drift import Reference
from bento_rollout.excerpts import Excerpt, excerpt
from bento_rollout.featuring import Encoder, Watched
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger_writer import LedgerWriter

FEATURES, AGAIN = 30, 2000


def calls() -> dict[str, dict[str, Any]]:
    """Return arguments as endpoints get them, by what they are."""
    draw = np.random.default_rng(1)
    many = draw.normal(size=(1000, FEATURES))
    row = {f"feature_{place}": float(value) for place, value in enumerate(many[0])}
    rows = [dict(zip(row, line, strict=True)) for line in many.tolist()]
    return {
        "one row, an object": {"row": row},
        "one row, a list": {"row": many[0].tolist()},
        "one row, an array": {"rows": many[:1].copy()},
        "1 000 rows, an array": {"rows": many},
        "1 000 rows, lists": {"rows": many.tolist()},
        "1 000 rows, objects": {"rows": rows},
        "1 000 000 rows, an array": {"rows": np.zeros((1_000_000, FEATURES))},
    }


def microseconds(work: Callable[[], object], again: int) -> float:
    """Return the CPU time of a piece of work, which others on the machine do not add to: the median of 5."""
    took = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(again):
            work()
        took.append((time.process_time() - began) / again)
    return statistics.median(took) * 1e6


def written(place: Path, facts: Sequence[Any], watch: Callable[[Sequence[Excerpt]], Watched] | None) -> None:
    """Offer all, and wait until all are committed."""
    settings, environ = Settings(), {"BENTO_ROLLOUT_HASH_KEY": "benchmark"}
    writer = LedgerWriter(place, settings, environ=environ, watch=watch)
    for fact in facts:
        writer.offer(fact)
    if not writer.close(60) or writer.lost:
        raise SystemExit(f"{writer.lost} predictions were lost")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--predictions", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, Any] = {"path_us": {}}
    for name, arguments in calls().items():
        again = AGAIN if "000" not in name else 10
        one = microseconds(lambda given=arguments: excerpt(given), again)  # type: ignore[misc]
        whole = microseconds(lambda given=arguments: copied((), given), min(again, 500))  # type: ignore[misc]
        told["path_us"][name] = {"first rows": round(one, 1), "ledger.inputs": round(whole, 1)}
    reference = Reference.fit(
        {f"feature_{p}": c for p, c in enumerate(np.random.default_rng(2).normal(size=(FEATURES, 2000)))}
    )
    encoder, given = Encoder(reference), calls()["one row, an object"]
    plain = predictions(options.predictions)
    facts = [fact._replace(watched=excerpt(given)) for fact in plain]
    folder, number = Path(tempfile.mkdtemp(prefix="drift-", dir=Path.cwd())), itertools.count()
    try:
        times = interleaved(
            {
                "with bins": lambda: written(folder / f"{next(number)}" / "r", facts, encoder.encode),
                "without": lambda: written(folder / f"{next(number)}" / "r", plain, None),
                "the same again": lambda: written(folder / f"{next(number)}" / "r", plain, None),
            },
            options.rounds,
        )
    finally:
        shutil.rmtree(folder)
    count = options.predictions
    told["ledger_us"] = {name: round(statistics.median(t) / count * 1e6, 1) for name, t in times.items()}
    if options.json:
        print(json.dumps(told))
        return 0
    for name, costs in told["path_us"].items():
        print(
            f"{name:26} {costs['first rows']:10,.1f} µs   (ledger.inputs: {costs['ledger.inputs']:,.1f} µs)"
        )
    for name, cost in told["ledger_us"].items():
        print(f"the ledger, {name:14} {cost:10,.1f} µs of CPU a prediction")
    print(f"with bins / without          {ratio(times['with bins'], times['without'])}")
    print(f"the same again (noise)       {ratio(times['the same again'], times['without'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
