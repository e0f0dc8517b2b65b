"""`ReviewVerbs`: what people were asked, how the queue does, whether they agree; part of `Rollout`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .errors import InvalidValue, Refused, RolloutError
from .reader import Reader
from .reviewing import Status
from .standing import MACHINES, degree_of

if TYPE_CHECKING:
    from .manner import Manner
    from .store.ledger import Forgotten
    from .store.ledger_rows import Entry
    from .store.reviews_rows import Submission

__all__ = ["ReviewVerbs"]


class ReviewVerbs(Reader):
    """Looks at the cases that people are asked about; part of `Rollout`."""

    def review_cases(
        self, endpoint: str | None = None, *, status: Status | str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return cases without payload: open ones in the order of their turn, else the newest first.

        Args:
            endpoint: of which endpoint; None: of all.
            status: ``open``, ``answered``, ``defaulted``, ``rejected`` or ``withdrawn``; None: any.
            limit: at most so many.

        Raises:
            InvalidValue: there is no such status.
            NotFound: the store has no such rollout.
            StoreUnreachable: it, or the reviews, cannot be read.
        """
        from .review_report import case_row

        self._desk.read()
        try:
            wanted = None if status is None else Status(status)
        except ValueError:
            known = ", ".join(one.value for one in Status)
            raise InvalidValue(f"status {status!r} is none: write one of {known}") from None
        return [case_row(one) for one in self.reviews.list(endpoint, status=wanted, limit=limit)]

    def review_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return how the queue does; None: of all endpoints together.

        Raises:
            NotFound: the store has no such rollout.
            StoreUnreachable: it, or the reviews, cannot be read.
        """
        self._desk.read()
        return asdict(self.reviews.stats(endpoint))

    def ask_review(self, prediction: str, *, reason: str = "") -> dict[str, Any]:
        """Let people look at a prediction that was answered before; that answer stays what it was.

        What they decide is a label, which says that a person chose the case (``manual``): no threshold,
        guardrail or audit takes it as evidence. What people have already, or answered, is not asked again.

        Args:
            prediction: its id; or the caller's own id, then the newest prediction of it.
            reason: why, without payload: reviewers read it, where they may see what the model says.

        Returns:
            ``case``, ``prediction_id``, ``endpoint``, ``selection``, ``status``, and whether it is ``new``.

        Raises:
            NotFound: the ledger has no such prediction (any more).
            Refused: its endpoint is not automated, nothing of it can be shown, too many cases are open
                (`QueueFull`), or nobody asks: only a person does.
            NotReady: live workers have other specs than each other.
            NotDurable: what is kept here would be lost, or seen by one pod of many.
            StoreUnreachable: the ledger or the reviews cannot be used.
        """
        from .store.feedback import LOCK
        from .store.reviews_asking import Asking
        from .store.reviews_file import ReviewsFile

        self._desk.admit(reason)
        if self._desk.author in MACHINES:
            raise Refused(f"{self._desk.author} is no person, and only a person asks; nobody was asked")
        place = self._desk.store.place(self.name)
        self.ledger.story(prediction)  # before anything is made for what is not there
        turn = ReviewsFile(place).turn(LOCK, "the telling of labels", wait=True)
        with turn:  # `forget` would miss what is made meanwhile
            entry, asking = self.ledger.story(prediction).prediction, Asking(place)
            found = asking.find(entry.prediction_id, entry.endpoint)
            if found is None:
                found = asking.ask(self._manual(entry, reason), self._desk.author)
        return {
            "case": found.id,
            "prediction_id": entry.prediction_id,
            "endpoint": entry.endpoint,
            "selection": found.selection,
            "status": found.status.value,
            "new": found.new,
        }

    def _manual(self, entry: Entry, reason: str) -> Submission:
        """Return the case of a prediction, on its way into the queue."""
        from .manual import manual_case
        from .store.reviews_rows import Keep, Submission

        manner = self._manner(entry.endpoint)
        digest = self._digest_at(entry.revision, entry.variant)
        who, degree, at = self._desk.author, degree_of(self.state, entry.endpoint), time.time()
        case = manual_case(entry, manner, degree, who=who, reason=reason, digest=digest, at=at)
        keep = Keep(manner.keep, manner.decisions, sealed=manner.inputs == "sealed")
        return Submission(case, manner.max_open, keep, entry.key_hash)

    def _manner(self, endpoint: str) -> Manner:
        """Return how people are asked about an endpoint, as the service's workers tell."""
        view = self._desk.view(self.state)
        if (found := view.manners.get(endpoint)) is None:
            who = "the service's spec does not automate it" if view.described else "no worker ever ran here"
            if endpoint in view.ladders:
                who = "its workers, of an older version, do not say it on their cards"
            raise Refused(f"automation.{endpoint}: {who}, so nothing tells how; nobody was asked")
        return found

    def _digest_at(self, revision: int, variant: str) -> str:
        """Return which code a variant was at a revision; empty: nobody knows any more."""
        with suppress(RolloutError):
            commit, _ = self._desk.step(revision)
            return "" if commit is None else commit.state.granted.get(variant, "")
        return ""

    def forget(self, key: object) -> tuple[Forgotten, int]:
        """Delete what belongs to a routing key, predictions, labels and cases alike, to the last byte.

        Meanwhile nobody tells the ledger what people decided: it would come back as a label. An open case of
        the key ends as withdrawn, and its caller is told so.

        Returns:
            What went from the ledger, and how many cases.

        Raises:
            InvalidKey: it is no key.
            Refused: the hashes are under another secret than the one that is known here.
            StoreUnreachable: with what is left to do.
        """
        from .store.feedback import hushed

        ledger, reviews = self.ledger, self.reviews
        with hushed(self._desk.store.place(self.name)):
            hashed, who = ledger.key_hash(key), self._desk.author
            cases = 0 if hashed is None else reviews.forget(key_hash=hashed, who=who)
            return ledger.forget(key), cases

    def agreement(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return whether people agree with each other, and with the champion, by endpoint.

        Args:
            endpoint: of which; None: of each that is automated.

        Returns:
            By endpoint ``people`` and ``model``, each with raw agreement, Cohen's kappa and Krippendorff's
            alpha, their intervals (95 %), and why not to trust them; and ``digest``, the champion's.

        Raises:
            NotFound: the store has no such rollout.
            StoreUnreachable: it, or the reviews, cannot be read.
        """
        from .review_report import agreement_report

        state, reviews = self.state, self.reviews
        digest = state.champions_digest or None
        names = sorted(state.automation) if endpoint is None else [endpoint]
        return {
            name: {"digest": digest, **agreement_report(reviews.ratings(name), reviews.judged(name, digest))}
            for name in names
        }
