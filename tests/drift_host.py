"""A host with one rollout that is watched for drift, without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bento_rollout.concept_watch import ConceptSettings
from bento_rollout.drift import Reference
from bento_rollout.drift_acts import Acts
from bento_rollout.drift_monitor import Monitor
from bento_rollout.drift_wanted import Wanted
from bento_rollout.drift_watch import DataRules
from bento_rollout.opening import first_commit, save
from bento_rollout.operations import Rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.store import RolloutStore
from bento_rollout.store.drift_file import DriftFile
from bento_rollout.store.location import Location, locate
from bento_rollout.store.opened import open_at
from bento_rollout.store.place import Place
from tests.drift_rows import ENDPOINT, reference

RULES = DataRules(ENDPOINT)


@dataclass
class Host:
    """A host with one rollout, whose workers come and go."""

    store: RolloutStore
    location: Location
    of: Reference = field(default_factory=reference)
    rules: DataRules | None = RULES
    losses: ConceptSettings | None = None
    wanted_acts: tuple[str, ...] = ("pause",)
    now: float = 1000.0

    @property
    def place(self) -> Place:
        """Where the shared files lie."""
        return self.store.place("screening")

    @property
    def file(self) -> DriftFile:
        """What is known of drift."""
        return DriftFile(self.place)

    @property
    def drift(self) -> Path:
        """The file that it is in."""
        folder = self.place
        assert isinstance(folder, Path)
        return folder / "drift.db"

    def rollout(self, author: str = "ann") -> Rollout:
        """The rollout, for somebody."""
        return Rollout("screening", self.store, self.location, author)

    def worker(
        self, acts: Acts | None = None, reference: Callable[[], Reference | None] | None = None
    ) -> Monitor:
        """One worker that may own the watch."""
        return Monitor(
            self.place,
            "screening",
            Wanted(self.rules, self.losses, "a test"),
            reference=reference or (lambda: self.of),
            digest_of=lambda row: self.rollout().state.granted[row.variant],
            state=lambda: self.rollout().state,
            acts=acts or Acts(self.rollout("drift"), self.wanted_acts, None),
        )

    def settle(self, worker: Monitor) -> None:
        """Look until all is read, and once more for what is left to do."""
        for _ in range(50):
            self.now += 1.0
            if not worker.look(self.now):
                break
        worker.look(self.now)


def made_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Make a store with the rollout, and let the environment name it."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'rollouts.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    return host_at(locate())


def host_at(location: Location) -> Host:
    """Make the rollout in a store."""
    store = open_at(location, create=True)
    save(store, first_commit("screening", "a", RolloutSpec(), {"a": "one", "b": "two"}))
    return Host(store, location)
