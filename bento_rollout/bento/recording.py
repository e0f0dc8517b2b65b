"""What a worker tells of its predictions, and to whom."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..calls import Call
from ..feed import Feed
from ..predictions import prediction_of
from ..records import Compared, Dropped, Observation, Prediction, Readiness
from ..telemetry import log
from ..telemetry.fanout import Fanout, Subscription
from ..telemetry.lines import LogLines

if TYPE_CHECKING:
    from .site import Site

__all__ = ["Recording"]

FAREWELL = 3.0
"""Seconds that what was not yet written has when the worker ends."""


class Recording:
    """Everybody in one worker who is told of predictions.

    Args:
        site: the rollout as it was defined.
        feed: what this worker serves by.
        place: the rollout's folder in the store.

    Attributes:
        sink: takes what happens, at once.
    """

    def __init__(self, site: Site, feed: Feed, place: Path) -> None:
        self._name, self._feed, self._place = site.name, feed, place
        subscriptions: list[Subscription] = []
        if site.sink is not None:
            kinds = (Observation, Prediction, Readiness, Compared, Dropped)
            subscriptions.append((kinds, site.sink.offer))
        self._lines = LogLines(site.name, site.spec.log, _keyed())
        subscriptions.append(((Prediction, Compared, Dropped), self._lines.offer))
        self.sink = Fanout(subscriptions)

    def tell(self, call: Call) -> None:
        """Tell of a call whose answer is out, or whose task is done; never raises."""
        try:
            if (prediction := prediction_of(self._name, call)) is not None:
                self.sink.offer(prediction)
        except Exception as error:  # noqa: BLE001 - the answer is out, and telling of it costs nobody anything
            _once.say(type(error).__name__, "telemetry.failed", "error", error=log.described(error))

    def close(self) -> None:
        """Write what waits; called when the worker ends, not on the loop."""
        self._lines.close(FAREWELL)


def _keyed() -> Callable[[str], str]:
    """Return the keyed hash of a text; without a key of the user's one that ends with this process."""
    key = os.environ.get("BENTO_ROLLOUT_HASH_KEY", "").encode() or os.urandom(32)
    return lambda text: hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


_once = log.Once()
