"""Six server processes with homes of their own, one PostgreSQL, nginx before them: what holds over all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.replicas.configmap import configmap
from benchmarks.replicas.cut import IPTABLES, cut
from benchmarks.replicas.database import Topology, served
from benchmarks.replicas.findings import Outcome
from benchmarks.replicas.flips import flips
from benchmarks.replicas.outage import outage


def _needs(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool, path="/usr/sbin:/usr/bin:/bin") is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """All of it, running."""
    _needs("nginx")
    with served(tmp_path_factory.mktemp("replicas"), durable=False) as made:
        yield made


def held(outcome: Outcome) -> None:
    """Check that what was promised held; how long things took is the benchmark's business."""
    broken = [f"{one.what}: {one.value}" for one in outcome if one.met is False]
    assert not broken, broken


def test_a_flip_that_returned_holds_on_every_replica(topology: Topology) -> None:
    """Under load, through the load balancer: no answer of the old champion afterwards; none that fails."""
    held([one for one in flips(topology, 4) if "acknowledged (" not in one.what])


def test_without_a_database_predictions_go_on_and_nothing_is_lost(topology: Topology) -> None:
    """It is stopped, then killed; changes are refused meanwhile, and the ledger has each answer once."""
    held(outage(topology, 3.0))


def test_a_replica_that_is_cut_off_is_named_and_says_that_it_is_stale(topology: Topology) -> None:
    """A flip waits for it no longer than its lease; it follows when it is back."""
    _needs("iptables")
    if os.geteuid() != 0 or not os.access(IPTABLES, os.X_OK):
        pytest.skip("only root may cut a connection")
    held(cut(topology))


def test_replicas_follow_a_mounted_file(tmp_path: Path) -> None:
    """Without any store: all of them, under load; an invalid file changes nothing."""
    _needs("nginx")
    held(configmap(tmp_path, 2, count=3))
