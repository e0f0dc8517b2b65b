"""Which fields of two strategies differ, as people read it."""

from __future__ import annotations

from typing import Any

import yaml

from bento_rollout.amending import amendments
from tests.unit.trying import CANARY, SWAP, parsed


def words(other: str, **changes: Any) -> list[str]:
    """What differs from the canary of the tests."""
    return [str(one) for one in amendments(parsed(CANARY), parsed(other, **changes))]


def test_nothing_differs() -> None:
    """The same strategy, also where one says what the other leaves to its default."""
    assert words(CANARY) == []
    assert words(CANARY, on_harm="rollback") == []


def test_single_fields_are_named_with_both_values() -> None:
    """Steps by their number, percent and times as a spec writes them; what is new, and what is gone."""
    other = CANARY.replace("weight: 50, bake: 60s", "weight: 40, bake: 2m").replace(
        "margin: 1pp", "margin: 2pp"
    )
    assert words(other, on_harm="pause", give_up_after="2d") == [
        "canary.step 3.weight 40% (was 50%)",
        "canary.step 3.bake 2m (was 1m)",
        "guardrails.error_rate.margin 0.02 (was 0.01)",
        "on_harm pause (was rollback)",
        "give_up_after 2d (was 7d)",
    ]
    fewer = yaml.safe_load(CANARY)
    fewer["canary"]["steps"].pop()
    fewer["guardrails"] = {"error_rate": {"margin": "1pp", "weight": 2}, "cpu": {"below": "50%"}}
    found = words(yaml.safe_dump(fewer))
    assert found[0] == "canary.step 3 none (was {weight: 50%, bake: 1m, healthy: required})"
    assert "guardrails.error_rate.weight 2 (was 1)" in found
    assert any(one.startswith("guardrails.latency none (was {weight: 1, ") for one in found)
    assert any(one.startswith("guardrails.cpu {") and one.endswith("(was none)") for one in found)


def test_another_way_is_told_whole() -> None:
    """Blue/green instead of a canary."""
    found = words(SWAP)
    assert found[0].startswith("canary none (was {candidate: boosted, steps: [")
    assert any(one.startswith("blue_green {candidate: boosted, ") for one in found)
