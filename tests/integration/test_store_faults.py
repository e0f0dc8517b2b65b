"""State when the disk, the files or another process misbehave: serving goes on, and says so once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento_rollout.cli import main
from bento_rollout.errors import RolloutError, StoreCorrupt, StoreUnreachable
from bento_rollout.feed import Feed
from bento_rollout.opening import open_state
from bento_rollout.operations import open_rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import Commit
from bento_rollout.store.files import locked
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import (
    DIGESTS,
    NAME,
    descriptors,
    fill,
    following,
    fork,
    grow,
    mounted,
    started,
    store_at,
    unavailable,
    wait_until,
)

pytestmark = pytest.mark.fault

Mounted = tuple[Path, Callable[[str], None]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Mounted]:
    """A file system of 256 KiB, and how to mount it again."""
    with mounted(tmp_path / "small", "256k") as again:
        yield tmp_path / "small", again


@pytest.fixture
def followed(tmp_path: Path) -> tuple[Path, Feed]:
    """A store at revision 5, and a feed that follows it."""
    store = store_at(tmp_path / "rollouts.db", 5)
    return store.path, following_feed(store)


def following_feed(store: SQLiteStore) -> Feed:
    """Return a feed that serves the newest state."""
    feed = Feed(store, open_state(store, NAME, "logistic", RolloutSpec.parse({}), DIGESTS))
    feed.check()
    feed.table()
    return feed


def commit_next(path: Path, parent: Commit, percent: int = 50) -> Commit:
    """Commit what an operator would."""
    commit = following(parent, percent=percent)
    SQLiteStore(path, patience=0.5).commit(commit, after=parent.revision)
    return commit


def said(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, object]]:
    """Return the log lines of an event since the last look."""
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


# -- the disk ---------------------------------------------------------------------------------------------


def test_full_disk(small: Mounted, capfd: pytest.CaptureFixture[str]) -> None:
    """On a full disk changes are refused with exit 4 and a hint; with space they work again."""
    folder, _ = small
    store = store_at(folder / "rollouts.db", 3)
    feed = following_feed(store)
    fill(folder)
    for _ in range(5):
        with pytest.raises(StoreUnreachable, match="space") as caught:
            commit_next(store.path, feed.commit)
        assert caught.value.exit_code == 4
        feed.check()
        assert feed.table().revision == 3
    assert [c.revision for c in store.history(NAME)] == [3, 2, 1]
    (folder / "ballast").unlink()
    commit_next(store.path, feed.commit)
    assert feed.table().revision == 4
    assert said(capfd, "store.unreachable") == []


def test_no_space_for_the_copy_alone(small: Mounted) -> None:
    """When the database still has space and the copy has not, a change is made, and every reader sees it."""
    folder, _ = small
    store = store_at(folder / "rollouts.db", 3)
    feed = following_feed(store)
    newest = feed.commit
    copy = store.beacon(NAME).folder / "state.json"
    copy.unlink()
    copy.with_name(".state.json.draft").mkdir()  # as good as a full disk: it cannot be written
    for _ in range(5):
        newest = commit_next(store.path, newest, newest.revision)
        assert feed.table().revision == newest.revision
        feed.check()
        assert feed.trouble is None
    copy.with_name(".state.json.draft").rmdir()
    feed.check()
    assert store.beacon(NAME).load() == newest


def test_read_only_home_with_a_store(small: Mounted, capfd: pytest.CaptureFixture[str]) -> None:
    """On a read-only file system the state is read and served, and changes are refused with exit 4."""
    folder, again = small
    store = store_at(folder / "rollouts.db", 3)
    again("ro")
    feed = following_feed(SQLiteStore(store.path, create=True))
    assert (feed.table().revision, feed.trouble) == (3, None)
    with pytest.raises(StoreUnreachable, match="Read-only") as caught:
        commit_next(store.path, feed.commit)
    assert caught.value.exit_code == 4
    deployed = open_state(store, NAME, "logistic", RolloutSpec.parse({}), {**DIGESTS, "logistic": "new"})
    assert deployed.revision == 3
    assert len(said(capfd, "rollout.unrecorded")) == 1
    again("rw")
    assert commit_next(store.path, feed.commit).revision == 4
    assert feed.table().revision == 4


def test_read_only_home_without_a_store(small: Mounted, capfd: pytest.CaptureFixture[str]) -> None:
    """On an empty read-only home the spec is served and the log says so once; later the rollout is seeded."""
    folder, again = small
    again("ro")
    store = SQLiteStore(folder / "home" / "rollouts.db", create=True)
    spec = RolloutSpec.parse({"weights": {"boosted": 5}})
    feed = Feed(store, open_state(store, NAME, "logistic", spec, DIGESTS))
    for _ in range(3):
        feed.check()
        assert feed.table().revision == 0
        assert feed.commit.state.percents == {"boosted": 5}
    lines = said(capfd, "store.unreachable")
    assert [line["serving"] for line in lines] == ["the spec"]
    again("rw")
    feed.check()
    assert feed.trouble is None
    assert (feed.table().revision, feed.commit.state.percents) == (1, {"boosted": 5})
    assert SQLiteStore(store.path).read(NAME) == feed.commit


# -- the store's file, while a feed follows it ------------------------------------------------------------


def truncate(path: Path) -> None:
    """Cut the file in the middle of a page."""
    os.truncate(path, 5000)


def empty(path: Path) -> None:
    """Cut the file to nothing."""
    os.truncate(path, 0)


def header(path: Path) -> None:
    """Cut the file after a few bytes."""
    os.truncate(path, 40)


def delete(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def garbage(path: Path) -> None:
    """Write over it what is no database."""
    path.write_bytes(b"\xa5garbage" * 2000)


def holes(path: Path) -> None:
    """Write zeros over every page but the first."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


def another(path: Path) -> None:
    """Put another rollout's store in its place, further on than this one."""
    other = store_at(path.with_name("other.db"), 9)
    shutil.move(other.path, path)


def foreign(path: Path) -> None:
    """Put somebody else's database in its place."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE users (name TEXT)")
    db.close()


def folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, empty, header, delete, garbage, holes, another, foreign, folder]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_while_serving(
    followed: tuple[Path, Feed], damage: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """A damaged store stops no request: changes answer exit 4, the log says so once, nothing is made anew."""
    path, feed = followed
    spare = path.read_bytes()
    damage(path)
    left = path.read_bytes() if path.is_file() else None
    for _ in range(4):
        assert feed.table().revision == 5
        feed.check()
        with pytest.raises(StoreUnreachable, match=str(path)) as caught:
            commit_next(path, feed.commit)
        assert caught.value.exit_code == 4
    assert feed.trouble is not None
    respawned = open_state(SQLiteStore(path, create=True), NAME, "logistic", RolloutSpec.parse({}), DIGESTS)
    assert respawned == feed.commit
    (line,) = said(capfd, "store.unreachable")
    assert (line["level"], line["serving"]) == ("error", "revision 5, the last good state")
    assert (path.read_bytes() if path.is_file() else None) == left  # neither made anew nor written
    if path.is_dir():
        path.rmdir()
    path.write_bytes(spare)
    feed.check()
    assert feed.trouble is None
    assert len(said(capfd, "store.reachable")) == 1
    commit_next(path, feed.commit)
    assert feed.table().revision == 6


def test_older_backup_while_serving(followed: tuple[Path, Feed], capfd: pytest.CaptureFixture[str]) -> None:
    """A store that was restored from an older backup is refused: it would undo what was acknowledged."""
    path, feed = followed
    backup = path.read_bytes()
    newest = commit_next(path, feed.commit)
    assert feed.table().revision == 6
    path.write_bytes(backup)
    for _ in range(3):
        feed.check()
        assert feed.table().revision == 6
        with pytest.raises(StoreCorrupt, match="went back"):
            commit_next(path, grow_from(backup, path))
    assert len(said(capfd, "store.unreachable")) == 1
    assert open_state(SQLiteStore(path), NAME, "logistic", RolloutSpec.parse({}), DIGESTS) == newest


def grow_from(backup: bytes, path: Path) -> Commit:
    """Return the newest commit of a backup."""
    copy = path.with_name("backup.db")
    copy.write_bytes(backup)
    commit = SQLiteStore(copy).read(NAME)
    assert commit is not None
    return commit


def test_everything_deleted_while_serving(
    followed: tuple[Path, Feed], capfd: pytest.CaptureFixture[str]
) -> None:
    """When the store and all beside it vanish, the worker serves on, and so do those who start now."""
    path, feed = followed
    path.unlink()
    shutil.rmtree(SQLiteStore(path).folder)
    for _ in range(3):
        assert feed.table().revision == 5
        feed.check()
    assert not path.exists()
    assert len(said(capfd, "store.unreachable")) == 1
    with pytest.raises(StoreCorrupt, match="gone"):
        commit_next(path, feed.commit)
    store = SQLiteStore(path, create=True)
    assert open_state(store, NAME, "logistic", RolloutSpec.parse({}), DIGESTS) == feed.commit
    assert not path.exists()


def test_the_whole_home_goes_back(followed: tuple[Path, Feed], tmp_path: Path) -> None:
    """A home that was restored from an older backup, copies and all, is refused: a worker knows better."""
    path, feed = followed
    place = SQLiteStore(path).folder
    shutil.copy(path, tmp_path / "backup")
    shutil.copytree(place, tmp_path / "backup.d")
    commit_next(path, feed.commit)
    assert feed.table().revision == 6
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "backup.d", place)
    shutil.copy(tmp_path / "backup", path)
    feed.check()
    with pytest.raises(StoreCorrupt, match="revision 6 was committed"):
        commit_next(path, grow_from(path.read_bytes(), path))
    assert feed.table().revision == 6


def test_replaced_by_the_same_store(followed: tuple[Path, Feed]) -> None:
    """A store that was moved away and copied back is the same store: nothing is refused or missed."""
    path, feed = followed
    shutil.copy(path, path.with_name("copy"))
    path.unlink()
    path.with_name("copy").rename(path)
    feed.check()
    commit_next(path, feed.commit)
    assert (feed.table().revision, feed.trouble) == (6, None)


# -- what is no store from the beginning --------------------------------------------------------------------


def pipe(home: Path) -> Path:
    """Put a pipe in the store's place."""
    os.mkfifo(home / "rollouts.db")
    return home / "rollouts.db"


def loop(home: Path) -> Path:
    """Put a link to itself in the store's place."""
    (home / "rollouts.db").symlink_to(home / "rollouts.db")
    return home / "rollouts.db"


def directory(home: Path) -> Path:
    """Put a folder in the store's place."""
    (home / "rollouts.db").mkdir()
    return home / "rollouts.db"


def below_a_file(home: Path) -> Path:
    """Name a store in a folder that is a file."""
    (home / "file").touch()
    return home / "file" / "rollouts.db"


def endless_name(home: Path) -> Path:
    """Name a store that no file system can hold."""
    return home / ("x" * 300)


def beside_a_file(home: Path) -> Path:
    """Put a file where the folder beside the store has its place."""
    (home / "rollouts.db.d").touch()
    return home / "rollouts.db"


def beside_a_loop(home: Path) -> Path:
    """Put a link to itself where the folder beside the store has its place."""
    (home / "rollouts.db.d").symlink_to(home / "rollouts.db.d")
    return home / "rollouts.db"


NO_STORES = [pipe, loop, directory, below_a_file, endless_name, beside_a_file, beside_a_loop]


@pytest.mark.parametrize("damage", NO_STORES, ids=lambda damage: damage.__name__)
def test_what_can_be_no_store(
    tmp_path: Path,
    damage: Callable[[Path], Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no store can be, the spec is served and said so once; commands answer exit 4 and say why."""
    path = damage(tmp_path)
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    store = SQLiteStore(path, create=True, patience=0.2)
    spec = RolloutSpec.parse({"weights": {"boosted": 5}})
    feed = Feed(store, open_state(store, NAME, "logistic", spec, DIGESTS))
    for _ in range(3):
        feed.check()
        assert (feed.table().revision, feed.commit.state.percents) == (0, {"boosted": 5})
    assert [line["serving"] for line in said(capfd, "store.unreachable")] == ["the spec"]
    for command in (["status", NAME], ["weight", NAME, "boosted=6"], ["doctor"]):
        assert main(command) == 4
        out, err = capfd.readouterr()
        assert f"{path} cannot be used" in out + err
        assert "Traceback" not in err


def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    """A store in a folder that this user may not enter: exit 4 and the reason, from `doctor` too."""
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-m", "bento_rollout.cli"]
    if os.geteuid() == 0:  # root enters everything, unless it gives that up
        if shutil.which("setpriv") is None:
            unavailable("setpriv is not installed, and root enters every folder")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    environment = {**os.environ, "BENTO_ROLLOUT_STORE": f"sqlite:///{tmp_path}/home/rollouts.db"}
    (tmp_path / "home").chmod(0)
    try:
        for verb in (["status", NAME], ["doctor"]):
            done = subprocess.run(
                [*command, *verb], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, "Traceback" in done.stderr) == (4, False)
            assert "Permission denied" in done.stdout + done.stderr
    finally:
        (tmp_path / "home").chmod(0o700)


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    """A store may lie at a path that is not UTF-8: file systems know bytes only."""
    path = tmp_path / os.fsdecode(b"\xff\xfe.db")
    feed = following_feed(store_at(path, 3))
    commit_next(path, feed.commit)
    assert feed.table().revision == 4


# -- other processes --------------------------------------------------------------------------------------


def _hold_right_to_commit(path: Path, ready: object) -> None:
    with locked(SQLiteStore(path).place(NAME) / "commit.lock", "it"):
        ready.set()  # type: ignore[attr-defined]  # an event of multiprocessing
        time.sleep(120)


def _hold_database(path: Path, ready: object, how: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"BEGIN {how}")
    ready.set()  # type: ignore[attr-defined]  # an event of multiprocessing
    time.sleep(120)


@pytest.fixture
def stopped() -> Iterator[Callable[..., int]]:
    """Start a process, wait until it holds what it is to hold, and stop it there as SIGSTOP does."""
    processes = []

    def stop(hold: Callable[..., None], *args: object) -> int:
        ready = fork.Event()
        process = started(hold, args[0], ready, *args[1:])
        processes.append(process)
        assert ready.wait(30)
        os.kill(process.pid, signal.SIGSTOP)
        return int(process.pid)

    yield stop
    for process in processes:
        process.kill()
        process.join()


def test_stopped_while_it_commits(followed: tuple[Path, Feed], stopped: Callable[..., int]) -> None:
    """A stopped process that holds the right to commit is named by its pid within the patience."""
    path, feed = followed
    pid = stopped(_hold_right_to_commit, path)
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match=f"pid {pid}.*right to commit") as caught:
        commit_next(path, feed.commit)
    assert caught.value.exit_code == 4
    assert time.monotonic() - began < 5
    feed.check()
    assert (feed.table().revision, feed.trouble) == (5, None)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: commit_or_none(path, feed) is not None)
    assert feed.table().revision == 6


def commit_or_none(path: Path, feed: Feed) -> Commit | None:
    """Commit, or return None when that is refused."""
    try:
        return commit_next(path, feed.commit)
    except RolloutError:
        return None


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_stopped_with_the_database(
    followed: tuple[Path, Feed], stopped: Callable[..., int], how: str
) -> None:
    """A stopped process that locks the database costs a clear error within the patience, and no request."""
    path, feed = followed
    stopped(_hold_database, path, how)
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match="locked"):
        commit_next(path, feed.commit)
    feed.check()
    assert feed.table().revision == 5
    assert time.monotonic() - began < 10
    place = SQLiteStore(path).place(NAME)
    copyless = place / "state.json"
    copyless.unlink()
    place.joinpath("counter").write_bytes(b"?")
    began = time.monotonic()
    assert feed.table().revision == 5
    assert time.monotonic() - began < 2  # on the request path it waits for 50 ms


# -- the promise of freshness -------------------------------------------------------------------------------


def _answer(path: Path, asked: object, stop: object) -> None:
    """Say, whenever asked, which revision a request would be answered at; check the store all the while."""
    store = SQLiteStore(path)
    feed = following_feed(store)
    checked = time.monotonic()
    asked.send(0)  # type: ignore[attr-defined]  # one end of a pipe
    while True:
        if asked.poll(0.01):  # type: ignore[attr-defined]  # one end of a pipe
            if asked.recv() is None:  # type: ignore[attr-defined]  # one end of a pipe
                break
            asked.send(feed.table().revision)  # type: ignore[attr-defined]  # one end of a pipe
        if time.monotonic() - checked > 0.05:
            feed.check()
            checked = time.monotonic()
    assert feed.trouble is None


def test_nobody_sees_an_older_revision(tmp_path: Path) -> None:
    """After each of 1 000 acknowledged commits, whoever asks in any process is answered at its revision."""
    memory = Path("/dev/shm")
    home = memory / f"bento-rollout-{os.getpid()}" if memory.is_dir() else tmp_path / "home"
    try:
        path = store_at(home / "rollouts.db", 1).path
        pipes, processes = [], []
        for _ in range(4):
            ours, theirs = fork.Pipe()
            processes.append(started(_answer, path, theirs, None))
            pipes.append(ours)
        for pipe in pipes:
            assert pipe.poll(30)
            pipe.recv()
        store = SQLiteStore(path)
        newest = grow(store, 1)
        for revision in range(2, 1002):
            newest = following(newest, percent=revision % 100)
            store.commit(newest, after=newest.parent)
            for pipe in pipes:
                pipe.send("now?")
            assert [pipe.recv() for pipe in pipes] == [revision] * 4
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
    finally:
        if memory.is_dir():
            shutil.rmtree(home, ignore_errors=True)


def test_no_descriptor_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a rollout is opened, read, changed, refused or followed, no file stays open."""
    path = store_at(tmp_path / "rollouts.db", 2).path
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    feed = following_feed(SQLiteStore(path))
    counter = SQLiteStore(path).place(NAME) / "counter"

    def everything(turn: int) -> None:
        rollout = open_rollout(NAME)
        rollout.set_weights({"boosted": 1 + turn % 2})
        rollout.status()
        with pytest.raises(RolloutError):
            rollout.pause(if_revision=1)
        with pytest.raises(RolloutError):
            open_rollout("unknown").pause()
        if turn % 5 == 0:
            Path(shutil.copy(counter, counter.with_name("copy"))).replace(counter)
        feed.table()
        feed.check()

    everything(1)
    before = descriptors()
    for turn in range(20):
        everything(turn)
    assert descriptors() <= before + 1
