"""Plaintext that is asked for on a disk is whole or not there, private, and replaces nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.artifacts import plaintext
from bento_rollout.artifacts.plaintext import placed

WAYS = ("without a name", "with a draft")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: with files that have no name, and where the system knows none."""
    name = str(request.param)
    if name == "with a draft":
        monkeypatch.setattr(plaintext, "_nameless", lambda _: None)
    return name


def write(path: Path, meanwhile: Callable[[], object]) -> None:
    """Write a file, and do something else before it is whole."""
    with placed(path) as file:
        file.write(b"ours")
        meanwhile()


def test_whole(tmp_path: Path, way: str) -> None:
    """It has its name only at the end, and is its owner's alone, whatever the umask."""
    path, before = tmp_path / "model.bin", os.umask(0)
    try:
        with placed(path) as file:
            file.write(b"weights")
            assert not path.exists()
            assert all(one.name.startswith(".") for one in tmp_path.iterdir())
    finally:
        os.umask(before)
    assert [one.name for one in tmp_path.iterdir()] == ["model.bin"]
    assert path.read_bytes() == b"weights"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_from_the_folder_itself(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a folder is in this one."""
    monkeypatch.chdir(tmp_path)
    with placed(Path("x")) as file:
        file.write(b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


@pytest.mark.parametrize("theirs", ["file", "folder", "link"])
def test_replaces_nothing(tmp_path: Path, way: str, theirs: str) -> None:
    """What is there, or comes while it is written, stays; a link is not followed."""
    path = tmp_path / "x"

    def put() -> None:
        if theirs == "file":
            path.write_bytes(b"theirs")
        elif theirs == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileExistsError):
        write(path, put)
    with pytest.raises(FileExistsError), placed(path):
        pytest.fail("it was there")
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
    assert theirs != "file" or path.read_bytes() == b"theirs"


def test_nothing_of_what_failed(tmp_path: Path, way: str) -> None:
    """An error, or an interruption, leaves nothing, and zeros where it was."""
    for error in (ValueError, KeyboardInterrupt):
        kept = fail_with(error, tmp_path / "x")
        assert Path(f"/proc/self/fd/{kept}").read_bytes() == bytes(len(b"ours"))
        os.close(kept)
    assert not list(tmp_path.iterdir())


def fail_with(error: type[BaseException], path: Path) -> int:
    """Fail while a file is written; returns another descriptor of it."""
    kept: list[int] = []

    def writing() -> None:
        with placed(path) as file:
            file.write(b"ours")
            kept.append(os.dup(file.fileno()))
            raise error

    with pytest.raises(error):
        writing()
    return kept[0]


def test_no_folder(tmp_path: Path, way: str) -> None:
    """A folder that is not there is not made."""
    with pytest.raises(FileNotFoundError), placed(tmp_path / "no/x"):
        pytest.fail("nowhere to write")


def test_killed(tmp_path: Path) -> None:
    """``kill -9`` in the middle leaves nothing."""
    if (fd := plaintext._nameless(tmp_path)) is None:
        pytest.skip("this file system has no files without a name")
    os.close(fd)
    script = f"""
import time
from pathlib import Path
from bento_rollout.artifacts.plaintext import placed
with placed(Path({str(tmp_path / "x")!r})) as file:
    file.write(b"canary" * 100_000)
    print("written", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert not list(tmp_path.iterdir())
