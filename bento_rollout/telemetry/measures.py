"""What of a fact becomes which sample of which metric: one table, from which all about metrics is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..gauged import Drifted, Queued
from ..records import (
    Compared,
    Dropped,
    Fact,
    Flipped,
    Observation,
    Prediction,
    Readiness,
)

__all__ = [
    "BUCKETS",
    "CHAMPION",
    "FACTS",
    "FLIPS",
    "LOST",
    "MEASURES",
    "REVISION",
    "RUNS",
    "SHADOW",
    "SPEC_REFUSED",
    "STALE",
    "STORE_AGE",
    "WAITING",
    "WEIGHT",
    "WORKERS",
    "Gathered",
    "Measure",
    "Sample",
    "Series",
    "gathered",
]


@dataclass(frozen=True, eq=False)
class Measure:
    """One metric.

    Attributes:
        name: as it is scraped.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: what one sample says.
        labels: their names; their values come from definitions and from closed lists, never from a caller.
        merge: of gauges, how the values of several workers become one, as prometheus_client calls it.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    merge: str = ""


class Series(NamedTuple):
    """One metric with a value for each of its labels; a member of an enum stands for its value."""

    measure: Measure
    labels: tuple[str, ...]


Sample = tuple[Series, float]
"""What is added to a counter, observed in a histogram, or the value that a gauge has now."""

_CALL = ("rollout", "endpoint", "variant")
_RECENT, _LIVE_SUM = "mostrecent", "livesum"

PREDICTIONS = Measure(
    "bento_rollout_predictions_total",
    "counter",
    "Predictions as their callers saw them; of requests with a key for each row, one for each row",
    (*_CALL, "reason", "outcome"),
)
RUNS = Measure(
    "bento_rollout_runs_total",
    "counter",
    "Runs of a variant; one that failed before the champion answered for it is counted, too",
    (*_CALL, "outcome"),
)
RUN_SECONDS = Measure(
    "bento_rollout_run_seconds",
    "histogram",
    "How long a run of a variant took; of a stream to its first item",
    _CALL,
)
COMPARED = Measure(
    "bento_rollout_shadow_compared_total",
    "counter",
    "Answers of a shadow, by how they relate to the champion's; of requests with a key for each row, rows",
    (*_CALL, "relation"),
)
DROPPED = Measure(
    "bento_rollout_shadow_dropped_total",
    "counter",
    "Calls that a shadow was not given, or did not finish",
    (*_CALL, "reason"),
)
SHADOW_SECONDS = Measure(
    "bento_rollout_shadow_run_seconds", "histogram", "How long a shadow's run took, if it answered", _CALL
)
FLIPS = Measure(
    "bento_rollout_flips_total",
    "counter",
    "Changes of the champion, by how they ended; each is counted once on a host",
    ("rollout", "outcome"),
)
LOST = Measure(
    "bento_rollout_telemetry_lost_total",
    "counter",
    "Facts that found no room in a channel, or could not be written",
    ("rollout", "channel"),
)
WAITING = Measure(
    "bento_rollout_telemetry_waiting",
    "gauge",
    "Facts that wait in a channel, in all living workers",
    ("rollout", "channel"),
    _LIVE_SUM,
)
CHAMPION = Measure(
    "bento_rollout_champion",
    "gauge",
    "1 for the champion, 0 for each other variant",
    ("rollout", "variant"),
    _RECENT,
)
REVISION = Measure(
    "bento_rollout_revision", "gauge", "The newest revision that is served", ("rollout",), "max"
)
WEIGHT = Measure(
    "bento_rollout_weight_ratio",
    "gauge",
    "The share of keys that a variant has, from 0 to 1; the champion has what is left",
    ("rollout", "variant"),
    _RECENT,
)
SHADOW = Measure(
    "bento_rollout_shadow_ratio",
    "gauge",
    "The share of keys that a variant shadows, from 0 to 1",
    ("rollout", "variant"),
    _RECENT,
)
READY = Measure(
    "bento_rollout_variant_ready",
    "gauge",
    "1 when a variant is ready in every living worker, else 0",
    ("rollout", "variant", "runner"),
    "livemin",
)
RESTARTS = Measure(
    "bento_rollout_variant_restarts",
    "gauge",
    "How often a variant's processes were started again, in all living workers",
    ("rollout", "variant", "runner"),
    _LIVE_SUM,
)
DECISIONS = Measure(
    "bento_rollout_decisions_total",
    "counter",
    "Calls of automated endpoints, by who decided: model, human, default, or pending: nobody had then",
    ("rollout", "endpoint", "degree", "decided_by"),
)
REVIEWS = Measure(
    "bento_rollout_reviews_open",
    "gauge",
    "Cases that wait for people, audits included",
    ("rollout", "endpoint"),
    _RECENT,
)
ADJUDICATING = Measure(
    "bento_rollout_reviews_adjudicating",
    "gauge",
    "Cases that wait for an adjudicator: they were handed up, or two answers differ",
    ("rollout", "endpoint"),
    _RECENT,
)
LETTERS = Measure(
    "bento_rollout_letters_waiting",
    "gauge",
    "Messages about cases that a webhook is still to be told",
    ("rollout", "endpoint"),
    _RECENT,
)
LETTERS_LOST = Measure(
    "bento_rollout_letters_lost",
    "gauge",
    "Messages about cases that a webhook was never told: given up, or too many",
    ("rollout", "endpoint"),
    _RECENT,
)
DRIFT_EVIDENCE = Measure(
    "bento_rollout_drift_log_evidence",
    "gauge",
    "The natural logarithm of how much likelier the rows are if something has changed than by chance",
    ("rollout", "endpoint", "test"),
    _RECENT,
)
DRIFT_LATCHED = Measure(
    "bento_rollout_drift_latched",
    "gauge",
    "1 while an alarm of drift waits for a person, else 0",
    ("rollout", "endpoint", "test"),
    _RECENT,
)
DRIFT_ROWS = Measure(
    "bento_rollout_drift_rows_total",
    "counter",
    "Rows, and of concept/VARIANT labels, that a test was given, or why not; each is counted once on a host",
    ("rollout", "endpoint", "test", "outcome"),
)
WORKERS = Measure("bento_rollout_workers", "gauge", "Living workers", ("rollout",), _LIVE_SUM)
STORE_AGE = Measure(
    "bento_rollout_store_age_seconds",
    "gauge",
    "Since when no look at the store has succeeded, in the living worker that is worst off",
    ("rollout",),
    "livemax",
)
STALE = Measure(
    "bento_rollout_stale_answers_total",
    "counter",
    "Answers without a connection to the store, by what was obeyed: serve (the last state), champion, refuse",
    ("rollout", "obeyed"),
)
SPEC_REFUSED = Measure(
    "bento_rollout_spec_refused", "gauge", "1 while the file that governs is refused", ("rollout",), "livemax"
)

MEASURES = (
    PREDICTIONS,
    RUNS,
    RUN_SECONDS,
    COMPARED,
    DROPPED,
    SHADOW_SECONDS,
    FLIPS,
    DECISIONS,
    REVIEWS,
    ADJUDICATING,
    LETTERS,
    LETTERS_LOST,
    DRIFT_EVIDENCE,
    DRIFT_LATCHED,
    DRIFT_ROWS,
    CHAMPION,
    REVISION,
    WEIGHT,
    SHADOW,
    READY,
    RESTARTS,
    WORKERS,
    STORE_AGE,
    STALE,
    SPEC_REFUSED,
    LOST,
    WAITING,
)
"""Every metric."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histograms, in seconds."""

# -- facts ------------------------------------------------------------------------------------------------


def _of_prediction(fact: Prediction) -> Iterator[Sample]:
    if fact.degree:
        decided = (fact.rollout, fact.endpoint, fact.degree, fact.decided_by or "pending")
        yield Series(DECISIONS, decided), 1
    if not fact.by_model:
        return  # no variant answered
    for plan in fact.plans:
        labels = (fact.rollout, fact.endpoint, plan.variant, plan.reason, fact.outcome)
        yield Series(PREDICTIONS, labels), 1


def _of_observation(fact: Observation) -> Iterator[Sample]:
    call = (fact.rollout, fact.endpoint, fact.variant)
    yield Series(RUNS, (*call, fact.outcome)), 1
    yield Series(RUN_SECONDS, call), fact.seconds


def _of_compared(fact: Compared) -> Iterator[Sample]:
    call = (fact.rollout, fact.endpoint, fact.variant)
    for comparison in fact.comparisons:
        yield Series(COMPARED, (*call, comparison.relation)), 1
    if fact.seconds is not None:
        yield Series(SHADOW_SECONDS, call), fact.seconds


def _of_dropped(fact: Dropped) -> Iterator[Sample]:
    yield Series(DROPPED, (fact.rollout, fact.endpoint, fact.variant, fact.reason)), fact.count


def _of_readiness(fact: Readiness) -> Iterator[Sample]:
    labels = (fact.rollout, fact.variant, fact.runner)
    yield Series(READY, labels), float(fact.state == "ready")
    yield Series(RESTARTS, labels), fact.restarts


def _of_queued(fact: Queued) -> Iterator[Sample]:
    labels = (fact.rollout, fact.endpoint)
    yield Series(REVIEWS, labels), fact.open
    yield Series(ADJUDICATING, labels), fact.adjudicating
    yield Series(LETTERS, labels), fact.letters
    yield Series(LETTERS_LOST, labels), fact.letters_lost


def _of_drifted(fact: Drifted) -> Iterator[Sample]:
    labels = (fact.rollout, fact.endpoint, fact.test)
    yield Series(DRIFT_LATCHED, labels), float(fact.latched)
    if fact.log_evidence is not None:
        yield Series(DRIFT_EVIDENCE, labels), fact.log_evidence
    yield from ((Series(DRIFT_ROWS, (*labels, outcome)), count) for outcome, count in fact.rows.items())


def _of_flipped(fact: Flipped) -> Iterator[Sample]:
    yield Series(FLIPS, (fact.rollout, fact.outcome)), 1


_SAMPLES: dict[type[Any], Callable[[Any], Iterator[Sample]]] = {
    Prediction: _of_prediction,
    Observation: _of_observation,
    Compared: _of_compared,
    Dropped: _of_dropped,
    Readiness: _of_readiness,
    Flipped: _of_flipped,
    Queued: _of_queued,
    Drifted: _of_drifted,
}

FACTS = tuple(_SAMPLES)
"""The kinds of facts that are measured."""


@dataclass
class Gathered:
    """What many facts come to.

    Attributes:
        added: by series of a counter, how much.
        observed: by series of a histogram, each value.
        now: by series of a gauge, the newest value.
    """

    added: dict[Series, float] = field(default_factory=lambda: defaultdict(float))
    observed: dict[Series, list[float]] = field(default_factory=lambda: defaultdict(list))
    now: dict[Series, float] = field(default_factory=dict)

    def take(self, samples: Iterable[Sample]) -> None:
        """Add samples, in their order."""
        for series, value in samples:
            kind = series.measure.kind
            if kind == "counter":
                self.added[series] += value
            elif kind == "histogram":
                self.observed[series].append(value)
            else:
                self.now[series] = value


def gathered(facts: Iterable[Fact]) -> Gathered:
    """Return what facts come to; a kind that nobody measures comes to nothing."""
    whole = Gathered()
    for fact in facts:
        if (samples := _SAMPLES.get(type(fact))) is not None:
            whole.take(samples(fact))
    return whole
