"""``migrate``: makes the tables of a database, or brings them along: for a person, or a deployment's job."""

from __future__ import annotations

import sqlite3
from typing import Any

import click

from ..errors import StoreUnreachable
from .options import printing
from .output import emit, emit_json

__all__ = ["migrate"]


@click.command()
@click.option("--dry-run", "dry", is_flag=True, help="Change nothing; say what would be done.")
@click.option("--grant", metavar="ROLE", help="Let this role serve and operate; it needs to own nothing.")
@printing
def migrate(dry: bool, grant: str | None, as_json: bool) -> None:
    """Make the tables of a PostgreSQL store, or bring them along.

    Run it as the role that is to own them, before services of a new version start; workers never do it. It
    may run again and again. A store in SQLite brings itself along.
    """
    from ..store.location import locate

    location = locate()
    if location.database is None:
        facts: dict[str, Any] = {"store": str(location), "before": None, "after": None, "rollouts": []}
    else:
        facts = _migrated(location.database, location.shown, dry=dry, grant=grant)
    if as_json:
        emit_json({**facts, "dry_run": dry})
    else:
        emit(_told(facts, dry=dry))


def _migrated(url: str, shown: str, *, dry: bool, grant: str | None) -> dict[str, Any]:
    from ..store.postgres.engine import engine_at
    from ..store.postgres.migrate import migrate as run

    try:
        done = run(engine_at(url), dry=dry, grant=grant)
    except sqlite3.Error as error:
        raise StoreUnreachable(f"the store {shown} cannot be migrated: {error}; nothing changed") from error
    return {
        "store": shown,
        "before": done.before,
        "after": done.after,
        "rollouts": list(done.rollouts),
        "granted": done.granted,
    }


def _told(facts: dict[str, Any], *, dry: bool) -> str:
    store, before, after = facts["store"], facts["before"], facts["after"]
    if after is None:
        return f"{store} brings itself along: there is nothing to migrate"
    would = "would be" if dry else "was"
    if before == after:
        text = f"{store} has schema {after}: nothing is to be done"
    elif before:
        text = f"{store}: schema {before} {would} brought to {after}, with {len(facts['rollouts'])} rollouts"
    else:
        text = f"{store}: schema {after} {would} made"
    return text if facts["granted"] is None else f"{text}; {facts['granted']} {would} let in"
