"""What a person sees: a table by revision that fills while traffic flows, one by variant, the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from services.demo.operator import Step
from services.demo.promises import CANDIDATE, CHAMPION, Verdict
from services.demo.traffic import Answer

VARIANTS = (CHAMPION, CANDIDATE)


@dataclass
class Tally:
    """Counts of one revision, or of one variant."""

    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VARIANTS, 0))
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VARIANTS, 0))
    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, answer: Answer, *, malignant: bool) -> None:
        """Count one answer."""
        if answer.probability is None:
            self.failed += 1
            return
        self.answers[answer.variant] = self.answers.get(answer.variant, 0) + 1
        right = (answer.probability >= 0.5) == malignant
        self.right[answer.variant] = self.right.get(answer.variant, 0) + right
        self.seconds.append(answer.ended - answer.started)

    def share(self) -> str:
        """Return the candidate's part of the answers."""
        total = sum(self.answers.values())
        return f"{self.answers[CANDIDATE] / total:.1%}" if total else "-"

    def accuracy(self, variant: str) -> str:
        """Return how often a variant was right."""
        count = self.answers[variant]
        return f"{self.right[variant] / count:.1%}" if count else "-"

    def latency(self, percentile: float) -> str:
        """Return a percentile of the latency in milliseconds."""
        return f"{np.percentile(self.seconds, percentile) * 1000:.1f}" if self.seconds else "-"


class Screen:
    """Turns answers into tables; each answer is counted once."""

    def __init__(self, console: Console, truth: NDArray[np.bool_]) -> None:
        self.console = console
        self.steps: list[Step] = []
        self._truth = truth
        self._counted = 0
        self._by_revision: dict[int, Tally] = {}
        self._by_variant = {variant: Tally() for variant in VARIANTS}

    def count(self, answers: Sequence[Answer]) -> None:
        """Count the answers that came since the last time."""
        end = len(answers)
        newest = self.steps[-1].revision if self.steps else 0
        for answer in answers[self._counted : end]:
            malignant = bool(self._truth[answer.patient.row])
            tally = self._by_revision.setdefault(answer.revision or newest, Tally())
            tally.add(answer, malignant=malignant)
            if answer.variant in self._by_variant:
                self._by_variant[answer.variant].add(answer, malignant=malignant)
        self._counted = end

    def render(self) -> Group:
        """Return both tables."""
        return Group(self._revisions(), self._variants())

    def _revisions(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title="Who answered, by revision", title_justify="left")
        table.add_column("state", no_wrap=True)
        for heading in ("revision", "asked", "measured", CHAMPION, CANDIDATE, "failed", "p50 ms", "p99 ms"):
            table.add_column(heading, justify="right", no_wrap=True)
        steps = {step.revision: step for step in self.steps}
        newest = max(steps, default=0)
        for revision, tally in sorted(self._by_revision.items()):
            step = steps.get(revision)
            table.add_row(
                step.title if step else "...",
                str(revision),
                f"{step.share:g}%" if step else "",
                tally.share(),
                *(str(tally.answers[variant]) for variant in VARIANTS),
                Text(str(tally.failed), style="bold red" if tally.failed else ""),
                tally.latency(50),
                tally.latency(99),
                style="bold" if revision == newest else "",
            )
        return table

    def _variants(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, title="What the variants are worth", title_justify="left")
        table.add_column("variant", no_wrap=True)
        for heading in ("answers", "accuracy", "p50 ms", "p99 ms", "failed"):
            table.add_column(heading, justify="right", no_wrap=True)
        for variant, tally in self._by_variant.items():
            table.add_row(
                variant,
                str(tally.answers[variant]),
                tally.accuracy(variant),
                tally.latency(50),
                tally.latency(99),
                str(tally.failed),
            )
        return table

    def say(self, line: str) -> None:
        """Print a line above the tables."""
        self.console.print(Text(line), soft_wrap=True)

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Print a line for every promise, and the sum."""
        for verdict in verdicts:
            word, style = ("kept  ", "green") if verdict.kept else ("BROKEN", "bold red")
            line = Text.assemble((word, style), f"  {verdict.promise}", (f"  ({verdict.detail})", "dim"))
            self.console.print(line, soft_wrap=True)
        kept = sum(verdict.kept for verdict in verdicts)
        self.say(f"{kept} of {len(verdicts)} promises kept")
