"""`Quality`: do people agree with each other, and with the model?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..review_report import agreement_report, unbiased
from ..store.reviews import Rating, Reviews
from .inputs import plain
from .visiting import Page, Visit, Work

__all__ = ["Quality"]

DAY, MOST_DAYS = 86400, 60

MOST_ANSWERS = 12
"""Rows and columns of the table of pairs."""


class Quality:
    """The page of agreement.

    Args:
        reviews: the queue; None: nothing is automated.
    """

    def __init__(self, reviews: Callable[[], Reviews | None]) -> None:
        self._reviews = reviews
        self.reads: dict[str, Work] = {"/agreement": self._show}
        self.acts: dict[str, Work] = {}

    def _show(self, visit: Visit) -> Page:
        reviews = self._reviews()
        state = visit.opened().state
        endpoints = [] if reviews is None else sorted(state.automation)
        digest = state.champions_digest or None
        context: dict[str, Any] = {
            "here": "agreement",
            "title": "Agreement",
            "automated": reviews is not None,
            "endpoints": [] if reviews is None else [_endpoint(reviews, name, digest) for name in endpoints],
        }
        return Page("agreement.html", context)


def _endpoint(reviews: Reviews, name: str, digest: str | None) -> dict[str, Any]:
    ratings, judged = reviews.ratings(name), tuple(reviews.judged(name, digest))
    found = agreement_report(ratings, judged)
    stats = reviews.stats(name)
    return {
        "name": name,
        "stats": stats,
        "groups": [
            (
                "Between people",
                "cases that two people answered, none seeing the other\u2019s answer",
                _measured(found["people"]),
            ),
            (
                "Between people and the model",
                "cases drawn whatever this model said, by the answers from before its suggestion was seen",
                _measured(found["model"]),
            ),
        ],
        "pairs": _pairs([(plain(one.label), plain(one.choice)) for one in unbiased(judged)]),
        "answered": sorted(stats.answered.items(), key=lambda item: (-item[1], item[0])),
        "chart": _chart([one for one in ratings if not one.adjudicates]),
    }


def _chart(ratings: Sequence[Rating]) -> dict[str, Any] | None:
    """Return answers per day; None: there is one day, or none."""
    days = Counter(int(one.at // DAY) for one in ratings)
    if len(days) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    span = range(min(days), max(days) + 1)[-MOST_DAYS:]
    series = [{"label": "answers", "values": [days[day] for day in span], "color": 0}]
    return {"x": [day * DAY for day in span], "series": series, "unit": "", "stepped": False, "time": True}


def _measured(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the measures as rows; None: there is no case with two answers."""
    return {**found, "rows": _rows(found)} if found["units"] else None


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    of = (
        ("Raw agreement", "raw", "the part of pairs of answers that are the same"),
        ("Cohen\u2019s \u03ba", "kappa", "agreement beyond chance, of two answers"),
        ("Krippendorff\u2019s \u03b1", "alpha", "agreement beyond chance, of any number"),
        ("2p \u2212 1", "twice", "\u03ba if all answers were equally frequent"),
    )
    rows = []
    for name, key, told in of:
        low, high = found.get(f"{key}_interval", (None, None))
        rows.append({"name": name, "value": found[key], "low": low, "high": high, "help": told})
    return rows


def _pairs(pairs: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Return how often people chose what, for each thing that the model says."""
    if not pairs:
        return None
    answers = sorted({answer for pair in pairs for answer in pair})
    if len(answers) > MOST_ANSWERS:
        return None
    rows = [{"model": says, "counts": [pairs.count((says, one)) for one in answers]} for says in answers]
    return {"answers": answers, "rows": rows}
