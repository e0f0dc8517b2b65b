"""What the parts of `benchmarks.replicas` report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Outcome"]


@dataclass(frozen=True)
class Finding:
    """One thing that was measured.

    Attributes:
        what: in words.
        value: as it is printed.
        bar: what it must reach; empty: nothing.
        met: whether it did; None: there is no bar.
    """

    what: str
    value: str
    bar: str = ""
    met: bool | None = None


Outcome = list[Finding]
