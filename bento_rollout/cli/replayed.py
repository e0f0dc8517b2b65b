"""A champion's last calls, with what their labels say, as a replay takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Refused

if TYPE_CHECKING:
    from ..replaying import Calls
    from ..spec import RolloutSpec
    from ..store.place import Place

__all__ = ["LAST", "replayed_calls"]

LAST = 50_000
"""Calls that are replayed, at most."""


def replayed_calls(spec: RolloutSpec, place: Place, champion: str) -> Calls:
    """Return the last calls of a champion from the ledger.

    Labels that are judged by a function of the service are left out: it is not here.

    Args:
        spec: which labels the strategy guards, and how they are judged.
        place: where the rollout's shared files lie.
        champion: the variant.

    Raises:
        InvalidValue: what is wrong with the ledger's calls.
        StoreUnreachable: the ledger cannot be read.
        Refused: the ledger was written meanwhile, more than once.
    """
    from ..replaying import Calls
    from ..store.ledger_replay import replayable

    found = {entry: replayable(place, champion, last=LAST, **how) for entry, how in _labels(spec).items()}
    first, *others = found.values()
    times = first.times
    if any(len(one) != len(first) or (one.times != times).any() for one in others):
        raise Refused("the ledger was written while it was read; stop the traffic, or try again")
    bad = {f"label.{entry}": one.bad for entry, one in found.items() if entry}
    return Calls(first.times, first.units, first.endpoints, first.endpoint, first.failed, first.seconds, bad)


def _labels(spec: RolloutSpec) -> dict[str, dict[str, Any]]:
    """Return how calls are read, by label that can be judged here; without any, by no name."""
    from ..guardrails import Label, split_name
    from ..judging import Judge, judging_of

    found: dict[str, dict[str, Any]] = {}
    guardrails = spec.strategy.guardrails if spec.strategy else {}
    for name, guardrail in guardrails.items():
        if not isinstance(guardrail, Label):
            continue
        entry = split_name(name)[0].removeprefix("label.")
        judging = judging_of(spec.labels, entry)
        if judging is not None and not isinstance(judging.loss, str):
            judge = Judge(judging)
            matures = guardrail.matures
            found[entry] = {"label": judging.told_as(entry), "bad_of": judge.bad_of, "matures": matures}
    return found or {"": {}}
