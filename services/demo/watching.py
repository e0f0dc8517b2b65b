"""The first act: the candidate only watches, and a report says how it would have answered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from services.demo.operator import NAME, Operator
from services.demo.promises import CANDIDATE, CHAMPION, Verdict
from services.demo.screen import Screen

WRITTEN = 1.0
"""Seconds after which every worker has written what it counted."""


def report_of(operator: Operator, page: Path) -> dict[str, Any]:
    """Return the report, and write its page."""
    time.sleep(WRITTEN)
    operator.ask("shadow-report", NAME, "--output", str(page), html=True)
    report: dict[str, Any] = operator.ask("shadow-report", NAME)
    return report


def judged(report: dict[str, Any], screen: Screen, page: Path) -> Verdict:
    """Say what the shadow showed, and judge whether it accounts for what it was given."""
    row, noise = report["candidates"].get(CANDIDATE), report["noise"]
    if row is None or noise is None or row["agreement"]["value"] is None:
        return Verdict("a shadow is compared and answers nobody", kept=False, detail=str(report)[:300])
    share, dropped = row["agreement"], sum(row["dropped"].values())
    screen.say(
        f"  {CANDIDATE} agrees with {CHAMPION} in {share['value']:.1%} of {row['compared']} calls "
        f"({share['low']:.1%} to {share['high']:.1%}); {dropped} were dropped to spare the champion"
    )
    screen.say(f"  {CHAMPION} beside itself: {noise['compared']} calls, {noise['disagreed']} differ")
    plots = page.read_text(encoding="utf-8").count("<svg")
    screen.say(f"  a page with {plots} plots was written")
    kept = not row["not_comparable"] and not noise["disagreed"] and row["compared"] > 0 and plots > 0
    detail = f"{row['compared']} compared, {dropped} dropped, {len(row['not_comparable'])} kinds of errors"
    return Verdict("a shadow is compared and answers nobody", kept, detail)
