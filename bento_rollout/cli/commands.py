"""The group of all commands, in the order in which they are listed."""

from __future__ import annotations

import click

from . import (
    artifacts,
    automating,
    changes,
    drifting,
    files,
    ledgers,
    looks,
    migrating,
    reviewing,
    shadows,
    simulating,
    trying,
)
from .reaching import elsewhere

__all__ = ["commands"]


class _InOrder(click.Group):
    """Lists its commands in the order of the contract rather than of the alphabet."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"bento-rollout {version('bento-rollout')}")
        ctx.exit(0)


@click.group(
    cls=_InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 refused, 2 wrong value, 3 not found, 4 store (or service) unreachable,"
    " 7 an alarm is latched, 8 differs,"
    " 10 signature, 11 key, 12 damage, 13 trust policy.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@elsewhere
@click.pass_context
def commands(ctx: click.Context) -> int:
    """Roll models out: move traffic between a champion and its candidates, and back.

    The store is named by BENTO_ROLLOUT_STORE (default: rollouts.db in BENTOML_HOME); --url asks a running
    service instead, with the token in BENTO_ROLLOUT_ADMIN_TOKEN. In trouble:
    `bento-rollout rollback NAME` gives all traffic to the last settled champion, at once.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return 2
    return 0


for _command in (
    looks.list_,
    looks.status,
    changes.weight,
    changes.shadow,
    changes.flip,
    trying.start,
    trying.abort,
    trying.retry,
    trying.promote,
    changes.rollback,
    changes.undo,
    changes.target,
    changes.retire,
    changes.pause,
    changes.resume,
    automating.automation,
    automating.audit,
    drifting.drift,
    reviewing.reviews,
    shadows.shadow_report,
    ledgers.ledger,
    ledgers.label,
    looks.history,
    trying.explain,
    looks.assign,
    files.apply,
    files.validate,
    simulating.simulate,
    artifacts.artifacts,
    looks.doctor,
    migrating.migrate,
    looks.openapi,
):
    commands.add_command(_command)
