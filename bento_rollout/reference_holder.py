"""`ReferenceHolder`: one worker's reference, loaded beside its requests, and looked for until it is there."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .drifting import Drift
from .errors import RolloutError
from .store.keepsake import DRIFT_REFERENCE, Keepsake
from .store.place import Place
from .telemetry import log

if TYPE_CHECKING:
    from .drift import Reference
    from .excerpts import Excerpt
    from .featuring import Encoder, Watched

__all__ = ["ReferenceHolder"]

RETRY = 60.0
"""Seconds until a reference that could not be loaded is looked for again."""

LOOK = 5.0
"""Seconds between two looks at whether the host keeps another one."""


class ReferenceHolder:
    """Loads the reference in a thread of its own, and encodes by it; without one nothing is encoded.

    Args:
        drift: the spec's settings.
        place: the rollout's folder in the store.
        endpoint: whose inputs are watched.
        rollout: the rollout's name, for log lines.
        models: digests and tags of what the worker serves: a reference that names another one is told of.
        retry: seconds until it is looked for again.
        look: seconds between two looks at whether another one holds.

    Attributes:
        problem: why there is no reference; empty: there is one, or it is being loaded.
    """

    def __init__(
        self,
        drift: Drift,
        place: Place,
        endpoint: str,
        *,
        rollout: str = "",
        models: Collection[str] = (),
        retry: float = RETRY,
        look: float = LOOK,
    ) -> None:
        self._drift, self._place, self.endpoint = drift, place, endpoint
        self._rollout, self._models = rollout or place.name, frozenset(models)
        self._retry, self._look = retry, look
        self._once = log.Once()
        self._ending, self._loaded = threading.Event(), threading.Event()
        self._encoder: Encoder | None = None
        self._stamp: object | None = None
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="bento-rollout-drift", daemon=True)

    def start(self) -> None:
        """Begin to load it; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ending.set()

    def wait(self, timeout: float) -> bool:
        """Wait until it is loaded, and return whether it is. Not on a loop."""
        return self._loaded.wait(timeout)

    @property
    def reference(self) -> Reference | None:
        """The reference; None: it is not loaded."""
        return None if self._encoder is None else self._encoder.reference

    def encode(self, calls: Sequence[Excerpt]) -> Watched | None:
        """Return what is kept of calls; None: there is no reference. Never raises. Not on a loop."""
        encoder = self._encoder
        if encoder is None:
            return None
        try:
            return encoder.encode(calls)
        except Exception as error:  # noqa: BLE001 - what cannot be encoded costs no prediction its row
            kind = type(error).__name__  # and not its text, which may hold what was asked
            facts = {"rollout": self._rollout, "error": kind, "where": log.place_of(error)}
            self._once.say(f"encode {kind}", "drift.not_encoded", "error", **facts)
            return encoder.refused(calls)

    # -- in its thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._encoder is None or self._stamped() != self._stamp:
                self._load()
            self._ending.wait(self._look if self._encoder is not None else self._retry)

    def _load(self) -> None:
        from .drift_reference import find_reference  # numpy, which a start need not wait for
        from .featuring import Encoder

        stamp = self._stamped()
        try:
            encoder = Encoder(find_reference(self._drift, self._place, self.endpoint))
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker serves
            self.problem = str(error) if isinstance(error, RolloutError) else type(error).__name__
            hint = "nothing is watched meanwhile" if self._encoder is None else "the last one holds"
            hint = f"{hint}; it is looked for again each minute"
            facts = {"rollout": self._rollout, "problem": self.problem, "hint": hint}
            self._once.say("problem", "drift.no_reference", "warning", **facts)
            return
        self._encoder, self.problem = encoder, ""
        self._stamp = self._stamped() if stamp is None else stamp  # it may have been made just now
        self._once.over("problem")
        self._loaded.set()
        self._tell(encoder.reference)

    def _tell(self, reference: Reference) -> None:
        facts = {"reference": reference.digest, "rows": reference.rows, "features": len(reference.tested)}
        warnings = list(reference.warnings)
        if reference.model and self._models and reference.model not in self._models:
            warnings.append(f"it belongs to the model {reference.model}, which this service does not serve")
        level = "warning" if warnings else "info"
        log.event("drift.reference", level, rollout=self._rollout, **facts, warnings=warnings)

    def _stamped(self) -> object | None:
        """Return what is another one when another reference is kept; None: there is none."""
        return Keepsake(self._place, DRIFT_REFERENCE).mark()
