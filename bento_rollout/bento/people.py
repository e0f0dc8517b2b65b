"""`People`: one worker's side of asking people: cases go out, decisions come back, audits demote."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from ..admin.decisions import Deciding
from ..admin.reviews import Reviewing
from ..automating import Automation
from ..calls import Sink
from ..degrees import Degree
from ..errors import QueueFull, RolloutError, StoreUnreachable
from ..executor import DaemonPool
from ..feed import Feed
from ..gauged import Queued
from ..holding import Held
from ..labelling import Labelling
from ..ladder import Certificate
from ..mailing import Mailing
from ..operations import Rollout
from ..refuting import refutation
from ..reviewing import Case, Decision, Given, Suggestion
from ..standing import certificate_of, degree_of
from ..state import RolloutState
from ..store import RolloutStore
from ..store.feedback import Feedback
from ..store.hashing import KeyHash
from ..store.location import locate
from ..store.reviews import Keep, Reviews
from ..store.reviews_hiding import Hiding
from ..store.reviews_rows import Submission
from ..telemetry import log
from .audits import Audit, Audits, Make
from .farewell import at_the_end
from .making import Made, Making

__all__ = ["Make", "People"]

T = TypeVar("T")

AT_ONCE = 4
"""Cases that are written at a time; and calls that a model at degree shadow runs for at a time."""

EACH = 1.0
"""Seconds between two looks at what time and audits have done."""

MOST_BEHIND = 500
"""Calls that wait for the model at degree shadow; of more it is not asked."""

PATIENCE = 2.0
"""Seconds that a call waits for another process's lock on the reviews."""


class People:
    """Asks people in one worker, for all automated endpoints.

    Args:
        name: the rollout.
        automations: the settings, by endpoint.
        store, feed: the rollout's revisions, and what this worker serves by.
        sink: takes facts; None: nobody wants them.
        ledger: whether the service keeps a ledger, which is told what people decide.
        prefix: where the rollout's own addresses begin.

    Attributes:
        reviews: the cases.
        held: who waits for decisions.
        audits: what is submitted off the path of requests, in batches.
        unreachable: whether cases cannot be kept: what was tried last failed.
        makers: make answers, by endpoint.
        proofs: the headers beside Authorization that tell who calls, by endpoint.
        deciding: where callers find decisions.
        reviewing: what people review with.
    """

    def __init__(
        self,
        name: str,
        automations: Mapping[str, Automation],
        store: RolloutStore,
        feed: Feed,
        sink: Sink | None,
        *,
        ledger: bool = True,
        prefix: str = "/rollout/",
    ) -> None:
        place = store.place(name)
        self.reviews = Reviews(place, rollout=name, patience=PATIENCE)
        self.held = Held(self.reviews.decided, name, exists=self._exists)
        self.unreachable = False
        self.makers: dict[str, Making] = {}
        self.proofs: dict[str, tuple[str, ...]] = {}
        self.deciding = Deciding(self.reviews.decision, lambda endpoint: self.proofs.get(endpoint, ()))
        self.reviewing = Reviewing(
            self.reviews,
            self.make,
            {endpoint: one.review.lease for endpoint, one in automations.items()},
            {endpoint: one.roles for endpoint, one in automations.items()},
            lambda who: Rollout(name, store, locate(), who),
        )
        self._name, self._automations, self._store, self._feed = name, automations, store, feed
        self._sink, self._beside = sink, place
        self._pool = DaemonPool(AT_ONCE, "rollout-asking")
        self._once = log.Once()
        self._hashed: KeyHash | None = None
        names = {endpoint: one.review.label for endpoint, one in automations.items()}
        self._hiding = Hiding(place)
        self._mailing = Mailing(name, automations, place, prefix=prefix)
        self._labelling = Labelling(Feedback(place, names), name, ledger=ledger)
        self._watched: dict[tuple[str, str], Certificate] = {}
        self._demoted: dict[str, str] = {}
        self._behind: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Semaphore | None = None
        self._unhear: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        self.audits = Audits(self._audit, self._fail, self._stop)
        looks = (self._count, self._watch, self._tell_demoted, self._probe)
        settles = (self._settle, self._labelling.look, lambda: self._mailing.look(feed.commit))
        # What settles calls the user's own functions, and whatever they do a degree is taken away in time.
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"rollout-{thread}", daemon=True)
            for thread, each in (("people", looks), ("settling", settles))
        ]

    def start(self) -> None:
        """Begin to look at what time and audits do; called on the loop that serves."""
        self._demoted = self._demotions()
        self._mailing.start()
        self._unhear = at_the_end(asyncio.get_running_loop(), self.held.close)
        for thread in self._threads:
            thread.start()

    def unhear(self) -> None:
        """Hear no more of the worker's end, which has come; called on the loop."""
        self._unhear()

    def close(self, timeout: float) -> None:
        """End; calls that are held are not any more, and their cases stay. Not on the loop."""
        self._stop.set()
        self.held.close()
        self.audits.channel.close(timeout)
        self._pool.close()
        self._labelling.close()
        self._mailing.close(timeout)
        self._hiding.close()
        self.reviews.close()

    # -- what calls ask --------------------------------------------------------------------------------

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in one of a few threads that hold nobody's exit."""
        return await asyncio.wrap_future(self._pool.submit(work))

    async def ask(self, make: Make, most: int | None, key: str | None) -> str:
        """Keep a case for people, and return its id.

        Args:
            make: makes the case; called in a thread.
            most: how many of the endpoint may be open; None: any number.
            key: the routing key, by whose hash the case can be forgotten.

        Raises:
            QueueFull: so many are open; nothing was kept.
            StoreUnreachable: it cannot be kept.
        """
        if self.unreachable:  # nobody waits for a lock that others wait for in vain; each second it is tried
            raise StoreUnreachable(f"the reviews in {self.reviews.where} cannot be used")
        return await self.run(lambda: self.submit(make(), most, key))

    def submit(self, case: Case, most: int | None, key: str | None) -> str:
        """Keep a case, as `ask` does, in this thread."""
        submission = self._submission(case, most, key)
        try:
            self.reviews.submit(case, most=most, keep=submission.keep, key_hash=submission.key_hash)
        except QueueFull:
            raise
        except Exception as error:
            self._fail(error)
            raise
        self._works()
        return case.id

    def audit(self, make: Make, most: int, key: str | None, weight: int) -> None:
        """Let people look at what the model decided; at once, off the request's path, or counted as lost.

        Args:
            make, most, key: as `ask` takes them.
            weight: about how many bytes wait with it.
        """
        self.audits.offer(Audit(make, most, key), weight)

    def _audit(self, made: Sequence[tuple[Case, Audit]]) -> int:
        """Keep audits in one transaction, and return how many could not be: too many are open."""
        asked = [self._submission(case, audit.most, audit.key) for case, audit in made]
        try:
            kept = self.reviews.submit_many(asked)
        except Exception as error:
            self._fail(error)
            raise
        self._works()
        lost = [one for one in kept if isinstance(one, RolloutError)]
        for one in lost:
            if not isinstance(one, QueueFull):
                self._fail(one)
        return len(lost)

    def _submission(self, case: Case, most: int | None, key: str | None) -> Submission:
        automation = self._automations[case.endpoint]
        review = automation.review
        keep = Keep(inputs=review.keep, decisions=automation.decisions.keep, sealed=review.inputs == "sealed")
        return Submission(case, most, keep, self._hash(key))

    def suggest(self, task: str, suggestion: Suggestion) -> None:
        """Keep what the model says of a case; called in a thread, never raises."""
        try:
            self.reviews.suggest(task, suggestion)
        except Exception as error:  # noqa: BLE001 - the person decides without it
            self._fail(error)

    def behind(self, work: Callable[[], Coroutine[Any, Any, None]], dropped: Callable[[], object]) -> None:
        """Run a model for which no caller waits, a few calls at a time.

        Args:
            work: starts the run, when it is its turn.
            dropped: called instead, when too many wait.
        """
        if len(self._behind) >= MOST_BEHIND:
            self._once.say(
                "behind",
                "reviews.not_suggested",
                "warning",
                rollout=self._name,
                waiting=len(self._behind),
                hint="the model at degree shadow does not keep up; the cases have no suggestion; it is not "
                "logged again until it does",
            )
            dropped()
            return
        task = asyncio.ensure_future(self._in_turn(work))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._turn is None:  # late: it belongs to the loop that serves
            self._turn = asyncio.Semaphore(AT_ONCE)
        async with self._turn:
            await work()
        if len(self._behind) <= 1:
            self._once.over("behind")

    # -- what people and doors ask ----------------------------------------------------------------------

    def make(self, case: Case, given: Given) -> Made:
        """Return what the caller of a case gets for an answer, as `Reviews.answer` asks for it."""
        return self.makers[case.endpoint].make(case, given)

    def _exists(self, task: str) -> bool:
        return self.reviews.decision(task) is not None

    async def decision(self, task: str) -> Decision | None:
        """Return where a case stands; None: it is not known, or cannot be read; never raises."""
        try:
            return await self.run(lambda: self.reviews.decision(task))
        except Exception as error:  # noqa: BLE001 - who asks hears what the server itself knows
            self._fail(error)
            return None

    # -- each second -----------------------------------------------------------------------------------

    def _run(self, looks: Sequence[Callable[[], None]]) -> None:
        while not self._stop.wait(EACH):
            for look in looks:
                try:
                    look()
                except Exception as error:  # noqa: BLE001 - this thread outlives whatever goes wrong once
                    self._fail(error)

    def _count(self) -> None:
        if self._sink is not None:
            for endpoint in self._automations:
                self._sink.offer(Queued(self._name, endpoint, *self.reviews.queued(endpoint)))

    def _settle(self) -> None:
        self.reviews.settle(time.time(), lambda case: self.makers[case.endpoint].settle(case))

    def _watch(self) -> None:
        """Watch each model that decides, and take its degree away when its audits say so.

        A candidate with a certificate decides its part of the traffic, too, whoever is champion.
        """
        self._feed.table()
        state = self._feed.commit.state
        for endpoint in self._automations:
            self._hiding.look(endpoint, blind=degree_of(state, endpoint).blind)
            for digest in sorted({digest for digest in state.granted.values() if digest}):
                if degree_of(state, endpoint, digest) >= Degree.PARTIAL:
                    self._watch_one(state, endpoint, digest)

    def _watch_one(self, state: RolloutState, endpoint: str, digest: str) -> None:
        certificate = certificate_of(state, endpoint, digest)
        if certificate is not None and self._watched.get((endpoint, digest)) != certificate:
            alpha = 1 - certificate.confidence
            self.reviews.watch(endpoint, digest, certificate.targets, alpha=alpha)
            self._watched[endpoint, digest] = certificate
        if self.reviews.alarmed(endpoint, digest):
            why = self._refutation(endpoint, digest, certificate)
            if why is not None:
                self._demote(endpoint, digest, why)

    def _refutation(self, endpoint: str, digest: str, certificate: Certificate | None) -> str | None:
        """Return what an alarm is about; None: a certificate that holds no more."""
        if certificate is None:
            return "audits show that the model is wrong more often than was certified"
        return refutation(self.reviews.judged(endpoint, digest), certificate)

    def _demote(self, endpoint: str, digest: str, why: str) -> None:
        try:
            rollout = Rollout(self._name, self._store, locate(), "automation")
            rollout.demote(endpoint, Degree.SHADOW, why, digest=digest)
        except RolloutError as error:
            facts = {"rollout": self._name, "endpoint": endpoint, "problem": str(error)}
            self._once.say(
                f"demote {endpoint}",
                "automation.not_demoted",
                "error",
                **facts,
                hint="it is tried again each second; until then the model goes on to decide",
            )
            return
        self._once.over(f"demote {endpoint}")
        self._feed.table()

    def _demotions(self) -> dict[str, str]:
        return {name: one.demoted for name, one in self._feed.commit.state.automation.items()}

    def _tell_demoted(self) -> None:
        """Say in each worker that a degree was taken away."""
        now, before = self._demotions(), self._demoted
        self._demoted = now
        for endpoint, why in now.items():
            if why and not before.get(endpoint):
                state = self._feed.commit.state
                log.event(
                    "automation.demoted",
                    "error",
                    rollout=self._name,
                    endpoint=endpoint,
                    degree=degree_of(state, endpoint).word,
                    champion=state.champion,
                    revision=state.revision,
                    reason=why,
                )

    def _probe(self) -> None:
        """Find out whether cases can be kept again."""
        if self.unreachable:
            self.reviews.note("automation", "reachable")
            self._works()

    # -- its state -------------------------------------------------------------------------------------

    def _works(self) -> None:
        if self.unreachable:
            self.unreachable = False
            if self._once.over("unreachable"):
                log.event("reviews.reachable", rollout=self._name)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, (StoreUnreachable, OSError)):
            self.unreachable = True
            self._once.say(
                "unreachable",
                "reviews.unreachable",
                "error",
                rollout=self._name,
                problem=str(error),
                hint="calls that a person must decide are refused until it is over",
            )
            return
        kind = type(error).__name__  # and not its text: that may hold what was asked
        where = log.place_of(error)
        self._once.say(kind, "reviews.failed", "error", rollout=self._name, error=kind, where=where)

    def _hash(self, key: str | None) -> str | None:
        if key is None:
            return None
        if self._hashed is None:
            try:
                self._hashed = KeyHash.of_place(self._beside, create=True)
            except (RolloutError, OSError):  # the case is kept; `forget` finds it by its prediction
                return None
        return None if self._hashed is None else self._hashed.of(key)
