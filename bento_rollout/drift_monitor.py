"""`Monitor`: watches a rollout for drift, in one worker of a host: read, test, write down, act.

Each worker has one; whoever holds the lock owns the watch, and when it dies the kernel gives the lock to
another one. How far it read, what came of that and the alarms that it found are written in one step: so the
owner may die anywhere, and no row counts twice or is forgotten. It works off the path of requests, a bounded
while at a time.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .alarms import LARGE
from .concept_watch import CONCEPT, ConceptWatch
from .drift_acts import Acts, problem_of
from .drift_estimates import EVERY, estimates
from .drift_hand import Hand, Watch, add, opened
from .drift_wanted import Wanted
from .drift_watch import DATA, DataWatch, Taken
from .errors import Conflict, InvalidValue, RolloutError, StoreCorrupt
from .label_evidence import Mature
from .precedence import Precedence
from .schema_watch import SCHEMA, SchemaWatch
from .state import RolloutState
from .store.drift_file import DriftFile
from .store.drift_rows import MOST_ALARMS, Level, Stored
from .store.leadership import leadership_at
from .store.ledger_matured import end_of
from .store.place import Place
from .telemetry import log

if TYPE_CHECKING:
    from .drift import Reference

__all__ = ["LOCK", "Monitor"]

LOCK = "drift.lock"
"""The file that the owner of the watch holds."""

TICK = 0.5
"""Seconds between two looks."""

BUDGET = 0.2
"""Seconds of one look after which what is left waits for the next one."""

BREATH = 0.002
"""Seconds between two pages, in which requests are served."""

POINTS = 10.0
"""Seconds between two points of a timeline, unless something was found."""

PACE = 1 << 19
"""Bytes of watches that are written a second: those of many features are large, and written more rarely."""

LONGEST = 30.0
"""Seconds that what was read may wait to be written; whoever goes on after a kill reads that again."""


class Monitor:
    """Watches one rollout if nobody else on this host does.

    Args:
        place: where the rollout's shared files lie.
        name: the rollout's.
        wanted: what is watched.
        reference: returns what rows are compared with, or None while there is none; raises what is wrong.
        digest_of: which model of its variant made a prediction.
        state: returns the rollout's newest state.
        acts: what alarms do.
        precedence: whether it leaves the watch to a worker of newer code; None: never.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        wanted: Wanted,
        *,
        reference: Callable[[], Reference | None],
        digest_of: Callable[[Mature], str],
        state: Callable[[], RolloutState],
        acts: Acts,
        precedence: Precedence | None = None,
    ) -> None:
        self._place, self.name, self._wanted = place, name, wanted
        self._reference, self._digest_of = reference, digest_of
        self._state, self._acts = state, acts
        self._file, self._leadership = DriftFile(place), leadership_at(place, LOCK)
        self._precedence = precedence
        self._hand: Hand | None = None
        self._taken: Taken = {}
        self._led = False
        self._estimated = -EVERY
        self._once = log.Once()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bento-rollout-drift", daemon=True)
        self.each: Callable[[Taken], object] = lambda _: None

    def start(self) -> None:
        """Look from now on, twice a second, in a thread of its own; ``each`` is called after each look."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End: what is known is written down, and another worker goes on."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def owns(self) -> bool:
        """Whether this one watches."""
        return self._hand is not None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look(time.time())
                if self.owns:
                    self._once.over("look")
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                self._once.say("look", "drift.failed", "error", rollout=self.name, **problem_of(error))
            taken, self._taken = self._taken, {}
            try:
                self.each(taken)
            except Exception as error:  # noqa: BLE001 - as above
                self._once.say("each", "drift.failed", "error", rollout=self.name, **problem_of(error))
            self._stop.wait(TICK)
        self.resign()

    def resign(self) -> None:
        """Let another one own the watch; what this one read and did not write is read again."""
        self._hand = None
        self._leadership.resign()

    # -- one look --------------------------------------------------------------------------------------

    def look(self, now: float) -> bool:
        """Look once; return whether there is more to read at once.

        Args:
            now: seconds since 1970; it may jump.

        Raises:
            RolloutError: something cannot be read or written; nothing is lost, and whoever looks next goes on
                from what was written down.
        """
        try:
            if self._precedence is not None and self._precedence.yields():
                self.resign()
                return False
            if not self._leadership.hold():
                self._hand = None
                return False
            hand = self._hand = self._hand or self._taken_over()
            self._begin(hand, now)
            more = self._read(hand, now)
            if self._keep(hand, now):
                add(self._taken, hand.taken)
                hand.taken = {}
        except Conflict:  # a person's verb came first: what is in hand is of before it
            self._hand = None
            return True
        except BaseException as error:
            if isinstance(error, StoreCorrupt) and (aside := self._file.set_aside(now)) is not None:
                problem = f"{error}; it lies in {aside} now, and the watch begins anew"
                log.event("drift.unusable", "error", rollout=self.name, problem=problem)
            self.resign()
            raise
        self._act(hand)
        self._estimate(hand)
        return more

    def _estimate(self, hand: Hand) -> None:
        """Note now and then how wrong the models probably are, for people; what fails is left for later."""
        watch, now = hand.watches.get(CONCEPT), time.monotonic()
        if not isinstance(watch, ConceptWatch) or now - self._estimated < EVERY:
            return
        self._estimated = now
        try:
            self._file.note("estimates", estimates(watch, self._place, self._digest_of) or None)
            self._once.over("estimate")
        except RolloutError as error:
            self._once.say("estimate", "drift.failed", "warning", rollout=self.name, **problem_of(error))

    def _taken_over(self) -> Hand:
        """Return what whoever owned the watch before has left."""
        known = self._file.alarms(limit=MOST_ALARMS)
        ended = frozenset((one.test, one.epoch) for one in known if not one.latched)
        hand = Hand(alarms={one.id: one for one in known if one.latched}, ended=ended)
        if not self._led:
            self._led = True
            log.event("drift.leads", rollout=self.name)
        return hand

    def _begin(self, hand: Hand, now: float) -> None:
        """Go on with the watches that are wanted, or begin them."""
        data = self._wanted.data
        wanted = {CONCEPT: self._wanted.concept, DATA: data, SCHEMA: data}
        missing = [key for key, one in wanted.items() if one is not None and key not in hand.watches]
        if not missing:
            return
        stored = {one.key: one for one in self._file.watches()}
        reference = None if data is None or missing == [CONCEPT] else self._reference_now(now)
        for key in missing:
            if reference is None and key != CONCEPT:
                continue
            known = stored.get(key)
            hand.versions[key] = 0 if known is None else known.version
            opened: Watch | str = "" if known is None else self._opened(known, reference)
            if isinstance(opened, str):
                opened = self._begun(hand, key, reference, opened, now)
            hand.watches[key] = hand.kept[key] = opened

    def _opened(self, stored: Stored, reference: Reference | None) -> Watch | str:
        """Return a watch as it was left, or why it begins anew."""
        data, concept = self._wanted.data, self._wanted.concept
        settings = concept if stored.key == CONCEPT else data
        assert settings is not None  # it is wanted
        if stored.key != CONCEPT and reference is not None and stored.digest != reference.digest:
            return f"the reference has changed ({stored.digest} to {reference.digest})"
        plain = {} if stored.key == SCHEMA else settings.plain
        if dict(stored.told) != plain or stored.endpoint != settings.endpoint:
            return "the settings have changed"
        try:
            return opened(stored, data, concept, reference)
        except InvalidValue as error:
            return f"what was known could not be read: {error}"

    def _begun(self, hand: Hand, key: str, reference: Reference | None, why: str, now: float) -> Watch:
        """Begin a watch with what comes from now on; alarms that its tests had before end with them."""
        old = [one for one in self._file.levels() if one.kind == key]
        watch = self._fresh(key, reference, old)
        ended = [one.replaced(now, why) for one in hand.alarms.values() if one.kind == key]
        words = why or ("the watch was not there any more" if old else "the watch began")
        stored = watch.stored(hand.versions[key], now)
        (kept,) = self._file.save([stored], watch.levels(now), alarms=ended, why=words)
        hand.versions[key] = kept.version
        for one in ended:
            hand.alarms.pop(one.id)
        level = "warning" if why else "info"
        log.event("drift.epoch", level, rollout=self.name, watch=key, reason=words)
        return watch

    def _fresh(self, key: str, reference: Reference | None, old: Sequence[Level]) -> Watch:
        data, concept, place = self._wanted.data, self._wanted.concept, self._place
        if key == CONCEPT or reference is None or data is None:
            assert concept is not None  # it is wanted
            offsets = {one.test.partition("/")[2]: ("", one.epoch) for one in old}
            return ConceptWatch.begun(concept, end_of(place), offsets)
        epoch = max((one.epoch for one in old), default=0)
        if key == SCHEMA:
            return SchemaWatch.begun(data.endpoint, reference.digest, place, epoch=epoch)
        return DataWatch.begun(data, reference, end_of(place), epoch=epoch)

    def _reference_now(self, now: float) -> Reference | None:
        """Return the reference; one that is not usable is said, once, and looked for again."""
        problem = f"what comes in is not watched yet: its reference ({self._wanted.source}) is not there"
        found: Reference | None = None
        try:
            found = self._reference()
        except (RolloutError, OSError) as error:
            problem = f"what comes in is not watched: {problem_of(error)['problem']}"
            self._once.say("reference", "drift.unusable", "error", rollout=self.name, problem=problem)
        if found is None:
            self._file.note("problem", problem)
            return None
        self._once.over("reference")
        self._file.keep_reference(found.digest, found.to_json(), now)
        self._file.note("reference", self._wanted.told_of(found))
        self._file.note("problem", None)
        return found

    # -- reading ---------------------------------------------------------------------------------------

    def _read(self, hand: Hand, now: float) -> bool:
        """Let the watches read for a while, a page each in turn; return whether there is more.

        Each reads a page, however much the others have before them.
        """
        until, reading = time.monotonic() + BUDGET, list(hand.watches)
        while reading:
            for key in list(reading):
                try:
                    left = self._page(hand, key, now)
                    self._once.over(f"read {key}")
                except RolloutError as error:
                    facts = {"rollout": self.name, "watch": key, "problem": str(error)}
                    self._once.say(f"read {key}", "drift.unread", "warning", **facts)
                    left = False
                if not left:
                    reading.remove(key)
                time.sleep(BREATH)
            if time.monotonic() >= until or self._stop.is_set():
                break
        return bool(reading)

    def _page(self, hand: Hand, key: str, now: float) -> bool:
        """Let one watch read a page; return whether there is more."""
        watch = hand.watches[key]
        if isinstance(watch, SchemaWatch):
            hand.watches[key] = schema = watch.read(self._place)
            if told := schema.since(watch):
                hand.take({SCHEMA: told})
            return False
        if isinstance(watch, DataWatch):
            after, page, taken = watch.read(self._place)
            hand.watches[key], more, missing, replaced = after, page.more, page.missing, page.replaced
        else:
            losses, ripe, taken = watch.read(self._place, self._digest_of, now)
            hand.watches[key] = losses.serving(self._state().granted)
            more, missing, replaced = ripe.more, ripe.missing, ripe.replaced
        if missing or replaced:
            what = (
                "another ledger lies there than before" if replaced else f"{missing} predictions went unread"
            )
            hint = "the evidence goes on without them; keep more (`ledger.keep`, `ledger.max_size`)"
            facts = {"rollout": self.name, "watch": key, "problem": what, "hint": hint}
            self._once.say(f"lost {key}", "drift.unread", "warning", **facts)
        hand.take(taken)
        return more

    # -- what comes of it ------------------------------------------------------------------------------

    def _keep(self, hand: Hand, now: float) -> bool:
        """Write down what is known, with what was found, in one step; return whether all is written.

        What is found is written at once; the rest of watches that are large after a while.
        """
        changed = hand.changed
        if not changed:
            return True
        revision, known = self._state().revision, hand.epochs
        new = [one for watch in changed for one in watch.found(_name, revision, now)]
        found = [one for one in new if (one.test, one.epoch) not in known]
        for watch in changed:
            pairs = [(one, watch.grown(one)) for one in hand.alarms.values() if one.latched]
            found += [after for before, after in pairs if after is not before]
        if not found and 0 <= now - hand.written < hand.pause:
            return False
        tells = bool(found) or not 0 <= now - hand.pointed < POINTS
        points = [point for watch in changed for point in watch.points(now)] if tells else []
        stored = [watch.stored(hand.versions[watch.key], now) for watch in changed]
        levels = [level for watch in changed for level in watch.levels(now)]
        for one in self._file.save(stored, levels, alarms=found, points=points):
            hand.versions[one.key] = one.version
            hand.kept[one.key] = hand.watches[one.key]
        hand.alarms.update({one.id: one for one in found})
        hand.pointed = now if tells else hand.pointed
        weight = sum(len(one.start) + len(one.body) for one in stored)
        hand.written, hand.pause = now, min(LONGEST, weight / PACE)
        return True

    def _act(self, hand: Hand) -> None:
        """Do what alarms are to do, each once, and note it; what cannot be done now is tried again."""
        if not any(self._acts.owed(one) for one in hand.alarms.values()):
            return
        latched = {one.id: one for one in self._file.alarms(latched=True)}  # a person may have ended one
        hand.alarms = {id_: latched[id_] for id_ in hand.alarms if id_ in latched}
        for alarm in hand.alarms.values():
            for act in self._acts.owed(alarm):
                try:
                    self._do(hand, alarm.id, act)
                    self._once.over(f"{act} {alarm.id}")
                except (RolloutError, OSError) as error:
                    facts = {"rollout": self.name, "alarm": alarm.id, "act": act, **problem_of(error)}
                    hint = "it is tried again each second"
                    self._once.say(f"{act} {alarm.id}", "drift.not_acted", "error", **facts, hint=hint)

    def _do(self, hand: Hand, id_: str, act: str) -> None:
        told = self._acts.do(act, hand.alarms[id_])
        if told is None:
            return
        hand.alarms[id_] = after = self._file.change(id_, lambda alarm: alarm.did(act, told))
        if act in LARGE:
            facts = {"endpoint": after.endpoint, "alarm": id_, "act": act, "reason": told}
            log.event("drift.acted", "warning", rollout=self.name, **facts)


def _name() -> str:
    return secrets.token_hex(4)
