"""What one worker does to watch for drift: one of all tests, and each knows whether an alarm is latched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..drift_latches import Latches
from ..errors import InvalidValue
from ..operations import Rollout
from ..precedence import DRIFT, Precedence
from ..store import RolloutStore
from ..store.location import locate
from ..store.opened import presence_at
from ..telemetry import log
from .endpoints import Facade

if TYPE_CHECKING:
    from ..drift import Reference
    from ..drift_monitor import Monitor
    from ..drift_wanted import Wanted
    from ..feed import Feed
    from ..label_evidence import Mature
    from ..notifier import Notifier
    from .recording import Recording
    from .site import Site

__all__ = ["WatchingDrift"]

MOST_REVISIONS = 1000
"""Revisions of which it is remembered which code each variant was."""


class WatchingDrift:
    """One worker's part of the watch.

    Args:
        site: the rollout as it was defined; its spec has ``drift``.
        store, feed: the rollout's revisions, and what this worker serves by.
        recording: has the reference, and takes facts.
        loop: what async receivers of notices run on.

    Attributes:
        switch: what calls of the endpoint read.
        endpoint: which one that is.
    """

    def __init__(
        self,
        site: Site,
        store: RolloutStore,
        feed: Feed,
        recording: Recording,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        drift = site.spec.drift
        assert drift is not None  # who makes one has looked
        self._site, self._drift, self._store, self._feed = site, drift, store, feed
        self._holder, self._loop = recording.reference, loop
        self._place = store.place(site.name)
        self.endpoint = drift.endpoint_of(site.spec.endpoints or tuple(site.methods)) or ""
        self._latches = Latches(self._place, site.name, recording.sink.offer)
        self.switch = self._latches.switch
        self._digests: dict[int, Mapping[str, str]] = {}
        self._monitor: Monitor | None = None
        self._stopped = False
        self._beginning = threading.Thread(target=self._begin, name="rollout-drift", daemon=True)

    def start(self, facades: Mapping[str, Facade]) -> None:
        """Take part from now on; returns at once."""
        facade = facades.get(self.endpoint)
        if facade is not None and facade.automated is not None:
            facade.automated.drift = self.switch
        self._beginning.start()

    def stop(self) -> None:
        """End, and let another worker go on. Not on the loop."""
        self._stopped = True
        self._beginning.join(2.0)
        if self._monitor is not None:
            self._monitor.stop()

    def _begin(self) -> None:
        """Begin in a thread: what it needs brings numpy, which a start need not wait for."""
        try:
            self._latches.look()
            monitor = self._monitor = self._made()
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker serves
            log.event("drift.failed", "error", rollout=self._site.name, problem=log.described(error))
            return
        if not self._stopped:
            monitor.start()

    def _made(self) -> Monitor:
        from ..drift_acts import Acts
        from ..drift_monitor import Monitor

        name, alarm = self._site.name, self._drift.on_alarm
        rollout = Rollout(name, self._store, locate(), "drift")
        wanted = [act for act in (alarm.rollout, alarm.automation) if act is not None]
        acts = Acts(rollout, wanted, self._notifier if self._site.notify else None)
        monitor = Monitor(
            self._place,
            name,
            self._wanted(),
            reference=self._reference,
            digest_of=self._digest_of,
            state=lambda: self._feed.commit.state,
            acts=acts,
            precedence=Precedence(self._place, presence_at(self._place), self._site.code, DRIFT),
        )
        monitor.each = self._latches.look
        return monitor

    def _wanted(self) -> Wanted:
        from ..concept import ConceptRules
        from ..concept_watch import ConceptSettings
        from ..drift_wanted import Wanted
        from ..drift_watch import DataRules

        data, concept, source = self._drift.data, self._drift.concept, self._drift.reference
        rules = settings = None
        if data is not None:
            rules = DataRules(
                self.endpoint,
                data.alpha,
                data.effect.psi,
                data.effect.min_rows,
                data.sampling.every,
                data.sampling.dedupe_by is not None,
                data.stratify_by is not None,
                segment_rows=data.segments.min_rows,
            )
        if concept is not None:
            losses = ConceptRules(concept.loss, concept.alpha, concept.min_coverage)
            settings = ConceptSettings(self.endpoint, concept.label, concept.matures, losses)
        return Wanted(rules, settings, "" if source is None else str(source))

    def _reference(self) -> Reference | None:
        """Return what rows are compared with; None: it is being loaded."""
        if self._holder is None:
            return None
        if self._holder.reference is None and self._holder.problem:
            raise InvalidValue(self._holder.problem)
        return self._holder.reference

    def _notifier(self) -> Notifier:
        from ..notifier import Notifier

        return Notifier(self._site.notify, None, self._loop)

    def _digest_of(self, row: Mature) -> str:
        """Return which code a variant was when it made a prediction."""
        if row.revision not in self._digests:
            from ..drift_verbs import granted_at

            if len(self._digests) > MOST_REVISIONS:
                self._digests.clear()
            self._digests[row.revision] = granted_at(self._store, self._site.name, row.revision)
        return self._digests[row.revision].get(row.variant, "")
