"""Tests that notice drift, with a chance of false alarms that they promise.

Everything is frozen and pure: ``update`` returns the next test.
"""

from __future__ import annotations

from .drift_test import DriftTest, FeatureEvidence
from .encoding import Encoded
from .engine import DATA_BETS, LOSS_BETS, Bets, Wealth
from .reference import Reference
from .schema import SchemaAlarm
from .segments import Insufficient, SegmentedTest

__all__ = [
    "DATA_BETS",
    "LOSS_BETS",
    "Bets",
    "DriftTest",
    "Encoded",
    "FeatureEvidence",
    "Insufficient",
    "Reference",
    "SchemaAlarm",
    "SegmentedTest",
    "Wealth",
]
