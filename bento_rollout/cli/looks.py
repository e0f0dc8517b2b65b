"""The verbs that only look."""

from __future__ import annotations

import time
from typing import Any

import click

from .options import Whole, key_options, printing, rollout_name
from .output import emit_json, in_terminal, show
from .reaching import elsewhere, here, is_elsewhere, listed, reached, service

__all__ = ["assign", "doctor", "history", "list_", "openapi", "status"]

SCREENFUL = 50
UNREACHABLE = 4
NOTICED = 2.5
"""Seconds within which every live worker has noticed that its store is whole again."""


@click.command("list")
@printing
@elsewhere
def list_(as_json: bool) -> int:
    """List the rollouts of the store, or the one of the service at --url."""
    from . import views

    rows = listed()
    if as_json:
        emit_json(rows)
    else:
        show(views.rollouts(rows))
    return 0


@click.command()
@rollout_name
@click.option("--watch", is_flag=True, help="Go on showing it; in a pipe, a line of JSON for each change.")
@printing
@elsewhere
def status(name: str, watch: bool, as_json: bool) -> int:
    """Show who answers, who is live, and the way back."""
    from . import views

    rollout = reached(name)
    if watch:
        from .watch import watch_status

        return watch_status(rollout, as_json=as_json or not in_terminal())
    facts = rollout.status()
    if as_json:
        emit_json(facts)
    else:
        show(views.status(facts))
    return UNREACHABLE if facts["store"].get("problem") else 0


@click.command()
@rollout_name
@click.option(
    "--limit", type=Whole(0), metavar="N", help="At most N revisions, 0 for all; default 50, in JSON all."
)
@printing
@elsewhere
def history(name: str, limit: int | None, as_json: bool) -> int:
    """Show the revisions, newest first."""
    from . import views

    if limit is None and not as_json:
        limit = SCREENFUL
    rows = reached(name).history_rows(limit or None)
    if as_json:
        emit_json(rows)
    else:
        show(views.history(rows))
    return 0


@click.command()
@rollout_name
@key_options
@printing
@elsewhere
def assign(name: str, keys: tuple[str, ...], as_json: bool) -> int:
    """Show who answers each key now, and why."""
    from . import views

    if not keys:
        raise click.UsageError("name at least one key: --key K")
    rows = reached(name).assignments(keys)
    if as_json:
        emit_json(rows)
    else:
        show(views.assignments(rows))
    return 0


@click.command()
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Put a damaged or lost store aside and restore the last good state.",
)
@printing
@elsewhere
def doctor(mend: bool, as_json: bool) -> int:
    """Look at everything that can be wrong.

    Exit code 4: the store; 1: any other problem, like a held weight; 0: all is well.
    """
    from . import views

    if mend:
        here("--repair")
    if is_elsewhere():
        return _doctor_there(as_json)
    from ..examine import examine, repair

    done = repair() if mend else []
    facts = examine()
    deadline = time.monotonic() + NOTICED
    while mend and _verdict(facts) and time.monotonic() < deadline:
        time.sleep(0.1)
        facts = examine()
    if as_json:
        emit_json({**facts, "repaired": done} if mend else facts)
    else:
        show(views.doctor(facts, done))
    return _verdict(facts)


def _doctor_there(as_json: bool) -> int:
    """Show what the service at --url finds; its tokens are those that it lets in."""
    from . import views

    facts = service().get("doctor")
    if as_json:
        emit_json(facts)
    else:
        show(views.doctor(facts, served=True))
    return _verdict(facts)


def _verdict(facts: dict[str, Any]) -> int:
    if facts["store"].get("problem"):
        return UNREACHABLE
    wrong = (
        facts["permissions"]
        or facts["token"].get("problem")
        or any(row["problems"] for row in facts["rollouts"])
    )
    return 1 if wrong else 0


@click.command()
@click.option("--prefix", default="/rollout", show_default=True, help="What the paths begin with.")
@click.option("--json", "_as_json", is_flag=True, help="It is JSON in any case.")
def openapi(prefix: str, _as_json: bool) -> int:
    """Print the OpenAPI document of the operators' routes."""
    from ..admin.openapi import openapi as document

    emit_json(document(prefix))
    return 0
