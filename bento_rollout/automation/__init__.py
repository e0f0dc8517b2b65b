"""What lets a model decide alone, and what takes that from it again: certified thresholds, audits, agreement.

Everything is pure: arrays and frozen values in, frozen values out.
"""

from __future__ import annotations

from .agreeing import Agreement, agreement_of, cohen_kappa, krippendorff_alpha
from .audit import AuditTest, audited, audits_to_notice, audits_with, drawn, thinned
from .certify import (
    Certified,
    Risk,
    certify_groups,
    certify_threshold,
    coverage_grid,
    error_bound,
    labels_needed,
    risk_coverage,
)

__all__ = [
    "Agreement",
    "AuditTest",
    "Certified",
    "Risk",
    "agreement_of",
    "audited",
    "audits_to_notice",
    "audits_with",
    "certify_groups",
    "certify_threshold",
    "cohen_kappa",
    "coverage_grid",
    "drawn",
    "error_bound",
    "krippendorff_alpha",
    "labels_needed",
    "risk_coverage",
    "thinned",
]
