"""`DistantDrift`: the watch for drift of a service that runs elsewhere."""

from __future__ import annotations

from typing import Any

from ..errors import Refused
from .service import LONG, Service

__all__ = ["DistantDrift"]


class DistantDrift:
    """The verbs of `DriftVerbs`, over HTTP.

    Args:
        service: where it is.
        name: the rollout.
        on_behalf_of: whom the token's owner acts for.
    """

    def __init__(self, service: Service, name: str, on_behalf_of: str | None) -> None:
        self._service, self._name, self._for = service, name, on_behalf_of

    def status(self) -> dict[str, Any]:
        """Return how the tests stand."""
        return self._get("drift")

    def report(self) -> dict[str, Any]:
        """Return what moved."""
        return self._get("drift/report", LONG)

    def replay(self) -> dict[str, Any]:
        """Return whether the ledger gives the same evidence again."""
        return self._get("drift/replay", LONG)

    def ack(self, alarm: str | None = None, **common: Any) -> dict[str, Any]:
        """Say that alarms were seen."""
        return self._post("drift/ack", alarm=alarm, **common)

    def rebase(
        self, *, rows: int | None = None, file: str | None = None, test: str = "data", **common: Any
    ) -> dict[str, Any]:
        """Let what comes now be the reference.

        Raises:
            Refused: a file is named: it lies here, and the watch does not.
        """
        if file is not None:
            raise Refused("--file works where the store is, and --url asks a service elsewhere: say --rows")
        return self._post("drift/rebase", rows=rows, test=test, **common)

    def _get(self, path: str, seconds: float | None = None) -> dict[str, Any]:
        return dict(self._service.get(path, rollout=self._name, seconds=seconds))

    def _post(self, path: str, **fields: Any) -> dict[str, Any]:
        body = {name: value for name, value in fields.items() if value is not None}
        if self._for is not None:
            body["on_behalf_of"] = self._for
        return dict(self._service.post(path, body, rollout=self._name, seconds=LONG))
