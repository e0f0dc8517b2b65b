"""Audits are written in batches, and what cannot be made or kept is counted, and costs the others nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from bento_rollout.bento import audits as module
from bento_rollout.bento.audits import Audit, Audits
from bento_rollout.errors import StoreUnreachable
from bento_rollout.reviewing import Case, Shown
from tests.reviewed import case


class Desk:
    """Where audits go; it fails as often as it is told."""

    def __init__(self, *raises: Exception) -> None:
        self.raises, self.batches, self.said = list(raises), list[int](), list[str]()
        self.stop = threading.Event()
        self.audits = Audits(self.write, lambda error: self.said.append(type(error).__name__), self.stop)

    def write(self, made: Sequence[tuple[Case, Audit]]) -> int:
        """Keep them, but for those that are of another endpoint."""
        if self.raises:
            raise self.raises.pop()
        self.batches.append(len(made))
        return sum(case.endpoint != "read" for case, _ in made)

    def offer(self, make: Any) -> None:
        """Offer one."""
        self.audits.offer(Audit(make, 10, None), 100)


def broken() -> Case:
    """Raise as a user's function may."""
    raise ValueError("secret")


def test_audits_are_written_together() -> None:
    """Those that wait go in one transaction; one that cannot be made or kept is counted by itself."""
    desk = Desk()
    for make in (case, broken, lambda: case(endpoint="look"), case):
        desk.offer(make)
    assert desk.audits.channel.flush(10)
    assert (desk.batches, desk.said) == ([3], ["ValueError"])
    assert desk.audits.channel.lost == 2


def test_large_audits_are_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be written stays bounded, however many are large."""
    monkeypatch.setattr(module, "HEAVY", 1500)
    desk = Desk()
    for _ in range(5):
        desk.offer(lambda: case(input=Shown("text", "x" * 1000)))
    assert desk.audits.channel.flush(10)
    assert desk.batches == [2, 2, 1]


def test_slow_audits_do_not_hold_back_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow function of the user's is waited for with nothing in hand."""
    monkeypatch.setattr(module, "LONG", 0.0)
    desk = Desk()
    for _ in range(3):
        desk.offer(case)
    assert desk.audits.channel.flush(10)
    assert desk.batches == [1, 1, 1]


def test_what_cannot_be_written_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that cannot be used for a moment loses nothing; other errors lose these ones only."""
    monkeypatch.setattr(module, "PAUSE", 0.01)
    desk = Desk(StoreUnreachable("locked"), StoreUnreachable("locked"))
    desk.offer(case)
    assert desk.audits.channel.flush(10)
    assert (desk.batches, desk.audits.channel.lost) == ([1], 0)
    desk.raises = [ValueError("odd")]
    desk.offer(case)
    assert desk.audits.channel.flush(10)
    desk.offer(case)
    assert desk.audits.channel.flush(10)
    assert (desk.batches, desk.audits.channel.lost) == ([1, 1], 1)
    desk.raises = [StoreUnreachable("locked")] * 10
    desk.offer(case)
    assert desk.audits.channel.flush(10)
    assert desk.audits.channel.lost == 2
    desk.stop.set()
    desk.raises = [StoreUnreachable("locked")] * 3
    desk.offer(case)
    assert desk.audits.channel.close(10)  # a worker that ends while another process holds the lock
    assert (desk.batches, desk.audits.channel.lost) == ([1, 1, 1], 2)
