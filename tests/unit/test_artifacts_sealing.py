"""Sealing: encrypted as it is written, there when the signature is, and else not at all."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.artifacts.canonical import Malformed
from bento_rollout.artifacts.paths import PathSet
from bento_rollout.errors import ArtifactNotFound, InvalidValue, KeyUnavailable, Refused
from bento_rollout.testing import FileKms
from tests.unit.seals import FILES, Desk

CANARY = b"CANARY-of-plaintext-0123456789"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Keys, a policy and a shelf."""
    return Desk.make(tmp_path)


def everything(folder: Path) -> bytes:
    """All files below a folder, one after another."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def left(desk: Desk) -> list[str]:
    """What lies on the shelf."""
    return [str(path.relative_to(desk.shelf.root)) for path in sorted(desk.shelf.root.rglob("*"))]


def test_what_is_sealed_is_opened(desk: Desk) -> None:
    """All files come back; on the disk is ciphertext, and the files that the format names."""
    folder = desk.seal(files={**FILES, "big": CANARY * 100_000})
    assert desk.read() == {**FILES, "big": CANARY * 100_000}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *("sealed/manifest.json", "sealed/0000.floe", "sealed/0001.floe", "sealed/0002.floe"),
        *("sealed/0003.floe", "sealed.sig", "keys.age", "keys.json"),
    }
    assert CANARY not in everything(desk.folder)
    assert left(desk)[:2] == ["screening", "screening/latest"]


def test_a_version_is_chosen_before_the_first_byte(desk: Desk) -> None:
    """A name alone gets a version; it is known in the block, and it is the newest."""
    desk.seal("screening:v1")
    with desk.create("screening") as art:
        tag = art.tag
        assert tag.startswith("screening:2")
        assert tag == f"{art.tag}"
        with art.open("a") as file:
            file.write(b"x")
    assert desk.open("screening").manifest.tag == desk.open("screening:latest").manifest.tag == tag
    assert art.manifest == desk.open(tag).manifest


def test_files_may_be_written_side_by_side(desk: Desk) -> None:
    """Two are open at once; the one that is closed first is the first."""
    with desk.create() as art:
        with art.open("a", "wb") as one, art.open("b", "wb") as other:
            one.write(b"1")
            other.write(b"2")
            one.write(b"3")
        threads = [threading.Thread(target=write, args=(art, f"t{number}")) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert desk.open().paths[:2] == ("b", "a")
    assert desk.read() == {"a": b"13", "b": b"2", **{f"t{n}": b"t%d" % n * 100_000 for n in range(16)}}


def write(art: artifacts.Creation, path: str) -> None:
    """Write a file that knows its name."""
    with art.open(path, "wb") as file:
        file.write(path.encode() * 100_000)


def test_close_ends_a_file_as_a_block_does(desk: Desk) -> None:
    """Whoever closes a file by hand has written it."""
    with desk.create() as art:
        file = art.open("a", "wb")
        pickle.dump([1, 2], file)
        file.close()
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")
    assert desk.read() == {"a": pickle.dumps([1, 2])}


def test_a_file_whose_block_fails_was_never_there(desk: Desk) -> None:
    """If the caller goes on, the rest is sealed, and the path is free again."""

    def attempt(art: artifacts.Creation) -> None:
        with art.open("a", "wb") as file:
            file.write(b"half")
            raise OSError("on purpose")

    with desk.create() as art:
        with pytest.raises(OSError, match="on purpose"):
            attempt(art)
        with art.open("b", "wb") as file:
            file.write(b"b")
        with art.open("a", "wb") as file:
            file.write(b"whole")
    assert desk.read() == {"b": b"b", "a": b"whole"}


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a//b", "a\\b", "a\0b", "e\u0301", "x" * 256, "."]
)
def test_paths_that_cannot_be(desk: Desk, path: str) -> None:
    """They are refused when the file is opened."""
    with pytest.raises(InvalidValue, match="path"), desk.create() as art:
        art.open(path, "wb")
    assert left(desk) == []


@pytest.mark.parametrize("second", ["a", "A", "a/b", "\uff41"])
def test_paths_that_collide(desk: Desk, second: str) -> None:
    """Two paths of which some file system makes one are refused, finished or not."""
    with pytest.raises(InvalidValue, match="collide"), desk.create() as art:  # noqa: PT012
        art.open("a", "wb").close()
        art.open(second, "wb")


def test_a_set_of_paths() -> None:
    """A path may not be a folder of one that came before, either."""
    paths = PathSet()
    paths.add("a/b/c")
    for bad in ("A/B", "a", "a/b/c/d"):
        with pytest.raises(Malformed, match="collide"):
            paths.add(bad)
    paths.add("a/b/d")


@pytest.mark.parametrize("mode", ["rb", "ab", "w", "r+b", "xb"])
def test_other_modes(desk: Desk, mode: str) -> None:
    """Files are written once."""
    with pytest.raises(InvalidValue, match="wb"), desk.create() as art:
        art.open("a", mode)


def test_the_block_fails(desk: Desk) -> None:
    """Its exception passes, nothing can be found, and the version is free."""
    with pytest.raises(ZeroDivisionError), desk.create() as art:  # noqa: PT012
        kept = art.open("a", "wb")
        kept.write(CANARY * 100_000)
        _ = 1 / 0
    assert left(desk) == []
    with pytest.raises(ArtifactNotFound):
        desk.open()
    with pytest.raises(ValueError, match="closed"):
        kept.write(b"x")
    desk.seal()
    assert desk.read() == FILES


def test_blocks_that_cannot_end(desk: Desk) -> None:
    """No files, and a file that is still open: nothing is published."""
    with pytest.raises(InvalidValue, match="no files"), desk.create():
        pass
    with pytest.raises(InvalidValue, match="'a' is still open"), desk.create() as art:
        kept = art.open("a", "wb")
    assert kept.closed
    assert left(desk) == []


def test_outside_of_the_block(desk: Desk) -> None:
    """Files are opened within it, and it is entered once."""
    art = desk.create()
    with pytest.raises(InvalidValue, match="within the block"):
        art.open("a", "wb")
    with art:
        art.open("a", "wb").close()
    with pytest.raises(InvalidValue, match="within the block"):
        art.open("b", "wb")
    with pytest.raises(InvalidValue, match="new one"), art:
        pass


@pytest.mark.parametrize(
    ("tag", "more", "message"),
    [
        ("screening:latest", {}, "latest is no version"),
        ("Screening", {}, "the name 'Screening'"),
        ("screening:v/3", {}, "the version 'v/3'"),
        ("screening:", {}, "the version ''"),
        ("screening:v3", {"serial": -1}, "serial=-1"),
        ("screening:v3", {"serial": True}, "serial=True"),
        ("screening:v3", {"serial": 2**53}, "2\\^53-1"),
        ("screening:v3", {"threads": 0}, "threads=0"),
        ("screening:v3", {"recipients": "age1abc"}, "one text"),
        ("screening:v3", {"recipients": ["age1abc"]}, "no recipient"),
        ("screening:v3", {"recipients": []}, "nobody could open it"),
        ("screening:v3", {"passphrase": "x"}, "stands alone"),
        ("screening:v3", {"signer": "nowhere.pem"}, "nowhere.pem"),
    ],
)
def test_arguments_that_cannot_be(desk: Desk, tag: str, more: dict[str, Any], message: str) -> None:
    """They are refused before a byte is written."""
    with pytest.raises(InvalidValue, match=message), desk.create(tag, **more):
        pytest.fail("the block must not begin")
    assert left(desk) == []


def test_a_version_is_never_overwritten(desk: Desk) -> None:
    """Not by the same name, and not by one that was published meanwhile."""
    desk.seal()
    before = everything(desk.shelf.root)
    with pytest.raises(Refused, match="is there already"):
        desk.seal()
    assert everything(desk.shelf.root) == before
    with pytest.raises(Refused, match="is there already"), desk.create("screening:v4") as art:  # noqa: PT012
        art.open("slow", "wb").close()
        desk.seal("screening:v4")
    assert desk.read("screening:v4") == FILES


def test_a_key_service_that_fails_shows_at_once(desk: Desk, tmp_path: Path) -> None:
    """The data key is wrapped before the first byte."""

    class Broken(FileKms):
        def wrap(self, key: bytes, context: Any) -> bytes:
            raise RuntimeError

    service = Broken(tmp_path / "kms")
    with pytest.raises(KeyUnavailable, match="raised RuntimeError"), desk.create(kms={"eu": service}):
        pytest.fail("the block must not begin")
    assert left(desk) == []


def test_who_may_open_it(desk: Desk, tmp_path: Path) -> None:
    """A passphrase, a key service alone, and both a service and recipients."""
    kms = {"eu": FileKms(tmp_path / "kms")}
    desk.seal("a:1", recipients=[], passphrase="correct horse")
    desk.seal("b:1", recipients=[], kms=kms)
    desk.seal("c:1", kms=kms)
    assert desk.read("a:1", passphrase="correct horse") == FILES
    assert desk.read("b:1", kms=kms) == FILES
    assert desk.read("c:1") == FILES
    desk.policy.write_text('keys = ["sign.pub.pem"]')
    assert desk.read("c:1", kms=kms) == FILES
    with pytest.raises(KeyUnavailable, match="no identity was given"):
        desk.open("c:1")
    with pytest.raises(KeyUnavailable, match="passphrase"):
        desk.open("a:1", passphrase="wrong")
    with pytest.raises(KeyUnavailable, match="only a KMS"):
        desk.open("b:1")


def test_add_and_add_folder(desk: Desk, tmp_path: Path) -> None:
    """Files that are there already, with progress; hidden ones too, empty folders not."""
    source = tmp_path / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "b.bin").write_bytes(b"b" * 3_000_000)
    (source / "sub" / ".hidden").write_bytes(b"h")
    (source / "a").write_bytes(b"")
    told: list[int] = []
    with desk.create() as art:
        art.add_folder(source, progress=told.append)
        art.add_folder(source / "sub", below="again/deeper")
        art.add("c", source / "b.bin")
    assert sum(told) == 3_000_001
    assert desk.open().paths == ("a", "b.bin", "sub/.hidden", "again/deeper/.hidden", "c")
    assert bytes(desk.open().read("c")) == b"b" * 3_000_000


def link(path: Path) -> None:
    """Make a link to something that is there."""
    path.symlink_to("/etc/passwd")


def folder_link(path: Path) -> None:
    """Make a link to a folder."""
    path.symlink_to("/etc")


MAKERS: list[Callable[[Path], object]] = [link, folder_link, os.mkfifo]


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_regular_file(desk: Desk, tmp_path: Path, make: Callable[[Path], object]) -> None:
    """Links, pipes and devices are refused, alone and in a folder, without waiting for anybody."""
    source = tmp_path / "source"
    source.mkdir()
    make(source / "odd")
    for path in (source / "odd", Path("/dev/null")):
        with pytest.raises(InvalidValue, match="no regular file"), desk.create() as art:
            art.add("a", path)
    with pytest.raises(InvalidValue, match="no regular file"), desk.create() as art:
        art.add_folder(source)
    assert left(desk) == []


def test_sources_that_are_not_there(desk: Desk, tmp_path: Path) -> None:
    """The system's own error passes; a link to a folder is no folder."""
    with pytest.raises(FileNotFoundError), desk.create() as art:
        art.add("a", tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidValue, match="is no folder"), desk.create() as art:
        art.add_folder(tmp_path / "link")


def test_a_plain_folder_is_a_shelf(desk: Desk, tmp_path: Path) -> None:
    """It holds one artifact; opened by its path it may be any, and by a tag only that one."""
    place = artifacts.PlainFolder(tmp_path / "out")
    desk.seal(shelf=place)
    assert desk.read(tmp_path / "out") == desk.read(str(tmp_path / "out")) == FILES
    assert desk.read("screening", shelf=place) == FILES
    with pytest.raises(Refused):
        desk.seal(shelf=place)
    assert [path.name for path in tmp_path.iterdir()].count("out") == 1
    assert not list(tmp_path.glob(".out*"))


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.unit.seals import Desk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
desk = Desk(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    desk.seal(files={"a": b"a" * 1000, "b": b"b" * 5_000_000})
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("room", [100, 500, 900, 1_000_000, 4_000_000])
def test_a_full_disk_leaves_nothing(desk: Desk, room: int) -> None:
    """Whichever file it is that no longer fits: keys, payload, or the rest of a segment."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(desk.folder), str(room)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert left(desk) == []


@pytest.mark.fault
def test_a_full_file_system_leaves_nothing(desk: Desk) -> None:
    """A small one of its own: what did not fit is gone, and what fits goes in afterwards."""
    desk.shelf.root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(desk.shelf.root)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(OSError, match="No space left"):
            desk.seal(files={"a": b"a", "big": CANARY * 200_000})
        assert left(desk) == []
        desk.seal()
        assert desk.read() == FILES
    finally:
        subprocess.run(["umount", str(desk.shelf.root)], check=True)


KILLED = """
import sys, time
from pathlib import Path
from tests.unit.seals import Desk
desk = Desk(Path(sys.argv[1]))
canary = sys.argv[2].encode()
with desk.create() as art:
    with art.open("first", "wb") as file:
        file.write(canary * 200_000)
    file = art.open("second", "wb")
    file.write(canary * 200_000)
    print("ready", flush=True)
    time.sleep(600)
"""


def test_kill_9_while_sealing(desk: Desk, tmp_path: Path) -> None:
    """No plaintext is in any file, temporary folder or open file; nothing opens; the rest is swept away."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(desk.folder), CANARY.decode()],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary), "BENTOML_HOME": str(tmp_path / "home")},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    for link_ in Path(f"/proc/{child.pid}/fd").iterdir():
        if link_.is_file():
            assert CANARY not in link_.read_bytes()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert CANARY not in everything(tmp_path)
    for path in Path("/dev/shm").iterdir():
        assert not path.is_file() or CANARY not in path.read_bytes()
    assert list(desk.shelf.root.glob(".draft-*"))
    with pytest.raises(ArtifactNotFound):
        desk.open()
    desk.seal()
    assert not list(desk.shelf.root.glob(".draft-*"))
    assert desk.read() == FILES


def test_drafts_in_use_are_not_swept(desk: Desk) -> None:
    """Two seal at a time on one shelf."""
    with desk.create("a:1") as one:
        one.open("x", "wb").close()
        desk.seal("b:1")
        one.open("y", "wb").close()
    assert desk.open("a:1").paths == ("x", "y")


def test_a_crash_of_the_system_is_thought_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file, and each folder, is on the disk before the signature is, and that before the name is."""
    told: list[str] = []
    sync, rename = os.fsync, Path.rename

    def fsync(fd: int) -> None:
        told.append(Path(f"/proc/self/fd/{fd}").readlink().name.split("-")[0])
        sync(fd)

    def renamed(self: Path, target: Path) -> Path:
        told.append(f"-> {Path(target).name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    desk.seal(files={"a": b"a"})
    assert told == [
        *("keys.age", "keys.json", ".1.draft", "-> 0000.floe", "manifest.json", "sealed"),
        *("sealed.sig", "v3", ".latest", "-> v3", "screening", "screening"),
    ]
