"""`Flips`: tells how each change of the champion ended, once on a host, though every worker sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .records import FlipEnd, Flipped
from .state import Commit
from .store.ballot import AnyBallot, Proposal

__all__ = ["Flips"]


class Flips:
    """What one worker knows of how flips end.

    Who tells is the first worker that leaves a mark beside the store: so nothing is told twice, or by nobody,
    because workers disagree about which of them live.

    Args:
        ballot: where flips are prepared.
        rollout: whose.

    Attributes:
        tell: is given what ended; None: nobody wants to know.
    """

    def __init__(self, ballot: AnyBallot, rollout: str) -> None:
        self.tell: Callable[[Flipped], None] | None = None
        self._ballot, self._rollout = ballot, rollout
        self._open: dict[str, Proposal] = {}
        self._made: deque[tuple[int, str]] = deque(maxlen=_MOST)

    def proposed(self, proposal: Proposal) -> None:
        """Remember that a flip is being prepared."""
        self._open[proposal.id] = proposal

    def vetoed(self, proposal: Proposal) -> None:
        """Tell that this worker says no; call it before the vote, while the flip still waits for it."""
        self._open.pop(proposal.id, None)
        self._end(proposal.id, proposal.source, proposal.target, FlipEnd.VETOED)

    def committed(self, commit: Commit, source: str) -> None:
        """Tell that another variant has become champion."""
        self._made.append((commit.revision, commit.state.champion))
        event = f"{commit.revision}-{int(commit.time * 1000)}"  # a new store counts its revisions anew
        self._end(event, source, commit.state.champion, FlipEnd.COMMITTED)

    def settle(self) -> None:
        """Tell of flips that were prepared and came to nothing; call it when commits are known."""
        for proposal in list(self._open.values()):
            pending = self._ballot.pending()
            if pending is not None and pending.id == proposal.id:
                continue
            self._open.pop(proposal.id, None)
            if (proposal.after + 1, proposal.target) not in self._made:
                self._end(proposal.id, proposal.source, proposal.target, FlipEnd.ABANDONED)

    def _end(self, event: str, source: str, target: str, outcome: FlipEnd) -> None:
        if self.tell is not None and self._ballot.is_first(event):
            self.tell(Flipped(self._rollout, source, target, outcome))


_MOST = 200
