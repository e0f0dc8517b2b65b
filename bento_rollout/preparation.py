"""The first phase of a flip: every live worker acknowledges it, or nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .committing import Desk
from .errors import FlipTimeout, Refused, Vetoed
from .state import Commit, RolloutState
from .store.ballot import AnyBallot, Proposal, Vote
from .store.presence import Workers
from .view import View

__all__ = ["acknowledged", "prepared"]

POLL = 0.004
"""Seconds between two looks at the votes."""

LOOK = 0.05
"""Seconds between two looks at who is alive, while somebody has not voted."""


@contextmanager
def prepared(
    desk: Desk,
    ballot: AnyBallot,
    timeout: float,
    reason: str,
    commit: Commit,
    view: View,
    state: RolloutState,
    *,
    unattended: bool,
) -> Iterator[tuple[View, tuple[str, ...]]]:
    """Let every live worker run its ``before_flip`` hooks for the champion of ``state``; commit in the block.

    Args:
        desk, ballot: of the rollout.
        timeout: how long to wait for every live worker, in seconds.
        reason: what the hooks are told.
        commit, view: the newest commit and the service around it.
        state: what is to be committed.
        unattended: go on when hooks exist and no worker lives to run them.

    Yields:
        The service as it is after the preparation, and notes for the operator.

    Raises:
        Refused: nobody lives to run the hooks, or another flip is being prepared.
        Vetoed: a worker said no.
        FlipTimeout: a live worker said nothing in time.
    """
    if not view.has_before_flip:
        yield view, ()
    elif view.cards:
        wanted = (commit.state.champion, state.champion, commit.revision, desk.author, reason)
        with ballot.propose(*wanted) as proposal:
            desk.store.beacon(desk.name).poke()
            acknowledged(ballot, desk.presence, proposal, timeout)
            yield desk.view(commit.state), ()  # others may have joined, or failed, since
    elif unattended:
        yield view, ("nobody ran the before_flip hooks",)
    else:
        raise Refused(
            "no worker is live to run the before_flip hooks; start the service, "
            "or flip without them: --no-workers"
        )


def acknowledged(ballot: AnyBallot, presence: Workers, proposal: Proposal, timeout: float) -> None:
    """Wait until every live worker has acknowledged; who dies meanwhile is dropped, who joins is asked too.

    Raises:
        Vetoed: a worker said no; its reason is in the message.
        FlipTimeout: a live worker said nothing within ``timeout`` seconds; its pid is in the message.
    """
    deadline = time.monotonic() + timeout
    alive, looked = presence.living(), time.monotonic()
    while True:
        votes = ballot.votes(proposal)
        for vote in votes.values():
            _check(vote, proposal.target)
        if all(card.token in votes for card in alive) or time.monotonic() - looked > LOOK:
            alive, looked = presence.living(), time.monotonic()
            if all(card.token in votes for card in alive):
                return
        if time.monotonic() > deadline:
            silent = ", ".join(str(card.pid) for card in alive if card.token not in votes)
            raise FlipTimeout(f"no answer within {timeout:g} s from worker {silent}; nothing changed")
        time.sleep(POLL)


def _check(vote: Vote, target: str) -> None:
    if vote.veto is not None:
        raise Vetoed(f"worker {vote.pid} vetoed the flip to {target!r}: {vote.veto}; nothing changed")
