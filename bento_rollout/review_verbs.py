"""`ReviewVerbs`: what people were asked, how the queue does, whether they agree; part of `Rollout`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .errors import InvalidValue
from .reader import Reader
from .reviewing import Status

if TYPE_CHECKING:
    from .store.ledger import Forgotten

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
        from .store.feedback import LOCK
        from .store.files import locked

        ledger, reviews = self.ledger, self.reviews
        if not reviews.path.exists():
            return ledger.forget(key), 0
        with locked(reviews.path.with_name(LOCK), "the telling of labels"):
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
