"""One worker's part in the rollout: it is present, follows the state, votes on flips and runs hooks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from .errors import RolloutError, StoreUnreachable
from .feed import Feed
from .flips import Flips
from .hooks import Hook, run_hooks
from .records import Flip
from .revisions import is_of_file
from .state import Commit
from .store import RolloutStore
from .store.ballot import After, Proposal, Vote, ballot_at
from .store.codes import Codes
from .store.opened import presence_at
from .store.presence import Card, Workers
from .telemetry import log
from .telemetry.spans import Running, Spans

__all__ = ["Worker"]

TICK = 0.02
"""Seconds between two looks at the counter when no request looks: how soon a worker hears of a proposal."""

CHECK = 1.0
"""Seconds between two looks at the database itself."""


class Worker:
    """Follows one rollout from a thread of its own, away from requests.

    Args:
        store, feed: the rollout's revisions, and what this worker serves by.
        before, after: the hooks around a flip.
        describe: returns this worker's card as it is now (its token and revision are filled in here).
        lend: gives hooks a variant's instance, as the one whose code is running; None: it is not ready.
        loop: the event loop that async hooks run on.

    Attributes:
        spans: makes the spans of flips; None: nobody traces.
        flips: tells how flips end.
        each_second: what else there is to do each second, away from requests; None: nothing.
    """

    def __init__(
        self,
        store: RolloutStore,
        feed: Feed,
        before: Sequence[Hook],
        after: Sequence[Hook],
        describe: Callable[[], Card],
        lend: Callable[[str], AbstractContextManager[Any]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        place = store.place(feed.name)
        self.presence: Workers = presence_at(place)
        self.spans: Spans | None = None
        self.each_second: Callable[[], None] | None = None
        self._store, self._feed = store, feed
        self._ballot, self._codes = ballot_at(place), Codes(place)
        self._entered = False
        self.flips = Flips(self._ballot, feed.name)
        self._before, self._after = before, after
        self._describe, self._lend, self._loop = describe, lend, loop
        self._seen = feed.commit
        self._owed: dict[int, tuple[Commit, str]] = {}
        self._once = log.Once()
        self._voted: str | None = None
        self._written: Card | None = None
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-worker", daemon=True)

    def start(self) -> None:
        """Become one of the living workers, read the state after that, and follow it from now on.

        Call it outside the event loop, before the first request is served: when a flip is being prepared this
        waits for the hooks, so that whether the flip counts this worker or not, it serves as prepared as all
        the others. It never raises: whatever is wrong here, the service starts, and answers.
        """
        for step in (
            self._enter,
            self._write_card,
            self._join,
            self._take_part,
            self._catch_up,
            self._feed.start,
            self._thread.start,
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - a worker that cannot start would be respawned for ever
                self._report_error(error)

    def _enter(self) -> None:
        """Note which code this worker runs, before it counts as alive; what is not noted is tried again."""
        if self._entered or not (code := self._describe().code):
            return
        with suppress(StoreUnreachable, OSError):  # the feed says that the store cannot be used
            own = self.presence.token
            self._codes.enter(code, lambda: {c.code for c in self.presence.living() if c.token != own})
            self._entered = True

    def _join(self) -> None:
        try:
            self.presence.join()
        except OSError as error:
            problem = f"no liveness lock: {error}"
            log.event("worker.unseen", "error", rollout=self._feed.name, problem=problem)

    def _take_part(self) -> None:
        """Prepare the flip that is pending while this worker starts."""
        if (proposal := self._ballot.pending()) is not None:
            self._voted = proposal.id
            self._prepare(proposal)

    def _catch_up(self) -> None:
        """Read the state that this worker begins with, and take over what dead ones left undone."""
        self._feed.check()
        self._feed.table()
        self._seen = self._feed.commit
        self._written = None
        self._write_card()
        if self._after:
            self._owed.update(self._interrupted())

    def stop(self) -> None:
        """Leave; the thread ends by itself."""
        self._stop.set()
        self._feed.stop()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self.presence.leave()

    def refresh(self) -> None:
        """Write the card again, because a variant became ready or failed."""
        self._write_card()

    # -- following the state --------------------------------------------------------------------------------

    def _run(self) -> None:
        token, checked = b"", time.monotonic()
        while not self._stop.wait(TICK):
            try:
                now = time.monotonic()
                if now - checked >= CHECK:
                    checked = now
                    self._feed.check()
                    self._follow()
                    self._stay()
                    self._enter()
                    self._write_card()
                    self._follow_up()
                    self.flips.settle()
                    if self.each_second is not None:
                        self.each_second()
                if (found := self._store.token(self._feed.name)) != token:
                    token = found
                    self._look()
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                self._report_error(error)

    def _report_error(self, error: Exception) -> None:
        described = f"{type(error).__name__}: {error}"
        self._once.say(described, "worker.error", "error", rollout=self._feed.name, error=described)

    def _stay(self) -> None:
        """Be seen again when somebody removed the lock or the card, or when neither could be written."""
        with suppress(OSError):
            if self.presence.stay():
                self._written = None

    def _look(self) -> None:
        self._feed.table()
        self._follow()
        proposal = self._ballot.pending()
        if proposal is not None and proposal.id != self._voted:
            self._voted = proposal.id
            self.flips.proposed(proposal)
            threading.Thread(
                target=self._prepare, args=(proposal,), name="rollout-prepare", daemon=True
            ).start()

    def _follow(self) -> None:
        """Say what changed since the last look, on this worker's card and in the log; run what follows."""
        before, now = self._seen, self._feed.commit
        if now.revision == before.revision:
            return
        self._seen = now
        log.event(
            "rollout.changed",
            rollout=now.state.name,
            revision=now.revision,
            champion=now.state.champion,
            weights=now.state.percents,
            action=now.action,
            author=now.author,
            reason=now.reason,
        )
        self._write_card()
        if now.state.champion == before.state.champion and now.revision == before.revision + 1:
            return
        flips = self._flips(before, now)
        for flip, source in flips:
            self.flips.committed(flip, source)
            log.event(
                "flip.committed",
                rollout=now.state.name,
                variant=flip.state.champion,
                source=source,
                revision=flip.revision,
                action=flip.action,
                author=flip.author,
                reason=flip.reason,
            )
        if self._after:
            self._owed.update({flip.revision: (flip, source) for flip, source in flips})
            self._follow_up()

    def _write_card(self) -> None:
        with self._writing:
            own = self._describe()
            card = replace(
                own,
                token=self.presence.token,
                pid=os.getpid(),
                revision=self._feed.commit.revision,
                trouble=self._feed.trouble or own.trouble,
            )
            if card == self._written or self._stop.is_set():
                return
            try:
                self.presence.write(card)
                self._written = card
                self._once.over("card")
            except OSError as error:
                self._written = None
                if self._feed.trouble is None:  # what is wrong with the store is said already
                    facts = {"rollout": self._feed.name, "problem": str(error)}
                    self._once.say("card", "worker.unwritten", "warning", **facts)

    # -- around a flip --------------------------------------------------------------------------------------

    def _prepare(self, proposal: Proposal) -> None:
        """Run the ``before_flip`` hooks against this worker's own instance of the target, and vote."""
        began = time.monotonic()
        with self._traced("flip prepare", proposal.source, proposal.target) as span:
            veto = self._objection(proposal)
            if span is not None:
                span.tell("vetoed" if veto else "prepared", failed=veto is not None)
        seconds = time.monotonic() - began
        if veto is not None:
            self.flips.vetoed(proposal)
        self._ballot.vote(proposal, Vote(self.presence.token, os.getpid(), veto, seconds))
        name, level = ("flip.prepared", "info") if veto is None else ("flip.vetoed", "warning")
        log.event(
            name,
            level,
            rollout=self._feed.name,
            variant=proposal.target,
            reason=veto or "",
            seconds=round(seconds, 6),
        )

    def _traced(self, name: str, source: str, target: str) -> AbstractContextManager[Running | None]:
        told = {"bento_rollout.source": source, "feature_flag.result.variant": target}
        return nullcontext() if self.spans is None else self.spans.operation(name, told)

    def _around_hook(self, name: str) -> AbstractContextManager[Running | None]:
        told = {"bento_rollout.hook": name}
        return nullcontext() if self.spans is None else self.spans.operation(f"hook {name}", told)

    def _objection(self, proposal: Proposal) -> str | None:
        try:
            with self._lend(proposal.target) as instance:
                if instance is None:
                    return f"{proposal.target!r} is not ready here"
                flip = self._flip(proposal.source, proposal, instance)
                return run_hooks(self._before, flip, self._loop, self._around_hook)
        except Exception as error:  # noqa: BLE001 - a worker that says nothing holds the flip up until its timeout
            return f"the hooks could not be run: {type(error).__name__}: {error}"

    def _flip(self, source: str, wanted: Proposal | Commit, instance: Any) -> Flip:
        target = wanted.target if isinstance(wanted, Proposal) else wanted.state.champion
        return Flip(self._feed.name, source, target, instance, wanted.reason, wanted.author)

    def _follow_up(self) -> None:
        """See to it that somebody runs the ``after_flip`` hooks of each flip that this worker has seen."""
        for revision, (commit, source) in list(self._owed.items()):
            if self._ballot.is_followed(revision):
                del self._owed[revision]
            else:
                threading.Thread(
                    target=self._run_after, args=(commit, source), name="rollout-after", daemon=True
                ).start()

    def _interrupted(self) -> dict[int, tuple[Commit, str]]:
        """Return the flips that a worker which died was about to follow up, each with whom it replaced."""
        found: dict[int, tuple[Commit, str]] = {}
        for revision in self._ballot.interrupted():
            with suppress(RolloutError):
                commits = self._store.history(self._feed.name, 2, before=revision + 1)
                flip, before = (*commits, None, None)[:2]
                if flip is not None and before is not None and flip.revision == revision:
                    found[revision] = (flip, before.state.champion)
        return found

    def _flips(self, before: Commit, now: Commit) -> list[tuple[Commit, str]]:
        """Return the commits since ``before`` that made another champion, each with whom it replaced."""
        commits = [now]
        if now.revision != before.revision + 1 and not is_of_file(now.revision):
            try:
                since = self._store.history(now.state.name, now.revision - before.revision)
                commits = [c for c in since if c.revision > before.revision]
            except RolloutError:  # the newest is at hand; those between are lost to the hooks only
                commits = [now]
        flips, champion = [], before.state.champion
        for commit in sorted(commits, key=lambda c: c.revision):  # of a file's there is one
            if commit.state.champion != champion:
                flips.append((commit, champion))
            champion = commit.state.champion
        return flips

    def _run_after(self, commit: Commit, source: str) -> None:
        try:
            if not self._ballot.claim_after(commit.revision, self.presence.token):
                return
        except RolloutError as error:  # it stays owed, and is tried again
            self._report_error(error)
            return
        with self._traced("flip after", source, commit.state.champion) as span:
            failure = self._after_failure(commit, source)
            if span is not None:
                span.tell("done" if failure is None else "failed", failed=failure is not None)
        state = "done" if failure is None else "failed"
        self._ballot.report_after(After(commit.revision, self.presence.token, os.getpid(), state, failure))
        if failure is not None:
            log.event(
                "flip.after_failed",
                "error",
                rollout=self._feed.name,
                revision=commit.revision,
                problem=failure,
            )

    def _after_failure(self, commit: Commit, source: str) -> str | None:
        try:
            with self._lend(commit.state.champion) as instance:
                flip = self._flip(source, commit, instance)
                return run_hooks(self._after, flip, self._loop, self._around_hook)
        except Exception as error:  # noqa: BLE001 - reported like what a hook itself raises
            return f"the hooks could not be run: {type(error).__name__}: {error}"
