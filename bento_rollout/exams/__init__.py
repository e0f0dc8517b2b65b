"""What guardrails are held to: for each one its tests, fed with rounds of sums; pure and frozen."""

from __future__ import annotations

from .agreement import AgreementExam
from .exam import Exam, Heard
from .latency import LEAST_HISTORY, LatencyExam
from .rates import RateExam
from .ratio import Ratio
from .storing import from_plain, to_plain
from .threshold import ThresholdExam

__all__ = [
    "LEAST_HISTORY",
    "AgreementExam",
    "Exam",
    "Heard",
    "LatencyExam",
    "RateExam",
    "Ratio",
    "ThresholdExam",
    "from_plain",
    "to_plain",
]
