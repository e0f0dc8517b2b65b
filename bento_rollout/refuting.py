"""Whether audits refute what was certified for a model: by those since the last time they did; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from .automation import AuditTest
from .ladder import Certificate
from .reviewing import Selection

__all__ = ["Audited", "refutation"]


class Audited(Protocol):
    """A case that a person decided, as the reviews know it."""

    @property
    def at(self) -> float:
        """When it was decided, in seconds since 1970."""

    @property
    def wrong(self) -> bool:
        """Whether the model was."""

    @property
    def selection(self) -> Selection:
        """Why it was asked."""

    @property
    def label(self) -> str | None:
        """The model's choice; None: it was none of the choices."""

    @property
    def segment(self) -> str | None:
        """The segment of the traffic; None, or empty: none."""


def refutation(cases: Iterable[Audited], certificate: Certificate) -> str | None:
    """Return how audits show that a model is wrong more often than a certificate says; None: they do not.

    Audits from before the certificate's ``since`` do not count: a degree was taken away for them already, and
    what was certified afterwards was certified without them.

    Args:
        cases: those that people decided, in that order.
        certificate: what was certified, for all of them, by class or by segment.
    """
    targets = certificate.targets
    alpha = (1 - certificate.confidence) / len(targets)
    tests = {name: AuditTest(error, alpha) for name, error in targets.items()}
    seen, wrong = Counter[str](), Counter[str]()
    for case in cases:
        if case.selection is not Selection.AUDIT or case.at < certificate.since:
            continue
        name = _ALL if _ALL in tests else case.segment if certificate.by_segment else case.label
        if name is not None and name in tests:
            tests[name] = tests[name].update(wrong=case.wrong)
            seen[name] += 1
            wrong[name] += case.wrong
    found = [name for name, test in tests.items() if test.alarm]
    return "; ".join(_told(name, wrong[name], seen[name], targets[name]) for name in found) or None


def _told(name: str, wrong: int, seen: int, error: float) -> str:
    of = f" of {name}" if name else ""
    return f"{wrong} of {seen} audits{of} found the model wrong, and at most {100 * error:g} % was certified"


_ALL = ""
