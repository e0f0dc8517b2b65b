"""`Standing`: the degree of automation that one endpoint has, and why; pure, a change is a function of it.

Down goes by itself, up only by a person. Whatever was certified, was certified for one digest: when another
one answers, its degree is what is certified for that one, and at most shadow when nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field, PlainSerializer

from .degrees import Degree, parse_degree
from .errors import InvalidValue, Refused
from .values import Strict, shown

__all__ = [
    "LEAST_AUDIT",
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

LEAST_AUDIT = 0.01
"""The share of what the model decides that people see at degree full, at least."""

MACHINES = frozenset({"automation", "deploy", "evidence", "spec"})
"""Authors who are nobody: they raise nothing, and approve nothing."""

MOST = 20
"""How many certificates are kept, the newest of each digest."""

Stored = Annotated[Degree, BeforeValidator(parse_degree), PlainSerializer(int, return_type=int)]
"""A degree, stored as its number."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Errors = Finite | dict[str, Finite]


class Ladder(Strict):
    """What a service's spec says about the degrees of one endpoint; what its workers' cards tell of it.

    Attributes:
        degree: the one that a new rollout begins with.
        max_degree: the highest that may ever be set.
        approvals: how many persons must ask for a higher one.
        target_error: the share of errors that automated answers may have, by class where it differs; None: no
            degree that needs one may be set.
        confidence: how sure that must be.
        audit: which share of what the model decides goes to a person as well.
        on_timeout, overflow: what becomes of a case that nobody answers in time, or that finds no room.
    """

    degree: Stored
    max_degree: Stored = Degree.FULL
    approvals: int = Field(1, ge=1, le=2)
    target_error: Errors | None = None
    confidence: Finite = 0.95
    audit: Finite = 0.02
    on_timeout: str = "wait"
    overflow: str = "wait"

    def obstacle(self, degree: Degree) -> str | None:
        """Return why the spec does not allow a degree, beginning with the field; None: it does.

        >>> Ladder(degree=1, max_degree=3).obstacle(Degree.FULL)
        'max_degree: assist is the highest that the spec allows, and full is above it'
        """
        if degree > self.max_degree:
            return (
                f"max_degree: {self.max_degree.word} is the highest that the spec allows, "
                f"and {degree.word} is above it"
            )
        if degree.blind:
            for field, value in (("review.on_timeout", self.on_timeout), ("review.overflow", self.overflow)):
                if value == "model":
                    return f"{field}: model would show at degree {degree.word} what must stay hidden"
        if degree is Degree.FULL and self.audit < LEAST_AUDIT:
            return f"audit.rate: {self.audit:.3g} is too little: at degree full at least 1% is looked at"
        if degree >= Degree.PARTIAL and self.target_error is None:
            return f"target_error: degree {degree.word} needs one, and the spec has none"
        return None

    def asks_more(self, certificate: Certificate) -> bool:
        """Whether a certificate promises less than the spec asks for now."""
        asked, has = self.target_error, certificate.target_error
        if asked is None or certificate.confidence < self.confidence:
            return True
        if isinstance(asked, Mapping):
            return not isinstance(has, Mapping) or any(has.get(n, 1.0) > most for n, most in asked.items())
        return isinstance(has, Mapping) or has > asked


class Certificate(Strict):
    """That a model is right often enough above a threshold, as a person had it calculated.

    Attributes:
        digest, variant: of which model.
        threshold: the score from which on the model decides; None: it has one for each class.
        by_class: thresholds by the model's label.
        target_error, confidence: what is promised, as fractions.
        labels: how many cases it was calculated from.
        accepted: how many of them are above the threshold.
        errors: how many of these the model had wrong.
        coverage: the share of the traffic that is above it.
        full: whether the promise holds for all of the traffic.
        at: when, in seconds since 1970.
        author: who had it calculated.
        since: cases that were answered before this time are not used: audits showed that they mislead.
        revoked: why it holds no more; empty: it does.
    """

    digest: str
    variant: str
    threshold: Finite | None = None
    by_class: dict[str, Finite] = Field(default_factory=dict)
    target_error: Errors
    confidence: Finite
    labels: int = Field(ge=0)
    accepted: int = Field(ge=0)
    errors: int = Field(ge=0)
    coverage: Finite
    full: bool = False
    at: Finite
    author: str
    since: Finite = 0.0
    revoked: str = ""

    @property
    def allows(self) -> Degree:
        """The highest degree that it supports."""
        if self.revoked or (self.threshold is None and not self.by_class):
            return Degree.SHADOW
        return Degree.FULL if self.full else Degree.PARTIAL


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
    """

    degree: Stored
    digest: str = ""
    since: int = Field(1, ge=0)
    author: str = "spec"
    reason: str = ""
    certificates: tuple[Certificate, ...] = ()
    proposed: Proposal | None = None
    demoted: str = ""

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
            degree=degree, since=revision, author="automation", reason=why, proposed=None, demoted=""
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
            raise Refused(f"{what}, and none was; nothing changed: `automation … calibrate`")
        if found.revoked:
            raise Refused(
                f"{what}, and audits refuted it ({found.revoked}); "
                "nothing changed: calibrate anew with cases that were answered since"
            )
        if ladder.asks_more(found):
            raise Refused(
                f"{what}, and it promises less than the spec asks for now "
                f"({_promise(found.target_error, found.confidence)}, asked is "
                f"{_promise(ladder.target_error, ladder.confidence)}); nothing changed: calibrate anew"
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

    def certified(self, certificate: Certificate) -> Standing:
        """Return it with a certificate, which takes the place of its digest's last one; the degree stays."""
        last = self.certificate(certificate.digest)
        since = max(certificate.since, 0.0 if last is None else last.since)
        others = [one for one in self.certificates if one.digest != certificate.digest]
        kept = (certificate.model_copy(update={"since": since}), *others)[:MOST]
        return self.changed(certificates=kept, proposed=None)

    def demoted_to(self, to: Degree, why: str, *, at: float, revision: int) -> Standing:
        """Return it at a lower degree, because audits refuted what was certified for its digest.

        What they refuted holds no more, so that nobody can set that degree again before a new calibration,
        which uses no case that was answered before now.

        Args:
            to: the degree that is left.
            why: what the audits showed.
            at: when, in seconds since 1970.
            revision: the one in which it will hold.
        """
        found = self.certificate(self.digest)
        kept = self.certificates
        if found is not None and found.allows > to:
            less = {"full": False} if to is Degree.PARTIAL else {"revoked": why or "by audits", "since": at}
            kept = tuple(one.model_copy(update=less) if one is found else one for one in kept)
        if self.degree <= to:
            return self if kept is self.certificates else self.changed(certificates=kept, proposed=None)
        lower = {"degree": to, "since": revision, "author": "automation", "reason": why, "demoted": why}
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


def _wants(endpoint: str, degree: Degree) -> str:
    """Return what a degree above assist needs, naming the field."""
    return (
        f"automation.{endpoint}.degree: {degree.word} needs a threshold "
        "that was certified for this very model"
    )


def _promise(target: Errors | None, confidence: float) -> str:
    if isinstance(target, Mapping):
        each = ", ".join(f"{name} {most:.3g}" for name, most in sorted(target.items()))
        return f"error {each} with {confidence:.3g}"
    return f"error {'?' if target is None else format(target, '.3g')} with {confidence:.3g}"
