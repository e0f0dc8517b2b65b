"""`Rollout`: one rollout as its operators see it; the CLI, the admin API and the Python client all call this.

A verb is a pure change of the state (`state.py`) between a read and a compare-and-set (`committing.py`).
What is checked around it: that the store binds everybody it must (`NotDurable`), that the variants which get
traffic are ready in every live worker (`NotReady`), and for a flip with ``before_flip`` hooks that every live
worker acknowledged it (`preparation.py`). The verbs of a try are in `trying.py`,
those of the degrees of automation in `degree_verbs.py`, what is told of reviews in `review_verbs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from .advising import after_flip, after_retirement, after_rollback, after_undo
from .committing import PERSISTENT, Change, Desk, default_author
from .degree_verbs import DegreeVerbs
from .errors import InvalidValue, Refused
from .reports import describe, list_rollouts
from .review_verbs import ReviewVerbs
from .spec import check_name, check_variant
from .state import RolloutState
from .store import RolloutStore
from .store.ballot import ballot_at
from .store.governed import GovernedStore, opened
from .store.location import Location, locate
from .telling import taken_back
from .trying import TryVerbs
from .values import parse_millis
from .view import View

__all__ = ["Change", "Rollout", "default_author", "describe", "list_rollouts", "open_rollout"]


class Rollout(TryVerbs, DegreeVerbs, ReviewVerbs):
    """One rollout of a store, for reading and changing.

    Every changing verb takes ``reason`` (kept in the history) and ``if_revision`` (refuse with `Conflict`
    unless this is the current revision), and returns a `Change`. Get one with `open_rollout`.

    Args:
        name: the rollout.
        store: where its revisions are.
        location: what the store binds.
        author: who is asking.
    """

    def __init__(self, name: str, store: RolloutStore, location: Location, author: str) -> None:
        check_name(name, "rollout name")
        super().__init__(Desk(name, store, location, author), ballot_at(store.place(name)))
        self.author = author

    def acting_as(self, author: str) -> Rollout:
        """Return the same rollout, with changes recorded as another author's."""
        return Rollout(self.name, self._desk.store, self._desk.location, author)

    def __repr__(self) -> str:
        return f"<Rollout {self.name!r} in {self._desk.location}, for {self.author}>"

    # -- changing -------------------------------------------------------------------------------------------

    def set_weights(
        self, weights: Mapping[str, float], *, reason: str = "", if_revision: int | None = None
    ) -> Change:
        """Set the weights (percent) of the candidates named, as they are deployed now; the others stay.

        Raises:
            InvalidValue: a weight below 0, over 100, NaN, with over three decimals, or a sum over 100.
            NotReady: a weight is raised for a variant that is not ready in every live worker.
        """
        wanted = parse_millis(weights, "name at least one candidate and its weight, like boosted=5")

        def weigh(state: RolloutState, view: View) -> RolloutState:
            return state.set_weights(wanted, view.known)

        return self._desk.change("weight", weigh, reason, if_revision, grants=wanted)

    def set_shadow(
        self, shadow: Mapping[str, float], *, reason: str = "", if_revision: int | None = None
    ) -> Change:
        """Set the percent of keys that the variants named watch; the others stay.

        The champion may be named, too: beside itself it measures the noise floor.
        """
        wanted = parse_millis(shadow, "name at least one variant and its percent, like boosted=100")

        def watch(state: RolloutState, view: View) -> RolloutState:
            return state.set_shadow(wanted, view.known)

        return self._desk.change("shadow", watch, reason, if_revision)

    def flip(
        self,
        to: str | None = None,
        *,
        timeout: float | str = 30.0,
        no_workers: bool = False,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Make a variant the champion, with all traffic; every live worker's ``before_flip`` hooks may veto.

        Args:
            to: the variant; None: the standby, else the only candidate.
            timeout: how long to wait for every live worker's acknowledgement: seconds, or text like ``5s``.
            no_workers: flip although hooks exist and no worker is live to run them.
            reason, if_revision: as for every verb.

        Raises:
            Vetoed: a hook said no; nothing changed.
            FlipTimeout: a live worker did not answer in time; nothing changed.
            NotReady: the variant is not ready in every live worker.
            Conflict: somebody else changed the rollout while the workers prepared.
        """

        def crown(state: RolloutState, view: View) -> RolloutState:
            return state.flip(to or state.flip_target(view.known), view.known)

        prepare = self._preparing(timeout, reason, unattended=no_workers)
        return self._desk.change(
            "flip", crown, reason, if_revision, attempts=1, prepare=prepare, advise=after_flip
        )

    def rollback(
        self,
        *,
        again: bool = False,
        to_revision: int | None = None,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Give all traffic to the last settled champion, in one step; waits for nobody, prepares nothing.

        Args:
            again: go further back than the last settled champion.
            to_revision: go back to this (settled) revision.
            reason, if_revision: as for every verb.

        Raises:
            NotReady: the variant that would become champion is not ready; the only refusal.
        """
        if isinstance(self._desk.store, GovernedStore) and (again or to_revision is not None):
            raise self._desk.store.refusal(self.name)
        if again and to_revision is not None:
            raise InvalidValue("say --again or --to-revision, not both")

        def back(state: RolloutState, view: View) -> RolloutState:
            point = None if to_revision is None else self._desk.at(to_revision).state.point
            return state.roll_back(again=again, to=point, known=view.known)

        # Again after somebody else's would lead further back than was asked for: then the others are shown.
        attempts = 1 if again else PERSISTENT
        advise = partial(after_rollback, self._desk.step)
        return self._desk.change("rollback", back, reason, if_revision, attempts=attempts, advise=advise)

    def undo(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """Take back exactly the newest change of traffic, and nothing else; a grant to new code is one, too.

        It is never tried again after a conflict: the newest change would then be another one. Like a rollback
        it waits for nobody: no ``before_flip`` hook runs, also where it changes the champion.

        Raises:
            Refused: when no traffic was ever changed.
            Conflict: when somebody else changed the rollout meanwhile.
            NotReady: a variant that would get traffic is not ready.
        """
        undone: list[str] = []

        def back(state: RolloutState, view: View) -> RolloutState:
            if state.moved <= 1:
                raise Refused("no change of traffic was made yet: there is nothing to undo")
            newest = self._desk.at(state.moved)
            before = self._desk.at(newest.parent).state
            undone.append(taken_back(newest.revision, newest, before))
            return state.undo(before=before, after=newest.state, known=view.known, by=self.author)

        change = self._desk.change("undo", back, reason, if_revision, attempts=1, advise=after_undo)
        return replace(change, detail=(*undone, *change.detail))

    def target(
        self,
        variant: str,
        *,
        keys: Iterable[Any] = (),
        header: Mapping[str, str] | None = None,
        remove: bool = False,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Give keys, or requests with a header, to a variant before the split; ``remove`` takes them back."""
        listed = list(keys)

        def aim(state: RolloutState, view: View) -> RolloutState:
            known = tuple(dict.fromkeys((*view.known, *state.targets))) if remove else view.known
            return state.target(variant, known, keys=listed, header=header, remove=remove)

        return self._desk.change("target", aim, reason, if_revision)

    def retire(
        self,
        variant: str,
        *,
        in_favour_of: str | None = None,
        timeout: float | str = 30.0,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Remove a variant from the state; a champion, or one with weight, needs somebody ``in_favour_of``.

        An heir of the champion is prepared as for a flip: every live worker's ``before_flip`` hooks may veto.
        While no worker is live it goes without them, and the heir may be a variant that only the next start
        brings: this is the way out when the state's champion is not in the code any more.

        Args:
            variant: who goes.
            in_favour_of: who takes its place.
            timeout: how long to wait for every live worker's acknowledgement: seconds, or text like ``5s``.
            reason, if_revision: as for every verb.

        Raises:
            Vetoed, FlipTimeout, NotReady: as for `flip`; nothing changed.
        """

        def remove(state: RolloutState, view: View) -> RolloutState:
            heirs = () if in_favour_of is None or view.cards else (check_variant(in_favour_of),)
            return state.retire(variant, in_favour_of, (*view.known, *heirs))

        def told(view: View, after: RolloutState) -> tuple[str, ...]:
            return after_retirement(view, after, variant, in_favour_of)

        prepare = self._preparing(timeout, reason, unattended=True)
        return self._desk.change("retire", remove, reason, if_revision, prepare=prepare, advise=told)


def open_rollout(name: str, *, author: str | None = None, store: str | None = None) -> Rollout:
    """Open a rollout of the store that the environment names (``BENTO_ROLLOUT_STORE``).

    Args:
        name: the rollout.
        author: who its changes are recorded for; default ``BENTO_ROLLOUT_AUTHOR``, else user@host.
        store: a store's URL, instead of the environment's.

    Raises:
        NotFound: from the first use, when the store has no such rollout.
        StoreUnreachable: from the first use, when the store cannot be read.

    Example::

        from bento_rollout import open_rollout

        screening = open_rollout("screening")
        screening.set_weights({"boosted": 5}, reason="first real traffic")
        screening.rollback(reason="too many 500s")
    """
    location = locate(store)
    return Rollout(
        name, opened(location, check_name(name, "rollout name")), location, author or default_author()
    )
