"""`Reader`: what one rollout's operators may look at, and the truth that they may add to its ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .amounts import in_short
from .applying import apply_spec, differences, weighted
from .arrays import is_array, is_scalar
from .committing import Desk
from .errors import NotFound, RolloutError, StoreUnreachable
from .reports import assignments, code_of, describe, history_row, status_of, told_override, utc
from .spec import RolloutSpec
from .state import Commit, RolloutState
from .store.ballot import AnyBallot
from .store.codes import Codes, Known
from .store.drift_file import DriftFile
from .store.evidence_log import EvidenceLog
from .store.governed import GovernedStore
from .store.tallies import Tallies
from .telling import aside
from .tries import explained, try_status
from .view import View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .attempt import Try
    from .drift_verbs import DriftVerbs
    from .store.ledger import Ledger
    from .store.ledger_labels import Accepted
    from .store.reviews import Reviews

__all__ = ["Reader"]

PATIENCE = 0.5
"""Seconds that a look at a try waits for a locked file: what lies in it is for showing."""

MOST_ALARMS = 20
"""Alarms of drift that a status tells of; `drift NAME status` has all."""

STALE = 30.0
"""Seconds without a look after which a status warns that nobody watches a try that runs."""


class Reader:
    """One rollout of a store, for looking.

    Args:
        desk: its revisions and its service.
        ballot: what became of its flips.
    """

    def __init__(self, desk: Desk, ballot: AnyBallot) -> None:
        self._desk, self._ballot = desk, ballot
        self.name = desk.name

    @property
    def state(self) -> RolloutState:
        """The newest committed state."""
        return self._desk.read().state

    def history(self, limit: int | None = None) -> list[Commit]:
        """Return the commits, newest first."""
        self._desk.read()
        return list(self._desk.history(limit))

    def status(self) -> dict[str, Any]:
        """Return state, live workers and store as plain data: the JSON of ``status --json``."""
        problem = None
        try:
            commit = self._desk.read()
        except StoreUnreachable as error:
            copy = self._desk.store.beacon(self.name).load()
            if copy is None:
                raise
            problem, commit = str(error), copy
        view, attempt = self._around(commit.state), commit.state.attempt
        tried = None if attempt is None else self._tried(attempt, serves=bool(view.cards))
        if tried is not None and (told := aside(commit.state)):
            tried["warnings"].append(told)
        found = status_of(commit, view, describe(self._desk.location, problem), tried)
        return {**found, "code": self._code(view), "drift": self._drift(), **self._governed()}

    def _code(self, view: View) -> dict[str, Any]:
        """Return who runs which code; what nobody can say is left out."""
        known = Known()
        with suppress(StoreUnreachable):
            known = Codes(self._desk.store.place(self.name)).known()
        return code_of(view, known, time.time())

    def _governed(self) -> dict[str, Any]:
        """Return which file governs, what this host holds against it, and what waits; empty: a store does."""
        if not isinstance(store := self._desk.store, GovernedStore):
            return {}
        told_store, held = store.described(self.name), store.override(self.name)
        waits = list(store.note(self.name).waits)
        return {"store": told_store, "override": told_override(held), "waits_for_restart": waits}

    def _around(self, state: RolloutState) -> View:
        """Return a state with the service around it, as far as anybody can say who lives."""
        try:
            view = self._desk.view(state)
            return replace(view, silent=tuple(self._desk.presence.silent()))
        except StoreUnreachable:  # a database that is away: the state is this host's last good copy
            return View((), None, state)

    def _drift(self) -> dict[str, Any] | None:
        """Return which alarms of drift wait for a person; None: there are none, or nothing can be read."""
        try:
            file = DriftFile(self._desk.store.place(self.name), patience=PATIENCE)
            alarms = file.alarms(latched=True, limit=MOST_ALARMS)
        except RolloutError:  # `drift NAME status` and `doctor` say why
            return None
        told = [
            {"id": one.id, "test": one.test, "words": one.words, "acts": dict(one.acts)} for one in alarms
        ]
        return {"latched": True, "alarms": told} if told else None

    def _tried(self, attempt: Try, *, serves: bool) -> dict[str, Any]:
        """Return how a try stands; what cannot be read is left out."""
        begun: Commit | None = None
        with suppress(StoreUnreachable):
            begun, _ = self._desk.step(attempt.started)
        report = self._report()
        looked = None if report is None else report.get("looked")
        told = utc(looked) if isinstance(looked, (int, float)) else None
        started = None if begun is None else utc(begun.time)
        row = try_status(attempt, report, told, started, serves=serves)
        if attempt.runs and serves and isinstance(looked, (int, float)) and time.time() - looked > STALE:
            ago = in_short(time.time() - looked)
            row["warnings"].append(f"nobody has looked for {ago}, so no harm is seen: see the service's log")
            row["may_end"] = row["may_end_late"] = None
        return row

    def _report(self) -> dict[str, Any] | None:
        """Return what the leader told of the try last, as far as it can be read."""
        try:
            return EvidenceLog(self._desk.store.place(self.name), patience=PATIENCE).report()
        except StoreUnreachable:
            return None

    def explain(self, revision: int | None = None) -> dict[str, Any]:
        """Return why a revision was made, with the numbers that it was decided on: the JSON of ``explain``.

        Args:
            revision: which; None: the newest decision by evidence, and where there is none, the newest.

        Raises:
            NotFound: the history has no such revision.
        """
        newest = self._desk.read()
        if revision is None:
            decision = newest.state.attempt.decision if newest.state.attempt else None
            revision = decision["revision"] if decision else newest.revision
        commit, before = self._desk.step(revision)
        if commit is None:
            raise NotFound(f"there is no revision {revision} in the history of {self.name!r}")
        return explained(commit, before, utc(commit.time))

    def history_rows(self, limit: int | None = None, *, before: int | None = None) -> list[dict[str, Any]]:
        """Return the history as plain data: the JSON of ``history --json``.

        Args:
            limit: at most so many rows.
            before: only revisions below this one.
        """
        self._desk.read()
        afters, living = self._ballot.afters(), {card.token for card in self._desk.presence.living()}
        steps = self._desk.steps(limit, before)
        return [history_row(*step, afters.get(step[0].revision), living, self._desk.step) for step in steps]

    def assign(self, keys: Sequence[Any]) -> NDArray[np.str_]:
        """Return who answers these keys now: an array of variant names, about 4 million keys a second.

        Raises:
            InvalidKey: when a key cannot be hashed.
        """
        state = self.state
        return state.compile().assign(keys, ready=self._desk.view(state).ready())

    def assignments(self, keys: Sequence[Any]) -> list[dict[str, Any]]:
        """Return for each key its bucket, variant, revision and reason: what ``assign --json`` prints."""
        state = self.state
        return assignments(state.compile(), keys, self._desk.view(state).ready())

    def shadow_report(self, *, since_revision: int = 0) -> dict[str, Any]:
        """Return what shadow calls showed: the JSON of ``shadow-report --json``.

        The numbers are those of all workers of this host, at most a second old, for the code of champion and
        candidate that was seen last; ``since_revision`` leaves out calls that were planned before it.
        """
        from .shadow_report import shadow_report  # late: not every verb needs it

        counted = Tallies(self._desk.store.place(self.name)).read()
        living = [card.token for card in self._desk.presence.living()]
        return shadow_report(self.state, counted, living, time.time(), since_revision)

    def differences(self, spec: RolloutSpec) -> list[str]:
        """Return in words what `apply` of this spec would change.

        Raises:
            InvalidValue: when `apply` would find something in it that cannot be, like an unknown variant.
        """
        state = self.state
        view = self._desk.view(state)
        apply_spec(state, spec, view.known)
        held = view.held(weighted(spec))
        return [
            *differences(state, spec),
            *(f"weights: {name} has a new digest, which apply grants" for name in held),
        ]

    # -- the ledger -----------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """Its predictions, what shadows said to them, and their labels.

        Example::

            for row in open_rollout("screening").ledger.export(variant="boosted"):
                print(row["prediction_id"], row["output"], row["label"])
        """
        from .store.ledger import Ledger  # late: not every verb needs it

        return Ledger(self._desk.store.place(self.name))

    @property
    def reviews(self) -> Reviews:
        """The cases that people are asked about, and what they answered."""
        from .store.reviews import Reviews  # late: not every verb needs it, and it brings numpy

        return Reviews(self._desk.store.place(self.name), rollout=self.name)

    @property
    def drift(self) -> DriftVerbs:
        """The watch for drift: how it stands, its alarms, and what people tell it.

        Example::

            watch = open_rollout("screening").drift
            if watch.status()["latched"]:
                watch.ack(reason="the new clinic sends older patients")
        """
        from .drift_verbs import DriftVerbs  # late: not every verb needs it

        return DriftVerbs(self._desk)

    def label(self, *labels: object, source: str = "api") -> Accepted:
        """Tell what the truth of predictions turned out to be; each label by itself.

        Args:
            labels: each, or one list of them: ``{"prediction_id" or "inference_id": …, "label": …}``, and
                if need be ``name``, ``source``, ``time`` (seconds since 1970, or ISO 8601) and ``reason``.
            source: who says so, where a label does not.

        Raises:
            NotFound: the store has no such rollout.
            NotDurable: what is written here would be lost, or seen by one pod of many.
            StoreUnreachable: some may be kept; telling all of them again changes nothing for these.

        Example::

            open_rollout("screening").label({"prediction_id": id_, "label": 1, "source": "lab"})
        """
        self._desk.admit("")
        self._desk.read()
        items = labels[0] if len(labels) == 1 and isinstance(labels[0], (list, tuple)) else labels
        return self.ledger.label([_plain(item) for item in items], source=source)


def _plain(item: object) -> object:
    """Return a label whose truth is numpy's as one that JSON can say."""
    if not isinstance(item, dict) or "label" not in item:
        return item
    value = item["label"]
    if is_scalar(value):
        value = value.item()
    elif is_array(value):
        value = value.tolist()
    return {**item, "label": value}
