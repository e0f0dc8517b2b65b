"""``ledger`` and ``label``: what was predicted, what shadows said, and what the truth turned out to be."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidValue, NotFound, StoreUnreachable
from .labelled import Told, taken
from .options import Whole, parse_time, printing, rollout_name
from .output import emit, emit_json, safe_json, show, visible
from .reaching import elsewhere, here, is_elsewhere, reached

if TYPE_CHECKING:
    from ..distant.ledger import DistantLedger
    from ..operations import Rollout
    from ..store.ledger import Ledger

__all__ = ["label", "ledger"]

LOOK = 0.5
"""Seconds between two looks for new predictions."""

LEAST = 1_000_000
"""Bytes below which nobody wants a ledger to be cut."""

"""Refused labels that are told one by one."""


@click.group("ledger", no_args_is_help=True)
@rollout_name
@click.pass_context
def ledger(ctx: click.Context, name: str) -> None:
    """Look at predictions, export, prune or forget them."""

    def opened() -> Rollout:
        from ..operations import open_rollout

        rollout = open_rollout(name)
        with suppress(StoreUnreachable):  # the ledger is a file of its own
            _ = rollout.state  # a name that nobody knows is no empty ledger
        return rollout

    ctx.obj = name, opened


def _looked_at(ctx: click.Context) -> Ledger | DistantLedger:
    """Return the ledger, here or there, for looking."""
    name, opened = ctx.obj
    return reached(name).ledger if is_elsewhere() else opened().ledger


def _rollout(ctx: click.Context, what: str) -> Rollout:
    """Return the rollout of this store, for what is done with its very files."""
    here(what)
    rollout: Rollout = ctx.obj[1]()
    return rollout


@ledger.command("tail")
@click.option("-n", "--count", type=Whole(1), default=20, show_default=True, metavar="N", help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come.")
@printing
@elsewhere
@click.pass_context
def tail(ctx: click.Context, count: int, follow: bool, as_json: bool) -> int:
    """Show the newest predictions; with --follow one on each line, with --json as well as JSON."""
    from . import ledger_views as views

    found = _looked_at(ctx)
    entries = found.tail(count)
    if not follow:
        if as_json:
            emit_json([asdict(entry) for entry in entries])
        else:
            show(views.tail(entries))
        return 0
    last = 0
    while True:
        for entry in entries:
            last = entry.seq
            going = emit_json(asdict(entry), indent=None) if as_json else emit(visible(views.line(entry)))
            if not going:
                return 0
        time.sleep(LOOK)
        entries = found.tail(1000, after=last)


@ledger.command("status")
@printing
@elsewhere
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show how much is kept, since when, what was lost, and how many labels wait for their prediction."""
    from . import ledger_views as views

    found = _looked_at(ctx)
    counts = found.counts()
    if as_json:
        emit_json({"path": found.where, **asdict(counts)})
    else:
        show(views.counts(found.where, counts))
    return 0


@ledger.command("show")
@click.argument("prediction", metavar="[ID]", required=False)
@click.option("--inference-id", metavar="ID", help="List the predictions of the caller's own id instead.")
@click.option("--key", metavar="K", help="List the predictions of a routing key instead.")
@click.option("-n", "--count", type=Whole(1), default=20, show_default=True, metavar="N", help="How many.")
@printing
@elsewhere
@click.pass_context
def show_one(
    ctx: click.Context,
    prediction: str | None,
    inference_id: str | None,
    key: str | None,
    count: int,
    as_json: bool,
) -> int:
    """Tell the whole story of one prediction, or list those of a key or of the caller's own id.

    ID is the prediction's id, ID.i of row i, or the caller's own id; lists have the newest last.
    """
    from . import ledger_views as views

    asked = inference_id is not None or key is not None
    if asked == (prediction is not None):
        raise click.UsageError("say either ID, or --inference-id or --key")
    found = _looked_at(ctx)
    if prediction is None:
        entries = found.find(key=key, inference_id=inference_id, limit=count)
        if not entries:
            raise NotFound(f"nothing of it is in the ledger of {found.rollout!r}: is it as it was sent?")
        if as_json:
            emit_json([asdict(entry) for entry in entries])
        else:
            show(views.tail(entries))
        return 0
    story = found.story(prediction)
    if as_json:
        emit_json(asdict(story))
    else:
        show(views.story(story))
    return 0


@ledger.command("export")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "parquet", "cloudevents"]),
    default="jsonl",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--output", metavar="FILE", help="Where to; without it, or with -, to standard output (not Parquet)."
)
@click.option("--since", metavar="TIME", help="From when on: ISO 8601, or so long ago, like 24h.")
@click.option("--until", metavar="TIME", help="Up to when, in the same forms.")
@click.option("--variant", metavar="VARIANT", help="Only what it answered.")
@click.option("--endpoint", metavar="ENDPOINT", help="Only of this endpoint.")
@click.option("--labelled", is_flag=True, help="Only those with a label, as for training.")
@elsewhere
@click.pass_context
def export(ctx: click.Context, /, form: str, output: str | None, labelled: bool, **wanted: str | None) -> int:
    """Write predictions with their labels, oldest first."""
    from ..store.ledger_export import export_file, lines

    found = _rollout(ctx, "ledger NAME export").ledger
    since, until = (_moment(f"--{name}", wanted.pop(name)) for name in ("since", "until"))
    rows = found.export(labelled=labelled, since=since, until=until, **wanted)
    if output is not None and output != "-":
        count = export_file(Path(output), _counted(rows), form, found.rollout)
        click.echo(f"{output} has {count} predictions", err=True)
        return 0
    if form == "parquet":
        raise click.UsageError("Parquet needs --output FILE")
    for line in lines(rows, form, found.rollout):
        if not emit(safe_json(line)):
            break
    return 0


@ledger.command("prune")
@click.option("--keep", metavar="TIME", help="How long predictions are kept, like 30d; default: the spec's.")
@click.option("--max-size", metavar="SIZE", help="How large the file may be, like 1GB; default: the spec's.")
@printing
@elsewhere
@click.pass_context
def prune(ctx: click.Context, keep: str | None, max_size: str | None, as_json: bool) -> int:
    """Delete what is too old or too much, now; workers do it by themselves in time."""
    from ..values import parse_size

    rollout = _rollout(ctx, "ledger NAME prune")
    seconds = None if keep is None else parse_time("--keep", keep)
    try:
        size = None if max_size is None else parse_size(max_size)
    except InvalidValue as error:
        raise InvalidValue(f"--max-size: {error}") from None
    if size is not None and size < LEAST:
        raise InvalidValue(f"--max-size {max_size}: at least {LEAST} bytes; this would delete everything")
    return _gone(asdict(rollout.ledger.prune(keep=seconds, max_size=size)), as_json=as_json)


@ledger.command("forget")
@click.option("--key", required=True, metavar="K", help="The routing key, as it was sent.")
@printing
@elsewhere
@click.pass_context
def forget(ctx: click.Context, key: str, as_json: bool) -> int:
    """Delete all that belongs to a routing key, cases of reviews too, so that no byte of it is left."""
    rollout = _rollout(ctx, "ledger NAME forget")
    forgotten, cases = rollout.forget(key)
    if not forgotten.gone.predictions and not cases and not as_json:
        click.echo("nothing belongs to this key: is it the routing key, as it was sent?", err=True)
    if forgotten.other_keys:
        hint = "hashes under an older secret are in there, too: what of this key lies under those stays"
        click.echo(f"Warning: {hint}", err=True)
    for variant in _targeted(rollout, key):
        command = f"bento-rollout target {rollout.name} {variant} --key {shlex.quote(key)} --remove"
        hint = f"the key is a target of {variant!r}, and the store keeps it until: {command}"
        click.echo(f"Warning: {visible(hint)} (its history goes on to hold it)", err=True)
    return _gone({**asdict(forgotten.gone), "examples": forgotten.examples, "cases": cases}, as_json=as_json)


def _targeted(rollout: Rollout, key: str) -> list[str]:
    """Return the variants that have a key as a target."""
    from ..keys import normal_key

    try:
        targets = rollout.state.targets
    except StoreUnreachable:  # the ledger is a file of its own
        return []
    return [variant for variant, target in targets.items() if normal_key(key) in target.keys]


@click.command("label")
@rollout_name
@click.argument("file", required=False)
@click.option("--prediction", metavar="ID", help="The prediction's id, or ID.i of row i.")
@click.option("--inference", metavar="ID", help="The caller's own id, instead.")
@click.option("--label", "value", metavar="VALUE", help="The truth: JSON, or text.")
@click.option("--name", "what", default="label", show_default=True, help="What it is the truth about.")
@click.option("--source", default="api", show_default=True, help="Who says so.")
@click.option(
    "--time",
    "when",
    metavar="TIME",
    help="When it was found out: ISO 8601, or seconds; default: now.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why.")
@printing
@elsewhere
def label(
    name: str, file: str | None, value: str | None, source: str, as_json: bool, **one: str | None
) -> int:
    """Tell what the truth of predictions turned out to be.

    Of one: --prediction or --inference, and --label. Of many: a FILE of JSON lines or one JSON array ('-' is
    standard input), each {"prediction_id" or "inference_id", "label"}, and if need be with name, source, time
    and reason.
    """
    if (file is None) == (value is None):
        raise click.UsageError("say either FILE, or --prediction or --inference with --label")
    rollout = reached(name)
    if file is None:
        return taken(rollout.label(_label(str(value), one), source=source), as_json=as_json)
    items, lines, broken = _labels(file)
    kept = rollout.label(items, source=source)
    refused = [(lines[one.index], one.error) for one in kept.refused]
    return taken(kept, sorted(refused + broken), as_json=as_json)


def _label(value: str, one: dict[str, str | None]) -> dict[str, Any]:
    """Return the one label that options tell of."""
    try:
        plain: Any = json.loads(value)
    except ValueError:
        plain = value
    except RecursionError:
        raise InvalidValue("--label is JSON with more levels than can be kept") from None
    found = {
        "prediction_id": one["prediction"],
        "inference_id": one["inference"],
        "label": plain,
        "name": one["what"],
        "time": _time(one["when"]),
        "reason": one["reason"] or None,
    }
    return {field: told for field, told in found.items() if told is not None}


def _time(text: str | None) -> str | float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


"""What is wrong, by line; in an array by place, from 1."""


def _labels(file: str) -> tuple[list[Any], list[int], Told]:
    """Return the labels of a file, the line of each, and the lines that are none."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InvalidValue(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if text.lstrip().startswith("["):
        try:
            found = list(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"{file} is no JSON: {error}") from None
        return found, list(range(1, len(found) + 1)), []
    items, lines, broken = list[Any](), list[int](), Told()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            items.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            hint = "" if line.lstrip().startswith("{") else '; write {"prediction_id": "...", "label": ...}'
            broken.append((number, f"this line is no JSON: {error}{hint}"))
        else:
            lines.append(number)
    return items, lines, broken


def _gone(facts: dict[str, int], *, as_json: bool) -> int:
    if as_json:
        emit_json(facts)
    else:
        emit(", ".join(f"{count} {what}" for what, count in facts.items()) + " deleted")
    return 0


def _moment(option: str, text: str | None) -> float | None:
    """Return a moment in seconds since 1970, from ISO 8601 or a duration that lies behind us."""
    if text is None:
        return None
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_time(option, text)
    except InvalidValue:
        hint = "write a time like 2026-11-30T12:00:00Z, or how long ago, like 24h"
        raise InvalidValue(f"{option}: {text!r} is neither: {hint}") from None


def _counted(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows, and show in a terminal how many."""
    live = sys.stderr is not None and sys.stderr.isatty()
    count = 0
    for count, row in enumerate(rows, 1):
        if live and count % 1000 == 0:
            click.echo(f"\r{count} predictions", err=True, nl=False)
        yield row
    if live and count >= 1000:  # noqa: PLR2004 - as above
        click.echo("\r\033[K", err=True, nl=False)
