"""The verbs that read a spec file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import InvalidSpec
from .changes import change
from .options import Asked, changing, printing
from .output import Cell, Line, emit_json, show

if TYPE_CHECKING:
    from ..spec import RolloutSpec

__all__ = ["apply", "validate"]

DIFFERS = 8


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Only print what differs: exit code 0 nothing, 8 something.")
@click.option("--abort", is_flag=True, help="End a running strategy first.")
@changing
def apply(asked: Asked, file: str, dry_run: bool, abort: bool) -> int:
    """Set exactly the state fields that FILE names.

    The rollout is the one whose name FILE gives.
    """
    from ..specfile import load_with_digest

    spec, digest = load_with_digest(file)
    if spec.name is None:
        raise InvalidSpec(f"{file}: it has no `name`, so it does not say which rollout it is for")
    if dry_run:
        return _differences(spec.name, spec, asked.as_json)
    return change(
        spec.name, asked, lambda rollout: rollout.apply(spec, digest=digest, abort=abort, **asked.common)
    )


def _differences(name: str, spec: RolloutSpec, as_json: bool) -> int:
    from ..operations import open_rollout

    rollout = open_rollout(name)
    found = rollout.differences(spec)
    if as_json:
        emit_json({"name": name, "revision": rollout.state.revision, "differences": found})
    else:
        show(
            [Line("", (Cell(text, "yellow"),)) for text in found]
            or [Line("", (Cell(f"{name}: no difference"),))]
        )
    return DIFFERS if found else 0


@click.command()
@click.argument("file")
@printing
def validate(file: str, as_json: bool) -> int:
    """Say whether FILE is a valid spec (exit code 2: it is not)."""
    from ..specfile import load_spec

    spec = load_spec(file)
    if as_json:
        emit_json({"file": file, "name": spec.name, "valid": True})
    else:
        show([Line("", (Cell(f"{file}: "), Cell("valid", "green")))])
    return 0
