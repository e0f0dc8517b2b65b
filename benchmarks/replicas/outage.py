"""The database is stopped under load, killed, and comes back each time; nothing that was answered is lost."""

from __future__ import annotations

import time

from bento_rollout.errors import RolloutError

from .database import Database, Topology
from .findings import Finding, Outcome
from .load import loaded

__all__ = ["outage"]

DELIVERY, OK = 60.0, 200


def outage(topology: Topology, seconds: float) -> Outcome:
    """Stop it for so many seconds, then kill it; count what failed, what was refused and what was lost."""
    database, refused = topology.database, list[str]()
    operator = database.operator()
    first = operator.state.revision
    with loaded(topology.balancer.port) as load:
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
    answered = {one.prediction_id for one in load.answers if one.status == OK}
    deadline = time.monotonic() + DELIVERY
    while (lacks := len(answered - _kept(database))) and time.monotonic() < deadline:
        time.sleep(0.5)
    last, doubled = operator.state.revision, _rows(database) - len(_kept(database))
    changes = f"{len(refused)} refused ({', '.join(sorted(set(refused)))}); revision {first}, then {last}"
    failed = load.failed
    down = f"predictions that failed while it was stopped for {seconds:g} s, then killed"
    return [
        Finding(down, load.told_failed, "none", not failed),
        Finding("answers that the ledger lacks afterwards", f"{lacks} of {len(answered)}", "none", not lacks),
        Finding("answers that it has twice", str(doubled), "none", doubled == 0),
        Finding("changes meanwhile", changes, "all refused", bool(refused) and last == first),
    ]


def _kept(database: Database) -> set[str]:
    """Return which predictions the ledger has."""
    return {str(id_) for (id_,) in database.rows("ledger", "SELECT DISTINCT id FROM predictions")}


def _rows(database: Database) -> int:
    """Return how many rows they take."""
    ((found,),) = database.rows("ledger", "SELECT count(*) FROM predictions")
    return int(str(found))
