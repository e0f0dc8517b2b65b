"""A champion against itself: calls that were, split in two by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bento_rollout.errors import InvalidValue
from bento_rollout.replaying import Calls, Replay, replay, replay_facts
from bento_rollout.strategy import Strategy


def strategy_of(guardrails: dict[str, Any], **more: Any) -> Strategy:
    """Return a strategy of two steps."""
    steps = [{"shadow": 100, "bake": "5m"}, {"weight": 20, "bake": "5m"}, {"weight": 50, "bake": "5m"}]
    if "agreement" not in guardrails:
        del steps[0]
    return Strategy.parse(
        {"canary": {"candidate": "boosted", "steps": steps}, "guardrails": guardrails, **more}
    )


def calls_of(number: int = 4000, *, seed: int = 1, keys: int = 500, **arrays: Any) -> Calls:
    """Return calls; what is not given is quiet."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << 64, keys, dtype=np.uint64)
    fields = {
        "times": np.arange(number) / 20.0,
        "units": hashes[rng.integers(0, keys, number)],
        "endpoints": ("predict",),
        "endpoint": np.zeros(number, dtype=np.int32),
        "failed": rng.random(number) < 0.02,
        "seconds": rng.lognormal(-3, 0.5, number),
        "bad": {},
    }
    return Calls(**{**fields, **arrays})


BOTH = {"error_rate": {"margin": "1pp"}, "latency": {}}


@pytest.mark.parametrize("sticky", [True, False])
def test_a_quiet_champion_is_quiet_beside_itself(sticky: bool) -> None:
    """Whatever chance split, no guardrail alarms more often than promised, and keys come as they should."""
    task = Replay.of(strategy_of(BOTH), calls_of(), sticky=sticky)
    alarms = [replay(task, salt) for salt in range(100, 120)]
    facts = replay_facts(task, alarms)
    assert facts["any"]["runs"] <= 1
    assert set(facts["guardrails"]) == {"error_rate", "latency"}
    assert facts["guardrails"]["latency"]["promised"] == pytest.approx(0.005)
    assert (facts["any"]["promised"], facts["replays"]) == (0.01, 20)
    assert facts["shares"] == [0.2, 0.5]
    assert facts["calls"] == 3200


def test_keys_that_fail_always_do_not_alarm() -> None:
    """What is a key's own is told apart: a few users who always fail are in one arm or the other."""
    calls = calls_of(keys=300)
    broken = np.unique(calls.units)[:9]
    calls = calls_of(keys=300, failed=np.isin(calls.units, broken))
    task = Replay.of(strategy_of(BOTH), calls, sticky=True)
    assert sum("error_rate" in replay(task, salt) for salt in range(10)) == 0


def test_a_replay_is_a_function_of_its_salt() -> None:
    """The same salt splits alike, another one otherwise."""
    from bento_rollout.replaying import _mixed

    units = calls_of().units
    assert (_mixed(units, 1) == _mixed(units, 1)).all()
    assert abs(float(np.corrcoef(_mixed(units, 1), _mixed(units, 2))[0, 1])) < 0.2
    assert abs(_mixed(np.unique(units), 1).mean() - 0.5) < 0.1


def test_tests_that_would_alarm_do() -> None:
    """The replay can fail: where half of the keys fail, and chance is bad enough at alpha 90 %, it alarms."""
    calls = calls_of(keys=30)
    failed = np.isin(calls.units, np.unique(calls.units)[:15])
    task = Replay.of(strategy_of(BOTH, false_alarm="99%"), calls_of(keys=30, failed=failed), sticky=False)
    assert any(replay(task, salt) for salt in range(30))


def test_labels_are_replayed() -> None:
    """Labels count where calls have them; what calls do not tell is left out, and said."""
    guardrails = {
        **BOTH,
        "label.correct": {"margin": "2pp", "matures": "1h"},
        "agreement": {"min": "97%"},
        "score": {"better": "high", "range": [0, 1], "margin": 0.1},
    }
    bad = np.where(np.arange(4000) % 3, 0.0, np.nan)
    task = Replay.of(strategy_of(guardrails), calls_of(bad={"label.correct": bad}), sticky=True)
    assert task.left_out == ("agreement", "score")
    facts = replay_facts(task, [replay(task, salt) for salt in range(3)])
    assert "label.correct" in facts["guardrails"]
    assert facts["notes"] == ["not in the ledger, so left out: agreement, score"]


def test_endpoints_are_told_apart() -> None:
    """A guardrail of an endpoint that nobody called is left out."""
    endpoint = np.arange(4000, dtype=np.int32) % 2
    calls = calls_of(endpoints=("explain", "predict"), endpoint=endpoint)
    guardrails = {"error_rate@predict": {"margin": "1pp"}, "latency@score": {}}
    task = Replay.of(strategy_of(guardrails), calls, sticky=True)
    assert task.left_out == ("latency@score",)
    assert replay(task, 1) == ()


@pytest.mark.parametrize(
    ("guardrails", "number", "named"),
    [
        (BOTH, 1999, "the ledger has 1999 calls of the champion: a replay needs 2000"),
        ({"score": {"better": "high", "range": [0, 1], "margin": 0.1}}, 4000, "tell nothing of score"),
    ],
)
def test_what_cannot_be_replayed_is_refused(guardrails: dict[str, Any], number: int, named: str) -> None:
    """Too few calls, and guardrails of which calls tell nothing, are named."""
    with pytest.raises(InvalidValue, match=named):
        Replay.of(strategy_of(guardrails), calls_of(number), sticky=True)
