"""Drift in real streams (river's): quiet as they come and shuffled, found where something was changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from bento_rollout.drift import DriftTest, LossTest
from tests.states import unavailable

SEEDS = range(8)

DELAY = 200
"""Rows, or labels, within which a large change is found."""


@dataclass(frozen=True)
class Stream:
    """A stream as it comes: rows x features, what the features are called, and the class of each row."""

    names: tuple[str, ...]
    rows: NDArray[np.float64]
    classes: NDArray[np.str_]

    def columns(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return rows by the names of their features."""
        return dict(zip(self.names, rows.T, strict=True))

    def shuffled(self, seed: int) -> Stream:
        """Return it in another order."""
        order = np.random.default_rng(seed).permutation(len(self.rows))
        return Stream(self.names, self.rows[order], self.classes[order])


@cache
def stream(name: str) -> Stream:
    """Return one of the streams that come with river; where there is no river the test is skipped."""
    try:
        from river import datasets
    except ImportError:
        unavailable("river is not installed (pip install --group streams)")
        raise
    pairs = list(getattr(datasets, name)())
    names = tuple(pairs[0][0])
    rows = np.array([[row[feature] for feature in names] for row, _ in pairs], dtype=np.float64)
    return Stream(names, rows, np.array([str(label) for _, label in pairs]))


LENGTHS = {"Phishing": (1250, 9), "ImageSegments": (2310, 18), "Bananas": (5300, 2)}

CHANGED = {
    "Phishing": ("popup_window", "long_url", "ip_in_url"),
    "ImageSegments": ("region-centroid-col", "vedge-mean", "saturation-mean"),
    "Bananas": ("1", "2"),
}
"""Features that are changed, one at a time."""

each_stream = pytest.mark.parametrize("name", LENGTHS)


def raised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a feature's values, higher: of few values two thirds are the greatest, else all by one sigma."""
    if len(set(values.tolist())) <= 3:
        two_of_three = np.arange(len(values)) % 3 < 2
        values = values.copy()
        values[two_of_three] = values.max()
        return values
    return values + float(values.std())


@each_stream
def test_it_is_the_whole_stream(name: str) -> None:
    """All rows came, and no row is another one by mistake."""
    assert stream(name).rows.shape == LENGTHS[name]
    assert np.isfinite(stream(name).rows).all()


@each_stream
def test_data_are_quiet_as_they_come(name: str) -> None:
    """The second half comes from where the first half came from."""
    real = stream(name)
    half = len(real.rows) // 2
    test = DriftTest.fit(real.columns(real.rows[:half])).update(real.columns(real.rows[half:]))
    assert not test.alarm
    assert test.acting() == ()
    assert test.schema == ()


@each_stream
@pytest.mark.parametrize("seed", SEEDS)
def test_data_are_quiet_in_any_order(name: str, seed: int) -> None:
    """Shuffled rows are exchangeable: an alarm would be one in a hundred."""
    real = stream(name).shuffled(seed)
    half = len(real.rows) // 2
    test = DriftTest.fit(real.columns(real.rows[:half])).update(real.columns(real.rows[half:]))
    assert not test.alarm


@pytest.mark.parametrize(
    ("name", "feature"), [(name, feature) for name, features in CHANGED.items() for feature in features]
)
@pytest.mark.parametrize("order", [None, 1], ids=["as it comes", "shuffled"])
def test_a_feature_that_rises_is_found_and_named(name: str, feature: str, order: int | None) -> None:
    """Quiet before; then certain and large, with its direction, and about where it began."""
    real = stream(name) if order is None else stream(name).shuffled(order)
    half = len(real.rows) // 2
    begins = half + half // 2
    place = real.names.index(feature)
    later = real.rows[begins : begins + DELAY].copy()
    later[:, place] = raised(real.rows[:, place])[begins : begins + DELAY]
    quiet = DriftTest.fit(real.columns(real.rows[:half])).update(real.columns(real.rows[half:begins]))
    assert not quiet.alarm
    found = quiet.update(real.columns(later))
    assert found.alarm
    assert [one.name for one in found.acting()] == [feature]
    first = found.features[0]
    assert (first.name, first.direction) == (feature, "higher")
    assert abs(first.since_row - (begins - half)) <= 50


def losses(real: Stream, turned: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Train on a third of a stream, and return the 0/1 losses on the other two.

    Args:
        real: the stream.
        turned: from the middle of the last third on, half of the space has other classes than before.

    Returns:
        the losses of the second third, those of the last, and the loss at which the classes change.
    """
    third = len(real.rows) // 3
    model = (
        DecisionTreeClassifier(min_samples_leaf=10, random_state=0)
        if real.names == ("1", "2")
        else make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    )
    model.fit(real.rows[:third], real.classes[:third])
    classes, middle = real.classes.copy(), third * 5 // 2
    if turned:
        column = real.rows[:, 0]
        known = np.unique(classes)
        other = dict(zip(known.tolist(), np.roll(known, 1).tolist(), strict=True))
        there = (np.arange(len(classes)) >= middle) & (column <= np.median(column))
        classes[there] = [other[one] for one in classes[there].tolist()]
    wrong = (model.predict(real.rows[third:]) != classes[third:]).astype(np.float64)
    return wrong[:third], wrong[third:], middle - 2 * third


@each_stream
@pytest.mark.parametrize("order", [None, 1, 2, 3], ids=str)
def test_losses_are_quiet(name: str, order: int | None) -> None:
    """A model that was trained before is as often wrong as it was."""
    real = stream(name) if order is None else stream(name).shuffled(order)
    known, later, _ = losses(real, turned=False)
    assert 0 < known.mean() < 0.35
    assert not LossTest.fit(known, kind="zero_one").update(later).alarm


@each_stream
@pytest.mark.parametrize("order", [None, 1, 2, 3], ids=str)
def test_classes_that_mean_something_else_are_found(name: str, order: int | None) -> None:
    """The rows stay what they were, which are quiet (above): only the loss says it."""
    real = stream(name) if order is None else stream(name).shuffled(order)
    known, later, begins = losses(real, turned=True)
    quiet = LossTest.fit(known, kind="zero_one").update(later[:begins])
    assert not quiet.alarm
    found = quiet.update(later[begins : begins + DELAY])
    assert found.alarm
    assert abs(found.since_row - begins) <= 50
    assert found.features[0].direction == "higher"
