"""What the trail's entries say, in words that people read; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .inputs import plain

__all__ = ["ACTS", "acted"]

Facts = Mapping[str, Any]


def acted(what: str, facts: Facts) -> str:
    """Return what somebody did, as it goes on after their name; never raises, whatever the entry holds.

    Args:
        what: the act, in the trail's one word.
        facts: more of it.

    >>> acted("claimed", {"adjudicates": True})
    'took it in hand, to decide between two answers'
    >>> acted("polished", {"twice": True})
    'polished: twice true'
    """
    words = ACTS.get(what)
    if words is not None:
        return words(facts)
    more = ", ".join(f"{name} {plain(value)}" for name, value in facts.items())
    return f"{what}: {more}" if more else what


def _always(words: str) -> Callable[[Facts], str]:
    return lambda _: words


def _submitted(facts: Facts) -> str:
    selection = facts.get("selection")
    why = _WHY.get(str(selection), f"asked for as {plain(selection)}")
    return f"asked people about a prediction of {_of(facts)}: {why}"


_WHY = {
    "all": "people see every case",
    "audit": "drawn to look after the model",
    "unsure": "the model was not sure, or a condition held",
    "drift": "drift was found",
    "manual": "a person wanted it",
}


def _asked(facts: Facts) -> str:
    return f"wanted people to look at a prediction of {_of(facts)}"


def _claimed(facts: Facts) -> str:
    return "took it in hand" + (", to decide between two answers" if facts.get("adjudicates") else "")


def _answered(facts: Facts) -> str:
    return "answered it, before the model's suggestion was shown" if facts.get("first") else "answered it"


def _decided(facts: Facts) -> str:
    if facts.get("adjudicated"):
        return "decided it, between two answers"
    return "decided it, with an answer revised after the suggestion" if facts.get("revised") else "decided it"


def _ended(words: str) -> Callable[[Facts], str]:
    def told(facts: Facts) -> str:
        why = facts.get("why")
        return words + (_DUE if why == "due" else f": {plain(why)}" if why else "")

    return told


_DUE = ", as its time was over"


def _defaulted(facts: Facts) -> str:
    says = "the model's answer" if facts.get("by") == "model" else "the default"
    return f"let {says} stand{_DUE if facts.get('why') == 'due' else ''}"


def _suggested(facts: Facts) -> str:
    return f"kept what {plain(facts.get('variant'))} ({plain(facts.get('digest'))}) said of it"


def _unsettled(facts: Facts) -> str:
    action, error = plain(facts.get("on_timeout")), plain(facts.get("error"))
    return f"could not do what on_timeout: {action} asks for ({error}), and tries again"


def _watched(facts: Facts) -> str:
    return f"began to watch the audits of {plain(facts.get('digest'))} at {_of(facts)}"


def _alarmed(facts: Facts) -> str:
    errors, audits = plain(facts.get("errors")), plain(facts.get("audits"))
    return (
        f"found {plain(facts.get('digest'))} wrong too often at {_of(facts)}: {errors} of {audits} audits, "
        "more than was certified"
    )


def _degree(facts: Facts) -> str:
    told = facts.get("told")
    changes = "; ".join(map(plain, told)) if isinstance(told, list) and told else "nothing told"
    return f"changed who decides, in revision {plain(facts.get('revision'))}: {changes}"


def _of(facts: Facts) -> str:
    return plain(facts.get("endpoint"))


ACTS: Mapping[str, Callable[[Facts], str]] = {
    "submitted": _submitted,
    "asked": _asked,
    "suggested": _suggested,
    "claimed": _claimed,
    "answered": _answered,
    "revised": _always("revised the answer, after the suggestion was shown"),
    "confirmed": lambda facts: f"let the first answer of {plain(facts.get('of'))} stand",
    "undone": _always("took the answer back"),
    "skipped": _always("left it to others"),
    "released": _always("gave it back"),
    "escalated": _always("handed it up to an adjudicator"),
    "lapsed": _always("had it in hand for too long: it went back"),
    "disagreed": _always("saw two answers that differ: an adjudicator decides"),
    "decided": _decided,
    "defaulted": _defaulted,
    "rejected": _ended("ended it without an answer"),
    "withdrawn": _ended("withdrew it"),
    "forgotten": _always("deleted what was kept of it"),
    "unsettled": _unsettled,
    "watched": _watched,
    "alarmed": _alarmed,
    "degree": _degree,
    "reachable": _always("reached the queue again"),
}
"""What each act of the trail says of the one who did it."""
