"""Calibration: which answers count, what may be promised, and an honest word where nothing may."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from bento_rollout.automation import audited
from bento_rollout.calibrating import Calibration, calibrated
from bento_rollout.errors import Refused
from bento_rollout.reviewing import Selection
from tests.unit.degrees import Seen, ladder


def calibrate(cases: Iterable[Seen], since: float = 0.0, **allows: Any) -> Calibration:
    """Calibrate the champion of the tests."""
    about = ("read", "logistic", "1" * 12)
    return calibrated(cases, ladder(**allows), *about, author="ann", at=2000.0, since=since)


def sure(count: int, **changes: Any) -> list[Seen]:
    """Cases that the model is sure of."""
    return [Seen(f"sure-{number}", **changes) for number in range(count)]


def unsure(count: int, **changes: Any) -> list[Seen]:
    """Cases that the model is unsure of, and has wrong every other time."""
    fields = {"score": 0.5, **changes}
    return [Seen(f"unsure-{number}", **{"wrong": number % 2 == 0, **fields}) for number in range(count)]


def test_a_good_model_is_certified_where_it_is_sure() -> None:
    """What is kept says what was seen, and what is promised."""
    found = calibrate([*sure(300), *unsure(100)])
    kept = found.certificate
    assert kept is not None
    assert (kept.threshold, kept.labels, kept.accepted, kept.errors) == (0.99, 400, 300, 0)
    assert (kept.coverage, kept.full, kept.target_error, kept.confidence) == (0.75, False, 0.02, 0.95)
    assert (kept.author, kept.at, kept.variant, kept.digest) == ("ann", 2000.0, "logistic", "1" * 12)
    assert (found.labels_missing, found.least) == (0, 149)
    assert found.words == "certified for 75.0% of the traffic: 0 errors in 300 accepted of 400 cases"


def test_a_model_that_is_right_everywhere_is_certified_for_all() -> None:
    """Only that supports degree full."""
    found = calibrate(sure(300))
    assert found.certificate is not None
    assert found.certificate.full
    assert "all of the traffic" in found.words


def test_a_case_without_a_score_is_never_accepted() -> None:
    """So a threshold never covers all of the traffic while there are such."""
    found = calibrate([*sure(300), Seen("odd", score=None)])
    assert found.certificate is not None
    assert not found.certificate.full
    assert found.scoreless == 1


@pytest.mark.parametrize(("count", "missing"), [(0, 149), (100, 49), (148, 1)])
def test_too_few_cases_are_refused_with_their_number(count: int, missing: int) -> None:
    """Nothing is kept, and nothing is made up."""
    found = calibrate(sure(count))
    assert (found.certificate, found.labels_missing) == (None, missing)
    assert f"at least {missing} more cases are missing" in found.words


def test_a_bad_model_is_refused_however_many_cases_there_are() -> None:
    """More answers do not make it better."""
    found = calibrate(unsure(2000))
    assert found.certificate is None
    assert found.labels_missing > 10_000


def test_classes_have_thresholds_of_their_own() -> None:
    """A class for which nothing holds has none: its cases go on to people."""
    cases = [*sure(400), *sure(400, label="malignant", wrong=True), *unsure(50)]
    found = calibrate(cases, target_error={"benign": 0.05, "malignant": 0.01})
    kept = found.certificate
    assert kept is not None
    assert (kept.threshold, kept.by_class) == (None, {"benign": 0.99})
    assert not kept.full
    assert found.found["malignant"].threshold is None
    assert kept.allows.word == "partial"


def test_only_answers_that_say_how_good_the_model_is_are_used() -> None:
    """Not those given with the suggestion in view, nor those that somebody asked for."""
    cases = [
        *sure(200),
        *sure(7, independent=False),
        *sure(5, selection=Selection.MANUAL),
        *sure(3, selection=Selection.DRIFT),
        *unsure(11, selection=Selection.UNSURE),
        *sure(2, at=10.0),
    ]
    found = calibrate(cases, since=500.0)
    assert found.used == {"all": 200}
    assert found.left_out == {
        "answered with the model's suggestion in view": 7,
        "asked for another reason: manual": 5,
        "asked for another reason: drift": 3,
        "unsure, without audits of the sure ones": 11,
        "before the audits refuted what was certified": 2,
    }


def test_audits_are_thinned_to_one_chance_with_the_unsure() -> None:
    """Beside a tenth of what it decided stands a tenth of what it did not, or the sure ones would be too few.

    The same cases are kept each time: nobody draws until it fits.
    """
    ids = [f"p{number}" for number in range(4000)]
    rate = 0.1
    audits = [Seen(one, selection=Selection.AUDIT, probability=rate) for one in ids if audited(one, rate)]
    doubtful = unsure(2000, selection=Selection.UNSURE)
    found = calibrate([*audits, *doubtful])
    assert found.used["audit"] == len(audits)
    assert 150 < found.used["unsure"] < 250
    assert found.left_out == {"thinned to one chance": 2000 - found.used["unsure"]}
    assert calibrate([*audits, *doubtful]).plain == found.plain
    assert found.certificate is not None
    assert 0.6 < found.certificate.coverage < 0.75


@pytest.mark.simulation
def test_the_promise_holds_at_degree_partial() -> None:
    """Audits and the unsure, drawn as a service draws them, certify a bad threshold in few of many runs."""
    violated = 0
    for seed in range(40):
        chance = random.Random(seed)
        cases = []
        for number in range(4000):
            score = chance.random()
            wrong = chance.random() < 0.12 * (1 - score)
            one = Seen(f"{seed}-{number}", score=score, wrong=wrong)
            if score < 0.8:
                cases.append(Seen(one.prediction_id, score, wrong, Selection.UNSURE))
            elif audited(one.prediction_id, 0.2):
                cases.append(Seen(one.prediction_id, score, wrong, Selection.AUDIT, 0.2))
        kept = calibrate(cases, target_error=0.03).certificate
        if kept is not None and kept.threshold is not None:
            violated += 0.12 * (1 - kept.threshold) / 2 > 0.03  # the mean error above the threshold
    assert violated <= 5


def test_a_spec_without_a_target_error_has_nothing_to_certify() -> None:
    """The error names the field."""
    with pytest.raises(Refused, match=r"automation\.read\.target_error: the spec has none"):
        calibrate(sure(300), target_error=None)


def test_plain_data_is_json() -> None:
    """With NaN left out, also where a threshold accepts nobody."""
    found = calibrate([*sure(300), *unsure(100), Seen("odd", score=None)])
    document = json.loads(json.dumps(found.plain, allow_nan=False))
    assert document["certified"] is True
    assert document["classes"][""]["table"][-1]["coverage"] == pytest.approx(400 / 401)
    assert json.loads(json.dumps(calibrate([]).plain, allow_nan=False))["labels_missing"] == 149
