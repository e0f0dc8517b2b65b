"""`Distant`: a rollout whose service runs elsewhere; the verbs of `operations.Rollout`, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from ..errors import StoreUnreachable
from ..reviewing import Status
from ..store.ledger_labels import Accepted, Refusal
from ..store.trail import Verified
from ..values import MAX_REASON, check_text, parse_duration, parse_millis
from .drift import DistantDrift
from .ledger import DistantLedger
from .service import LONG, Service

__all__ = ["Calibrated", "Distant", "Done"]

PAGE = 1000
"""Revisions that one request brings."""

MOST_KEYS = 6000
"""Characters of keys that one address holds."""

MOST_LABELS = 1 << 22
"""Bytes of labels that one request brings; twice as much where a single one is as large."""


@dataclass(frozen=True)
class Done:
    """What a verb did.

    Attributes:
        changed: whether a revision was made.
        answer: the new state, and what the change did.
    """

    changed: bool
    answer: dict[str, Any]


@dataclass(frozen=True)
class Calibrated:
    """What was found of a threshold.

    Attributes:
        plain: all of it.
        certificate: what is kept; None: nothing could be certified.
    """

    plain: dict[str, Any]
    certificate: Any


class Distant:
    """One rollout of a service that runs elsewhere.

    Every verb is `operations.Rollout`'s, with the same errors; its author is the name of the token.

    Args:
        service: where it is.
        name: the rollout; a service that has another one refuses.
        on_behalf_of: whom the token's owner acts for; None: for themselves.
    """

    def __init__(self, service: Service, name: str, on_behalf_of: str | None = None) -> None:
        self._service, self.name, self._for = service, name, on_behalf_of
        self.ledger = DistantLedger(service, name)
        self.drift = DistantDrift(service, name, on_behalf_of)

    def __repr__(self) -> str:
        return f"<Distant {self.name!r} at {self._service.url}>"

    # -- looking --------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return state, live workers and store."""
        return dict(self._get("state"))

    def history_rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the history, newest first."""
        rows: list[dict[str, Any]] = []
        while limit is None or len(rows) < limit:
            wanted = PAGE if limit is None else min(PAGE, limit - len(rows))
            before = rows[-1]["revision"] if rows else None
            page = self._get("history", {"limit": wanted, "before": before})
            rows += page
            oldest = rows[-1]["revision"] if page else 0
            if len(page) < wanted or not isinstance(oldest, int) or oldest <= 1:  # a file's has no order
                break
        return rows

    def assignments(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return who answers these keys now, and why."""
        return [row for some in _parted(keys) for row in self._get("assign", [("key", key) for key in some])]

    def explain(self, revision: int | None = None) -> dict[str, Any]:
        """Return why a revision was made."""
        return dict(self._get("explain", {"revision": revision}))

    def shadow_report(self, *, since_revision: int = 0) -> dict[str, Any]:
        """Return what shadow calls showed."""
        return dict(self._get("shadow-report", {"since_revision": since_revision or None}))

    def automation(self) -> dict[str, Any]:
        """Return how each automated endpoint stands."""
        return dict(self._get("automation"))

    def explain_automation(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return why an endpoint stands where it does."""
        return dict(self._get("automation/explain", {"endpoint": endpoint}, LONG))

    def verify_trail(self) -> Verified:
        """Return what reading the whole trail showed."""
        found = self._get("audit/verify", seconds=LONG)
        return Verified(found["entries"], found["head"], found["broken_at"])

    def review_cases(
        self, endpoint: str | None = None, *, status: Status | str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return cases without payload."""
        wanted = None if status is None else Status(status).value
        return list(self._get("reviews", {"endpoint": endpoint, "status": wanted, "limit": limit}))

    def review_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return how the queue does."""
        return dict(self._get("reviews/stats", {"endpoint": endpoint}))

    def agreement(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return whether people agree."""
        return dict(self._get("reviews/agreement", {"endpoint": endpoint}, LONG))

    # -- changing -------------------------------------------------------------------------------------------

    def set_weights(self, weights: Mapping[str, float], **common: Any) -> Done:
        """Set the weights of the candidates named."""
        parse_millis(weights, "name at least one candidate and its weight, like boosted=5")
        return self._do("weights", weights=dict(weights), **common)

    def set_shadow(self, shadow: Mapping[str, float], **common: Any) -> Done:
        """Set the percent of keys that the variants named watch."""
        parse_millis(shadow, "name at least one variant and its percent, like boosted=100")
        return self._do("shadow", shadow=dict(shadow), **common)

    def flip(
        self, to: str | None = None, *, timeout: float | str = 30.0, no_workers: bool = False, **common: Any
    ) -> Done:
        """Make a variant the champion, with all traffic."""
        return self._do("flip", timeout, to=to, no_workers=no_workers, **common)

    def start(self, candidate: str | None = None, *, timeout: float | str = 30.0, **common: Any) -> Done:
        """Begin to try a candidate."""
        return self._do("start", timeout, candidate=candidate, **common)

    def retry(self, *, timeout: float | str = 30.0, **common: Any) -> Done:
        """Try anew what was aborted or rolled back."""
        return self._do("retry", timeout, **common)

    def abort(self, **common: Any) -> Done:
        """End the running try."""
        return self._do("abort", **common)

    def promote(self, *, timeout: float | str = 30.0, **common: Any) -> Done:
        """Make the candidate of the running try the champion now."""
        return self._do("promote", timeout, **common)

    def rollback(self, *, again: bool = False, to_revision: int | None = None, **common: Any) -> Done:
        """Give all traffic to the last settled champion."""
        return self._do("rollback", again=again, to_revision=to_revision, **common)

    def undo(self, **common: Any) -> Done:
        """Take back the newest change of traffic."""
        return self._do("undo", **common)

    def target(
        self,
        variant: str,
        *,
        keys: Iterable[Any] = (),
        header: Mapping[str, str] | None = None,
        remove: bool = False,
        **common: Any,
    ) -> Done:
        """Give keys, or requests with a header, to a variant before the split."""
        given = {"keys": list(keys), "header": dict(header or {})}
        return self._do("target", variant=variant, remove=remove, **given, **common)

    def retire(
        self, variant: str, *, in_favour_of: str | None = None, timeout: float | str = 30.0, **common: Any
    ) -> Done:
        """Remove a variant from the state."""
        return self._do("retire", timeout, variant=variant, in_favour_of=in_favour_of, **common)

    def pause(self, **common: Any) -> Done:
        """Let nothing raise traffic by itself."""
        return self._do("pause", **common)

    def resume(self, **common: Any) -> Done:
        """End a pause."""
        return self._do("resume", **common)

    def set_degree(self, endpoint: str | None, degree: str, **common: Any) -> Done:
        """Set who decides an endpoint."""
        return self._do("degree", endpoint=endpoint, degree=degree, **common)

    def calibrate(self, endpoint: str | None = None, **common: Any) -> Calibrated:
        """Look for a threshold from which on the champion may decide alone."""
        found = self._post("calibrate", LONG, endpoint=endpoint, **common)
        return Calibrated(found, found["certificate"])

    def apply(self, spec: bytes, *, abort: bool = False, keep_rollback: bool = False, **common: Any) -> Done:
        """Set exactly the state fields that a spec's text names."""
        return self._do("apply", spec=_text(spec), abort=abort, keep_rollback=keep_rollback, **common)

    def differences(self, spec: bytes) -> dict[str, Any]:
        """Return what `apply` of this text would change."""
        return dict(self._post("apply", spec=_text(spec), dry_run=True))

    def ask_review(self, prediction: str, *, reason: str = "") -> dict[str, Any]:
        """Let people look at a prediction that was answered before."""
        return dict(self._post("reviews/ask", prediction=prediction, reason=reason))

    def label(self, *labels: object, source: str = "api") -> Accepted:
        """Tell what the truth of predictions turned out to be."""
        items = labels[0] if len(labels) == 1 and isinstance(labels[0], (list, tuple)) else labels
        told = [{"source": source, **one} if isinstance(one, dict) else one for one in items]
        total, start = Accepted(), 0
        for some in _batches(told):
            found = self._service.post("labels", some, rollout=self.name, seconds=LONG, taken=(400,))
            if "accepted" not in found:  # it is about all of them
                raise StoreUnreachable(f"{self._service.url}: {found.get('detail', 'no label was taken')}")
            refused = (Refusal(start + one["index"], one["error"]) for one in found["refused"])
            total = Accepted(
                total.accepted + found["accepted"],
                total.orphaned + found["orphaned"],
                (*total.refused, *refused),
            )
            start += len(some)
        return total

    # -- the parts ------------------------------------------------------------------------------------------

    def _get(
        self,
        path: str,
        query: Sequence[tuple[str, str]] | Mapping[str, object] = (),
        seconds: float | None = None,
    ) -> Any:
        return self._service.get(path, query, rollout=self.name, seconds=seconds)

    def _do(self, verb: str, timeout: float | str = 0.0, /, **fields: Any) -> Done:
        waits = parse_duration(timeout) if timeout else 0.0
        body = {"timeout": waits, **fields} if timeout else fields
        answer = self._post(verb, self._service.seconds + waits, **body)
        return Done(answer["changed"], answer)

    def _post(self, verb: str, seconds: float | None = None, /, **fields: Any) -> Any:
        check_text(
            fields.get("reason", ""), "reason", MAX_REASON
        )  # in the words of the verb beside the store
        body = {name: value for name, value in fields.items() if value is not None}
        if self._for is not None:
            body["on_behalf_of"] = self._for
        return self._service.post(verb, body, rollout=self.name, seconds=seconds)


def _text(spec: bytes) -> str:
    return spec.decode("utf-8-sig")  # it was read as YAML before


def _parted(keys: Sequence[str]) -> Iterable[list[str]]:
    """Yield keys, as many as one address holds."""
    some, size = list[str](), 0
    for key in keys:
        length = len(quote_plus(key)) + 5
        if some and size + length > MOST_KEYS:
            yield some
            some, size = [], 0
        some.append(key)
        size += length
    yield some


def _batches(items: Sequence[object]) -> Iterable[list[object]]:
    """Yield labels, as many as one request holds; at least one batch, so that somebody answers."""
    some, size = list[object](), 0
    for item in items:
        length = len(json.dumps(item))
        if some and size + length > MOST_LABELS:
            yield some
            some, size = [], 0
        some.append(item)
        size += length
    yield some
