"""Certified thresholds, audits, agreement: what is promised, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import mmh3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bento_rollout.automation import (
    AuditTest,
    agreement_of,
    audited,
    audits_to_notice,
    audits_with,
    certify_groups,
    certify_threshold,
    cohen_kappa,
    coverage_grid,
    drawn,
    error_bound,
    krippendorff_alpha,
    labels_needed,
    risk_coverage,
    thinned,
)
from bento_rollout.automation.certify import binomial_tail
from bento_rollout.errors import InvalidValue


@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0.001, 0.999))
def test_the_tail_is_the_binomials(n: int, k: int, rate: float) -> None:
    """As scipy has it, down to the smallest chances."""
    found = binomial_tail(n, k, rate)
    if found < 1.0:
        assert found == pytest.approx(stats.binom.cdf(k, n, rate), rel=1e-6, abs=1e-12)
    else:
        assert stats.binom.cdf(k, n, rate) >= 0.5


@pytest.mark.parametrize(("target", "needed"), [(0.01, 299), (0.02, 149), (0.05, 59), (0.1, 29)])
def test_below_so_many_labels_nothing_is_certified(target: float, needed: int) -> None:
    """One label fewer is refused, and the refusal says that it is one; the last one certifies."""
    assert labels_needed(target) == needed
    few = certify_threshold([0.9] * (needed - 1), [False] * (needed - 1), [0.5], target)
    assert (few.threshold, few.labels_missing, few.accepted) == (None, 1, needed - 1)
    enough = certify_threshold([0.9] * needed, [False] * needed, [0.5], target)
    assert (enough.threshold, enough.labels_missing, enough.coverage) == (0.5, 0, 1.0)


def test_without_labels_all_are_missing() -> None:
    """Nothing is certified, and the whole number is named."""
    found = certify_threshold([], [], [0.9, 0.5], 0.02)
    assert (found.threshold, found.labels_missing, found.coverage) == (None, 149, 0.0)
    assert certify_threshold([0.5], [False], []).labels_missing == 149


def test_labels_that_are_missing_are_enough() -> None:
    """So many more, all right, and it is certified; one fewer, and it is not."""
    scores, wrong = [0.9] * 60, [True] * 2 + [False] * 58
    missing = certify_threshold(scores, wrong, [0.5], 0.05).labels_missing
    for more, certified in ((missing, True), (missing - 1, False)):
        found = certify_threshold(scores + [0.9] * more, wrong + [False] * more, [0.5], 0.05)
        assert (found.threshold is not None) is certified


def test_the_search_stops_at_the_first_that_fails() -> None:
    """A lower threshold that would pass by itself is not looked at: looking on is what costs the promise."""
    scores = [0.9] * 100 + [0.5] * 2000
    wrong = [True] * 5 + [False] * 95 + [False] * 2000
    assert certify_threshold(scores, wrong, [0.4], 0.02).threshold == 0.4
    assert certify_threshold(scores, wrong, [0.8, 0.4], 0.05).threshold is None


def test_nan_is_never_accepted() -> None:
    """A score that is none is not sure enough for anything."""
    found = certify_threshold([math.nan] * 50 + [0.9] * 200, [True] * 50 + [False] * 200, [-math.inf], 0.02)
    assert (found.threshold, found.accepted, found.errors) == (-math.inf, 200, 0)
    assert coverage_grid([math.nan, 0.5]).tolist() == [0.5]
    assert len(coverage_grid([])) == 0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=300),
    st.sampled_from([0.02, 0.05, 0.2]),
)
def test_what_is_certified_passes_its_own_test(cases: list[tuple[float, bool]], target: float) -> None:
    """The threshold is of the grid, its numbers are those of the table, and its chance is small enough."""
    scores, wrong = [score for score, _ in cases], [bad for _, bad in cases]
    grid = coverage_grid(scores)
    found = certify_threshold(scores, wrong, grid, target)
    if found.threshold is None:
        assert found.labels_missing > 0
        return
    row = next(row for row in risk_coverage(scores, wrong, grid, target) if row.threshold == found.threshold)
    assert (row.accepted, row.errors, row.coverage) == (found.accepted, found.errors, found.coverage)
    assert row.p <= 0.05 + 1e-12
    assert row.bound <= target + 1e-9
    assert found.labels_missing == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_error": 0}, "target_error is 0"),
        ({"target_error": True}, "target_error is True"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"grid": [0.5, 0.9]}, "from high to low"),
        ({"grid": [0.5, 0.5]}, "each threshold once"),
        ({"grid": [math.nan]}, "without NaN"),
        ({"wrong": [False]}, "scores has 2 entries, and wrong 1"),
        ({"wrong": [0.5, 1]}, "other values than true and false"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    """By name, with the value."""
    whole = {"scores": [0.1, 0.2], "wrong": [False, True], "grid": [0.9, 0.5], **settings}
    with pytest.raises(InvalidValue, match=words):
        certify_threshold(**whole)


def test_repeated_calibrations_keep_the_promise() -> None:
    """Of 200 calibrations at most 5 % exceed the target; "the lowest that looks good" does in a fourth."""
    random = np.random.default_rng(3)
    scores = random.random(20_000)
    wrong = random.random(20_000) < 0.15 * (1 - scores)
    violated = naive = 0
    for _ in range(200):
        sample = random.integers(20_000, size=600)
        grid = coverage_grid(scores[sample])
        found = certify_threshold(scores[sample], wrong[sample], grid, 0.05)
        if found.threshold is not None:
            violated += wrong[scores >= found.threshold].mean() > 0.05
        good = [bar for bar in grid if wrong[sample][scores[sample] >= bar].mean() <= 0.05]
        naive += wrong[scores >= min(good)].mean() > 0.05
    assert violated <= 200 * 0.05 + 2 * math.sqrt(200 * 0.05 * 0.95)
    assert naive > 50


def test_groups_share_the_chance_to_be_wrong() -> None:
    """Two classes: each is certified at half the chance, so it takes more labels; classes may be left out."""
    said = ["a"] * 59 + ["b"] * 80 + ["c"] * 5
    found = certify_groups([0.9] * 144, [False] * 144, said, {"a": 0.05, "b": 0.05})
    assert found["a"].threshold is None
    assert found["a"].labels_missing == labels_needed(0.05, 0.975) - 59
    assert found["b"].threshold == 0.9
    assert set(found) == {"a", "b"}
    assert set(certify_groups([0.9] * 144, [False] * 144, said, 0.05)) == {"a", "b", "c"}
    with pytest.raises(InvalidValue, match="groups has 1 entries"):
        certify_groups([0.9, 0.8], [False, True], ["a"], 0.05)


def test_a_bound_is_clopper_and_pearsons() -> None:
    """As scipy has it; of nothing, or of nothing but errors, it is 1."""
    assert error_bound(200, 3) == pytest.approx(stats.beta.ppf(0.95, 4, 197), rel=1e-6)
    assert error_bound(0, 0) == error_bound(3, 3) == 1.0


# -- audits --------------------------------------------------------------------------------------------------


def test_a_draw_is_the_same_everywhere() -> None:
    """Known ids: whoever recomputes it elsewhere gets the same."""
    ids = [f"01a21cf9-5af8-7b9e-9ba7-{number:012x}" for number in range(2000)]
    assert [place for place, one in enumerate(ids) if audited(one, 0.002)] == [
        place for place, one in enumerate(ids) if drawn("audit", one, 0.002)
    ]
    assert all(audited(one, 1.0) and not audited(one, 0.0) for one in ids)
    assert {one for one in ids if audited(one, 0.01)} <= {one for one in ids if audited(one, 0.05)}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1))
def test_a_draw_is_by_the_hash_of_its_id(prediction_id: str, rate: float) -> None:
    """The first half of Murmur3's 128 bits: the same cases are audited from version to version."""
    number = mmh3.hash64(f"audit:{prediction_id}", 0, signed=False)[0]
    assert audited(prediction_id, rate) == audits_with(rate)(prediction_id) == (number < rate * 2**64)


def test_thinning_leaves_equal_chances() -> None:
    """Of cases that were certain to be asked about as many are kept as of those drawn at 2 %."""
    ids = [f"case-{number}" for number in range(50_000)]
    kept = thinned(ids, [1.0, 0.02] * 25_000)
    assert all(kept[1::2])
    assert 400 < sum(kept[::2]) < 600
    with pytest.raises(InvalidValue, match="chance of 0"):
        thinned(["a"], [0.0])


@pytest.mark.simulation
def test_audits_keep_quiet_while_the_error_is_what_was_certified() -> None:
    """At the target itself at most 5 % of 200 models are demoted within 2 000 audits."""
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(200):
        test = AuditTest(0.05)
        for wrong in random.random(2000) < 0.05:
            test = test.update(wrong=bool(wrong))
        alarms += test.alarm
    assert alarms <= 10 + 2 * math.sqrt(10)


@pytest.mark.simulation
def test_a_worse_model_is_found_out() -> None:
    """Three times the target: within the audits that are promised, also after a long good time."""
    random = np.random.default_rng(5)
    for good, most in ((0, 480), (5000, 1000)):
        late = 0
        for _ in range(20):
            test = AuditTest(0.02)
            for wrong in random.random(good) < 0.005:
                test = test.update(wrong=bool(wrong))
            began = test.audits
            while not test.alarm and test.audits - began < most:
                test = test.update(wrong=bool(random.random() < 0.06))
            late += not test.alarm
        assert late <= 3
    assert audits_to_notice(0.02, 3.0) == 199
    assert audits_to_notice(0.02, 1.0) is None


@given(st.lists(st.booleans(), max_size=200))
def test_a_stored_audit_goes_on_as_it_was(audits: list[bool]) -> None:
    """Stored and read at any time; an alarm stays."""
    test = AuditTest(0.1)
    for wrong in audits:
        before = test.alarm
        test = AuditTest.from_dict(test.to_dict()).update(wrong=wrong)
        assert test.alarm >= before
    straight = AuditTest(0.1)
    for wrong in audits:
        straight = straight.update(wrong=wrong)
    assert straight == test
    assert (test.audits, test.errors) == (len(audits), sum(audits))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("epochs", 7, "cannot be"),
        ("errors", 3, "cannot be"),
        ("audits", -1, "audits is -1"),
        ("factors", [2.0], "start anew"),
        ("logs", [0.0], "list of 5 numbers"),
        ("alarm", 1, "alarm is 1"),
        ("target_error", 0.97, "below 0.95"),
        ("more", 1, "no field 'more'"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_stored_audit_of_other_settings_is_refused(field: str, value: object, words: str) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidValue, match=words):
        AuditTest.from_dict({**AuditTest(0.1).to_dict(), field: value})


# -- agreement -----------------------------------------------------------------------------------------------


def test_known_coefficients() -> None:
    """Kappa of the textbook's table, and alpha by hand, with missing answers and a case of one answer."""
    first, second = ["y"] * 25 + ["n"] * 25, ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    units = [(1, 1), (2, 2), (3, 3, 3), (3, 3, 4), (1, 1), (4, 4, 4), (2,)]
    counts = {1: 4, 2: 2, 3: 5, 4: 4}
    whole = sum(counts.values())
    apart = (9 - 5) / 2
    expected = 1 - (whole - 1) * apart / (whole**2 - sum(n**2 for n in counts.values()))
    assert krippendorff_alpha(units) == pytest.approx(expected)


def test_agreement_warns_where_its_numbers_say_little() -> None:
    """Few cases, and one answer nearly always; then 2 raw - 1 stands beside it."""
    few = agreement_of([("yes", "yes")] * 10)
    assert few.units == 10
    assert "only 10 cases" in few.warnings[0]
    skewed = agreement_of([("no", "no")] * 98 + [("no", "yes")] * 2)
    assert any("99% of the answers" in words for words in skewed.warnings)
    assert skewed.kappa < 0.1
    assert skewed.twice > 0.9
    assert agreement_of([]).units == 0
    assert math.isnan(agreement_of([("a",)]).raw)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=3), min_size=1, max_size=40))
def test_intervals_are_around_raw_agreement(units: list[list[str]]) -> None:
    """Always within 0 and 1, the same for the same cases, and 1 for those who always agree."""
    found = agreement_of(units, resamples=50)
    low, high = found.raw_interval
    assert 0 <= low <= high <= 1
    assert repr(found) == repr(agreement_of(units, resamples=50))
    same = agreement_of([[unit[0]] * 2 for unit in units], resamples=20)
    assert same.raw == 1.0
