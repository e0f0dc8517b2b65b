"""`Automation`: how far the model decides an endpoint's predictions, and how people are asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from .amounts import DAY
from .ask_when import Conditions
from .asking import ScoreBelow, When
from .degrees import Degree, parse_degree
from .errors import InvalidValue
from .explaining import Problem, Problems
from .references import name_of, parse_reference
from .review_settings import Overflow, Overlap, Review, ReviewWebhook, needed, parse_choice
from .reviewing import Role, Visibility
from .segments import Segments
from .values import Seconds, Strict, check_name, parse_fraction, shown

__all__ = [
    "LEAST_AUDIT",
    "Audit",
    "Automation",
    "Decisions",
    "Overflow",
    "Overlap",
    "Review",
    "ReviewWebhook",
    "Score",
    "model_at",
    "problems_at",
    "refused_as_new",
]

LEAST_AUDIT = 0.01
"""The least part of its decisions that people look at where the model decides alone."""

LEAST_CONFIDENCE = 0.5
"""Below it a confidence says nothing; whoever writes 5 % means the chance of being wrong."""


def _open_part(what: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if not 0 < (part := parse_fraction(value)) < 1:
            raise InvalidValue(
                f"{what} {shown(value)} is not valid: it lies between 0% and 100%; write like 2%"
            )
        return part

    return parse


def _confidence(value: object) -> float:
    if not LEAST_CONFIDENCE <= (part := parse_fraction(value)) < 1:
        raise InvalidValue(
            f"confidence {shown(value)} is not valid: it lies from 50% to below 100%, and is the chance that "
            "the promise holds; write like 95%"
        )
    return part


_error = _open_part("target error")


def _target(value: object) -> float | dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return _error(value)
    if not value:
        raise InvalidValue(
            "an empty mapping names no class; write like 2%, or like {benign: 5%, malignant: 0.5%}"
        )
    return {parse_choice(name, "class"): _error(part) for name, part in value.items()}


def _segments(value: object) -> Segments | None:
    return None if value is None else Segments.parse(value)


def _roles(value: object) -> tuple[Role, ...]:
    known = [role.value for role in Role]
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or not value:
        raise InvalidValue(f"{shown(value)} is no list of roles: write some of [{', '.join(known)}]")
    for one in value:
        if not isinstance(one, str) or one not in known:
            raise InvalidValue(f"unknown role {shown(one)}; there are: {', '.join(known)}")
    return tuple(dict.fromkeys(map(Role, value)))


def _person(value: object) -> str:
    return check_name(value, "name of a token")


WrittenDegree = Annotated[
    Degree,
    PlainValidator(parse_degree),
    PlainSerializer(lambda degree: degree.word, return_type=str),
]
"""A degree in a spec, by its word or its number."""


@dataclass(frozen=True, slots=True)
class Score:
    """Where it stands how sure the model is.

    Attributes:
        kind: ``max_probability``, ``field`` or ``call``.
        path: of a field, what leads to it in the output.
        function: of a call, who is called with the output.

    >>> str(Score.parse("field:result.score")), Score.parse("max_probability") == Score()
    ('field:result.score', True)
    """

    kind: Literal["max_probability", "field", "call"] = "max_probability"
    path: tuple[str, ...] = ()
    function: str | Callable[..., Any] | None = None

    @classmethod
    def parse(cls, value: object) -> Score:
        """Return the score that text, or a function, means."""
        if isinstance(value, cls) or value == "max_probability":
            return value if isinstance(value, cls) else cls()
        if isinstance(value, str) and value.startswith("field:"):
            path = tuple(value.removeprefix("field:").split("."))
            if not all(part and part == part.strip() for part in path):
                raise InvalidValue(
                    f"score {shown(value)} is not valid: write where it is in the output, like field:score "
                    "or field:result.score"
                )
            return cls("field", path)
        try:
            return cls("call", (), parse_reference(value))
        except InvalidValue:
            raise InvalidValue(
                f"score {shown(value)} is not valid: write max_probability, field:NAME, or module:function, "
                "which is called with the output and returns a number"
            ) from None

    def __str__(self) -> str:
        if self.function is not None:
            return name_of(self.function)
        return f"field:{'.'.join(self.path)}" if self.kind == "field" else self.kind


class Audit(Strict):
    """Which part of the model's decisions a person looks at as well.

    Attributes:
        rate: drawn by the prediction's id; at degree full at least 1 %.
    """

    rate: Annotated[float, BeforeValidator(parse_fraction)] = 0.02


class Decisions(Strict):
    """Who may ask for a decision, and for how long.

    Attributes:
        require: ``same``: whoever shows what the call carried (Authorization, the routing key's header);
            ``none``: whoever knows the id.
        keep: seconds until it is forgotten.
    """

    require: Literal["same", "none"] = "same"
    keep: Seconds = 30 * DAY


class Automation(Strict):
    """How far the model decides an endpoint's predictions, when a person is asked, and how.

    Attributes:
        degree: with which a new rollout starts.
        max_degree: the highest that may be set.
        score: where it stands how sure the model is.
        target_error: the part of the automated predictions that may be wrong; or by class, as the model
            names it.
        confidence: the chance with which that holds when a threshold is certified.
        segments: parts of the traffic that get a threshold each; None: one holds for all of it, or for all of
            a class.
        ask_when: conditions, of which each one sends a prediction to a person at degree partial.
        audit: which part of the model's decisions a person looks at as well.
        review: how people are asked.
        roles: what each person may do, by the name in the token file; who is not named reviews.
        approvals: how many persons it takes to go up.
        unreachable: what happens at degrees partial and full when cases cannot be kept: ``closed``: a call
            that needs a person, or would be audited, is refused; ``open``: the model answers it.
        decisions: who may ask for a decision, and for how long.

    >>> review = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 100, "action": "reject"}}
    >>> Automation(degree="shadow", target_error="2%", review=review).degree
    <Degree.SHADOW: 2>
    """

    degree: WrittenDegree
    max_degree: WrittenDegree = Degree.FULL
    score: Annotated[Score, PlainValidator(Score.parse), PlainSerializer(str, return_type=str)] = Score()
    target_error: Annotated[float | dict[str, float] | None, BeforeValidator(_target)] = None
    confidence: Annotated[float, BeforeValidator(_confidence)] = 0.95
    segments: Annotated[
        Segments | None,
        PlainValidator(_segments),
        PlainSerializer(lambda one: one and one.plain, return_type=dict[str, Any] | None),
    ] = None
    ask_when: Conditions = (ScoreBelow(None),)
    audit: Audit = Field(default_factory=Audit)
    review: Annotated[
        Review,
        BeforeValidator(
            needed("it says how people are asked: write at least inputs, on_timeout and overflow")
        ),
    ] = Field(default=None, validate_default=True)
    roles: dict[
        Annotated[str, BeforeValidator(_person)], Annotated[tuple[Role, ...], PlainValidator(_roles)]
    ] = Field(default_factory=dict)
    approvals: Literal[1, 2] = 1
    unreachable: Literal["closed", "open"] = "closed"
    decisions: Decisions = Field(default_factory=Decisions)

    @model_validator(mode="after")
    def _whole(self) -> Automation:
        if found := list(_in_automation(self)):
            raise Problems(found)
        return self

    def segment_of(self, arguments: Mapping[str, Any]) -> str | None:
        """Return the segment that a call is in; empty: none of those that there are; None: there are none."""
        return None if self.segments is None else self.segments.of(arguments)

    def visibility(self, degree: Degree) -> Visibility:
        """Return when reviewers see what the model says; degrees human and shadow hide it."""
        return Visibility.HIDDEN if degree.blind else self.review.suggestion

    def roles_of(self, name: str) -> frozenset[Role]:
        """Return what a person may do, by the name of the token; ``admin``, or who has that role: everything.

        >>> review = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 9, "action": "wait"}}
        >>> Automation(degree=1, max_degree=3, review=review).roles_of("anna")
        frozenset({<Role.REVIEWER: 'reviewer'>})
        """
        held = frozenset(self.roles.get(name, (Role.REVIEWER,)))
        return frozenset(Role) if name == _ADMIN or Role.ADMIN in held else held

    @property
    def whens(self) -> tuple[When, ...]:
        """The conditions that are functions of the user's."""
        return tuple(one for one in self.ask_when if isinstance(one, When))

    @property
    def references(self) -> dict[str, str | Callable[..., Any]]:
        """The functions of the user's that it names, by the place of their field."""
        review = self.review
        named = {
            "score": self.score.function,
            "review.answer": review.answer,
            "review.choice_of": review.choice_of,
            "review.display": review.display,
        }
        conditions = enumerate(self.ask_when)
        named |= {f"ask_when.{at}.when": one.function for at, one in conditions if isinstance(one, When)}
        return {place: one for place, one in named.items() if one is not None}


_ADMIN = "admin"
"""Who shows the admin token is the reviewer of this name."""


def problems_at(automation: Automation, degree: Degree) -> list[Problem]:
    """Return why an endpoint may not be at a degree, whatever is certified; each names the field to change.

    A spec's own degree must have none, nor one that somebody sets.
    """
    return list(_at(automation, degree))


def _at(automation: Automation, degree: Degree) -> Iterator[Problem]:
    review = automation.review
    if degree > automation.max_degree:
        words = f"{degree.word} is above max_degree ({automation.max_degree.word})"
        yield Problem(("degree",), f"{words}: write a lower one, or raise max_degree")
    if degree is Degree.FULL and automation.audit.rate < LEAST_AUDIT:
        words = f"{automation.audit.rate:.3%} is too little: at degree full at least 1% is audited"
        yield Problem(("audit", "rate"), f"{words}, as nothing else would notice a model that went bad")
    if not degree.blind:
        return
    for place, way in (
        (("on_timeout",), review.on_timeout),
        (("overflow", "action"), review.overflow.action),
    ):
        if way == "model":
            words = f"at degree {degree.word} nobody may see what the model says, and model would show it"
            yield Problem(("review", *place), f"{words}: write default, reject or wait")


def _in_automation(automation: Automation) -> Iterator[Problem]:
    yield from _at(automation, automation.degree)
    if automation.target_error is None and automation.max_degree >= Degree.PARTIAL:
        words = "degrees partial and full need it: write which part of the model's decisions may be wrong"
        yield Problem(("target_error",), f"{words}, like 2%, or stop earlier with max_degree: assist")
    if automation.segments is not None and not isinstance(automation.target_error, float):
        words = "each segment is promised one target_error, a number"
        yield Problem(("segments",), f"{words}: write like 2%, and no classes, or leave segments out")
    if automation.review.overlap.adjudicate and automation.roles and not _may(automation, Role.ADJUDICATOR):
        words = "no name in roles is an adjudicator, so nobody could decide where two differ"
        yield Problem(
            ("review", "overlap", "adjudicate"), f"{words}: write like roles: {{chen: [adjudicator]}}"
        )
    if automation.approvals > 1 and not _may(automation, Role.OPERATOR):
        words = "two persons must approve, and the admin token is one: no name in roles is an operator"
        yield Problem(("approvals",), f"{words}; write like roles: {{chen: [operator]}}")


def _may(automation: Automation, role: Role) -> Collection[str]:
    """Return the names in ``roles`` that have a role."""
    return [name for name in automation.roles if role in automation.roles_of(name)]


def refused_as_new(automations: Mapping[str, Automation], digest: str) -> list[Problem]:
    """Return why a rollout that has no state yet cannot start: its spec asks for what nothing can certify.

    Args:
        automations: by endpoint, as the spec says.
        digest: of the champion.
    """
    return [
        Problem(
            ("automation", endpoint, "degree"),
            f"{automation.degree.word} needs a threshold that was certified for this very model ({digest}); "
            "start at shadow or assist, then `bento-rollout automation NAME calibrate`",
        )
        for endpoint, automation in automations.items()
        if automation.degree >= Degree.PARTIAL
    ]


_MODELS: dict[str, type[BaseModel]] = {
    "audit": Audit,
    "review": Review,
    "overlap": Overlap,
    "overflow": Overflow,
    "webhook": ReviewWebhook,
    "decisions": Decisions,
}


def model_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return what the field at a path of an endpoint's automation stands in."""
    names = [part for part in path[:-1] if part in _MODELS]
    return _MODELS[names[-1]] if names else Automation
