"""Ledgers with rows that are watched for drift, as workers would have written them."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from bento_rollout.drift import Reference
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.place import Place

ENDPOINT = "predict"
REFERENCE = np.random.default_rng(7).normal(size=(2000, 4))


def reference() -> Reference:
    """A reference of four quiet features."""
    return Reference.fit(REFERENCE, seed=3)


def draw(rows: int, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Rows like the reference's, of which the second feature may be shifted."""
    found = np.random.default_rng(seed).normal(size=(rows, 4))
    found[:, 1] += shift
    return found


def write(place: Place, rows: object, of: Reference, *, start: int = 0, time: float = 1000.0) -> None:
    """Write predictions of one row each, whose ids begin with a number."""
    encoded = of.encode(rows)
    bins = np.concatenate((encoded.bins, encoded.segments), axis=1)
    digest = bytes.fromhex(of.digest)
    insert = (
        "INSERT INTO predictions (id, row, time, endpoint, variant, revision, reason, outcome, seconds, "
        "status, media_type, size, drift) VALUES (?, -1, ?, ?, 'a', 1, 'split', 'ok', 0.1, 200, '', 0, ?)"
    )
    with LedgerFile(place).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        for at, one in enumerate(bins):
            db.execute(insert, (f"{start + at:08d}", time + at, ENDPOINT, digest + one.tobytes()))
        db.execute("COMMIT")


def odd(place: Place, of: Reference, kind: str, feature: str, rows: int) -> None:
    """Count rows that are built otherwise."""
    add = (
        "INSERT INTO drift_schema VALUES (?, ?, ?, ?, 0, 0, '') "
        "ON CONFLICT (reference, kind, feature) DO UPDATE SET count = drift_schema.count + excluded.count"
    )
    with LedgerFile(place).writing() as db:
        db.execute(add, (of.digest, kind, feature, rows))


def count(place: Place, name: str, more: int) -> None:
    """Count something, as the writers of the ledger do."""
    add = (
        "INSERT INTO counters (name, number) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET number = counters.number + excluded.number"
    )
    with LedgerFile(place).writing() as db:
        db.execute(add, (name, more))


def judge(
    place: Place,
    wrong: list[bool],
    *,
    start: int = 0,
    time: float = 1000.0,
    labelled: bool = True,
    sure: list[float] | None = None,
    reason: str = "split",
) -> None:
    """Write predictions of variant a with their labels, some of which say that it was wrong."""
    insert = (
        "INSERT INTO predictions (id, row, time, endpoint, variant, revision, reason, outcome, seconds, "
        "status, media_type, size, output) VALUES (?, -1, ?, ?, 'a', 1, ?, 'ok', 0.1, 200, '', 0, ?)"
    )
    label = (
        "INSERT INTO labels (id, row, name, source, time, received, value, reason, orphan) "
        "VALUES (?, -1, 'label', 'lab', ?, ?, ?, '', 0)"
    )
    with LedgerFile(place).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        for row, is_wrong in enumerate(wrong):
            id_, at = f"{start + row:08d}", time + row
            output = "1" if sure is None else json.dumps({"0": 1 - sure[row], "1": sure[row]})
            db.execute(insert, (id_, at, ENDPOINT, reason, output))
            if labelled:
                db.execute(label, (id_, at, at, "0" if is_wrong else "1"))
        db.execute("COMMIT")
