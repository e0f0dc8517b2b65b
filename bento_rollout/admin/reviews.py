"""The reviewers' routes: a person takes a case, answers it, or puts it down; others look at the queue."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import InvalidValue, NotFound, Refused, RolloutError
from ..operations import Rollout
from ..reviewing import Case, Claim, Given, Role, Status, Suggestion
from ..store.reviews import Listed, Make, Outcome, Reviews
from .bodies import parse_body
from .entrance import Entrance
from .gate import NO_STORE, respond, said
from .people import People, Person
from .problems import problem
from .reading import MAX_BODY, BodyTooLarge, parse_query, read_body
from .review_bodies import MOST_UNDO, AnswerBody, AskBody, ClaimBody, HandBody, ReasonBody

__all__ = ["Reviewing", "review_routes"]

T = TypeVar("T")

HANDS = frozenset({Role.REVIEWER, Role.ADJUDICATOR})
"""Who may have a case in hand."""

ROWS, MOST_ROWS = 100, 1000
"""How many cases one answer has, when nothing is said and at most."""

SHOWN_ID = 12
"""Digits of a case's id that lists show: who knows all of them may ask for the decision."""

GONE = frozenset({Status.DEFAULTED, Status.REJECTED, Status.WITHDRAWN})
"""How a case ends to which nobody's answer counts any more, without a person's."""

_ID = re.compile(r"[0-9a-f]{32}")
_LIMIT = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Reviewing:
    """What people do reviews with.

    Attributes:
        reviews: the cases.
        make: makes what a caller gets of an answer, and raises when it can be none.
        leases: seconds that a reviewer has a case, by automated endpoint.
        roles: what each name may do, by automated endpoint.
        acting_as: opens the rollout in a person's name; None: nobody asks by hand here.
    """

    reviews: Reviews
    make: Make
    leases: Mapping[str, float]
    roles: Mapping[str, Mapping[str, Sequence[Role]]] = field(default_factory=dict)
    acting_as: Callable[[str], Rollout] | None = None


Run = Callable[[Callable[[], T]], Awaitable[T]]
Guarded = Callable[[Awaitable[Any]], Awaitable[Response]]
Act = Callable[[Person, str, bytes], Any]


class _Forbidden(Exception):
    """This person may not do this."""


def review_routes(
    reviewing: Reviewing, people: People, prefix: str, lane: Callable[[], Run[Any]], guarded: Guarded
) -> list[BaseRoute]:
    """Return the routes below ``prefix``.

    Args:
        reviewing: what people do reviews with.
        people: who may come in.
        prefix: what the paths begin with.
        lane: returns what runs blocking work of one route in threads, a few at a time.
        guarded: makes an answer of what work returns or raises.
    """
    desk, entrance = _Desk(reviewing), Entrance(people)

    def door(act: Act) -> Callable[[Request], Awaitable[Response]]:
        run = lane()

        def work(person: Person, task: str, raw: bytes) -> Any:
            try:
                return act(person, task, raw)
            except _Forbidden as error:
                return said(403, str(error))

        async def endpoint(request: Request) -> Response:
            person = entrance.admit(request)
            if isinstance(person, Response):
                return person
            raw = await _sent(request)
            if isinstance(raw, Response):
                return raw
            task = str(request.path_params.get("task", ""))
            return await guarded(run(lambda: work(person, task, raw)))

        return endpoint

    base = f"{prefix}/reviews"
    acts: dict[str, Act] = {
        "answer": desk.answer,
        "skip": desk.skip,
        "release": desk.release,
        "escalate": desk.escalate,
        "renew": desk.renew,
        "undo": desk.undo,
    }
    return [
        Route(base, door(desk.listed)),
        Route(f"{base}/stats", door(desk.stats)),
        Route(f"{base}/claim", door(desk.claim), methods=["POST"]),
        *([Route(f"{base}/ask", door(desk.ask), methods=["POST"])] if reviewing.acting_as else ()),
        *(Route(f"{base}/{{task}}/{name}", door(act), methods=["POST"]) for name, act in acts.items()),
    ]


async def _sent(request: Request) -> bytes | Response:
    """Return what was sent: the body, within bounds; of a GET the query."""
    if request.method != "POST":
        return bytes(request.scope.get("query_string", b""))
    try:
        return await read_body(request.headers.get("content-length"), request.stream())
    except BodyTooLarge:
        return said(413, f"the body has over {MAX_BODY} bytes", {"Connection": "close"})
    except ClientDisconnect:
        return said(400, "the body ended early")


class _Desk:
    """Does what people ask for; each act in a thread."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviews, self._leases = reviewing.reviews, reviewing.leases
        self._make, self._acting_as = _quietly(reviewing.make), reviewing.acting_as

    # -- looking ---------------------------------------------------------------------------------------

    def listed(self, person: Person, _: str, query: bytes) -> Any:
        """Return cases without payload: open ones in the order of their turn, else the newest first."""
        values = parse_query(query, ("endpoint", "status", "limit"))
        status = _status(values["status"])
        limit = _limit(values["limit"])
        endpoints = self._endpoints(person, _one("endpoint", values["endpoint"]), frozenset({Role.VIEWER}))
        found = [one for name in endpoints for one in self._reviews.list(name, status=status, limit=limit)]
        found.sort(key=_turn if status is Status.OPEN else _newest)
        return [_row(one) for one in found[:limit]]

    def stats(self, person: Person, _: str, query: bytes) -> Any:
        """Return how the queue does, by endpoint."""
        values = parse_query(query, ("endpoint",))
        endpoints = self._endpoints(person, _one("endpoint", values["endpoint"]), frozenset({Role.VIEWER}))
        return {name: asdict(self._reviews.stats(name)) for name in endpoints}

    # -- asking by hand --------------------------------------------------------------------------------

    def ask(self, person: Person, _: str, raw: bytes) -> Any:
        """Let people look at a prediction that was answered; for operators: who answers does not choose."""
        body, wanted = parse_body(AskBody, raw), frozenset({Role.OPERATOR})
        self._endpoints(person, None, wanted)  # who may ask of nothing learns of no prediction
        assert self._acting_as is not None  # there is no route without it
        rollout = self._acting_as(person.name)
        self._endpoints(person, rollout.ledger.story(body.prediction).prediction.endpoint, wanted)
        found = rollout.ask_review(body.prediction, reason=body.reason)
        return {**found, "case": found["case"][:SHOWN_ID]}

    # -- taking ----------------------------------------------------------------------------------------

    def claim(self, person: Person, _: str, raw: bytes) -> Any:
        """Take the next case; 204 when there is none for this person."""
        body = parse_body(ClaimBody, raw)
        wanted = HANDS if body.role is None else frozenset({Role(body.role)})
        endpoints = self._endpoints(person, body.endpoint, wanted)
        for roles, names in _hands(person, endpoints, wanted):
            lease = min(self._leases[name] for name in names)
            claim = self._reviews.claim(person.name, roles=roles, endpoints=names, lease=lease)
            if claim is not None:
                return self._taken(claim, lease)
        return Response(status_code=204, headers=NO_STORE)

    def _taken(self, claim: Claim, lease: float) -> dict[str, Any]:
        until, wanted = claim.until, self._leases[claim.case.endpoint]
        if wanted != lease:
            until = self._reviews.renew(claim.case.id, claim.reviewer, claim.token, wanted)
        return _claimed(claim, until)

    # -- with a case in hand ---------------------------------------------------------------------------

    def answer(self, person: Person, task: str, raw: bytes) -> Any:
        """Keep an answer, once."""
        body = parse_body(AnswerBody, raw)
        given = Given(body.choice, body.comment, body.seconds)

        def act() -> Outcome:
            return self._reviews.answer(
                task, person.name, body.token, given, make=self._make, final=body.final, undo=body.undo
            )

        outcome = self._on(person, task, act)
        if isinstance(outcome, Response):
            return outcome
        found: dict[str, Any] = {"status": outcome.status, "until": outcome.final_at}
        if outcome.status == "revealed" and outcome.suggestion is not None:
            found["suggestion"] = _suggested(outcome.suggestion)
        return found

    def skip(self, person: Person, task: str, raw: bytes) -> Any:
        """Leave a case to others."""
        body = parse_body(ReasonBody, raw)
        return self._put(
            person, task, "skipped", lambda who: self._reviews.skip(task, who, body.token, body.reason)
        )

    def release(self, person: Person, task: str, raw: bytes) -> Any:
        """Give a case back."""
        body = parse_body(HandBody, raw)
        return self._put(person, task, "released", lambda who: self._reviews.release(task, who, body.token))

    def escalate(self, person: Person, task: str, raw: bytes) -> Any:
        """Hand a case up."""
        body = parse_body(ReasonBody, raw)
        return self._put(
            person, task, "escalated", lambda who: self._reviews.escalate(task, who, body.token, body.reason)
        )

    def renew(self, person: Person, task: str, raw: bytes) -> Any:
        """Let the lease begin anew."""
        body = parse_body(HandBody, raw)

        def act() -> dict[str, float]:
            lease = self._leases[self._endpoint(task)]
            return {"until": self._reviews.renew(task, person.name, body.token, lease)}

        return self._on(person, task, act)

    def undo(self, person: Person, task: str, raw: bytes) -> Any:
        """Take an answer back."""
        body = parse_body(HandBody, raw)

        def act() -> dict[str, Any]:
            claim = self._reviews.undo(task, person.name, body.token, MOST_UNDO)
            return _claimed(claim, claim.until)

        return self._on(person, task, act)

    def _put(self, person: Person, task: str, status: str, act: Callable[[str], None]) -> Any:
        def put() -> dict[str, str]:
            act(person.name)
            return {"status": status}

        return self._on(person, task, put)

    def _on(self, person: Person, task: str, act: Callable[[], T]) -> T | Response:
        """Do something with a case that is in this person's hands; what is over is 410.

        Raises:
            _Forbidden: nobody of these roles has a case of this endpoint in hand.
            NotFound: there is no such case.
            Refused: it is not in these hands (any more).
        """
        endpoint = self._endpoint(task)
        if not person.at(endpoint) & HANDS:
            raise _Forbidden(_lacks(person, endpoint, HANDS))
        try:
            return act()
        except Refused as error:
            decision = self._reviews.decision(task)
            if decision is not None and decision.status not in GONE:
                raise
            return respond(problem(410, str(error), "gone"))

    def _endpoint(self, task: str) -> str:
        """Return the endpoint of a case that can be worked on."""
        decision = self._reviews.decision(task) if _ID.fullmatch(task) else None
        if decision is None or decision.endpoint not in self._leases:
            raise NotFound("there is no such case: it was decided long ago, was deleted, or never asked")
        return decision.endpoint

    def _endpoints(self, person: Person, name: str | None, roles: frozenset[Role]) -> list[str]:
        """Return the automated endpoints at which one of these roles is held.

        Raises:
            NotFound: the one that was named is not automated.
            _Forbidden: there is none, or the role is not held for the one that was named.
        """
        if name is not None and name not in self._leases:
            known = ", ".join(sorted(self._leases)) or "none"
            raise NotFound(f"{name[:80]!r} is no endpoint that is automated; these are: {known}")
        of = self._leases if name is None else (name,)
        if found := [endpoint for endpoint in of if person.at(endpoint) & roles]:
            return found
        raise _Forbidden(_lacks(person, name, roles))


def _hands(
    person: Person, endpoints: Sequence[str], wanted: frozenset[Role]
) -> Iterator[tuple[frozenset[Role], list[str]]]:
    """Yield which roles are held for which endpoints; those first that may adjudicate: others must wait."""
    groups: dict[frozenset[Role], list[str]] = {}
    for endpoint in endpoints:
        groups.setdefault(person.at(endpoint) & wanted, []).append(endpoint)
    yield from sorted(groups.items(), key=lambda group: Role.ADJUDICATOR not in group[0])


def _quietly(make: Make) -> Make:
    """Return what makes answers, and whose errors hold nothing of them."""

    def quiet(case: Case, given: Given) -> tuple[str, bytes]:
        try:
            return make(case, given)
        except RolloutError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's code; its text may hold payload
            kind = type(error).__name__
            raise InvalidValue(f"endpoint {case.endpoint!r} does not take this answer ({kind})") from None

    return quiet


def _claimed(claim: Claim, until: float) -> dict[str, Any]:
    case = claim.case
    found: dict[str, Any] = {
        "task": case.id,
        "token": claim.token,
        "endpoint": case.endpoint,
        "input": asdict(case.input),
        "choices": list(case.choices),
        "due": case.due,
        "until": until,
    }
    if case.suggestion is not None:  # the queue leaves it out where this person may not see it
        found["suggestion"] = _suggested(case.suggestion)
    if not case.choices:
        found["schema"] = case.schema
    if claim.adjudicates:
        found["adjudicates"] = list(claim.adjudicates)
    return found


def _suggested(one: Suggestion) -> dict[str, Any]:
    return {"choice": one.choice, "output": one.output, "score": one.score}


def _row(one: Listed) -> dict[str, Any]:
    facts = asdict(one)
    return {"case": facts.pop("id")[:SHOWN_ID], **facts, "degree": one.degree.word}


def _turn(one: Listed) -> tuple[float, int, float]:
    return (float("inf") if one.due is None else one.due, -one.priority, one.created)


def _newest(one: Listed) -> float:
    return -one.created


def _one(name: str, values: Sequence[str]) -> str | None:
    if len(values) > 1:
        raise InvalidValue(f"{name} stands {len(values)} times: write it once")
    return values[0] if values else None


def _status(values: Sequence[str]) -> Status | None:
    text = _one("status", values)
    try:
        return None if text is None else Status(text)
    except ValueError:
        known = ", ".join(status.value for status in Status)
        raise InvalidValue(f"status {values[0][:80]!r} is none: write one of {known}") from None


def _limit(values: Sequence[str]) -> int:
    text = _one("limit", values)
    if text is None:
        return ROWS
    if not _LIMIT.fullmatch(text) or int(text) > MOST_ROWS:
        raise InvalidValue(f"limit {text[:80]!r} must be a whole number from 1 to {MOST_ROWS}")
    return int(text)


def _lacks(person: Person, endpoint: str | None, roles: frozenset[Role]) -> str:
    of = "any automated endpoint" if endpoint is None else f"endpoint {endpoint!r}"
    words = " or ".join(sorted(role.value for role in roles))
    return f"{person.name} lacks the role {words} for {of}: the spec gives it, automation.NAME.roles"
