"""Facts as the rows that a ledger keeps of them, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ..records import Compared, Observation, Outcome, Plan, Prediction, Reply
from ..rows import row_count, take
from .ledger_ids import WHOLE, id_of
from .ledger_json import Plain, as_is, compact, json_of, kept_text, read, rows_of_text

__all__ = [
    "INSERT_ALARM",
    "INSERT_COUNT",
    "INSERT_PREDICTION",
    "INSERT_SHADOW",
    "PREDICTION",
    "SHADOW",
    "STORED",
    "Entry",
    "Insert",
    "Keeping",
    "Run",
    "Values",
    "Verdict",
    "entry_of",
    "verdict_of",
]

Values = tuple[object, ...]
"""A row as it is stored."""

_KEPT = (
    "id", "row", "time", "key_hash", "inference_id", "endpoint", "variant", "revision", "reason", "outcome",
    "error", "seconds", "task_id", "trace_id", "span_id", "status", "media_type", "size", "runs", "inputs",
    "output",
)  # fmt: skip
PREDICTION = ", ".join(("seq", *_KEPT))
"""The columns that `entry_of` reads."""

STORED = (*_KEPT, "drift")
"""The columns of a prediction as they are written."""

SHADOW = (
    "id, row, variant, champion, revision, time, relation, error, seconds, champion_seconds, trace_id, "
    "span_id, differences, output"
)
"""The columns that `verdict_of` reads."""


@dataclass(frozen=True, slots=True)
class Insert:
    """How rows of one kind are written: many of them in one statement.

    SQLite lets go of the interpreter for each statement, and a thread that wants it back waits for whoever
    serves, or makes it wait: row by row that costs the server more than the rows themselves.

    Attributes:
        columns: how many values a row has.
        before, after: the statement around the rows.
    """

    columns: int
    before: str
    after: str

    def some(self, rows: Sequence[Values]) -> Iterator[tuple[str, list[object]]]:
        """Return the statements that write rows, each with its values; of few sizes, since SQLite keeps them.

        >>> many = Insert(2, "INSERT INTO t VALUES", "").some([(1, 2)] * 41)
        >>> [len(values) for _, values in many]
        [64, 16, 2]
        """
        done = 0
        while left := len(rows) - done:
            size = min(1 << left.bit_length() - 1, _MOST)
            yield self.of(size), list(chain.from_iterable(rows[done : done + size]))
            done += size

    def of(self, count: int) -> str:
        """Return the statement for so many rows."""
        row = f"({', '.join('?' * self.columns)})"
        return f"{self.before} {', '.join([row] * count)} {self.after}"


_MOST = 256 if sqlite3.sqlite_version_info >= (3, 32) else 32
"""Rows of one statement: 32 766 values may be bound, and only 999 before SQLite 3.32."""

INSERT_PREDICTION = Insert(
    len(STORED),
    f"INSERT INTO predictions ({', '.join(STORED)}) VALUES",
    "ON CONFLICT (id, row) DO NOTHING",
)
INSERT_ALARM = Insert(
    7,
    "INSERT INTO drift_schema VALUES",
    "ON CONFLICT (reference, kind, feature) DO UPDATE "
    "SET count = drift_schema.count + excluded.count, last = excluded.last",
)
INSERT_COUNT = Insert(
    2,
    "INSERT INTO counters VALUES",
    "ON CONFLICT (name) DO UPDATE SET number = counters.number + excluded.number",
)
INSERT_SHADOW = Insert(
    14,
    f"INSERT INTO shadows ({SHADOW}) VALUES",
    "ON CONFLICT (id, row, variant) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in SHADOW.split(", ")[3:]),
)
"""One that is told again is the newest; what is said to a forgotten prediction is left out before."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a variant that failed before another one answered."""

    variant: str
    outcome: str
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One prediction as the ledger keeps it.

    Attributes:
        seq: its place in the order of arrival; grows, and never comes again.
        prediction_id: ``ID``, or ``ID.i`` for row i of a request with a key for each row.
        time: when the request came, in seconds since 1970.
        key_hash: of the routing key; None: there was none, or it could not be hashed.
        inference_id: the caller's own id.
        endpoint, variant, revision, reason: what was asked, who answered, and why.
        outcome: how it ended for the caller.
        error: the class of what the last run raised.
        seconds: how long whoever answered ran.
        task_id: of a task.
        trace_id, span_id: of the request's span; empty where there was none.
        status, media_type, size: of the whole answer that was sent.
        runs: those that failed before.
        inputs: the endpoint's arguments by name, where they are kept.
        output: what was answered, where it is kept.
    """

    seq: int
    prediction_id: str
    time: float
    key_hash: str | None
    inference_id: str | None
    endpoint: str
    variant: str
    revision: int
    reason: str
    outcome: str
    error: str | None
    seconds: float
    task_id: str | None
    trace_id: str
    span_id: str
    status: int
    media_type: str
    size: int
    runs: tuple[Run, ...] = ()
    inputs: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a shadow said to one prediction.

    Attributes:
        prediction_id: the prediction's.
        variant, champion, revision: who shadowed whom.
        time: when the answers were compared, in seconds since 1970.
        relation: ``agree``, ``differ`` or ``not_comparable``.
        error: why they cannot be compared.
        seconds, champion_seconds: how long each ran; None: it failed, or that is not known.
        differences: the most telling ones, each ``{path, kind, champion, candidate, magnitude}``.
        output: what the shadow answered, where it is kept.
        trace_id, span_id: of the shadow's own span.
    """

    prediction_id: str
    variant: str
    champion: str
    revision: int
    time: float
    relation: str
    error: str | None
    seconds: float | None
    champion_seconds: float | None
    trace_id: str
    span_id: str
    differences: tuple[Mapping[str, Any], ...] = ()
    output: Any = field(default=None, repr=False)


def entry_of(row: Sequence[Any]) -> Entry:
    """Return a stored row of `PREDICTION`."""
    seq, request, number, *plain, runs, inputs, output = row
    failed = tuple(Run(*run) for run in read(runs) or ())
    return Entry(*(seq, id_of(request, number), *plain, failed, read(inputs), read(output)))


def verdict_of(row: Sequence[Any]) -> Verdict:
    """Return a stored row of `SHADOW`."""
    request, number, *plain, differences, output = row
    told = tuple(read(differences) or ())
    return Verdict(*(id_of(request, number), *plain, told, read(output)))


class Keeping:
    """Makes rows of facts; whatever payload does when it is looked at costs its own place only.

    Args:
        outputs, inputs: whether they are kept.
        hashed: the hash of a key.
        plain: an answer as what JSON can say.
    """

    def __init__(
        self,
        *,
        outputs: bool = True,
        inputs: bool = False,
        hashed: Callable[[str], str | None] = lambda _: None,
        plain: Plain = as_is,
    ) -> None:
        self._outputs, self._inputs, self._hashed, self._plain = outputs, inputs, hashed, plain

    def predictions(self, fact: Prediction, drift: Sequence[bytes | None] = (None,)) -> list[Values]:
        """Return the row of a prediction, or one for each row of its request.

        Args:
            fact: what is told of it.
            drift: the bins of its inputs; of a request with rows of each row's, as far as there are some.
        """
        if fact.by_rows:
            return self._by_rows(fact, drift)
        plan, runs = fact.plans[0], fact.runs
        failed = _failed(runs[:-1]) if len(runs) > 1 else None
        inputs = json_of(fact.inputs, self._plain) if self._inputs and fact.inputs is not None else None
        output = self._output(fact) if self._outputs else None
        key, inference = _first(fact.keys), _first(fact.inference_ids)
        how = fact.outcome.value, fact.error, fact.seconds
        payload = failed, inputs, output, drift[0]
        return [self._row(fact, WHOLE, plan, key, inference, how, *payload)]

    def shadows(self, fact: Compared) -> list[Values]:
        """Return the row of a comparison, or one for each row of its request."""
        numbers = (WHOLE,) if fact.rows is None else fact.rows
        outputs: Sequence[str | None] = (None,) * len(numbers)
        if self._outputs and fact.answer is not None:
            outputs = self._answers(fact.answer, None if fact.rows is None else len(numbers))
        who = fact.variant, fact.champion, fact.revision, fact.time
        cost = fact.seconds, fact.champion_seconds, fact.trace_id, fact.span_id
        rows = zip(numbers, fact.comparisons, outputs, strict=False)
        return [
            (
                fact.prediction_id, number, *who, said.relation.value, said.error, *cost,
                json_of(said.differences) if said.differences else None, output,
            )
            for number, said, output in rows
        ]  # fmt: skip

    def _row(
        self,
        fact: Prediction,
        number: int,
        plan: Plan,
        key: str | None,
        inference_id: str | None,
        how: tuple[str, str | None, float],
        *payload: str | bytes | None,
    ) -> Values:
        reply = fact.reply
        return (
            fact.prediction_id, number, fact.time, None if key is None else self._hashed(key), inference_id,
            fact.endpoint, plan.variant, plan.revision, plan.reason.value, *how, fact.task_id, fact.trace_id,
            fact.span_id, reply.status, reply.media_type, reply.size, *payload,
        )  # fmt: skip

    def _by_rows(self, fact: Prediction, drift: Sequence[bytes | None]) -> list[Values]:
        count = len(fact.plans)
        last: dict[int, Observation] = {}
        before: dict[int, list[Observation]] = {}
        for run in fact.runs:
            for row in run.rows:
                if row in last:
                    before.setdefault(row, []).append(last[row])
                last[row] = run
        outputs = self._row_outputs(fact, count) if self._outputs else (None,) * count
        inputs = self._row_inputs(fact.inputs, count) if self._inputs and fact.inputs else (None,) * count
        keys, names = (
            values if len(values) == count else (None,) * count for values in (fact.keys, fact.inference_ids)
        )
        return [
            self._row(
                fact, row, plan, keys[row], names[row], _ended(fact, last.get(row)),
                _failed(before[row]) if row in before else None, inputs[row], outputs[row],
                drift[row] if row < len(drift) else None,
            )
            for row, plan in enumerate(fact.plans)
        ]  # fmt: skip

    def _output(self, fact: Prediction) -> str | None:
        reply = fact.reply
        if fact.task_id is not None:
            return None if reply.value is None else json_of(reply.value, self._plain)
        if _is_json(fact):
            return kept_text(reply.body)
        return _said(reply) if reply.media_type.startswith("text/") else None

    def _row_outputs(self, fact: Prediction, count: int) -> Sequence[str | None]:
        if fact.task_id is not None:
            return self._answers(fact.reply.value, count)
        found = rows_of_text(fact.reply.body, count) if _is_json(fact) else None
        return (None,) * count if found is None else found

    def _answers(self, answer: Any, count: int | None) -> Sequence[str | None]:
        """Return an answer as texts, for each row one."""
        if count is None:
            return (json_of(answer, self._plain),)
        try:
            answer = self._plain(answer)
            if row_count(answer) != count:
                return (None,) * count
            return [json_of(_row_of(answer, row), self._plain) for row in range(count)]
        except Exception:  # noqa: BLE001 - an answer that cannot be looked at is not kept
            return (None,) * count

    def _row_inputs(self, inputs: Mapping[str, Any], count: int) -> Sequence[str | None]:
        """Return the arguments for each row: of those that are as long as the rows its own part."""
        try:
            parted = {name: value for name, value in inputs.items() if row_count(value) == count}
            others = {name: read(json_of(v, self._plain)) for name, v in inputs.items() if name not in parted}
            return [
                json_of(
                    {n: _row_of(parted[n], row) if n in parted else others[n] for n in inputs}, self._plain
                )
                for row in range(count)
            ]
        except Exception:  # noqa: BLE001 - arguments that cannot be looked at are not kept
            return (None,) * count


def _said(reply: Reply) -> str | None:
    """Return an answer in plain words as JSON text; None when it was long, or is no text."""
    if reply.size != len(reply.body):
        return None
    try:
        return json_of(reply.body.decode("utf-8"))
    except UnicodeError:
        return None


def _is_json(fact: Prediction) -> bool:
    """Whether an answer is JSON, and all of it is there."""
    reply = fact.reply
    if not reply.body or reply.size > len(reply.body):
        return False
    kind = reply.media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _row_of(batch: Any, row: int) -> Any:
    """Return one row of a batch: of a frame its columns by name."""
    if type(batch).__module__.partition(".")[0] == "pandas":
        return (
            take(batch, [row]).to_dict(orient="records")[0] if hasattr(batch, "columns") else batch.iloc[row]
        )
    return batch[row]


def _ended(fact: Prediction, run: Observation | None) -> tuple[str, str | None, float]:
    """Return how a row ended for its caller: what its own run did, else what became of the whole request."""
    if run is None:
        return fact.outcome.value, None, fact.seconds
    own = run.outcome is not Outcome.OK and fact.outcome is not Outcome.OK
    return (run.outcome if own else fact.outcome).value, run.error, run.seconds


def _failed(runs: Sequence[Observation]) -> str:
    return compact([(run.variant, run.outcome.value, run.error, run.seconds) for run in runs])


def _first(values: Sequence[str | None]) -> str | None:
    return values[0] if values else None
