"""Who answers a prediction: one table over degree, score, conditions and audit; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from .asking import Drift, Facts, ScoreBelow
from .automating import Automation
from .automation.audit import audited, drawn
from .degrees import Degree
from .reviewing import Selection

__all__ = ["Disposition", "Thresholds", "disposition", "hides", "overlaps", "threshold_for"]

_BELOW = ScoreBelow(None)


class Thresholds(Protocol):
    """What a certificate says of thresholds."""

    @property
    def threshold(self) -> float | None:
        """The least score with which the model may decide; None: there is none, or one for each class."""

    @property
    def by_class(self) -> Mapping[str, float]:
        """The same by class, as the model names it; empty: one threshold holds for all."""

    @property
    def by_segment(self) -> Mapping[str, float]:
        """The same by segment of the traffic; empty: it is not by segment."""


@dataclass(frozen=True, slots=True)
class Disposition:
    """Who answers one prediction, and what else becomes of it. Immutable.

    Attributes:
        by: ``model`` or ``person``: whose answer the caller gets.
        selection: why people see the case; None: they do not.
        probability: the chance with which its answer is asked for: 1 where a person decides, the audit's
            rate where the model does, whether it was drawn or not.
        why: what sent it to a person, in words without payload.
        audit: whether a person looks at it although the model answers.
    """

    by: Literal["model", "person"]
    selection: Selection | None
    probability: float
    why: tuple[str, ...] = ()
    audit: bool = False


_BY_PEOPLE = Disposition("person", Selection.ALL, 1.0)


def disposition(
    degree: Degree,
    automation: Automation,
    certificate: Thresholds | None,
    facts: Facts,
    prediction_id: str,
) -> Disposition:
    """Return who answers a prediction.

    =======================  =====================================================  ==========
    degree                   what is known                                          who answers
    =======================  =====================================================  ==========
    human, shadow, assist    anything                                               a person
    partial                  the model failed, its score is below the certified      a person
                             threshold, nothing is certified, or a condition holds
    partial                  else                                                   the model
    full                     anything                                               the model
    =======================  =====================================================  ==========

    What the model answers may be drawn for an audit besides, by the prediction's id alone; that changes
    nothing of who answers.

    Args:
        degree: of the endpoint, now.
        automation: its settings.
        certificate: what was certified for this very model; None: nothing was.
        facts: what is known of the prediction.
        prediction_id: whose draws these are.
    """
    if degree.by_people:
        return _BY_PEOPLE
    if degree is Degree.PARTIAL and (asked := _asked(automation, certificate, facts)) is not None:
        return asked
    rate = automation.audit.rate
    if facts.failed or not audited(prediction_id, rate):  # an error is no answer that could be judged
        return Disposition("model", None, rate)
    return Disposition("model", Selection.AUDIT, rate, audit=True)


def threshold_for(
    certificate: Thresholds | None, label: str | None, segment: str | None = None
) -> float | None:
    """Return the score that was certified for a class or a segment; None: none was, so a person answers.

    Args:
        certificate: what was certified; None: nothing.
        label: the class that the model answered; None: none.
        segment: that the call is in; None, or empty: in none.
    """
    if certificate is None:
        return None
    if certificate.by_segment:
        return None if segment is None else certificate.by_segment.get(segment)
    if certificate.by_class:
        return None if label is None else certificate.by_class.get(label)
    return certificate.threshold


def _asked(automation: Automation, certificate: Thresholds | None, facts: Facts) -> Disposition | None:
    """Return that a person answers, and why; None: the model may.

    The certified threshold holds whether ``ask_when`` names it or not: a number of one's own, beside it or
    in its place, was certified for nothing.
    """
    if facts.failed:
        return Disposition("person", Selection.UNSURE, 1.0, ("the model failed",))
    threshold = threshold_for(certificate, facts.label, automation.segment_of(facts.arguments))
    found = [_BELOW.holds(facts, threshold)]
    selection = Selection.UNSURE
    for condition in automation.ask_when:
        if condition == _BELOW:
            continue
        words = condition.holds(facts, threshold)
        found.append(words)
        if words is not None and isinstance(condition, Drift):
            selection = Selection.DRIFT
    why = tuple(words for words in found if words is not None)
    return Disposition("person", selection, 1.0, why) if why else None


def overlaps(prediction_id: str, share: float) -> bool:
    """Return whether two people answer a case."""
    return drawn("overlap", prediction_id, share)


def hides(prediction_id: str, blind_rate: float) -> bool:
    """Return whether the suggestion stays hidden until the answer, whatever the settings say."""
    return drawn("blind", prediction_id, blind_rate)
