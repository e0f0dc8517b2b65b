"""`Controller`: moves a rollout by evidence, in one worker of a host: read, assess, decide, commit.

Each worker has one; whoever holds the lock leads, and when it dies the kernel gives the lock to another one.
A look writes down what it knows before it changes anything, and a change is committed against the revision
that it was made from: so a leader may die anywhere, and nothing is decided twice or forgotten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .assessment import Assessments, Finding
from .attempt import Try
from .bench import Bench, Setting
from .committing import Desk
from .decision import Action, Decision
from .errors import Conflict, InvalidValue, NotReady, Refused, RolloutError
from .evidence import Evidence
from .notes import Notes, caught_up
from .outlining import outline
from .policy import decide
from .position import Paused, Position, folded, ticked
from .rounds import Arms
from .state import Commit, RolloutState
from .store.evidence_log import AT_ONCE, EvidenceLog, Standing
from .store.leadership import Leadership
from .strategy import Strategy
from .telemetry import log
from .values import FULL
from .view import View

__all__ = ["Controller", "Sources"]

TICK = 0.25
"""Seconds between two looks."""

TELL = 1.0
"""Seconds between two times that people are told how a try stands, unless something is done."""

SAVE = 2.0
"""Seconds between two times that what is known is written down, at least; decisions are always."""

PATIENT = 50.0
"""How many times as long as writing it down took is waited before it is done again."""

NEEDS = 5.0
"""Seconds between two estimates of how much more each guardrail needs."""

MOST_READS = 20
"""Pages of flushes that one look reads; the others wait for the next one."""

_OPEN = (Finding.INCONCLUSIVE, Finding.NO_DATA)

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


@dataclass(slots=True)
class _Hand:
    """What a leader has in hand between two looks."""

    seq: int
    stored: int
    notes: Notes
    saved: float
    cost: float = 0.0
    estimated: float = 0.0
    told: float = 0.0
    revision: int = 0
    counted: dict[str, tuple[float, float]] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)
    needed: dict[str, int | None] = field(default_factory=dict)

    def remembered(self, evidence: Assessments, *, needs: bool) -> Assessments:
        """Return the evidence with the last estimates of how much more it takes; they are not always made."""
        if needs:
            self.needed = {name: one.needed for name, one in evidence.assessments.items()}
            return evidence
        found = {
            name: replace(one, needed=self.needed.get(name)) if one.finding in _OPEN else one
            for name, one in evidence.assessments.items()
        }
        return replace(evidence, assessments=found)

    def pace(self, evidence: Assessments, now: float) -> dict[str, float]:
        """Return by guardrail how many units the trial gets in a second, of late."""
        for name, one in evidence.assessments.items():
            units = one.numbers.get("trial", one.numbers.get("pairs", 0.0))
            before, then = self.counted.get(name, (units, now))
            if now > then and units >= before:
                self.paces[name] = _smoothed(self.paces.get(name), (units - before) / (now - then))
            self.counted[name] = units, now
        return self.paces


class Controller:
    """Leads one rollout if nobody else on this host does.

    Args:
        desk: the rollout's revisions and its service, for the author ``evidence``.
        decided: commits a decision against the revision that it was made from.
        sticky: whether the unit is the key.
        sources: labels and gauges; None: there are none.
        follow: is called in each look of the leader, after it decided; whoever is to be told of commits.
    """

    def __init__(
        self,
        desk: Desk,
        decided: Callable[[Decision, int], object],
        *,
        sticky: bool,
        sources: Sources | None = None,
        follow: Callable[[], None] | None = None,
    ) -> None:
        self.name = desk.name
        self._desk, self._decided = desk, decided
        self._sticky, self._sources, self._follow = sticky, sources, follow
        place = desk.store.place(desk.name)
        self._log, self._leadership = EvidenceLog(place), Leadership(place)
        self._hand: _Hand | None = None
        self._arms: dict[int, Arms | None] = {}
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
                self._once.over("look")
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                problem = log.described(error)
                self._once.say("look", "controller.failed", "error", rollout=self.name, problem=problem)
                self._hand = None  # what is in hand may be half of something: it is read again
            self._stop.wait(TICK)
        try:
            if self._hand is not None:
                self._save(self._hand, time.time())
        except (RolloutError, OSError):
            pass  # whoever leads next reads the flushes again
        finally:
            self._leadership.resign()

    # -- one look --------------------------------------------------------------------------------------

    def look(self, now: float) -> Decision | None:
        """Look once: take what workers counted, and do what it says. None: another one leads, or no try runs.

        Args:
            now: seconds since 1970.

        Raises:
            RolloutError: something cannot be read or written; nothing is lost, and the next look goes on.
        """
        if not self._leadership.hold():
            self._hand = None
            return None
        commit = self._desk.read()
        if (hand := self._hand) is None:
            hand = self._hand = self._begin(commit)
        attempt = commit.state.attempt
        evidence, seq, more = self._read(hand.seq)
        notes = self._continued(hand.notes, attempt, commit.revision)
        notes = _heard(notes, evidence, commit.state)
        decision: Decision | None = None
        acts = False
        if attempt is not None and attempt.runs:
            view = self._desk.view(commit.state)
            notes, assessments = self._assessed(notes, attempt, commit.state, view, evidence, now)
            decision = decide(attempt.strategy, _position(notes), assessments, now)
            acts = decision.action is not Action.HOLD and not more
            if acts or hand.revision != commit.revision or not 0 <= now - hand.told < TELL:
                self._log.tell(outline(attempt, decision, assessments, hand.pace(assessments, now), now))
                hand.told, hand.revision = now, commit.revision
        hand.notes, hand.seq = notes, seq
        if acts or now < hand.saved or now - hand.saved >= max(SAVE, PATIENT * hand.cost):
            self._save(hand, now)
        if decision is not None and acts:
            self._act(decision, commit.revision, _position(notes))
        if self._follow is not None:
            self._follow()
        return decision

    def _begin(self, commit: Commit) -> _Hand:
        """Take over what whoever led before has left."""
        standing = self._log.standing()
        attempt = commit.state.attempt
        strategy = attempt.strategy if attempt is not None and attempt.runs else None
        try:
            notes = Notes.parse(standing.told, strategy, self._sticky)
        except InvalidValue as error:
            self._once.say("notes", "evidence.unusable", "error", rollout=self.name, problem=str(error))
            notes = Notes()
        log.event("controller.leads", rollout=self.name, revision=commit.revision)
        return _Hand(standing.seq, standing.seq, notes, saved=time.time())

    def _read(self, after: int) -> tuple[Evidence, int, bool]:
        """Return what workers counted since, how far that is, and whether there is more."""
        evidence, seq = Evidence(), after
        for _ in range(MOST_READS):
            flushes = self._log.read(seq)
            for flush in flushes:
                seq = flush.seq
                if flush.evidence is not None:
                    evidence.add(flush.evidence)
                else:
                    facts = {"rollout": self.name, "problem": flush.problem}
                    self._once.say(f"flush {flush.problem}", "evidence.unusable", "error", **facts)
            if len(flushes) < AT_ONCE:
                return evidence, seq, False
        return evidence, seq, True

    def _continued(self, notes: Notes, attempt: Try | None, revision: int) -> Notes:
        """Return the notes for the try that the state knows: begun, gone on with, or put away."""
        if attempt is None or not attempt.runs:
            return replace(notes, number=0, revision=0, position=None, bench=None, labels={})
        strategy = attempt.strategy
        control, digest = attempt.control, attempt.digests.get(attempt.control, "")
        setting = Setting(self._sticky, notes.past(control, digest))
        bench, position, live = notes.bench, attempt.position, notes.position
        if notes.number != attempt.number or bench is None or live is None:
            bench = Bench.begin(strategy, setting).entered(position.place, revision)
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
        self,
        notes: Notes,
        attempt: Try,
        state: RolloutState,
        view: View,
        evidence: Evidence,
        now: float,
    ) -> tuple[Notes, Assessments]:
        """Return the notes after the evidence and the time of this look, and what they say."""
        strategy, bench, position = attempt.strategy, notes.bench, _position(notes)
        hand = self._hand
        assert bench is not None
        assert hand is not None
        gauges: Mapping[str, float] = {}
        if self._sources is not None:
            matured, marks = self._sources.labels(strategy, notes.labels, now)
            notes = replace(notes, labels=marks)
            evidence.add(matured)
            gauges = self._sources.gauges(attempt.candidate, view)
        places = {place.revision for place in (*evidence.arms, *evidence.pairs)}
        arms = {revision: found for revision in places if (found := self._who(revision, attempt)) is not None}
        bench = bench.update(evidence, arms, now, gauges)
        needs = not 0 <= now - hand.estimated < NEEDS
        if needs:
            hand.estimated = now
        assessments = bench.assessments(
            _arms(state, attempt),
            now,
            needs=needs,
            broken=_changed(attempt, view),
            trial_unready=_unready(view, attempt.candidate),
            control_unready=_unready(view, attempt.control),
        )
        assessments = hand.remembered(assessments, needs=needs)
        here = folded(ticked(position, strategy, now), strategy, assessments)
        return replace(notes, bench=bench, position=here), assessments

    def _who(self, revision: int, attempt: Try) -> Arms | None:
        """Return who was compared at a revision; None: it is not of this try, or of other code."""
        if revision < attempt.started:
            return None
        if revision not in self._arms:
            if len(self._arms) > MOST_REVISIONS:
                self._arms.clear()
            state = self._desk.at(revision).state
            alike = all(state.granted.get(name, digest) == digest for name, digest in attempt.digests.items())
            self._arms[revision] = _arms(state, attempt) if alike else None
        return self._arms[revision]

    # -- what comes of it ------------------------------------------------------------------------------

    def _save(self, hand: _Hand, now: float) -> None:
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


def _heard(notes: Notes, evidence: Evidence, state: RolloutState) -> Notes:
    """Return the notes with what the champion did."""
    return notes.heard(evidence, state.champion, state.granted.get(state.champion, ""))


def _smoothed(known: float | None, new: float) -> float:
    """Return a mean of about the last half minute of looks."""
    return new if known is None else known + (new - known) / 30


def _position(notes: Notes) -> Position:
    assert notes.position is not None
    return notes.position


def _arms(state: RolloutState, attempt: Try) -> Arms:
    """Return who is compared in a state, with the trial's share of both."""
    rest = FULL - sum(state.weights.values())
    trial, control = (
        rest if name == state.champion else state.weights.get(name, 0)
        for name in (attempt.candidate, attempt.control)
    )
    share = trial / (trial + control) if trial and control else None
    return Arms(attempt.candidate, attempt.control, share)


def _unready(view: View, name: str) -> str:
    try:
        view.require_ready(name)
    except NotReady as error:
        return str(error).removesuffix("; nothing changed")
    return ""


def _changed(attempt: Try, view: View) -> dict[str, str]:
    """Return whose code is not what the try began with: its evidence is not evidence of that."""
    found = {}
    for name, digest in attempt.digests.items():
        now = {card.variants[name].digest for card in view.cards if name in card.variants} - {digest}
        if now:
            words = f"{name} is other code than the try began with ({digest}, now {', '.join(sorted(now))})"
            found[f"digest.{name}"] = f"{words}; retry begins anew, abort ends it"
    return found


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
