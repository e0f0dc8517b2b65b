"""The verbs that change a rollout."""

from __future__ import annotations

from collections.abc import Callable

import click

from .options import (
    Asked,
    Whole,
    changing,
    key_options,
    parse_headers,
    parse_percents,
    parse_time,
    rollout_name,
    waiting,
)
from .output import OutputLost, emit_json, show
from .reaching import AnyDone, AnyRollout, answer_of, reached

__all__ = ["change"]


def change(name: str, asked: Asked, act: Callable[[AnyRollout], AnyDone]) -> int:
    """Open the rollout, do what was asked for, and say what came of it."""
    from .views import changed

    rollout = reached(name, asked.author)
    done = act(rollout)
    try:
        answer = answer_of(rollout, done)
        if asked.as_json:
            emit_json(answer)
        else:
            show(changed(answer))
    except OutputLost as error:  # it is done: the exit code must not say otherwise
        click.echo(f"{'Done' if done.changed else 'Nothing was to do'}, but {error}", err=True)
    return 0


@click.command()
@rollout_name
@click.argument("weights", nargs=-1, required=True, metavar="VARIANT=PERCENT...")
@changing
def weight(asked: Asked, name: str, weights: tuple[str, ...]) -> int:
    """Set the weights of candidates, in percent.

    The others keep theirs, and the champion gets the rest.
    """
    percents = parse_percents(weights)
    return change(name, asked, lambda rollout: rollout.set_weights(percents, **asked.common))


@click.command()
@rollout_name
@click.argument("percents", nargs=-1, required=True, metavar="VARIANT=PERCENT...")
@changing
def shadow(asked: Asked, name: str, percents: tuple[str, ...]) -> int:
    """Let a variant watch a part of the keys, in percent.

    The champion's own name measures how often it differs from itself; `shadow-report` shows both.
    """
    wanted = parse_percents(percents)
    return change(name, asked, lambda rollout: rollout.set_shadow(wanted, **asked.common))


@click.command()
@rollout_name
@click.option(
    "--to", metavar="VARIANT", help="Who becomes champion; default the standby, else the only candidate."
)
@waiting
@click.option(
    "--no-workers", is_flag=True, help="Flip although no worker is live to run the before_flip hooks."
)
@changing
def flip(asked: Asked, name: str, to: str | None, timeout: str, no_workers: bool) -> int:
    """Make another variant the champion, with all traffic."""
    seconds = parse_time("--timeout", timeout)
    return change(
        name, asked, lambda rollout: rollout.flip(to, timeout=seconds, no_workers=no_workers, **asked.common)
    )


@click.command()
@rollout_name
@click.option("--again", is_flag=True, help="Go further back than the last settled champion.")
@click.option(
    "--to-revision", type=Whole(0), metavar="N", help="Go back to the champion of this settled revision."
)
@changing
def rollback(asked: Asked, name: str, again: bool, to_revision: int | None) -> int:
    """Give all traffic to the last settled champion, now.

    It waits for nobody. Twice does it once.
    """
    return change(
        name, asked, lambda rollout: rollout.rollback(again=again, to_revision=to_revision, **asked.common)
    )


@click.command()
@rollout_name
@changing
def undo(asked: Asked, name: str) -> int:
    """Take back exactly the newest change of traffic.

    The answer says which. It waits for nobody, like a rollback: no before_flip hook runs.
    """
    return change(name, asked, lambda rollout: rollout.undo(**asked.common))


@click.command()
@rollout_name
@click.argument("variant")
@key_options
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A request header; several may stand."
)
@click.option("--remove", is_flag=True, help="Take the keys and headers back.")
@changing
def target(
    asked: Asked, name: str, variant: str, keys: tuple[str, ...], headers: tuple[str, ...], remove: bool
) -> int:
    """Give keys, or a header, to a variant before the split."""
    header = parse_headers(headers)
    return change(
        name,
        asked,
        lambda rollout: rollout.target(variant, keys=keys, header=header, remove=remove, **asked.common),
    )


@click.command()
@rollout_name
@click.argument("variant")
@click.option(
    "--in-favour-of", metavar="VARIANT", help="Who takes its place, if it is champion or has weight."
)
@waiting
@changing
def retire(asked: Asked, name: str, variant: str, in_favour_of: str | None, timeout: str) -> int:
    """Remove a variant from the state.

    Who takes a champion's place is prepared as by a flip, unless no worker is live.
    """
    seconds = parse_time("--timeout", timeout)
    return change(
        name,
        asked,
        lambda rollout: rollout.retire(variant, in_favour_of=in_favour_of, timeout=seconds, **asked.common),
    )


@click.command()
@rollout_name
@changing
def pause(asked: Asked, name: str) -> int:
    """Let nothing raise traffic by itself; what people ask for is still done.

    A running try is watched on, and harm is still acted on.
    """
    return change(name, asked, lambda rollout: rollout.pause(**asked.common))


@click.command()
@rollout_name
@changing
def resume(asked: Asked, name: str) -> int:
    """End a pause, or the pause step that a try waits in.

    Where harm was shown it needs --reason, and accepts the harm.
    """
    return change(name, asked, lambda rollout: rollout.resume(**asked.common))
