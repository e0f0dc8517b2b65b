"""`Review`: a person takes a case, answers it, sees what the model said where that is allowed, goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import NotFound, Refused, RolloutError
from ..reviewing import Case, Claim, Given, Role, Visibility
from ..store.reviews import Reviews
from .fields import answer_of, fields_of
from .hand import Hand
from .inputs import plain, seen
from .visiting import Goto, Page, Visit, Work

__all__ = ["LEASE", "UNDO", "Review"]

LEASE = 600.0
"""Seconds that a case stays in somebody's hands without a sign of life."""

UNDO = 10.0
"""Seconds for which an answer can be taken back."""

REASONS = ("I cannot tell from this", "The input is broken or incomplete", "This is not my field")

SAID = {
    "": "",
    "answered": "Answer kept.",
    "again": "Answer kept; a second person answers as well.",
    "disagree": "Answer kept. It differs from another person's: an adjudicator decides.",
    "skipped": "Skipped: others will see it.",
    "escalated": "Handed up to an adjudicator.",
    "undone": "Taken back: answer again.",
    "none": "No case waits for you now.",
    "stopped": "Given back: nothing is in your hands.",
    "lost": "The case that you had is not in your hands any more: its time was over, or it was decided.",
    "revealed": "Your answer is kept. This is what the model says: keep your answer, or revise it.",
}

Make = Callable[[Case, Given], tuple[str, bytes]]


class Review:
    """The pages of review, or of adjudication.

    Args:
        reviews: the queue; None: nothing is automated.
        make: makes what a caller gets of a choice.
        lease: seconds.
        clock: seconds since 1970.
    """

    path, role, title, counts = "/review", Role.REVIEWER, "Review", True

    def __init__(
        self,
        reviews: Callable[[], Reviews | None],
        make: Make,
        *,
        lease: float = LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reviews, self._make, self._lease, self._clock = reviews, make, lease, clock
        self._cookie = f"__Host-bento-rollout{self.path.replace('/', '-')}"

    @property
    def reads(self) -> dict[str, Work]:
        """What can be looked at."""
        return {self.path: self.show}

    @property
    def acts(self) -> dict[str, Work]:
        """What can be done."""
        verbs: dict[str, Callable[[Reviews, Visit, Hand], Page | Goto]] = {
            "next": self._next,
            "answer": self._answer,
            "skip": self._skip,
            "undo": self._undo,
            "stop": self._stop,
            "renew": self._renew,
        }
        return {f"{self.path}/{name}": self._doing(act) for name, act in verbs.items()}

    def show(self, visit: Visit) -> Page:
        """Show the case in hand, or how to get one."""
        return self._page(visit, Hand.read(visit.cookies.get(self._cookie, "")))

    # -- what people do --------------------------------------------------------------------------------

    def _doing(self, act: Callable[[Reviews, Visit, Hand], Page | Goto]) -> Work:
        def work(visit: Visit) -> Page | Goto:
            reviews = self._reviews()
            if reviews is None or not visit.person.may(self.role):
                return self._page(visit, Hand())
            return act(reviews, visit, Hand.read(visit.cookies.get(self._cookie, "")))

        return work

    def _next(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        """Take a case, unless one is in hand."""
        if hand.task and self._held(reviews, visit, hand) is not None:
            return self._to(visit, hand)
        taken = self._taken(reviews, visit, replace(hand, said="lost" if hand.task else ""))
        return self._to(visit, taken if taken.task else replace(taken, said="none"))

    def _answer(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        task, token = visit.form.get("task", ""), visit.form.get("token", "")
        final = visit.form.get("stage") == "revealed"
        who = visit.person.name
        try:
            claim = reviews.look(task, who, token)
            given = self._given(claim.case, visit.form)
            outcome = reviews.answer(task, who, token, given, make=self._make, final=final, undo=UNDO)
        except (NotFound, Refused) as error:
            if not self._is_told_again(hand, task):
                return self._to(visit, self._taken(reviews, visit, Hand(said="lost")), error=str(error))
            return self._to(visit, hand)
        except RolloutError as error:
            return self._wrong(visit, hand, str(error))
        except Exception as error:  # noqa: BLE001 - the user's `answer:` may raise anything
            return self._wrong(
                visit, hand, f"The endpoint does not take this answer ({type(error).__name__})."
            )
        if outcome.status == "revealed":
            return self._to(visit, Hand(task, token, mine=given.choice, said="revealed"))
        said = {"disagree": "disagree"}.get(outcome.status, "answered")
        until = outcome.final_at or 0.0
        back = Hand(undo=task, undo_token=token, until=until, first=hand.mine, said=said)
        return self._to(visit, self._taken(reviews, visit, back))

    def _skip(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        form = visit.form
        reason = form.get("other", "").strip() or form.get("reason", "")
        act = reviews.escalate if form.get("act") == "escalate" else reviews.skip
        try:
            act(form.get("task", ""), visit.person.name, form.get("token", ""), reason)
        except (NotFound, Refused):
            return self._to(visit, self._taken(reviews, visit, Hand(said="lost")))
        except RolloutError as error:
            return self._wrong(visit, hand, str(error))
        said = "escalated" if form.get("act") == "escalate" else "skipped"
        return self._to(visit, self._taken(reviews, visit, Hand(said=said)))

    def _undo(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        form, who = visit.form, visit.person.name
        try:
            reviews.undo(form.get("task", ""), who, form.get("token", ""), UNDO)
        except RolloutError as error:
            return self._wrong(visit, replace(hand, undo="", undo_token="", until=0.0), str(error))
        if hand.task and hand.task != form.get("task"):
            self._give_back(reviews, visit, hand)
        return self._to(visit, Hand(form["task"], form["token"], mine=hand.first, said="undone"))

    def _stop(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        self._give_back(reviews, visit, hand)
        return self._to(visit, Hand(said="stopped"))

    def _renew(self, reviews: Reviews, visit: Visit, hand: Hand) -> Page | Goto:
        """Keep the case in hand; asked for by the page itself while somebody works on it."""
        if hand.task:
            with suppress(NotFound, Refused):
                reviews.renew(hand.task, visit.person.name, hand.token, self._lease)
        return Goto(self.path)

    # -- within ----------------------------------------------------------------------------------------

    def _taken(self, reviews: Reviews, visit: Visit, hand: Hand) -> Hand:
        """Return the hand with the next case in it, if there is one."""
        claim = reviews.claim(
            visit.person.name,
            roles=frozenset({self.role}),
            endpoints=visit.person.endpoints(self.role),
            lease=self._lease,
        )
        if claim is None:
            return replace(hand, task="", token="", mine=None)
        return replace(hand, task=claim.case.id, token=claim.token, mine=None)

    def _held(self, reviews: Reviews, visit: Visit, hand: Hand) -> Claim | None:
        try:
            return reviews.look(hand.task, visit.person.name, hand.token)
        except (NotFound, Refused):
            return None

    def _give_back(self, reviews: Reviews, visit: Visit, hand: Hand) -> None:
        if hand.task:
            with suppress(NotFound, Refused):
                reviews.release(hand.task, visit.person.name, hand.token)

    @staticmethod
    def _is_told_again(hand: Hand, task: str) -> bool:
        """Whether an answer came twice, as when somebody presses a key twice: the first one counted."""
        return hand.undo == task and bool(task)

    @staticmethod
    def _given(case: Case, form: Mapping[str, str]) -> Given:
        choice: Any = form.get("choice", "") if case.choices else answer_of(case.schema, form)
        seconds: float | None = None
        with suppress(ValueError):
            seconds = float(form.get("seconds", ""))
        return Given(choice, form.get("comment", "").strip(), seconds)

    def _to(self, visit: Visit, hand: Hand, error: str = "") -> Page | Goto:
        """Lead to the page with this in hand: at once, where only the part that changes was asked for."""
        if visit.part:
            return self._page(visit, hand, error)
        return Goto(self.path, {self._cookie: hand.cookie()})

    def _wrong(self, visit: Visit, hand: Hand, error: str) -> Page:
        return self._page(visit, hand, error, status=422)

    def _page(self, visit: Visit, hand: Hand, error: str = "", status: int = 200) -> Page:
        reviews = self._reviews()
        open_to = visit.person.may(self.role)
        claim = None
        if reviews is not None and open_to and hand.task:
            claim = self._held(reviews, visit, hand)
            if claim is None:
                hand = Hand(said="lost")
        now = self._clock()
        context: dict[str, Any] = {
            "here": self.path.strip("/"),
            "title": self.title,
            "path": self.path,
            "lease": self._lease,
            "automated": reviews is not None,
            "open_to": open_to,
            "claim": claim,
            "error": error,
            "said": SAID.get(hand.said, ""),
            "undo": hand if hand.undo and hand.until > now else None,
            "reasons": REASONS,
            "waiting": None if reviews is None or visit.part else self._waiting(reviews, visit),
            "adjudicates": self.role is Role.ADJUDICATOR,
        }
        if claim is not None:
            context |= self._case(claim, hand, visit.form if error else {})
        cookies = {self._cookie: hand.cookie()}
        return Page("review.html", context, "_work.html", status, cookies)

    def _case(self, claim: Claim, hand: Hand, form: Mapping[str, str]) -> dict[str, Any]:
        case = claim.case
        revealed = case.visibility is Visibility.AFTER_ANSWER and case.suggestion is not None
        mine = None if hand.mine is None else plain(hand.mine)
        says = None
        if case.suggestion is not None:
            said = case.suggestion
            says = said.choice if said.choice is not None else plain(said.output)
        return {
            "case": case,
            "choices": tuple(zip(case.choices, _keys(case.choices), strict=True)),
            "seen": seen(case.input),
            "revealed": revealed,
            "mine": mine,
            "says": says,
            "agrees": revealed and mine is not None and mine == says,
            "fields": () if case.choices else fields_of(case.schema, form),
            "two": tuple(plain(one) for one in claim.adjudicates),
            "comment": form.get("comment", ""),
        }

    def _waiting(self, reviews: Reviews, visit: Visit) -> int | None:
        """Return how many cases are open: counted by the queue as they come and go, so it costs nothing."""
        if not self.counts:
            return None
        return sum(reviews.open(endpoint) for endpoint in visit.opened().state.automation)


def _keys(choices: Sequence[str]) -> list[str]:
    """Return the key of each choice, 1 to 9 in order; choices that are digits have their own.

    >>> _keys(["benign", "malignant"]), _keys(["0", "7"])
    (['1', '2'], ['0', '7'])
    """
    if all(len(one) == 1 and one in "0123456789" for one in choices):
        return list(choices)
    return [str(index) if index < 10 else "" for index in range(1, len(choices) + 1)]  # noqa: PLR2004 - keys
