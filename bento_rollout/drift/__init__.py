"""Tests that notice drift, with a chance of false alarms that they promise.

Everything is frozen and pure: ``update`` returns the next test.
"""

from __future__ import annotations

from .drift_test import DriftTest, FeatureEvidence
from .encoding import Encoded
from .engine import DATA_BETS, LOSS_BETS, Bets, Wealth
from .estimate import ErrorEstimate, Estimated
from .loss_test import LossTest
from .losses import auto_kind, loss_of
from .reference import Reference
from .schema import SchemaAlarm
from .segments import Insufficient, SegmentedTest

__all__ = [
    "DATA_BETS",
    "LOSS_BETS",
    "Bets",
    "DriftTest",
    "Encoded",
    "ErrorEstimate",
    "Estimated",
    "FeatureEvidence",
    "Insufficient",
    "LossTest",
    "Reference",
    "SchemaAlarm",
    "SegmentedTest",
    "Wealth",
    "auto_kind",
    "loss_of",
]
