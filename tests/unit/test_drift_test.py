"""The test of data drift: exact, stored whole, quiet where nothing changes, quick where something does."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from bento_rollout.drift import DriftTest, Reference, SegmentedTest
from bento_rollout.drift.drift_test import KEPT
from bento_rollout.drift.engine import DATA_BETS
from bento_rollout.drift.ranking import evidence_of, order_of
from bento_rollout.errors import InvalidValue

CANCER: NDArray[np.float64] = load_breast_cancer().data
SPREAD: NDArray[np.float64] = CANCER.std(axis=0)


def drawn(draw: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Rows of breast_cancer, each drawn by itself: 30 features that depend on each other."""
    return np.asarray(CANCER[draw.integers(0, len(CANCER), rows)], dtype=np.float64)


def shifted(rows: NDArray[np.float64], features: list[int], by: float = 0.5) -> NDArray[np.float64]:
    """Rows in which some features are higher by so many standard deviations."""
    moved: NDArray[np.float64] = rows.copy()
    moved[:, features] += by * SPREAD[features]
    return moved


SMALL = Reference.fit(np.random.default_rng(0).normal(size=(400, 4)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=4), st.integers(0, 2**64 - 1), st.integers(0, 2))
def test_splits_replays_and_restarts_change_nothing(cuts: list[int], seed: int, epoch: int) -> None:
    """Any split into calls, stored and read between any two of them, ends in the same bytes as one call."""
    rows = np.random.default_rng(7).normal(size=(300, 4)) + np.repeat([0.0, 0.4], 150)[:, None]
    start = DriftTest.of(SMALL, seed=seed, epoch=epoch)
    whole = start.update(rows)
    parts = start
    for first, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        parts = DriftTest.from_bytes(parts.update(rows[first:stop]).to_bytes(), SMALL)
    assert parts.to_bytes() == whole.to_bytes()
    assert parts.log_evidence == whole.log_evidence
    assert parts.log_peak == whole.log_peak
    assert parts.features == whole.features
    assert start.rows == 0


def test_quiet_streams_are_quiet() -> None:
    """Thirty streams of 3000 rows with a reference of 1000 rows: none alarms at 1 %, and none acts."""
    for seed in range(30):
        draw = np.random.default_rng(seed)
        test = DriftTest.fit(drawn(draw, 1000), alpha=0.01, seed=seed).update(drawn(draw, 3000))
        assert not test.alarm, (seed, test.log_peak)
        assert test.acting() == ()


def test_a_sudden_change_is_found_and_named() -> None:
    """Half a standard deviation in 3 of 30 features: soon, with names, direction, size and first row."""
    delays, named, since = [], [], []
    for seed in range(20):
        draw = np.random.default_rng(100 + seed)
        features = draw.choice(30, 3, replace=False).tolist()
        test = DriftTest.fit(drawn(draw, 1000), alpha=0.01, seed=seed).update(drawn(draw, 1000))
        while not test.alarm:
            test = test.update(shifted(drawn(draw, 5), features))
        delays.append(test.rows - 1000)
        first = test.features[0]
        named.append(
            len({each.name for each in test.features[:3]} & {f"feature_{each}" for each in features})
        )
        since.append(abs(first.since_row - 1000))
        assert first.direction == "higher"
        assert first.log_peak >= math.log(100)
        assert first.psi > 0.1
        assert [each.name for each in test.acting()] == [
            each.name for each in test.features if each.log_peak >= math.log(100) and each.psi >= 0.1
        ]
    assert np.median(delays) <= 110
    assert sorted(delays)[18] <= 180
    assert np.mean(named) / 3 >= 0.75
    assert np.median(since) <= 15


def test_an_alarm_is_latched() -> None:
    """It stays when the rows are as before again, until somebody begins anew."""
    draw = np.random.default_rng(0)
    changed = DriftTest.fit(drawn(draw, 1000)).update(shifted(drawn(draw, 300), [3], by=2.0))
    quiet = changed.update(drawn(draw, 20_000))
    assert changed.alarm
    assert quiet.alarm
    assert quiet.log_peak >= changed.log_peak > quiet.log_evidence
    anew = quiet.restarted()
    assert (anew.alarm, anew.rows, anew.epoch) == (False, 0, 1)
    assert anew.log_evidence == pytest.approx(-math.log(30))
    assert not anew.update(drawn(draw, 1000)).alarm
    assert anew.update(shifted(drawn(draw, 300), [3], by=2.0)).alarm


def test_a_rebased_test_takes_the_new_for_usual() -> None:
    """After a rebase on its recent rows the changed stream is quiet, and the old one is the change."""
    draw = np.random.default_rng(0)
    changed = DriftTest.fit(drawn(draw, 1000)).update(shifted(drawn(draw, 1500), [3], by=2.0))
    rebased = changed.rebased(1000)
    assert rebased.epoch == 1
    assert rebased.base.sum() == 1000 * 30
    quiet = rebased.update(shifted(drawn(draw, 3000), [3], by=2.0))
    assert not quiet.alarm
    back = rebased.update(drawn(draw, 300))
    assert back.alarm
    assert (back.features[0].name, back.features[0].direction) == ("feature_3", "lower")
    assert DriftTest.from_bytes(quiet.to_bytes(), quiet.reference).to_bytes() == quiet.to_bytes()
    for rows in (99, 1501):
        with pytest.raises(InvalidValue, match=f"a new reference of {rows} recent rows"):
            changed.rebased(rows)
    with pytest.raises(InvalidValue, match="a new reference of 0 recent rows"):
        DriftTest.of(changed.reference).rebased()


def test_recent_rows_outlive_an_epoch() -> None:
    """Who acknowledged an alarm may still rebase; histograms are of rows of the epoch alone."""
    draw = np.random.default_rng(0)
    anew = DriftTest.fit(drawn(draw, 1000)).update(drawn(draw, 500)).restarted()
    assert {each.rows for each in anew.features} == {0}
    assert {each.psi for each in anew.features} == {0.0}
    assert {each.rows for each in anew.update(drawn(draw, 40)).features} == {40}
    assert anew.rebased().base.sum() == 500 * 30


def test_many_small_calls_keep_the_last_rows() -> None:
    """One large call and many small ones keep the same rows."""
    rows = np.random.default_rng(0).normal(size=(2 * KEPT + 7, 4))
    once = DriftTest.of(SMALL).update(rows)
    often = DriftTest.of(SMALL)
    for first in range(0, len(rows), 130):
        often = often.update(rows[first : first + 130])
    assert len(once.recent) == KEPT
    assert often.to_bytes() == once.to_bytes()


def test_certain_is_not_large() -> None:
    """A tiny change becomes certain and does not act; the same evidence of a large one does."""
    draw = np.random.default_rng(0)
    tiny = DriftTest.fit(draw.normal(size=(20_000, 1))).update(draw.normal(0.12, 1, size=(15_000, 1)))
    assert tiny.alarm
    assert tiny.features[0].psi < 0.1
    assert tiny.acting() == ()
    assert [each.name for each in tiny.acting(psi=0.001)] == ["feature_0"]
    large = DriftTest.fit(draw.normal(size=(1000, 1))).update(draw.normal(1.5, 1, size=(60, 1)))
    assert large.alarm
    assert large.acting() == ()  # 60 rows say little of a size
    assert large.acting(min_rows=50) != ()


def test_the_size_is_taken_since_the_change() -> None:
    """A change that is 150 rows old is measured on about these, not on all that are kept before it."""
    draw = np.random.default_rng(0)
    test = DriftTest.fit(drawn(draw, 1000)).update(drawn(draw, 5000))
    changed = test.update(shifted(drawn(draw, 150), [3], by=1.0)).features[0]
    assert changed.name == "feature_3"
    assert 130 <= changed.rows <= 170
    assert sum(changed.recent_histogram) == changed.rows
    assert sum(changed.reference_histogram) == 750
    assert len(changed.labels) == len(changed.reference_histogram) == 17
    much = test.update(shifted(drawn(draw, 9000), [3], by=1.0))
    assert much.features[0].rows == KEPT
    assert len(much.recent) == KEPT


def test_missing_values_are_drift() -> None:
    """A column that goes missing, or is lost, drifts; it counts as low, and the loss is told apart."""
    draw = np.random.default_rng(0)
    test = DriftTest.fit({"a": draw.normal(size=1000), "b": draw.normal(size=1000)})
    gone = test.update({"a": [None] * 200, "b": draw.normal(size=200)})
    assert gone.alarm
    assert (gone.features[0].name, gone.features[0].direction) == ("a", "lower")
    lost = test.update({"b": draw.normal(size=200)}).update({"b": draw.normal(size=100)})
    assert lost.alarm
    assert [(alarm.kind, alarm.feature, alarm.count) for alarm in lost.schema] == [("lost", "a", 300)]


def test_infinite_values_are_refused_and_counted() -> None:
    """They count as missing; the test goes on, finite."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(50, 4))
    rows[:7, 2] = math.inf
    test = DriftTest.of(SMALL).update(rows).update(rows)
    assert test.refused == 14
    assert [(alarm.kind, alarm.feature, alarm.count) for alarm in test.schema] == [
        ("infinite", "feature_2", 14)
    ]
    assert np.isfinite(test.log_evidence)
    assert DriftTest.from_bytes(test.to_bytes(), SMALL).schema == test.schema


def test_categories_drift() -> None:
    """A rare category that becomes frequent, and new ones, are found."""
    draw = np.random.default_rng(0)
    test = DriftTest.fit({"region": draw.choice(["n", "s", "w"], 1000, p=[0.7, 0.25, 0.05]).tolist()})
    quiet = test.update({"region": draw.choice(["n", "s", "w"], 3000, p=[0.7, 0.25, 0.05]).tolist()})
    assert not quiet.alarm
    assert quiet.update({"region": draw.choice(["n", "s", "w"], 300, p=[0.4, 0.25, 0.35]).tolist()}).alarm
    new = quiet.update({"region": ["e"] * 100})
    assert new.alarm
    assert [(alarm.kind, alarm.count) for alarm in new.schema] == [("category", 100)]


def test_embeddings_and_texts_drift() -> None:
    """Vectors that turn elsewhere, and texts that become longer."""
    draw = np.random.default_rng(0)
    centre = draw.normal(size=(1, 40)) * 3

    def rows() -> dict[str, Any]:
        numbers = draw.integers(0, 10**6, 1500).tolist()
        return {"v": draw.normal(size=(1500, 40)) + centre, "t": [f"{n} " * (1 + n % 9) for n in numbers]}

    test, quiet = DriftTest.fit(rows()), rows()
    assert not test.update(quiet).alarm
    turned = test.update(quiet | {"v": draw.normal(size=(1500, 40)) - centre / 4})
    assert turned.alarm
    assert turned.features[0].name.startswith("v.")
    longer = test.update(quiet | {"t": [text * 2 for text in quiet["t"]]})
    assert longer.alarm
    assert longer.features[0].name == "t.length"


def test_what_moved_with_the_first_is_named_beside_it() -> None:
    """At the alarm one of three is certain; the rows since its change name the others."""
    named, strongest = [], []
    for seed in range(20):
        draw = np.random.default_rng(300 + seed)
        features = draw.choice(30, 3, replace=False).tolist()
        test = DriftTest.fit(drawn(draw, 1000), seed=seed).update(drawn(draw, 1000))
        while not test.alarm:
            test = test.update(shifted(drawn(draw, 1), features))
        found = test.features
        moved = {f"feature_{place}" for place in features}
        named.append(len(moved & {one.name for one in found[:3]}))
        by_evidence = sorted(found, key=lambda one: -one.log_evidence)
        strongest.append(len(moved & {one.name for one in by_evidence[:3]}))
        assert found[0].log_evidence == max(one.log_evidence for one in found) == test.log_evidence
    assert np.mean(named) / 3 >= 0.9
    assert np.mean(np.equal(named, 3)) >= 0.75 > np.mean(np.equal(strongest, 3))


def test_most_evidence_comes_first_where_nothing_is_certain() -> None:
    """Before an alarm, and when what was certain is not any more; and ever where nothing else moved."""
    draw = np.random.default_rng(5)
    test = DriftTest.fit(drawn(draw, 1000)).update(drawn(draw, 500))
    changed = test.update(shifted(drawn(draw, 300), [3], by=2.0))
    over = changed.update(drawn(draw, 20_000))
    assert changed.log_evidence > math.log(100) > over.log_evidence
    for each in (test, changed, over):
        logs = [one.log_evidence for one in each.features]
        assert logs == sorted(logs, reverse=True)


def test_order_of_features() -> None:
    """Certain ones by evidence; then what the same rows speak for, by that; then the others by evidence."""
    logs, beside = np.array([5.0, 7.0, 4.0, -1.0, -2.0]), np.array([9.0, 8.0, -0.6, 6.0, -0.8])
    assert order_of(logs, beside, enough=4.6).tolist() == [1, 0, 3, 2, 4]
    assert order_of(logs, beside, enough=7.5).tolist() == [1, 0, 2, 3, 4]
    assert order_of(np.zeros(3), np.zeros(3), enough=4.6).tolist() == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=30), st.booleans())
def test_evidence_of_rows_is_what_its_definition_says(rows: list[tuple[int, int]], single: bool) -> None:
    """The mean of what bets win on the middle of each value's bin, ranked among what came before."""
    before = np.array([[[3, 1, 0, 4]], [[0, 0, 0, 0]]])
    counts = before.copy()
    for each, stratum in rows:
        counts[stratum, 0, each] += 1
    won = np.zeros((len(DATA_BETS), 1))
    for each, stratum in rows:
        known = before[stratum, 0]
        rank = (known[each + 1 :].sum() + known[each] / 2) / known.sum() if known.sum() else 0.5
        won += np.log(DATA_BETS.of(np.array([[rank]]))[0])
    playing = won[: len(DATA_BETS.tilt)] if single else won
    bins, strata = np.array([[each] for each, _ in rows], np.uint8), np.array([one for _, one in rows])
    found = evidence_of(counts, bins, strata, np.array([single]))
    assert found.tolist() == pytest.approx([math.log(np.exp(playing).mean())], abs=1e-9)


def test_cycles_are_drift_unless_rows_are_compared_within_them() -> None:
    """A daily cycle alarms; compared with rows of the same hour it is quiet, and a change is still found."""
    draw = np.random.default_rng(0)

    def day(rows: int, first: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        hours = (first + np.arange(rows)) // 50 % 24
        return (draw.normal(size=rows) + 2 * np.sin(hours / 24 * 2 * np.pi))[:, None], hours

    before, hours = day(6000, 0)
    stratified = DriftTest.of(Reference.fit(before, strata=hours))
    rows, hours = day(6000, 6000)
    assert DriftTest.fit(before).update(rows).alarm
    quiet = stratified.update(rows, hours)
    assert not quiet.alarm
    assert quiet.update(rows[:1000] + 1.5, hours[:1000]).alarm
    assert DriftTest.from_bytes(quiet.to_bytes(), quiet.reference).to_bytes() == quiet.to_bytes()
    unknown = quiet.update(rows[:10], hours[:10] + 100)  # a stratum that the reference has not begins empty
    assert unknown.counts.shape[0] == 101 + int(hours[:10].max())
    with pytest.raises(InvalidValue, match="strata are 10 whole numbers from 0"):
        quiet.update(rows[:10], hours[:9])


def in_hours(
    draw: np.random.Generator, days: int, hours: int = 24
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Fifty rows an hour, far apart from those of the other hours."""
    of = np.tile(np.repeat(np.arange(hours), 50), days)
    return (draw.normal(size=len(of)) + 2 * np.sin(of / hours * 2 * np.pi))[:, None], of


def test_a_rebase_keeps_rows_in_their_strata() -> None:
    """What comes now is the reference of each hour by itself: quiet where nothing changes."""
    draw = np.random.default_rng(0)
    before, of = in_hours(draw, 3)
    test = DriftTest.of(Reference.fit(before, strata=of))
    rows, of = in_hours(draw, 2)
    after = test.update(rows, of)
    for each in (after, DriftTest.from_bytes(after.to_bytes(), after.reference)):
        rebased = each.rebased()
        assert rebased.base.sum() == KEPT
        assert rebased.base.sum(axis=(1, 2)).tolist() == np.bincount(of[-KEPT:], minlength=24).tolist()
        later, hours = in_hours(draw, 4)
        assert not rebased.update(later, hours).alarm
        assert rebased.update(later + 1.0, hours).alarm
        with pytest.raises(InvalidValue, match="these rows have no strata"):
            each.rebased_on(each.recent)


def test_the_size_of_a_change_is_that_within_its_strata() -> None:
    """A small change in a cycle is certain in the end, and not large: an hour is compared with that hour."""
    draw = np.random.default_rng(1)
    before, of = in_hours(draw, 20)
    test = DriftTest.of(Reference.fit(before, strata=of))
    rows, of = in_hours(draw, 40)
    after = test.update((rows + 0.15)[: -50 * 18], of[: -50 * 18])  # ends at the top of the cycle
    assert after.alarm
    assert after.features[0].psi < 0.1
    assert after.acting() == ()
    large = test.update(rows[: 50 * 6] + 1.5, of[: 50 * 6])
    assert [one.name for one in large.acting()] == ["feature_0"]
    told = large.features[0]
    assert sum(told.recent_histogram) == told.rows


def test_rows_of_a_stratum_without_a_reference_have_no_size() -> None:
    """They are ranked among themselves, and compared with nothing."""
    draw = np.random.default_rng(2)
    before, of = in_hours(draw, 5)
    test = DriftTest.of(Reference.fit(before, strata=of)).update(before[:300], of[:300] + 100)
    assert (test.features[0].rows, test.features[0].psi) == (0, 0.0)
    assert sum(test.features[0].reference_histogram) == test.reference.rows
    assert test.rebased().base.shape[0] == 106


@pytest.mark.parametrize(
    ("settings_", "why"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 0.6}, "alpha is 0.6"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": "1%"}, "alpha is '1%'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"weights": {"feature_9": 1.0}}, "weights names 'feature_9'"),
        ({"weights": {"feature_0": 0.0}}, "the weight of 'feature_0' is 0.0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings_: dict[str, object], why: str) -> None:
    """By its name, and with its value."""
    with pytest.raises(InvalidValue, match=why):
        DriftTest.of(SMALL, **settings_)  # type: ignore[arg-type]


def test_weights_share_alpha() -> None:
    """A feature with more weight needs less evidence; the weights sum to 1."""
    test = DriftTest.of(SMALL, weights={"feature_1": 7.0})
    assert np.exp(test.log_weights).tolist() == pytest.approx([0.1, 0.7, 0.1, 0.1])
    assert test.log_mean == pytest.approx(0.0)
    assert DriftTest.from_bytes(test.to_bytes(), SMALL).log_weights.tolist() == test.log_weights.tolist()


def test_bins_of_another_reference_are_refused() -> None:
    """Of another width, of another type, or with a bin that is not there."""
    test = DriftTest.of(SMALL)
    for bins in (np.zeros((2, 5), np.uint8), np.zeros((2, 4)), np.zeros(4, np.uint8)):
        with pytest.raises(InvalidValue, match="bins are bytes, rows x 4 features"):
            test.update_encoded(bins)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="bin 200 is there; the reference has 17 bins"):
        test.update_encoded(np.full((1, 4), 200, np.uint8))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_state_is_refused(data: st.DataObject) -> None:
    """Whichever byte is another or cut off, it is told; never taken for evidence."""
    stored = DriftTest.of(SMALL).update(np.zeros((3, 4))).to_bytes()
    place = data.draw(st.integers(0, len(stored) - 1))
    if data.draw(st.booleans()):
        damaged = stored[:place]
    else:
        damaged = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
    with pytest.raises(InvalidValue):
        DriftTest.from_bytes(damaged, SMALL)


def test_a_state_of_another_kind_is_named() -> None:
    """Another version, another reference, another test, and no state at all."""
    stored = DriftTest.of(SMALL).to_bytes()
    with pytest.raises(InvalidValue, match="stored in version 2 of its form; this release reads 1: start"):
        DriftTest.from_bytes(stored.replace(b'"version":1', b'"version":2', 1), SMALL)
    other = Reference.fit(np.random.default_rng(1).normal(size=(400, 4)))
    with pytest.raises(
        InvalidValue, match=f"stored with the reference '{SMALL.digest}', and '{other.digest}'"
    ):
        DriftTest.from_bytes(stored, other)
    with pytest.raises(
        InvalidValue, match="was stored as 'test of data drift'; 'test of segments' is needed"
    ):
        SegmentedTest.from_bytes(stored, SMALL)
    for odd in (b"", b"\n", b"\xff\n", b"[]\n", b"SQLite format 3"):
        with pytest.raises(InvalidValue, match="this is no stored test of data drift"):
            DriftTest.from_bytes(odd, SMALL)


def test_a_test_of_thirty_features_is_small() -> None:
    """What is stored of a test of 30 features, with all its recent rows, is under 128 KiB."""
    draw = np.random.default_rng(0)
    test = DriftTest.fit(drawn(draw, 1000)).update(drawn(draw, 2500))
    assert len(test.to_bytes()) < 128 * 1024


def test_nothing_heavy_is_imported() -> None:
    """A test that runs has loaded neither pandas, scipy nor scikit-learn."""
    code = (
        "import sys, numpy as np; from bento_rollout.drift import DriftTest\n"
        "DriftTest.fit(np.random.default_rng(0).normal(size=(500, 2))).update(np.zeros((9, 2))).features\n"
        "print({'pandas', 'scipy', 'sklearn', 'bentoml'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
