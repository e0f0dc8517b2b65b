"""What happens to an artifact while it is opened: cut, replaced, blocked, and opened by many at once."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.artifacts import kms as kms_module
from bento_rollout.artifacts.floe import HEADER_LENGTH, SEGMENT_LENGTH
from bento_rollout.cli import main
from bento_rollout.errors import ArtifactCorrupt, ArtifactError, KeyUnavailable
from bento_rollout.testing import FileKms, KmsFailure
from tests.unit.seals import FILES, Desk

CANARY = b"CANARY-of-what-is-opened-1357"
PLAIN = CANARY * 75_000  # three segments
BLOB = "sealed/0000.floe"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Keys, a policy and a shelf."""
    return Desk.make(tmp_path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with an artifact of three segments; whoever changes it puts it right again."""
    desk = Desk.make(tmp_path_factory.mktemp("large"))
    desk.seal(files={"big": PLAIN})
    return desk


def blob_of(desk: Desk) -> Path:
    """Where the payload lies."""
    return desk.shelf.root / "screening" / "v3" / BLOB


# -- every way to read, and what each may leave -------------------------------------------------------------


def by_memory(artifact: artifacts.Artifact, _folder: Path) -> None:
    """As memory."""
    artifact.read("big")


def by_memfd(artifact: artifacts.Artifact, _folder: Path) -> None:
    """As a file in memory."""
    artifact.memfd("big").close()


def by_links(artifact: artifacts.Artifact, _folder: Path) -> None:
    """As a folder of links."""
    with artifact.folder():
        pass


def by_shared_memory(artifact: artifacts.Artifact, _folder: Path) -> None:
    """As a folder of real files."""
    with artifact.folder(links=False):
        pass


def by_extracting(artifact: artifacts.Artifact, folder: Path) -> None:
    """As a file on a disk."""
    artifact.extract("big", folder / "plain")


Way = Callable[[artifacts.Artifact, Path], None]
WAYS: list[Way] = [by_memory, by_memfd, by_links, by_shared_memory, by_extracting]


def open_files() -> dict[str, str]:
    """The open files of this process."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        if os.path.lexists(link):
            found[link.name] = str(link.readlink())
    return {fd: target for fd, target in found.items() if not target.startswith("/proc/")}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own, where private folders are made too: others use `/dev/shm` meanwhile."""
    monkeypatch.setattr("bento_rollout.artifacts.opening.private_parent", lambda *, in_memory: tmp_path)
    return tmp_path


def refused(artifact: artifacts.Artifact, way: Way, folder: Path, match: str) -> None:
    """It is damage, and no file, name or memory is left of it, with no help of the garbage collector."""
    gc.disable()
    try:
        before, files = set(folder.iterdir()), open_files()
        with pytest.raises(ArtifactCorrupt, match=match) as raised:
            way(artifact, folder)
        assert type(raised.value) is ArtifactCorrupt
        del raised
        assert open_files() == files
        assert set(folder.iterdir()) == before
    finally:
        gc.enable()


EDGES = {
    "begin": 0,
    "header": HEADER_LENGTH,
    "first": HEADER_LENGTH + SEGMENT_LENGTH,
    "second": HEADER_LENGTH + 2 * SEGMENT_LENGTH,
    "end": HEADER_LENGTH + len(PLAIN) + 3 * 32,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("edge", EDGES)
def test_cut_at_every_edge(large: Desk, way: Way, edge: str, places: Path) -> None:
    """One byte before, at and after the end of each segment: to each reader it is as much damage."""
    blob, artifact = blob_of(large), large.open()
    good = blob.read_bytes()
    assert len(good) == EDGES["end"]
    try:
        for size in range(EDGES[edge] - 1, EDGES[edge] + 2):
            if size < 0 or size == len(good):
                continue
            blob.write_bytes(good[:size] + bytes(max(0, size - len(good))))
            refused(artifact, way, places, f"'big': the payload has {size} bytes, and {len(good)} were")
            with pytest.raises(ArtifactCorrupt, match=f"has {size} bytes"):
                large.verify()
    finally:
        blob.write_bytes(good)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_damage_in_every_segment(large: Desk, way: Way, segment: int, places: Path) -> None:
    """Whichever thread finds it: what the others had is wiped and let go."""
    blob, artifact = blob_of(large), large.open(threads=2)
    good = blob.read_bytes()
    damaged = bytearray(good)
    damaged[HEADER_LENGTH + segment * SEGMENT_LENGTH + 100] ^= 1
    blob.write_bytes(damaged)
    try:
        for _ in range(5):
            refused(artifact, way, places, f"segment {segment} of the payload is not the one")
    finally:
        blob.write_bytes(good)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", ["cut", "overwritten"])
def test_changed_under_each_reader(
    large: Desk, way: Way, change: str, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was whole when it was checked, and is not when its last segment is read."""
    blob, artifact = blob_of(large), large.open(threads=1)
    good, fill = blob.read_bytes(), os.preadv

    def late(fd: int, buffers: Any, offset: int) -> int:
        if offset == EDGES["second"]:
            blob.write_bytes(good[: offset + 5] if change == "cut" else bytes(len(good)))
        return fill(fd, buffers, offset)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", late)
            match = "is cut short" if change == "cut" else "segment 2 of the payload is not the one"
            refused(artifact, way, places, match)
    finally:
        blob.write_bytes(good)
    assert bytes(large.open().read("big")) == PLAIN


def test_replaced_after_it_was_opened(desk: Desk) -> None:
    """What was signed is known by then: small files no longer count, and another's payload is refused."""
    folder = desk.seal()
    other = desk.seal("screening:v4")
    artifact = desk.open()
    for name in ("sealed.sig", "keys.age", "keys.json", "sealed/manifest.json"):
        shutil.copy(other / name, folder / name)
    assert {path: bytes(artifact.read(path)) for path in artifact.paths} == FILES
    shutil.rmtree(folder)
    with pytest.raises(ArtifactCorrupt, match=r"0000\.floe is missing"):
        artifact.read("model.bin")
    shutil.copytree(other, folder)
    with pytest.raises(ArtifactCorrupt, match="header is not the one that was signed"):
        artifact.read("model.bin")


def test_replaced_before_the_first_byte(desk: Desk) -> None:
    """A newer artifact takes an older one's place again and again: one or the other opens, and no mix."""
    contents = {"a": b"old" * 1000}, {"a": b"new" * 1000}
    sources = [desk.seal(f"screening:s{number}", files=content) for number, content in enumerate(contents)]
    place = desk.folder / "place"
    stop, read = threading.Event(), []

    def swap() -> None:
        number = 0
        while not stop.is_set():
            shutil.copytree(sources[number % 2], desk.folder / "draft")
            if place.exists():
                place.rename(desk.folder / "old")
            (desk.folder / "draft").rename(place)
            shutil.rmtree(desk.folder / "old", ignore_errors=True)
            number += 1

    swapper = threading.Thread(target=swap)
    shutil.copytree(sources[0], place)
    swapper.start()
    try:
        for _ in range(100):
            try:
                read.append(desk.read(place))
            except ArtifactError:
                continue
    finally:
        stop.set()
        swapper.join()
    assert all(found in contents for found in read)


# -- in the signed folder -----------------------------------------------------------------------------------


def a_pipe(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def a_link(path: Path) -> None:
    """A link to a file that was signed."""
    path.symlink_to("0000.floe")


def a_link_to_nothing(path: Path) -> None:
    """A link to what is not there."""
    path.symlink_to("nowhere")


def a_ring(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


def a_socket(path: Path) -> None:
    """A socket."""
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def a_device(path: Path) -> None:
    """The device that gives zeros for ever."""
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices are made by root")


@pytest.mark.parametrize("make", [a_pipe, a_link, a_link_to_nothing, a_ring, a_socket, a_device])
@pytest.mark.parametrize("name", ["sealed/extra", BLOB])
def test_odd_files(
    desk: Desk,
    make: Callable[[Path], None],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One more, or in a file's place: never opened, never waited for; the command line says the same."""
    folder = desk.seal()
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    for call in (desk.open, desk.verify):
        with pytest.raises(ArtifactCorrupt, match=f"'{name.removeprefix('sealed/')}' is no regular file"):
            call()
    target, policy = tmp_path / "plain", str(desk.policy)
    for line in (["verify", str(folder)], ["open", str(folder), "model.bin", "--output", str(target)]):
        assert main(["artifacts", *line, "--policy", policy, "--json"]) == 12
        assert json.loads(capsys.readouterr().out)["error"]["type"] == "artifact_corrupt"
    assert not target.exists()


# -- many at once -------------------------------------------------------------------------------------------


def load_many(desk: Desk, threads: int) -> list[str]:
    """Load in so many threads at once, in all ways, the good one and the bad one in turns."""

    def load(number: int) -> str:
        version, as_ = ("v3", "bad")[number % 2], ("file", "bytes", "path", "folder")[number // 2 % 4]
        given = []

        def loader(it: Any) -> bytes:
            given.append(it)
            raw = it if isinstance(it, bytes) else Path(it).read_bytes() if isinstance(it, str) else it.read()
            return bytes(raw)

        try:
            found = artifacts.load(
                f"screening:{version}",
                "big",
                loader=loader,
                as_=as_,  # type: ignore[arg-type]  # one of the four
                policy=desk.policy,
                shelf=desk.shelf,
            )
        except ArtifactCorrupt:
            return f"{version} refused" if not given else "released"
        return f"{version} {'right' if found == PLAIN else 'wrong'}"

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(load, range(threads)))


def test_sixteen_threads_in_four_processes(desk: Desk) -> None:
    """Each sees the right content of the good one, and nothing of the bad one."""
    folder = desk.seal(files={"big": PLAIN})
    bad = Path(shutil.copytree(desk.seal("screening:bad", files={"big": PLAIN}), desk.folder / "kept"))
    shutil.rmtree(folder.parent / "bad")
    raw = bytearray((bad / BLOB).read_bytes())
    raw[-1] ^= 1
    (bad / BLOB).write_bytes(raw)
    shutil.move(bad, folder.parent / "bad")
    before = set(desk.folder.iterdir())
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(load_many, [(desk, 16)] * 4)
    assert found == [["v3 right", "bad refused"] * 8] * 4
    assert set(desk.folder.iterdir()) == before


# -- key services -------------------------------------------------------------------------------------------


class Released(FileKms):
    """A service whose calls hang until the test lets them go."""

    release: threading.Event

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        self.release.wait()
        return super().unwrap(blob, context)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let calls that hang end: each test has places for them of its own, and waits until they have ended."""
    monkeypatch.setattr(kms_module, "_places", threading.BoundedSemaphore(kms_module.MAX_HANGING))
    others, release = set(threading.enumerate()), threading.Event()
    yield release
    release.set()
    for thread in set(threading.enumerate()) - others:
        thread.join(10)


@pytest.mark.parametrize("failure", KmsFailure)
def test_a_key_service_that_fails(
    desk: Desk,
    tmp_path: Path,
    failure: KmsFailure,
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It raises, hangs or returns 31 bytes: no key, by `open` or `load`; no loader runs."""
    said = {
        "RAISES": "raised PermissionError",
        "HANGS": "took longer than 0.2 s",
        "SHORT": "returned 31 bytes",
    }
    good = FileKms(tmp_path / "kms")
    desk.seal(recipients=[], kms={"eu": good, "us": good})
    bounded = kms_module._bounded
    monkeypatch.setattr(kms_module, "_bounded", lambda what, _seconds, *rest: bounded(what, 0.2, *rest))
    bad = Released(tmp_path / "kms", None if failure is KmsFailure.HANGS else failure)
    bad.release = release
    if failure is not KmsFailure.HANGS:
        release.set()
    for services in ({"eu": bad}, {"eu": bad, "us": bad}):
        with pytest.raises(KeyUnavailable, match=f"unwrap of the KMS 'eu' {said[failure.name]}") as raised:
            desk.open(kms=services)
        assert type(raised.value) is KeyUnavailable
        with pytest.raises(KeyUnavailable, match=said[failure.name]):
            artifacts.load(
                "screening:v3",
                "model.bin",
                loader=lambda _: pytest.fail("the loader ran"),
                policy=desk.policy,
                shelf=desk.shelf,
                kms=services,
            )
    assert desk.verify().manifest.tag == "screening:v3"
    assert desk.read(kms={"eu": bad, "us": good}) == FILES


def test_a_key_service_that_lies(desk: Desk, tmp_path: Path) -> None:
    """32 bytes that are another key: nothing of the payload passes."""

    class Liar(FileKms):
        def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
            return bytes(32)

    desk.seal(recipients=[], kms={"eu": FileKms(tmp_path / "kms")})
    with pytest.raises(ArtifactCorrupt, match="another key"):
        desk.read(kms={"eu": Liar(tmp_path / "kms")})
