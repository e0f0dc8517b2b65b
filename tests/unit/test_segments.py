"""Segments of the traffic: how a spec names them, what they certify, and who answers a call in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.asking import Facts
from bento_rollout.automating import Automation
from bento_rollout.automation import certify_groups, certify_threshold, coverage_grid, labels_needed
from bento_rollout.calibrating import Calibration, calibrated
from bento_rollout.degrees import Degree
from bento_rollout.disposing import disposition
from bento_rollout.errors import InvalidSpec, InvalidValue, Refused
from bento_rollout.ladder import Certificate
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.refuting import refutation
from bento_rollout.reviewing import Selection
from bento_rollout.segments import Segments
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import RolloutState
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.reviewed import Queue, said
from tests.unit.degrees import (
    DIGESTS,
    REVIEW,
    Seen,
    answer,
    automation,
    certificate,
    certified,
    first,
    ladder,
)
from tests.unit.door import Say
from tests.unit.test_degree_verbs import card
from tests.unit.workers import Join

ICU, ER = "ward=icu", "ward=er"
WARDS = {"ward": ["icu", "er"]}
Serve = Callable[..., Rollout]


# -- as a spec names them -----------------------------------------------------------------------------------


def test_each_combination_is_a_segment() -> None:
    """Named by arguments and values, in the order of the spec."""
    by = Segments.parse({"ward": ["icu", "er"], "patient.child": [True, False]})
    assert by.names == (
        "ward=icu, patient.child=true",
        "ward=icu, patient.child=false",
        "ward=er, patient.child=true",
        "ward=er, patient.child=false",
    )
    assert by.arguments == ("ward", "patient")
    assert Segments.parse(by.plain) == by


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ward", "'ward' names no segment: write arguments with values"),
        ({}, "{} names no segment"),
        ({"ward": "icu"}, "'icu' is no list of values"),
        ({"ward": []}, r"\[\] is no list of values"),
        ({"2": ["icu"]}, "'2' is no argument"),
        ({"ward": [None]}, "None is not a text"),
        ({"ward": ["icu", "icu"]}, "segment ward=icu stands twice"),
        ({"ward": ["1", 1]}, "segment ward=1 stands twice"),
        ({"age": list(range(51))}, "more than 50 segments"),
        ({"age": list(range(10)), "ward": list("abcdef")}, "more than 50 segments"),
    ],
)
def test_what_names_no_segments(value: object, told: str) -> None:
    """Each refusal says what was written, and what to write."""
    with pytest.raises(InvalidValue, match=told):
        Segments.parse(value)
    with pytest.raises(InvalidSpec, match=rf"automation\.read\.segments.*{told}"):
        RolloutSpec.parse(automation("assist", segments=value))


def test_very_many_combinations_are_refused_at_once() -> None:
    """They are not even counted."""
    with pytest.raises(InvalidValue, match="more than 50"):
        Segments.parse({f"a{n}": list(range(1000)) for n in range(40)})


@pytest.mark.parametrize("target", [None, {"benign": 0.05, "malignant": 0.01}])
def test_segments_need_one_target(target: object) -> None:
    """Classes have targets of their own, and without any there is nothing to certify."""
    more = {"max_degree": "assist"} if target is None else {}
    with pytest.raises(InvalidSpec, match=r"automation\.read\.segments: each segment is promised one"):
        RolloutSpec.parse(automation("assist", segments=WARDS, target_error=target, **more))


class Ward(Enum):
    """A member is its value."""

    ER = "er"


class Odd:
    """An input that raises when it is looked at."""

    @property
    def ward(self) -> str:
        """Raise."""
        raise RuntimeError


@pytest.mark.parametrize(
    ("arguments", "segment"),
    [
        ({"ward": "icu"}, ICU),
        ({"ward": Ward.ER}, ER),
        ({"ward": np.str_("er")}, ER),
        ({"ward": "ICU"}, ""),
        ({"ward": None}, ""),
        ({"ward": ["icu"]}, ""),
        ({"ward": np.array(["icu", "er"])}, ""),
        ({}, ""),
    ],
)
def test_which_segment_a_call_is_in(arguments: Mapping[str, Any], segment: str) -> None:
    """Exactly what the spec names, and nothing else."""
    assert Segments.parse(WARDS).of(arguments) == segment


def test_paths_and_odd_inputs() -> None:
    """An attribute counts as well, and one that raises is in no segment; a truth value is no number."""
    by = Segments.parse({"patient.ward": ["icu"]})
    assert by.of({"patient": SimpleNamespace(ward="icu")}) == "patient.ward=icu"
    assert by.of({"patient": {"ward": "icu"}}) == "patient.ward=icu"
    assert by.of({"patient": Odd()}) == ""
    assert Segments.parse({"n": [1]}).of({"n": True}) == ""
    assert Segments.parse({"n": [1]}).of({"n": 1.0}) == "n=1"


VALUES = (
    st.none() | st.booleans() | st.integers(-2, 60) | st.floats() | st.text(max_size=3) | st.lists(st.text())
)


@given(st.dictionaries(st.sampled_from(["ward", "age"]), VALUES))
def test_only_what_the_spec_names_is_ever_told(arguments: dict[str, Any]) -> None:
    """Whatever a caller sends: no value of an input is written down that the spec does not have."""
    by = Segments.parse({"ward": ["icu", ""], "age": [1, 2]})
    assert by.of(arguments) in (*by.names, "")


# -- calibration --------------------------------------------------------------------------------------------


def calibrate(cases: list[Seen], segments: tuple[str, ...] = (ICU, ER), **allows: Any) -> Calibration:
    """Calibrate the champion of the tests by segment."""
    allowed = ladder(segments=segments, **allows)
    return calibrated(cases, allowed, "read", "logistic", "1" * 12, author="ann", at=2000.0)


def seen(count: int, segment: str | None, **changes: Any) -> list[Seen]:
    """Answered cases of a segment."""
    return [Seen(f"{segment}-{number}-{changes}", segment=segment, **changes) for number in range(count)]


def test_each_segment_has_a_threshold_of_its_own() -> None:
    """One that is not certified has none, nor what is in no segment; it is never all of the traffic."""
    found = calibrate([*seen(300, ICU), *seen(300, ER, wrong=True), *seen(50, "")])
    kept = found.certificate
    assert kept is not None
    assert (kept.threshold, kept.by_class, kept.by_segment) == (None, {}, {ICU: 0.99})
    assert (kept.labels, kept.accepted, kept.errors, kept.coverage) == (650, 300, 0, 300 / 650)
    assert (found.found[ER].threshold, found.cases) == (None, {ICU: 300, ER: 300})
    assert kept.targets == {ICU: 0.02}
    everywhere = calibrate([*seen(300, ICU), *seen(300, ER)]).certificate
    assert everywhere is not None
    assert (everywhere.full, everywhere.allows) == (False, Degree.PARTIAL)


def test_the_chance_to_be_wrong_is_split_over_the_segments() -> None:
    """All promises hold together, however many there are: each takes more labels."""
    needed = labels_needed(0.02, 0.975)
    assert (needed, labels_needed(0.02)) == (183, 149)
    assert calibrate(seen(needed - 1, ICU)).certificate is None
    found = calibrate(seen(needed, ICU))
    assert found.certificate is not None
    assert found.least == needed
    assert calibrate(seen(needed - 1, ICU)).labels_missing == 1


def test_cases_of_before_the_segments_are_left_out() -> None:
    """Nobody wrote down which one they were in; and those of another segment count for no other."""
    found = calibrate([*seen(300, None), *seen(200, ICU), *seen(300, "ward=old")])
    assert found.left_out == {"asked before the spec named segments": 300}
    assert found.cases == {ICU: 200, ER: 0}
    assert found.certificate is not None
    assert found.certificate.labels == 500


def test_plain_data_has_segments_apart_from_classes() -> None:
    """Programs see which of the two it is."""
    document = json.loads(json.dumps(calibrate(seen(300, ICU)).plain, allow_nan=False))
    assert document["classes"] == {}
    assert document["segments"][ICU]["threshold"] == 0.99
    assert document["segments"][ER]["labels_missing"] == labels_needed(0.02, 0.975)
    assert document["certificate"]["by_segment"] == {ICU: 0.99}


CASES = st.lists(
    st.builds(
        Seen,
        prediction_id=st.uuids().map(str),
        score=st.sampled_from([None, 0.5, 0.7, 0.9, 0.95]),
        wrong=st.sampled_from([False] * 9 + [True]),
        segment=st.sampled_from([ICU, ER, "ward=ent", "", None]),
    ),
    min_size=20,
    max_size=200,
)


@given(CASES)
def test_what_is_certified_for_a_segment_is_what_its_own_cases_certify(cases: list[Seen]) -> None:
    """Exactly the fixed sequence over its cases, at its part of the chance; no other case has a say."""
    names = (ICU, ER, "ward=ent")
    found = calibrate(cases, names, target_error=0.2)
    for name in names:
        mine = [one for one in cases if one.segment == name]
        scores = [float("nan") if one.score is None else one.score for one in mine]
        wrong = [one.wrong for one in mine]
        alone = certify_threshold(scores, wrong, coverage_grid(scores), 0.2, 1 - 0.05 / 3)
        assert found.found[name].threshold == alone.threshold
        kept = {} if found.certificate is None else found.certificate.by_segment
        assert kept.get(name) == alone.threshold
    assert found.certificate is None or set(found.certificate.by_segment) <= set(names)


def test_the_promise_holds_in_all_segments_at_once() -> None:
    """Where no threshold keeps it, hardly any of many runs certifies any segment at all; a good one is."""
    names, runs, good, bad = [f"ward={one}" for one in "abcd"], 400, 0, 0
    chance = np.random.default_rng(7)
    for _ in range(runs):
        groups, scores = chance.choice(names, 1600), chance.random(1600)
        wrong = chance.random(1600) < np.where(groups == names[0], 0.0, 0.055)
        found = certify_groups(scores, wrong, list(groups), dict.fromkeys(names, 0.05))
        held = {name for name, one in found.items() if one.threshold is not None}
        good += names[0] in held
        bad += bool(held - {names[0]})
    assert bad <= runs * 0.05 + 2 * (runs * 0.05 * 0.95) ** 0.5
    assert good == runs


# -- who answers --------------------------------------------------------------------------------------------

BY = Automation(degree="assist", target_error="2%", segments=WARDS, audit={"rate": 0}, review=REVIEW)


@given(
    st.sampled_from([None, "icu", "er", "ent"]),
    st.none() | st.floats(0, 1),
    st.dictionaries(st.sampled_from([ICU, ER, "ward=old"]), st.floats(0, 1), min_size=1),
)
def test_the_model_answers_exactly_above_its_segments_threshold(
    ward: str | None, score: float | None, by_segment: dict[str, float]
) -> None:
    """A segment without a threshold, and a call in none, go to a person."""
    kept = certificate(threshold=None, by_segment=by_segment)
    facts = Facts(score=score, arguments={"ward": ward})
    found = disposition(Degree.PARTIAL, BY, kept, facts, "7")
    least = by_segment.get(f"ward={ward}") if ward in ("icu", "er") else None
    assert (found.by == "model") == (score is not None and least is not None and score >= least)
    if least is None:
        assert found.why == ("no threshold is certified",)
        assert found.selection is Selection.UNSURE


def test_a_certificate_by_segment_says_nothing_where_the_spec_has_none() -> None:
    """The spec may have changed since: then people decide."""
    plain = Automation(degree="assist", target_error="2%", review=REVIEW)
    kept = certificate(threshold=None, by_segment={ICU: 0.1})
    facts = Facts(score=1.0, arguments={"ward": "icu"})
    assert disposition(Degree.PARTIAL, plain, kept, facts, "7").by == "person"


# -- certificates and their audits --------------------------------------------------------------------------


def test_old_certificates_are_read_and_new_ones_come_back() -> None:
    """A state that was stored before there were segments has certificates without any."""
    state = certified(first("assist"))
    stored = json.loads(json.dumps(state.model_dump(mode="json")))
    for one in stored["automation"]["read"]["certificates"]:
        del one["by_segment"]
    assert RolloutState.model_validate(stored) == state
    kept = certificate(threshold=None, by_segment={ICU: 0.8})
    assert Certificate.model_validate(json.loads(kept.model_dump_json())) == kept
    assert kept.allows is Degree.PARTIAL
    assert certificate().targets == {"": 0.02}


@pytest.mark.parametrize(
    ("segments", "by_segment", "asks"),
    [
        ((), {}, False),
        ((ICU,), {}, True),
        ((), {ICU: 0.9}, True),
        ((ICU, ER), {ICU: 0.9}, False),
        ((ER,), {ICU: 0.9}, True),
    ],
)
def test_when_a_spec_asks_more_than_was_certified(
    segments: tuple[str, ...], by_segment: dict[str, float], asks: bool
) -> None:
    """Other segments are other promises; one more of them goes to people until it is certified."""
    kept = certificate(threshold=None if by_segment else 0.9, by_segment=by_segment)
    assert ladder(segments=segments).asks_more(kept) is asks


def test_each_segment_is_watched_by_itself() -> None:
    """A segment that went bad is found out, however good the others are, and its numbers are told."""
    promise = certificate(threshold=None, by_segment={ICU: 0.9, ER: 0.9})
    good = [Seen(f"g{n}", selection=Selection.AUDIT, segment=ER, at=float(n)) for n in range(2000)]
    bad = [
        Seen(f"b{n}", wrong=n % 3 == 0, selection=Selection.AUDIT, segment=ICU, at=float(n))
        for n in range(90)
    ]
    nowhere = [Seen(f"n{n}", wrong=True, selection=Selection.AUDIT, segment=None) for n in range(90)]
    assert refutation([*good, *nowhere], promise) is None
    assert refutation([*good, *bad], promise) == (
        f"30 of 90 audits of {ICU} found the model wrong, and at most 2 % was certified"
    )


def test_the_store_keeps_a_cases_segment_and_feeds_its_test(tmp_path: Any) -> None:
    """Whether the test began before the answers, or after them; old cases have none."""
    queue = Queue(tmp_path / "store" / "screening")
    targets = {ICU: 0.02, ER: 0.02}

    def audit(segment: str | None, choice: str) -> None:
        queue.submit(selection=Selection.AUDIT, probability=0.1, suggestion=said("no"), segment=segment)
        queue.answer(queue.take("ann"), choice)

    for _ in range(3):
        audit(ICU, "yes")
    audit(None, "yes")
    queue.reviews.watch("read", "digest", targets)
    for _ in range(2):
        audit(ER, "no")
    audit("", "yes")
    found = {
        name: (test.audits, test.errors) for name, test in queue.reviews.audits("read", "digest").items()
    }
    assert found == {ICU: (3, 3), ER: (2, 0)}
    assert [one.segment for one in queue.reviews.judged("read")] == [ICU, ICU, ICU, None, ER, ER, ""]
    while not queue.reviews.alarmed("read", "digest"):
        audit(ICU, "yes")
        assert queue.reviews.audits("read", "digest")[ICU].audits < 200


# -- the verbs ----------------------------------------------------------------------------------------------


@pytest.fixture
def serve(store: SQLiteStore, join: Join) -> Serve:
    """Deploy a service that automates ``read`` by segment; returns the rollout as ann sees it."""

    def serve(**changes: Any) -> Rollout:
        spec = RolloutSpec.parse(automation("shadow", segments=WARDS, target_error="10%", **changes))
        open_state(store, "screening", "logistic", spec, DIGESTS)
        join(spec=card(spec))
        return open_rollout("screening", author="ann")

    return serve


def test_calibrate_status_and_explain(serve: Serve, say: Say, ask: Callable[..., Any]) -> None:
    """Each tells of the segments; partial may be set, and full may not."""
    rollout = serve()
    reviews = Reviews(rollout.reviews.path.parent, rollout="screening")
    for number in range(40):
        answer(reviews, number, segment=ICU)
        answer(reviews, 100 + number, segment=ER, right=number % 2 == 0)
    code, out, _ = say("automation", "screening", "explain")
    assert code == 0
    assert f"{ICU}: 40 cases, no threshold: people decide" in out
    code, out, _ = say("automation", "screening", "calibrate", "--author", "ann")
    assert code == 0
    assert f"{ICU}: score from 0.99: 0 errors in 40" in out
    assert f"{ER}: no threshold" in out
    row = ask("automation", "screening", "status")["read"]
    assert (row["segments"], row["certificate"]["by_segment"]) == ([ICU, ER], {ICU: 0.99})
    assert f"partial: {ICU} from 0.99" in say("automation", "screening", "status")[1].replace("\n", " ")
    assert f"{ICU}: 40 cases, score from 0.99" in say("automation", "screening", "explain")[1]
    assert ask("automation", "screening", "explain")["evidence"]["segments"] == {ICU: 40, ER: 40}
    assert rollout.history_rows(1)[0]["detail"][0].startswith(f"read: threshold {ICU} 0.99 certified")
    with pytest.raises(Refused):
        rollout.set_degree("read", "full")
    assert rollout.set_degree("read", "partial").changed


def test_other_segments_end_what_was_certified(serve: Serve, store: SQLiteStore) -> None:
    """A deployment whose segments are others falls to shadow, and says why."""
    rollout = serve()
    for number in range(40):
        answer(rollout.reviews, number, segment=ICU)
    assert rollout.calibrate().certificate is not None
    rollout.set_degree("read", "partial")
    spec = RolloutSpec.parse(automation("shadow", segments={"sex": ["f", "m"]}, target_error="10%"))
    open_state(store, "screening", "logistic", spec, DIGESTS)
    standing = rollout.state.automation["read"]
    assert (standing.degree, standing.reason) == (
        Degree.SHADOW,
        "the spec promises more now than was certified",
    )
