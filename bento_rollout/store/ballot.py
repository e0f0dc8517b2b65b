"""A flip in preparation: who proposes it, what each worker says to it, and who runs what comes after."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ..errors import Refused, StoreUnreachable
from .files import is_locked, read_json, release, try_lock, write_json
from .making import make_folder
from .place import Place, Shared

__all__ = ["KEEP", "After", "AnyBallot", "Ballot", "Proposal", "Vote", "ballot_at", "busy"]


@dataclass(frozen=True)
class Proposal:
    """A flip that asks for every worker's acknowledgement."""

    id: str
    source: str
    target: str
    after: int
    author: str
    reason: str


@dataclass(frozen=True)
class Vote:
    """What one worker says to a proposal: ``veto`` is None, or why not."""

    token: str
    pid: int
    veto: str | None
    seconds: float


@dataclass(frozen=True)
class After:
    """How the ``after_flip`` hooks of one revision went: ``state`` is running, done or failed."""

    revision: int
    token: str
    pid: int
    state: str
    error: str | None = None


KEEP = 200
"""How many flips back it is known who ran their ``after_flip`` hooks."""


class AnyBallot(Protocol):
    """The flip in preparation of one rollout, and what follows it, as all who have to do with it see it."""

    def propose(
        self, source: str, target: str, after: int, author: str, reason: str
    ) -> AbstractContextManager[Proposal]:
        """Hold the right to flip and show a proposal to the workers, until the block ends.

        Raises:
            Refused: when another flip is being prepared.
            StoreUnreachable: when nothing can be written.
        """

    def pending(self) -> Proposal | None:
        """Return the proposal of a living proposer, or None."""

    def vote(self, proposal: Proposal, vote: Vote) -> None:
        """Say what this worker thinks of a proposal; nothing happens when the proposal is over."""

    def votes(self, proposal: Proposal) -> dict[str, Vote]:
        """Return the votes so far, by worker token."""

    def claim_after(self, revision: int, token: str) -> bool:
        """Whether this worker is the one that runs the ``after_flip`` hooks of a revision; true once only.

        Raises:
            StoreUnreachable: nothing can be written, so nobody can know who runs them.
        """

    def is_followed(self, revision: int) -> bool:
        """Whether somebody has the ``after_flip`` hooks of a revision, or it is too long ago to know."""

    def interrupted(self) -> list[int]:
        """Return the revisions whose ``after_flip`` hooks somebody was about to run, and nobody did."""

    def report_after(self, after: After) -> None:
        """Write how the hooks of a revision are going."""

    def afters(self) -> dict[int, After]:
        """Return how the ``after_flip`` hooks went, by revision."""

    def is_first(self, event: str) -> bool:
        """Whether nobody has asked this of an event before: one worker is to count it."""


def ballot_at(place: Place) -> AnyBallot:
    """Return where a rollout's flips are prepared: among workers of this host, or of all that share it."""
    if not isinstance(place, Shared):
        return Ballot(place)
    from .postgres.ballot import SharedBallot

    return SharedBallot(place)


def busy(other: Proposal | None) -> str:
    """Return the words for who proposes while another flip is being prepared."""
    what = "" if other is None else f": to {other.target!r} by {other.author}"
    return f"another flip is being prepared{what}; wait for it, then look at `status`"


class Ballot:
    """The flip in preparation of one rollout on this host; at most one at a time.

    ``flip.lock`` is held by whoever proposes; ``flip.json`` says what. A proposal has a folder for its votes,
    and in it a lock of its own: whether *this* proposer lives is not whether some proposer does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = folder / "flip.lock"
        self._flip = folder / "flip.json"
        self._after = folder / "after"
        self._told = folder / "told"

    @contextmanager
    def propose(self, source: str, target: str, after: int, author: str, reason: str) -> Iterator[Proposal]:
        """Hold the right to flip and show a proposal to the workers, until the block ends.

        Raises:
            Refused: when another flip is being prepared.
            StoreUnreachable: when nothing can be written here.
        """
        proposal = Proposal(secrets.token_hex(8), source, target, after, author, reason)
        fds: list[int] = []
        try:
            self._show(proposal, fds)
            yield proposal
        finally:
            if fds:
                self._clear()
            for fd in reversed(fds):
                release(fd)

    def pending(self) -> Proposal | None:
        """Return the proposal of a living proposer, or None."""
        data = read_json(self._flip)
        try:
            proposal = Proposal(**(data or {}))
            alive = is_locked(self._votes(proposal.id) / "lock")
        except (TypeError, ValueError, OSError):
            return None
        return proposal if alive else None

    def vote(self, proposal: Proposal, vote: Vote) -> None:
        """Say what this worker thinks of a proposal; nothing happens when the proposal is over."""
        with suppress(OSError):
            write_json(self._votes(proposal.id) / f"{vote.token}.json", asdict(vote))

    def votes(self, proposal: Proposal) -> dict[str, Vote]:
        """Return the votes so far, by worker token."""
        found: dict[str, Vote] = {}
        for path in self._votes(proposal.id).glob("[!.]*.json"):
            with suppress(TypeError):
                vote = Vote(**(read_json(path) or {}))
                found[vote.token] = vote
        return found

    def claim_after(self, revision: int, token: str) -> bool:
        """Whether this worker is the one that runs the ``after_flip`` hooks of a revision; true once only.

        Call it right before the hooks. Who runs them is on record when this returns true; one who died before
        that has claimed nothing, and the next one who asks gets it.

        Raises:
            StoreUnreachable: nothing can be written here, so nobody can know who runs them.
        """
        claim = self._after / f"{revision}.claim"
        try:
            make_folder(self._after)
            if self.is_followed(revision) or (lock := try_lock(claim)) is None:
                return False
            try:
                if mine := not self.is_followed(revision):
                    write_json(self._record(revision), asdict(After(revision, token, os.getpid(), "running")))
                claim.unlink()
            finally:
                release(lock)
        except OSError as error:
            problem = f"{self._after} cannot be written: {error.strerror}; after_flip hooks do not run"
            raise StoreUnreachable(problem) from None
        self._prune()
        return mine

    def is_followed(self, revision: int) -> bool:
        """Whether somebody has the ``after_flip`` hooks of a revision, or it is too long ago to know."""
        if self._record(revision).exists():
            return True
        known = self._recorded()
        return len(known) >= KEEP and revision < known[0]

    def interrupted(self) -> list[int]:
        """Return the revisions whose ``after_flip`` hooks somebody was about to run, and nobody did."""
        claims = (path.stem for path in self._after.glob("*.claim"))
        return sorted(int(text) for text in claims if text.isdecimal() and not self.is_followed(int(text)))

    def report_after(self, after: After) -> None:
        """Write how the hooks of a revision are going."""
        with suppress(OSError):
            write_json(self._record(after.revision), asdict(after))

    def afters(self) -> dict[int, After]:
        """Return how the ``after_flip`` hooks went, by revision."""
        found: dict[int, After] = {}
        for path in self._after.glob("[!.]*.json"):
            with suppress(TypeError):
                after = After(**(read_json(path) or {}))
                found[after.revision] = after
        return found

    def is_first(self, event: str) -> bool:
        """Whether nobody on this host has asked this of an event before: one worker is to count it.

        False, too, when that cannot be written down: better to miss an event than to count it in each worker.
        """
        try:
            make_folder(self._told)
            (self._told / event).touch(0o600, exist_ok=False)
        except OSError:
            return False
        with suppress(OSError):  # others may be tidying up, too
            for path in sorted(self._told.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEEP]:
                path.unlink()
        return True

    def _show(self, proposal: Proposal, fds: list[int]) -> None:
        try:
            make_folder(self._folder)
            fds.append(self._claim())
            votes = self._votes(proposal.id)
            make_folder(votes)
            own = try_lock(votes / "lock")
            if own is not None:  # a new folder: nobody else knows it
                fds.append(own)
            write_json(self._flip, asdict(proposal))
        except OSError as error:
            problem = f"{self._folder} cannot be written: {error.strerror}; nothing changed"
            raise StoreUnreachable(problem) from None

    def _claim(self) -> int:
        deadline = time.monotonic() + 0.25  # the one before may be about to leave
        while (fd := try_lock(self._lock)) is None:
            if time.monotonic() > deadline:
                raise Refused(busy(self.pending()))
            time.sleep(0.005)
        return fd

    def _votes(self, proposal_id: str) -> Path:
        if not proposal_id.isalnum():
            raise ValueError("no proposal of ours")
        return self._folder / "votes" / proposal_id

    def _clear(self) -> None:
        """Remove this proposal, and what proposers that were killed left."""
        with suppress(OSError):
            self._flip.unlink()
        for folder in (self._folder / "votes").glob("*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _record(self, revision: int) -> Path:
        return self._after / f"{revision}.json"

    def _recorded(self) -> list[int]:
        return sorted(int(path.stem) for path in self._after.glob("*.json") if path.stem.isdecimal())

    def _prune(self) -> None:
        for revision in self._recorded()[:-KEEP]:
            with suppress(OSError):
                self._record(revision).unlink()
