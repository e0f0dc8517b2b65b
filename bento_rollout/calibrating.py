"""`Calibration`: what answered cases say about a threshold, and the certificate that may follow; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .automation import (
    Certified,
    Risk,
    certify_groups,
    certify_threshold,
    coverage_grid,
    labels_needed,
    risk_coverage,
    thinned,
)
from .errors import Refused
from .ladder import Certificate, Errors, Ladder
from .reviewing import Selection

__all__ = ["ALL", "Answered", "Calibration", "calibrated"]

ALL = ""
"""The class that all cases are of, where one target holds for all."""


class Answered(Protocol):
    """A case that a person answered, and the model had an answer to; as `Reviews.judged` yields it."""

    @property
    def prediction_id(self) -> str:
        """Which prediction."""

    @property
    def score(self) -> float | None:
        """How sure the model was; None: it has no score."""

    @property
    def wrong(self) -> bool:
        """Whether the person answered otherwise."""

    @property
    def selection(self) -> Selection:
        """Why a person was asked."""

    @property
    def probability(self) -> float:
        """With which chance."""

    @property
    def label(self) -> str | None:
        """What the model said."""

    @property
    def segment(self) -> str | None:
        """The segment of the traffic; empty: in none that was named; None: none was named."""

    @property
    def at(self) -> float:
        """When it was answered, in seconds since 1970."""

    @property
    def independent(self) -> bool:
        """Whether the person chose before seeing what the model says."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the answered cases of one model say about deciding alone.

    Attributes:
        endpoint, variant, digest: of which model.
        target_error, confidence: what was to be promised.
        certificate: what may be promised; None: nothing.
        found: the threshold of each class that has a target, of each segment, or of all (``""``), or how much
            it lacks.
        tables: error and coverage by threshold, by class or segment: to look at, not to choose from.
        used, left_out: how many cases, by why a person was asked; and by why they are not used.
        scoreless: how many of those used have no score, so that no threshold accepts them.
        least: how many accepted cases without any error the promise takes, of the class that takes most.
        by_segment: whether what was found is of segments.
        cases: how many of those used each of these has.
        revision: the state's in which the certificate is; 0: it is in none.
    """

    endpoint: str
    variant: str
    digest: str
    target_error: Errors
    confidence: float
    certificate: Certificate | None
    found: Mapping[str, Certified]
    tables: Mapping[str, tuple[Risk, ...]] = field(repr=False)
    used: Mapping[str, int]
    left_out: Mapping[str, int]
    scoreless: int
    least: int
    by_segment: bool = False
    cases: Mapping[str, int] = field(default_factory=dict)
    revision: int = 0

    @property
    def labels_missing(self) -> int:
        """How many more accepted cases, all of them right, it takes at least; 0: something is certified."""
        if self.certificate is not None:
            return 0
        return min((one.labels_missing for one in self.found.values()), default=self.least)

    @property
    def words(self) -> str:
        """What came of it, in a sentence."""
        one = self.certificate
        if one is None:
            return (
                f"nothing can be certified: at least {self.labels_missing} more cases are missing that the "
                "model is sure of and has right"
            )
        at = "all of the traffic" if one.full else f"{one.coverage:.1%} of the traffic"
        return f"certified for {at}: {one.errors} errors in {one.accepted} accepted of {one.labels} cases"

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain data: the JSON of ``automation NAME calibrate --json``."""
        return {
            "endpoint": self.endpoint,
            "variant": self.variant,
            "digest": self.digest,
            "target_error": self.target_error,
            "confidence": self.confidence,
            "certified": self.certificate is not None,
            "certificate": None if self.certificate is None else self.certificate.model_dump(mode="json"),
            "words": self.words,
            "labels_missing": self.labels_missing,
            "least": self.least,
            "used": dict(self.used),
            "left_out": dict(self.left_out),
            "scoreless": self.scoreless,
            "classes": {} if self.by_segment else self._groups,
            "segments": self._groups if self.by_segment else {},
            "revision": self.revision or None,
        }

    @property
    def _groups(self) -> dict[str, Any]:
        return {name: _group(one, self.tables[name]) for name, one in self.found.items()}


def calibrated(
    cases: Iterable[Answered],
    ladder: Ladder,
    endpoint: str,
    variant: str,
    digest: str,
    *,
    author: str,
    at: float,
    since: float = 0.0,
) -> Calibration:
    """Return what cases say about a threshold, by a test that may be trusted with any number of thresholds.

    Used are cases that were answered before the suggestion was seen, and for which the chance to be asked
    about did not depend on the answer: all of the degrees human to assist; and of the degrees above the
    audits, thinned to one chance, together with as large a part of those that the model was unsure of,
    without which the sure ones would be too many.

    Args:
        cases: answered ones of this model.
        ladder: what is to be promised.
        endpoint, variant, digest: of which model.
        author: who asks for it.
        at: now, in seconds since 1970.
        since: cases that were answered before are not used.

    Raises:
        Refused: the spec has no target error.
    """
    if (target := ladder.target_error) is None:
        raise Refused(
            f"automation.{endpoint}.target_error: the spec has none, so there is nothing to certify; "
            "nothing changed"
        )
    sample, used, left_out = _sample(cases, since, by_segment=bool(ladder.segments))
    scores = [math.nan if one.score is None else one.score for one in sample]
    wrong = [one.wrong for one in sample]
    groups = [_group_of(one, by_segment=bool(ladder.segments)) for one in sample]
    if ladder.segments and not isinstance(target, Mapping):
        each = dict.fromkeys(ladder.segments, target)
        found = certify_groups(scores, wrong, groups, each, ladder.confidence)
    elif isinstance(target, Mapping):
        found = certify_groups(scores, wrong, groups, target, ladder.confidence)
    else:
        grid = coverage_grid(scores)
        found = {ALL: certify_threshold(scores, wrong, grid, target, ladder.confidence)}
    about = {"variant": variant, "digest": digest, "author": author, "at": at, "since": since}
    return Calibration(
        endpoint,
        variant,
        digest,
        target,
        ladder.confidence,
        _certificate(found, len(sample), target, ladder, **about),
        found,
        {name: _table(name, one, scores, wrong, groups) for name, one in found.items()},
        used,
        left_out,
        sum(map(math.isnan, scores)),
        max(labels_needed(one.target_error, one.confidence) for one in found.values()),
        bool(ladder.segments),
        {name: sum(name in (ALL, group) for group in groups) for name in found},
    )


def _group_of(one: Answered, *, by_segment: bool) -> str:
    """Return the class or the segment of a case; one that is in none is in no group that has a target."""
    name = one.segment if by_segment else one.label
    return ALL if name is None else str(name)


def _sample(
    cases: Iterable[Answered], since: float, *, by_segment: bool
) -> tuple[list[Answered], dict[str, int], dict[str, int]]:
    """Return a plain sample of the traffic, how many of it were asked why, and what was left out why."""
    everything, rest = [], []
    left_out: Counter[str] = Counter()
    for one in cases:
        if one.at < since:
            left_out["before the audits refuted what was certified"] += 1
        elif not one.independent:
            left_out["answered with the model's suggestion in view"] += 1
        elif by_segment and one.segment is None:
            left_out["asked before the spec named segments"] += 1
        elif one.selection is Selection.ALL:
            everything.append(one)
        elif one.selection in (Selection.AUDIT, Selection.UNSURE):
            rest.append(one)
        else:
            left_out[f"asked for another reason: {one.selection.value}"] += 1
    if not any(one.selection is Selection.AUDIT for one in rest):
        left_out["unsure, without audits of the sure ones"] += len(rest)
        rest = []
    kept = thinned([one.prediction_id for one in rest], [one.probability for one in rest])
    part = [one for one, keeps in zip(rest, kept, strict=True) if keeps]
    left_out["thinned to one chance"] += len(rest) - len(part)
    sample = [*everything, *part]
    used = Counter(one.selection.value for one in sample)
    return sample, dict(sorted(used.items())), {why: n for why, n in sorted(left_out.items()) if n}


def _certificate(
    found: Mapping[str, Certified], cases: int, target: Errors, ladder: Ladder, **about: Any
) -> Certificate | None:
    """Return what holds for the classes or segments in which something is certified; None: in none.

    By segment it is never for all of the traffic: what is in no segment that is certified goes to a person,
    and at degree full nothing does.
    """
    held = {name: one for name, one in found.items() if one.threshold is not None}
    if not held:
        return None
    accepted = sum(one.accepted for one in held.values())
    each = {n: one.threshold for n, one in held.items() if n != ALL and one.threshold is not None}
    by_segment = bool(ladder.segments)
    return Certificate(
        threshold=held[ALL].threshold if ALL in held else None,
        by_class={} if by_segment else each,
        by_segment=each if by_segment else {},
        target_error=target,
        confidence=ladder.confidence,
        labels=cases,
        accepted=accepted,
        errors=sum(one.errors for one in held.values()),
        coverage=accepted / cases,
        full=accepted == cases and not by_segment,
        **about,
    )


def _table(
    name: str, one: Certified, scores: Sequence[float], wrong: Sequence[bool], groups: Sequence[str]
) -> tuple[Risk, ...]:
    """Return the table of a class or a segment."""
    mine = [at for at, group in enumerate(groups) if name in (ALL, group)]
    values, bad = [scores[at] for at in mine], [wrong[at] for at in mine]
    return tuple(risk_coverage(values, bad, coverage_grid(values), one.target_error, one.confidence))


def _group(one: Certified, table: Sequence[Risk]) -> dict[str, Any]:
    return {
        "threshold": one.threshold,
        "accepted": one.accepted,
        "errors": one.errors,
        "coverage": one.coverage,
        "labels_missing": one.labels_missing,
        "target_error": one.target_error,
        "confidence": one.confidence,
        "table": [
            {
                "threshold": row.threshold,
                "coverage": row.coverage,
                "accepted": row.accepted,
                "errors": row.errors,
                "error": None if math.isnan(row.error) else row.error,
                "bound": row.bound,
                "p": row.p,
            }
            for row in table
        ],
    }
