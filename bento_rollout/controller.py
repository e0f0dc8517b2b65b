"""`Controller`: moves a rollout by evidence, in one worker of a host: read, assess, decide, commit.

Each worker has one; whoever holds the lock leads, and when it dies the kernel gives the lock to another one.
A look writes down what it knows before it changes anything, and a change is committed against the revision
that it was made from: so a leader may die anywhere, and nothing is decided twice or forgotten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from .assessment import Assessments
from .attempt import Try
from .bench import Bench, Setting
from .committing import Desk
from .contest import arms_at, arms_of, changed, unready
from .decision import Action, Decision
from .errors import Conflict, InvalidValue, NotFound, Refused, RolloutError, StoreCorrupt
from .evidence import Evidence
from .hand import Hand
from .notes import Notes, caught_up
from .outlining import outline
from .policy import decide
from .position import Paused, Position, folded, ticked
from .precedence import TRY, Precedence
from .rounds import Arms
from .state import RolloutState
from .store.evidence_log import AT_ONCE, EvidenceLog, Standing
from .store.leadership import leadership_at
from .strategy import Strategy
from .telemetry import log
from .view import View

__all__ = ["Controller", "Sources"]

TICK = 0.25
"""Seconds between two looks."""

MOST_READS = 20
"""Pages of flushes that one look reads; the others wait for the next one."""

MOST_REVISIONS = 500
"""Revisions of which it is remembered who was compared."""


class Sources(Protocol):
    """What else a try is judged by than what workers count."""

    def begin(self, strategy: Strategy) -> dict[str, Any]:
        """Return from where on labels are read for a try that begins."""

    def labels(
        self, strategy: Strategy, marks: Mapping[str, Any], now: float
    ) -> tuple[Evidence, dict[str, Any]]:
        """Return what has matured, counted like measures named ``label.NAME``, and how far that was read."""

    def gauges(self, variant: str, view: View) -> Mapping[str, float]:
        """Return what plain thresholds are about."""


class Controller:
    """Leads one rollout if nobody else on this host does.

    Args:
        desk: the rollout's revisions and its service, for the author ``evidence``.
        decided: commits a decision against the revision that it was made from.
        sticky: whether the unit is the key.
        sources: labels and gauges; None: there are none.
        follow: is called in each look of the leader, after it decided; whoever is to be told of commits.
        code: what this worker runs; it leaves the lead to one that runs newer code.
    """

    def __init__(
        self,
        desk: Desk,
        decided: Callable[[Decision, int], object],
        *,
        sticky: bool,
        sources: Sources | None = None,
        follow: Callable[[], None] | None = None,
        code: str = "",
    ) -> None:
        self.name = desk.name
        self._desk, self._decided = desk, decided
        self._sticky, self._sources, self._follow = sticky, sources, follow
        place = desk.store.place(desk.name)
        self._log, self._leadership = EvidenceLog(place), leadership_at(place)
        self._code, self._precedence = code, Precedence(place, desk.presence, code, TRY)
        self._hand: Hand | None = None
        self._arms: dict[tuple[int, int], Arms | None] = {}
        self._once = log.Once()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bento-rollout-controller", daemon=True)

    def start(self) -> None:
        """Look from now on, each second, in a thread of its own."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End: write down what is known, and let another worker lead."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def leads(self) -> bool:
        """Whether this one decides."""
        return self._hand is not None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look(time.time())
                if self.leads:  # while another one does, it is not over here
                    self._once.over("look")
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                problem = log.described(error)
                self._once.say("look", "controller.failed", "error", rollout=self.name, problem=problem)
            self._stop.wait(TICK)
        self.resign(time.time())

    def resign(self, now: float) -> None:
        """Write down what is known, as far as that goes, and let another one lead.

        Args:
            now: seconds since 1970.
        """
        try:
            if self._hand is not None:
                self._save(self._hand, now)
        except (RolloutError, OSError):
            pass  # whoever leads next reads the flushes again
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """Let another one lead, who reads again what was not written down."""
        self._hand = None
        self._leadership.resign()

    # -- one look --------------------------------------------------------------------------------------

    def look(self, now: float) -> Decision | None:
        """Look once: take what workers counted, and do what it says. None: another one leads, or no try runs.

        Args:
            now: seconds since 1970; it may jump.

        Raises:
            RolloutError: something cannot be read or written; nothing is lost, and whoever looks next, this
                one or another, goes on from what was written down.
        """
        try:
            if self._precedence.yields():
                self.resign(now)
                return None
            if not self._leadership.hold():
                self._hand = None
                return None
            hand = self._hand = self._hand or self._taken_over(now)
            decision = self._led(hand, now)
        except BaseException as error:
            if isinstance(error, StoreCorrupt) and (aside := self._log.set_aside(now)) is not None:
                self._unusable("file", f"{error}; it lies in {aside} now, and fresh evidence is gathered")
            self._give_up()  # what is in hand may be half of something, and another one may be able to
            raise
        if self._follow is not None:
            self._follow()
        return decision

    def _led(self, hand: Hand, now: float) -> Decision | None:
        flushes, seq, more = self._read(hand.seq)
        commit = self._desk.read()  # after the flushes: every revision that they are about is known by now
        state, attempt = commit.state, commit.state.attempt
        notes = _heard(self._continued(hand.notes, attempt), flushes, state)
        decision: Decision | None = None
        acts = False
        if attempt is not None and attempt.runs:
            view = self._desk.view(state)
            notes, assessments = self._assessed(hand, notes, attempt, view, flushes, now)
            decision = decide(attempt.strategy, _position(notes), assessments, now)
            acts = decision.action is not Action.HOLD and not more
            if hand.tells(commit.revision, now) or acts:
                self._log.tell(
                    outline(attempt, decision, assessments, hand.paces.after(assessments, now), now)
                )
        hand.notes, hand.seq = notes, seq
        if acts or hand.is_due(now):
            self._save(hand, now)
        if not hand.told:
            hand.told = True
            log.event("controller.leads", rollout=self.name, revision=commit.revision)
        if decision is not None and acts:
            self._act(decision, commit.revision, _position(notes))
        return decision

    def _taken_over(self, now: float) -> Hand:
        """Return what whoever led before has left."""
        standing, attempt = self._log.standing(), self._desk.read().state.attempt
        strategy = attempt.strategy if attempt is not None and attempt.runs else None
        try:
            notes = Notes.parse(standing.told, strategy, self._sticky)
            self._once.over("notes")
        except InvalidValue as error:
            self._unusable("notes", f"what was known of the try, which goes on without it: {error}")
            notes = Notes()
        return Hand(standing.seq, standing.seq, notes, saved=now)

    def _read(self, after: int) -> tuple[list[Evidence], int, bool]:
        """Return what workers counted since, how far that is, and whether there is more."""
        found, seq = list[Evidence](), after
        for _ in range(MOST_READS):
            flushes = self._log.read(seq)
            for flush in flushes:
                seq = flush.seq
                if flush.evidence is not None:
                    found.append(flush.evidence)
                else:
                    self._unusable("flush", f"what {flush.worker} counted ({seq}): {flush.problem}")
            if len(flushes) < AT_ONCE:
                return found, seq, False
        return found, seq, True

    def _continued(self, notes: Notes, attempt: Try | None) -> Notes:
        """Return the notes for the try that the state knows: begun, gone on with, or put away."""
        if attempt is None or not attempt.runs:
            return replace(notes, number=0, revision=0, position=None, bench=None, labels={})
        strategy = attempt.strategy
        control, digest = attempt.control, attempt.digests.get(attempt.control, "")
        setting = Setting(self._sticky, notes.past(control, digest))
        bench, position, live = notes.bench, attempt.position, notes.position
        if notes.number != attempt.number or bench is None or live is None:
            bench = Bench.begin(strategy, setting).entered(position.place, attempt.revision)
            notes = replace(notes, labels={} if self._sources is None else self._sources.begin(strategy))
        elif notes.revision != attempt.revision:
            before, bench = bench.counting, bench.edited(strategy, setting)
            alike = frozenset(name for name, one in bench.counting.items() if before.get(name) == one)
            position = caught_up(position, live, alike)
        else:
            position = live
        if bench.place != position.place:
            bench = bench.entered(position.place, attempt.revision)
        return replace(
            notes, number=attempt.number, revision=attempt.revision, position=position, bench=bench
        )

    def _assessed(
        self, hand: Hand, notes: Notes, attempt: Try, view: View, flushes: Sequence[Evidence], now: float
    ) -> tuple[Notes, Assessments]:
        """Return the notes after the evidence and the time of this look, and what they say."""
        strategy, bench, position = attempt.strategy, notes.bench, _position(notes)
        assert bench is not None
        gauges: Mapping[str, float] = {}
        if self._sources is not None:
            matured, marks = self._sources.labels(strategy, notes.labels, now)
            notes, flushes = replace(notes, labels=marks), [*flushes, matured]
            gauges = self._sources.gauges(attempt.candidate, view)
        bench = self._fed(bench, flushes, attempt, gauges, now)
        fresh = hand.estimates(now)
        assessments = bench.assessments(
            arms_of(view.state, attempt),
            now,
            needs=fresh,
            broken=changed(attempt, view),
            trial_unready=unready(view, attempt.candidate),
            control_unready=unready(view, attempt.control),
        )
        assessments = replace(hand.remembered(assessments, fresh=fresh), mixed=view.mixed(self._code))
        ticks = ticked(position, strategy, now, mixed=bool(assessments.mixed))
        here = folded(ticks, strategy, assessments)
        return replace(notes, bench=bench, position=here), assessments

    def _fed(
        self,
        bench: Bench,
        flushes: Sequence[Evidence],
        attempt: Try,
        gauges: Mapping[str, float],
        now: float,
    ) -> Bench:
        """Return the tests after all flushes as one; without those that cannot be, should there be any."""
        evidence = _together(flushes)
        places = {place.revision for place in (*evidence.arms, *evidence.pairs)}
        arms = {revision: found for revision in places if (found := self._who(revision, attempt)) is not None}
        try:
            return bench.update(evidence, arms, now, gauges)
        except (InvalidValue, ArithmeticError) as error:
            if len(flushes) > 1:
                for flush in flushes:
                    bench = self._fed(bench, [flush], attempt, gauges, now)
                return bench
            self._unusable("sums", f"what a worker counted: {error}")
            return bench

    def _who(self, revision: int, attempt: Try) -> Arms | None:
        """Return who was compared at a revision; None: it is not of this try, or of other code."""
        if revision < attempt.started:
            return None
        key = attempt.number, revision
        if key not in self._arms:
            if len(self._arms) > MOST_REVISIONS:
                self._arms.clear()
            try:
                self._arms[key] = arms_at(self._desk.at(revision).state, attempt)
            except NotFound as error:
                self._unusable("revision", f"it is of another store: {error}")
                return None
        return self._arms[key]

    def _unusable(self, key: str, problem: str) -> None:
        """Say that some evidence is left out; once of each kind, however much there is."""
        self._once.say(key, "evidence.unusable", "error", rollout=self.name, problem=problem)

    # -- what comes of it ------------------------------------------------------------------------------

    def _save(self, hand: Hand, now: float) -> None:
        """Write down what is known, unless somebody else did so meanwhile: then nothing in hand counts."""
        began = time.perf_counter()
        self._log.save(Standing(hand.seq, hand.notes.plain), after=hand.stored)
        hand.stored, hand.saved, hand.cost = hand.seq, now, time.perf_counter() - began

    def _act(self, decision: Decision, revision: int, here: Position) -> None:
        """Commit a decision; what somebody else commits meanwhile is looked at first."""
        try:
            self._decided(decision, revision)
        except Conflict:
            return
        except Refused as error:
            if decision.action is not Action.PROMOTE:
                raise
            with suppress(Conflict):
                self._decided(_held_up(decision, here, str(error)), revision)


def _together(flushes: Sequence[Evidence]) -> Evidence:
    evidence = Evidence()
    for flush in flushes:
        evidence.add(flush)
    return evidence


def _heard(notes: Notes, flushes: Sequence[Evidence], state: RolloutState) -> Notes:
    """Return the notes with what the champion did."""
    return notes.heard(_together(flushes), state.champion, state.granted.get(state.champion, ""))


def _position(notes: Notes) -> Position:
    assert notes.position is not None
    return notes.position


def _held_up(decision: Decision, here: Position, problem: str) -> Decision:
    """Return the decision to pause, because the promotion was refused."""
    paused = Paused(by="evidence", reason=f"the promotion was refused: {problem}", cause="refused")
    return Decision(
        Action.PAUSE,
        f"pauses, as the promotion was refused: {problem}",
        here.model_copy(update={"paused": paused}),
        missing=("resume",),
        assessments=decision.assessments,
    )
