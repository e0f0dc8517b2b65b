"""The table: who answers, whose audit it is, and that draws are what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.asking import Facts
from bento_rollout.automating import Automation
from bento_rollout.automation import audited, drawn
from bento_rollout.degrees import Degree
from bento_rollout.disposing import disposition, hides, overlaps, threshold_for
from bento_rollout.reviewing import Selection

REVIEW = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 10, "action": "wait"}}
BY_PEOPLE = [Degree.HUMAN, Degree.SHADOW, Degree.ASSIST]


@dataclass(frozen=True)
class Certificate:
    """What the table needs of one."""

    threshold: float | None = 0.9
    by_class: Mapping[str, float] = field(default_factory=dict)
    by_segment: Mapping[str, float] = field(default_factory=dict)


def settings(*ask_when: dict[str, Any], rate: float = 0.02) -> Automation:
    """An automation with these conditions."""
    return Automation(
        degree="assist", target_error="2%", ask_when=list(ask_when), audit={"rate": rate}, review=REVIEW
    )


CONDITIONS = [{"drift": True}, {"above": {"amount": 10}}, {"score_below": 0.95}, {"when": "m:f"}]
FACTS = st.builds(
    Facts,
    score=st.none() | st.floats(0, 1) | st.just(math.nan),
    label=st.sampled_from([None, "benign", "malignant"]),
    failed=st.booleans(),
    drift=st.booleans(),
    arguments=st.fixed_dictionaries({}, optional={"amount": st.integers(0, 20)}),
    asked=st.sampled_from([(), ("m:f",)]),
)
CERTIFICATES = st.none() | st.builds(
    Certificate,
    threshold=st.none() | st.floats(0, 1),
    by_class=st.dictionaries(st.sampled_from(["benign", "malignant"]), st.floats(0, 1)),
)
ASKED = st.lists(st.sampled_from(CONDITIONS), unique_by=str)
IDS = st.uuids().map(str)


@given(st.sampled_from(BY_PEOPLE), CERTIFICATES, FACTS, IDS, ASKED)
def test_degrees_one_to_three_are_people_s(
    degree: Degree, certificate: Certificate | None, facts: Facts, one: str, ask_when: list[Any]
) -> None:
    """Each case, whatever the model says: nothing of the answer depends on it."""
    found = disposition(degree, settings(*ask_when, rate=1), certificate, facts, one)
    assert found == disposition(degree, settings(), None, Facts(), "")
    assert (found.by, found.selection, found.probability, found.audit) == (
        "person",
        Selection.ALL,
        1.0,
        False,
    )
    assert found.why == ()


@given(CERTIFICATES, FACTS, IDS, ASKED)
def test_at_partial_a_person_answers_exactly_when_the_score_is_below_or_a_condition_holds(
    certificate: Certificate | None, facts: Facts, one: str, ask_when: list[Any]
) -> None:
    """The share that is automated is P(score >= threshold and no condition), exactly."""
    threshold = None
    if certificate is not None:
        by_class = certificate.by_class
        threshold = by_class.get(facts.label or "") if by_class else certificate.threshold
    sure = facts.score is not None and threshold is not None and facts.score >= threshold
    holds = {
        "drift": facts.drift,
        "above": facts.arguments.get("amount", 0) > 10,
        "score_below": not (facts.score is not None and facts.score >= 0.95),
        "when": bool(facts.asked),
    }
    asked = any(holds[word] for condition in ask_when for word in condition)
    found = disposition(Degree.PARTIAL, settings(*ask_when), certificate, facts, one)
    assert (found.by == "model") == (sure and not asked and not facts.failed)
    assert bool(found.why) == (found.by == "person")
    if found.by == "person":
        assert found.selection in (Selection.UNSURE, Selection.DRIFT)
        assert (found.probability, found.audit) == (1.0, False)


@given(CERTIFICATES, FACTS, IDS, ASKED)
def test_at_full_nobody_is_asked(
    certificate: Certificate | None, facts: Facts, one: str, ask_when: list[Any]
) -> None:
    """Whatever holds."""
    assert disposition(Degree.FULL, settings(*ask_when), certificate, facts, one).by == "model"


@given(st.sampled_from(Degree), CERTIFICATES, FACTS, IDS, ASKED, st.floats(0, 1))
def test_the_audit_never_changes_who_answers(
    degree: Degree, certificate: Certificate | None, facts: Facts, one: str, ask_when: list[Any], rate: float
) -> None:
    """Nor why; and it is drawn by the id alone, of what the model answered."""
    without = disposition(degree, settings(*ask_when, rate=0), certificate, facts, one)
    found = disposition(degree, settings(*ask_when, rate=rate), certificate, facts, one)
    assert (found.by, found.why) == (without.by, without.why)
    assert not without.audit
    drew = found.by == "model" and not facts.failed and audited(one, rate)
    assert found.audit == drew
    if found.by == "model":
        assert (found.selection, found.probability) == (Selection.AUDIT if drew else None, rate)


@given(st.sampled_from(Degree), CERTIFICATES, FACTS, IDS)
def test_one_prediction_is_always_disposed_of_alike(
    degree: Degree, certificate: Certificate | None, facts: Facts, one: str
) -> None:
    """In each worker, and at each retry."""
    automation = settings({"drift": True})
    assert disposition(degree, automation, certificate, facts, one) == disposition(
        degree, automation, certificate, replace(facts), one
    )


@pytest.mark.parametrize(
    ("facts", "selection", "why"),
    [
        (Facts(score=0.71), Selection.UNSURE, ("score 0.71 below 0.9",)),
        (Facts(), Selection.UNSURE, ("no score",)),
        (Facts(score=1.0, failed=True, drift=True), Selection.UNSURE, ("the model failed",)),
        (Facts(score=1.0, drift=True), Selection.DRIFT, ("drift",)),
        (Facts(score=0.5, drift=True), Selection.DRIFT, ("score 0.5 below 0.9", "drift")),
        (Facts(score=1.0, arguments={"amount": 11}), Selection.UNSURE, ("amount above 10",)),
    ],
)
def test_why_a_person_is_asked(facts: Facts, selection: Selection, why: tuple[str, ...]) -> None:
    """While drift is latched all it sends has one flag; the threshold's words come first, and once."""
    automation = settings({"drift": True}, {"above": {"amount": 10}}, {"score_below": "threshold"})
    found = disposition(Degree.PARTIAL, automation, Certificate(), facts, "7")
    assert (found.by, found.selection, found.why) == ("person", selection, why)


def test_a_number_of_one_s_own_replaces_no_certificate() -> None:
    """What was certified for nothing lets nothing through, and the certified threshold always holds."""
    facts = Facts(score=0.8)
    automation = settings({"score_below": 0.5})
    for certificate in (None, Certificate(None), Certificate(0.9)):
        assert disposition(Degree.PARTIAL, automation, certificate, facts, "7").by == "person"
    assert disposition(Degree.PARTIAL, automation, Certificate(0.7), facts, "7").by == "model"


def test_thresholds_by_class() -> None:
    """A class for which none was certified is people's."""
    certificate = Certificate(0.1, {"benign": 0.9})
    found = [threshold_for(certificate, label) for label in ("benign", "malignant", None)]
    assert found == [0.9, None, None]
    assert threshold_for(None, "benign") is None


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.1, 0.5])
def test_draws_have_the_rate_that_they_say(rate: float) -> None:
    """Within four standard errors of 200 000 ids; a larger rate draws these and more."""
    ids = [f"0198-{number:032x}" for number in range(200_000)]
    some = {one for one in ids if audited(one, rate)}
    assert abs(len(some) / len(ids) - rate) < 4 * math.sqrt(rate * (1 - rate) / len(ids))
    assert some <= {one for one in ids if audited(one, min(1.0, 2 * rate))}


def test_draws_are_independent_of_each_other() -> None:
    """Who is audited is blind, or reviewed twice, no more often than others are."""
    ids = [str(number) for number in range(100_000)]
    for one, other in ((audited, overlaps), (overlaps, hides), (audited, hides)):
        both = sum(one(each, 0.1) and other(each, 0.1) for each in ids) / len(ids)
        assert abs(both - 0.01) < 4 * math.sqrt(0.01 * 0.99 / len(ids))


@given(IDS, st.text())
def test_all_or_none(one: str, salt: str) -> None:
    """Rate 0 never draws, rate 1 always."""
    assert not drawn(salt, one, 0.0)
    assert drawn(salt, one, 1.0)
