"""A rise of the loss is found soon, seldom where there is none, and alike however it comes in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_rollout.drift.loss_test import RECENT, LossTest
from bento_rollout.errors import InvalidValue

Floats = NDArray[np.float64]


def errors(seed: int, rate: float, count: int) -> Floats:
    """Return 0/1 losses."""
    return (np.random.default_rng(seed).random(count) < rate).astype(float)


def amounts(seed: int, size: float, count: int) -> Floats:
    """Return losses with a heavy tail."""
    return np.random.default_rng(seed).lognormal(size, 1.0, count)


def same(one: LossTest, other: LossTest) -> bool:
    """Whether two tests are the same to the bit."""
    return one.to_bytes() == other.to_bytes()


def delay(test: LossTest, losses: Floats) -> int:
    """Return after how many losses a test alarms."""
    for place, loss in enumerate(losses, 1):
        test = test.update([loss])
        if test.alarm:
            return place
    raise AssertionError("no alarm")


@pytest.mark.simulation
@pytest.mark.parametrize("quiet", [1000, 20_000])
def test_a_rise_is_found(quiet: int) -> None:
    """From 2.3 to 22.8 %: half the streams within 100 labels, all but one in twenty within 200."""
    delays, early = [], 0
    for seed in range(20):
        test = LossTest.fit(errors(seed, 0.023, 500), kind="zero_one", seed=seed)
        test = test.update(errors(1000 + seed, 0.023, quiet))
        if test.alarm:
            early += 1
        else:
            delays.append(delay(test, errors(2000 + seed, 0.228, 1000)))
    assert early <= 1
    assert np.median(delays) <= 100
    assert np.quantile(delays, 0.95) <= 200


@pytest.mark.parametrize("kind", ["log", "absolute", "pinball"])
def test_larger_amounts_are_found(kind: str) -> None:
    """A loss that doubles, whatever it is called; and where it began."""
    test = LossTest.fit(amounts(0, 0.0, 500), kind=kind).update(amounts(1, 0.0, 3000))
    assert not test.alarm
    test = test.update(amounts(2, 0.7, 400))
    assert test.alarm
    assert 2900 <= test.since_row <= 3100
    assert test.recent_mean is not None
    assert test.recent_mean > 1.5 * test.reference_mean


@pytest.mark.parametrize("make", [errors, amounts])
def test_a_fall_is_no_alarm(make: Any) -> None:
    """Better is not worse."""
    test = LossTest.fit(make(0, 0.5, 500), kind="zero_one" if make is errors else "log")
    test = test.update(make(1, 0.01 if make is errors else -2.0, 5000))
    assert not test.alarm
    assert test.log_evidence < 1


@pytest.mark.simulation
def test_quiet_streams_are_quiet() -> None:
    """Of 100 streams of 5 000 labels at 5 %, with only 100 losses to compare with, few alarm."""
    alarms = sum(
        LossTest.fit(errors(seed, 0.05, 100), kind="zero_one", alpha=0.05, seed=seed)
        .update(errors(10_000 + seed, 0.05, 5000))
        .alarm
        for seed in range(100)
    )
    assert alarms <= 10


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1e300) | st.sampled_from([0.0, 1.0, None, math.nan, math.inf]), max_size=60),
    st.data(),
)
def test_any_split_is_the_same(losses: list[float | None], data: st.DataObject) -> None:
    """Pages of any size, also through storage, give the same numbers to the bit; no-one raises."""
    test = LossTest.fit(amounts(0, 0.0, 120), kind="absolute", seed=3)
    whole, parts, at = test.update(losses), test, 0
    while at < len(losses):
        size = data.draw(st.integers(1, 20))
        parts = LossTest.from_bytes(parts.update(losses[at : at + size]).to_bytes())
        at += size
    assert same(parts, whole)
    assert whole.rows + whole.refused == len(losses)
    assert math.isfinite(whole.log_evidence)


def test_what_is_no_loss_is_counted() -> None:
    """None, infinite ones, and of 0/1 losses a half."""
    test = LossTest.fit(errors(0, 0.1, 200), kind="zero_one")
    after = test.update([0.0, 1.0, 0.5, None, math.inf])
    assert (after.rows, after.refused) == (2, 3)
    assert (test.update([None]).rows, test.update([None]).refused) == (0, 1)


def test_few_and_constant_losses() -> None:
    """A model that was never wrong can be tested: the first errors are news."""
    test = LossTest.fit([0.0] * 500, kind="zero_one")
    assert not test.update([0.0] * 5000).alarm
    assert delay(test.update([0.0] * 1000), errors(1, 0.2, 500)) < 100
    constant = LossTest.fit([2.5] * 500, kind="absolute").update([2.5] * 1000)
    assert not constant.alarm
    assert constant.update([3.0] * 100).alarm


def test_an_alarm_stays_until_it_is_acknowledged() -> None:
    """It is latched; a new epoch has the same reference, or the newest losses."""
    test = LossTest.fit(errors(0, 0.05, 500), kind="zero_one").update(errors(1, 0.5, 300))
    assert test.alarm
    assert test.update(errors(2, 0.05, 20_000)).alarm
    again = test.restarted()
    assert (again.alarm, again.rows, again.epoch, again.log_evidence) == (False, 0, 1, 0.0)
    assert (again.recent_mean, again.features[0].rows) == (None, 0)
    assert again.update(errors(3, 0.5, 300)).alarm
    assert again.rebased(200).reference_mean == pytest.approx(test.recent[-200:].mean())
    other = test.rebased(200)
    assert (other.epoch, int(other.reference.sum())) == (1, 200)
    assert other.reference_mean == pytest.approx(test.recent[-200:].mean())
    assert not other.update(errors(4, 0.5, 3000)).alarm


def test_the_loss_is_told_as_a_feature_is() -> None:
    """With both histograms and how large the rise is."""
    (found,) = LossTest.fit(errors(0, 0.05, 500), kind="zero_one").update(errors(1, 0.5, 300)).features
    assert (found.name, found.direction, found.labels) == ("zero_one loss", "higher", ("right", "wrong"))
    assert sum(found.reference_histogram) == 500
    assert sum(found.recent_histogram) == found.rows <= 300
    assert found.psi > 0.5
    (amount,) = LossTest.fit(amounts(0, 0.0, 500), kind="log").update(amounts(1, 0.0, 300)).features
    assert len(amount.labels) == len(amount.reference_histogram) == len(amount.recent_histogram) == 16
    assert amount.labels[0].startswith("up to ")


def test_another_epoch_draws_other_numbers() -> None:
    """The same losses after an acknowledgement give other evidence: chance is not repeated."""
    test, losses = LossTest.fit(errors(0, 0.05, 500), kind="zero_one"), errors(1, 0.05, 500)
    assert test.update(losses).log_evidence != test.restarted().update(losses).log_evidence


def test_what_is_kept_is_bounded() -> None:
    """The newest 2 000 losses and a few counts: 20 KiB."""
    test = LossTest.fit(amounts(0, 0.0, 500), kind="log").update(amounts(1, 0.0, 10_000))
    assert len(test.recent) == RECENT
    assert len(test.to_bytes()) < 20 * 1024
    assert int(test.counts.sum()) == 375 + 10_000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "hinge"}, "hinge"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 0.6}, "alpha is 0.6"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"losses": [0.0] * 99}, "99 reference losses"),
        ({"losses": [0.5] * 500}, "0 reference losses"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    """By the name of what was wrong."""
    settings = {"losses": [0.0, 1.0] * 100, "kind": "zero_one", **changed}
    with pytest.raises(InvalidValue, match=message):
        LossTest.fit(settings.pop("losses"), **settings)


@pytest.mark.parametrize("rows", [99, 301])
def test_a_new_reference_needs_enough(rows: int) -> None:
    """At least 100, and no more than are kept."""
    test = LossTest.fit([0.0] * 500, kind="zero_one").update([0.0] * 300)
    with pytest.raises(InvalidValue, match=f"{rows} losses.*300 are kept"):
        test.rebased(rows)


def test_damaged_bytes_are_refused() -> None:
    """Whichever byte is another: told, never taken for evidence."""
    data = LossTest.fit([0.0, 1.0] * 100, kind="zero_one").update([0.0] * 100).to_bytes()
    for place in range(0, len(data), 7):
        with pytest.raises(InvalidValue):
            LossTest.from_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(InvalidValue):
        LossTest.from_bytes(b"")
