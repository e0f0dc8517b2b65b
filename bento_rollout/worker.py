"""One worker's part in the rollout: it is present, follows the state, votes on flips and runs hooks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .errors import RolloutError
from .feed import Feed
from .hooks import Hook, run_hooks
from .records import Flip
from .state import Commit
from .store.ballot import After, Ballot, Proposal, Vote
from .store.presence import Card, Presence
from .store.sqlite import SQLiteStore
from .telemetry import log

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
        instance_of: returns the instance of a variant, for hooks.
        loop: the event loop that async hooks run on.
    """

    def __init__(self, store: SQLiteStore, feed: Feed, before: Sequence[Hook], after: Sequence[Hook],
                 describe: Callable[[], Card], instance_of: Callable[[str], Any], loop: asyncio.AbstractEventLoop) -> None:
        place = store.place(feed.name)
        self.presence = Presence(place)
        self._store, self._feed = store, feed
        self._ballot = Ballot(place)
        self._before, self._after = before, after
        self._describe, self._instance_of, self._loop = describe, instance_of, loop
        self._seen = feed.commit
        self._voted: str | None = None
        self._written: Card | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-worker", daemon=True)

    def start(self) -> None:
        """Become one of the living workers, read the state after that, and follow it from now on."""
        try:
            self.presence.join()
        except OSError as error:
            log.event("worker.unseen", "error", rollout=self._feed.name, problem=f"no liveness lock: {error}")
        self._feed.check()
        self._seen = self._feed.commit
        self._write_card()
        self._thread.start()

    def stop(self) -> None:
        """Leave; the thread ends by itself."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self.presence.leave()

    def _run(self) -> None:
        token, checked = b"", 0.0
        while not self._stop.wait(TICK):
            try:
                now = time.monotonic()
                if now - checked >= CHECK:
                    checked = now
                    self._feed.check()
                    self._write_card()
                if (found := self._store.token(self._feed.name)) != token:
                    token = found
                    self._look()
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                log.event("worker.error", "error", rollout=self._feed.name, error=f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        self._feed.table()
        before, now = self._seen, self._feed.commit
        if now.revision != before.revision:
            self._seen = now
            state = now.state
            log.event("rollout.changed", rollout=state.name, revision=state.revision, champion=state.champion,
                      weights=state.percents, action=now.action, author=now.author, reason=now.reason)
            self._write_card()
            if self._after:
                self._follow_up(before, now)
        if (proposal := self._ballot.pending()) is not None and proposal.id != self._voted:
            self._voted = proposal.id
            threading.Thread(target=self._prepare, args=(proposal,), name="rollout-prepare", daemon=True).start()

    # -- around a flip ----------------------------------------------------------------------------------------

    def _prepare(self, proposal: Proposal) -> None:
        began = time.monotonic()
        flip = Flip(self._feed.name, proposal.source, proposal.target, self._instance_of(proposal.target),
                    proposal.reason, proposal.author)
        veto = run_hooks(self._before, flip, self._loop)
        seconds = time.monotonic() - began
        self._ballot.vote(proposal, Vote(self.presence.token, os.getpid(), veto, seconds))
        name, level = ("flip.prepared", "info") if veto is None else ("flip.vetoed", "warning")
        log.event(name, level, rollout=flip.rollout, variant=flip.target, reason=veto or "", seconds=round(seconds, 6))

    def _follow_up(self, before: Commit, now: Commit) -> None:
        """Run the ``after_flip`` hooks of each flip since the last look, if no other worker has taken them."""
        for commit, source in self._flips(before, now):
            if self._ballot.claim_after(commit.revision, self.presence.token):
                threading.Thread(target=self._run_after, args=(commit, source), name="rollout-after", daemon=True).start()

    def _flips(self, before: Commit, now: Commit) -> list[tuple[Commit, str]]:
        commits = [now]
        if now.revision != before.revision + 1:
            try:
                commits = [c for c in self._store.history(now.state.name, now.revision - before.revision) if c.revision > before.revision]
            except RolloutError:  # the newest is at hand; those between are lost to the hooks, not to the history
                commits = [now]
        flips, champion = [], before.state.champion
        for commit in sorted(commits, key=lambda c: c.revision):
            if commit.state.champion != champion:
                flips.append((commit, champion))
            champion = commit.state.champion
        return flips

    def _run_after(self, commit: Commit, source: str) -> None:
        flip = Flip(self._feed.name, source, commit.state.champion, self._instance_of(commit.state.champion),
                    commit.reason, commit.author)
        failure = run_hooks(self._after, flip, self._loop)
        state = "done" if failure is None else "failed"
        self._ballot.report_after(After(commit.revision, self.presence.token, os.getpid(), state, failure))
        if failure is not None:
            log.event("flip.after_failed", "error", rollout=flip.rollout, revision=commit.revision, problem=failure)

    def _write_card(self) -> None:
        card = replace(self._describe(), token=self.presence.token, pid=os.getpid(),
                       revision=self._feed.commit.revision, trouble=self._feed.trouble)
        if card == self._written:
            return
        try:
            self.presence.write(card)
            self._written = card
        except OSError as error:
            if self._written is not None or self._feed.trouble is None:
                log.event("worker.unwritten", "warning", rollout=self._feed.name, problem=str(error))
                self._written = None

    def refresh(self) -> None:
        """Write the card again, because a variant became ready or failed."""
        self._write_card()
