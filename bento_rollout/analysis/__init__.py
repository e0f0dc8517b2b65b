"""Tests that may be looked at as often as one likes, over sums that workers count: what decides a rollout.

Everything is frozen and pure: ``update`` returns the next test, ``to_dict`` what is stored of it.
"""

from __future__ import annotations

from .block import Block
from .floor import FloorTest
from .harm import EventTest, HarmTest
from .health import HealthTest
from .key_block import KeyBlock
from .key_table import KeyTable
from .key_windows import KeyCalls, KeyWindows
from .keyed import KeyedTest
from .latency import LatencyBlock, LatencyTest
from .latency_health import LatencyHealthTest
from .outlook import needed, typical_block
from .ratio import SampleRatioTest
from .verdict import finding_of, worst

__all__ = [
    "Block",
    "EventTest",
    "FloorTest",
    "HarmTest",
    "HealthTest",
    "KeyBlock",
    "KeyCalls",
    "KeyTable",
    "KeyWindows",
    "KeyedTest",
    "LatencyBlock",
    "LatencyHealthTest",
    "LatencyTest",
    "SampleRatioTest",
    "finding_of",
    "needed",
    "typical_block",
    "worst",
]
