"""`Late`: what labels that come late, and the processes of a variant, tell whoever leads a rollout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from .errors import InvalidValue, RolloutError
from .evidence import Evidence
from .gauges import gauges_of
from .guardrails import Label, split_name
from .judging import Judge, Judging, judging_of
from .label_evidence import measured, sums_of
from .store.ledger_matured import Watermark, end_of, matured
from .store.place import Place
from .strategy import Strategy
from .telemetry import log
from .view import View

__all__ = ["Late"]

MOST = 2000
"""Predictions that one look takes from the ledger, for each guardrail; the others wait for the next look."""


class Late:
    """What a try is judged by beside what workers count.

    Args:
        place: where the rollout's shared files lie.
        labels: how labels are judged, by entry, as the spec says.
        judges: who judges them.
        sticky: the endpoints whose routing is sticky.
        rollout: the rollout's name, for log lines.
    """

    def __init__(
        self,
        place: Place,
        labels: Mapping[str, Judging],
        judges: Mapping[str, Judge],
        sticky: Collection[str],
        rollout: str,
    ) -> None:
        self._place, self._labels, self._judges = place, labels, judges
        self._sticky, self._rollout = sticky, rollout
        self._once = log.Once()

    def begin(self, strategy: Strategy) -> dict[str, Any]:
        """Return by guardrail from where on labels are read: what was predicted before the try is none of it.

        A ledger that cannot be read now is read from where it ends when it can be: no try waits for it.
        """
        names = [name for name, one in strategy.guardrails.items() if isinstance(one, Label)]
        if not names:
            return {}
        with suppress(RolloutError):
            return dict.fromkeys(names, end_of(self._place).to_plain())
        return {}

    def labels(
        self, strategy: Strategy, marks: Mapping[str, Any], now: float
    ) -> tuple[Evidence, dict[str, Any]]:
        """Return what has matured, counted as measures named like the guardrails, and how far that was read.

        A ledger that cannot be read is read later; it is said once.
        """
        evidence, reached = Evidence(), dict[str, Any]()
        for name, guardrail in strategy.guardrails.items():
            if not isinstance(guardrail, Label):
                continue
            try:
                reached[name] = self._read(evidence, name, guardrail, marks.get(name), now)
                self._once.over(name)
            except RolloutError as error:
                reached[name] = marks.get(name)
                facts = {"rollout": self._rollout, "guardrail": name, "problem": str(error)}
                self._once.say(name, "labels.unread", "warning", **facts)
        return evidence, reached

    def gauges(self, variant: str, view: View) -> Mapping[str, float]:
        """Return what plain thresholds are about."""
        return gauges_of(variant, view)

    def _read(self, evidence: Evidence, name: str, guardrail: Label, mark: Any, now: float) -> dict[str, Any]:
        metric, endpoint = split_name(name)
        entry = metric.partition(".")[2]
        judging, judge = judging_of(self._labels, entry), self._judges.get(entry)
        if judging is None or judge is None:
            raise InvalidValue(f"nothing says how the label {entry!r} gives a number: write it under labels:")
        after = end_of(self._place) if mark is None else Watermark.from_plain(mark)
        found = matured(
            self._place,
            label=judging.told_as(entry),
            after=after,
            until=now,
            matures=guardrail.matures,
            most=MOST,
        )
        rows = [row for row in found.rows if endpoint in (None, row.endpoint)]
        evidence.add(measured(sums_of(rows, judge.bad_of, sticky=self._sticky), name))
        return found.after.to_plain()
