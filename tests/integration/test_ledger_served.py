"""The ledger of a real `bentoml serve` while others hold it: it ends in time, and says what was lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from tests.integration.callers import Line
from tests.integration.running import Server, serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault]

TARGET = "tests.integration.apps.pair:Pair"


def place_of(server: Server) -> Path:
    """Return the rollout's folder in the store."""
    return server.store.with_name("rollouts.db.d") / "pair"


def test_the_end_while_another_holds_the_ledger(tmp_path: Path) -> None:
    """SIGTERM while somebody writes for longer than a worker waits: what is lost is counted exactly."""
    environment = {"PAIR_HOOKS": str(tmp_path)}
    with serving(TARGET, tmp_path, rollout="pair", workers=3, environment=environment) as server:
        server.ready()
        line, ledger = Line(server.port), Ledger(place_of(server))
        assert line.ask("/who", {}).status == 200
        until(lambda: ledger.counts().predictions == 1, "the first prediction is kept")
        with LedgerFile(place_of(server)).writing() as db:
            db.execute("BEGIN IMMEDIATE")
            for _ in range(40):
                assert line.ask("/who", {}).status == 200
            line.close()
            time.sleep(4)  # long enough to be told of
            server.arbiter.send_signal(signal.SIGTERM)
            assert server.arbiter.wait(30) == 0
            db.execute("ROLLBACK")
        said = server.events("ledger.unwritten")
        assert any(one["lost"] == 0 and one["waiting"] for one in said)
        kept = ledger.counts().predictions
        assert sum(one["lost"] for one in said if "worker ends" in one["reason"]) == 41 - kept
