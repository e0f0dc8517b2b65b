"""`TryVerbs`: the verbs of a try, and the door through which evidence decides."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from .advising import after_applying
from .applying import apply_degrees, apply_spec, weighted
from .committing import PERSISTENT, Change, Desk, Make, Prepare
from .deciding import (
    EVIDENCE,
    action_of,
    decided,
    fitting,
    let_go,
    promoted,
    reworked,
    running_try,
    started,
    stopped,
)
from .decision import Action, Decision
from .errors import InvalidValue, NotReady, Refused
from .position import Position, Stage
from .preparation import prepared
from .reader import Reader
from .seen import served_now
from .served import check_served
from .spec import RolloutSpec, parse_duration
from .state import RolloutState
from .strategy import Strategy
from .telling import aside, phrases
from .tries import known_of, live_position
from .values import MAX_REASON, is_plain
from .view import View, undone_rollback

if TYPE_CHECKING:
    from .attempt import Try

__all__ = ["TryVerbs"]


class _Stands(Exception):
    """A rollback stands: the state, and what is said."""

    def __init__(self, state: RolloutState, words: str) -> None:
        self.state, self.words = state, words
        super().__init__(words)


class TryVerbs(Reader):
    """What people, and evidence, do to a try; part of `Rollout`."""

    def start(
        self,
        candidate: str | None = None,
        *,
        timeout: float | str = 30.0,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Begin to try a candidate, as the ``strategy:`` of the running service's spec says.

        Its first step holds at once; of blue/green the candidate becomes champion at once, prepared as for a
        flip. From then on the service goes on by itself, by evidence. The candidate's traffic is granted to
        the code that is there now.

        Args:
            candidate: who is tried; None: whom the strategy names.
            timeout: of blue/green: how long to wait for every live worker's ``before_flip`` hooks.
            reason, if_revision: as for every verb.

        Raises:
            Refused: the spec has no strategy, or it tries another candidate; a try runs; the candidate is the
                champion; another candidate has weight; its last try was aborted or rolled back, and it is the
                same code (`retry`).
            NotReady: no worker is live, or the candidate is not ready in every live one.
            Vetoed, FlipTimeout: of blue/green, as for `flip`.
        """

        def begin(state: RolloutState, view: View) -> RolloutState:
            _check_final(state, view)
            return self._started(state, view, candidate)

        return self._begin("start", begin, timeout, reason, if_revision)

    def retry(
        self, *, timeout: float | str = 30.0, reason: str = "", if_revision: int | None = None
    ) -> Change:
        """Try the candidate anew, whose last try was aborted or rolled back: with no evidence, from step 1.

        One that is paused because harm was shown is aborted first. Each try has its own chance of a false
        alarm: who retries until nothing alarms has shown nothing.

        Args:
            timeout, reason, if_revision: as for `start`.

        Raises:
            Refused: nothing was aborted or rolled back; and as for `start`.
            NotReady, Vetoed, FlipTimeout: as for `start`.
        """

        def again(state: RolloutState, view: View) -> RolloutState:
            last = state.attempt
            if last is None or (not last.runs and last.position.stage is Stage.DONE):
                raise Refused(f"nothing was aborted or rolled back for {self.name!r}: to begin use `start`")
            if last.runs:
                paused = self._now(last).paused
                if paused is None or paused.cause != "harm":
                    raise Refused(f"{last.words} runs ({last.position.place}): abort it first")
                state = state.roll_back(known=view.known)
            return self._started(state, view, last.candidate)

        return self._begin("retry", again, timeout, reason, if_revision)

    def _begin(
        self,
        action: str,
        make: Make,
        timeout: float | str,
        reason: str,
        if_revision: int | None,
    ) -> Change:
        prepare = self._preparing(timeout, reason, unattended=False)
        return self._desk.change(action, make, reason, if_revision, prepare=prepare, advise=_after_begin)

    def _started(self, state: RolloutState, view: View, candidate: str | None) -> RolloutState:
        strategy = self._strategy(view, candidate)
        name = strategy.candidate
        digests = view.digests((name, state.champion))
        after = started(state, strategy, digests, time.time(), self._desk.author)
        check_served(strategy, served_now(self._desk.store.place(self.name), view, strategy))
        if not view.cards:
            raise NotReady(f"no worker is live: nobody confirms that {name!r} is ready; nothing changed")
        view.require_ready(name)
        return after.grant({name: digests[name]})

    def _strategy(self, view: View, candidate: str | None) -> Strategy:
        if (strategy := view.strategy) is None:
            raise Refused(
                f"the spec of the service has no strategy, so nothing says how a candidate of {self.name!r} "
                "is tried: write `strategy:` into it, or move traffic by hand with `weight` and `flip`"
            )
        if candidate is not None and candidate != strategy.candidate:
            raise Refused(
                f"the spec's strategy tries {strategy.candidate!r}, not {candidate!r}: "
                "change the spec, or start that one"
            )
        return strategy

    def abort(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """End the running try: all traffic to its control, at once; it is final until `retry`.

        Raises:
            Refused: no try runs.
            NotReady: the control is not ready.
        """

        def back(state: RolloutState, view: View) -> RolloutState:
            running_try(state, "there is nothing to abort; `rollback` goes back without one")
            return state.roll_back(known=view.known)

        return self._desk.change("abort", back, reason, if_revision, attempts=PERSISTENT)

    def promote(
        self, *, timeout: float | str = 30.0, reason: str = "", if_revision: int | None = None
    ) -> Change:
        """Make the candidate of the running try the champion now; the history says that no evidence did.

        The steps that are left are skipped, and harm that was shown is accepted. What follows a promotion
        follows: the bake, in which the old champion keeps a part of the keys, and the watch for late labels.

        Args:
            timeout: how long to wait for every live worker's ``before_flip`` hooks, as for `flip`.
            reason: needed.
            if_revision: as for every verb.

        Raises:
            InvalidValue: no reason is given.
            Refused: no try runs; without one `flip` is the verb.
            Vetoed, FlipTimeout, NotReady: as for `flip`; nothing changed.
        """
        self._desk.admit(reason, "promote")

        def crown(state: RolloutState, view: View) -> RolloutState:
            running = running_try(state, _instead(state))
            if not reason.strip():
                raise InvalidValue("a promotion without evidence needs a reason: --reason TEXT")
            after = promoted(state, self._now(running))
            _check_same(running, view, (running.candidate,))
            return after

        prepare = self._preparing(timeout, reason, unattended=False)
        return self._desk.change("promote", crown, reason, if_revision, attempts=1, prepare=prepare)

    def pause(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """Let automation raise and promote nothing, until `resume`; people's verbs still work.

        A running try goes on to be watched, and what its strategy does about harm is still done.
        """

        def stop(state: RolloutState, _: View) -> RolloutState:
            return stopped(state, self._here(state), self._desk.author, reason)

        return self._desk.change("pause", stop, reason, if_revision)

    def resume(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """End a pause, or the pause step that a running try waits in.

        Where harm was shown a reason is needed: with it the harm is accepted, and acted on no more.

        Raises:
            AlarmLatched: harm was shown, and no reason is given.
            Refused: a try runs, and nothing waits.
        """

        def go_on(state: RolloutState, _: View) -> RolloutState:
            running = state.running
            if running is None:
                return state.pause(paused=False)
            report = self._report()
            return let_go(state, live_position(running, report), known_of(running, report), reason)

        return self._desk.change("resume", go_on, reason, if_revision)

    def apply(
        self,
        spec: RolloutSpec,
        *,
        digest: str = "",
        abort: bool = False,
        keep_rollback: bool = False,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Set exactly the state fields that a spec names; weights are for the variants as deployed now.

        While a try runs its strategy may be changed (steps to come, bakes, guardrails), and nothing else.

        Args:
            spec: what to set.
            digest: of the file's content, by which it is known again; default: of the spec.
            abort: end a running try first.
            keep_rollback: where it would undo a rollback that is newer than this content: change nothing, and
                say so, instead of refusing.
            reason, if_revision: as for every verb.

        Raises:
            Refused: when it would undo a rollback that is newer than this content; when a try runs, and more
                than its strategy differs; when a degree would go up without what that takes (`set_degree`).
            InvalidValue: the strategy tries another candidate than the running try, or lacks its step.
        """
        self._desk.admit(reason, "apply")
        if spec.authority == "spec":
            raise Refused(
                f"the spec says authority: spec, and {self.name!r} has its state in a store: a service that "
                "is started with that file is governed by it; nothing changed"
            )
        content = digest or hashlib.sha256(spec.model_dump_json().encode()).hexdigest()

        def set_fields(state: RolloutState, view: View) -> RolloutState:
            base = state.roll_back(known=view.known) if abort and state.running else state
            after = apply_spec(base, spec, view.known)
            rules = view.ladders if spec.automation else {}
            after = apply_degrees(after, spec, rules, self._desk.author, time.time())
            if base.running is not None and not base.running.watches:
                after = self._reapplied(base, after, spec)
            if after is state:
                return state
            if (rolled := undone_rollback(self._desk.moves(), base, after, spec, content)) is not None:
                words = f"{rolled.author} rolled back (revision {rolled.revision}) what this content sets"
                if keep_rollback:  # out of the change: not even new code may be granted
                    raise _Stands(state, f"{words}: that stands, and nothing of it was applied")
                advice = "change the file, or set the weights by hand"
                raise Refused(f"{words}, and applying it again would undo that; {advice}")
            return after.model_copy(update={"applied": (content, state.revision + 1)})

        def told(_: View, after: RolloutState) -> tuple[str, ...]:
            return after_applying(after, spec)

        granted = weighted(spec)
        try:
            return self._desk.change("apply", set_fields, reason, if_revision, grants=granted, advise=told)
        except _Stands as error:
            return Change(error.state, changed=False, notes=(error.words,))

    def _reapplied(self, state: RolloutState, after: RolloutState, spec: RolloutSpec) -> RolloutState:
        """Return the state after a file was applied to a running try."""
        running = running_try(state, "nothing to change")
        if after is not state:
            more = [text for text in phrases(state, after) if text != aside(after)]
            raise Refused(
                f"{running.words} runs, and the file sets more than its strategy: {'; '.join(more)}; "
                "end the try first (--abort), or take that out of the file"
            )
        return state if spec.strategy is None else reworked(state, spec.strategy, self._now(running))

    def decided(self, decision: Decision, *, after_revision: int, timeout: float | str = 30.0) -> Change:
        """Commit what evidence decided, for the author ``evidence``, unless anything changed meanwhile.

        A promotion prepares the live workers as a flip does; a rollback waits for nobody. A decision to hold
        commits nothing.

        Args:
            decision: by `policy.decide`, for the try as it is at ``after_revision``.
            after_revision: the revision that it was decided on.
            timeout: how long a promotion waits for every live worker's ``before_flip`` hooks.

        Raises:
            Conflict: the rollout is at another revision; nothing changed: look and decide anew.
            Refused: no try runs.
            NotReady: who would get traffic is not ready, or is not the code that was tried.
            Vetoed, FlipTimeout: as for `flip`.
        """
        desk = Desk(self.name, self._desk.store, self._desk.location, EVIDENCE)
        commit = desk.read(after_revision)
        found = decision if decision.dry_run else fitting(commit.state, decision)
        reason = _plain(found.words)

        def carry_out(state: RolloutState, view: View) -> RolloutState:
            running = running_try(state, "there is nothing to decide")
            if found.action in (Action.ADVANCE, Action.PROMOTE) and not found.dry_run:
                _check_same(running, view, running.both)
            return decided(state, found, time.time(), view.known)

        crowns = found.action is Action.PROMOTE
        seconds = parse_duration(timeout)
        prepare = partial(prepared, desk, self._ballot, seconds, reason, unattended=False) if crowns else None
        return desk.change(action_of(found), carry_out, reason, after_revision, prepare=prepare)

    def _preparing(self, timeout: float | str, reason: str, *, unattended: bool) -> Prepare:
        """Return what lets the live workers run their ``before_flip`` hooks, and waits for them."""
        seconds = parse_duration(timeout)
        return partial(prepared, self._desk, self._ballot, seconds, reason, unattended=unattended)

    def _here(self, state: RolloutState) -> Position | None:
        return None if state.running is None else self._now(state.running)

    def _now(self, running: Try) -> Position:
        """Return where a try stands now, a second old at most while somebody leads it."""
        return live_position(running, self._report())


def _check_final(state: RolloutState, view: View) -> None:
    """Refuse to start again what was aborted or rolled back, as long as it is the same code."""
    last = state.attempt
    if last is None or last.position.stage not in (Stage.ABORTED, Stage.ROLLED_BACK):
        return
    strategy = view.strategy
    if strategy is None or strategy.candidate != last.candidate or last.differs(view.digests(last.both)):
        return
    raise Refused(
        f"{last.words} was {last.position.stage.value.replace('_', ' ')} (revision {last.revision}), and "
        f"{last.candidate!r} is the same code still: that is final until `retry`, which begins anew"
    )


def _check_same(running: Try, view: View, names: Iterable[str]) -> None:
    """Refuse traffic on the word of evidence that is about other code."""
    if other := running.differs(view.digests(names)):
        raise NotReady(
            f"{' and '.join(map(repr, other))} is other code than {running.words} began with, so what was "
            "seen says nothing about it; abort, then retry; nothing changed"
        )


def _instead(state: RolloutState) -> str:
    """Return what to do instead of promoting when no try runs."""
    if state.attempt is not None and state.attempt.position.stage in (Stage.ABORTED, Stage.ROLLED_BACK):
        return "`retry` begins a new one, and `flip` makes a candidate the champion without one"
    return "to make a candidate the champion now use `flip`"


def _after_begin(view: View, after: RolloutState) -> tuple[str, ...]:
    """Return the notes of a try that begins."""
    attempt = after.attempt
    if attempt is None:
        return ()
    found = []
    if attempt.number > 1 and view.state.attempt and view.state.attempt.candidate == attempt.candidate:
        chance = f"{100 * attempt.strategy.false_alarm:g} %"
        found.append(
            f"{attempt.words}: nothing of the earlier ones counts, and false_alarm ({chance}) holds anew"
        )
    if after.paused:
        found.append("automation is paused, so nothing is raised until `resume`")
    if attempt.strategy.dry_run:
        found.append("dry_run: it tells what it would do, and moves no traffic")
    return tuple(found)


def _plain(words: str) -> str:
    """Return what a decision says as a reason of the history: on one line, of bounded length."""
    text = words if is_plain(words) else "".join(c if is_plain(c) else " " for c in words)
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."
