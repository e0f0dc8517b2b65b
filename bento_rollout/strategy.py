"""`Strategy`: how a candidate is tried, and which evidence moves it; valid as a whole, or not constructed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from .amounts import DAY, in_time
from .errors import InvalidSpec, InvalidValue
from .explaining import Problem, Problems, Where, problems_of, told
from .guardrails import (
    Agreement,
    ErrorRate,
    Guardrail,
    Label,
    Latency,
    OnHarm,
    alpha_shares,
    parse_guardrails,
)
from .steps import MOST_STEPS, BakeAfter, Canary, Pause, Step, Swap
from .values import FULL, Seconds, Strict, parse_fraction, shown

__all__ = ["StoredStrategy", "Strategy", "model_at"]

_IN_SHADOW = (ErrorRate, Latency, Agreement)
"""What a shadow step has evidence of."""


def _alpha(value: object) -> float:
    if not 0 < (part := parse_fraction(value)) < 1:
        raise InvalidValue(
            f"{shown(value)} is not valid: a chance of a false alarm lies between 0% and 100%; "
            "0 would never see harm, and 1 always; write like 1%"
        )
    return part


class Strategy(Strict):
    """How a candidate is tried: in steps or at once, by which guardrails, and what is done about harm.

    The fields are those of the YAML file, and are given as there.

    Attributes:
        canary: traffic in steps.
        blue_green: all traffic at once, and a bake; one of the two is there.
        guardrails: by name, like ``error_rate`` or ``latency@predict``.
        key_window: seconds from a key's first call over which its calls are averaged for health.
        false_alarm: the chance of an alarm that nothing justified, over one try, all guardrails together.
        on_harm: what is done when harm is shown.
        give_up_after: seconds without a decision after which the try pauses.
        dry_run: whether it only tells what it would do.

    >>> both = {"error_rate": {"margin": "1pp"}, "latency": {}}
    >>> canary = {"candidate": "boosted", "steps": [{"weight": 5, "bake": "30m"}]}
    >>> Strategy.parse({"canary": canary, "guardrails": both}).required_at(0)
    ('error_rate', 'latency')
    """

    canary: Canary | None = None
    blue_green: Swap | None = None
    guardrails: Annotated[dict[str, SerializeAsAny[Guardrail]], PlainValidator(parse_guardrails)] = Field(
        default_factory=dict
    )
    key_window: Seconds = 60.0
    false_alarm: Annotated[float, BeforeValidator(_alpha)] = 0.01
    on_harm: OnHarm = "rollback"
    give_up_after: Seconds = 7 * DAY
    dry_run: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _whole(self) -> Strategy:
        if found := list(_problems(self)):
            raise Problems(found)
        return self

    @classmethod
    def parse(cls, data: object, where: Where = "strategy") -> Strategy:
        """Return the strategy that plain data describes, as a parsed YAML file or `plain` has it.

        Raises:
            InvalidSpec: naming everything that is wrong, one thing a line.

        >>> Strategy.parse({"false_alarm": 1})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bento_rollout.errors.InvalidSpec: strategy: false_alarm: 1 is not valid: a chance ...
        """
        if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
            wrong = Problem((), f"a mapping of fields is expected (got {shown(data)})")
            raise InvalidSpec(told([wrong], where))
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise InvalidSpec(told(problems_of(error, model_at), where)) from None

    @property
    def plain(self) -> dict[str, Any]:
        """This strategy as plain data, every default written out; `parse` returns the same from it."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def candidate(self) -> str:
        """Who is tried."""
        way = self.canary or self.blue_green
        return way.candidate if way else ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps; blue/green has none."""
        return self.canary.steps if self.canary else ()

    @property
    def bake_after(self) -> BakeAfter | None:
        """What follows a promotion."""
        way = self.canary or self.blue_green
        return way.bake_after if way else None

    @property
    def promotes(self) -> bool:
        """Whether it promotes the candidate after the last step."""
        return self.canary is None or self.canary.ending == "promote"

    @property
    def alpha_shares(self) -> dict[str, float]:
        """Each guardrail's part of `false_alarm`."""
        return alpha_shares(self.guardrails, self.false_alarm)

    @property
    def watch(self) -> dict[str, float]:
        """For how many seconds after a promotion harm is looked for, by guardrail that says so."""
        labels = {name: one for name, one in self.guardrails.items() if isinstance(one, Label)}
        return {name: label.watch for name, label in labels.items() if label.watch is not None}

    def harm(self, guardrail: str) -> OnHarm:
        """Return what is done when a guardrail is harmful."""
        return self.guardrails[guardrail].harm(self.on_harm)

    def required_at(self, number: int) -> tuple[str, ...]:
        """Return the guardrails that must be healthy before a step (from 0) ends.

        A shadow step has evidence of errors, latency and agreement only; a step with traffic waits for
        agreement only where ``required: true`` is written.
        """
        step = self.steps[number]
        if step.pause is not None or step.optional:
            return ()
        if step.shadow is None:
            return tuple(name for name, one in self.guardrails.items() if one.is_required)
        return tuple(
            name
            for name, one in self.guardrails.items()
            if isinstance(one, _IN_SHADOW) and one.required is not False
        )

    @property
    def required_to_promote(self) -> tuple[str, ...]:
        """The guardrails that must be healthy when the candidate is promoted by evidence."""
        measured = [number for number, step in enumerate(self.steps) if step.pause is None]
        return self.required_at(measured[-1]) if measured else ()

    def weight_at(self, number: int) -> int:
        """Return the candidate's weight in a step (from 0), in thousandths of a percent."""
        weights = [step.weight or 0 for step in self.steps[: number + 1] if step.pause is None]
        return weights[-1] if weights else 0

    def shadow_at(self, number: int) -> int | None:
        """Return what the candidate watches in a step, in thousandths of a percent; None: as it does anyway.

        Where a shadow step was, later steps end the shadow, unless agreement is required in them.
        """
        before = [step for step in self.steps[: number + 1] if step.pause is None]
        shadows = [step.shadow for step in before if step.shadow is not None]
        if not shadows:
            return None
        stays = any(isinstance(one, Agreement) and one.is_required for one in self.guardrails.values())
        return shadows[-1] if stays or before[-1].shadow is not None else 0


StoredStrategy = Annotated[Strategy, PlainSerializer(lambda strategy: strategy.plain, return_type=dict)]
"""A strategy as a field of what is stored: written as its plain data, however the whole is dumped."""


_MODELS: dict[str, type[BaseModel]] = {
    "canary": Canary,
    "steps": Step,
    "pause": Pause,
    "bake_after": BakeAfter,
    "blue_green": Swap,
}


def model_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return what the field at a path of a strategy stands in: messages list what is known there."""
    names = [part for part in path[:-1] if part in _MODELS]
    return _MODELS[names[-1]] if names else Strategy


_Checks = Iterator[Problem]


def _problems(strategy: Strategy) -> _Checks:
    """Yield what is wrong with a strategy whose fields are each valid."""
    if (strategy.canary is None) == (strategy.blue_green is None):
        yield Problem((), "write one of canary and blue_green, which say how the candidate is tried")
        return
    if not strategy.guardrails:
        yield Problem(
            ("guardrails",),
            "none is written: nothing could speak for the candidate or against it; "
            "write like {error_rate: {margin: 1pp}, latency: {tolerance: 10%}}",
        )
        return
    if strategy.key_window > strategy.give_up_after:
        yield Problem(
            ("key_window",),
            f"{in_time(strategy.key_window)} is longer than give_up_after "
            f"({in_time(strategy.give_up_after)}): no key would count before",
        )
    if strategy.canary:
        yield from _in_steps(strategy, strategy.canary)
    elif all(isinstance(one, Agreement) for one in strategy.guardrails.values()):
        yield Problem(("guardrails",), "after the flip nothing watches: write one beside agreement")


def _in_steps(strategy: Strategy, canary: Canary) -> _Checks:
    place = ("canary", "steps")
    if not any(step.pause is None for step in canary.steps):
        yield Problem(place, "no step is written; write like [{weight: 5, bake: 30m}]")
        return
    if len(canary.steps) > MOST_STEPS:
        yield Problem(place, f"{len(canary.steps)} steps are too many: at most {MOST_STEPS} are kept")
        return
    yield from _rising(canary.steps)
    yield from _in_good_time(strategy, canary)
    yield from _provable(strategy)
    yield from _ending(strategy, canary)


def _rising(steps: Sequence[Step]) -> _Checks:
    """Each step sees more than the one before: shadows first, then weights, both increasing."""
    last: Step | None = None
    for number, step in enumerate(steps):
        if step.pause is not None:
            continue
        if last and _height(step) <= _height(last):
            yield Problem(
                ("canary", "steps", number),
                f"{step} comes after {last}: steps must increase, shadow before weight",
            )
        last = step


def _height(step: Step) -> int:
    return step.shadow or FULL + (step.weight or 0)


def _in_good_time(strategy: Strategy, canary: Canary) -> _Checks:
    """Bakes and labels end before the try is given up."""
    most, longer = strategy.give_up_after, False
    limit = f"give_up_after ({in_time(most)})"
    for number, step in enumerate(canary.steps):
        if step.bake is not None and step.bake > most:
            longer = True
            words = f"{in_time(step.bake)} is longer than {limit}: the step could never end"
            yield Problem(("canary", "steps", number, "bake"), words)
    total = math.fsum(step.bake or 0.0 for step in canary.steps)
    if total > most and not longer:
        words = f"the bakes add up to {in_time(total)}, longer than {limit}: the rollout could never end"
        yield Problem(("canary", "steps"), words)
    for name, one in strategy.guardrails.items():
        if isinstance(one, Label) and one.is_required and one.matures > most:
            words = f"{in_time(one.matures)} is longer than {limit}: no label would count before"
            yield Problem(("guardrails", name, "matures"), f"{words}; write required: false to go on without")


def _provable(strategy: Strategy) -> _Checks:
    """Whatever a step waits for can come."""
    for name, one in strategy.guardrails.items():
        if one.required is not False and one.unhealthy:
            words = f"it can never be shown to be healthy, so the rollout could never end: {one.unhealthy}"
            yield Problem(("guardrails", name), f"{words}, or required: false")
    for number, step in enumerate(strategy.steps):
        if step.pause is not None or step.optional or strategy.required_at(number):
            continue
        kinds = "error_rate, latency or agreement" if step.shadow else "a guardrail"
        yield Problem(
            ("canary", "steps", number),
            f"{step} has nothing to wait for, so nothing could speak for going on: "
            f"require {kinds}, or write healthy: optional",
        )


def _ending(strategy: Strategy, canary: Canary) -> _Checks:
    """Nothing is promoted without positive evidence from traffic of its own."""
    if not strategy.promotes:
        if canary.bake_after:
            yield Problem(
                ("canary", "bake_after"), "it follows a promotion, and finally: hold promotes nothing"
            )
        return
    if not any(step.weight for step in canary.steps):
        yield Problem(
            ("canary", "steps"),
            "the candidate would be promoted without ever having answered: "
            "add a step like {weight: 5, bake: 30m}, or write finally: hold",
        )
    number, last = [(at, step) for at, step in enumerate(canary.steps) if step.pause is None][-1]
    if last.optional:
        yield Problem(
            ("canary", "steps", number, "healthy"),
            "the last step before finally: promote cannot be optional: "
            "nothing is promoted without having been shown to be healthy",
        )
