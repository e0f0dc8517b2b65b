"""The folder for files of a request: never two users at a time, whatever a candidate does when it is late."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import bentoml
import httpx
import pytest

from bento_rollout import RolloutSpec, rollout
from tests.contract.places import settled
from tests.contract.serving import Served, marks

TWO = {"x-rollout-variant": "two"}
PATIENCE = 0.3
WAIT = 20.0

begun, given_up, over = threading.Event(), threading.Event(), threading.Event()
seen: list[tuple[Path, str]] = []
"""The folder that each late candidate found when it went on, and what it read there."""

Ask = Callable[[], httpx.Response]


class One:
    """The champion: writes its answer into the request's folder."""

    @bentoml.api
    def answer(self, how: str, ctx: bentoml.Context) -> Path:
        return written(ctx, f"one {how}")

    @bentoml.api
    def check(self, ctx: bentoml.Context) -> str:
        """Write a file, and read it when a late candidate has done what it will."""
        path = written(ctx, "mine")
        given_up.set()
        assert over.wait(WAIT)
        return f"{path.read_text()} {sorted(each.name for each in path.parent.iterdir())}"

    @bentoml.api
    def upload(self, data: Path, how: str, ctx: bentoml.Context) -> str:
        return f"one {data.read_text()}"

    @bentoml.api
    async def stream(self, how: str, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        yield written(ctx, f"one {how}").read_text()


class Two:
    """The candidate: goes on when nobody waits for it any more."""

    @bentoml.api
    def answer(self, how: str, ctx: bentoml.Context) -> Path:
        if how == "raises":
            written(ctx, "half of it")
            raise RuntimeError("a bug")
        if how == "asks first":
            written(ctx, "early")
        if how != "answers":
            goes_on(ctx)
        return written(ctx, f"two {how}")

    @bentoml.api
    def check(self, ctx: bentoml.Context) -> str:
        return "two"

    @bentoml.api
    def upload(self, data: Path, how: str, ctx: bentoml.Context) -> str:
        if how == "answers":
            return f"two {data.read_text()}"
        begun.set()
        assert given_up.wait(WAIT)
        seen.append((data.parent, data.read_text()))
        over.set()
        return "late"

    @bentoml.api
    async def stream(self, how: str, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        if how != "answers":
            written(ctx, "half of it")
            raise RuntimeError("a bug")
        yield written(ctx, f"two {how}").read_text()


def written(ctx: bentoml.Context, text: str) -> Path:
    """Write into the folder for files."""
    path = Path(ctx.temp_dir, "answer.txt")
    path.write_text(text)
    return path


def goes_on(ctx: bentoml.Context) -> None:
    """Write a file when the caller has been answered by another."""
    begun.set()
    assert given_up.wait(WAIT)
    path = written(ctx, "late")
    seen.append((path.parent, path.read_text()))
    over.set()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('folders') / 'store.db'}")
        limits = {"timeout": PATIENCE, "fallback": "champion"}
        spec = RolloutSpec.parse(
            {
                "name": "folders",
                "weights": {"two": 0},
                "routing": {"override_header": True},
                "variants": {"two": limits},
            }
        )
        two = bentoml.service(name="folders_two", threads=32)(Two)  # late ones leave room for others
        made = rollout(champion="one", candidates={"two": two}, spec=spec)
        served = Served(made(bentoml.service(name="folders")(One))).start()
        settled(served)
        yield served
        served.stop()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing has happened yet, and nobody waits any more when the test is over."""
    begun.clear()
    given_up.clear()
    over.clear()
    seen.clear()
    yield
    given_up.set()


def asked(app: Served, path: str, how: str) -> httpx.Response:
    """Ask the candidate."""
    return app.post(path, {"how": how}, headers=TWO)


def late(ask: Ask) -> httpx.Response:
    """Ask until a candidate has begun before its time was up: on a busy machine one may not even do that."""
    until = time.monotonic() + WAIT
    while True:
        answer = ask()
        if begun.is_set() or time.monotonic() > until:
            return answer


def in_time(ask: Ask) -> str:
    """Ask until the candidate has answered before its time was up; return what it said."""
    until = time.monotonic() + WAIT
    while True:
        answer = ask()
        if marks(answer)["variant"] == "two" or time.monotonic() > until:
            return answer.text
        assert answer.text.startswith("one ")


def gone(folder: Path) -> bool:
    """Return whether a folder is gone soon."""
    until = time.monotonic() + WAIT
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return not folder.exists()


@pytest.mark.parametrize("how", ["asks later", "asks first"])
def test_a_late_candidate_writes_into_no_other_requests_folder(app: Served, how: str) -> None:
    """Its folder stays its own while it runs, and goes then; the next request has one to itself."""
    answer = late(lambda: asked(app, "/answer", how))
    assert (answer.text, marks(answer)["reason"]) == (f"one {how}", "fallback")
    assert app.post("/check").text == "mine ['answer.txt']"
    for folder, text in [*seen]:
        assert text == "late"
        assert gone(folder)


def test_a_late_candidate_still_reads_its_own_input(app: Served) -> None:
    """A file that was sent lies where it was until the candidate is done with it."""

    def sent(text: str, how: str) -> httpx.Response:
        files = {"data": ("input.txt", text)}
        return app.request("POST", "/upload", files=files, data={"how": how}, headers=TWO)

    assert late(lambda: sent("first", "late")).text == "one first"
    assert in_time(lambda: sent("second", "answers")) == "two second"
    given_up.set()
    assert over.wait(WAIT)
    for folder, text in [*seen]:
        assert text == "first"
        assert gone(folder)


@pytest.mark.parametrize("path", ["/answer", "/stream"])
def test_what_failed_leaves_the_champion_an_empty_folder(app: Served, path: str) -> None:
    """The champion's answer is whole, and so is the candidate's when it does not fail."""
    assert asked(app, path, "raises").text == "one raises"
    assert in_time(lambda: asked(app, path, "answers")) == "two answers"
