"""`Standing`: the degree of automation that one endpoint has, and why; pure, a change is a function of it.

Down goes by itself, up only by a person. Whatever was certified, was certified for one digest: when another
one answers, its degree is what is certified for that one, and at most shadow when nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import Field

from .degrees import Degree
from .errors import InvalidValue, Refused
from .ladder import Certificate, Finite, Ladder, Stored, promise
from .values import Strict, shown

__all__ = [
    "AUTOMATION",
    "MACHINES",
    "Certificate",
    "Graded",
    "Ladder",
    "Proposal",
    "Standing",
    "certificate_of",
    "degree_of",
    "known_standing",
    "person_of",
]

AUTOMATION = "automation"
"""The author of what goes down by itself."""

MACHINES = frozenset({AUTOMATION, "deploy", "drift", "evidence", "spec"})
"""Authors who are nobody: they raise nothing, and approve nothing."""

RESCORED = "the spec's score is"
"""What a certificate is revoked with whose threshold is one of another score."""

MOST = 20
"""How many certificates are kept, the newest of each digest."""


class Proposal(Strict):
    """A higher degree that one person asked for, where two must; ``at`` is in seconds since 1970."""

    degree: Stored
    author: str
    at: Finite = 0.0
    reason: str = ""


class Standing(Strict):
    """The degree of automation that one endpoint has.

    Attributes:
        degree: who decides.
        digest: the champion for whom it was set; empty: nobody said what it is.
        since: the revision from which on it holds.
        author, reason: who set it, and why; ``automation``: it went down by itself.
        certificates: of each digest the newest, the newest first.
        proposed: a higher degree that waits for a second person.
        demoted: what the audits showed when they last took a degree away; empty: they did not, or a person
            has set a degree since.
        score: where the spec says that it stands how sure a model is; empty: nobody said.
        scored: since when it does, in seconds since 1970; what models said before has other scores.
    """

    degree: Stored
    digest: str = ""
    since: int = Field(1, ge=0)
    author: str = "spec"
    reason: str = ""
    certificates: tuple[Certificate, ...] = ()
    proposed: Proposal | None = None
    demoted: str = ""
    score: str = ""
    scored: Finite = 0.0

    def certificate(self, digest: str) -> Certificate | None:
        """Return the newest certificate of a digest, one that was revoked included."""
        return next((one for one in self.certificates if one.digest == digest), None)

    def allowed(self, digest: str) -> Degree:
        """Return the highest degree that is certified for a digest: shadow, where nothing is."""
        certificate = self.certificate(digest)
        return Degree.SHADOW if certificate is None else certificate.allows

    def degree_for(self, digest: str) -> Degree:
        """Return the degree at which a model of this digest answers: at most what is certified for it."""
        if digest == self.digest and self.degree < Degree.PARTIAL:
            return self.degree
        return min(self.degree, self.allowed(digest))

    def fitted(self, champion: str, digest: str, revision: int) -> Standing:
        """Return it for another champion, or another digest of it: the degree goes down, or stays.

        Args:
            champion, digest: who is champion now.
            revision: the one in which it is.
        """
        degree = self.degree_for(digest)
        if digest == self.digest and degree == self.degree:
            return self
        moved = self if digest == self.digest else self.changed(digest=digest, proposed=None)
        if degree == self.degree:
            return moved
        known = self.certificate(digest)
        certified = known is not None and known.allows >= Degree.PARTIAL
        what = f"no more than {degree.word} is certified for" if certified else "nothing is certified for"
        why = f"{what} the champion {champion} ({digest[:12] or 'of unknown digest'})"
        return moved.changed(
            degree=degree, since=revision, author=AUTOMATION, reason=why, proposed=None, demoted=""
        )

    def raised(
        self, endpoint: str, degree: Degree, by: str, ladder: Ladder, *, reason: str, at: float, revision: int
    ) -> Standing:
        """Return it with another degree, as a person asks for it; or with a proposal, where two must.

        Args:
            endpoint: for the words of an error.
            degree: the one to set.
            by: who asks.
            ladder: what the spec allows.
            reason: why.
            at: when, in seconds since 1970.
            revision: the one in which it will hold.

        Raises:
            Refused: the spec or the evidence does not allow it, or the same person asks twice.
        """
        if (wrong := ladder.obstacle(degree)) is not None:
            raise Refused(f"automation.{endpoint}.{wrong}; nothing changed")
        if degree == self.degree:
            return self if self.proposed is None else self.changed(proposed=None)
        if degree > self.degree:
            self._check_evidence(endpoint, degree, ladder)
            if by in MACHINES:
                raise Refused(f"{by} is no person, and only a person sets a higher degree; nothing changed")
            if ladder.approvals > 1 and not self._is_second(endpoint, degree, by):
                return self.changed(proposed=Proposal(degree=degree, author=by, at=at, reason=reason))
        return self.changed(
            degree=degree, since=revision, author=by, reason=reason, proposed=None, demoted=""
        )

    def _check_evidence(self, endpoint: str, degree: Degree, ladder: Ladder) -> None:
        """Refuse a degree that needs more than is certified for the champion's digest."""
        if degree < Degree.PARTIAL:
            return
        model = f"({self.digest[:12] or 'digest unknown: start its service first'})"
        what = f"{_wants(endpoint, degree)} {model}"
        found = self.certificate(self.digest)
        if found is None or (found.allows < Degree.PARTIAL and not found.revoked):
            raise Refused(f"{what}, and none was; nothing changed: `bento-rollout automation NAME calibrate`")
        if found.revoked:
            raise Refused(
                f"{what}, and {_ended(found.revoked)}; "
                "nothing changed: calibrate anew with cases that were answered since"
            )
        if ladder.asks_more(found):
            raise Refused(
                f"{what}, and it promises less than the spec asks for now "
                f"({promise(found.target_error, found.confidence)}, asked is "
                f"{promise(ladder.target_error, ladder.confidence)}); nothing changed: calibrate anew"
            )
        if degree > found.allows:
            raise Refused(
                f"automation.{endpoint}.degree: full needs the promise for all of the traffic, and the "
                f"certified threshold covers {found.coverage:.1%} of it; nothing changed"
            )

    def _is_second(self, endpoint: str, degree: Degree, by: str) -> bool:
        """Whether another person asked for the same degree before.

        Raises:
            Refused: the same person did.
        """
        first = self.proposed
        if first is None or first.degree != degree:
            return False
        if person_of(first.author) == person_of(by):
            raise Refused(
                f"automation.{endpoint}.approvals: {person_of(by)} asked for {degree.word} already, and a "
                "second person must; nothing changed"
            )
        return True

    def within(self, ladder: Ladder, revision: int, at: float = 0.0) -> Standing:
        """Return it as a spec allows it that was just deployed: the degree goes down, or stays.

        Args:
            ladder: what it allows.
            revision: the one in which it will hold.
            at: when, in seconds since 1970.
        """
        if ladder.score and ladder.score != self.score:
            return self._rescored(ladder.score, at).within(ladder, revision, at)
        degree, why = min(self.degree, ladder.max_degree), f"max_degree: {ladder.max_degree.word}"
        if degree is Degree.FULL and (wrong := ladder.obstacle(degree)) is not None:
            degree, why = Degree.PARTIAL, wrong
        found = self.certificate(self.digest)
        if degree >= Degree.PARTIAL and found is not None and found.revoked:
            degree, why = Degree.SHADOW, found.revoked
        elif degree >= Degree.PARTIAL and (found is None or ladder.asks_more(found)):
            degree, why = Degree.SHADOW, "the spec promises more now than was certified"
        if degree == self.degree:
            return self
        return self.changed(
            degree=degree, since=revision, author=AUTOMATION, reason=why, proposed=None, demoted=""
        )

    def _rescored(self, score: str, at: float) -> Standing:
        """Return it with another score, for which no threshold is certified: what was holds no more."""
        if not self.score:
            return self.changed(score=score)
        less = {"revoked": f"{RESCORED} {score}, and was {self.score}", "since": at}
        kept = tuple(one if one.revoked else one.model_copy(update=less) for one in self.certificates)
        return self.changed(score=score, scored=at, certificates=kept, proposed=None)

    def certified(self, certificate: Certificate) -> Standing:
        """Return it with a certificate, which takes the place of its digest's last one; the degree stays."""
        last = self.certificate(certificate.digest)
        since = max(certificate.since, 0.0 if last is None else last.since)
        others = [one for one in self.certificates if one.digest != certificate.digest]
        kept = (certificate.model_copy(update={"since": since}), *others)[:MOST]
        return self.changed(certificates=kept, proposed=None)

    def demoted_to(
        self, to: Degree, why: str, *, at: float, revision: int, digest: str | None = None
    ) -> Standing:
        """Return it at a lower degree, because audits refuted what was certified for a digest.

        What they refuted holds no more, so that nobody can set that degree again before a new calibration,
        which uses no case that was answered before now.

        Args:
            to: the degree that is left.
            why: what the audits showed.
            at: when, in seconds since 1970.
            revision: the one in which it will hold.
            digest: of the model that was audited; None: of the champion. Another one has its degree still.
        """
        digest = self.digest if digest is None else digest
        found = self.certificate(digest)
        kept = self.certificates
        if found is not None and found.allows > to:
            less = {"full": False} if to is Degree.PARTIAL else {"revoked": why or "by audits", "since": at}
            kept = tuple(one.model_copy(update=less) if one is found else one for one in kept)
        if self.degree <= to or digest != self.digest:
            return self if kept is self.certificates else self.changed(certificates=kept, proposed=None)
        lower = {"degree": to, "since": revision, "author": AUTOMATION, "reason": why, "demoted": why}
        return self.changed(**lower, certificates=kept, proposed=None)

    def changed(self, **changes: Any) -> Standing:
        """Return it with other fields."""
        return self.model_copy(update=changes)


class Graded(Protocol):
    """What `degree_of` reads of a state."""

    @property
    def automation(self) -> Mapping[str, Standing]:
        """What stands, by endpoint."""

    @property
    def champion(self) -> str:
        """Who answers by default."""

    @property
    def granted(self) -> Mapping[str, str]:
        """Digests by variant."""


def degree_of(state: Graded, endpoint: str, digest: str | None = None) -> Degree:
    """Return the degree at which an endpoint is answered; human, where the state does not know the endpoint.

    Args:
        state: as this worker has it.
        endpoint: which.
        digest: of the model that answers, as this process has it; None: of the champion, as the state has it.
            Whoever is another one than the degree was set for answers at what is certified for it.
    """
    standing = state.automation.get(endpoint)
    if standing is None:
        return Degree.HUMAN
    return standing.degree_for(state.granted.get(state.champion, "") if digest is None else digest)


def certificate_of(state: Graded, endpoint: str, digest: str | None = None) -> Certificate | None:
    """Return the certificate that holds for a model, by which it decides at the degrees partial and full.

    Args:
        state, endpoint, digest: as of `degree_of`.
    """
    standing = state.automation.get(endpoint)
    if standing is None:
        return None
    found = standing.certificate(state.granted.get(state.champion, "") if digest is None else digest)
    return found if found is not None and found.allows >= Degree.PARTIAL else None


def person_of(author: str) -> str:
    """Return the person behind an author: whose token it is, whoever it was used for.

    >>> person_of("ops on behalf of anna")
    'ops'
    """
    return author.partition(" on behalf of ")[0].strip()


def known_standing(standings: Mapping[str, Standing], endpoint: str) -> Standing:
    """Return the standing of an endpoint.

    Raises:
        InvalidValue: the state knows of none.
    """
    if (found := standings.get(endpoint)) is None:
        listed = ", ".join(sorted(standings)) or "none"
        raise InvalidValue(
            f"endpoint {shown(endpoint)} is not automated; those that are: {listed}. "
            "`automation:` of the service's spec names them, and its start takes them up"
        )
    return found


def _ended(why: str) -> str:
    """Return why a certificate holds no more, as an error has it."""
    return f"it holds no more: {why}" if why.startswith(RESCORED) else f"audits refuted it ({why})"


def _wants(endpoint: str, degree: Degree) -> str:
    """Return what a degree above assist needs, naming the field."""
    return (
        f"automation.{endpoint}.degree: {degree.word} needs a threshold "
        "that was certified for this very model"
    )
