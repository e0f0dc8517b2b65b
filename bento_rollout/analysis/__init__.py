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
from .keyed import KeyedTest
from .latency import LatencyBlock, LatencyTest
from .latency_health import LatencyHealthTest
from .outlook import needed, typical_block
from .ratio import SampleRatioTest

__all__ = [
    "Block",
    "EventTest",
    "FloorTest",
    "HarmTest",
    "HealthTest",
    "KeyBlock",
    "KeyTable",
    "KeyedTest",
    "LatencyBlock",
    "LatencyHealthTest",
    "LatencyTest",
    "SampleRatioTest",
    "needed",
    "typical_block",
]
