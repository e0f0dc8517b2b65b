"""How many predictions six workers write into one database: `benchmarks.ledger_shared` over that server."""

from __future__ import annotations

import json
import subprocess
import sys

from .database import Database
from .findings import Finding, Outcome

__all__ = ["rates"]


def rates(database: Database, seconds: float) -> Outcome:
    """Measure over a database of its own."""
    database.server.run("CREATE DATABASE rates")
    command = [sys.executable, "-m", "benchmarks.ledger_shared", database.server.url("rates"), "--json"]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if not done.stdout:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(done.stdout)
    missing, of = found["predictions"] - found["kept"], found["predictions"]
    rate = f"{found['per_second']} a second; {found['cpu_us']} us of the workers' CPU for each"
    met = found["per_second"] >= found["bar"]
    return [
        Finding("predictions that 6 workers write", rate, f"at least {found['bar']} a second", met),
        Finding("predictions that are not there", f"{missing} of {of}", "none", not missing),
    ]
