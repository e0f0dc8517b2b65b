"""Who is alive: a lock for each worker, which the kernel releases when it dies, and what it wrote."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..leases import LEASE
from ..revisions import shown_revision
from .files import is_locked, read_json, release, same_file, try_lock, write_json
from .making import make_folder

__all__ = ["Card", "Presence", "Silent", "VariantCard", "Workers"]


@dataclass(frozen=True)
class VariantCard:
    """What one worker says of one variant: ``state`` is starting, ready, unready, failed or missing.

    ``models`` are the tags that its model references stand for; ``process`` says of a process of its own its
    ``pid``, its memory in MB and how often it was started again.
    """

    state: str
    runner: str
    digest: str
    error: str | None = None
    models: Sequence[str] = ()
    process: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Card:
    """What one worker wrote about itself.

    Attributes:
        token: names the worker among all that ever lived; ``pid`` and a few random digits.
        pid, worker: the process, and BentoML's number of the worker (from 1; 0: not known).
        service: the name of the service.
        revision: the revision that it serves.
        variants: what it can serve; the decorated one first.
        before_flip, after_flip: how many hooks it has.
        spec: the state fields that its spec asks for, as in the spec's file, and its strategy as plain data.
        trouble: what is wrong with its store, or None.
        host: the host that it runs on, where many share a store.
        lease: seconds that it goes on with what it knows when it has lost its connection to the store.
        on_stale: what it does after that.
        code: the digest of its code: of the spec's fields that are code, and of its variants.
        duties: what it takes part in of what one worker does for all, once it has finished its start.
    """

    token: str
    pid: int
    worker: int
    service: str
    revision: int
    variants: Mapping[str, VariantCard] = field(default_factory=dict)
    before_flip: int = 0
    after_flip: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)
    trouble: str | None = None
    host: str = ""
    lease: float = LEASE
    on_stale: str = "serve"
    code: str = ""
    duties: Sequence[str] = ()

    @property
    def words(self) -> str:
        """The worker as people are told of it."""
        return f"worker {self.pid}" + (f" on {self.host}" if self.host else "")

    @classmethod
    def load(cls, data: Any) -> Card | None:
        """Return the card that JSON describes, or None when it is not one."""
        try:
            variants = {name: VariantCard(**item) for name, item in data["variants"].items()}
            return cls(**{**data, "variants": variants})
        except (TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True)
class Silent:
    """A worker that gives no sign of life: it has lost its connection, or it hangs, or was killed.

    Attributes:
        pid, host: where it runs.
        seconds: since its last sign of life.
        revision: what it served then.
        lease, on_stale: as on its card.
    """

    pid: int
    host: str
    seconds: float
    revision: int
    lease: float
    on_stale: str

    @property
    def over(self) -> bool:
        """Whether its lease has run out."""
        return self.seconds >= self.lease

    @property
    def serves(self) -> str:
        """What it serves if it lives, until it is connected again."""
        kept = f"revision {shown_revision(self.revision)}"
        after = {"champion": f"only the champion of {kept}", "refuse": "nobody: it answers 503"}.get(
            self.on_stale
        )
        if after is None:
            return kept
        return after if self.over else f"{kept}, and in {self.lease - self.seconds:.0f} s {after}"

    @property
    def words(self) -> str:
        """Who it is, and what it does."""
        who = f"worker {self.pid or '?'} on {self.host}, silent for {self.seconds:.0f} s"
        return f"{who}: until it is connected again it serves {self.serves}"


class Workers(Protocol):
    """The workers of one rollout, as one of them, or an operator, sees them."""

    @property
    def token(self) -> str:
        """Names this worker among all that ever lived."""

    def join(self) -> None:
        """Be seen as alive from now on.

        Raises:
            OSError: nobody can be told.
        """

    def stay(self) -> bool:
        """Make sure that others see this worker; true when its card was lost: write it anew.

        Raises:
            OSError: nobody can be told.
        """

    def write(self, card: Card) -> None:
        """Replace what this worker says of itself; the last one stays as the service's description.

        Raises:
            OSError: it cannot be written.
        """

    def leave(self) -> None:
        """Be seen no longer."""

    def living(self) -> list[Card]:
        """Return the cards of the workers that are alive now.

        Raises:
            StoreUnreachable: nobody can say.
        """

    def silent(self) -> list[Silent]:
        """Return the workers that have lost their connection to the store, as far as anybody can say.

        Raises:
            StoreUnreachable: nobody can say.
        """

    def last(self) -> Card | None:
        """Return the newest card that any worker wrote, alive or not: what the service is like.

        Raises:
            StoreUnreachable: nobody can say.
        """


class Presence:
    """The workers of one rollout on this host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "workers"
        self._service = folder / "service.json"
        self._lock = -1
        self._pid = os.getpid()
        self.token = f"{self._pid}-{secrets.token_hex(4)}"

    def join(self) -> None:
        """Take this worker's lock: from now on it counts as alive, until it ends.

        Raises:
            OSError: when nothing can be written here.
        """
        make_folder(self._folder)
        hidden = self._folder / f"{self.token}.joining"
        lock = try_lock(hidden)
        if lock is None:  # nobody else knows the name
            raise BlockingIOError(f"{hidden} is locked by somebody else")
        try:
            hidden.rename(self._path("lock"))  # others see it only now that it is locked
        except OSError:
            release(lock)
            raise
        self._forget()
        self._lock = lock
        os.register_at_fork(after_in_child=self._forget)

    def stay(self) -> bool:
        """Make sure that others see this worker; true when its lock or card was lost: write the card anew.

        Raises:
            OSError: when nothing can be written here.
        """
        seen = self._lock >= 0 and same_file(self._lock, self._path("lock"))
        if not seen:
            self.join()
        return not seen or not self._path("json").exists()

    def write(self, card: Card) -> None:
        """Replace what this worker says of itself; the last one stays as the service's description.

        Raises:
            OSError: when nothing can be written here.
        """
        make_folder(self._folder)
        write_json(self._path("json"), asdict(card), draft=self._path("draft"))
        write_json(self._service, asdict(card), draft=self._path("draft"))

    def leave(self) -> None:
        """Give the lock back and take the card away."""
        if os.getpid() != self._pid:  # a forked child is not the worker
            return
        _remove(self._path("lock"))
        if self._lock >= 0:
            release(self._lock)
            self._lock = -1

    def living(self) -> list[Card]:
        """Return the cards of the workers that are alive now; what dead ones left is removed.

        A worker that is alive and could not write its card counts, with an empty one: better to wait for it
        than to pass over it.
        """
        cards = [card for lock in self._folder.glob("*.lock") if (card := self._card(lock)) is not None]
        return sorted(cards, key=lambda card: (card.worker, card.pid))

    def silent(self) -> list[Silent]:
        """Return nobody: a store on this host needs no connection."""
        return []

    def last(self) -> Card | None:
        """Return the newest card that any worker wrote, alive or not: what the service is like."""
        return Card.load(read_json(self._service))

    def _card(self, lock: Path) -> Card | None:
        if not self._is_alive(lock):
            return None
        card = Card.load(read_json(lock.with_suffix(".json")))
        if card is not None:
            return card
        if not lock.exists():  # it left while we looked
            return None
        pid = lock.stem.partition("-")[0]
        trouble = "it could not write its card"
        return Card(lock.stem, int(pid) if pid.isdecimal() else 0, 0, "", 0, trouble=trouble)

    def _is_alive(self, lock: Path) -> bool:
        try:
            alive = is_locked(lock)
        except OSError:
            return True  # it cannot be asked: better to wait for a dead one than to pass over a living one
        if not alive:
            _remove(lock)  # a token is never used again, so no living worker's lock can lie here by now
        return alive

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self.token}.{suffix}"

    def _forget(self) -> None:
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1


def _remove(lock: Path) -> None:
    for suffix in (".lock", ".json", ".draft", ".joining"):
        with suppress(OSError):
            lock.with_suffix(suffix).unlink()
