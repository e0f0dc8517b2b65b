"""`Automated`: one endpoint whose predictions the model or a person decides, by its degree."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ..admin.rooted import root_of
from ..asking import Facts, When, asked_by
from ..automation import audits_with
from ..calls import Call, Deciding, Finish, within
from ..degrees import Degree
from ..disposing import disposition
from ..drift_latches import QUIET
from ..errors import QueueFull
from ..labels import label_in
from ..preferring import preference
from ..records import Plan, Reply
from ..reviewing import Decision, Selection
from ..router import Router
from ..scoring import score_of
from ..showing import take
from ..standing import Certificate, certificate_of, degree_of
from ..suggesting import choice_in
from ..telemetry import log
from ..telemetry.lines import weight_of
from .cases import Asked, Cases, Settings
from .context import isolate
from .making import plain_output
from .pending import answer_of, made, pending, refused
from .people import Make, People
from .unseen import Unseen

__all__ = ["Automated"]


@dataclass
class _Ran:
    """What a model made of one call, whose answer is not out yet.

    Attributes:
        ends: ends it; True lets what it did to the response through.
        arguments: those of the call, for those who are shown them.
        value: what would go out.
        outputs: what it answered; empty: it failed.
        error: why it failed.
        facts: what is known of the prediction.
        choice: which choice the answer is.
    """

    ends: Callable[[bool], None]
    arguments: Mapping[str, Any] = field(repr=False)
    value: Any = None
    outputs: list[Any] = field(default_factory=list)
    error: Exception | None = None
    facts: Facts = field(default_factory=Facts)
    choice: str | None = None
    ended: bool = False

    @property
    def good(self) -> bool:
        """Whether it has an answer."""
        return self.error is None and bool(self.outputs)

    def end(self, answers: bool) -> None:
        """End it, once: its answer goes out, or nothing of it does."""
        if not self.ended:
            self.ended = True
            self.ends(answers)


class Automated:
    """Answers the calls of one automated endpoint in one worker.

    Args:
        settings: what is known of it.
        people: asks people.
        router: lets variants run.
        is_client_error: whether an exception is the caller's fault, and so an answer.
        set_status: tells the service's context of the status of an answer that is ours.
        tell: tells of a call.
        record: writes down what a task waits for.

    Attributes:
        drift: whether drift is latched at the endpoint.
    """

    def __init__(
        self,
        settings: Settings,
        people: People,
        router: Router,
        is_client_error: Callable[[BaseException], bool],
        set_status: Callable[[int], None],
        tell: Callable[[Call], None],
        record: Callable[[Call], Awaitable[None]],
    ) -> None:
        self._settings, self._people, self._router, self._feed = settings, people, router, router.feed
        self._is_client_error, self._set_status = is_client_error, set_status
        self._record = record
        self._automation = settings.automation
        rate = settings.automation.audit.rate
        self._draws = audits_with(rate)
        self._audits = {one: Asked(one, Selection.AUDIT, rate, held=False) for one in (_PARTIAL, _FULL)}
        self._cases = Cases(settings)
        self._unseen = Unseen(self._cases, people, router, tell)
        self._whens = {
            when.name: settings.functions[f"ask_when.{at}.when"]
            for at, when in enumerate(settings.automation.ask_when)
            if isinstance(when, When)
        }
        shown = settings.automation.review.inputs != "reference" or "review.display" in settings.functions
        asked = bool(self._whens) or any(when.arguments for when in settings.automation.ask_when)
        self._looked_at = shown or asked or settings.automation.segments is not None
        self._alone = Deciding(Degree.FULL, "model")
        self._seen: Any = None
        self._known: dict[str, tuple[Degree, Certificate | None]] = {}
        self._once = log.Once()
        self.drift = QUIET

    def answer(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> Coroutine[Any, Any, Any]:
        """Answer a call as the router does, or let a person answer it."""
        known = self._known.get(plan.variant) if self._feed.commit is self._seen else None
        degree, _ = known or self._stands(plan.variant)
        if degree is _FULL:
            call.deciding = self._alone
            if self._draws(call.prediction_id):
                return self._audited(call, plan, args, kwargs, finish)
            return self._router.call(call, plan, args, kwargs, finish)
        held = self._settings.held
        left = min(held, max(0.0, held - (time.time() - call.began)))
        call.deciding = Deciding(degree, until=time.monotonic() + left)
        if degree >= _ASSIST:
            return self._with_model(call, plan, args, kwargs, finish)
        return self._by_people(call, plan, args, kwargs)

    def _stands(self, variant: str) -> tuple[Degree, Certificate | None]:
        """Return the degree at which a variant answers now, and what was certified for it."""
        commit = self._feed.commit
        if commit is not self._seen:
            self._seen, self._known = commit, {}
        found = self._known.get(variant)
        if found is None:
            parts = commit.state, self._settings.endpoint, self._settings.digests.get(variant, "")
            found = self._known[variant] = (degree_of(*parts), certificate_of(*parts))
        return found

    def _taken(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, copy: bool = True
    ) -> Mapping[str, Any]:
        """Return the arguments as they are now, where a person or a condition may look at them."""
        return take(self._settings.names, args, kwargs, copy=copy) if self._looked_at else {}

    # -- degree full -----------------------------------------------------------------------------------

    async def _audited(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> Any:
        """Answer with what the model says, whatever it is, and let a person look at it as well."""
        if self._closed:
            call.plans, call.deciding = (plan,), Deciding(Degree.FULL)
            return self._ours(call, refused("reviews-unreachable", call.prediction_id))
        outputs: list[Any] = []
        arguments = self._taken(args, kwargs)
        noting = None if finish is None else _noting(outputs, finish)
        value = await self._router.call(call, plan, args, kwargs, noting)
        self._audit(call, _FULL, arguments, outputs or [value])
        return value

    def _audit(
        self, call: Call, degree: Degree, arguments: Mapping[str, Any], outputs: Sequence[Any]
    ) -> None:
        make = self._cases.case(call, self._audits[degree], arguments, outputs)
        weight = sum(map(weight_of, arguments.values())) + sum(map(weight_of, outputs))
        most = self._automation.review.overflow.max_open
        self._people.audit(make, most, _key_of(call), weight)

    # -- degrees assist and partial --------------------------------------------------------------------

    async def _with_model(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> Any:
        """Let the model run, and decide by what it says who answers."""
        ran = await self._run(call, plan, args, kwargs, finish)
        degree, certificate = self._stands(call.plans[-1].variant)
        decides = disposition(degree, self._automation, certificate, ran.facts, call.prediction_id)
        _deciding(call).degree = degree
        if decides.by == "model" and not (decides.audit and self._closed):
            return self._by_model(call, ran, audit=decides.audit)
        if decides.by == "model":
            ran.end(answers=False)
            return self._ours(call, refused("reviews-unreachable", call.prediction_id))
        selection = decides.selection or Selection.UNSURE
        asked = Asked(degree, selection, decides.probability, decides.why)
        make = self._cases.case(call, asked, ran.arguments, ran.outputs)
        return await self._ask(call, make, ran)

    async def _run(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> _Ran:
        """Let a variant run with what it does to the response held back."""
        outputs: list[Any] = []

        arguments = self._taken(args, kwargs)
        task, ends = isolate(self._router.call(call, plan, args, kwargs, _noting(outputs, finish)))
        ran = _Ran(ends, arguments)
        try:
            ran.value = await within(task, None if call.task_id else self._left(call))
        except Exception as error:
            if self._is_client_error(error):
                ran.end(answers=False)
                _deciding(call).by = "model"
                raise
            ran.error, outputs = error, []
        except BaseException:
            ran.end(answers=False)
            raise
        ran.outputs = outputs
        if not outputs:
            ran.facts = Facts(failed=True, arguments=arguments)
            return ran
        output, functions = outputs[0], self._settings.functions
        ran.choice = choice_in(output, self._settings.choices, functions.get("review.choice_of"))
        label = label_in(output) if ran.choice is None else ran.choice
        score = score_of(self._automation.score, output, functions.get("score"))
        asked = asked_by(self._whens, arguments, output) if self._whens else ()
        ran.facts = Facts(score, label, drift=self.drift.on, arguments=arguments, asked=asked)
        return ran

    def _by_model(self, call: Call, ran: _Ran, *, audit: bool) -> Any:
        """Answer with what the model said; when it failed, with its error."""
        deciding = _deciding(call)
        deciding.by = "model"
        ran.end(answers=ran.good)
        if ran.error is not None:
            raise ran.error
        if audit:
            self._audit(call, deciding.degree, ran.arguments, ran.outputs)
        return ran.value

    @property
    def _closed(self) -> bool:
        """Whether nothing may be decided without people, who cannot be asked."""
        return self._people.unreachable and self._automation.unreachable == "closed"

    # -- degrees human and shadow ----------------------------------------------------------------------

    async def _by_people(self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Let a person answer; at degree shadow the model runs where nobody waits for it."""
        call.plans, call.watch, degree = (plan,), None, _deciding(call).degree
        arguments = self._taken(args, kwargs, copy=False)
        make = self._cases.case(call, Asked(degree), arguments)
        then = None if degree is Degree.HUMAN else self._unseen.after(call, plan, args, kwargs)
        return await self._ask(call, make, None, then)

    # -- asking ----------------------------------------------------------------------------------------

    async def _ask(
        self, call: Call, make: Make, ran: _Ran | None, then: Callable[[str], None] | None = None
    ) -> Any:
        """Ask people, and answer with their decision, or with its place.

        Args:
            call: the request.
            make: makes the case, in a thread.
            ran: what the model made of it, where it ran.
            then: what begins when the case is kept.
        """
        overflow, key = self._automation.review.overflow, _key_of(call)
        make = functools.lru_cache(maxsize=1)(make)
        try:
            try:
                task, seconds = await self._people.ask(make, overflow.max_open, key), self._left(call)
            except QueueFull:
                if overflow.action != "wait":
                    return await self._overflow(call, ran)
                task, seconds = await self._people.ask(make, None, key), 0.0
        except Exception:  # noqa: BLE001 - it was said; whatever it is, nobody was asked
            if ran is not None and ran.good and self._automation.unreachable == "open" and _may(call):
                return self._by_model(call, ran, audit=False)
            return self._ours(call, refused("reviews-unreachable", call.prediction_id), ran)
        if ran is not None:
            ran.end(answers=False)
        if then is not None:
            then(task)
        return self._ours(call, await self._held(call, task, seconds))

    async def _held(self, call: Call, task: str, seconds: float) -> Response:
        """Wait for a decision as long as the caller does, and return it, or its place."""
        place = f"{root_of(call.scope)}{self._settings.prefix}decisions/{task}"
        if call.task_id is not None:
            call.decision = task
            await self._record(call)
            decision = await self._people.held.wait(task, None)
            if decision is None:  # the worker ends; the task stays in progress
                raise asyncio.CancelledError
            return self._decided(call, decision)
        wants = preference(call.header("prefer"))
        seconds = wants.seconds(seconds)
        decision = await self._people.held.wait(task, seconds) if seconds > 0 else None
        if decision is None:
            return pending(place, call.prediction_id, at_once=wants.at_once)
        return self._decided(call, decision)

    def _decided(self, call: Call, decision: Decision) -> Response:
        _deciding(call).by = decision.decided_by
        return answer_of(decision, call.prediction_id)

    async def _overflow(self, call: Call, ran: _Ran | None) -> Any:
        """Answer when too many cases are open, as the spec says."""
        review = self._automation.review
        if review.overflow.action == "model" and ran is not None and ran.good:
            return self._by_model(call, ran, audit=False)
        if review.overflow.action != "default":
            return self._ours(call, refused("queue-full", call.prediction_id), ran)
        maker, says = self._people.makers[call.endpoint], None
        if ran is not None and ran.good:
            says = plain_output(ran.outputs[0])
        try:
            media_type, body = await self._people.run(lambda: maker.of(review.default, says))
        except Exception as error:  # noqa: BLE001 - the user's own callable; its text may hold payload
            kind = type(error).__name__
            facts = {"endpoint": call.endpoint, "error": kind, "where": log.place_of(error)}
            self._once.say(f"default {kind}", "reviews.default_failed", "error", **facts)
            return self._ours(call, refused("default-failed", call.prediction_id), ran)
        _deciding(call).by = "default"
        return self._ours(call, made(media_type, body), ran)

    def _ours(self, call: Call, response: Response, ran: _Ran | None = None) -> Response:
        """Return an answer that is no variant's, with nothing of what one did to its own."""
        if ran is not None:
            ran.end(answers=False)
        call.reply = Reply()
        self._set_status(response.status_code)
        return response

    def _left(self, call: Call) -> float:
        """Return for how many seconds a call can still be held, whatever is done to the clock meanwhile."""
        return max(0.0, _deciding(call).until - time.monotonic())


def _noting(outputs: list[Any], finish: Finish | None) -> Finish:
    """Return what finishes an answer as ``finish`` does, and notes what the model said."""

    async def noting(value: Any, variant: str) -> Any:
        outputs[:] = [value]
        return value if finish is None else await finish(value, variant)

    return noting


def _deciding(call: Call) -> Deciding:
    """Return who decides a call of an automated endpoint."""
    assert call.deciding is not None  # `answer` sets it before anything else
    return call.deciding


def _may(call: Call) -> bool:
    """Whether the model's answer may go out without people at all."""
    return _deciding(call).degree >= Degree.PARTIAL


def _key_of(call: Call) -> str | None:
    return call.keys[0] if call.keys else None


_FULL, _PARTIAL, _ASSIST = Degree.FULL, Degree.PARTIAL, Degree.ASSIST
