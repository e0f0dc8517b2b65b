"""The database is stopped under load, comes back, is killed, and comes back: what was answered is in the ledger."""

from __future__ import annotations

import time
from pathlib import Path

from bento_rollout.errors import RolloutError

from .database import Database, served
from .findings import Finding, Outcome
from .load import loaded

__all__ = ["outage"]

DELIVERY = 60.0


def outage(folder: Path, seconds: float) -> Outcome:
    """Stop it for so many seconds, then kill it; count what failed, what was refused and what was lost."""
    with Database() as database, served(folder, database) as (_, balancer):
        operator = database.operator()
        refused: list[str] = []
        with loaded(balancer.port) as load:
            time.sleep(2.0)
            database.stop("fast")
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                try:
                    operator.set_weights({"green": 5}, reason="while the database is down")
                except RolloutError as error:
                    refused.append(type(error).__name__)
                time.sleep(1.0)
            database.start()
            time.sleep(5.0)
            database.stop("immediate")
            time.sleep(2.0)
            database.start()
            time.sleep(5.0)
        answered = {one.prediction_id for one in load.answers if one.status == 200}
        deadline = time.monotonic() + DELIVERY
        while (kept := _kept(database)) < len(answered) and time.monotonic() < deadline:
            time.sleep(0.5)
        last = operator.state.revision
    doubled = _kept(database, distinct=False) - _kept(database)
    changes = ", ".join(sorted(set(refused))) or "none was refused"
    return [
        Finding(f"predictions that failed while it was stopped for {seconds:g} s, then killed", f"{len(load.failed)} of {len(load.answers)}", "none", not load.failed),
        Finding("answers that the ledger lacks afterwards", f"{len(answered) - kept} of {len(answered)}", "none", kept == len(answered)),
        Finding("answers that it has twice", str(doubled), "none", doubled == 0),
        Finding("changes meanwhile", f"{len(refused)} refused ({changes}); revision {last}", "all refused", len(refused) > 0 and last == 1),
    ]  # fmt: skip


def _kept(database: Database, *, distinct: bool = True) -> int:
    """Return how many predictions the ledger has."""
    what = "DISTINCT id" if distinct else "*"
    return database.count("ledger", f"SELECT count({what}) FROM predictions")
