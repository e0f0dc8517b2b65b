"""Who is alive: a lock for each worker, which the kernel releases when the worker dies, and what the worker wrote."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .files import read_json, try_lock, write_json

__all__ = ["Card", "Presence", "VariantCard"]


@dataclass(frozen=True)
class VariantCard:
    """What one worker says of one variant: ``state`` is starting, ready, unready, failed or missing."""

    state: str
    runner: str
    digest: str
    error: str | None = None


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
        spec: the state fields that its spec asks for, as in the spec's file.
        trouble: what is wrong with its store, or None.
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

    @classmethod
    def load(cls, data: Any) -> Card | None:
        """Return the card that JSON describes, or None when it is not one."""
        try:
            variants = {name: VariantCard(**item) for name, item in data["variants"].items()}
            return cls(**{**data, "variants": variants})
        except (TypeError, KeyError, AttributeError):
            return None


class Presence:
    """The workers of one rollout on this host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "workers"
        self._service = folder / "service.json"
        self._lock = -1
        self.token = f"{os.getpid()}-{secrets.token_hex(4)}"

    def join(self) -> None:
        """Take this worker's lock: from now on it counts as alive, until it ends.

        Raises:
            OSError: when nothing can be written here.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + 5.0
        while (lock := try_lock(self._folder / f"{self.token}.lock")) is None:
            if (
                time.monotonic() > deadline
            ):  # only somebody who looks whether we live can hold it, for a moment
                raise OSError("another process holds this worker's own lock")
            time.sleep(0.001)
        self._lock = lock
        os.register_at_fork(after_in_child=self._forget)

    def write(self, card: Card) -> None:
        """Replace what this worker says of itself; the last one stays as the service's description."""
        write_json(self._folder / f"{self.token}.json", asdict(card))
        write_json(self._service, asdict(card))

    def leave(self) -> None:
        """Give the lock back and take the card away."""
        for suffix in ("json", "lock"):
            with suppress(OSError):
                (self._folder / f"{self.token}.{suffix}").unlink()
        self._forget()

    def living(self) -> list[Card]:
        """Return the cards of the workers that are alive now; what dead ones left is removed."""
        cards: list[Card] = []
        for lock in sorted(self._folder.glob("*.lock")):
            if self._is_alive(lock):
                card = Card.load(read_json(lock.with_suffix(".json")))
                if card is not None:
                    cards.append(card)
        return sorted(cards, key=lambda card: (card.worker, card.pid))

    def last(self) -> Card | None:
        """Return the newest card that any worker wrote, alive or not: what the service is like."""
        return Card.load(read_json(self._service))

    def _is_alive(self, lock: Path) -> bool:
        if lock.stem == self.token and self._lock >= 0:
            return True
        try:
            fd = try_lock(lock)
        except OSError:
            return True  # it cannot be asked: better to wait for a dead one than to pass over a living one
        if fd is None:
            return True
        for leftover in (lock.with_suffix(".json"), lock):
            with suppress(OSError):
                leftover.unlink()
        os.close(fd)
        return False

    def _forget(self) -> None:
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1
