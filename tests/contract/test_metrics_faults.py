"""Metrics when their disk is full: numbers are lost and counted, and the worker lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.states import fill, mounted

pytestmark = pytest.mark.fault

WORKER = """
import sys
from bento_rollout.bento.metrics import Metrics
from bento_rollout.records import Observation, Outcome, Reason

class Feed:
    name = "r"

def runs(prefix, count):
    for number in range(count):
        yield Observation("r", f"{prefix}{number}", "one", 1, Reason.SPLIT, "id", Outcome.OK, 0.5)

metrics = Metrics(Feed(), (), (), {})
for run in runs("early", 5):
    metrics.offer(run)
metrics._channel.flush(30)
print(metrics.lost, flush=True)
sys.stdin.readline()
for run in [*runs("early", 5), *runs("late", 300)]:
    metrics.offer(run)
metrics._channel.flush(30)
print(metrics.lost, flush=True)
sys.stdin.readline()
for run in runs("later", 10):
    metrics.offer(run)
metrics._channel.flush(30)
from bentoml._internal.configuration.containers import BentoMLContainer
print(BentoMLContainer.metrics_client.get().generate_latest().decode())
"""


BENTOML = """
import sys
from bentoml._internal.configuration.containers import BentoMLContainer
from bento_rollout.bento.metrics import Metrics

Metrics(type("Feed", (), {"name": "r"})(), (), (), {}).refresh()
print("ready", flush=True)
sys.stdin.readline()
client = BentoMLContainer.metrics_client.get()
labels = {"labelnames": ["endpoint"], "documentation": "as BentoML's own"}
client.Histogram(name="seconds", **labels).labels("predict").observe(1)
client.Counter(name="total", **labels).labels("predict").inc()
client.Gauge(name="running", multiprocess_mode="livesum", **labels).labels("predict").inc()
client.Gauge(name="last", **labels).labels("predict").set(1)
"""


def test_bentomls_own_metrics_have_room(tmp_path: Path) -> None:
    """A worker whose first request comes when the disk is full lives."""
    place = tmp_path / "small"
    with mounted(place, "1m"):
        environ = {"BENTOML_HOME": str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(place), "PATH": "/usr/bin"}
        worker = subprocess.Popen(
            [sys.executable, "-c", BENTOML],
            env={**environ, "BENTOML_DO_NOT_TRACK": "1"},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        fill(place)
        worker.communicate("full\n", timeout=60)
        assert worker.returncode == 0


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """What is known counts on; what is new finds no room until there is some; nothing ends the process."""
    place = tmp_path / "small"
    with mounted(place, "1m"):
        environ = {"BENTOML_HOME": str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(place), "PATH": "/usr/bin"}
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**environ, "BENTOML_DO_NOT_TRACK": "1"},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert int(worker.stdout.readline()) == 0
        fill(place)
        worker.stdin.write("full\n")
        worker.stdin.flush()
        assert int(worker.stdout.readline()) > 0
        (place / "ballast").unlink()
        text, _ = worker.communicate("room again\n", timeout=60)
        assert worker.returncode == 0
    for number in range(5):
        run = f'bento_rollout_runs_total{{endpoint="early{number}",outcome="ok",rollout="r",variant="one"}}'
        assert f"{run} 2.0" in text
    assert 'endpoint="later9"' in text
