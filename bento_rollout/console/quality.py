"""`Quality`: do people agree with each other, and with the model?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..automation import Agreement, agreement_of
from ..store.reviews import Rating, Reviews
from .inputs import plain
from .visiting import Page, Visit, Work

__all__ = ["Quality"]

RESAMPLES = 400
"""Bootstrap samples of an interval: enough for two digits, and a page that comes at once."""

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
        endpoints = [] if reviews is None else sorted(visit.opened().state.automation)
        context: dict[str, Any] = {
            "here": "agreement",
            "title": "Agreement",
            "automated": reviews is not None,
            "endpoints": [] if reviews is None else [_endpoint(reviews, name) for name in endpoints],
        }
        return Page("agreement.html", context)


def _endpoint(reviews: Reviews, name: str) -> dict[str, Any]:
    ratings = [one for one in reviews.ratings(name) if not one.adjudicates]
    stats = reviews.stats(name)
    blind = [one for one in ratings if one.independent and one.model is not None]
    people, model = (
        _measured(_between_people(ratings)),
        _measured([(plain(one.choice), plain(one.model)) for one in blind]),
    )
    return {
        "name": name,
        "stats": stats,
        "groups": [
            ("Between people", "cases that two people answered, none seeing the other\u2019s answer", people),
            ("Between people and the model", "answers given before the suggestion was seen", model),
        ],
        "pairs": _pairs([(plain(one.model), plain(one.choice)) for one in blind]),
        "answered": sorted(stats.answered.items(), key=lambda item: (-item[1], item[0])),
        "chart": _chart(ratings),
    }


def _chart(ratings: Sequence[Rating]) -> dict[str, Any] | None:
    """Return answers per day; None: there is one day, or none."""
    days = Counter(int(one.at // DAY) for one in ratings)
    if len(days) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    span = range(min(days), max(days) + 1)[-MOST_DAYS:]
    series = [{"label": "answers", "values": [days[day] for day in span], "color": 0}]
    return {"x": [day * DAY for day in span], "series": series, "unit": "", "stepped": False, "time": True}


def _between_people(ratings: Iterable[Rating]) -> list[tuple[str, ...]]:
    """Return the answers to each case that were given without having seen the suggestion."""
    cases: dict[str, list[str]] = {}
    for one in ratings:
        if one.independent:
            cases.setdefault(one.task, []).append(plain(one.choice))
    return [tuple(answers) for answers in cases.values() if len(answers) > 1]


def _measured(units: Sequence[tuple[str, ...]]) -> dict[str, Any] | None:
    """Return the measures as rows; None: there is no case with two answers."""
    if not units:
        return None
    found = agreement_of(units, resamples=RESAMPLES)
    return {
        "units": found.units,
        "rows": _rows(found),
        "warnings": found.warnings,
        "prevalence": found.prevalence,
    }


def _rows(found: Agreement) -> list[dict[str, Any]]:
    of = (
        ("Raw agreement", found.raw, found.raw_interval, "the part of pairs of answers that are the same"),
        ("Cohen\u2019s \u03ba", found.kappa, found.kappa_interval, "agreement beyond chance, of two answers"),
        (
            "Krippendorff\u2019s \u03b1",
            found.alpha,
            found.alpha_interval,
            "agreement beyond chance, of any number",
        ),
        ("2p \u2212 1", found.twice, None, "\u03ba if all answers were equally frequent"),
    )
    return [
        {
            "name": name,
            "value": _known(value),
            "low": _end(interval, 0),
            "high": _end(interval, 1),
            "help": told,
        }
        for name, value, interval, told in of
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _end(interval: tuple[float, float] | None, index: int) -> float | None:
    return None if interval is None else _known(interval[index])


def _pairs(pairs: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Return how often people chose what, for each thing that the model says."""
    if not pairs:
        return None
    answers = sorted({answer for pair in pairs for answer in pair})
    if len(answers) > MOST_ANSWERS:
        return None
    rows = [{"model": says, "counts": [pairs.count((says, one)) for one in answers]} for says in answers]
    return {"answers": answers, "rows": rows}
