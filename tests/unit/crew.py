"""What tests of the controller need: workers that may lead, their evidence, and points at which they die."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.arms import Arm, KeySums
from bento_rollout.committing import Desk
from bento_rollout.controller import Controller, Sources
from bento_rollout.deciding import EVIDENCE
from bento_rollout.decision import Decision
from bento_rollout.evidence import Evidence, Place
from bento_rollout.histogram import bin_of
from bento_rollout.operations import Rollout
from bento_rollout.store.evidence_log import EvidenceLog, Standing
from bento_rollout.store.location import locate
from bento_rollout.store.presence import Workers
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.telemetry import log

QUICK = """
canary:
  candidate: boosted
  steps:
    - {weight: 25, bake: 3s}
    - {weight: 50, bake: 3s}
  finally: promote
  bake_after: {for: 4s, holdback: 10}
guardrails:
  error_rate: {margin: 5pp}
"""

LONG = QUICK.replace("bake: 3s", "bake: 1h")

POINTS = ("before saving", "after saving", "before committing", "after committing")
"""Where a leader may die."""


class Died(BaseException):
    """A worker's process has ended, wherever it was."""


class Crew:
    """The workers of one host.

    Args:
        store: of ``screening``.
        host: a worker that is live.
        sticky: whether the unit is the key.
        sources: what else a try is judged by.
        seed: of all chance.

    Attributes:
        now: virtual seconds since 1970.
        fate: where the next worker that comes there dies; empty: nowhere.
        between: is called once, after the leader has decided and before it commits.
    """

    def __init__(
        self,
        store: SQLiteStore,
        host: Workers,
        *,
        sticky: bool = False,
        sources: Sources | None = None,
        seed: int = 1,
    ) -> None:
        self.host = host
        self.chance = random.Random(seed)
        self.store, self.sticky, self.sources = store, sticky, sources
        self.log = EvidenceLog(store.place("screening"))
        self.person = Rollout("screening", store, locate(), "ann")
        self.leader = Rollout("screening", store, locate(), EVIDENCE)
        self.now = 1_000_000.0
        self.fate = ""
        self.between: Callable[[], object] | None = None
        self.sent = [0, 0, 0, 0]

    @property
    def evidence(self) -> Path:
        """The file that the evidence is in."""
        return self.store.place("screening") / "evidence.db"

    def worker(self) -> Controller:
        """One more worker, which leads if nobody does."""
        desk = Desk("screening", self.store, locate(), EVIDENCE)
        made = Controller(desk, self._decided, sticky=self.sticky, sources=self.sources)
        save = made._log.save

        def saved(standing: Standing, *, after: int) -> None:
            self._may_die("before saving")
            save(standing, after=after)
            self._may_die("after saving")

        made._log.save = saved  # type: ignore[method-assign]
        return made

    def _decided(self, decision: Decision, revision: int) -> object:
        self._may_die("before committing")
        if self.between is not None:
            between, self.between = self.between, None
            between()
        change = self.leader.decided(decision, after_revision=revision)
        self._may_die("after committing")
        return change

    def _may_die(self, here: str) -> None:
        if self.fate == here:
            self.fate = ""
            raise Died(here)

    def flush(
        self, calls: int = 400, trial: float = 0.01, control: float = 0.01, revision: int | None = None
    ) -> None:
        """Write what a worker counted in a while, at the newest revision or another one."""
        state = self.person.state
        share = state.percents.get("boosted", 0) / 100
        if state.champion == "boosted":
            share = 1 - sum(state.percents.values()) / 100
        split = sum(self.chance.random() < share for _ in range(calls))
        evidence = Evidence()
        arms = {"boosted": self._arm(split, trial), "logistic": self._arm(calls - split, control)}
        if 0 < share < 1:
            self.sent[0] += arms["boosted"].calls
            self.sent[1] += arms["boosted"].errors
            self.sent[2] += arms["logistic"].calls
            self.sent[3] += arms["logistic"].errors
        evidence.arms[Place(revision or state.revision, "predict")] = arms
        self.log.add(f"w{self.chance.randrange(3)}", evidence, self.now)

    def _arm(self, calls: int, errors: float) -> Arm:
        arm = Arm()
        for _ in range(calls):
            failed = self.chance.random() < errors
            key = self.chance.getrandbits(64) if self.sticky else None
            arm.count(KeySums(1, int(failed), failed, bin_of(0.01), self.now), key)
        return arm

    def second(self, *workers: Controller, **how: Any) -> list[Decision | None]:
        """Let a second pass in which workers count, and whoever can looks."""
        self.now += 1.0
        self.flush(**how)
        return [worker.look(self.now) for worker in workers]

    def until(self, condition: Callable[[], object], worker: Controller, most: int = 100, **how: Any) -> None:
        """Let seconds pass until something is so."""
        for _ in range(most):
            if condition():
                return
            self.second(worker, **how)
        raise AssertionError(f"not in {most} s: {self.log.report()}")

    @property
    def decisions(self) -> list[str]:
        """What evidence decided, oldest first."""
        return [commit.action for commit in reversed(self.person.history(200)) if commit.author == EVIDENCE]

    @property
    def stage(self) -> str:
        """Where the try stands, as the state has it."""
        attempt = self.person.state.attempt
        assert attempt is not None
        return attempt.position.stage.value

    @property
    def heard(self) -> list[float]:
        """What the tests of errors have counted, as the standing has it: calls and errors of both."""
        told = self.log.standing().told
        assert told is not None
        heard: list[float] = told["bench"]["exams"]["error_rate"]["heard"]["heard"]
        return heard[:4]

    def counted(self) -> float:
        """Return how many seconds of this stretch the leader has told of."""
        report = self.log.report()
        assert report is not None
        seconds: float = report["position"]["counted"]
        return seconds

    def write(self, statement: str, *values: object) -> None:
        """Change the file of evidence behind everybody's back."""
        with closing(sqlite3.connect(self.evidence)) as db, db:
            db.execute(statement, values)


def events(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was said since the last time."""
    assert log.WRITER.flush(30)  # a service of another file in this process may still let a thread write
    lines = capfd.readouterr().err.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def named(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those of one name."""
    return [line for line in found if line["event"] == name]
