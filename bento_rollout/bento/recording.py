"""What a worker tells of its predictions, and to whom."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ..calls import Call
from ..errors import RolloutError
from ..feed import Feed
from ..gauged import Drifted, Queued
from ..measuring import REFUSED
from ..predictions import prediction_of
from ..records import Compared, Dropped, Flipped, Observation, Prediction, Readiness
from ..store.hashing import KeyHash
from ..store.ledger_writer import LedgerWriter
from ..store.place import Place
from ..telemetry import log
from ..telemetry.fanout import Fanout, Subscription
from ..telemetry.lines import LogLines
from ..telemetry.lost_spans import LostSpans
from ..telemetry.measures import FACTS
from ..telemetry.paths import hides
from ..telemetry.spans import Spans
from ..threads import side_by_side
from .metrics import Lossy, Metrics, metrics_are_on

if TYPE_CHECKING:
    from ..guardrails import Guardrail
    from ..reference_holder import ReferenceHolder
    from ..store.evidence_writer import EvidenceWriter
    from ..strategy import Strategy
    from .site import Site

__all__ = ["FAREWELL", "Recording", "strategy_of"]

FAREWELL = 3.0
"""Seconds that what was not yet written has when the worker ends."""


class Recording:
    """Everybody in one worker who is told of predictions.

    Args:
        site: the rollout as it was defined.
        feed: what this worker serves by.
        place: the rollout's folder in the store.

    Attributes:
        sink: takes what happens, at once.
        spans: makes the worker's spans, once `begin` was called.
        metrics: the worker's metrics; None: BentoML serves none.
        reference: what inputs are compared with for drift; None: they are not watched.
    """

    def __init__(self, site: Site, feed: Feed, place: Place) -> None:
        self.spans: Spans | None = None
        self._lost_spans = LostSpans(site.name, lambda: [] if self.spans is None else self.spans.providers)
        self._name, self._feed, self._place = site.name, feed, place
        self._channels: dict[str, Lossy] = {}
        subscriptions: list[Subscription] = []
        if site.sink is not None:
            kinds = (Observation, Prediction, Readiness, Compared, Dropped, Flipped, Queued, Drifted)
            subscriptions.append((kinds, site.sink.offer))
        keyed = _keyed(place, create=bool(site.spec.log.hash))
        self._lines = LogLines(site.name, site.spec.log, keyed, hidden_ids=_hidden_ids(site))
        subscriptions.append(((Prediction, Compared, Dropped), self._lines.offer))
        self.reference = self._open_reference(site)
        self._ledger = self._open_ledger(site)
        if self._ledger is not None:
            subscriptions.append(((Prediction, Compared), self._ledger.offer))
        self._evidence = self._open_evidence(site)
        if self._evidence is not None:
            subscriptions.append(((Prediction, Compared), self._evidence.offer))
        self.metrics = self._open_metrics(site)
        if self.metrics is not None:
            subscriptions.append((FACTS, self.metrics.offer))
        self.sink = Fanout(subscriptions)

    def tell(self, call: Call) -> None:
        """Tell of a call whose answer is out, or whose task is done; never raises."""
        try:
            if (prediction := prediction_of(self._name, call)) is not None:
                self.sink.offer(prediction)
        except Exception as error:  # noqa: BLE001 - the answer is out, and telling of it costs nobody anything
            kind = type(error).__name__  # and not its text: that may hold what was asked
            _once.say(kind, "telemetry.failed", "error", error=kind, where=log.place_of(error))

    def join(self, name: str, channel: Lossy) -> None:
        """Count what a channel loses, too."""
        self._channels[name] = channel

    def begin(self, spans: Spans) -> None:
        """Take what makes the worker's spans, before the first request."""
        self.spans = spans
        self._lost_spans.look()

    def look(self) -> None:
        """Look at what nobody tells, and bring the metrics up to now; called each second, not on the loop."""
        self._lost_spans.look()
        if self._evidence is not None:
            self._evidence.look()
        if self.metrics is not None:
            self.metrics.refresh()

    def close(self) -> None:
        """Write what waits; called when the worker ends, not on the loop."""
        if self.reference is not None:
            self.reference.close()
        sent: list[bool] = []
        ends: list[Callable[[float], object]] = []
        if (spans := self.spans) is not None:
            ends.append(lambda seconds: sent.append(spans.flush(seconds)))
        if self._ledger is not None:
            ends.append(self._ledger.close)
        if self._evidence is not None:
            ends.append(self._evidence.close)
        if self.metrics is not None:
            ends.append(self.metrics.close)
        side_by_side(ends, FAREWELL)
        self._lost_spans.close(sent=True in sent)
        if self.metrics is not None:
            self.metrics.count_lost()
        self._lines.close(FAREWELL)  # last: the others may have something to say

    def _open_ledger(self, site: Site) -> LedgerWriter | None:
        settings = site.spec.ledger
        if not settings.enabled:
            return None
        watch = None if self.reference is None else self.reference.encode
        return LedgerWriter(self._place, settings, rollout=self._name, plain=_plain, watch=watch)

    def _open_reference(self, site: Site) -> ReferenceHolder | None:
        """Return what encodes inputs for the watch of drift; None: the spec has none."""
        if site.spec.drift is None or site.watched is None:
            return None
        from ..reference_holder import ReferenceHolder  # most services have no use for it

        models = {*site.digests().values(), *(tag for tags in site.models().values() for tag in tags)}
        parts = site.spec.drift, self._place, site.watched
        holder = ReferenceHolder(*parts, rollout=self._name, models=models)
        holder.start()
        return holder

    def _open_evidence(self, site: Site) -> EvidenceWriter | None:
        """Return what counts predictions for a strategy; None: the spec has none, and no try runs."""
        strategy = strategy_of(site, self._feed)
        if strategy is None:
            return None
        from ..store.evidence_writer import EvidenceWriter  # most services have no use for it

        feed = self._feed

        def guardrails() -> Mapping[str, Guardrail]:
            attempt = getattr(feed.commit.state, "attempt", None)  # its strategy may have been edited since
            found: Mapping[str, Guardrail] = getattr(attempt, "strategy", strategy).guardrails
            return found

        return EvidenceWriter(
            self._place,
            f"{os.getpid()}-{secrets.token_hex(4)}",
            salt=_salt(self._place, site.name),
            sticky={name for name in site.methods if _routed(site, name)},
            guardrails=guardrails,
            rollout=site.name,
        )

    def _open_metrics(self, site: Site) -> Metrics | None:
        if not metrics_are_on():
            return None
        channels = self._channels
        metrics = channels["metrics"] = Metrics(
            self._feed, tuple(site.methods), tuple(site.definitions), channels
        )
        if self._ledger is not None:
            channels["ledger"] = self._ledger
        if self._evidence is not None:
            channels["evidence"] = self._evidence
        channels["log"] = self._lines
        channels["spans"] = self._lost_spans
        channels["measures"] = REFUSED.from_now()
        return metrics


def strategy_of(site: Site, feed: Feed) -> Strategy | None:
    """Return by which strategy a worker counts: its spec's, else that of a try which runs all the same.

    Who deploys a spec without it in the midst of a try has candidates with traffic: they are still watched.
    """
    running = feed.commit.state.running
    return site.spec.strategy or (None if running is None else running.strategy)


def _keyed(store: Place, *, create: bool) -> Callable[[str], str]:
    """Return the keyed hash of a text: the ledger's, or where that cannot be used one of this process."""
    try:
        hashed = KeyHash.of_place(store, create=create)
    except (RolloutError, OSError):  # the ledger says so
        hashed = None
    return (hashed or KeyHash(os.urandom(32))).of


def _salt(store: Place, name: str) -> str:
    """Return what keys are hashed with: a secret, so that nobody who has the hashes can try keys."""
    try:
        hashed = KeyHash.of_place(store, create=True)
    except (RolloutError, OSError):  # all workers must have the same
        hashed = None
    return f"{name}:{'' if hashed is None else hashed.of('evidence')}"


def _routed(site: Site, endpoint: str) -> bool:
    """Whether an endpoint's calls have keys."""
    routed = site.spec.endpoints is None or endpoint in site.spec.endpoints
    return routed and bool(site.spec.routing.sources(endpoint))


def _hidden_ids(site: Site) -> set[str]:
    """Return the endpoints whose callers' own ids stand where a log line hides something."""
    hidden = (*site.spec.log.drop, *site.spec.log.mask, *site.spec.log.hash)
    return {
        endpoint
        for endpoint in site.methods
        for source in site.spec.routing.id_sources(endpoint)
        if source.kind == "field" and hides(hidden, (source.name, *source.path))
    }


def _plain(answer: Any) -> Any:
    """Return a response that an endpoint made by itself as what it says, if that is JSON."""
    if not isinstance(answer, Response):
        return answer
    body = bytes(getattr(answer, "body", b""))
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {"status": answer.status_code, "type": answer.media_type, "bytes": len(body)}


_once = log.Once()
