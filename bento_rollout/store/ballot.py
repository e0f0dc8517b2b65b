"""A flip that is being prepared: who proposes it, what each worker says to it, and who runs what comes after."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import Refused, StoreUnreachable
from .files import read_json, try_lock, write_json

__all__ = ["After", "Ballot", "Proposal", "Vote"]


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


class Ballot:
    """The flip in preparation of one rollout on this host; at most one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = folder / "flip.lock"
        self._flip = folder / "flip.json"
        self._after = folder / "after"

    @contextmanager
    def propose(self, source: str, target: str, after: int, author: str, reason: str) -> Iterator[Proposal]:
        """Hold the right to flip and show a proposal to the workers, until the block ends.

        Raises:
            Refused: when another flip is being prepared.
            StoreUnreachable: when nothing can be written here.
        """
        fd = self._claim()
        proposal = Proposal(secrets.token_hex(8), source, target, after, author, reason)
        try:
            self._votes(proposal.id).mkdir(parents=True, exist_ok=True)
            write_json(self._flip, asdict(proposal))
            yield proposal
        except OSError as error:
            raise StoreUnreachable(
                f"{self._folder} cannot be written: {error.strerror}; nothing changed"
            ) from None
        finally:
            self._clear(proposal)
            os.close(fd)

    def pending(self) -> Proposal | None:
        """Return the proposal of a living proposer, or None."""
        data = read_json(self._flip)
        if data is None:
            return None
        try:
            proposal = Proposal(**data)
            fd = try_lock(self._lock)
        except (TypeError, OSError):
            return None
        if fd is not None:  # nobody holds it: the proposer died
            os.close(fd)
            return None
        return proposal

    def vote(self, proposal: Proposal, vote: Vote) -> None:
        """Say what this worker thinks of a proposal; nothing happens when the proposal is over."""
        with suppress(OSError):
            if self._votes(proposal.id).is_dir():
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
        """Whether this worker is the one that runs the ``after_flip`` hooks of a revision; true for one only."""
        try:
            self._after.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._after / f"{revision}.claim", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except OSError:
            return False
        os.close(fd)
        self.report_after(After(revision, token, os.getpid(), "running"))
        self._prune()
        return True

    def report_after(self, after: After) -> None:
        """Write how the hooks of a revision are going."""
        with suppress(OSError):
            write_json(self._after / f"{after.revision}.json", asdict(after))

    def afters(self) -> dict[int, After]:
        """Return how the ``after_flip`` hooks went, by revision."""
        found: dict[int, After] = {}
        for path in self._after.glob("[!.]*.json"):
            with suppress(TypeError):
                after = After(**(read_json(path) or {}))
                found[after.revision] = after
        return found

    def _claim(self) -> int:
        deadline = (
            time.monotonic() + 0.25
        )  # a worker that looks whether the proposer lives holds it for a moment
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while (fd := try_lock(self._lock)) is None:
                if time.monotonic() > deadline:
                    data = read_json(self._flip) or {}
                    raise Refused(
                        f"another flip is being prepared: to {data.get('target', '?')!r} by {data.get('author', '?')}; wait for it, then look at `status`"
                    )
                time.sleep(0.005)
        except OSError as error:
            raise StoreUnreachable(
                f"{self._folder} cannot be written: {error.strerror}; nothing changed"
            ) from None
        return fd

    def _votes(self, proposal_id: str) -> Path:
        return self._folder / "votes" / proposal_id

    def _clear(self, proposal: Proposal) -> None:
        with suppress(OSError):
            self._flip.unlink()
        for folder in (self._folder / "votes").glob("*"):  # those of proposers that were killed as well
            for path in folder.glob("*"):
                with suppress(OSError):
                    path.unlink()
            with suppress(OSError):
                folder.rmdir()

    def _prune(self, keep: int = 200) -> None:
        claims = sorted(self._after.glob("*.claim"), key=lambda path: int(path.stem))
        for path in claims[:-keep]:
            for leftover in (path, path.with_suffix(".json")):
                with suppress(OSError):
                    leftover.unlink()
