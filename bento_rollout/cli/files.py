"""The verbs that read a spec file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ..errors import InvalidSpec, NotFound, NotReady, StoreUnreachable
from .changes import change
from .options import Asked, changing, parse_time, printing
from .output import Cell, Line, emit_json, show, visible
from .reaching import AnyDone, AnyRollout, reached

if TYPE_CHECKING:
    from ..spec import RolloutSpec

__all__ = ["apply", "validate"]

DIFFERS = 8
AGAIN = 1.0
"""Seconds between two tries of what is waited for."""


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Only print what differs: exit code 0 nothing, 8 something.")
@click.option(
    "--abort",
    is_flag=True,
    help="End a running try first; without it a file may change only the strategy of one.",
)
@click.option(
    "--keep-rollback",
    "keep",
    is_flag=True,
    help="Where a person rolled back what FILE sets: change nothing and say so, with exit code 0, not 1.",
)
@click.option(
    "--wait",
    metavar="TIME",
    help="Try again for so long, like 60s, while store, service or rollout is not there, or not ready.",
)
@changing
def apply(asked: Asked, file: str, dry_run: bool, abort: bool, keep: bool, wait: str | None) -> int:
    """Set exactly the state fields that FILE names.

    The rollout is the one whose name FILE gives. FILE may be - for standard input. Twice does it once.
    """
    from ..specfile import load_whole

    seconds = 0.0 if wait is None else parse_time("--wait", wait)
    spec, digest, text = load_whole(file)
    name = spec.name
    if name is None:
        where = "<stdin>" if file == "-" else file
        raise InvalidSpec(f"{where}: it has no `name`, so it does not say which rollout it is for")
    if dry_run:
        return patiently(lambda: _differences(name, spec, text, asked.as_json), seconds)

    def act(rollout: AnyRollout) -> AnyDone:
        if isinstance(rollout, Rollout):
            return rollout.apply(spec, digest=digest, abort=abort, keep_rollback=keep, **asked.common)
        return rollout.apply(text, abort=abort, keep_rollback=keep, **asked.common)

    from ..operations import Rollout

    return patiently(lambda: change(name, asked, act), seconds)


def patiently(act: Callable[[], int], seconds: float) -> int:
    """Do something that may be done twice; while what it needs is not there yet, try again for so long."""
    until = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (StoreUnreachable, NotFound, NotReady):
            if time.monotonic() >= until:
                raise
        time.sleep(min(AGAIN, max(0.0, until - time.monotonic())))


def _differences(name: str, spec: RolloutSpec, text: bytes, as_json: bool) -> int:
    from ..operations import Rollout

    rollout = reached(name)
    if isinstance(rollout, Rollout):
        found = rollout.differences(spec)
        facts: dict[str, Any] = {"name": name, "revision": rollout.state.revision, "differences": found}
    else:
        facts = rollout.differences(text)
        found = facts["differences"]
    if as_json:
        emit_json(facts)
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
