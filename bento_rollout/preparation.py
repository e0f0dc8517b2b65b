"""The first phase of a flip: every live worker acknowledges it, or nothing happens."""

from __future__ import annotations

import time

from .errors import FlipTimeout, Vetoed
from .store.ballot import Ballot, Proposal, Vote
from .store.presence import Presence

__all__ = ["acknowledged"]

POLL = 0.004
"""Seconds between two looks at the votes."""

LOOK = 0.05
"""Seconds between two looks at who is alive, while somebody has not voted."""


def acknowledged(ballot: Ballot, presence: Presence, proposal: Proposal, timeout: float) -> None:
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
