"""What a service in traffic refuses at its operators' doors: nothing changes, and no request notices."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.callers import Load, line_to_each, times_over
from tests.integration.running import Server, serving, until
from tests.states import fill, mounted, unavailable

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow]

COMMAND = str(Path(sys.executable).with_name("bento-rollout"))
TOKEN = "a-token-of-the-tests"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
WORKERS = 2


@pytest.fixture(scope="module")
def humble() -> tuple[str, ...]:
    """What a command line begins with, so that the modes of files bind root, too."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        unavailable("setpriv is not installed, and root writes every file")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture(scope="module")
def pair(humble: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` with its store on a file system of 1 MiB."""
    home, small = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("small")
    environment = {"BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN, "PAIR_WORKERS": str(WORKERS)}
    more: dict[str, Any] = {"environment": environment, "store": small / "rollouts.db", "prefix": humble}
    target = "tests.integration.apps.pair:Pair"
    with mounted(small, "8m"), serving(target, home, rollout="pair", workers=WORKERS, **more) as server:
        yield server.ready()


# -- a store that cannot be written ------------------------------------------------------------------------


@contextmanager
def full_disk(store: Path) -> Iterator[None]:
    """Not a byte is left."""
    fill(store.parent)
    try:
        yield
    finally:
        (store.parent / "ballast").unlink()


@contextmanager
def read_only_home(store: Path) -> Iterator[None]:
    """The folder is mounted again, read-only: over itself, because workers have files of it open."""
    home = str(store.parent)
    subprocess.run(["mount", "--bind", home, home], capture_output=True, check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", home], capture_output=True, check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", home], capture_output=True, check=True)


@contextmanager
def read_only_file(store: Path) -> Iterator[None]:
    """Nobody may write the file."""
    mode = store.stat().st_mode
    store.chmod(0o444)
    try:
        yield
    finally:
        store.chmod(mode)


Trouble = Callable[[Path], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(full_disk, "space"), (read_only_home, "Read-only"), (read_only_file, "readonly")],
    ids=["full disk", "read-only home", "read-only file"],
)
def test_a_store_that_cannot_be_written_costs_no_request(
    pair: Server, humble: tuple[str, ...], trouble: Trouble, why: str
) -> None:
    """Changes answer exit 4 and 503 with the reason, each worker says so once, and later they work again."""
    operator = pair.operator()
    history = operator.history()
    wanted = 5 if operator.state.percents.get("green") != 5 else 6
    change = {"weights": {"green": wanted}}
    said, healed = (len(pair.events(f"store.{event}")) for event in ("unreachable", "reachable"))
    with Load(pair.port, 8, pause=0.01) as load, line_to_each(pair.port, pair.living()) as lines:
        with trouble(pair.store):
            began = time.monotonic()
            for line in [*lines.values()] * 2:
                answer = line.ask("/rollout/admin/weights", change, **OPERATOR)
                assert (answer.status, answer.body["title"]) == (503, "Store unreachable")
                assert why in answer.body["detail"]
            done = subprocess.run(
                [*humble, COMMAND, "weight", "pair", f"green={wanted}"],
                env=pair.environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (4, "", False)
            assert why in done.stderr
            until(lambda: len(pair.events("store.unreachable")) >= said + WORKERS, "each worker says so")
            begun = len(load.answers)
            until(lambda: len(load.answers) > begun + 60, "requests are answered meanwhile")
            assert operator.history() == history
            assert len(pair.events("store.unreachable")) == said + WORKERS
            ended = time.monotonic()
        (line, *_) = lines.values()
        answer = line.ask("/rollout/admin/weights", change, **OPERATOR)
        assert (answer.status, answer.body["revision"]) == (200, history[0].revision + 1)
        assert {line.ask().revision for line in lines.values()} == {history[0].revision + 1}
    assert load.failures == []
    during = [answer for answer in load.answers if began < answer.began and answer.ended < ended]
    assert len(during) > 50
    assert times_over(lambda answer: answer.revision != history[0].revision, during) == []
    until(lambda: len(pair.events("store.reachable")) == healed + WORKERS, "each worker says that it is over")
    assert pair.events("worker.error") == []


# -- bodies beyond measure ----------------------------------------------------------------------------------


def post(pair: Server, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Send a body to a route that changes weights; return status and problem."""
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=60)
    try:
        with contextlib.suppress(ConnectionError):  # the server has heard enough, and answered
            connection.request(
                "POST", "/rollout/admin/weights", body, {**OPERATOR, **headers}, encode_chunked=True
            )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_bodies_beyond_measure_change_nothing(pair: Server) -> None:
    """100 MB in chunks are 413, JSON that is 100 000 deep is 400; the workers serve on as if nothing was."""
    state, workers = pair.operator().state, pair.living()
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield bytes(1_000_000)

    deep = b'{"weights": {"green": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with Load(pair.port, 8, pause=0.01) as load:
        status, problem = post(pair, endless(), **{"Transfer-Encoding": "chunked"})
        assert (status, problem["detail"]) == (413, "the body has over 1048576 bytes")
        assert sent != []
        status, problem = post(pair, deep)
        assert (status, "nested too deeply" in problem["detail"]) == (400, True)
    assert load.failures == []
    assert (pair.operator().state, pair.living()) == (state, workers)
