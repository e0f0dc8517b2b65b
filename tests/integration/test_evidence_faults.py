"""Evidence when the disk is full, the file is read-only, or a worker is told to end under load."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.evidence import Evidence
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.evidence_writer import EvidenceWriter
from tests.ledgers import prediction
from tests.states import fill, finish, mounted, started, wait_until

pytestmark = pytest.mark.fault


def writer_at(place: Path, worker: str = "w") -> EvidenceWriter:
    """A worker's."""
    return EvidenceWriter(place, worker, salt="s", sticky=("predict",), rollout="r")


def calls(place: Path) -> int:
    """How many calls were written."""
    evidence = Evidence()
    log = EvidenceLog(place)
    after = 0
    while found := log.read(after):
        after = found[-1].seq
        for flush in found:
            assert flush.evidence is not None
            evidence.add(flush.evidence)
    return sum(arms["one"].calls for arms in evidence.arms.values())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Any]:
    """A file system of 2 MiB, and how to mount it again."""
    with mounted(tmp_path / "small", "2m") as again:
        yield tmp_path / "small", again


def test_a_full_disk_costs_nothing(small: Any) -> None:
    """The sums wait in memory, and are whole when there is room again."""
    place = small[0] / "r"
    writer = writer_at(place)
    writer.offer(prediction())
    assert writer.flush(30)
    fill(small[0])
    for number in range(2000):
        writer.offer(prediction(f"user {number}"))
    assert writer.flush(30)
    assert writer.waiting == 2000
    (small[0] / "ballast").unlink()
    writer.look()
    wait_until(lambda: not writer.waiting)
    assert writer.close(30)
    assert (writer.lost, calls(place)) == (0, 2001)


def test_a_read_only_disk_costs_nothing(small: Any) -> None:
    """While it lasts; and a worker that ends meanwhile says how much is gone."""
    place = small[0] / "r"
    writers = [writer_at(place, name) for name in ("first", "second")]
    for writer in writers:
        writer.offer(prediction())
        assert writer.flush(30)
    small[1]("ro")
    for writer in writers:
        writer.offer(prediction())
        assert writer.flush(30)
    assert not writers[0].close(0.5)
    small[1]("rw")
    assert writers[1].close(30)
    assert ([writer.lost for writer in writers], calls(place)) == ([1, 0], 3)


def _serve(place: Path, told: Path) -> None:
    """Offer as fast as it goes until SIGTERM; then end as a worker does, and tell what came of it."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    writer = writer_at(place, str(os.getpid()))
    offered = [0] * 3

    def load(index: int) -> None:
        while not over.is_set():
            writer.offer(prediction(f"user {offered[index] % 500}"))
            offered[index] += 1
            time.sleep(0)

    threads = [threading.Thread(target=load, args=(index,)) for index in range(len(offered))]
    for thread in threads:
        thread.start()
    told.with_suffix(".begun").touch()
    for thread in threads:
        thread.join()
    whole = writer.close(30)
    told.write_text(f"{sum(offered)} {writer.lost} {whole}")


def test_sigterm_under_load(tmp_path: Path) -> None:
    """What was taken is in the file when the worker has ended, whatever else writes to it: all adds up."""
    place = tmp_path / "store.d" / "r"
    tales = [tmp_path / f"worker-{number}" for number in range(2)]
    workers = [started(_serve, place, tale) for tale in tales]
    for tale in tales:
        wait_until(tale.with_suffix(".begun").exists)
    wait_until((place / "evidence.db").exists)
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    for worker in workers:
        finish(worker)
    found = [tale.read_text().split() for tale in tales]
    assert [whole for *_, whole in found] == ["True", "True"]
    assert calls(place) == sum(int(offered) - int(lost) for offered, lost, _ in found) > 0


def test_sigkill_costs_what_was_not_yet_written(tmp_path: Path) -> None:
    """And nothing else: no half flush, no lock that stays."""
    place = tmp_path / "store.d" / "r"
    worker = started(_serve, place, tmp_path / "worker")
    wait_until(lambda: (place / "evidence.db").exists() and bool(EvidenceLog(place).read(0)))
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)
    before = calls(place)
    writer = writer_at(place, "next")
    writer.offer(prediction())
    assert writer.close(30)
    assert calls(place) == before + 1
