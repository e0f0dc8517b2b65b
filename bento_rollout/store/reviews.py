"""`Reviews`: the cases of one rollout that people are asked about, from the call to the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ..automation import AuditTest
from ..errors import QueueFull, StoreUnreachable
from ..reviewing import Case, Claim, Decision, Given, Role, Shown, Status, Suggestion
from . import reviews_answering, reviews_audits, reviews_claiming, reviews_reading, reviews_settling
from . import reviews_submitting as submitting
from . import trail as chain
from .reviews_file import ReviewsFile
from .reviews_rows import Judged, Keep, Listed, Make, Outcome, Rating, Settle, Stats, decision_of
from .seal import Seal

__all__ = [
    "Judged",
    "Keep",
    "Listed",
    "Make",
    "Outcome",
    "QueueFull",
    "Rating",
    "Reviews",
    "Settle",
    "Stats",
]

_KEEP = Keep()


class Reviews:
    """Keeps who is asked what, and what they answered; each operation is whole, or nothing happened.

    Used from any number of threads and processes. A person has a case in hand by a lease and a token; nobody
    answers one twice. Every act stands in the trail, written in the transaction of the act.

    Args:
        place: the folder of the rollout's shared files (`SQLiteStore.place`); the first case makes the file.
        rollout: the rollout's name.
        clock: seconds since 1970.
        seal: seals and opens inputs; None: the key beside the store, made when the first one is sealed.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: every operation: the file is locked, full, read-only, or of a newer schema.
        StoreCorrupt: it is damaged.
    """

    def __init__(
        self,
        place: Path,
        *,
        rollout: str,
        clock: Callable[[], float] = time.time,
        seal: Seal | None = None,
        patience: float = 5.0,
    ) -> None:
        self._file = ReviewsFile(place, patience=patience)
        self._clock, self._known_seal = clock, seal
        self.rollout = rollout

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return self._file.path

    @property
    def trail(self) -> chain.Trail:
        """Who did what: reads it and verifies it."""
        return chain.Trail(self._file)

    def note(self, who: str, what: str, /, **facts: object) -> None:
        """Add an act to the trail that is not the queue's own, like a degree that was set.

        Args:
            who: the person, or ``automation``.
            what: the act, in one word.
            facts: more of it: plain data without payload.
        """
        with self._file.writing() as db:
            chain.append(db, self._clock(), who, what, "", **facts)

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        self._file.close()

    # -- those who ask ---------------------------------------------------------------------------------

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
            QueueFull: so many are open; nothing was kept.
            InvalidValue: it is none that can be kept.
        """
        with self._file.writing() as db:
            return submitting.insert(
                db, case, self._clock(), most=most, keep=keep, key_hash=key_hash, seal=self._sealing
            )

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
                db, task, suggestion, self._clock(), shown=input, seal=self._sealing
            )

    def decision(self, task_id: str) -> Decision | None:
        """Return where a case stands; None: there is none, or its decision has expired."""
        return self._decisions((task_id,), ended=False).get(task_id)

    def decided(self, ids: Collection[str]) -> dict[str, Decision]:
        """Return the decisions of those cases that have one, by id: cheap, for whoever holds calls."""
        return self._decisions(ids, ended=True)

    def withdraw(self, ids: Collection[str], *, who: str = submitting.AUTOMATION, why: str = "") -> int:
        """End open cases without a decision, and return how many there were."""
        if not ids or not self._file.exists():
            return 0
        with self._file.writing() as db:
            return submitting.withdraw(db, ids, self._clock(), who=who, why=why)

    def open(self, endpoint: str) -> int:
        """Return how many cases of an endpoint are open."""
        if not self._file.exists():
            return 0
        with self._file.reading() as db:
            return submitting.opened(db, endpoint)

    # -- those who answer ------------------------------------------------------------------------------

    def claim(
        self,
        reviewer: str,
        *,
        roles: frozenset[Role],
        endpoints: Sequence[str] | None = None,
        lease: float = 600.0,
    ) -> Claim | None:
        """Take the next case: first what is due, then by priority, then the oldest.

        Nobody gets a case that they answered, skipped, handed up or have in hand. Where two answers differ,
        an adjudicator gets it who gave neither of them. Its suggestion is there only where it is shown.

        Args:
            reviewer: who.
            roles: what they may do.
            endpoints: of which endpoints; None: of all.
            lease: seconds until somebody else may have it, unless it is renewed.

        Returns:
            None: nothing waits for this person.

        Raises:
            InvalidValue: a name or a lease that is none.
        """
        reviewer, lease = reviews_claiming.checked_name(reviewer), reviews_claiming.checked_lease(lease)
        if not self._file.exists():
            return None
        with self._file.writing(durable=False) as db:
            return reviews_claiming.take(
                db, reviewer, self._clock(), roles=roles, endpoints=endpoints, lease=lease, seal=self._opening
            )

    def look(self, task: str, reviewer: str, token: str) -> Claim:
        """Return a case that is in somebody's hands once more, as they may see it now.

        Raises:
            NotFound: there is no such case.
            Refused: it is not in this person's hands under this token (any more).
        """
        with self._file.reading() as db:
            return reviews_claiming.look(db, task, reviewer, token, self._opening)

    def renew(self, task: str, reviewer: str, token: str, lease: float = 600.0) -> float:
        """Make a lease begin anew, and return when it ends, in seconds since 1970.

        Raises:
            NotFound, Refused: as `look`.
            InvalidValue: a lease that is none.
        """
        lease = reviews_claiming.checked_lease(lease)
        with self._file.writing(durable=False) as db:
            return reviews_claiming.renew(db, task, reviewer, token, lease, self._clock())

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

        Where the suggestion is shown after the answer (``after_answer``), the first answer is kept and reveals
        it; a second one, revised or the same, ends this person's part. A door that repeats a call which may
        have been lost says ``final=False`` for the first one: it can then never be taken for the second. If
        nobody comes back until the lease ends, the first one stands.

        Args:
            task, reviewer, token: as in the claim. A lease that has ended matters only once somebody else
                has taken the case.
            given: the answer.
            make: makes what the caller gets; what it raises goes on, and nothing is kept.
            final: whether this ends the part even when an answer was revealed before.
            undo: seconds within which `undo` takes it back; until then nothing follows from it.

        Raises:
            NotFound, Refused: as `look`.
            InvalidValue: an answer that is none of the choices.
        """
        with self._file.reading() as db:
            found = reviews_answering.asked(db, task, reviewer, token, self._opening, final=final)
        if isinstance(found, Outcome):
            return found
        made = make(found, reviews_answering.checked(found, given))
        with self._file.writing() as db:
            return reviews_answering.keep_answer(
                db, task, reviewer, token, given, made, self._clock(), final=final, undo=max(undo, 0.0)
            )

    def undo(self, task: str, reviewer: str, token: str, within: float = 10.0) -> Claim:
        """Take an answer back that was given with a time for it, and return the case, in hand again.

        Args:
            task, reviewer, token: as in the claim.
            within: at most so many seconds after the answer, and never after the time that it was given.

        Raises:
            NotFound: there is no such case.
            Refused: it is too late.
        """
        with self._file.writing() as db:
            now = self._clock()
            return reviews_answering.take_back(
                db, task, reviewer, token, now, within=within, seal=self._opening
            )

    def skip(self, task: str, reviewer: str, token: str, reason: str) -> None:
        """Leave a case to others; this person is not offered it again.

        Raises:
            NotFound, Refused: as `look`.
            InvalidValue: no reason.
        """
        with self._file.writing() as db:
            reviews_claiming.skip(db, task, reviewer, token, reason, self._clock())

    def release(self, task: str, reviewer: str, token: str) -> None:
        """Give a case back as if it had never been taken.

        Raises:
            NotFound, Refused: as `look`.
        """
        with self._file.writing(durable=False) as db:
            reviews_claiming.release(db, task, reviewer, token, self._clock())

    def escalate(self, task: str, reviewer: str, token: str, reason: str) -> None:
        """Hand a case up: an adjudicator decides it alone, before others that are equally due.

        Raises:
            NotFound, Refused: as `look`.
            InvalidValue: no reason.
        """
        with self._file.writing() as db:
            reviews_claiming.escalate(db, task, reviewer, token, reason, self._clock())

    # -- what time does --------------------------------------------------------------------------------

    def settle(self, now: float, make: Settle) -> int:
        """Do what is due, exactly once however many processes try, and delete what was kept long enough.

        Answers that may not be taken back any more become final, and so do first ones whose lease has ended.
        A held case past its due time is decided by the answer that is there, if two were asked for and one
        has come; else by its ``on_timeout``. A case of which nobody waits for the answer has no timeout.

        Args:
            now: seconds since 1970.
            make: makes what the caller of a case gets whose ``on_timeout`` is ``model`` or ``default``; when it
                raises, or the model has said nothing, the case stays open and is tried again after a minute.

        Returns:
            How many cases it ended.
        """
        if not self._file.exists():
            return 0
        ended = reviews_settling.settle(self._file, now, make, self._opening)
        return ended + reviews_settling.expire(self._file, now)

    def forget(
        self,
        predictions: Collection[str] = (),
        *,
        key_hash: str | None = None,
        who: str = submitting.AUTOMATION,
        why: str = "",
    ) -> int:
        """Delete all cases of some predictions or of a routing key; no byte of them is left, but the trail stays.

        Args:
            predictions: their ids.
            key_hash: the hash of the key that the cases were submitted with.
            who, why: for the trail.

        Returns:
            How many cases there were.
        """
        if not self._file.exists():
            return 0
        return reviews_settling.forget(self._file, predictions, key_hash, self._clock(), who, why)

    # -- the model -------------------------------------------------------------------------------------

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
        targets = target_error if isinstance(target_error, Mapping) else {reviews_audits.ALL: target_error}
        if self._file.exists():
            with self._file.reading() as db:
                old = reviews_audits.tests_of(db, endpoint, digest)
            if reviews_audits.same(old, targets, alpha):
                return False
        with self._file.writing() as db:
            return reviews_audits.watch(db, endpoint, digest, targets, alpha=alpha, now=self._clock())

    def audits(self, endpoint: str, digest: str) -> dict[str, AuditTest]:
        """Return the tests that watch a model, by class; the class ``""`` is all."""
        if not self._file.exists():
            return {}
        with self._file.reading() as db:
            return reviews_audits.tests_of(db, endpoint, digest)

    def alarmed(self, endpoint: str, digest: str) -> bool:
        """Whether the audits have shown that a model is wrong more often than was certified."""
        return any(test.alarm for test in self.audits(endpoint, digest).values())

    def judged(self, endpoint: str, digest: str | None = None) -> Iterable[Judged]:
        """Return the cases that people decided and the model has an answer to, the oldest first.

        Args:
            endpoint: of which endpoint.
            digest: of which model; None: of any.
        """
        if not self._file.exists():
            return ()
        with self._file.reading() as db:
            return tuple(reviews_audits.judged(db, endpoint, digest))

    # -- those who look --------------------------------------------------------------------------------

    def stats(self, endpoint: str | None = None) -> Stats:
        """Return how the queue does; None: of all endpoints together."""
        if not self._file.exists():
            return Stats()
        with self._file.reading() as db:
            return reviews_reading.stats(db, endpoint, self._clock())

    def ratings(self, endpoint: str, digest: str | None = None) -> tuple[Rating, ...]:
        """Return all final answers of decided cases as first given, case by case, for measures of agreement.

        Args:
            endpoint: of which endpoint.
            digest: only cases of which this model said something; None: all.
        """
        if not self._file.exists():
            return ()
        with self._file.reading() as db:
            return tuple(reviews_reading.ratings(db, endpoint, digest))

    def list(
        self, endpoint: str | None = None, *, status: Status | None = None, limit: int = 100
    ) -> tuple[Listed, ...]:
        """Return cases without payload: open ones in the order in which they are taken, else the newest first.

        Args:
            endpoint: of which endpoint; None: of all.
            status: only those that stand so.
            limit: at most so many.
        """
        if not self._file.exists():
            return ()
        with self._file.reading() as db:
            return reviews_reading.listed(db, endpoint, status, limit, self._clock())

    # -- inside ----------------------------------------------------------------------------------------

    def _decisions(self, ids: Collection[str], *, ended: bool) -> dict[str, Decision]:
        if not ids or not self._file.exists():
            return {}
        now, late = self._clock(), []
        with self._file.reading() as db:
            found = {row["id"]: row for name in ids if (row := submitting.task_of(db, name)) is not None}
            late = [row for row in found.values() if row["pending"] is not None and row["pending"] <= now]
            if not late:
                return {
                    name: decision_of(db, row)
                    for name, row in found.items()
                    if (row["status"] == "open" and not ended)
                    or (row["status"] != "open" and row["expires"] > now)
                }
        with self._file.writing() as db:  # their time to be taken back is over: they are final from now on
            for row in late:
                if (task := submitting.task_of(db, row["id"])) is not None:
                    reviews_answering.close(db, task, now)
        return self._decisions(ids, ended=ended)

    def _sealing(self) -> Seal:
        return self._seal(create=True)

    def _opening(self) -> Seal:
        return self._seal(create=False)

    def _seal(self, *, create: bool) -> Seal:
        if self._known_seal is None:
            self._known_seal = Seal.beside(self._file.folder.parent, create=create)
        if self._known_seal is None:
            raise StoreUnreachable(
                f"inputs in {self._file.path} are sealed, and the key beside the store is gone: restore it"
            )
        return self._known_seal
