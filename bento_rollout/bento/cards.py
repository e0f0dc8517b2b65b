"""A worker's card: what it can serve, and what it tells of the spec that it serves by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bentoml._internal.context import server_context

from ..applying import ladders_of
from ..manner import manner_of
from ..spec import RolloutSpec
from ..store.presence import Card, VariantCard
from .entrusting import choices_of
from .method import Method

if TYPE_CHECKING:
    from .site import Site

__all__ = ["card_of", "state_fields"]


class Told(Protocol):
    """What a runner tells of itself."""

    kind: str
    state: str
    error: str | None

    @property
    def process(self) -> Mapping[str, int] | None:
        """Its process, if it has one of its own."""


def card_of(
    site: Site,
    spec: RolloutSpec,
    runners: Mapping[str, Told],
    digests: Mapping[str, str],
    models: Mapping[str, Sequence[str]],
    duties: Sequence[str],
) -> Card:
    """Return a worker's card; its token and revision are filled in by whoever writes it.

    Args:
        site: the rollout as it was defined.
        spec: what it serves by now.
        runners: by variant, the decorated one first.
        digests, models: what each variant is, and its model references stand for.
        duties: what it takes part in of what one worker does for all.
    """
    variants = {
        name: VariantCard(one.state, one.kind, digests[name], one.error, models[name], one.process)
        for name, one in runners.items()
    }
    return Card(
        "",
        os.getpid(),
        server_context.worker_index or 0,
        site.service.name,
        0,
        variants,
        len(site.before),
        len(site.after),
        state_fields(spec, site.methods),
        site.unwell,
        code=site.code,
        duties=tuple(duties),
        lease=site.spec.lease,
        on_stale=site.spec.on_stale,
    )


def state_fields(spec: RolloutSpec, methods: Mapping[str, Method] | None = None) -> dict[str, Any]:
    """Return what a card tells of a spec: state fields as in its file, its strategy, and degrees.

    Args:
        spec: the rollout's.
        methods: the service's endpoints, of which it tells how people are asked; None: it does not.
    """
    shadow = {name: {"percent": shadow.percent / 1000} for name, shadow in spec.shadow.items()}
    targets = {name: {"keys": list(t.keys), "header": t.header} for name, t in spec.targets.items()}
    every = {
        "weights": ("weights", {name: milli / 1000 for name, milli in spec.weights.items()}),
        "shadow": ("shadow", shadow),
        "targets": ("targets", targets),
        "standby": ("blue_green", {"standby": spec.blue_green.standby}),
        "salt": ("routing", {"salt": spec.routing.salt}),
    }
    told = dict(written for field, written in every.items() if field in spec.state_fields)
    if spec.strategy is not None:
        told["strategy"] = spec.strategy.plain
    if ladders := ladders_of(spec):
        told["automation"] = {
            endpoint: {**ladder.plain, **_asking(spec, endpoint, methods)}
            for endpoint, ladder in ladders.items()
        }
    return told


def _asking(spec: RolloutSpec, endpoint: str, methods: Mapping[str, Method] | None) -> dict[str, Any]:
    if methods is None:
        return {}
    automation, method = spec.automation[endpoint], methods[endpoint]
    choices = choices_of(automation, method)
    form = None if choices else method.output_spec.model_json_schema()
    return {"asking": manner_of(automation, choices, form).plain}
