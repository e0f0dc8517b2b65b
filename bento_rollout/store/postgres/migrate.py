"""Makes the tables, and brings them along to a newer version: for a person or a job, never a worker."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import psycopg

from .connection import Raw
from .engine import SCHEMA, Engine, require
from .faults import OperationalError, as_sqlite
from .tables_ledger import LEDGER
from .tables_reviews import REVIEWS
from .tables_shared import SHARED
from .tables_side import DRIFT, EVIDENCE, SHADOWS

__all__ = ["FILES", "Migrated", "migrate"]

FILES: Mapping[str, tuple[str, ...]] = {
    "ledger": LEDGER,
    "reviews": REVIEWS,
    "shadows": SHADOWS,
    "evidence": EVIDENCE,
    "drift": DRIFT,
}
"""The tables of each file of a rollout, as this version makes them for a new one."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('bento_rollout migrate', 0))"


@dataclass(frozen=True, slots=True)
class Step:
    """What makes one version of the tables from the one before.

    Attributes:
        shared: statements for what all rollouts share.
        files: statements for each file of every rollout that is there, by the file's name.
    """

    shared: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_STEPS: tuple[Step, ...] = (Step(SHARED),)
"""One for each version, from 1."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done, or would be.

    Attributes:
        before, after: the versions of the tables; 0: there were none.
        rollouts: the rollouts that were brought along.
        granted: the role that may use them, beside the one that owns them.
        dry: nothing was changed.
    """

    before: int
    after: int
    rollouts: tuple[str, ...]
    granted: str | None
    dry: bool


def migrate(engine: Engine, *, dry: bool = False, grant: str | None = None) -> Migrated:
    """Bring the tables of a database to this version, each version in a transaction of its own.

    Args:
        engine: the database.
        dry: change nothing, and say what would be done.
        grant: a role that is to use the tables, and owns nothing.

    Raises:
        OperationalError: it cannot be reached or changed, or is of a newer version.
    """
    with closing(engine.alone(checked=False)) as raw:
        try:
            return _migrated(raw, dry=dry, grant=grant)
        except psycopg.Error as error:
            raise as_sqlite(error) from error


def _migrated(raw: Raw, *, dry: bool, grant: str | None) -> Migrated:
    before = _version(raw)
    if before > SCHEMA:
        require(before)
    rollouts = _rollouts(raw) if before else {}
    if grant is not None and not raw.execute("SELECT FROM pg_roles WHERE rolname = %s", (grant,)).rowcount:
        raise OperationalError(f"there is no role {grant!r} to let in: make it first (createuser)")
    if dry:
        return Migrated(before, SCHEMA, tuple(rollouts), grant, dry=True)
    raw.execute("SET statement_timeout = 0")
    for version in range(before, SCHEMA):
        with raw.transaction():
            raw.execute(_LOCK)
            if _version(raw) == version:  # else somebody else was faster
                _step(raw, version)
    if grant is not None:
        with raw.transaction():
            raw.execute(
                "INSERT INTO bento_rollout.meta VALUES ('granted', %s) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (grant,),
            )
            raw.execute("SELECT bento_rollout.grant_all(%s)", (grant,))
    return Migrated(before, SCHEMA, tuple(rollouts), grant, dry=False)


def _step(raw: Raw, version: int) -> None:
    step = _STEPS[version]
    if not version:
        raw.execute("CREATE SCHEMA bento_rollout")
    _run(raw, "bento_rollout", step.shared)
    for number in _rollouts(raw).values():
        for file, statements in step.files.items():
            _run(raw, f"rollout_{number}_{file}", statements)
    raw.execute("DELETE FROM bento_rollout.tables_of_files")
    for file, statements in FILES.items():
        for at, statement in enumerate(statements):
            raw.execute(
                "INSERT INTO bento_rollout.tables_of_files VALUES (%s, %s, %s)", (file, at, statement)
            )
    raw.execute(
        "INSERT INTO bento_rollout.meta VALUES ('schema_version', %s) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (str(version + 1),),
    )


def _run(raw: Raw, schema: str, statements: tuple[str, ...]) -> None:
    raw.execute(f"SET LOCAL search_path = {schema}".encode())
    for statement in statements:
        raw.execute(statement.encode())


def _version(raw: Raw) -> int:
    # Not `to_regclass`: a session remembers what was not there, and waiting for a lock does not remind it.
    there = raw.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'bento_rollout' AND c.relname = 'meta'"
    ).fetchone()
    if there is None:
        return 0
    row = raw.execute("SELECT value FROM bento_rollout.meta WHERE key = 'schema_version'").fetchone()
    return int(row[0]) if row else 0


def _rollouts(raw: Raw) -> dict[str, int]:
    return dict(raw.execute("SELECT name, number FROM bento_rollout.rollouts ORDER BY name").fetchall())
