"""What a row costs the thread that tests it, what a test's state weighs, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bento_rollout.drift.drift_test import DriftTest

from .data import table

__all__ = ["Cost", "cost"]

PAGE = 2000
"""Rows that the monitor reads and tests at once."""

_HEAVY = ("pandas", "scipy")


@dataclass(frozen=True, slots=True)
class Cost:
    """One measured number with its limit."""

    name: str
    what: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it is within the limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        word = "met" if self.met else "**MISSED**"
        return f"{self.what}: {self.value:.4g} {self.unit}, at most {self.limit:g} ({word})"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name, "what": self.what, "value": self.value, "limit": self.limit, "unit": self.unit,
            "met": self.met,
        }  # fmt: skip


def cost(rounds: int) -> list[Cost]:
    """Measure rows of 30 features in pages of 2 000; the median round counts."""
    rng, rows = np.random.default_rng(3), table()
    test = DriftTest.fit(rows[rng.integers(0, len(rows), 1000)])
    taken = []
    for _ in range(rounds):
        bins = test.reference.encode(rows[rng.integers(0, len(rows), PAGE)]).bins
        before = time.process_time()
        test = test.update_encoded(bins)
        taken.append((time.process_time() - before) / PAGE * 1e6)
    drawn = rows[rng.integers(0, len(rows), PAGE)]
    before = time.process_time()
    for row in drawn:
        test.reference.encode(row[None])
    one = (time.process_time() - before) / PAGE * 1e6
    code = f"import sys, bento_rollout.drift; print(sum(name in sys.modules for name in {_HEAVY!r}))"
    heavy = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    return [
        Cost("cost", "a row of 30 features in the monitor", float(np.median(taken)), 120, "µs"),
        Cost("encode", "a call of one row, made bins of by the ledger's writer", one, 1000, "µs"),
        Cost("state", "the state of a test", len(test.to_bytes()) / 1024, 128, "KiB"),
        Cost("imports", "of scipy and pandas, imported with bento_rollout.drift", heavy, 0, "packages"),
    ]
