"""`LogLines`: a log line for each prediction, for what a shadow made of it, and for what it was not given."""

from __future__ import annotations

import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..records import Compared, Dropped, Observation, Outcome, Prediction
from ..revisions import shown_revision
from ..spec import Logging
from .log import WRITER
from .rendering import Line, as_text, stamp_of
from .users import context_of
from .writer import LIGHT, Writer

if TYPE_CHECKING:
    from .masking import Masking

__all__ = ["LogLines", "is_sampled", "weight_of"]

SERVED, FAILED = "prediction.served", "prediction.failed"
COMPARED, DROPPED = "shadow.compared", "shadow.dropped"
"""The events of facts."""

MOST_BYTES = 8192
"""Bytes of a line that holds arguments."""

_LONGEST_ID = 200
"""Characters of a caller's own id that are told."""

_MOST_PARTS = 200
"""Parts of a value that are weighed; the others are taken to weigh as much."""

_UNWEIGHED = 1 << 20
"""Bytes that a value with more parts holds at least: nobody knows what the others are."""

_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Values without parts."""

Fields = dict[str, Any]


class LogLines:
    """Writes lines of one rollout's facts, as its spec wants them.

    Args:
        rollout: the rollout's name.
        settings: which lines are written, and what they tell.
        hashed: the keyed hash of a text.
        writer: where lines go.
        hidden_ids: the endpoints whose callers' own ids are not told: they are read from what is hidden.
    """

    def __init__(
        self,
        rollout: str,
        settings: Logging,
        hashed: Callable[[str], str],
        writer: Writer = WRITER,
        hidden_ids: Collection[str] = (),
    ) -> None:
        self._rollout, self._sample, self._writer = rollout, settings.sample, writer
        self._hidden_ids = frozenset(hidden_ids)
        self._masking: Masking | None = None
        if settings.inputs:
            from .masking import Masking

            paths = {"drop": settings.drop, "mask": settings.mask, "hashes": settings.hash}
            self._masking = Masking(**paths, hashed=hashed)
        self._matched: set[str] = set()
        self._said: set[str] = set()
        self._credit = 1.0
        self._closed = False
        self._make: dict[type, Callable[[Any], Line | None]] = {
            Prediction: self._prediction,
            Compared: self._compared,
            Dropped: self._dropped,
        }
        writer.serve()

    def offer(self, fact: Prediction | Compared | Dropped) -> None:
        """Let a fact's line be written, or lost and counted; never blocks."""
        weight = LIGHT
        if type(fact) is Prediction:
            weight += len(fact.reply.body)
            for held in (fact.reply.value, fact.inputs, fact.bound):
                weight += 0 if held is None else weight_of(held)
        elif type(fact) is Compared and fact.answer is not None:
            weight += weight_of(fact.answer)
        self._writer.take(self._make[type(fact)], fact, weight)

    @property
    def lost(self) -> int:
        """How many lines of this process were not written, whatever the reason."""
        return self._writer.lost + self._writer.failed

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._writer.waiting

    def close(self, timeout: float) -> bool:
        """Wait until all lines are written; return whether it was in time. Not on a loop; idempotent."""
        if self._closed:
            return self._writer.flush(timeout)
        self._closed = self._writer.end(timeout)
        return self._closed

    # -- in the writer's thread ------------------------------------------------------------------------

    def _prediction(self, fact: Prediction) -> Line | None:
        name, level = _event_of(fact)
        failures = [run for run in fact.runs if run.outcome.failed]
        if not failures and name == SERVED and not self._chosen(name, fact.prediction_id):
            return None
        fields = _story_of(fact)
        last = _caused(fact) if name == FAILED else None
        if last is not None:
            fields["error"] = last.error
        if others := [run for run in failures if run is not last]:
            fields["failed_runs"] = [_failure(run) for run in others]
            level = "warning" if level == "info" else level
        if fact.by_rows:
            fields["rows"] = len(fact.plans)
        elif (
            own := next(iter(fact.inference_ids), None)
        ) is not None and fact.endpoint not in self._hidden_ids:
            fields["inference_id"] = own[:_LONGEST_ID]
        if fact.runs and fact.runs[-1].measures and not fact.by_rows:
            fields["measures"] = dict(fact.runs[-1].measures)
        if fact.task_id is not None:
            fields["task_id"] = fact.task_id
        if fact.shadows:
            fields["shadows"] = list(fact.shadows)
        context = None if fact.bound is None else context_of(fact.bound)
        return self._with_inputs(Line(name, level, fields, fact.time, context), fact)

    def _compared(self, fact: Compared) -> Line | None:
        errors = sorted({comparison.error for comparison in fact.comparisons if comparison.error})
        if not errors and not self._chosen(COMPARED, fact.prediction_id):
            return None
        fields: Fields = {
            "timestamp": stamp_of(fact.time),
            "rollout": fact.rollout,
            "variant": fact.variant,
            "champion": fact.champion,
            "endpoint": fact.endpoint,
            "revision": shown_revision(fact.revision),
            "prediction_id": fact.prediction_id,
            "trace_id": fact.trace_id,
            "span_id": fact.span_id,
        }
        relations = Counter(comparison.relation.value for comparison in fact.comparisons)
        fields |= {"relation": next(iter(relations), "")} if fact.rows is None else {"relations": relations}
        if fact.rows is not None:
            fields["rows"] = len(fact.rows)
        if errors:
            fields["error"] = ",".join(errors)
        for key, seconds in (("seconds", fact.seconds), ("champion_seconds", fact.champion_seconds)):
            fields |= {} if seconds is None else {key: round(seconds, 6)}
        return Line(COMPARED, "warning" if errors else "info", fields, fact.time)

    def _dropped(self, fact: Dropped) -> Line | None:
        self._credit += self._sample.get(DROPPED, 1.0)
        if self._credit <= 1.0:
            return None
        self._credit -= 1.0
        fields = {name: getattr(fact, name) for name in Dropped.__slots__}
        fields["revision"] = shown_revision(fact.revision)
        return Line(DROPPED, "info", fields, time.time())

    def _with_inputs(self, line: Line, fact: Prediction) -> Line:
        if self._masking is None or fact.inputs is None:
            return line
        told = self._masking.tell(fact.inputs)
        fields = {**line.fields, "inputs": told.inputs}
        if told.left_out:
            fields["inputs_left_out"] = [name[:_LONGEST_ID] for name in told.left_out[:20]]
        self._matched |= told.matched
        for path in told.missing - self._matched - self._said:
            self._say_unmatched(path, fact.endpoint)
        whole = replace(line, fields=fields)
        if len(as_text(whole, terminal=False)) <= MOST_BYTES:
            return whole
        return replace(line, fields={**line.fields, "inputs": "too long"})

    def _say_unmatched(self, path: str, endpoint: str) -> None:
        self._said.add(path)
        hint = "nothing stood there in the arguments of a prediction; if nothing ever does, mend the path"
        fields = {"rollout": self._rollout, "endpoint": endpoint, "path": path, "hint": hint}
        self._writer.take(_as_it_is, Line("log.path_unmatched", "warning", fields, time.time()))

    def _chosen(self, event: str, prediction_id: str) -> bool:
        return is_sampled(prediction_id, self._sample.get(event, 1.0))


def is_sampled(prediction_id: str, fraction: float) -> bool:
    """Whether a prediction is among a fraction of all: always the same ones, and less of them are among more.

    >>> is_sampled("0190b8f0-0000-7000-8000-000000000000", 1.0)
    True
    """
    return fraction >= 1.0 or zlib.crc32(prediction_id.encode()) < fraction * (1 << 32)


def weight_of(value: Any) -> int:
    """Return about how many bytes a value holds: of many parts the first ones tell of the others."""
    if type(value) in _LEAVES:
        return sys.getsizeof(value)
    size = looked_at = more = 0
    parts = [value]
    try:
        while parts and looked_at < _MOST_PARTS:
            part = parts.pop()
            looked_at += 1
            if type(part) in _LEAVES:
                size += sys.getsizeof(part)
                continue
            size += _size_of(part)
            inner = _inner(part)
            room = max(0, _MOST_PARTS - len(parts))
            parts += islice(inner, room)
            more += max(0, len(inner) - room)
    except Exception:  # noqa: BLE001 - whatever a value does when it is looked at
        return _UNWEIGHED
    if not parts and not more:
        return size
    return max(_UNWEIGHED, size * (looked_at + len(parts) + more) // looked_at)


def _size_of(part: Any) -> int:
    kind = type(part)
    if hasattr(kind, "iloc"):  # a table looks at all its cells to tell its size
        return int(part.size) * 64
    return int(part.nbytes) if hasattr(kind, "nbytes") else sys.getsizeof(part, 64)


def _inner(part: Any) -> Collection[Any]:
    if isinstance(part, dict):
        return part.values()
    if isinstance(part, (list, tuple, set, frozenset)):
        return part
    inner = getattr(part, "__dict__", None)
    return inner.values() if isinstance(inner, dict) and not hasattr(type(part), "iloc") else ()


def _event_of(fact: Prediction) -> tuple[str, str]:
    """Return the event and the level of a prediction."""
    if fact.outcome is Outcome.OK:
        return SERVED, "info"
    theirs = fact.outcome in (Outcome.CLIENT_ERROR, Outcome.DISCONNECTED)
    return FAILED, "warning" if theirs else "error"


def _story_of(fact: Prediction) -> Fields:
    """Return who answered, why, and what else each line of a prediction tells."""
    plans = fact.plans
    if len(plans) == 1:
        variant, revision, reason = plans[0].variant, plans[0].revision, plans[0].reason.value
    else:
        variant = ",".join(sorted({plan.variant for plan in plans}))
        reason = ",".join(sorted({plan.reason.value for plan in plans}))
        revision = max(plan.revision for plan in plans)
    return {
        "timestamp": stamp_of(fact.time),
        "rollout": fact.rollout,
        "variant": variant,
        "endpoint": fact.endpoint,
        "revision": shown_revision(revision),
        "reason": reason,
        "prediction_id": fact.prediction_id,
        "trace_id": fact.trace_id,
        "span_id": fact.span_id,
        "seconds": round(fact.seconds, 6),
        "outcome": fact.outcome.value,
        **({"degree": fact.degree, "decided_by": fact.decided_by} if fact.degree else {}),
    }


def _caused(fact: Prediction) -> Observation | None:
    """Return the run whose error the caller got."""
    return next((run for run in reversed(fact.runs) if run.error is not None), None)


def _failure(run: Observation) -> Fields:
    told = {"variant": run.variant, "outcome": run.outcome.value, "seconds": round(run.seconds, 6)}
    return told if run.error is None else {**told, "error": run.error}


def _as_it_is(line: Line) -> Line:
    return line
