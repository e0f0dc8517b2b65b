"""The verbs of a rollout by evidence: begin a try, end it, and ask why something was decided."""

from __future__ import annotations

import click

from .changes import change
from .options import Asked, Whole, changing, parse_time, printing, rollout_name, waiting
from .output import emit_json, show
from .reaching import elsewhere, reached

__all__ = ["abort", "explain", "promote", "retry", "start"]


@click.command()
@rollout_name
@click.argument("candidate", required=False)
@waiting
@changing
def start(asked: Asked, name: str, candidate: str | None, timeout: str) -> int:
    """Begin to try a candidate, as the strategy in the service's spec says.

    Its first step holds at once; from then on evidence decides. CANDIDATE may be left out; it must be the
    strategy's.
    """
    seconds = parse_time("--timeout", timeout)
    return change(name, asked, lambda rollout: rollout.start(candidate, timeout=seconds, **asked.common))


@click.command()
@rollout_name
@changing
def abort(asked: Asked, name: str) -> int:
    """End the running try: all traffic to the champion that it began with, now.

    It waits for nobody, and is final until `retry`.
    """
    return change(name, asked, lambda rollout: rollout.abort(**asked.common))


@click.command()
@rollout_name
@waiting
@changing
def retry(asked: Asked, name: str, timeout: str) -> int:
    """Try anew what was aborted or rolled back, from the first step and without evidence.

    A try that waits for an answer to harm is aborted first.
    """
    seconds = parse_time("--timeout", timeout)
    return change(name, asked, lambda rollout: rollout.retry(timeout=seconds, **asked.common))


@click.command()
@rollout_name
@waiting
@changing
def promote(asked: Asked, name: str, timeout: str) -> int:
    """Make the candidate of the running try the champion now; needs --reason.

    It skips the steps that are left, and the history says that no evidence decided. The bake after a
    promotion follows. Without a running try `flip` is the verb.
    """
    seconds = parse_time("--timeout", timeout)
    return change(name, asked, lambda rollout: rollout.promote(timeout=seconds, **asked.common))


@click.command()
@rollout_name
@click.option(
    "--revision", type=Whole(1), metavar="N", help="Which; default the newest decision by evidence."
)
@printing
@elsewhere
def explain(name: str, revision: int | None, as_json: bool) -> int:
    """Say why a revision was made, with the numbers that it was decided on."""
    from .try_views import explained

    facts = reached(name).explain(revision)
    if as_json:
        emit_json(facts)
    else:
        show(explained(facts))
    return 0
