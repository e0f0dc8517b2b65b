"""The verbs that read a spec file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ..errors import InvalidSpec
from .changes import change
from .options import Asked, changing, printing
from .output import Cell, Line, emit_json, show, visible

if TYPE_CHECKING:
    from ..spec import RolloutSpec

__all__ = ["apply", "validate"]

DIFFERS = 8


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Only print what differs: exit code 0 nothing, 8 something.")
@click.option(
    "--abort",
    is_flag=True,
    help="End a running try first; without it a file may change only the strategy of one.",
)
@changing
def apply(asked: Asked, file: str, dry_run: bool, abort: bool) -> int:
    """Set exactly the state fields that FILE names.

    The rollout is the one whose name FILE gives. FILE may be - for standard input.
    """
    from ..specfile import load_with_digest

    spec, digest = load_with_digest(file)
    if spec.name is None:
        where = "<stdin>" if file == "-" else file
        raise InvalidSpec(f"{where}: it has no `name`, so it does not say which rollout it is for")
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
    """Say whether FILE is a valid spec, and what can only be checked with the code.

    FILE may be - for standard input. Exit code 2: it is not valid, and where.
    """
    from ..specfile import load_with_digest

    spec, _ = load_with_digest(file)
    later = _unchecked(spec)
    if as_json:
        emit_json({"file": file, "name": spec.name, "valid": True, "unchecked": later})
        return 0
    lines = [Line("", (Cell(f"{'<stdin>' if file == '-' else file}: "), Cell("valid", "green")))]
    if not spec.model_fields_set:
        lines.append(_remark("it names no field: all traffic to the champion, routed at random"))
    elif spec.name is None:
        lines.append(_remark("it has no `name`: a service can use it, and `apply` cannot"))
    numbers = later.pop("numbers", None)
    if later:
        names = "; ".join(f"{what} {', '.join(named)}" for what, named in later.items())
        lines.append(_remark(f"not checked without the code, but when the service is defined: {names}"))
    if numbers:
        lines.append(_remark(f"not known before the service gives them: numbers {', '.join(numbers)}"))
    lines += [
        _remark(f"automation.{name}.ask_when: nothing watches {name} for drift: {{drift: true}} never holds")
        for name in _unwatched(spec)
    ]
    lines += [
        _remark(f"automation.{name}.review.webhook.url: http carries it for others to read; write https")
        for name in _readable(spec)
    ]
    source = None if spec.drift is None or spec.drift.reference is None else spec.drift.reference.file
    if source is not None and not Path(source).exists():
        lines.append(
            _remark(f"drift.reference.file: {visible(source)} is not there: nothing is watched until it is")
        )
    show(lines)
    return 0


def _unwatched(spec: RolloutSpec) -> list[str]:
    """Return the endpoints that would ask people while drift is latched, and that nothing watches."""
    from ..asking import Drift

    asking = [
        name for name, one in spec.automation.items() if any(isinstance(c, Drift) for c in one.ask_when)
    ]
    if spec.drift is None:
        return asking
    watched = spec.drift.endpoint_of(spec.endpoints or ())
    return [name for name in asking if watched not in (None, name)]


def _readable(spec: RolloutSpec) -> list[str]:
    """Return the endpoints whose webhook is told without encryption on another host than this one."""
    hooks = {name: one.review.webhook for name, one in spec.automation.items()}
    hosts = {name: urlsplit(one.url) for name, one in hooks.items() if one is not None}
    here = ("localhost", "127.0.0.1", "::1")
    return [name for name, url in hosts.items() if url.scheme == "http" and url.hostname not in here]


def _remark(text: str) -> Line:
    return Line("", (Cell(text, "yellow"),))


def _unchecked(spec: RolloutSpec) -> dict[str, list[str]]:
    """Return the names in a spec that only the code can say to be right, by what they name."""
    from ..guardrails import Measure, Threshold, split_name
    from ..served import GAUGES

    standby = spec.blue_green.standby
    variants = {*spec.weights, *spec.variants, *spec.shadow, *spec.targets, *([standby] if standby else ())}
    tried = spec.strategy
    guarded = [(*split_name(name), one) for name, one in tried.guardrails.items()] if tried else []
    entrusted = spec.automation.values()
    read = (spec.routing.key, spec.routing.inference_id)
    sources = {source for by in read for listed in by.values() for source in listed}
    named: dict[str, set[str]] = {
        "variants": variants | ({tried.candidate} if tried else set()),
        "endpoints": {
            *(spec.endpoints or ()),
            *(name for by in read for name in by),
            *(name for one in spec.shadow.values() for name in (*(one.endpoints or ()), *one.compare)),
            *(endpoint for _, endpoint, _ in guarded if endpoint),
            *spec.automation,
        }
        - {"*"},
        "arguments": {".".join((s.name, *s.path)) for s in sources if s.kind in ("field", "rows")}
        | {name for one in entrusted for asked in one.ask_when for name in asked.arguments},
        "functions": {f"{s.name}:{'.'.join(s.path)}" for s in sources if s.kind == "call"}
        | {str(c.function) for one in spec.shadow.values() for c in one.compare.values() if c.function}
        | {str(judging.loss) for judging in spec.labels.values() if judging.loss}
        | {str(named) for one in entrusted for named in one.references.values()},
        "numbers": {name for name, _, one in guarded if isinstance(one, (Measure, Threshold))}
        - {*GAUGES, "error_rate"},
    }
    return {what: sorted(names) for what, names in named.items() if names}
