"""The database is stopped under load, killed, and comes back each time; nothing that was answered is lost."""

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
    doubled = _rows(database) - _kept(database)
    changes = f"{len(refused)} refused ({', '.join(sorted(set(refused)))}); revision {last}"
    failed, lacks = load.failed, len(answered) - kept
    down = f"predictions that failed while it was stopped for {seconds:g} s, then killed"
    return [
        Finding(down, f"{len(failed)} of {len(load.answers)}", "none", not failed),
        Finding("answers that the ledger lacks afterwards", f"{lacks} of {len(answered)}", "none", not lacks),
        Finding("answers that it has twice", str(doubled), "none", doubled == 0),
        Finding("changes meanwhile", changes, "all refused", bool(refused) and last == 1),
    ]


def _kept(database: Database) -> int:
    """Return how many predictions the ledger has."""
    return database.count("ledger", "SELECT count(DISTINCT id) FROM predictions")


def _rows(database: Database) -> int:
    """Return how many rows they take."""
    return database.count("ledger", "SELECT count(*) FROM predictions")
