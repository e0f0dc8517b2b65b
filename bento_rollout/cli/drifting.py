"""``drift``: how the watch stands, what moved, and what people tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InvalidValue
from .options import Asked, Whole, changing, printing, rollout_name
from .output import OutputLost, emit, emit_json, show
from .reaching import elsewhere, reached

__all__ = ["drift"]

LATCHED, DIFFERS = 7, 8


@click.group("drift", no_args_is_help=True)
@rollout_name
@click.pass_context
def drift(ctx: click.Context, name: str) -> None:
    """Watch for drift: how the tests stand, what moved, and what you tell them.

    \b
    bento-rollout drift screening status                   7: an alarm waits for you
    bento-rollout drift screening report --html drift.html
    bento-rollout drift screening ack --reason "new clinic"
    bento-rollout drift screening rebase --rows 1000
    bento-rollout drift screening fit training.parquet --out reference.json
    """  # noqa: D301 - click reads it
    ctx.obj = name


@drift.command("status")
@printing
@elsewhere
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show how the tests stand, and which alarms wait for a person.

    Exit code 7: an alarm is latched. `ack` or `rebase` ends it.

    \b
    bento-rollout drift screening status --json
    """  # noqa: D301 - click reads it
    from .drift_views import status as blocks

    facts = reached(ctx.obj).drift.status()
    if as_json:
        emit_json(facts)
    else:
        show(blocks(facts))
    return LATCHED if facts["latched"] else 0


@drift.command("report")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one page with plots; - prints it.",
)
@printing
@elsewhere
@click.pass_context
def report(ctx: click.Context, html: Path | None, as_json: bool) -> int:
    """Show what moved: the course of the evidence, and each feature beside its reference.

    \b
    bento-rollout drift screening report
    bento-rollout drift screening report --html drift.html
    """  # noqa: D301 - click reads it
    if html is not None and as_json:
        raise click.UsageError("say --json or --html, not both")
    facts = reached(ctx.obj).drift.report()
    if html is not None:
        _write(html, facts)
    elif as_json:
        emit_json(facts)
    else:
        from .drift_views import report as blocks

        show(blocks(facts))
    return 0


@drift.command("ack")
@click.option("--alarm", metavar="ID", help="Which; default all that are latched.")
@changing
@click.pass_context
def ack(ctx: click.Context, asked: Asked, alarm: str | None) -> int:
    """Say that you have seen an alarm: it is latched no more, and its test begins anew.

    The reference stays: what has changed for good is found again. A paused rollout stays paused.

    \b
    bento-rollout drift screening ack --reason "flu season, expected"
    """  # noqa: D301 - click reads it
    watch = reached(ctx.obj, asked.author).drift
    return _ended(watch.ack(alarm, **asked.common), asked.as_json)


@drift.command("rebase")
@click.option(
    "--rows", type=Whole(1), metavar="N", help="The last N rows, or labels; default all that are kept."
)
@click.option(
    "--file", metavar="FILE", help="The rows in FILE instead: .csv, .jsonl, .npy, .npz or .parquet."
)
@click.option("--test", default="data", show_default=True, metavar="TEST", help="data, or concept/VARIANT.")
@changing
@click.pass_context
def rebase(ctx: click.Context, asked: Asked, rows: int | None, file: str | None, test: str) -> int:
    """Let what comes now be the reference: a test begins anew, and its alarm ends.

    The bins stay where they are; what is new is how many rows lie in each.

    \b
    bento-rollout drift screening rebase --rows 1000 --reason "the new scanner stays"
    bento-rollout drift screening rebase --file june.parquet
    bento-rollout drift screening rebase --test concept/boosted
    """  # noqa: D301 - click reads it
    watch = reached(ctx.obj, asked.author).drift
    return _ended(watch.rebase(rows=rows, file=file, test=test, **asked.common), asked.as_json)


@drift.command("replay")
@printing
@elsewhere
@click.pass_context
def replay(ctx: click.Context, as_json: bool) -> int:
    """Compute the evidence again from the ledger, and compare it with what was kept.

    Exit code 8: it is not the same. What was pruned meanwhile cannot be compared, and that is said.

    \b
    bento-rollout drift screening replay
    """  # noqa: D301 - click reads it
    from .drift_views import replayed

    facts = reached(ctx.obj).drift.replay()
    if as_json:
        emit_json(facts)
    else:
        show(replayed(facts))
    return DIFFERS if any(one["same"] is False for one in facts["tests"].values()) else 0


@drift.command("fit")
@click.argument("file")
@click.option("--out", metavar="FILE.json", help="Write the reference there.")
@click.option("--model", default="", metavar="TAG", help="The tag or digest of the model that it belongs to.")
@click.option(
    "--labels",
    multiple=True,
    metavar="COLUMN",
    help="A column that the model is not given; several may stand.",
)
@click.option(
    "--kind", "kinds", multiple=True, metavar="COLUMN=KIND",
    help="numeric, category, text or embedding, where FILE does not tell; several may stand.",
)  # fmt: skip
@click.option(
    "--segment", "segments", multiple=True, metavar="COLUMN",
    help="A column whose values are tested by themselves too, as drift.data.segments names; at most three.",
)  # fmt: skip
@printing
@click.pass_context
def fit(
    ctx: click.Context,
    file: str,
    out: str | None,
    model: str,
    labels: tuple[str, ...],
    kinds: tuple[str, ...],
    segments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Fit a reference from the rows in FILE, as when the model is built: needs no service.

    No row can be read from it: it holds the bounds of bins, and how many rows lie in each.

    \b
    bento-rollout drift screening fit training.parquet --labels diagnosis --out reference.json
    """  # noqa: D301 - click reads it
    from ..drift_verbs import fit as fitting
    from .drift_views import fitted
    from .options import parse_pairs

    wanted = parse_pairs(kinds, "COLUMN=KIND", "town=category")
    found = fitting(file, out=out, model=model, labels=labels, kinds=wanted, segments=segments)
    facts = {"rollout": ctx.obj, **found}
    if as_json:
        emit_json(facts)
    else:
        show(fitted(facts))
    return 0


def _ended(facts: dict[str, Any], as_json: bool) -> int:
    from .drift_views import ended

    try:
        if as_json:
            emit_json(facts)
        else:
            show(ended(facts))
    except OutputLost as error:  # it is done: the exit code must not say otherwise
        click.echo(f"{'Done' if facts['changed'] else 'Nothing was to do'}, but {error}", err=True)
    return 0


def _write(html: Path, facts: dict[str, Any]) -> None:
    from .drift_page import drift_page

    page = drift_page(facts)
    if str(html) == "-":
        emit(page)
        return
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"--html {html}: {error.strerror}") from None
    click.echo(f"{html} is written", err=True)
