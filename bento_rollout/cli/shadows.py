"""``shadow-report``: what candidates would have answered, for people, for programs, and as a page."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InvalidValue
from .options import Whole, printing, rollout_name
from .output import emit, emit_json, show
from .reaching import elsewhere, reached

__all__ = ["shadow_report"]


@click.command("shadow-report")
@rollout_name
@click.option("--html", "as_html", is_flag=True, help="Print one self-contained HTML page with plots.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to a file."
)
@click.option(
    "--since-revision", type=Whole(0), default=0, metavar="N", help="Only calls from revision N on."
)
@printing
@elsewhere
def shadow_report(name: str, as_html: bool, output: Path | None, since_revision: int, as_json: bool) -> int:
    """Show how shadowed variants answer beside the champion.

    Agreement with its bounds, the champion's own noise, latency, errors, drops, and where answers differ.
    """
    if as_html and as_json:
        raise click.UsageError("say --json or --html, not both")
    if output is not None and not (as_html or as_json):
        raise click.UsageError("--output needs --html or --json: what a terminal shows is for a terminal")
    facts = reached(name).shadow_report(since_revision=since_revision)
    if as_html:
        from .shadow_page import shadow_page

        _write(shadow_page(facts), output)
    elif as_json and output is None:
        emit_json(facts)
    elif as_json:
        import json

        _write(json.dumps(facts, indent=2, ensure_ascii=False), output)
    else:
        from .shadow_views import shadow_report as blocks

        show(blocks(facts))
    return 0


def _write(text: str, output: Path | None) -> None:
    if output is None:
        emit(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"--output {output}: {error.strerror}") from None
    click.echo(f"{output} is written", err=True)
