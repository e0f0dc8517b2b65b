"""`Ladder`: the five degrees of each endpoint, the evidence for each, what is missing, and who may go up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..admin.people import People
from ..automation import coverage_grid, risk_coverage
from ..degrees import Degree, parse_degree
from ..errors import InvalidValue, Refused, RolloutError
from ..operations import Rollout
from ..reviewing import Role
from ..store.reviews import Judged, Reviews
from .inputs import plain
from .visiting import Page, Visit, Work

__all__ = ["Ladder"]

MEANS = {
    Degree.HUMAN: "A person decides each case. The model does not run.",
    Degree.SHADOW: "A person decides. The model runs, and nobody sees what it says before the answer.",
    Degree.ASSIST: "A person decides, and sees what the model suggests.",
    Degree.PARTIAL: "The model decides where it is sure, a person decides the rest.",
    Degree.FULL: "The model decides. A person looks at a random sample.",
}
POINTS = 20
"""Rows of the table of error and coverage."""


class Ladder:
    """The page of degrees.

    Args:
        reviews: the queue; None: nothing is automated.
        people: who there is.
    """

    def __init__(self, reviews: Callable[[], Reviews | None], people: People) -> None:
        self._reviews, self._people = reviews, people
        self.reads: dict[str, Work] = {"/automation": self._show}
        self.acts: dict[str, Work] = {"/automation/set": self._set, "/automation/calibrate": self._calibrate}

    def _show(self, visit: Visit) -> Page:
        return self._page(visit)

    def _set(self, visit: Visit) -> Page:
        """Set a degree in a person's name; the rules are those of every other door."""
        endpoint, reason = visit.form.get("endpoint", ""), visit.form.get("reason", "").strip()
        try:
            self._check(visit, endpoint)
            if not reason:
                raise InvalidValue("say why: the reason stays in the history")
            degree = parse_degree(visit.form.get("degree", ""))
            change = visit.opened().set_degree(endpoint, degree, reason=reason)
        except RolloutError as error:
            return self._page(visit, error=str(error), status=error.http_status)
        said = (
            "; ".join(change.notes)
            or f"{endpoint} is at {degree.word} now (revision {change.state.revision})."
        )
        proposed = visit.opened().automation()[endpoint]["proposed"]
        if proposed is not None:
            said = f"Your request for {proposed['degree']} is kept: a second person must ask for it, too."
        return self._page(visit, said=said)

    def _calibrate(self, visit: Visit) -> Page:
        endpoint = visit.form.get("endpoint", "")
        try:
            self._check(visit, endpoint)
            found = visit.opened().calibrate(endpoint, reason="asked for in the console")
        except RolloutError as error:
            return self._page(visit, error=str(error), status=error.http_status)
        words = found.words
        return self._page(visit, said=f"{endpoint}: {words[0].lower()}{words[1:]}.")

    @staticmethod
    def _check(visit: Visit, endpoint: str) -> None:
        if not visit.person.may(Role.OPERATOR, endpoint):
            raise Refused(
                f"{visit.person.name} is no operator of {endpoint!r}: only operators change degrees"
            )

    def _page(self, visit: Visit, *, said: str = "", error: str = "", status: int = 200) -> Page:
        rollout = visit.opened()
        rows = rollout.automation()
        context = {
            "here": "automation",
            "title": "Automation",
            "said": said,
            "error": error,
            "endpoints": [self._endpoint(visit, rollout, name, row) for name, row in rows.items()],
        }
        return Page("ladder.html", context, status=status)

    def _endpoint(self, visit: Visit, rollout: Rollout, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        told, trouble = {}, ""
        try:
            told = rollout.explain_automation(name)
        except RolloutError as problem:
            trouble = str(problem)
        reviews = self._reviews()
        digest = row.get("digest") or ""
        judged = [] if reviews is None or not digest else list(reviews.judged(name, digest))
        return {
            "name": name,
            "row": row,
            "trouble": trouble,
            "steps": [_step(step) for step in told.get("steps", ())],
            "evidence": told.get("evidence"),
            "certificate": row.get("certificate"),
            "target": _shares(row.get("target_error")),
            "operators": self._people.holders(Role.OPERATOR, name),
            "operator": visit.person.may(Role.OPERATOR, name),
            "curve": (curve := _curve(judged)),
            "chart": _chart(curve),
            "audits": [] if reviews is None or not digest else _audits(reviews, name, digest),
        }


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    degree = parse_degree(step["degree"])
    return {**step, "number": int(degree), "means": MEANS[degree]}


def _shares(target: object) -> str:
    """Return a target error as people read it."""
    if isinstance(target, Mapping):
        return ", ".join(f"{name} {share * 100:g} %" for name, share in sorted(target.items()))
    return "" if target is None else f"{float(str(target)) * 100:g} %"


def _curve(judged: Sequence[Judged]) -> list[dict[str, float]]:
    """Return error and coverage by threshold, of the cases whose selection tells how good the model is."""
    cases = [(one.score, one.wrong) for one in judged if one.selection.unbiased and one.score is not None]
    if not cases:
        return []
    scores, wrong = [score for score, _ in cases], [bad for _, bad in cases]
    risks = risk_coverage(scores, wrong, coverage_grid(scores, POINTS))
    return [
        {
            "threshold": risk.threshold,
            "coverage": risk.coverage,
            "error": risk.error,
            "bound": risk.bound,
            "accepted": risk.accepted,
            "errors": risk.errors,
        }
        for risk in risks
        if risk.accepted
    ]


def _chart(curve: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if len(curve) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    points = sorted(curve, key=lambda row: row["coverage"])
    lines = (("error of the cases that the model would decide", "error"), ("95 % sure below", "bound"))
    series = [
        {"label": label, "values": [row[name] * 100 for row in points], "color": color}
        for color, (label, name) in enumerate(lines)
    ]
    return {"x": [row["coverage"] * 100 for row in points], "series": series, "unit": "%", "stepped": False}


def _audits(reviews: Reviews, endpoint: str, digest: str) -> list[dict[str, Any]]:
    """Return how the audits of the present model stand, for each class that has a target of its own."""
    tests = reviews.audits(endpoint, digest)
    return [
        {"label": plain(label), "audits": test.audits, "errors": test.errors, "alarm": test.alarm}
        for label, test in sorted(tests.items())
    ]
