"""A worker's card: what it can serve, and what it tells of the spec that it serves by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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


def card_of(
    site: Site,
    spec: RolloutSpec,
    runners: Mapping[str, Any],
    digests: Mapping[str, str],
    models: Mapping[str, Sequence[str]],
) -> Card:
    """Return what this worker says of itself now.

    Args:
        site: the rollout as it was defined.
        spec: what the service is asked for now.
        runners: who runs its variants.
        digests, models: of each variant.
    """
    variants = {
        name: VariantCard(
            runner.state, runner.kind, digests[name], runner.error, models[name], runner.process
        )
        for name, runner in runners.items()
    }
    index, hooks = server_context.worker_index or 0, (len(site.before), len(site.after))
    told = state_fields(spec, site.methods)
    card = Card("", os.getpid(), index, site.service.name, 0, variants, *hooks, told, site.unwell)
    return replace(card, lease=site.spec.lease, on_stale=site.spec.on_stale)


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
