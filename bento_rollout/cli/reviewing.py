"""``reviews``: the cases that people are asked about, how the queue does, and whether people agree."""

from __future__ import annotations

import click

from ..reviewing import Status
from .options import Whole, printing, rollout_name
from .output import emit_json, show
from .reaching import elsewhere, reached

__all__ = ["reviews"]

_endpoint = click.option("--endpoint", metavar="NAME", help="Only of this endpoint.")


@click.group("reviews", no_args_is_help=True)
@rollout_name
@click.pass_context
def reviews(ctx: click.Context, name: str) -> None:
    """What people are asked: ask them by hand, look at the cases, how the queue does, whether they agree."""
    ctx.obj = name


@reviews.command("list")
@_endpoint
@click.option("--status", type=click.Choice([one.value for one in Status]), help="Only those that stand so.")
@click.option("-n", "--count", type=Whole(1), default=20, show_default=True, metavar="N", help="How many.")
@printing
@elsewhere
@click.pass_context
def list_(ctx: click.Context, endpoint: str | None, status: str | None, count: int, as_json: bool) -> int:
    """List cases without what they hold: open ones in the order of their turn, else the newest first."""
    from .review_views import cases

    rows = reached(ctx.obj).review_cases(endpoint, status=status, limit=count)
    if as_json:
        emit_json(rows)
    else:
        show(cases(rows))
    return 0


@reviews.command("ask")
@click.argument("prediction", metavar="PREDICTION_ID")
@click.option("--reason", default="", metavar="TEXT", help="Why, without payload: reviewers may read it.")
@click.option("--author", metavar="WHO", help="Who asks; default BENTO_ROLLOUT_AUTHOR, else user@host.")
@printing
@elsewhere
@click.pass_context
def ask(ctx: click.Context, prediction: str, reason: str, author: str | None, as_json: bool) -> int:
    """Let people look at a prediction of the ledger; the answer that it had stays.

    What they decide is a label that says so: no threshold, guardrail or audit takes it as evidence.
    """
    from .review_views import asked

    facts = reached(ctx.obj, author or None).ask_review(prediction, reason=reason)
    if as_json:
        emit_json(facts)
    else:
        show(asked(facts))
    return 0


@reviews.command("stats")
@_endpoint
@printing
@elsewhere
@click.pass_context
def stats(ctx: click.Context, endpoint: str | None, as_json: bool) -> int:
    """Show how many cases wait, how they ended, who answered them, and how often people decided otherwise."""
    from .review_views import numbers

    facts = reached(ctx.obj).review_stats(endpoint)
    if as_json:
        emit_json(facts)
    else:
        show(numbers(facts))
    return 0


@reviews.command("agreement")
@_endpoint
@printing
@elsewhere
@click.pass_context
def agreement(ctx: click.Context, endpoint: str | None, as_json: bool) -> int:
    """Show whether people agree with each other, and beside it with the champion."""
    from .review_views import agreements

    facts = reached(ctx.obj).agreement(endpoint)
    if as_json:
        emit_json(facts)
    else:
        show(agreements(facts))
    return 0
