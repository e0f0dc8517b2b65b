"""Keeps, beside BentoML's task results, what ``/get`` of a task must say about who answered."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ..calls import Call
from ..records import Plan, Reason
from ..store.making import make_empty

__all__ = ["Tasks"]


class Found(NamedTuple):
    """What is known of a task.

    Attributes:
        plans: who answers, or answered.
        prediction_id: its prediction's id.
        decided_by: ``model``, ``human`` or ``default``; empty: nobody has; None: not automated.
        case: the id of the case whose decision it waits for; empty: none.
    """

    plans: tuple[Plan, ...]
    prediction_id: str
    decided_by: str | None = None
    case: str = ""


TABLE = """CREATE TABLE IF NOT EXISTS plan (
    task_id TEXT PRIMARY KEY, made REAL NOT NULL, plan TEXT NOT NULL) WITHOUT ROWID"""
INDEX = "CREATE INDEX IF NOT EXISTS plan_made ON plan (made)"
WRITE = """INSERT INTO plan VALUES (?, ?, ?) ON CONFLICT(task_id) DO UPDATE SET plan = json_set(
    excluded.plan, '$.key', coalesce(json_extract(excluded.plan, '$.key'), json_extract(plan, '$.key')))"""
FORGET = "DELETE FROM plan WHERE made < ?"
READ = "SELECT plan FROM plan WHERE task_id = ?"

KEEP = 48 * 3600.0
"""Seconds that a plan is kept; BentoML keeps a task's result for 24 hours."""


class Tasks:
    """Plans by task, in a file of their own beside the results.

    Never in BentoML's own file: each of its workers may still hold a read of it open, and then anybody else's
    write there makes its next write fail ("database is locked"), which is a task that cannot be submitted. A
    file that cannot be used costs the headers of ``/get``, never a task.

    Args:
        path: returns the file of BentoML's task results.
        replan: makes a new plan from the key that a task was submitted with.
    """

    def __init__(self, path: Callable[[], str], replan: Callable[[Call, object], Plan]) -> None:
        self._path = path
        self._replan = replan

    async def submitted(self, call: Call, body: bytes, key: object) -> None:
        """Remember a task that was just submitted; ``body`` is the answer that names its id."""
        try:
            call.task_id = str(json.loads(body)["task_id"])
        except (ValueError, KeyError, TypeError):
            return
        await self.record(call, key)

    async def record(self, call: Call, key: object = None) -> None:
        """Write who answers, or answered, a task."""
        if call.task_id is None:
            return
        plans = call.plans or (() if call.early is None else (call.early,))
        facts = {
            "id": call.prediction_id,
            "key": key if isinstance(key, str) else None,
            "plans": [[plan.variant, plan.revision, plan.reason.value] for plan in plans],
        }
        if call.deciding is not None:
            facts |= {"decided_by": call.deciding.by, "decision": call.decision}
        await self._run(_write, call.task_id, json.dumps(facts))

    async def find(self, scope: Mapping[str, Any]) -> Found | None:
        """Return what is known of the task that a request names, or None."""
        row = await self._row(scope)
        if row is None:
            return None
        plans = (Plan(variant, revision, Reason(reason)) for variant, revision, reason in row["plans"])
        return Found(tuple(plans), row["id"], row.get("decided_by"), row.get("decision", ""))

    async def retried(self, call: Call, scope: Mapping[str, Any]) -> object:
        """Plan a task that is run again, for the key that it was submitted with; return the key."""
        row = await self._row(scope)
        if row is None or row["key"] is None:
            return None
        call.early = self._replan(call, row["key"])
        return row["key"]

    async def _row(self, scope: Mapping[str, Any]) -> dict[str, Any] | None:
        query = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1"))
        task_id = query.get("task_id", [""])[0]
        text = await self._run(_read, task_id, "") if task_id else None
        return None if text is None else json.loads(text)

    async def _run(self, work: Callable[[str, str, str], str | None], task_id: str, text: str) -> str | None:
        return await asyncio.to_thread(work, f"{self._path()}.plans", task_id, text)


def _write(path: str, task_id: str, text: str) -> str | None:
    now = time.time()
    make_empty(Path(path))
    try:
        with closing(sqlite3.connect(path, timeout=2.0)) as db, db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # a plan that a power cut takes costs headers only
            db.execute(TABLE)
            db.execute(INDEX)
            db.execute(WRITE, (task_id, now, text))
            db.execute(FORGET, (now - KEEP,))
    except sqlite3.Error:
        return None
    return None


def _read(path: str, task_id: str, _: str) -> str | None:
    try:
        with closing(sqlite3.connect(path, timeout=2.0)) as db:
            row = db.execute(READ, (task_id,)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])
