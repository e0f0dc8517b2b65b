"""Whether audits refute what was certified for a model: by those since the last time they did; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from .automation import AuditTest
from .ladder import Certificate
from .reviewing import Selection

__all__ = ["Audited", "refuted"]


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


def refuted(cases: Iterable[Audited], certificate: Certificate) -> bool:
    """Return whether audits show that a model is wrong more often than a certificate says.

    Audits from before the certificate's ``since`` do not count: a degree was taken away for them already, and
    what was certified afterwards was certified without them.

    Args:
        cases: those that people decided, in that order.
        certificate: what was certified, for all of them or by class.
    """
    target = certificate.target_error
    by_class = target if isinstance(target, Mapping) else {_ALL: target}
    alpha = (1 - certificate.confidence) / len(by_class)
    tests = {name: AuditTest(error, alpha) for name, error in by_class.items()}
    for case in cases:
        if case.selection is not Selection.AUDIT or case.at < certificate.since:
            continue
        name = _ALL if _ALL in tests else case.label
        if name is not None and name in tests:
            tests[name] = tests[name].update(wrong=case.wrong)
    return any(test.alarm for test in tests.values())


_ALL = ""
