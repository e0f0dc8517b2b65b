"""The command line `bento-rollout`: the verbs for people, with exit codes and JSON for programs.

Exit codes: 0 done · 1 refused, nothing changed (``doctor``: something is wrong) · 2 wrong usage or value ·
3 not found · 4 store unreachable · 7 an alarm is latched · 8 differs · 10 signature, 11 key, 12 damage, 13
trust policy of a sealed artifact · 70 an error of ours · 130 interrupted. What went wrong is a sentence on
standard error; with ``--json`` also ``{"error": {"type", "message", "exit_code"}}`` on standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from ..errors import Conflict, RolloutError
from ..revisions import shown_revision
from .output import OutputLost, emit_json, tolerate_any_text, visible

__all__ = ["main"]

USAGE = 2
SOFTWARE = 70
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; None: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in options
    tolerate_any_text()
    try:
        return _run(arguments)
    except RolloutError as error:
        from ..admin.problems import kind_of

        more = {"current_revision": shown_revision(error.current)} if isinstance(error, Conflict) else {}
        return _fail(str(error), error.exit_code, kind_of(error), as_json, **more)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f"\n{context.get_usage()}"
        return _fail(error.format_message() + hint, USAGE, "usage", as_json)
    except (click.Abort, KeyboardInterrupt):
        sealing = arguments[:1] == ["artifacts"]
        text = "interrupted" if sealing else "interrupted; `bento-rollout status` shows what holds"
        return _fail(text, INTERRUPTED, "interrupted", as_json)
    except OutputLost as error:
        return _fail(str(error), 1, "output_lost", as_json=False)
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that nothing changed, which nobody knows
        import traceback

        click.echo(traceback.format_exc(), err=True)
        return _fail(f"this is a bug: {error!r}", SOFTWARE, "bug", as_json)


def _run(arguments: list[str]) -> int:
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise click.UsageError(f"the argument {argument!r} is not valid UTF-8 text") from None
    from .commands import commands

    code: int | None = commands.main(arguments, prog_name="bento-rollout", standalone_mode=False)
    return code or 0


def _fail(message: str, code: int, kind: str, as_json: bool, **more: Any) -> int:
    with suppress(OSError):  # nobody can be told; the exit code still says it
        click.echo(f"Error: {_lines(message)}", err=True)
    if as_json:
        with suppress(OutputLost):
            emit_json({"error": {"type": kind, "message": message, "exit_code": code, **more}})
    return code


def _lines(message: str) -> str:
    """The message as it may be drawn: what it quotes, somebody else may have written."""
    return "\n".join(visible(line) for line in message.split("\n"))
