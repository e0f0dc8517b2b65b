"""What the process that starts the workers does once for all: checks, tags, candidates' deployment hooks."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _bentoml_sdk.models import BentoModel
from _bentoml_sdk.service import Service
from bentoml.exceptions import BentoMLException

from ..applying import check_new, differences
from ..errors import Incompatible, RolloutError
from ..granting import grant_command, held, retire_command
from ..opening import check_champion, first_commit, open_store
from ..spec import RolloutSpec
from ..state import RolloutState
from ..store.location import locate
from ..telemetry import log
from ..telemetry.log import described
from .joining import deployment_hooks
from .variants import Definition

__all__ = ["broken_candidates", "check_twins", "deploy", "is_deployed", "pinned", "resolver", "say_broken"]

PINS = "BENTO_ROLLOUT_PINS"
"""Set by the process that starts the workers: tags like ``:latest``, resolved once for all of them."""

BROKEN = "BENTO_ROLLOUT_BROKEN"
"""Set by the process that starts the workers: candidates whose deployment hooks failed."""

Definitions = Mapping[str, Definition]


def deploy(
    service: Service[Any],
    name: str,
    spec: RolloutSpec,
    definitions: Definitions,
    file: Path | None = None,
    text: bytes = b"",
) -> None:
    """Check what must stop the start, resolve tags for all workers, and say where the state lives.

    ``file`` is where the spec was read from, for whoever is to apply it, and ``text`` what was in it.

    Raises:
        Incompatible: for two variants that are the same.
        InvalidSpec: when the state's champion is a variant that the service does not have, or the spec begins
            at a degree of automation for which nothing can be certified yet.
    """
    resolve = resolver(service)
    references = [reference for d in definitions.values() for _, reference in d.references]
    tags = {str(ref.tag): resolve(ref) for ref in references if isinstance(ref, BentoModel)}
    os.environ[PINS] = json.dumps({**pinned(), **tags})
    check_twins(definitions, resolve)
    _run_candidates_hooks(definitions)
    digests = {variant: definition.digest(resolve) for variant, definition in definitions.items()}
    if spec.authority == "spec" and file is not None:
        from .followed import begin_governed  # most services have a store

        begin_governed(name, spec, digests, file, text)
        return
    state = _say_state(name, spec, digests, file)
    check_champion(state, digests)
    _say_differences(state, spec, digests, file)


def is_deployed() -> bool:
    """Whether the process that started this one has run `deploy`, and so checked what must stop a start."""
    return PINS in os.environ


def pinned() -> dict[str, str]:
    """Return the tags that the starting process has resolved."""
    return json.loads(os.environ.get(PINS, "{}"))  # type: ignore[no-any-return]  # written by `deploy`


def broken_candidates() -> dict[str, str]:
    """Return the candidates whose deployment hooks failed, with the failure in words."""
    return json.loads(os.environ.get(BROKEN, "{}"))  # type: ignore[no-any-return]  # written by `deploy`


def resolver(service: Service[Any]) -> Callable[[Any], str]:
    """Return what tells the tag of a model reference in the store that this process would load it from."""

    def resolve(reference: Any) -> str:
        if not isinstance(reference, BentoModel):
            return repr(reference)
        if (tag := pinned().get(str(reference.tag))) is not None:
            return tag
        own = None if service.bento is None else service.bento._model_store  # noqa: SLF001 - no public way
        try:
            stored = own.get(reference.tag) if own is not None and own.list() else reference.stored
        except BentoMLException:
            stored = None
        return str(reference.tag if stored is None else stored.tag)

    return resolve


def check_twins(definitions: Definitions, resolve: Callable[[Any], str] = str) -> None:
    """Raise `Incompatible` when two variants are the same and neither says that it is meant so."""
    seen: dict[str, str] = {}
    for name, definition in definitions.items():
        other = seen.setdefault(definition.digest(resolve), name)
        if other == name or definition.twin or definitions[other].twin:
            continue
        tags = (
            resolve(ref) if isinstance(ref, BentoModel) else repr(ref) for _, ref in definition.references
        )
        same = ", ".join(tags) if resolve is not str else _tags(definition)
        raise Incompatible(
            f"{other!r} and {name!r}: both are {same or 'the same code'}: nothing to compare; "
            "for an A/A test write Variant(…, twin=True)"
        )


def _tags(definition: Definition) -> str:
    return ", ".join(str(getattr(reference, "tag", reference)) for _, reference in definition.references)


def _run_candidates_hooks(definitions: Definitions) -> None:
    own, *candidates = definitions.values()
    broken: dict[str, str] = {}
    done = {_code(hook) for hook in deployment_hooks(own)}
    for definition in candidates:
        if not definition.is_here:
            continue  # a service's hooks are run with its own start
        for hook in deployment_hooks(definition):
            if _code(hook) in done:
                continue  # the same code with another model: it has run
            done.add(_code(hook))
            try:
                hook()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - who cannot be deployed is `failed`, no more
                broken[definition.name] = _failed_hook(error)
    os.environ[BROKEN] = json.dumps(broken)


def say_broken(variant: str, error: BaseException) -> None:
    """Let the workers that are about to start know that a candidate's deployment hook failed."""
    os.environ[BROKEN] = json.dumps({**broken_candidates(), variant: _failed_hook(error)})


def _failed_hook(error: BaseException) -> str:
    return f"its deployment hook raised {described(error)}"


def _code(hook: Any) -> Any:
    return getattr(hook, "__func__", hook)


def _say_state(name: str, spec: RolloutSpec, digests: Mapping[str, str], file: Path | None) -> RolloutState:
    """Return the state to start from, and say in one line where it lives and whom it binds."""
    location = locate()
    store = open_store(location)
    state, problem = first_commit(name, next(iter(digests)), spec, digests).state, None
    try:
        store.check()
        commit = store.read(name)
    except Exception as error:  # noqa: BLE001 - a service starts whatever its store is like
        problem = str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"
        commit = store.beacon(name).load()
    if problem is None:
        where = f"rollout {name!r}" if file is None else str(file)
        check_new(state if commit is None else commit.state, spec, where, new=commit is None)
    state = state if commit is None else commit.state
    whom = "every host of this database" if location.binds == "cluster" else "this host"
    binds = whom if location.durable else f"nobody for long ({location.why}); changes are refused"
    more = {} if problem is None else {"problem": problem}
    log.event(
        "rollout.store",
        "info" if problem is None else "error",
        rollout=name,
        store=str(location),
        binds=binds,
        revision=state.revision,
        champion=state.champion,
        **more,
    )
    return state


def _say_differences(
    state: RolloutState, spec: RolloutSpec, digests: Mapping[str, str], file: Path | None
) -> None:
    if found := differences(state, spec):
        hint = f"the state wins; to make the spec's values the state: {_way_to_apply(state.name, spec, file)}"
        facts = {"spec": None if file is None else str(file), "differences": found}
        log.event("rollout.spec_differs", "warning", rollout=state.name, **facts, hint=hint)
    if missing := sorted(state.named - set(digests)):
        _say_missing(state, missing)
    for name in held(state.granted, digests):
        if name != state.champion:
            _say_held(state, name)


def _say_missing(state: RolloutState, missing: Sequence[str]) -> None:
    """Say who has something in the state and is not in the code, what weight, and how to take it out."""
    has = {name: state.weights.get(name, 0) for name in missing}
    ways = ", ".join(retire_command(state.name, name, state.champion, has[name]) for name in missing)
    log.event(
        "rollout.missing",
        "warning",
        rollout=state.name,
        variants=missing,
        weights={name: milli / 1000 for name, milli in has.items()},
        hint=f"{state.champion} answers for them; bring them back, or take them out: {ways}",
    )


def _say_held(state: RolloutState, variant: str) -> None:
    """Say that a candidate's code is new, so that what the state gives it waits for a person."""
    milli = state.weights.get(variant, 0)
    level = "warning" if milli or variant in state.targets else "info"
    command = grant_command(state.name, variant, milli)
    hint = f"the champion answers for it until its new digest is granted: {command}"
    log.event("rollout.held", level, rollout=state.name, variant=variant, weight=milli / 1000, hint=hint)


def _way_to_apply(name: str, spec: RolloutSpec, file: Path | None) -> str:
    """Return how an operator makes the spec's state fields the state."""
    if file is None:
        return f"open_rollout({name!r}).apply(spec), or bento-rollout apply FILE with the same fields"
    named = "" if spec.name is not None else f" (after adding `name: {name}` to the file)"
    return f"bento-rollout apply {shlex.quote(str(file))}{named}"
