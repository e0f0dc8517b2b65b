"""`DegreeVerbs`: who decides an endpoint, as people set it and audits lower it; part of `Rollout`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .committing import PERSISTENT, Change, Desk
from .degree_report import degree_rows, degree_steps
from .degrees import Degree, parse_degree
from .errors import InvalidValue, Refused, RolloutError
from .ladder import Ladder
from .reader import Reader
from .standing import AUTOMATION, MACHINES, known_standing
from .state import RolloutState
from .view import View

if TYPE_CHECKING:
    from .calibrating import Answered, Calibration
    from .store.trail import Verified

__all__ = ["DegreeVerbs"]


class DegreeVerbs(Reader):
    """What people, and audits, do to the degrees of automation; part of `Rollout`."""

    def automation(self) -> dict[str, dict[str, Any]]:
        """Return how each automated endpoint stands: the JSON of ``automation NAME status --json``.

        Raises:
            NotReady: live workers have other specs than each other.
        """
        state = self.state
        return degree_rows(state, self._desk.view(state).ladders)

    def explain_automation(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return why an endpoint stands where it does, and what each degree takes.

        Args:
            endpoint: which; None: the only one that is automated.

        Raises:
            InvalidValue: it is not automated, or several are and none is named.
            Refused: no worker ever said what the spec allows.
            NotReady: live workers have other specs than each other.
        """
        from .calibrating import calibrated  # late: it brings numpy

        state = self.state
        view = self._desk.view(state)
        name = _which(state, endpoint)
        ladder, digest = _ladder(view, name), state.champions_digest
        now = state.automation[name].fitted(state.champion, digest, state.revision)
        row: dict[str, Any] = {"endpoint": name, **degree_rows(state, {name: ladder})[name]}
        row["steps"] = degree_steps(name, now, ladder)
        row["evidence"] = None
        if ladder.target_error is not None and digest:
            cases = self._answered(state, name)
            found = calibrated(
                cases, ladder, name, state.champion, digest, author="", at=0.0, since=_since(state, name)
            )
            row["evidence"] = {"cases": sum(found.used.values()), "least": found.least}
            if found.by_segment:
                row["evidence"]["segments"] = dict(found.cases)
        row["audits"] = self._audited(name, digest)
        return row

    def _audited(self, endpoint: str, digest: str) -> list[dict[str, Any]]:
        """Return how the audits of a model stand, by class; one that is empty is all of them."""
        tests = self.reviews.audits(endpoint, digest) if digest else {}
        return [
            {
                "class": label,
                "audits": test.audits,
                "errors": test.errors,
                "target_error": test.target_error,
                "alarm": test.alarm,
            }
            for label, test in sorted(tests.items())
        ]

    def set_degree(
        self,
        endpoint: str | None,
        degree: Degree | str | int,
        *,
        reason: str = "",
        if_revision: int | None = None,
    ) -> Change:
        """Set who decides an endpoint: down at once; up by evidence, and by two persons where the spec says.

        Where two must ask, the first call keeps what was asked for, and the same call by another person sets
        it.

        Args:
            endpoint: which; None: the only one that is automated.
            degree: its name, or 1 to 5.
            reason, if_revision: as for every verb.

        Raises:
            InvalidValue: there is no such degree, or the endpoint is not automated.
            Refused: the spec does not allow it, nothing is certified for the champion, or the same person
                asks again.
            NotReady: live workers have other specs than each other.
        """
        wanted = parse_degree(degree)

        def set_it(state: RolloutState, view: View) -> RolloutState:
            name = _which(state, endpoint)
            by, ladder = self._desk.author, _ladder(view, name)
            return state.set_degree(name, wanted, by, ladder, reason, at=time.time())

        change = self._desk.change("degree", set_it, reason, if_revision, advise=_after_setting)
        return self._noted(change, self._desk.author)

    def calibrate(
        self, endpoint: str | None = None, *, reason: str = "", if_revision: int | None = None
    ) -> Calibration:
        """Look for a threshold from which on the champion may decide alone; its degree stays as it is.

        What is found is kept with the state, and `set_degree` may go by it. Nothing is kept when nothing can
        be certified: the answer says how many cases are missing. Each calibration has its own chance of a
        promise that does not hold: who calibrates until it fits has shown nothing.

        Args:
            endpoint: which; None: the only one that is automated.
            reason, if_revision: as for every verb.

        Raises:
            InvalidValue: the endpoint is not automated.
            Refused: the spec has no target error, or nobody knows which code the champion is.
            StoreUnreachable: the reviews cannot be read.
        """
        from .calibrating import calibrated  # late: it brings numpy

        if self._desk.author in MACHINES:
            raise Refused(f"{self._desk.author} is no person, and only a person calibrates; nothing changed")
        done: list[Calibration] = []

        def certify(state: RolloutState, view: View) -> RolloutState:
            name = _which(state, endpoint)
            digest = state.champions_digest
            if not digest:
                raise Refused(f"nobody knows which code {state.champion!r} is: start its service first")
            found = calibrated(
                self._answered(state, name),
                _ladder(view, name),
                name,
                state.champion,
                digest,
                author=self._desk.author,
                at=time.time(),
                since=_since(state, name),
            )
            done[:] = [found]
            return state if found.certificate is None else state.certify(name, found.certificate)

        change = self._desk.change("calibrate", certify, reason, if_revision)
        self._noted(change, self._desk.author)
        return replace(done[0], revision=change.state.revision if change.changed else 0)

    def demote(self, endpoint: str, to: Degree, why: str, *, digest: str | None = None) -> Change:
        """Lower a degree because audits refuted what was certified; for the service's own use.

        It is kept for the author ``automation``, and is nothing new where another worker did it before.

        Args:
            endpoint: which.
            to: the degree that is left.
            why: what the audits showed, in words without payload.
            digest: of the model that was audited; None: of the champion.

        Raises:
            InvalidValue: the endpoint is not automated.
            NotDurable: it would not bind everybody whom it must.
        """
        desk = Desk(self.name, self._desk.store, self._desk.location, AUTOMATION)

        def lower(state: RolloutState, _: View) -> RolloutState:
            return state.demote(endpoint, to, why, at=time.time(), digest=digest)

        return self._noted(desk.change("demote", lower, why, None, attempts=PERSISTENT), AUTOMATION)

    def verify_trail(self) -> Verified:
        """Read the whole trail of what people did with cases, and compute each of its hashes anew.

        Raises:
            NotFound: the store has no such rollout.
            StoreUnreachable: it cannot be read.
        """
        self._desk.read()
        return self.reviews.trail.verify()

    def _noted(self, change: Change, who: str) -> Change:
        """Write a change into the trail beside the cases, too; one that cannot be is in the history still."""
        if not change.changed:
            return change
        try:
            self.reviews.note(who, "degree", revision=change.state.revision, told=list(change.detail))
        except RolloutError as error:
            told = f"the change is in the history, and not in the trail of the reviews: {error}"
            return replace(change, notes=(*change.notes, told))
        return change

    def _answered(self, state: RolloutState, endpoint: str) -> Iterable[Answered]:
        """Return the cases of the champion that people answered, with scores as the spec takes them now."""
        scored = state.automation[endpoint].scored
        cases = self.reviews.judged(endpoint, state.champions_digest)
        return (case for case in cases if case.said >= scored)


def _which(state: RolloutState, endpoint: str | None) -> str:
    """Return the endpoint that is meant.

    Raises:
        InvalidValue: it is not automated, or several are and none is named.
    """
    if endpoint is None and len(state.automation) > 1:
        listed = ", ".join(sorted(state.automation))
        raise InvalidValue(f"several endpoints are automated ({listed}): name one with --endpoint NAME")
    name = next(iter(state.automation), "") if endpoint is None else endpoint
    if endpoint is None and not name:
        raise InvalidValue(
            "no endpoint is automated: write `automation:` into the service's spec, and start it"
        )
    known_standing(state.automation, name)
    return name


def _ladder(view: View, endpoint: str) -> Ladder:
    """Return what the spec of the service, as it runs or ran last, says about an endpoint's degrees."""
    if (found := view.ladders.get(endpoint)) is None:
        who = "the service's spec does not automate it" if view.described else "no worker ever ran here"
        raise Refused(
            f"automation.{endpoint}: {who}, so nothing says which degrees are allowed; nothing changed"
        )
    return found


def _since(state: RolloutState, endpoint: str) -> float:
    """Return from when on answers count for the champion: audits may have refuted what was before."""
    last = state.automation[endpoint].certificate(state.champions_digest)
    return 0.0 if last is None else last.since


def _after_setting(view: View, after: RolloutState) -> tuple[str, ...]:
    return ("that is the degree already",) if after is view.state else ()
