"""`Reviews`: the cases of one rollout that people are asked about, from the call to the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ..errors import InvalidValue, QueueFull
from ..reviewing import Case, Claim, Decision, Given, Role, Shown, Suggestion
from . import reviews_answering as answering
from . import reviews_audits as auditing
from . import reviews_claiming as claiming
from . import reviews_settling as settling
from . import reviews_submitting as submitting
from . import trail as chain
from .place import Place
from .reviews_claiming import Hand
from .reviews_file import ReviewsFile
from .reviews_reader import ReviewsReader
from .reviews_rows import Judged, Keep, Listed, Make, Outcome, Rating, Settle, Stats, Submission
from .seal import Seal, Seals

__all__ = ["Judged", "Keep", "Listed", "Make", "Outcome", "QueueFull", "Rating", "Reviews", "Settle", "Stats"]

_KEEP = Keep()


class Reviews(ReviewsReader):
    """Keeps who is asked what, and what they answered; each operation is whole, or nothing happened.

    Used from any number of threads and processes. A person has a case in hand by a lease and a token; nobody
    answers one twice. Every act stands in the trail, written in the transaction of the act.

    Args:
        place: of the rollout (`store.place`); in a folder the first case makes the file.
        rollout: the rollout's name.
        clock: seconds since 1970.
        seal: seals and opens inputs; None: the store's key, made when the first one is sealed.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: every operation: the file is locked, full, read-only, or of a newer schema.
        StoreCorrupt: it is damaged.
    """

    def __init__(
        self,
        place: Place,
        *,
        rollout: str,
        clock: Callable[[], float] = time.time,
        seal: Seal | None = None,
        patience: float = 5.0,
    ) -> None:
        super().__init__(ReviewsFile(place, patience=patience), clock)
        self._seals = Seals(place, seal)
        self.rollout = rollout

    def note(self, who: str, what: str, /, **facts: object) -> None:
        """Add an act to the trail that is not the queue's own, like a degree that was set.

        Args:
            who: the person, or ``automation``.
            what: the act, in one word.
            facts: more of it: plain data without payload.
        """
        with self._file.writing() as db:
            chain.append(db, self._clock(), who, what, "", **facts)

    def submit(
        self, case: Case, *, most: int | None = None, keep: Keep = _KEEP, key_hash: str | None = None
    ) -> Decision:
        """Ask people about a case. One that is there already stays as it is.

        Args:
            case: what is asked.
            most: how many cases of this endpoint may be open, those that nobody waits for included.
            keep: how long what belongs to it is kept, and whether its input is sealed.
            key_hash: the hash of its routing key (`KeyHash`), by which `forget` finds it.

        Raises:
            QueueFull, InvalidValue: so many are open; it is none that can be kept. Nothing was.
        """
        (found,) = self.submit_many([Submission(case, most, keep, key_hash)])
        if isinstance(found, Decision):
            return found
        raise found

    def submit_many(self, asked: Sequence[Submission]) -> list[Decision | QueueFull | InvalidValue]:
        """Ask people about many cases in one transaction; return what `submit` returns, or raises, of each.

        One that cannot be kept leaves the others as they are.
        """
        with self._file.writing() as db:
            return submitting.insert_each(db, asked, self._clock(), seal=self._seals.making)

    def suggest(self, task_id: str, suggestion: Suggestion, *, input: Shown | None = None) -> bool:  # noqa: A002
        """Keep what the model says of a case, once: a second one changes nothing, nor does one of no case.

        Args:
            task_id: the case.
            suggestion: what the model says.
            input: what reviewers are shown instead of what was submitted, while the case is open.

        Returns:
            Whether it was kept.
        """
        with self._file.writing(durable=False) as db:
            task = submitting.task_of(db, task_id)
            if task is None:
                return False
            return submitting.keep_suggestion(
                db, task, suggestion, self._clock(), shown=input, seal=self._seals.making
            )

    def withdraw(self, ids: Collection[str], *, who: str = submitting.AUTOMATION, why: str = "") -> int:
        """End open cases without a decision, and return how many there were."""
        if not ids or not self._file.exists():
            return 0
        with self._file.writing() as db:
            return submitting.withdraw(db, ids, self._clock(), who=who, why=why)

    def claim(
        self,
        reviewer: str,
        *,
        roles: frozenset[Role],
        endpoints: Sequence[str] | None = None,
        lease: float = 600.0,
    ) -> Claim | None:
        """Take the next case: first what is due, then by priority, then the oldest; None: nothing waits.

        Nobody gets a case that they answered, skipped, handed up or have in hand. Where two answers differ,
        an adjudicator gets it who gave neither of them. Its suggestion is there only where it is shown.

        Args:
            reviewer: who.
            roles: what they may do.
            endpoints: of which endpoints; None: of all.
            lease: seconds until somebody else may have it, unless it is renewed.

        Raises:
            InvalidValue: a name or a lease that is none.
        """
        reviewer, lease = claiming.checked_name(reviewer), claiming.checked_lease(lease)
        if not self._file.exists():
            return None
        opens = self._seals.there
        with self._file.writing(durable=False) as db:
            return claiming.take(
                db, reviewer, self._clock(), roles=roles, endpoints=endpoints, lease=lease, seal=opens
            )

    def look(self, task: str, reviewer: str, token: str) -> Claim:
        """Return a case that is in somebody's hands once more, as they may see it now.

        Raises:
            NotFound, Refused: there is no such case; it is not in this person's hands under this token.
        """
        with self._file.reading() as db:
            return claiming.look(db, Hand(task, reviewer, token), self._seals.there)

    def renew(self, task: str, reviewer: str, token: str, lease: float = 600.0) -> float:
        """Make a lease begin anew, and return when it ends, in seconds since 1970.

        Raises:
            NotFound, Refused, InvalidValue: as `look`; a lease that is none.
        """
        lease = claiming.checked_lease(lease)
        with self._file.writing(durable=False) as db:
            return claiming.renew(db, Hand(task, reviewer, token), lease, self._clock())

    def answer(
        self,
        task: str,
        reviewer: str,
        token: str,
        given: Given,
        *,
        make: Make,
        final: bool = True,
        undo: float = 0.0,
    ) -> Outcome:
        """Keep an answer. Told again by the same person under the same token, it is kept once.

        Where the suggestion is shown after the answer, the first one is kept and reveals it; a second one,
        revised or the same, ends this person's part. A door that repeats a call which may have been lost says
        ``final=False`` for the first one: it is never taken for the second then. If nobody comes back until
        the lease ends, the first one stands.

        Args:
            task, reviewer, token: as in the claim. A lease that has ended matters only once somebody else
                has taken the case.
            given: the answer.
            make: makes what the caller gets; what it raises goes on, and nothing is kept.
            final: whether this ends the part even when an answer was revealed before.
            undo: seconds within which `undo` takes it back; until then nothing follows from it.

        Raises:
            NotFound, Refused, InvalidValue: as `look`; an answer that is none of the choices.
        """
        with self._file.reading() as db:
            found = answering.asked(db, Hand(task, reviewer, token), self._seals.there, final=final)
        if isinstance(found, Outcome):
            return found
        made = make(found, answering.checked(found, given))
        with self._file.writing() as db:
            return answering.keep_answer(
                db, Hand(task, reviewer, token), given, made, self._clock(), final=final, undo=max(undo, 0.0)
            )

    def undo(self, task: str, reviewer: str, token: str, within: float = 10.0) -> Claim:
        """Take an answer back that was given with a time for it, and return the case, in hand again.

        Args:
            task, reviewer, token: as in the claim.
            within: at most so many seconds after the answer, and never after the time that it was given.

        Raises:
            NotFound, Refused: there is no such case; it is too late.
        """
        with self._file.writing() as db:
            now = self._clock()
            return answering.take_back(
                db, Hand(task, reviewer, token), now, within=within, seal=self._seals.there
            )

    def skip(self, task: str, reviewer: str, token: str, reason: str) -> None:
        """Leave a case to others; this person is not offered it again.

        Raises:
            NotFound, Refused, InvalidValue: as `look`; no reason.
        """
        with self._file.writing() as db:
            claiming.skip(db, Hand(task, reviewer, token), reason, self._clock())

    def release(self, task: str, reviewer: str, token: str) -> None:
        """Give a case back as if it had never been taken.

        Raises:
            NotFound, Refused: as `look`.
        """
        with self._file.writing(durable=False) as db:
            claiming.release(db, Hand(task, reviewer, token), self._clock())

    def escalate(self, task: str, reviewer: str, token: str, reason: str) -> None:
        """Hand a case up: an adjudicator decides it alone, before others that are equally due.

        Raises:
            NotFound, Refused, InvalidValue: as `look`; no reason.
        """
        with self._file.writing() as db:
            claiming.escalate(db, Hand(task, reviewer, token), reason, self._clock())

    def settle(self, now: float, make: Settle) -> int:
        """Do what is due, exactly once however many processes try, and delete what was kept long enough.

        Answers that may not be taken back any more become final, and so do first ones whose lease has ended.
        A held case past its due time is decided by the answer that is there, if two were asked for and one
        has come; else by its ``on_timeout``. A case of which nobody waits for the answer has no timeout.

        Args:
            now: seconds since 1970.
            make: makes what the caller gets where ``on_timeout`` is ``model`` or ``default``; when it raises,
                or the model has said nothing, the case stays open and is tried again after a minute.

        Returns:
            How many cases it ended.
        """
        if not self._file.exists():
            return 0
        ended = settling.settle(self._file, now, make, self._seals.there)
        return ended + settling.expire(self._file, now)

    def forget(
        self,
        predictions: Collection[str] = (),
        *,
        key_hash: str | None = None,
        who: str = submitting.AUTOMATION,
        why: str = "",
    ) -> int:
        """Delete all cases of some predictions or of a routing key: no byte of them is left; the trail stays.

        Args:
            predictions: their ids.
            key_hash: the hash of the key that the cases were submitted with.
            who, why: for the trail.

        Returns:
            How many cases there were.
        """
        if not self._file.exists():
            return 0
        return settling.forget(self._file, predictions, key_hash, self._clock(), who, why)

    def watch(
        self, endpoint: str, digest: str, target_error: float | Mapping[str, float], *, alpha: float = 0.05
    ) -> bool:
        """Begin the tests that watch a model; the audits that are there already count.

        Args:
            endpoint, digest: which model.
            target_error: what was certified; or by class, which is the model's choice.
            alpha: the chance that any of its tests ever alarms without cause.

        Returns:
            Whether anything changed: tests with the same targets go on.

        Raises:
            InvalidValue: a target that is none.
        """
        targets = target_error if isinstance(target_error, Mapping) else {auditing.ALL: target_error}
        if auditing.same(self.audits(endpoint, digest), targets, alpha):
            return False
        with self._file.writing() as db:
            return auditing.watch(db, endpoint, digest, targets, alpha=alpha, now=self._clock())
