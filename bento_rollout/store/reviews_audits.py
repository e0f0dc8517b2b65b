"""What people's answers say of the model, and the test that watches a model that decides alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import InvalidValue, StoreCorrupt
from ..reviewing import Selection, Visibility
from . import trail
from .reviews_rows import Judged, said_by, value_of
from .sql import Db, Row

if TYPE_CHECKING:
    from ..automation import AuditTest

__all__ = ["ALL", "feed", "judged", "same", "tests_of", "watch"]

ALL = ""
"""The class that all are of, where there is one target for all."""

_JUDGED = """
    SELECT t.seq, t.prediction_id, t.endpoint, t.selection, t.probability, t.decided,
        s.output, s.score, s.digest, s.choice AS said, s.at, p.choice, p.first, p.sees,
        t.segment
    FROM tasks t JOIN suggestions s ON s.task = t.seq JOIN parts p ON p.task = t.seq AND p.reviewer = t.part
    WHERE t.status = 'answered' AND """


def judged(db: Db, endpoint: str, digest: str | None, selection: Selection | None = None) -> Iterator[Judged]:
    """Return the cases of an endpoint that people decided and the model has an answer to, in that order."""
    query, given = _JUDGED + "t.endpoint = ? AND t.decided IS NOT NULL", [endpoint]
    if digest is not None:
        query, given = query + " AND s.digest = ?", [*given, digest]
    if selection is not None:
        query, given = query + " AND t.selection = ?", [*given, selection.value]
    for row in db.execute(query + " ORDER BY t.decided, t.seq", given):
        yield _judged(row)


def watch(
    db: Db,
    endpoint: str,
    digest: str,
    targets: Mapping[str, float],
    *,
    alpha: float,
    now: float,
) -> bool:
    """Begin the tests of a model, one for each class, with the audits that are there already.

    Returns:
        Whether anything changed: tests that are there with the same targets go on.

    Raises:
        InvalidValue: a target or ``alpha`` is none.
    """
    from ..automation import AuditTest  # which imports numpy

    if not targets:
        raise InvalidValue("there is no target error to watch for")
    tests = {label: AuditTest(target, alpha / len(targets)) for label, target in targets.items()}
    if same(tests_of(db, endpoint, digest), targets, alpha):
        return False
    for one in judged(db, endpoint, digest, Selection.AUDIT):
        for label in {ALL, one.label, one.segment}:
            if label is not None and label in tests:
                tests[label] = tests[label].update(wrong=one.wrong)
    db.execute("DELETE FROM tests WHERE endpoint = ? AND digest = ?", (endpoint, digest))
    for label, test in tests.items():
        _save(db, endpoint, digest, label, test)
    facts = {"endpoint": endpoint, "digest": digest, "alpha": alpha, "targets": dict(targets)}
    trail.append(db, now, "automation", "watched", "", **facts)
    return True


def same(tests: Mapping[str, AuditTest], targets: Mapping[str, float], alpha: float) -> bool:
    """Whether tests are for these targets."""
    there = {label: (test.target_error, test.alpha) for label, test in tests.items()}
    return there == {label: (target, alpha / len(targets)) for label, target in targets.items()}


def feed(db: Db, task: int, now: float) -> None:
    """Give the answer of an audited case to the tests of its model, within the transaction of the answer."""
    row = db.execute(_JUDGED + "t.seq = ?", (task,)).fetchone()
    if row is None:
        return
    one, endpoint, digest = _judged(row), row["endpoint"], row["digest"]
    for label, test in tests_of(db, endpoint, digest).items():
        if label in (ALL, one.label, one.segment):
            after = test.update(wrong=one.wrong)
            _save(db, endpoint, digest, label, after)
            if after.alarm and not test.alarm:
                facts = {
                    "endpoint": endpoint,
                    "digest": digest,
                    "audits": after.audits,
                    "errors": after.errors,
                }
                trail.append(db, now, "automation", "alarmed", "", **facts)


def tests_of(db: Db, endpoint: str, digest: str) -> dict[str, AuditTest]:
    """Return the tests of a model by class.

    Raises:
        StoreCorrupt: what is stored is none.
    """
    query = "SELECT label, test FROM tests WHERE endpoint = ? AND digest = ?"
    rows = db.execute(query, (endpoint, digest)).fetchall()
    if not rows:
        return {}
    from ..automation import AuditTest

    try:
        return {row["label"]: AuditTest.from_dict(json.loads(row["test"])) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(f"the audits of {endpoint} are damaged: {type(error).__name__}: {error}") from None


def _judged(row: Row) -> Judged:
    first = row["choice"] if row["first"] is None else row["first"]
    return Judged(
        row["prediction_id"],
        row["score"],
        first != said_by(row["said"], row["output"]),
        Selection(row["selection"]),
        row["probability"],
        row["said"],
        value_of(first),
        row["decided"],
        row["first"] is not None or row["sees"] != Visibility.SHOWN,
        row["at"],
        row["segment"],
    )


def _save(db: Db, endpoint: str, digest: str, label: str, test: AuditTest) -> None:
    stored = json.dumps(test.to_dict(), separators=(",", ":"))
    db.execute(
        "INSERT INTO tests VALUES (?, ?, ?, ?) "
        "ON CONFLICT (endpoint, digest, label) DO UPDATE SET test = excluded.test",
        (endpoint, digest, label, stored),
    )
