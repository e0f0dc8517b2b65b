"""`Rollout`: one rollout as its operators see it; the CLI, the admin API and the Python client all call this.

A verb is a pure change of the state (`state.py`) between a read and a compare-and-set. What is checked around it:
that the store binds everybody it must (`NotDurable`), that the variants which get traffic are ready in every live
worker (`NotReady`), and for a flip with ``before_flip`` hooks that every live worker acknowledged it.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .assignment import bucket_of, normal_key
from .errors import Conflict, FlipTimeout, InvalidValue, NotDurable, NotFound, NotReady, Refused, StoreUnreachable, Vetoed
from .records import Reason
from .spec import RolloutSpec, check_name, parse_milli
from .state import Commit, RolloutState, point_at
from .store.ballot import Ballot, Proposal, Vote
from .store.location import Location, locate
from .store.presence import Card, Presence
from .store.sqlite import SQLiteStore

__all__ = ["Change", "Rollout", "list_rollouts", "open_rollout"]

ATTEMPTS = 5
POLL = 0.004


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did: the state now, whether a revision was made, and what the operator should know.

    Attributes:
        state: the state after the verb (the same as before when nothing was to do).
        changed: whether a revision was committed.
        notes: sentences for the operator, like "nothing to roll back".
    """

    state: RolloutState
    changed: bool
    notes: tuple[str, ...] = ()


Make = Callable[[RolloutState, "View"], RolloutState]


@dataclass(frozen=True)
class View:
    """What is known about the service around a state: its live workers, and which variants there are."""

    cards: tuple[Card, ...]
    last: Card | None
    state: RolloutState

    @property
    def known(self) -> tuple[str, ...]:
        """Every variant that a live worker (else the last one) has; without any, those that the state names."""
        cards = self.cards or ((self.last,) if self.last else ())
        names = [name for card in cards for name in card.variants]
        return tuple(dict.fromkeys(names)) or tuple(sorted(self.state.named | set(self.state.granted)))

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """Return the digests of variants, as the workers (else the last one) have them."""
        cards = self.cards or ((self.last,) if self.last else ())
        return {name: card.variants[name].digest for card in cards for name in names if name in card.variants}

    def require_ready(self, name: str) -> None:
        """Raise `NotReady` unless every live worker can answer with the variant, all with one digest."""
        for card in self.cards:
            variant = card.variants.get(name)
            if variant is None:
                raise NotReady(f"{name!r} is missing in worker {card.pid}: it runs code that does not have it")
            if variant.state != "ready":
                why = f": {variant.error}" if variant.error else ""
                raise NotReady(f"{name!r} is {variant.state} in worker {card.pid}{why}; nothing changed")
        digests = {card.variants[name].digest for card in self.cards}
        if len(digests) > 1:
            raise NotReady(f"{name!r} is not the same in every live worker (digests {', '.join(sorted(digests))}): a deployment is under way; nothing changed")

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The note that no live worker confirmed readiness, when there is none."""
        return () if self.cards else ("no worker is live: nobody confirmed that the variants are ready",)


class Rollout:
    """One rollout of a store, for reading and changing.

    Every changing verb takes ``reason`` (kept in the history) and ``if_revision`` (refuse with `Conflict` unless this
    is the current revision), and returns a `Change`. Get one with `open_rollout`.

    Args:
        name: the rollout.
        store: where its revisions are.
        location: what the store binds.
        author: who is asking.
    """

    def __init__(self, name: str, store: SQLiteStore, location: Location, author: str) -> None:
        self.name = check_name(name, "rollout name")
        self.author = author
        self._store = store
        self._location = location
        self._presence = Presence(store.place(name))
        self._ballot = Ballot(store.place(name))

    def acting_as(self, author: str) -> Rollout:
        """Return the same rollout, with changes recorded as another author's."""
        return Rollout(self.name, self._store, self._location, author)

    # -- reading --------------------------------------------------------------------------------------------

    @property
    def state(self) -> RolloutState:
        """The newest committed state."""
        return self._read().state

    def history(self, limit: int | None = None) -> list[Commit]:
        """Return the commits, newest first."""
        self._read()
        return list(self._store.history(self.name, limit))

    def status(self) -> dict[str, Any]:
        """Return state, live workers and store as plain data: the JSON of ``status --json``."""
        problem, commit = None, None
        try:
            commit = self._read()
        except StoreUnreachable as error:
            problem, commit = str(error), self._store.beacon(self.name).load()
            if commit is None:
                raise
        view = self._view(commit.state)
        target = commit.state.rollback_target()
        state = commit.state
        return {
            "name": self.name, "revision": state.revision, "champion": state.champion,
            "variants": _variants(view), "weights": state.percents, "shadow": state.shadow_percents,
            "standby": state.standby, "targets": {n: t.model_dump() for n, t in state.targets.items()},
            "paused": state.paused, "salt": state.salt, "settled": state.is_settled,
            "rollback": None if target is None else {"revision": target.revision, "champion": target.champion},
            "changed": {"time": commit.time, "author": commit.author, "action": commit.action, "reason": commit.reason},
            "workers": [{"pid": c.pid, "worker": c.worker, "revision": c.revision, "trouble": c.trouble} for c in view.cards],
            "differences": self._spec_differences(view), "store": describe(self._location, problem),
        }

    def history_rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the history as plain data: the JSON of ``history --json``."""
        afters, living = self._ballot.afters(), {card.token for card in self._presence.living()}
        rows = []
        for commit in self.history(limit):
            state, after = commit.state, afters.get(commit.revision)
            row: dict[str, Any] = {
                "revision": commit.revision, "parent": commit.parent, "time": commit.time, "author": commit.author,
                "reason": commit.reason, "action": commit.action, "champion": state.champion,
                "weights": state.percents, "shadow": state.shadow_percents,
            }
            if after is not None:
                died = after.state == "running" and after.token not in living
                row["after_flip"] = {"worker": after.pid, "state": "died" if died else after.state, "error": after.error}
            rows.append(row)
        return rows

    def assign(self, keys: Sequence[Any]) -> NDArray[np.str_]:
        """Return who answers these keys now: an array of variant names, about 4 million keys a second.

        Raises:
            InvalidKey: when a key cannot be hashed.
        """
        return self.state.compile().assign(keys)

    def explain(self, keys: Sequence[Any]) -> list[dict[str, Any]]:
        """Return for each key its bucket, its variant, the revision and why: the JSON of ``assign --json``."""
        state = self.state
        table, view = state.compile(), self._view(state)
        ready = {name for name in view.known if _usable(name, state, view)} | {state.champion}
        rows = []
        for key in keys:
            text = normal_key(key)
            plan = table.plan(text, draw=lambda: 0, ready=ready)
            rows.append({"key": text, "bucket": bucket_of(table.salt, text), "variant": plan.variant,
                         "revision": plan.revision, "reason": plan.reason.value})
        return rows

    def differences(self, spec: RolloutSpec) -> list[str]:
        """Return in words what `apply` of this spec would change."""
        return self.state.differences(spec)

    # -- changing -------------------------------------------------------------------------------------------

    def set_weights(self, weights: Mapping[str, float], *, reason: str = "", if_revision: int | None = None) -> Change:
        """Set the weights (percent) of the candidates named; the others stay.

        Raises:
            InvalidValue: a weight below 0, over 100, NaN, with over three decimals, or a sum over 100.
            NotReady: a weight is raised for a variant that is not ready in every live worker.
        """
        wanted = {name: _milli(name, weight) for name, weight in weights.items()}
        if not wanted:
            raise InvalidValue("name at least one candidate and its weight, like boosted=5")
        return self._change("weight", lambda state, view: state.set_weights(wanted, view.known), reason, if_revision)

    def set_shadow(self, shadow: Mapping[str, float], *, reason: str = "", if_revision: int | None = None) -> Change:
        """Set the shadow percents of the variants named; the others stay."""
        wanted = {name: _milli(name, percent) for name, percent in shadow.items()}
        if not wanted:
            raise InvalidValue("name at least one variant and its percent, like boosted=100")
        change = self._change("shadow", lambda state, view: state.set_shadow(wanted, view.known), reason, if_revision)
        note = "recorded; this version does not run shadow calls yet"
        return Change(change.state, change.changed, (*change.notes, note)) if any(wanted.values()) else change

    def flip(self, to: str | None = None, *, timeout: float = 30.0, no_workers: bool = False,
             reason: str = "", if_revision: int | None = None) -> Change:
        """Make a variant the champion, with all traffic; every live worker's ``before_flip`` hooks may veto.

        Args:
            to: the variant; None: the standby, else the only candidate.
            timeout: seconds to wait for every live worker's acknowledgement.
            no_workers: flip although hooks exist and no worker is live to run them.

        Raises:
            Vetoed: a hook said no; nothing changed.
            FlipTimeout: a live worker did not answer in time; nothing changed.
            NotReady: the variant is not ready in every live worker.
        """
        self._require_durable()
        commit = self._read(if_revision)
        view = self._view(commit.state)
        target = to or commit.state.flip_target(view.known)
        if (flipped := commit.state.flip(target, view.known)) is commit.state:
            return Change(commit.state, changed=False, notes=(f"{target!r} is the champion already",))
        view.require_ready(target)
        hooks = view.cards or (() if view.last is None else (view.last,))
        notes = view.unconfirmed
        if any(card.before_flip for card in hooks):
            if not view.cards:
                if not no_workers:
                    raise Refused("no worker is live to run the before_flip hooks; start the service, or flip without them: --no-workers")
                notes = (*notes, "nobody ran the before_flip hooks")
            else:
                with self._ballot.propose(commit.state.champion, target, commit.revision, self.author, reason) as proposal:
                    self._store.beacon(self.name).poke()
                    self._collect(proposal, timeout)
                    return self._commit(flipped, commit, view, "flip", reason, notes)
        return self._commit(flipped, commit, view, "flip", reason, notes)

    def promote(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """End a running strategy with its candidate as champion; without one this is refused: `flip` is the verb."""
        if not reason:
            raise InvalidValue("promote needs a reason (--reason TEXT): it goes by no evidence, and the history must say why")
        self._read(if_revision)
        raise Refused(f"no strategy is running for {self.name!r}; to make a candidate the champion now use `flip`")

    def rollback(self, *, again: bool = False, to_revision: int | None = None,
                 reason: str = "", if_revision: int | None = None) -> Change:
        """Give all traffic to the last settled champion, in one step; waits for nobody, prepares nothing.

        Args:
            again: go further back than the last settled champion.
            to_revision: go back to this (settled) revision.

        Raises:
            NotReady: the variant that would become champion is not ready; the only refusal.
        """
        if again and to_revision is not None:
            raise InvalidValue("say --again or --to-revision, not both")

        def back(state: RolloutState, _: View) -> RolloutState:
            point = None if to_revision is None else point_at(self._store.history(self.name), to_revision)
            if point is not None and state.is_settled and point.champion == state.champion:
                return state
            return state.roll_back(again=again, to=point)

        change = self._change("rollback", back, reason, if_revision)
        if change.changed:
            return change
        return Change(change.state, changed=False, notes=("nothing to roll back",))

    def undo(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """Take back exactly the newest change of traffic, and nothing else.

        Raises:
            Refused: when no traffic was ever changed.
            NotReady: a variant that would get traffic is not ready.
        """
        def back(state: RolloutState, _: View) -> RolloutState:
            if state.moved <= 1:
                raise Refused("no change of traffic was made yet: there is nothing to undo")
            parent = self._at(state.moved).parent
            return state.undo(self._at(parent).state)

        return self._change("undo", back, reason, if_revision)

    def target(self, variant: str, *, keys: Iterable[Any] = (), header: Mapping[str, str] | None = None,
               remove: bool = False, reason: str = "", if_revision: int | None = None) -> Change:
        """Give keys, or requests with a header, to a variant before the split; ``remove`` takes them back."""
        listed = list(keys)

        def aim(state: RolloutState, view: View) -> RolloutState:
            return state.target(variant, view.known, keys=listed, header=header, remove=remove)

        return self._change("target", aim, reason, if_revision)

    def retire(self, variant: str, *, in_favour_of: str | None = None,
               reason: str = "", if_revision: int | None = None) -> Change:
        """Remove a variant from the state; a champion, or one with weight, needs somebody ``in_favour_of``."""
        return self._change("retire", lambda state, view: state.retire(variant, in_favour_of, view.known), reason, if_revision)

    def pause(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """Let automation raise and promote nothing, until `resume`; people's verbs still work."""
        return self._change("pause", lambda state, _: state.pause(True), reason, if_revision)

    def resume(self, *, reason: str = "", if_revision: int | None = None) -> Change:
        """End a pause."""
        return self._change("resume", lambda state, _: state.pause(False), reason, if_revision)

    def apply(self, spec: RolloutSpec, *, digest: str = "", abort: bool = False,
              reason: str = "", if_revision: int | None = None) -> Change:
        """Set exactly the state fields that a spec names.

        Args:
            digest: of the file's content: one that was applied before a rollback is refused afterwards.
            abort: end a running strategy first (this version runs none).

        Raises:
            Refused: when it would undo a rollback that is newer than this content.
        """
        def set_fields(state: RolloutState, view: View) -> RolloutState:
            if state.differences(spec) and self._undoes_rollback(state, spec, digest):
                raise Refused("a person rolled back after this content was applied, and applying it again would undo that; change the file, or set the weights by hand")
            after = state.apply(spec, view.known)
            if after is state:
                return state
            return after.model_copy(update={"applied": (digest, state.revision + 1)}) if digest else after

        return self._change("apply", set_fields, reason, if_revision)

    # -- how ------------------------------------------------------------------------------------------------

    def _change(self, action: str, make: Make, reason: str, if_revision: int | None) -> Change:
        self._require_durable()
        for attempt in range(ATTEMPTS):
            commit = self._read(if_revision)
            view = self._view(commit.state)
            state = make(commit.state, view)
            if state is commit.state:
                return Change(state, changed=False)
            gainers = _gainers(commit.state, state)
            for name in gainers:
                view.require_ready(name)
            try:
                return self._commit(state, commit, view, action, reason, view.unconfirmed if gainers else ())
            except Conflict:
                if if_revision is not None or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _commit(self, state: RolloutState, parent: Commit, view: View, action: str, reason: str, notes: tuple[str, ...]) -> Change:
        trusted = [name for name in _gainers(parent.state, state) if name != state.champion or name != parent.state.champion]
        granted = state.grant(view.digests(trusted))
        numbered = granted.model_copy(update={"revision": parent.revision + 1})
        self._store.commit(Commit(state=numbered, parent=parent.revision, time=time.time(), author=self.author,
                                  action=action, reason=reason), after=parent.revision)
        return Change(numbered, changed=True, notes=notes)

    def _collect(self, proposal: Proposal, timeout: float) -> None:
        """Wait until every live worker has acknowledged; who dies meanwhile is dropped, who joins is asked too."""
        deadline = time.monotonic() + timeout
        while True:
            votes = self._ballot.votes(proposal)
            for vote in votes.values():
                if vote.veto is not None:
                    raise Vetoed(f"worker {vote.pid} vetoed the flip to {proposal.target!r}: {vote.veto}; nothing changed")
            silent = [card.pid for card in self._presence.living() if card.token not in votes]
            if not silent:
                return
            if time.monotonic() > deadline:
                raise FlipTimeout(f"no answer within {timeout:g} s from worker {', '.join(map(str, silent))}; nothing changed")
            time.sleep(POLL)

    def _read(self, if_revision: int | None = None) -> Commit:
        commit = self._store.read(self.name)
        if commit is None:
            raise NotFound(f"the store {self._location.path} has no rollout {self.name!r}; `bento-rollout list` shows those that it has")
        if if_revision is not None and commit.revision != if_revision:
            raise Conflict(f"{self.name!r} is at revision {commit.revision}, not {if_revision}; nothing changed", commit.revision)
        return commit

    def _at(self, revision: int) -> Commit:
        for commit in self._store.history(self.name):
            if commit.revision == revision:
                return commit
        raise NotFound(f"there is no revision {revision} in the history of {self.name!r}")

    def _view(self, state: RolloutState) -> View:
        return View(tuple(self._presence.living()), self._presence.last(), state)

    def _spec_differences(self, view: View) -> list[str]:
        cards = view.cards or ((view.last,) if view.last else ())
        if not cards or not cards[0].spec:
            return []
        return view.state.differences(RolloutSpec.parse(dict(cards[0].spec), "the service's spec"))

    def _undoes_rollback(self, state: RolloutState, spec: RolloutSpec, digest: str) -> bool:
        rolled = next((c.revision for c in self._store.history(self.name) if c.action == "rollback"), 0)
        if not rolled or "weights" not in spec.state_fields or not digest:
            return False
        last = next((c.state.applied for c in self._store.history(self.name)
                     if c.action == "apply" and c.state.applied and c.state.applied[0] == digest), None)
        return last is not None and last[1] < rolled

    def _require_durable(self) -> None:
        if not self._location.durable:
            raise NotDurable(f"changes are refused: {self._location.why} (this would bind one pod of unknown many); set BENTO_ROLLOUT_SINGLE_REPLICA=1 if there is only one")


def _milli(name: str, percent: float) -> int:
    try:
        return parse_milli(percent)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None


def _gainers(before: RolloutState, after: RolloutState) -> list[str]:
    """Return the variants that get traffic which they had not."""
    gained = [name for name, milli in after.weights.items() if milli > before.weights.get(name, 0)]
    if after.champion != before.champion:
        gained.append(after.champion)
    gained += [name for name, target in after.targets.items() if target != before.targets.get(name)
               and set(target.keys) | set(target.header) != set(before.targets.get(name, target).keys)]
    return list(dict.fromkeys(gained))


def _usable(name: str, state: RolloutState, view: View) -> bool:
    for card in view.cards:
        variant = card.variants.get(name)
        if variant is None or variant.state != "ready":
            return False
        if name != state.champion and state.granted.get(name, variant.digest) != variant.digest:
            return False
    return True


def _variants(view: View) -> dict[str, dict[str, Any]]:
    """Merge what the live workers say of each variant: the worst state wins."""
    order = ("missing", "failed", "unready", "starting", "ready")
    rows: dict[str, dict[str, Any]] = {}
    cards = view.cards or ((view.last,) if view.last else ())
    for name in dict.fromkeys([*view.known, *sorted(view.state.named)]):
        found = [card.variants[name] for card in cards if name in card.variants]
        if not found or (view.cards and len(found) < len(cards)):
            rows[name] = {"state": "missing", "runner": "worker", "digest": view.state.granted.get(name), "error": "the service has no variant of this name"}
            continue
        worst = min(found, key=lambda variant: order.index(variant.state))
        row = asdict(worst) if view.cards else {**asdict(worst), "state": "unready", "error": "no worker is live"}
        granted = view.state.granted.get(name)
        if granted and granted != worst.digest and name != view.state.champion:
            weight = view.state.weights.get(name, 0) / 1000
            row["held"] = f"new digest, weight {weight:g} held" if weight else "new digest"
        rows[name] = row
    return rows


def describe(location: Location, problem: str | None = None) -> dict[str, Any]:
    """Return what a store is, as ``status --json`` shows it."""
    return {"kind": location.kind, "durable": location.durable, "binds": location.binds,
            "url": str(location), "why": location.why, "problem": problem}


def default_author() -> str:
    """Return ``BENTO_ROLLOUT_AUTHOR``, else user@host."""
    if name := os.environ.get("BENTO_ROLLOUT_AUTHOR"):
        return name
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


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
    return Rollout(name, SQLiteStore(location.path), location, author or default_author())


def list_rollouts(*, store: str | None = None) -> list[dict[str, Any]]:
    """Return name, revision and champion of every rollout: the JSON of ``list --json``."""
    place = SQLiteStore(locate(store).path)
    commits = [place.read(name) for name in place.names()]
    return [{"name": c.state.name, "revision": c.revision, "champion": c.state.champion} for c in commits if c]
