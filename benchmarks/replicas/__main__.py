"""What holds over six replicas of one worker, a load balancer and one PostgreSQL, on one machine, measured.

Run ``python -m benchmarks.replicas``; ``--only configmap`` (or other parts) and ``--quick`` make it short. It
needs PostgreSQL's server and nginx, and for the part ``cut`` root and iptables; it makes a server of its own
for what it measures, and ends everything that it started.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .configmap import configmap
from .cut import cut
from .database import Topology, served
from .findings import Outcome
from .flips import flips
from .outage import outage
from .path import path
from .rates import rates

PARTS: dict[str, Callable[[Topology, bool], Outcome]] = {
    "flips": lambda topology, quick: flips(topology, 10 if quick else 100),
    "outage": lambda topology, quick: outage(topology, 10 if quick else 60),
    "cut": lambda topology, _: cut(topology),
    "ledger": lambda topology, quick: rates(topology.database, 3.0 if quick else 10.0),
    "path": lambda topology, quick: path(topology.database.url, 20 if quick else 80),
}
GOVERNED = "configmap"
"""The part without a database."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = [*PARTS, GOVERNED]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="replicas-") as place:
        if wanted := [name for name in PARTS if name in options.only]:
            print("six replicas, PostgreSQL and nginx start …", file=sys.stderr)
            with served(Path(place, "shared")) as topology:
                for name in wanted:
                    found[name] = _timed(name, partial(PARTS[name], topology, options.quick))
        if GOVERNED in options.only:
            folder = Path(place, "governed")
            found[GOVERNED] = _timed(GOVERNED, lambda: configmap(folder, 4 if options.quick else 12))
    if options.json:
        print(json.dumps({name: [asdict(one) for one in outcome] for name, outcome in found.items()}))
    else:
        _show(found)
    sys.exit(any(one.met is False for outcome in found.values() for one in outcome))


def _timed(name: str, measure: Callable[[], Outcome]) -> Outcome:
    began = time.monotonic()
    print(f"{name} …", end="", file=sys.stderr, flush=True)
    outcome = measure()
    print(f"\r{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return outcome


def _show(found: dict[str, Outcome]) -> None:
    table = Table("part", "what", "measured", "bar", "")
    for name, outcome in found.items():
        for one in outcome:
            told = {True: "met", False: "[red]not met", None: ""}[one.met]
            table.add_row(name, one.what, one.value, one.bar, told)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
