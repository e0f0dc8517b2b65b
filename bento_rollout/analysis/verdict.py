"""From tests to one finding of a guardrail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..assessment import Finding

__all__ = ["Tested", "finding_of", "worst"]

_ORDER = (Finding.HARMFUL, Finding.UNMEASURABLE, Finding.NO_DATA, Finding.INCONCLUSIVE, Finding.HEALTHY)


class Tested(Protocol):
    """Any test of this package."""

    @property
    def alarm(self) -> bool:
        """Whether it has said its word."""


def finding_of(
    *,
    harm: Iterable[Tested] = (),
    health: Iterable[Tested] = (),
    ratio: Iterable[Tested] = (),
    heard: bool = True,
) -> Finding:
    """Return what tests say of one guardrail, together.

    In this order: harmful, when a test of harm alarmed, though something else be wrong (to roll back is
    safe); unmeasurable, when the sample ratio is wrong (telemetry is lost, and nothing shown since then can
    be believed); no data, when nothing was heard; healthy, when there are tests of health and all have
    shown it; else inconclusive. Health is latched, and harm outweighs it.

    Args:
        harm: tests of harm; one alarm is enough.
        health: tests of health; all must have shown it. Without any, nothing is ever healthy.
        ratio: tests of sample ratios.
        heard: whether both arms had at least one call.

    >>> from bento_rollout.analysis import Block, HarmTest, HealthTest
    >>> finding_of(harm=[HarmTest()], health=[HealthTest()], heard=False).words
    'no data'
    >>> finding_of(harm=[HarmTest()], health=[HealthTest(alarm=True)]).words
    'healthy'
    """
    if any(test.alarm for test in harm):
        return Finding.HARMFUL
    if any(test.alarm for test in ratio):
        return Finding.UNMEASURABLE
    if not heard:
        return Finding.NO_DATA
    shown = [test.alarm for test in health]
    return Finding.HEALTHY if shown and all(shown) else Finding.INCONCLUSIVE


def worst(findings: Iterable[Finding]) -> Finding:
    """Return the worst of several findings, no data if there are none: only when all are healthy it is.

    >>> worst([Finding.HEALTHY, Finding.INCONCLUSIVE]).words
    'inconclusive'
    """
    return min(findings, key=_ORDER.index, default=Finding.NO_DATA)
