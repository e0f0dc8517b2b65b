"""``automation`` and ``audit``: who decides, what lets a model decide, and whether the trail is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InvalidValue
from .options import Asked, changing, printing, rollout_name
from .output import emit_json, show
from .reaching import elsewhere, reached

__all__ = ["audit", "automation"]

REFUSED = 1
DAMAGED = 12

_endpoint = click.option(
    "--endpoint", metavar="NAME", help="Which endpoint; may be left out where only one is automated."
)


@click.group("automation", no_args_is_help=True)
@rollout_name
@click.pass_context
def automation(ctx: click.Context, name: str) -> None:
    """Who decides an endpoint: look at it, set it, and calibrate what a model needs to decide alone."""
    ctx.obj = name


@automation.command("status")
@printing
@elsewhere
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show the degree of each automated endpoint, what is certified, and who waits for a second person."""
    from .degree_views import standings

    rows = reached(ctx.obj).automation()
    if as_json:
        emit_json(rows)
    else:
        show(standings(rows))
    return 0


@automation.command("set")
@click.argument("degree", metavar="DEGREE")
@_endpoint
@changing
@click.pass_context
def set_degree(ctx: click.Context, asked: Asked, degree: str, endpoint: str | None) -> int:
    """Set who decides: DEGREE is human, shadow, assist, partial or full, or 1 to 5.

    Down holds at once. Up needs a person; two, where the spec says so: the second one gives the same command.
    Up to partial or full needs a threshold, too, that was certified for the champion's very code.
    """
    from .changes import change

    return change(ctx.obj, asked, lambda rollout: rollout.set_degree(endpoint, degree, **asked.common))


@automation.command("calibrate")
@_endpoint
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Draw error against coverage.",
)
@changing
@click.pass_context
def calibrate(ctx: click.Context, asked: Asked, endpoint: str | None, picture: Path | None) -> int:
    """Look for a threshold from which on the champion may decide alone; its degree stays as it is.

    The answers of people are its labels. Where they are too few it says how many are missing, and keeps
    nothing.
    """
    from .degree_views import calibration

    found = reached(ctx.obj, asked.author).calibrate(endpoint, **asked.common)
    if asked.as_json:
        emit_json(found.plain)
    else:
        show(calibration(found.plain))
    if picture is not None:
        _draw(picture, found.plain)
    return 0 if found.certificate is not None else REFUSED


def _draw(picture: Path, plain: dict[str, Any]) -> None:
    from .risk_picture import risk_picture

    try:
        picture.write_text(risk_picture(plain) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"--picture {picture}: {error.strerror}") from None
    click.echo(f"{picture} is written", err=True)


@automation.command("explain")
@_endpoint
@printing
@elsewhere
@click.pass_context
def explain(ctx: click.Context, endpoint: str | None, as_json: bool) -> int:
    """Say why an endpoint has its degree, and what each other one takes."""
    from .degree_views import explained

    facts: dict[str, Any] = reached(ctx.obj).explain_automation(endpoint)
    if as_json:
        emit_json(facts)
    else:
        show(explained(facts))
    return 0


@click.group("audit", no_args_is_help=True)
@rollout_name
@click.pass_context
def audit(ctx: click.Context, name: str) -> None:
    """Look after the trail of what people did with cases."""
    ctx.obj = name


@audit.command("verify")
@printing
@elsewhere
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> int:
    """Read the whole trail, and compute each of its hashes anew.

    A trail that was cut at its end is whole in itself: compare the head with one that was noted elsewhere.
    """
    from .degree_views import verified

    found = reached(ctx.obj).verify_trail()
    facts = {"entries": found.entries, "head": found.head, "broken_at": found.broken_at}
    if as_json:
        emit_json({"whole": found.broken_at is None, **facts})
    else:
        show(verified(facts))
    return 0 if found.broken_at is None else DAMAGED
