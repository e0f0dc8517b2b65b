"""`GradedState`: the changes to a state's degrees of automation; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from .degrees import Degree
from .errors import Refused
from .ladder import Certificate, Ladder
from .snapshot import Snapshot
from .standing import Standing, known_standing

__all__ = ["GradedState"]

S = TypeVar("S", bound="GradedState")


class GradedState(Snapshot):
    """A state, and the changes that may be made to who decides; part of `RolloutState`."""

    @property
    def champions_digest(self) -> str:
        """What the champion is, as it was granted; empty: nobody said."""
        return self.granted.get(self.champion, "")

    def numbered(self: S, revision: int) -> S:  # noqa: PYI019 - Self came with Python 3.11
        """Return it as a revision: the one place that each state passes before it is committed.

        Degrees go down here to what is certified for the champion, whatever verb, deployment or rollback
        made it champion, or changed its digest. Nothing goes up.
        """
        champion, digest = self.champion, self.champions_digest
        fitted = {name: one.fitted(champion, digest, revision) for name, one in self.automation.items()}
        return self.model_copy(update={"revision": revision, "automation": fitted})

    def set_degree(  # noqa: PYI019
        self: S,
        endpoint: str,
        degree: Degree,
        by: str,
        settings: Ladder,
        reason: str = "",
        *,
        at: float = 0.0,
    ) -> S:
        """Set who decides an endpoint, as a person asks for it; down at once, up by evidence and approvals.

        Args:
            endpoint: which.
            degree: the one to set.
            by: who asks; where ``approvals`` is 2, the first one's word is kept as a proposal.
            settings: what the spec says about its degrees.
            reason: why.
            at: when, in seconds since 1970.

        Raises:
            InvalidValue: the endpoint is not automated.
            Refused: the spec or the evidence does not allow it, or the same person asks twice.
        """
        now = self._stands(endpoint)
        revision = self.revision + 1
        after = now.raised(endpoint, degree, by, settings, reason=reason, at=at, revision=revision)
        return self._graded(endpoint, after)

    def certify(self: S, endpoint: str, certificate: Certificate) -> S:  # noqa: PYI019
        """Keep what a person had certified for the champion; its degree does not go up with it.

        Raises:
            InvalidValue: the endpoint is not automated.
            Refused: it is about another digest than the champion's.
        """
        now = self._stands(endpoint)
        if not certificate.digest or certificate.digest != self.champions_digest:
            raise Refused(
                f"the champion is {self.champion} ({self.champions_digest[:12] or 'digest unknown'}), and "
                f"what was certified is {certificate.variant} ({certificate.digest[:12]}); nothing changed"
            )
        return self._graded(endpoint, now.certified(certificate))

    def demote(  # noqa: PYI019
        self: S, endpoint: str, to: Degree, why: str, *, at: float = 0.0, digest: str | None = None
    ) -> S:
        """Lower a degree because audits refuted what was certified; the same state where it is low already.

        Args:
            endpoint: which.
            to: the degree that is left.
            why: what the audits showed, in words.
            at: when, in seconds since 1970; a new calibration uses no case that was answered before.
            digest: of the model that was audited; None: of the champion.

        Raises:
            InvalidValue: the endpoint is not automated.
        """
        now, revision = self._stands(endpoint), self.revision + 1
        return self._graded(endpoint, now.demoted_to(to, why, at=at, revision=revision, digest=digest))

    def taken_up(self: S, ladders: Mapping[str, Ladder], at: float = 0.0) -> S:  # noqa: PYI019
        """Return it as a spec that was just deployed wants it, as far as that raises nothing.

        Endpoints that it does not know begin at the spec's degree, those that are above what the spec allows
        go down, and those that the spec does not automate any more stay for the day when it does again.

        Args:
            ladders: what the spec says, by endpoint.
            at: when, in seconds since 1970.
        """
        revision, digest, stands = self.revision + 1, self.champions_digest, dict(self.automation)
        reason = "the spec automates it from now on" if self.revision else "the spec says so"
        for endpoint, ladder in ladders.items():
            about = {"digest": digest, "since": revision, "reason": reason, "score": ladder.score}
            new = Standing(degree=ladder.degree, **about)
            fitted = stands.get(endpoint, new).fitted(self.champion, digest, revision)
            stands[endpoint] = fitted.within(ladder, revision, at)
        same = stands.keys() == self.automation.keys() and all(
            one is self.automation[name] for name, one in stands.items()
        )
        return self if same else self.model_copy(update={"automation": stands})

    def _stands(self, endpoint: str) -> Standing:
        """Return how an endpoint stands for the present champion."""
        found = known_standing(self.automation, endpoint)
        return found.fitted(self.champion, self.champions_digest, self.revision + 1)

    def _graded(self: S, endpoint: str, standing: Standing) -> S:  # noqa: PYI019
        if standing is self.automation[endpoint]:
            return self
        return self.model_copy(update={"automation": {**self.automation, endpoint: standing}})
