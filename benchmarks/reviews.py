"""How long people wait for their next case, and whether many of them at once lose or repeat any.

Run ``python -m benchmarks.reviews``, or with ``--store postgresql://…`` in a database that has the tables:
rollouts ``waiting-…`` and ``many-…`` stay there. With 100 000 open cases one person answers and takes the
next one, 500 times; bar: 100 ms at p95 for both together. Then 20 people in four processes answer 10 000
cases, as fast as they can; bar: each case is answered once, none is lost, and the trail verifies.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from bento_rollout.degrees import Degree
from bento_rollout.reviewing import Case, Given, Role, Selection, Shown, Suggestion, Visibility
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.reviews_rows import Submission

BAR = 0.1
PROCESSES, PEOPLE = 4, 5
REVIEWER = frozenset({Role.REVIEWER})
_AT_ONCE = 10_000


def case(number: int) -> Case:
    """A case with an input of about a kilobyte, a due time and a suggestion."""
    now = time.time()
    said = Suggestion({"label": "benign"}, "benign", 0.93, "v2", "sha256:1", now)
    return Case(
        id=secrets.token_hex(16),
        prediction_id=secrets.token_hex(16),
        endpoint=f"read{number % 3}",
        revision=1,
        degree=Degree.ASSIST,
        selection=Selection.ALL,
        probability=1.0,
        input=Shown("json", {f"measure{i}": 0.125 * i for i in range(50)}),
        choices=("benign", "malignant"),
        created=now,
        suggestion=said,
        visibility=Visibility.SHOWN,
        priority=number % 5,
        due=now + number % 10_000,
    )


def place_of(store: str, name: str, folder: Path) -> Place:
    """Return where a rollout lies."""
    if store.startswith("postgresql:"):
        from bento_rollout.store.postgres.engine import engine_at

        return Shared(engine_at(store), name, folder / name)
    return folder / "store" / name


def fill(place: Place, number: int) -> None:
    """Let so many cases wait; many in one transaction."""
    reviews = Reviews(place, rollout="screening")
    for start in range(0, number, _AT_ONCE):
        reviews.submit_many([Submission(case(one)) for one in range(start, min(start + _AT_ONCE, number))])
    reviews.close()


def made(_: Case, given: Given) -> tuple[str, bytes]:
    """What the caller gets."""
    return "application/json", json.dumps(given.choice).encode()


def next_items(reviews: Reviews, rounds: int) -> list[float]:
    """Return how long each answer and the claim after it took."""
    claim, times = reviews.claim("ann", roles=REVIEWER), []
    for _ in range(rounds):
        assert claim is not None
        began = time.perf_counter()
        reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=made)
        claim = reviews.claim("ann", roles=REVIEWER)
        times.append(time.perf_counter() - began)
    return times


def work(place: Place, first: int) -> None:
    """Be one process of the many: answer until nothing is left, and tell what, and how long each took."""
    reviews = Reviews(place, rollout="bench", patience=60.0)
    told: list[tuple[str, float]] = []

    def person(name: str) -> None:
        began = time.perf_counter()
        while (claim := reviews.claim(name, roles=REVIEWER)) is not None:
            reviews.answer(claim.case.id, name, claim.token, Given("benign"), make=made)
            now = time.perf_counter()
            told.append((claim.case.id, now - began))
            began = now

    crew = [threading.Thread(target=person, args=(f"person {first + n}",)) for n in range(PEOPLE)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    json.dump(told, sys.stdout)


def many(store: str, name: str, folder: Path) -> tuple[list[str], list[float], float]:
    """Return what all of them answered, how long each took, and how long it took in all."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.reviews", "--store", store, "--name", name]
    command += ["--folder", str(folder), "--first"]
    crew = [
        subprocess.Popen([*command, str(n * PEOPLE)], stdout=subprocess.PIPE, text=True)
        for n in range(PROCESSES)
    ]
    told = [item for one in crew for item in json.loads(one.communicate()[0])]
    return [task for task, _ in told], [seconds for _, seconds in told], time.perf_counter() - began


def p95(times: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--store", default="", help="postgresql://…; else files of this host")
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        work(place_of(options.store, options.name, options.folder), options.first)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        number = time.time_ns()  # a database has other ones already
        place = place_of(options.store, f"waiting-{number}", Path(folder))
        fill(place, options.open)
        reviews = Reviews(place, rollout="bench")
        times = next_items(reviews, options.rounds)
        print(
            f"{options.open} open cases: answer and next item {statistics.median(times) * 1000:.1f} ms, p95 "
            f"{p95(times) * 1000:.1f} ms (bar {BAR * 1000:.0f} ms)"
        )
        began = time.perf_counter()
        reviews.stats()
        print(f"  stats of all of them {(time.perf_counter() - began) * 1000:.0f} ms")
        reviews.close()
        place = place_of(options.store, f"many-{number}", Path(folder))
        fill(place, options.cases)
        told, waits, seconds = many(options.store, place.name, Path(folder))
        reviews = Reviews(place, rollout="bench")
        counts, verified = Counter(told), reviews.trail.verify()
        left = sum(reviews.open(f"read{n}") for n in range(3))
        twice = sum(count > 1 for count in counts.values())
        print(
            f"{PROCESSES * PEOPLE} people, {options.cases} cases in {seconds:.0f} s: answered "
            f"{len(counts)}, twice {twice}, left {left}; one case {statistics.median(waits) * 1000:.0f} ms, "
            f"p95 {p95(waits) * 1000:.0f} ms; trail of {verified.entries} entries whole: {verified.whole}"
        )
        reviews.close()
        whole = len(counts) == options.cases and not twice and not left and verified.whole
    return 0 if whole and p95(times) <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
