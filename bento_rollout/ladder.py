"""`Ladder` and `Certificate`: which degrees a spec allows, and what was certified for a model; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from .degrees import Degree, parse_degree
from .errors import InvalidValue
from .values import Strict

__all__ = ["LEAST_AUDIT", "Certificate", "Errors", "Finite", "Ladder", "Stored", "promise"]

LEAST_AUDIT = 0.01
"""The share of what the model decides that people see at degree full, at least."""

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
        score: where it stands how sure the model is; empty: not said.
        segments: the parts of the traffic that get a threshold each; empty: one holds for all of it.
    """

    degree: Stored
    max_degree: Stored = Degree.FULL
    approvals: int = Field(1, ge=1, le=2)
    target_error: Errors | None = None
    confidence: Finite = 0.95
    audit: Finite = 0.02
    on_timeout: str = "wait"
    overflow: str = "wait"
    score: str = ""
    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: object) -> Ladder:
        """Return what a worker's card tells; fields that a newer worker wrote are passed over.

        Raises:
            InvalidValue: it is none.
        """
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if name in cls.model_fields}
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"])) or "the whole"
            raise InvalidValue(f"what a worker says of its automation is not readable: {place}") from None

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain data, for a worker's card."""
        return self.model_dump(mode="json")

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
        if (self.segments or certificate.by_segment) and certificate.by_segment.keys().isdisjoint(
            self.segments
        ):
            return True
        if isinstance(asked, Mapping):
            return not isinstance(has, Mapping) or any(has.get(n, 1.0) > most for n, most in asked.items())
        return isinstance(has, Mapping) or has > asked


class Certificate(Strict):
    """That a model is right often enough above a threshold, as a person had it calculated.

    Attributes:
        digest, variant: of which model.
        threshold: the score from which on the model decides; None: it has one for each class, or segment.
        by_class: thresholds by the model's label.
        by_segment: thresholds by the segment of the traffic; what is in no other one goes to a person.
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
    by_segment: dict[str, Finite] = Field(default_factory=dict)
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
        if self.revoked or (self.threshold is None and not self.by_class and not self.by_segment):
            return Degree.SHADOW
        return Degree.FULL if self.full else Degree.PARTIAL

    @property
    def targets(self) -> dict[str, float]:
        """What is promised, for whom: by class, by segment, or (under an empty name) for all."""
        if isinstance(self.target_error, Mapping):
            return dict(self.target_error)
        return dict.fromkeys(self.by_segment or ("",), self.target_error)


def promise(target: Errors | None, confidence: float) -> str:
    """Return a target and a confidence as a sentence has them.

    >>> promise(0.02, 0.95)
    'error 0.02 with 0.95'
    """
    if isinstance(target, Mapping):
        each = ", ".join(f"{name} {most:.3g}" for name, most in sorted(target.items()))
        return f"error {each} with {confidence:.3g}"
    return f"error {'?' if target is None else format(target, '.3g')} with {confidence:.3g}"
