"""What may be sealed: regular files, by paths that every host can have, reached without a link."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.artifacts import sources
from bento_rollout.artifacts.sources import find_sources
from bento_rollout.errors import InvalidValue, Refused


def tree(root: Path, *paths: str) -> Path:
    """Make files; each holds its path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path, encoding="utf-8")
    return root


def test_a_folder(tmp_path: Path) -> None:
    """All files below it, in the order of their paths; empty folders are left out."""
    tree(tmp_path, "b", "a/z", "a/b/c", "a.txt", ".hidden", "ü x")
    (tmp_path / "empty").mkdir()
    found = find_sources(tmp_path)
    assert [source.path for source in found] == [".hidden", "a.txt", "a/b/c", "a/z", "b", "ü x"]
    for source in found:
        assert source.size == len(source.path.encode())
        with source.open() as file:
            assert file.read() == source.path.encode()


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file by itself has its own name, also where it was named from its folder."""
    tree(tmp_path, "model.joblib")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "model.joblib", Path("model.joblib")):
        (found,) = find_sources(path)
        assert (found.path, found.size) == ("model.joblib", 12)
        with found.open() as file:
            assert file.read() == b"model.joblib"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (lambda path: path.symlink_to("a"), "symbolic link"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "symbolic link"),
    "link to a folder": (lambda path: path.symlink_to("."), "symbolic link"),
    "pipe": (os.mkfifo, "neither a file nor a folder"),
    "socket": (_socket, "neither a file nor a folder"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, pipes and sockets are refused, in a folder and by themselves; nothing waits for a pipe."""
    make, told = STRANGE[kind]
    tree(tmp_path, "a", "deep/b")
    monkeypatch.chdir(tmp_path)
    make(Path("deep/x"))
    for path in (tmp_path, tmp_path / "deep/x"):
        with pytest.raises(InvalidValue, match=f"deep/x is .*{told}"):
            find_sources(path)


def test_a_device() -> None:
    """A device is refused."""
    with pytest.raises(InvalidValue, match="/dev/zero is neither"):
        find_sources(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (("a", "A"), "the paths 'A' and 'a' collide"),
        (("x\\y",), "a backslash or a control character"),
        (("a\nb",), "a backslash or a control character"),
        (("e\u0301",), "is not in Unicode's form C"),
        ((), "has no file"),
    ],
)
def test_paths_that_no_artifact_has(tmp_path: Path, paths: tuple[str, ...], told: str) -> None:
    """A path that another host could not have is refused before anything is read."""
    tree(tmp_path, *paths)
    with pytest.raises(InvalidValue, match=r"has no file|cannot be sealed") as raised:
        find_sources(tmp_path)
    assert told in str(raised.value)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """A name in another encoding is refused."""
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(InvalidValue, match="has no UTF-8"):
        find_sources(tmp_path)


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than an artifact may have are refused, without looking at all of them."""
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    tree(tmp_path, "a", "b", "c")
    with pytest.raises(InvalidValue, match="more than 2 files"):
        find_sources(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    """What is not there is named."""
    with pytest.raises(InvalidValue, match="nowhere cannot be read: No such file"):
        find_sources(tmp_path / "nowhere")


def test_what_became_a_link(tmp_path: Path) -> None:
    """A file, or a folder above it, that became a link since it was found is refused."""
    tree(tmp_path, "in/deep/a", "secret/a")
    (source,) = find_sources(tmp_path / "in")
    (tmp_path / "in/deep").rename(tmp_path / "moved")
    (tmp_path / "in/deep").symlink_to(tmp_path / "secret")
    with pytest.raises(Refused, match="deep/a cannot be read"), source.open():
        pass
    (tmp_path / "in/deep").unlink()
    (tmp_path / "in/deep").mkdir()
    (tmp_path / "in/deep/a").symlink_to(tmp_path / "secret/a")
    with pytest.raises(Refused, match="deep/a cannot be read"), source.open():
        pass
    (tmp_path / "in/deep/a").unlink()
    os.mkfifo(tmp_path / "in/deep/a")
    with pytest.raises(Refused, match="no regular file any more"), source.open():
        pass


def test_what_is_written_to_meanwhile(tmp_path: Path) -> None:
    """A file that changes while it is sealed is not sealed as half of one and half of another."""
    tree(tmp_path, "a")
    (source,) = find_sources(tmp_path)

    def read() -> None:
        with source.open() as file:
            file.read()
            (tmp_path / "a").write_bytes(b"longer than before")

    with pytest.raises(Refused, match="was written to while it was sealed"):
        read()
