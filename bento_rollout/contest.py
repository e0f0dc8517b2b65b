"""Who is compared in a state, and whether these are still who a try began with; pure but for what lives."""

from __future__ import annotations

from .attempt import Try
from .errors import NotReady
from .rounds import Arms
from .state import RolloutState
from .values import FULL
from .view import View

__all__ = ["arms_at", "arms_of", "changed", "unready"]


def arms_of(state: RolloutState, attempt: Try) -> Arms:
    """Return who is compared in a state, with the trial's share of both."""
    rest = FULL - sum(state.weights.values())
    trial, control = (
        rest if name == state.champion else state.weights.get(name, 0)
        for name in (attempt.candidate, attempt.control)
    )
    share = trial / (trial + control) if trial and control else None
    return Arms(attempt.candidate, attempt.control, share)


def arms_at(state: RolloutState, attempt: Try) -> Arms | None:
    """Return who was compared for a try in an earlier state.

    None: that was before this try, or either was granted to other code than when it began.
    """
    if state.attempt is None or state.attempt.number != attempt.number or attempt.differs(state.granted):
        return None
    return arms_of(state, attempt)


def unready(view: View, name: str) -> str:
    """Return why a variant cannot take traffic; empty: it can."""
    try:
        view.require_ready(name)
    except NotReady as error:
        return str(error).removesuffix("; nothing changed")
    return ""


def changed(attempt: Try, view: View) -> dict[str, str]:
    """Return whose code is not what the try began with: its evidence is not evidence of that."""
    found = {}
    for name, digest in attempt.digests.items():
        now = {card.variants[name].digest for card in view.cards if name in card.variants} - {digest}
        if now:
            words = f"{name} is other code than the try began with ({digest}, now {', '.join(sorted(now))})"
            found[f"digest.{name}"] = f"{words}; abort it, and retry begins anew"
    return found
