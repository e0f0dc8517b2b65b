"""`DistantLedger`: the predictions that a service keeps which runs elsewhere."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from ..store.ledger import Counts
from ..store.ledger_joins import Story
from ..store.ledger_labels import Label
from ..store.ledger_rows import Entry, Run, Verdict
from .service import Service

__all__ = ["DistantLedger"]

MOST = 250
"""Predictions that one answer brings."""

T = TypeVar("T")


class DistantLedger:
    """What can be looked at of a `Ledger`, over HTTP.

    Args:
        service: where it is.
        rollout: the rollout.
    """

    def __init__(self, service: Service, rollout: str) -> None:
        self._service, self.rollout = service, rollout
        self.where = ""

    def counts(self) -> Counts:
        """Return how much is kept, and what was lost; from then on `where` says where, on that host."""
        found = self._service.get("ledger", rollout=self.rollout)
        self.where = str(found["path"])
        return _made(Counts, found)

    def tail(self, limit: int = 20, *, after: int | None = None) -> list[Entry]:
        """Return the predictions that arrived last."""
        most = limit if after is None else min(limit, MOST)  # whoever follows asks again
        query = {"limit": most, "after": after}
        return [_entry(row) for row in self._service.get("ledger/tail", query, rollout=self.rollout)]

    def find(
        self, *, key: str | None = None, inference_id: str | None = None, limit: int = 20
    ) -> list[Entry]:
        """Return the predictions of a routing key, or of the caller's own id."""
        wanted = {"key": key, "inference_id": inference_id, "limit": limit}
        body = {name: value for name, value in wanted.items() if value is not None}
        return [_entry(row) for row in self._service.post("ledger/find", body, rollout=self.rollout)]

    def story(self, text: str) -> Story:
        """Return all that is known of one prediction."""
        found = self._service.get("ledger/show", {"prediction": text}, rollout=self.rollout)
        shadows = (
            _made(Verdict, {**one, "differences": tuple(one["differences"])}) for one in found["shadows"]
        )
        labels = (_made(Label, one) for one in found["labels"])
        return Story(_entry(found["prediction"]), tuple(shadows), tuple(labels), tuple(found["others"]))


def _entry(row: dict[str, Any]) -> Entry:
    return _made(Entry, {**row, "runs": tuple(_made(Run, one) for one in row["runs"])})


def _made(kind: type[T], row: dict[str, Any]) -> T:
    """Return a value of what this version knows of a row; a service of a later one may say more."""
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]  # each is a dataclass
    return kind(**{name: value for name, value in row.items() if name in known})
