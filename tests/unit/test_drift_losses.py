"""How wrong an answer was: read from what callers and people wrote, which is never quite what was meant."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.drift.losses import KINDS, Sight, auto_kind, loss_of, losses_of
from bento_rollout.errors import InvalidValue

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["0", "1", "true", "cat", "0.5", ""])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["label", "score", "probabilities", "value", "0", "1", "cat", "0.1", "0.9"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("label", "output", "loss"),
    [
        ("cat", "cat", 0),
        ("cat", "dog", 1),
        (1, 1, 0),
        (1, "1", 0),
        (True, 1, 0),
        ("true", True, 0),
        (False, 0.0, 0),
        (1.0, 1, 0),
        (1, [0.2, 0.8], 0),
        (0, [[0.2, 0.8]], 1),
        ([1], [1], 0),
        ("cat", {"cat": 0.4, "dog": 0.6}, 1),
        ("dog", {"label": "dog", "score": 0.9}, 0),
        (1, 0.93, 0),
        (0, [0.93], 1),
        (1, 0.07, 1),
        ("cat", ["cat", "dog"], 0),
        ("cat", None, None),
        (None, "cat", None),
        (0.5, 1, None),
        ("cat", math.nan, None),
        (1, [math.nan, 0.5], None),
        (10**400, 1, 1),
    ],
)
def test_zero_one(label: Any, output: Any, loss: float | None) -> None:
    """A class is compared with the class that the answer has; one that has none is no loss."""
    assert loss_of("zero_one", label, output) == loss


@pytest.mark.parametrize(
    ("label", "output", "chance"),
    [
        (1, 0.25, 0.25),
        (0, 0.25, 0.75),
        (True, [0.25], 0.25),
        (1, [0.75, 0.25], 0.25),
        (1, [[0.75, 0.25]], 0.25),
        ("2", [0.5, 0.25, 0.25], 0.25),
        ("cat", {"cat": 0.25, "dog": 0.75}, 0.25),
        (1, {"0": 0.75, "1": 0.25}, 0.25),
        (True, {"false": 0.75, "true": 0.25}, 0.25),
        ("dog", {"label": "dog", "score": 0.25}, 0.25),
        ("cat", {"label": "dog", "score": 0.75}, 0.25),
        (1, {"label": 1, "probabilities": [0.75, 0.25]}, 0.25),
        ("cat", [{"label": "cat", "score": 0.25}, {"label": "dog", "score": 0.75}], 0.25),
        (1, {"0": 0.33, "1": 0.33, "2": 0.33}, 0.33),
        (1, [1.0, 0.0], 1e-12),
        (1, 1.0, 1.0),
    ],
)
def test_log(label: Any, output: Any, chance: float) -> None:
    """Minus the log of the probability that the answer gave to what was true; one of 0 costs 27.6."""
    found = loss_of("log", label, output)
    assert found is not None
    assert found == pytest.approx(-math.log(chance))
    assert math.copysign(1, found) == 1


@pytest.mark.parametrize(
    ("label", "output"),
    [
        (1, [0.5, 0.9]),
        (1, {"0": 2.0, "1": -1.0}),
        (5, [0.5, 0.5]),
        (2, 0.5),
        ("cat", 0.5),
        (1, "cat"),
        (1, None),
        (1, {"label": 1}),
        (1, {"0": 0.5, "1": "half"}),
        (0.5, 0.5),
        (1, [2.5, -1.5]),
        (1, 7.0),
    ],
)
def test_no_probabilities(label: Any, output: Any) -> None:
    """What does not sum to 1, or gives the class no number, is no probability."""
    assert loss_of("log", label, output) is None


@pytest.mark.parametrize(
    ("kind", "label", "output", "loss"),
    [
        ("absolute", 3, 5.5, 2.5),
        ("absolute", 3, [[5]], 2),
        ("absolute", 3, {"prediction": [5]}, 2),
        ("absolute", True, 3, None),
        ("absolute", "3", 3, None),
        ("absolute", 1e308, -1e308, None),
        ("absolute", 3, math.inf, None),
        ("pinball", 4, 2.0, 1),
        ("pinball", 2, 4.0, 1),
        ("pinball", 4, {"0.1": 3, "0.9": 8}, (0.1 * 1 + 0.1 * 4) / 2),
        ("pinball", 4, {"0.1": 3, "x": 8}, None),
        ("pinball", 4, {"0.1": 3, "1.5": 8}, None),
        ("pinball", 4, {}, None),
    ],
)
def test_amounts(kind: str, label: Any, output: Any, loss: float | None) -> None:
    """Numbers by their distance; quantiles by the mean of their pinball losses."""
    assert loss_of(kind, label, output) == (None if loss is None else pytest.approx(loss))


def test_no_such_loss() -> None:
    """The message names those that there are."""
    with pytest.raises(InvalidValue, match=r"hinge.*zero_one, log, absolute, pinball"):
        loss_of("hinge", 1, 1)


@given(_JSON, _JSON)
def test_never_raises(label: Any, output: Any) -> None:
    """Whatever the ledger holds has a loss that is finite and not negative, or none."""
    for loss in losses_of(label, output):
        assert loss is None or (math.isfinite(loss) and loss >= 0)
    sight = Sight().plus(label, output)
    assert sight.kind in (None, *KINDS)


@given(_JSON, _JSON)
def test_as_in_the_ledger(label: Any, output: Any) -> None:
    """What went through JSON has the same losses."""
    told = [json.loads(json.dumps(value)) for value in (label, output)]
    assert losses_of(*told) == losses_of(label, output)


@pytest.mark.parametrize(
    ("labels", "outputs", "kind"),
    [
        ([0, 1, 1], [0, 1, 0], "zero_one"),
        (["a", "b"], [{"label": "a"}, {"label": "b"}], "zero_one"),
        ([0, 1], [[0.9, 0.1], [0.3, 0.7]], "log"),
        ([0, 1], [[1.0, 0.0], [0.0, 1.0]], "zero_one"),
        ([0, 1], [0.2, 0.8], "log"),
        (["a", "b"], [{"a": 0.9, "b": 0.1}] * 2, "log"),
        ([1.5, 2.0], [1, 2], "absolute"),
        (list(range(40)), list(range(40)), "absolute"),
        ([3, 4], [{"0.1": 2, "0.9": 5}] * 2, "pinball"),
        (["a"] * 10, ["a"] * 9 + [None], "zero_one"),
        (["a"] * 10, ["a"] * 8 + [None] * 2, None),
        ([], [], None),
    ],
)
def test_the_kind_is_found(labels: list[Any], outputs: list[Any], kind: str | None) -> None:
    """By labels and answers; of pairs that fit nothing there is none."""
    assert auto_kind(labels, outputs) == kind


def test_what_was_seen_stays_small() -> None:
    """Of a thousand different texts a few hashes are remembered."""
    sight = Sight()
    for number in range(1000):
        sight = sight.plus(f"label {number}" + "x" * 1000, "a")
    assert len(sight.classes) <= 21
