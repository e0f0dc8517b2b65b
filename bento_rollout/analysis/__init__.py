"""Tests that may be looked at as often as one likes, over sums that workers count: what decides a rollout.

Everything is frozen and pure: ``update`` returns the next test, ``to_dict`` what is stored of it.
"""

from __future__ import annotations

from .block import Block
from .floor import FloorTest
from .harm import EventTest, HarmTest
from .health import HealthTest
from .latency import LatencyBlock, LatencyTest
from .ratio import SampleRatioTest
from .sticky import KeyTable, StickyTest

__all__ = [
    "Block",
    "EventTest",
    "FloorTest",
    "HarmTest",
    "HealthTest",
    "KeyTable",
    "LatencyBlock",
    "LatencyTest",
    "SampleRatioTest",
    "StickyTest",
]
