"""`Mailing`: the webhooks of the automated endpoints of one worker, from the spec to their couriers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from .automating import Automation
from .courier import Courier
from .errors import RolloutError
from .outbox import Patience
from .standing import degree_of
from .state import Commit
from .store.letterbox import Letterbox
from .store.place import Place

__all__ = ["Mailing"]


class Mailing:
    """Tells the webhooks of cases, where a spec has any; calls and reviewers notice nothing of it.

    Args:
        rollout: its name.
        automations: the settings, by endpoint.
        place: of the rollout (`store.place`).
        prefix: where the rollout's own addresses begin.
        patience: how often a letter is tried.
    """

    def __init__(
        self,
        rollout: str,
        automations: Mapping[str, Automation],
        place: Place,
        *,
        prefix: str = "/rollout/",
        patience: Patience = Patience(),  # noqa: B008 - immutable
    ) -> None:
        settings = {name: one.review.webhook for name, one in automations.items()}
        self._couriers = {
            name: Courier(rollout, name, one, place, prefix=prefix, patience=patience)
            for name, one in settings.items()
            if one is not None
        }
        self._box = Letterbox(place)
        self._listens = False
        self._seen: Commit | None = None

    def start(self) -> None:
        """Begin to send what is due; never raises.

        Word is left of what happens from now on; where the queue cannot be used yet, from the first look on.
        """
        if self._couriers:
            with suppress(RolloutError):
                self._listen()
        for courier in self._couriers.values():
            courier.start()

    def look(self, commit: Commit) -> None:
        """Leave word of degrees that changed, once each, whoever of the workers sees it first.

        Args:
            commit: what the rollout stands at.

        Raises:
            StoreUnreachable, StoreCorrupt: the next look does what this one did not.
        """
        self._listen()
        if commit is self._seen:
            return
        state = commit.state
        for endpoint in self._couriers:
            if (standing := state.automation.get(endpoint)) is not None:
                told = {
                    "author": standing.author,
                    "reason": standing.reason,
                    "champion": state.champion,
                    "revision": commit.revision,
                }
                self._box.degree(endpoint, degree_of(state, endpoint), told, commit.time)
        self._seen = commit

    def _listen(self) -> None:
        if not self._listens:
            self._box.listen(self._couriers)
            self._listens = True

    def close(self, seconds: float) -> None:
        """End within about so many seconds; what was not told is told by the next worker."""
        until = time.monotonic() + seconds
        for courier in self._couriers.values():
            courier.stop()
        for courier in self._couriers.values():
            courier.close(max(0.0, until - time.monotonic()))
        self._box.close()
