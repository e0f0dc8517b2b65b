"""Predictions, and what their shadows said, as a worker tells them; for tests of the ledger."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from typing import Any

from bento_rollout.ids import uuid7
from bento_rollout.records import (
    Compared,
    Comparison,
    Difference,
    Observation,
    Outcome,
    Plan,
    Prediction,
    Reason,
    Relation,
    Reply,
)
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.place import Place, Shared

NOW = float(int(time.time()))

_counter = itertools.count(1)


def new_id(at: float = NOW) -> str:
    """Return an id of that time; later ones are larger."""
    number = next(_counter)
    entropy = (number >> 14 & 0x0FFF) << 64 | (number & 0x3FFF) << 48
    return uuid7(int(at * 1000), entropy.to_bytes(10, "big"))


def reply_of(body: bytes = b'{"score":0.5}', media_type: str = "application/json") -> Reply:
    """Return what went out."""
    return Reply(200, media_type, body, len(body))


def prediction(
    key: str | None = "u1", inference_id: str | None = None, *, at: float = NOW, **changed: Any
) -> Prediction:
    """Return a prediction of a request as a whole."""
    name = changed.pop("prediction_id", None) or new_id(at)
    run = Observation("r", "predict", "one", 3, Reason.SPLIT, name, Outcome.OK, 0.01)
    facts: dict[str, Any] = {
        "plans": (Plan("one", 3, Reason.SPLIT, 5),),
        "runs": (run,),
        "outcome": Outcome.OK,
        "seconds": 0.01,
        "keys": (key,),
        "inference_ids": (inference_id,),
        "reply": reply_of(),
        **changed,
    }
    return Prediction("r", "predict", name, at, **facts)


def by_rows(body: bytes = b'["a","b","c"]', **changed: Any) -> Prediction:
    """Return a prediction of three rows: the first and last of `one`, the second of `two`, which failed."""
    name = new_id()
    split = Reason.SPLIT

    def run(variant: str, outcome: Outcome, *rows: int, error: str | None = None) -> Observation:
        return Observation("r", "predict", variant, 3, split, name, outcome, 0.01 * len(rows), rows, error)

    return prediction(
        prediction_id=name,
        plans=(Plan("one", 3, split), Plan("one", 3, Reason.FALLBACK), Plan("one", 3, split)),
        runs=(
            run("one", Outcome.OK, 0, 2),
            run("two", Outcome.ERROR, 1, error="KeyError"),
            run("one", Outcome.OK, 1),
        ),
        keys=("u1", "u2", "u3"),
        inference_ids=("t1", None, "t3"),
        **{"reply": reply_of(body), **changed},
    )


def said(of: Prediction, answer: Any = None, **changed: Any) -> Compared:
    """Return what the shadow `two` said to a prediction: something else."""
    difference = Difference("$.score", "value", "0.5", "0.7", 0.3)
    comparison = Comparison(Relation.DIFFER, None, (difference,), ("$.score",))
    facts: dict[str, Any] = {"comparisons": (comparison,), "seconds": 0.02, "answer": answer, **changed}
    return Compared("r", "predict", "two", "one", 3, of.prediction_id, NOW + 1, **facts)


def written(place: Place, *facts: Any, settings: Settings | None = None, **more: Any) -> LedgerWriter:
    """Write facts as a worker does, and end."""
    writer = LedgerWriter(place, settings or Settings(), **more)
    for fact in facts:
        writer.offer(fact)
    assert writer.close(30)
    return writer


def bytes_of(place: Place) -> bytes:
    """Return every byte of a ledger's files, or what its tables hold as text."""
    if not isinstance(place, Shared):
        return b"".join(path.read_bytes() for path in sorted(place.glob("ledger.db*")))
    tables = ("predictions", "shadows", "labels", "forgotten", "meta", "counters", "drift_schema")
    with closing(place.connect("ledger")) as db:
        rows = [row[0] for table in tables for row in db.execute(f"SELECT t::text FROM {table} AS t")]
    return "\n".join(rows).encode()
