"""The frozen facts that travel between the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from .gauged import Drifted, Queued

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "Dropped",
    "Fact",
    "Flip",
    "FlipEnd",
    "Flipped",
    "Group",
    "Measures",
    "Observation",
    "Outcome",
    "Plan",
    "Prediction",
    "Readiness",
    "Reason",
    "Relation",
    "Reply",
]


class Reason(str, Enum):
    """Why a variant was chosen; the value of the header ``X-Rollout-Reason``."""

    SPLIT = "split"
    NO_KEY = "no_key"
    TARGETED = "targeted"
    PINNED = "pinned"
    FALLBACK = "fallback"
    UNAVAILABLE = "unavailable"
    DEFAULT = "default"


class Outcome(str, Enum):
    """How one run of one variant ended."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    DISCONNECTED = "disconnected"

    @property
    def failed(self) -> bool:
        """Whether the variant is to blame: an error, a timeout, or not being there."""
        return self in (Outcome.ERROR, Outcome.TIMEOUT, Outcome.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who serves one call (or one row), at which revision, and why.

    Attributes:
        variant, revision, reason: these.
        bucket: where the split put it; None: the split was not asked.
        missed: the variant that chance meant, that had been ready here, and that cannot answer now.
    """

    variant: str
    revision: int
    reason: Reason
    bucket: int | None = None
    missed: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one request that go to one variant, in the order in which they were sent."""

    variant: str
    rows: tuple[int, ...]


Measures = tuple[tuple[str, "float | tuple[float, ...]"], ...]


class Observation(NamedTuple):
    """What happened when one variant ran: how it ended and how long it took. Immutable.

    Attributes:
        rollout, endpoint, variant: who ran.
        revision, reason: the plan that it ran under.
        prediction_id: the prediction that it belongs to; rows of one request share the request's id.
        outcome: how it ended.
        seconds: monotonic duration; of a stream, to its first item.
        rows: for per-row routing, the indexes of the rows that it was given; else empty.
        error: the class name of the exception, if there was one. Never its text: that may hold payload.
        measures: what its code gave to `measure`, by name: a number, or one for each of ``rows``.
        counts: whether what it raised is the variant's error, as ``is_error=`` said; None: the outcome tells.
        total, items: of a stream, the seconds to its end, at its caller's pace, and its items; else None.
        own: of a sync endpoint in a worker, how long its code ran, without the wait for a thread; else None.
    """

    rollout: str
    endpoint: str
    variant: str
    revision: int
    reason: Reason
    prediction_id: str
    outcome: Outcome
    seconds: float
    rows: tuple[int, ...] = ()
    error: str | None = None
    measures: Measures = ()
    counts: bool | None = None
    total: float | None = None
    items: int | None = None
    own: float | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a variant has become in this worker: told at the start, and whenever it changes. Immutable.

    Attributes:
        rollout, variant: whose.
        runner: where it runs: ``worker``, ``process``, ``service`` or ``url``.
        state: ``starting``, ``ready``, ``unready`` or ``failed``.
        restarts: how often its process was started again; 0 where the worker starts none.
    """

    rollout: str
    variant: str
    runner: str
    state: str
    restarts: int = 0


class Relation(str, Enum):
    """How a shadow's answer relates to the champion's."""

    AGREE = "agree"
    DIFFER = "differ"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place at which two answers differ, in words that hold no payload.

    Attributes:
        path: where, like ``$.items[3].score``; ``$`` is the whole answer.
        kind: ``value``, ``label``, ``missing`` (the candidate lacks it), ``extra``, ``length`` or ``type``.
        champion, candidate: what stands there: numbers and labels as they are, text by its length only.
        magnitude: how telling it is: a relative difference of numbers, 1 where there is no measure.
    """

    path: str
    kind: str
    champion: str
    candidate: str
    magnitude: float = 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a shadow's answer relates to the champion's. Immutable.

    Attributes:
        relation: agree, differ, or not comparable.
        error: why they cannot be compared: ``shape``, ``type``, ``nan``, or the class of what was raised.
        differences: the most telling ones, most telling first; a bounded sample.
        fields: where they differ, indexes left out (``$.items[].score``), each once; bounded.
        labels: the champion's and the candidate's label, where the answers are labels.
    """

    relation: Relation
    error: str | None = None
    differences: tuple[Difference, ...] = ()
    fields: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def magnitude(self) -> float:
        """How telling the most telling difference is."""
        return max((difference.magnitude for difference in self.differences), default=0.0)


class Reply(NamedTuple):
    """What went out to a caller.

    Attributes:
        status: the HTTP status; 0: nothing was sent yet, as of a task.
        media_type: of the body.
        body: what was sent; only its beginning when it was long.
        size: how many bytes were sent.
        value: of a task, what the endpoint returned; its body is not made before somebody asks for it.
    """

    status: int = 0
    media_type: str = ""
    body: bytes = b""
    size: int = 0
    value: Any = None

    def __repr__(self) -> str:
        return f"Reply(status={self.status}, media_type={self.media_type!r}, size={self.size})"


class Prediction(NamedTuple):
    """One prediction as its caller saw it; told once, when its answer is out or its task is done. Immutable.

    Attributes:
        rollout, endpoint: what was asked.
        prediction_id: UUIDv7; row i of a request with a key for each row is ``ID.i``, from 0.
        time: when the request came, in seconds since 1970.
        plans: who answered, at which revision, and why: one, or one for each row.
        runs: each run of a variant that it took, in their order; one that failed before a fallback is there.
        outcome: how it ended for the caller.
        seconds: how long whoever answered ran; of rows the longest; of a stream to its first item.
        keys: the routing keys as text, one for each plan; None where there was none. Personal data: never
            written as they are.
        inference_ids: the caller's own ids, one for each plan; None where there was none.
        trace_id, span_id: of the request's span, 32 and 16 hexadecimal digits; empty where there is none.
        sampled: whether that span is recorded.
        shadows: who shadowed it.
        reply: what went out.
        inputs: the endpoint's arguments by name, where somebody wants them; else None.
        task_id: of a task.
        bound: what the user's own code has bound for each of its log lines; None: nobody wants it.
        degree: the degree of automation of its endpoint, as a word; empty: it is not automated.
        decided_by: ``model``, ``human`` or ``default``; empty: not automated, or nobody has decided yet.
        watched: the first rows of the arguments, an `Excerpt`, where drift is watched; else None.
    """

    rollout: str
    endpoint: str
    prediction_id: str
    time: float
    plans: tuple[Plan, ...]
    runs: tuple[Observation, ...]
    outcome: Outcome
    seconds: float
    keys: tuple[str | None, ...] = ()
    inference_ids: tuple[str | None, ...] = ()
    trace_id: str = ""
    span_id: str = ""
    sampled: bool = False
    shadows: tuple[str, ...] = ()
    reply: Reply = Reply()
    inputs: Mapping[str, Any] | None = None
    task_id: str | None = None
    bound: Mapping[str, Any] | None = None
    degree: str = ""
    decided_by: str = ""
    watched: Any = None

    def __repr__(self) -> str:
        """Return who answered what, and nothing of what was asked: keys and inputs are personal data."""
        who = ",".join(sorted({plan.variant for plan in self.plans}))
        return f"<Prediction {self.prediction_id} of {self.endpoint} by {who}: {self.outcome.value}>"

    @property
    def by_model(self) -> bool:
        """Whether the caller got a variant's answer: not a person's, not a default one, not none so far."""
        return not self.degree or self.decided_by == "model"

    @property
    def error(self) -> str | None:
        """The class name of what the last run raised."""
        return self.runs[-1].error if self.runs else None

    @property
    def by_rows(self) -> bool:
        """Whether each row was routed by itself."""
        return bool(self.runs) and bool(self.runs[0].rows)


@dataclass(frozen=True, slots=True)
class Compared:
    """What one shadow made of one prediction, compared with the champion's answer. Immutable.

    Attributes:
        rollout, endpoint, variant, champion, revision: whose.
        prediction_id: the prediction's.
        time: when it was compared, in seconds since 1970.
        comparisons: the result; of rows one for each.
        rows: which rows of the request were compared; None: its answer as a whole.
        seconds, champion_seconds: how long each ran; None: it failed, or that is not known.
        answer: what the shadow answered, where somebody wants it.
        trace_id, span_id: of the shadow's own span; empty where there is none.
        failed: whether the shadow raised, so that there is no answer of its own.
        keys, inference_ids: the prediction's, all of them: one for each of its plans. Personal data: never
            written as they are.
    """

    rollout: str
    endpoint: str
    variant: str
    champion: str
    revision: int
    prediction_id: str
    time: float
    comparisons: tuple[Comparison, ...]
    rows: tuple[int, ...] | None = None
    seconds: float | None = None
    champion_seconds: float | None = None
    answer: Any = field(default=None, repr=False, compare=False)
    trace_id: str = ""
    span_id: str = ""
    failed: bool = False
    keys: tuple[str | None, ...] = field(default=(), repr=False)
    inference_ids: tuple[str | None, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Calls that a shadow was not given, since it was told last: counted, not one by one. Immutable.

    Attributes:
        rollout, endpoint, variant, champion, revision, reason, count: whose, why (``queue_full``), how many.
    """

    rollout: str
    endpoint: str
    variant: str
    champion: str
    revision: int
    reason: str
    count: int


class FlipEnd(str, Enum):
    """How a change of the champion ended."""

    COMMITTED = "committed"
    VETOED = "vetoed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Flipped:
    """How a change of the champion ended; told once on a host, by one of its workers. Immutable.

    Attributes:
        rollout, source, target: whose, and which variant was to be replaced by which.
        outcome: committed, by whatever verb; vetoed by a worker; or abandoned: prepared, and then given up.
    """

    rollout: str
    source: str
    target: str
    outcome: FlipEnd


Fact = Observation | Prediction | Readiness | Compared | Dropped | Flipped | Queued | Drifted
"""What a sink is given."""


@dataclass(frozen=True, slots=True)
class Flip:
    """What a hook is told about the flip that it guards or follows.

    Attributes:
        rollout, source, target: whose; the champion that is replaced, and the variant that becomes one.
        instance: the target in this worker: the service's own, or for other runners an object with the routed
            endpoints as methods. Warm it up, or smoke-test it.
        reason, author: what the operator wrote, and who that is.
    """

    rollout: str
    source: str
    target: str
    instance: Any = field(repr=False, compare=False)
    reason: str = ""
    author: str = ""
