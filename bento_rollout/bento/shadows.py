"""The shadows of one rollout in one worker, put together; and what of a spec's shadows fits a service."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..calls import Sink
from ..comparing import Comparing
from ..comparison import Comparator, comparator
from ..errors import InvalidSpec
from ..router import Router
from ..shadow import Shadows
from ..spec import RolloutSpec, Shadow
from ..store.place import Place
from ..store.presence import Workers
from ..store.tallies import Tallies
from ..terms import Terms
from .context import isolate_shadow
from .functions import imported
from .method import Method
from .shadowed import mark_monitors
from .surroundings import BentoSurroundings
from .worker_runner import WorkerRunner

if TYPE_CHECKING:
    from .site import Site

__all__ = ["BentoShadows", "check_shadows"]

PATIENCE = 1.0
"""Seconds that shadow calls have to finish when the worker ends."""


class BentoShadows:
    """The shadows of one worker.

    Args:
        site: the rollout as it was defined.
        runners: by variant.
        router: whose calls are shadowed.
        digests: what each variant is here.
        is_client_error: whether an exception is the caller's fault.
        runner_for: makes what runs a variant in this worker.
        sink: is told of comparisons, and of what was dropped.
    """

    def __init__(
        self,
        site: Site,
        runners: Mapping[str, Any],
        router: Router,
        digests: Mapping[str, str],
        is_client_error: Callable[[BaseException], bool],
        runner_for: Callable[[Any, Any], WorkerRunner],
        sink: Sink,
    ) -> None:
        self._sink = sink
        self._site, self._router, self._digests = site, router, digests
        self._runner_for = runner_for
        self._surroundings = BentoSurroundings(
            site.methods, runners, self._twin, lambda: router.champion, is_client_error
        )
        self._shadows: Shadows | None = None

    def begin(self, place: Place, presence: Workers) -> None:
        """Let calls be shadowed from now on.

        Args:
            place: the rollout's folder in the store.
            presence: names this worker.
        """
        site = self._site
        mark_monitors()
        self._shadows = self._router.shadows = Shadows(
            Terms(site.name, site.spec, site.champion, self._digests),
            champion=lambda: self._router.champion,
            comparators=comparators_of(site.spec),
            isolate=isolate_shadow,
            surroundings=self._surroundings,
            tallies=Tallies(place),
            whoami=lambda: (presence.token, os.getpid()),
            sink=self._sink,
        )
        self._shadows.spans = self._router.runs.spans

    async def close(self) -> None:
        """Finish what can be finished soon, count the rest as dropped."""
        if self._shadows is not None:
            await self._shadows.close(PATIENCE)
            await self._surroundings.close()

    def _twin(self, name: str) -> WorkerRunner:
        """Return what runs a variant once more, in an instance of its own."""
        site, definition = self._site, self._site.definitions[name]
        if name == site.champion:  # the class as the user wrote it, which routes nothing
            service = copy.copy(definition.service)
            service.inner, service.apis = definition.inner, dict(site.methods)
            own = set(dir(definition.inner))  # what a candidate brought along has joined the champion's
            service.dependencies = {n: one for n, one in service.dependencies.items() if n in own}
            definition = dataclasses.replace(definition, service=service)
        runner = self._runner_for(site, definition)
        runner.rollout = site.name
        return runner


def check_shadows(spec: RolloutSpec, methods: Mapping[str, Method], routed: Sequence[str]) -> None:
    """Raise `InvalidSpec` for a shadow that cannot be: of an endpoint, by a comparator or with a copy."""
    comparators_of(spec)
    for name, shadow in spec.shadow.items():
        field = f"shadow.{name}"
        for endpoint in shadow.endpoints or ():
            if endpoint not in routed:
                raise InvalidSpec(
                    f"{field}.endpoints: no endpoint {endpoint!r} is routed; routed are: {', '.join(routed)}"
                )
        for endpoint in shadow.compare:
            if endpoint != "*" and endpoint not in methods:
                has = ", ".join(methods)
                raise InvalidSpec(f"{field}.compare: the service has no endpoint {endpoint!r}; it has: {has}")
        if shadow.copies:
            for endpoint in shadow.endpoints or routed:
                _check_copies(field, endpoint, methods[endpoint])


def comparators_of(spec: RolloutSpec) -> dict[Hashable, Comparator]:
    """Return what compares answers, by setting, for every shadow of a spec and for those without an entry.

    Raises:
        InvalidSpec: for a function that cannot be imported.
    """
    settings = [(name, s) for name, shadow in spec.shadow.items() for s in shadow.compare.values()]
    settings += [("*", setting) for setting in Shadow().compare.values()]
    return {setting.key: comparator(setting, _function(name, setting)) for name, setting in settings}


def _function(name: str, setting: Comparing) -> Callable[..., Any] | None:
    if setting.kind != "function" or callable(setting.function):
        return setting.function if callable(setting.function) else None
    return imported(str(setting.function), f"shadow.{name}.compare")


_OPEN = (typing.IO, typing.BinaryIO, typing.TextIO)


def _check_copies(field: str, endpoint: str, method: Method) -> None:
    """Refuse a copy of what cannot be copied: an open file, an iterator, a lock."""
    for name, parameter in inspect.signature(method.func).parameters.items():
        kind = _annotation(method, name, parameter)
        origin = typing.get_origin(kind) or kind
        cannot = origin in _OPEN or (
            isinstance(origin, type)
            and any(hasattr(origin, mark) for mark in ("__next__", "__anext__", "readinto", "acquire"))
        )
        if cannot:
            raise InvalidSpec(
                f"{field}.copy: endpoint {endpoint!r} takes {name!r}, and {getattr(kind, '__name__', kind)} "
                "cannot be copied: name the other endpoints in endpoints:, or leave copy out"
            )


def _annotation(method: Method, name: str, parameter: inspect.Parameter) -> Any:
    try:
        return typing.get_type_hints(method.func).get(name, parameter.annotation)
    except Exception:  # noqa: BLE001 - an annotation that cannot be read says nothing
        return parameter.annotation
