"""What operators may send: one frozen model for each verb, which knows the verb that it asks for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypedDict, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

from ..errors import InvalidValue
from ..explaining import listed
from ..operations import Change, Rollout
from ..spec import parse_duration
from ..values import MAX_REASON, is_plain, shown
from .answers import Calibrated, Changed, answer_to
from .reading import parse_json

__all__ = ["VERBS", "Body", "parse_body"]

_Model = TypeVar("_Model", bound=BaseModel)

MAX_TIMEOUT = 3600.0
MAX_SHOWN = 5

SECRET = ("key", "keys", "header", "token", "choice", "comment")
"""Fields that hold whom routing knows, or what a reviewer says: their values stand in no message."""

MOST_LETTERS = 80
"""Letters of a wrong value that a message shows."""


class Common(TypedDict):
    """What every changing verb takes."""

    reason: str
    if_revision: int | None


def _bounded(seconds: float) -> float:
    if seconds > MAX_TIMEOUT:
        raise ValueError(f"at most {MAX_TIMEOUT:g} seconds can be waited for over HTTP")
    return seconds


def _visible(text: str) -> str:
    if not is_plain(text):
        raise ValueError("control characters and line ends are not allowed here")
    return text


def _whole(value: object) -> object:
    """Return an integral float as what JSON Schema says that it is: an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=100)]
Timeout = Annotated[
    float,
    AfterValidator(_bounded),
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)$"},
            ],
            "description": "Seconds, or text like 500ms, 30s or 5m.",
        }
    ),
]
Revision = Annotated[int, Field(strict=True, ge=0), BeforeValidator(_whole)]
Reason = Annotated[StrictStr, AfterValidator(_visible)]
Key = StrictStr | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Body(BaseModel):
    """What every change may carry.

    Attributes:
        reason: why; kept in the history.
        on_behalf_of: the person for whom the token's owner acts; kept in the history.
        if_revision: refuse with 409 unless this is the current revision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    verb: ClassVar[str]
    summary: ClassVar[str]
    answers: ClassVar[type[BaseModel]] = Changed

    reason: Annotated[Reason, Field(max_length=MAX_REASON, description="Why; kept in the history.")] = ""
    on_behalf_of: (
        Annotated[
            str,
            Field(strict=True, min_length=1, max_length=200),
            AfterValidator(_visible),
        ]
        | None
    ) = Field(None, description="The person for whom the token's owner acts; kept in the history.")
    if_revision: Revision | None = Field(None, description="Refuse unless this is the current revision.")

    @property
    def common(self) -> Common:
        """The keyword arguments that every changing verb takes."""
        return {"reason": self.reason, "if_revision": self.if_revision}

    def author(self, token: str) -> str:
        """Return whom the change is recorded for, from the token's name."""
        return token if self.on_behalf_of is None else f"{token} on behalf of {self.on_behalf_of}"

    def act(self, rollout: Rollout) -> Change:
        """Do what the body asks for."""
        raise NotImplementedError

    def answer(self, rollout: Rollout) -> Any:
        """Do what the body asks for, and return what it is answered with."""
        return answer_to(rollout, self.act(rollout))


class Weights(Body):
    """Percent of the traffic by candidate; the candidates that are not named keep theirs."""

    verb = "weights"
    summary = "Set the weights of candidates"
    weights: dict[Name, Percent] = Field(min_length=1, max_length=1000)

    def act(self, rollout: Rollout) -> Change:
        """Set the weights."""
        return rollout.set_weights(self.weights, **self.common)


class Shadow(Body):
    """Percent of the champion's traffic that each variant watches; the others keep theirs."""

    verb = "shadow"
    summary = "Set which part of the traffic a variant watches"
    shadow: dict[Name, Percent] = Field(min_length=1, max_length=1000)

    def act(self, rollout: Rollout) -> Change:
        """Set the shadow percents."""
        return rollout.set_shadow(self.shadow, **self.common)


class Flip(Body):
    """The variant that becomes champion; without ``to``: the standby, else the only candidate."""

    verb = "flip"
    summary = "Make another variant the champion, with all traffic"
    to: Name | None = None
    timeout: Timeout = 30.0
    no_workers: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Flip although before_flip hooks exist and no worker is live to run them.",
    )

    def act(self, rollout: Rollout) -> Change:
        """Flip; blocks until every live worker has acknowledged, or the timeout."""
        return rollout.flip(self.to, timeout=self.timeout, no_workers=self.no_workers, **self.common)


class Start(Body):
    """Begins to try the candidate of the strategy in the service's spec; ``candidate`` may be left out."""

    verb = "start"
    summary = "Begin to try a candidate, by evidence"
    candidate: Name | None = None
    timeout: Timeout = 30.0

    def act(self, rollout: Rollout) -> Change:
        """Start; of blue/green it blocks until every live worker has acknowledged, or the timeout."""
        return rollout.start(self.candidate, timeout=self.timeout, **self.common)


class Abort(Body):
    """Ends the running try; it is final until ``retry``."""

    verb = "abort"
    summary = "End the running try: all traffic to the champion that it began with"

    def act(self, rollout: Rollout) -> Change:
        """Abort; waits for nobody."""
        return rollout.abort(**self.common)


class Retry(Body):
    """Tries anew what was aborted or rolled back; one that waits for an answer to harm is aborted first."""

    verb = "retry"
    summary = "Try anew what was aborted or rolled back, without evidence"
    timeout: Timeout = 30.0

    def act(self, rollout: Rollout) -> Change:
        """Retry."""
        return rollout.retry(timeout=self.timeout, **self.common)


class Promote(Body):
    """Skips the steps that are left; needs a ``reason``. Without a running try ``flip`` is the verb."""

    verb = "promote"
    summary = "Make the candidate of the running try the champion now, without evidence"
    timeout: Timeout = 30.0

    def act(self, rollout: Rollout) -> Change:
        """Promote; blocks until every live worker has acknowledged, or the timeout."""
        return rollout.promote(timeout=self.timeout, **self.common)


class Rollback(Body):
    """Without fields: to the last settled champion. Further back: ``again``, or a revision of the history."""

    verb = "rollback"
    summary = "Give all traffic to the last settled champion, in one step"
    to_revision: Revision | None = None
    again: Annotated[bool, Field(strict=True)] = False

    def act(self, rollout: Rollout) -> Change:
        """Roll back; waits for nobody."""
        return rollout.rollback(again=self.again, to_revision=self.to_revision, **self.common)


class Undo(Body):
    """Takes back exactly the newest change of traffic."""

    verb = "undo"
    summary = "Take back the newest change of traffic"

    def act(self, rollout: Rollout) -> Change:
        """Undo."""
        return rollout.undo(**self.common)


class Target(Body):
    """Keys, and headers by name, that get a variant before the split; ``remove`` takes them back."""

    verb = "target"
    summary = "Give keys, or requests with a header, to a variant before the split"
    variant: Name
    keys: list[Key] = Field(default_factory=list, max_length=10_000)
    header: dict[Name, Annotated[str, Field(strict=True, max_length=8192)]] = Field(
        default_factory=dict, max_length=100
    )
    remove: Annotated[bool, Field(strict=True)] = False

    def act(self, rollout: Rollout) -> Change:
        """Aim."""
        return rollout.target(
            self.variant, keys=self.keys, header=self.header, remove=self.remove, **self.common
        )


class Retire(Body):
    """The variant to remove; a champion, or one with weight, needs somebody ``in_favour_of``.

    The heir of the champion is prepared like the target of a flip: every live worker's hooks may veto.
    """

    verb = "retire"
    summary = "Remove a variant from the state"
    variant: Name
    in_favour_of: Name | None = None
    timeout: Timeout = 30.0

    def act(self, rollout: Rollout) -> Change:
        """Retire."""
        return rollout.retire(
            self.variant, in_favour_of=self.in_favour_of, timeout=self.timeout, **self.common
        )


class Pause(Body):
    """Automation raises and promotes nothing until ``resume``; harm is acted on, and people's verbs work."""

    verb = "pause"
    summary = "Let automation raise and promote nothing"

    def act(self, rollout: Rollout) -> Change:
        """Pause."""
        return rollout.pause(**self.common)


class Resume(Body):
    """Ends a pause, or the pause step that a try waits in; where harm was shown it needs a ``reason``."""

    verb = "resume"
    summary = "End a pause"

    def act(self, rollout: Rollout) -> Change:
        """Resume."""
        return rollout.resume(**self.common)


class SetDegree(Body):
    """Who decides an endpoint: down at once; up by evidence, and by two persons where the spec says so.

    Where two must ask, the same call by another person sets it; a person is whose token is shown, whoever it
    is used for.
    """

    verb = "degree"
    summary = "Set who decides an endpoint"
    degree: Annotated[
        StrictStr | StrictInt,
        Field(description="human, shadow, assist, partial or full, or 1 to 5.", union_mode="left_to_right"),
    ]
    endpoint: Name | None = Field(None, description="May be left out where only one is automated.")

    def act(self, rollout: Rollout) -> Change:
        """Set the degree."""
        return rollout.set_degree(self.endpoint, self.degree, **self.common)


class Calibrate(Body):
    """Looks for a threshold from which on the champion may decide alone; its degree stays as it is.

    People's answers are its labels. Where they are too few nothing is kept, and how many are missing is said.
    """

    verb = "calibrate"
    summary = "Look for a threshold from which on the champion may decide alone"
    answers = Calibrated
    endpoint: Name | None = Field(None, description="May be left out where only one is automated.")

    def answer(self, rollout: Rollout) -> dict[str, Any]:
        """Calibrate."""
        return rollout.calibrate(self.endpoint, **self.common).plain


VERBS: tuple[type[Body], ...] = (
    Weights,
    Shadow,
    Flip,
    Start,
    Abort,
    Retry,
    Promote,
    Rollback,
    Undo,
    Target,
    Retire,
    Pause,
    Resume,
    SetDegree,
    Calibrate,
)


def parse_body(model: type[_Model], raw: bytes) -> _Model:
    """Return the body that JSON text describes; no text at all is an empty object.

    Raises:
        InvalidValue: when it is not JSON, or not what the model takes; the message names field and value, of
            keys, headers, tokens and answers only the field.
    """
    document = parse_json(raw) if raw.strip() else {}
    if not isinstance(document, dict):
        raise InvalidValue(f"the body must be a JSON object (got {_got(document)})")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        items = error.errors(include_url=False, include_context=False)
        more = [f"and {len(items) - MAX_SHOWN} more"] if len(items) > MAX_SHOWN else []
        told = [_explain(item, model) for item in items[:MAX_SHOWN]]
        raise InvalidValue("; ".join([*told, *more])) from None


def _explain(item: Any, model: type[BaseModel]) -> str:
    place = ".".join(ascii(part)[1:-1][:80] if isinstance(part, str) else str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        verb = getattr(model, "verb", "this route")
        return f"{place}: unknown field; {verb} takes {listed(model)}"
    words = item["msg"].removeprefix("Value error, ")
    got = "" if item["type"] == "missing" or item["loc"][0] in SECRET else _got(item["input"])
    return f"{place or 'body'}: {words}{f' (got {got})' if got and got not in words else ''}"


def _got(value: object) -> str:
    """Return a value as a message shows it: cut short, and of what holds others only what it is."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return shown(value)[:MOST_LETTERS]
