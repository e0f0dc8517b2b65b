"""The people's queue against a plain model of it: any order of acts of several people, and of the clock."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from bento_rollout.errors import Refused
from bento_rollout.reviewing import Case, Claim, Status
from bento_rollout.store.place import Place
from tests.reviewed import Queue

PEOPLE = ("ann", "bob", "cem")
LEASE = 60.0


@dataclass
class Task:
    """What a plain model knows of a case."""

    case: Case
    turn: tuple[float, int, int]
    status: Status = Status.OPEN
    by: str = ""
    stage: str = "review"
    escalated: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    held: dict[str, float] = field(default_factory=dict)
    adjudicating: set[str] = field(default_factory=set)
    choice: str | None = None

    def room(self, who: str, up: bool, now: float) -> bool:
        """Whether somebody may take it."""
        if self.status is not Status.OPEN or self.stage != ("adjudicate" if up else "review"):
            return False
        if who in self.answers or who in self.gone or self.held.get(who, 0.0) > now:
            return False
        busy = [p for p, until in self.held.items() if until > now and (p in self.adjudicating) is up]
        done = 0 if up else len(self.answers)
        return len(busy) + done < (1 if up else self.case.reviewers)


class QueueMachine(RuleBasedStateMachine):
    """Submits, takes, answers, skips, gives back, hands up, and lets time pass."""

    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        """Begin with an empty queue."""
        self.folder = Path(tempfile.mkdtemp())
        self.queue = Queue(self.place())
        self.tasks: dict[str, Task] = {}

    def place(self) -> Place:
        """Return where the queue is."""
        return self.folder / "screening"

    def teardown(self) -> None:
        """Leave nothing; the trail is whole whatever happened."""
        if hasattr(self, "queue"):
            assert self.queue.reviews.trail.verify().whole
            self.queue.reviews.close()
            shutil.rmtree(self.folder)

    @rule(
        due=st.none() | st.integers(0, 300),
        priority=st.integers(0, 2),
        reviewers=st.integers(1, 2),
        adjudicate=st.booleans(),
    )
    def submit(self, due: int | None, priority: int, reviewers: int, adjudicate: bool) -> None:
        """Ask about a case."""
        at = None if due is None else self.queue.clock.now + due
        one = self.queue.submit(
            due=at,
            priority=priority,
            reviewers=reviewers,
            adjudicate=adjudicate,
            on_timeout="default",
            default="no",
        )
        turn = (1e18 if at is None else at, -priority, len(self.tasks))
        self.tasks[one.id] = Task(one, turn)

    @rule(target=claims, who=st.sampled_from(PEOPLE), up=st.sampled_from([False, False, True]))
    def claim(self, who: str, up: bool) -> object:
        """Whoever asks gets the first case that is theirs to take."""
        now = self.queue.clock.now
        found = self.queue.claim(who, up=up, lease=LEASE)
        free = [task for task in self.tasks.values() if task.room(who, up, now)]
        expected = min(free, key=lambda task: task.turn, default=None)
        assert (found and found.case.id) == (expected and expected.case.id)
        if found is None or expected is None:
            return multiple()
        for other in [p for p, until in expected.held.items() if until <= now]:
            if (other in expected.adjudicating) is up:
                del expected.held[other]
        expected.held[who] = now + LEASE
        (expected.adjudicating.add if up else expected.adjudicating.discard)(who)
        assert sorted(found.adjudicates) == (
            sorted(expected.answers.values()) if up and not expected.escalated else []
        )
        return found

    @rule(claim=claims, choice=st.sampled_from(["yes", "no"]))
    def answer(self, claim: Claim, choice: str) -> None:
        """An answer counts while the case is in hand, and once."""
        task, who = self.tasks[claim.case.id], claim.reviewer
        current = self._current(claim)
        try:
            outcome = self.queue.answer(claim, choice)
        except Refused:
            assert not current or task.status is not Status.OPEN or who not in task.held
            return
        if who in task.answers:  # told twice
            return
        assert who in task.held
        assert task.status is Status.OPEN
        del task.held[who]
        task.answers[who] = choice
        self._follow(task, who, choice)
        done = task.status is not Status.OPEN
        disagree = task.stage == "adjudicate" and not task.escalated
        assert outcome.status == ("done" if done else "disagree" if disagree else "kept")

    def _current(self, claim: Claim) -> bool:
        try:
            self.queue.reviews.look(claim.case.id, claim.reviewer, claim.token)
        except Refused:
            return claim.reviewer in self.tasks[claim.case.id].answers
        return True

    def _follow(self, task: Task, who: str, choice: str) -> None:
        if who in task.adjudicating:
            self._end(task, "human", choice)
        elif task.stage == "review" and len(task.answers) == task.case.reviewers:
            first = next(iter(task.answers.values()))
            if len(set(task.answers.values())) == 1 or not task.case.adjudicate:
                self._end(task, "human", first)
            else:
                task.stage = "adjudicate"

    def _end(self, task: Task, by: str, choice: str) -> None:
        task.by, task.choice = by, choice
        task.status = Status.ANSWERED if by == "human" else Status.DEFAULTED

    @rule(claim=consumes(claims), how=st.sampled_from(["skip", "release", "escalate"]))
    def put_down(self, claim: Claim, how: str) -> None:
        """Leave it to others, give it back, or hand it up."""
        task, who, reviews = self.tasks[claim.case.id], claim.reviewer, self.queue.reviews
        given = claim.case.id, who, claim.token
        current = self._current(claim) and who in task.held and task.status is Status.OPEN
        try:
            if how == "release":
                reviews.release(*given)
            else:
                (reviews.skip if how == "skip" else reviews.escalate)(*given, "why")
        except Refused:
            assert not current
            return
        assert current
        del task.held[who]
        if how != "release":
            task.gone.add(who)
        if how == "escalate":
            task.stage, task.escalated = "adjudicate", True
            task.turn = (task.turn[0], -1000, task.turn[2])

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 200.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and does what it does."""
        self.queue.clock.now += seconds
        now, ended = self.queue.clock.now, 0
        for task in self.tasks.values():
            if task.status is Status.OPEN and task.case.due is not None and task.case.due <= now:
                ended += 1
                people = task.answers if task.stage == "review" else {}
                first = next(iter(people.values()), None)
                self._end(task, "default" if first is None else "human", first or "no")
        assert self.queue.settle() == ended

    @invariant()
    def stand_alike(self) -> None:
        """Each case stands where the model says."""
        if not getattr(self, "tasks", None):
            return
        decided = self.queue.reviews.decided(list(self.tasks))
        ended = {name: task for name, task in self.tasks.items() if task.status is not Status.OPEN}
        assert {name: (one.status, one.decided_by, one.choice) for name, one in decided.items()} == {
            name: (task.status, task.by, task.choice) for name, task in ended.items()
        }
        assert self.queue.reviews.open("read") == len(self.tasks) - len(ended)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
