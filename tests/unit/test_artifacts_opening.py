"""Opening: the order of checks, what is swapped or edited, and what loaders are given."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.artifacts.keeping import resign, rewrap
from bento_rollout.artifacts.plaintext import SealedMemory, private_parent
from bento_rollout.artifacts.signature import sign
from bento_rollout.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactNotFound,
    InvalidValue,
    KeyUnavailable,
    PolicyViolated,
    SignatureInvalid,
)
from bento_rollout.testing import FileKms
from tests.unit.seals import FILES, Desk

PARTS = ["sealed.sig", "keys.age", "keys.json", "sealed/manifest.json", "sealed/0000.floe"]
CANARY = b"CANARY-of-plaintext-9876543210"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Keys, a policy and a shelf."""
    return Desk.make(tmp_path)


def test_the_order_of_checks(desk: Desk) -> None:
    """With everything wrong at once, each mended thing shows the next check."""
    folder = desk.seal("screening:v3")
    good = desk.folder / "good"
    shutil.copytree(folder, good)
    other = desk.seal("other:v3", serial=7)
    for name in PARTS:
        (folder / name).write_bytes(b"wrong")
    (folder / "sealed" / "extra").write_bytes(b"")
    shutil.copytree(folder, desk.shelf.root / "screening" / "renamed")
    desk.policy.rename(desk.policy.with_name("away"))

    def refused(kind: type[Exception], message: str) -> None:
        with pytest.raises(kind, match=message) as raised:
            desk.open()
        assert type(raised.value) is kind

    def mend(name: str, source: Path = good) -> None:
        shutil.copy(source / name, folder / name)

    refused(PolicyViolated, "trust policy cannot be used")
    desk.trust('[models."screening"]\nmin_serial = 43\n[models."other"]\nmin_serial = 8\n')
    refused(SignatureInvalid, "sealed.sig is not valid")
    mend("sealed.sig", other)
    refused(ArtifactCorrupt, "manifest.json is not what was signed")
    mend("sealed/manifest.json", other)
    refused(ArtifactCorrupt, "sealed/extra is not among")
    (folder / "sealed" / "extra").unlink()
    refused(ArtifactCorrupt, "was sealed as other:v3")
    for name in ("sealed.sig", "sealed/manifest.json"):
        mend(name)
    refused(PolicyViolated, "serial 42")
    desk.trust()
    refused(ArtifactCorrupt, "keys.age is not valid")
    mend("keys.age")
    refused(ArtifactCorrupt, r"keys\.json is not valid")
    mend("keys.json")
    with pytest.raises(ArtifactCorrupt, match=r"'model\.bin': the payload has 5 bytes"):
        desk.read()
    mend("sealed/0000.floe")
    assert desk.read() == FILES


def test_no_policy_is_an_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no mode without one; the environment may name it."""
    monkeypatch.delenv("BENTO_ROLLOUT_TRUST", raising=False)
    desk.seal()
    with pytest.raises(PolicyViolated, match="no trust policy was given"):
        desk.open(policy=None)
    with pytest.raises(PolicyViolated, match="empty"):
        desk.verify(policy=None, public_keys=[])
    with pytest.raises(InvalidValue, match="not both"):
        desk.verify(public_keys=[desk.public])
    monkeypatch.setenv("BENTO_ROLLOUT_TRUST", str(desk.policy))
    assert desk.read(policy=None) == FILES
    monkeypatch.delenv("BENTO_ROLLOUT_TRUST")
    found = desk.verify(policy=None, public_keys=desk.public)
    assert found.key.pem == desk.public.read_bytes()
    with pytest.raises(KeyUnavailable):  # keys alone name no identity
        desk.open(policy=None, public_keys=[desk.public])


SWAPPED = [pair for count in range(1, 5) for pair in itertools.combinations(PARTS, count)]


@pytest.mark.parametrize("parts", SWAPPED, ids="+".join)
def test_parts_of_another_artifact(desk: Desk, parts: tuple[str, ...]) -> None:
    """Any of signature, keys, manifest and payload that are another's: nothing of the file is read.

    ``keys.json`` alone is for people; and another's manifest and signature with its own payload and keys
    are the other artifact.
    """
    desk.seal(files={"model.bin": CANARY})
    mine = desk.shelf.find("screening:v3").folder
    another = desk.seal("screening:v4", files={"model.bin": CANARY})
    for name in parts:
        shutil.copy(another / name, mine / name)
    if parts == ("keys.json",):
        assert desk.read() == {"model.bin": CANARY}
        return
    with pytest.raises(ArtifactCorrupt):
        desk.read()


def test_keys_of_another_tell_nothing_to_a_verifier(desk: Desk) -> None:
    """Whoever only verifies sees that the signed files are right."""
    mine, another = desk.seal("screening:v3"), desk.seal("screening:v4")
    shutil.copy(another / "keys.age", mine / "keys.age")
    assert desk.verify().manifest.tag == "screening:v3"
    with pytest.raises(ArtifactCorrupt, match="another key"):
        desk.read()


def test_files_swapped_within(desk: Desk) -> None:
    """Two blobs of one artifact, of the same size."""
    folder = desk.seal(files={"a": b"1" * 100, "b": b"2" * 100})
    one, two = folder / "sealed/0000.floe", folder / "sealed/0001.floe"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    for path in ("a", "b"):
        with pytest.raises(ArtifactCorrupt, match=f"'{path}': the payload's header"):
            desk.open().read(path)
    with pytest.raises(ArtifactCorrupt, match="'a': "):
        desk.verify()


def test_a_renamed_tag(desk: Desk) -> None:
    """Name and version are signed."""
    folder = desk.seal()
    shutil.copytree(folder, desk.shelf.root / "screening" / "v4")
    shutil.copytree(folder, desk.shelf.root / "other" / "v3")
    for tag in ("screening:v4", "other:v3"):
        with pytest.raises(ArtifactCorrupt, match=f"what lies at {tag} was sealed as screening:v3"):
            desk.open(tag)


def test_latest_rewritten(desk: Desk) -> None:
    """It is not signed: it may name an older version, which the policy refuses, or nonsense."""
    desk.seal("screening:v3", serial=42)
    desk.seal("screening:v4", serial=43)
    latest = desk.shelf.root / "screening" / "latest"
    assert desk.open("screening").manifest.version == "v4"
    latest.write_text("v3\n")
    assert desk.open("screening").manifest.version == "v3"
    desk.trust('[models."screening"]\nmin_serial = 43\n')
    with pytest.raises(PolicyViolated, match="older release"):
        desk.open("screening")
    for nonsense in ("../../etc", "latest", "", "v5", "x" * 1000):
        latest.write_text(nonsense)
        with pytest.raises(ArtifactNotFound):
            desk.open("screening")
    latest.unlink()
    os.mkfifo(latest)
    with pytest.raises(ArtifactNotFound, match="no newest version"):
        desk.open("screening")


def test_rollback_and_time(desk: Desk) -> None:
    """An older serial, an equal one of another artifact, and a policy whose day is over."""
    desk.seal("screening:v3", serial=42)
    desk.seal("screening:v4", serial=42)
    assert artifacts.bump(desk.policy, desk.verify("screening:v3").manifest)
    assert desk.read("screening:v3") == FILES
    with pytest.raises(PolicyViolated, match="another artifact of this serial"):
        desk.open("screening:v4")
    desk.trust('[models."screening"]\nnot_after = 2027-01-01\n')
    now = datetime(2027, 1, 1, 23, 59, tzinfo=timezone.utc)
    assert desk.read(now=now) == FILES
    for call in (desk.open, desk.verify):
        with pytest.raises(PolicyViolated, match="not_after"):
            call(now=now.replace(day=2, hour=0))


@pytest.mark.parametrize("path", ["sealed/extra", "sealed/.gitignore", "sealed/0003.floe"])
def test_an_extra_file(desk: Desk, path: str) -> None:
    """Whatever its name, in the signed folder."""
    folder = desk.seal()
    (folder / path).write_bytes(b"")
    for call in (desk.open, desk.verify):
        with pytest.raises(ArtifactCorrupt, match="is not among the files that were signed"):
            call()


@pytest.mark.parametrize("name", ["sealed/0001.floe", "sealed/manifest.json", "sealed"])
def test_a_missing_file(desk: Desk, name: str) -> None:
    """Each of those that were signed."""
    folder = desk.seal()
    shutil.rmtree(folder / name) if name == "sealed" else (folder / name).unlink()
    for call in (desk.open, desk.verify):
        with pytest.raises(ArtifactCorrupt, match="missing"):
            call()


def test_missing_outside_of_the_signed_folder(desk: Desk) -> None:
    """No signature, no keys, and a folder that is no artifact."""
    folder = desk.seal()
    (folder / "keys.json").unlink()
    assert desk.read() == FILES
    (folder / "keys.age").unlink()
    with pytest.raises(ArtifactCorrupt, match=r"neither keys\.age nor keys\.json"):
        desk.open()
    (folder / "sealed.sig").unlink()
    with pytest.raises(SignatureInvalid, match="nobody signed this"):
        desk.open()
    shutil.rmtree(folder / "sealed")
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    for call in (desk.open, desk.verify):
        with pytest.raises(ArtifactNotFound, match="no sealed artifact"):
            call()
    with pytest.raises(ArtifactNotFound):
        artifacts.inspect("screening:v3", shelf=desk.shelf)


def as_link(path: Path) -> None:
    """A link to the same content elsewhere."""
    moved = path.rename(path.parent.parent / f"moved-{path.name}")
    path.symlink_to(moved)


def as_fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    """A folder."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make", [as_link, as_fifo, as_folder])
@pytest.mark.parametrize("name", PARTS)
def test_what_is_no_regular_file(desk: Desk, name: str, make: Any) -> None:
    """A link, a pipe or a folder in the place of any file, without waiting."""
    folder = desk.seal()
    make(folder / name)
    kind = SignatureInvalid if name == "sealed.sig" else ArtifactCorrupt
    with pytest.raises(kind, match="no regular file"):
        desk.open()
    if not name.startswith("keys"):
        with pytest.raises(kind, match="no regular file"):
            desk.verify()


def test_the_signed_folder_is_a_link(desk: Desk) -> None:
    """Even to the very same files."""
    folder = desk.seal()
    (folder / "sealed").rename(folder / "elsewhere")
    (folder / "sealed").symlink_to(folder / "elsewhere")
    with pytest.raises(ArtifactCorrupt, match="no folder of its own"):
        desk.open()


def test_files_that_are_too_large(desk: Desk) -> None:
    """They are read up to their limits, and not into memory as a whole."""
    folder = desk.seal()
    for name, kind in (
        *(("keys.json", ArtifactCorrupt), ("keys.age", ArtifactCorrupt)),
        *(("sealed/manifest.json", ArtifactCorrupt), ("sealed.sig", SignatureInvalid)),
    ):
        os.truncate(folder / name, 2**40)
        with pytest.raises(kind, match="more than"):
            desk.open()


def test_a_host_that_may_read_cannot_forge(desk: Desk) -> None:
    """Whoever has the data key can make good GCM tags; the signed hashes refuse them."""
    from bento_rollout.artifacts.floe import Message

    folder = desk.seal(files={"model.bin": b"weights"})
    artifact = desk.open()
    _, file = artifact.manifest.find("model.bin")
    message = Message.resume(artifact._data_key, artifact.manifest.aad("model.bin"), file.header)
    forged = bytearray(len(b"poisons") + 32)
    message.seal_into(memoryview(b"poisons"), 0, True, memoryview(forged))
    (folder / "sealed/0000.floe").write_bytes(file.header + forged)
    with pytest.raises(ArtifactCorrupt, match="its SHA-256 differs"):
        desk.read()


def test_a_signer_whose_manifest_lies(desk: Desk) -> None:
    """Even with a good signature, hashes of segments that are not those of the whole file are found."""
    folder = desk.seal(files={"a": b"1", "b": b"2"})
    manifest = desk.verify().manifest
    raw = manifest.to_bytes()
    digests = {
        "manifest.json": hashlib.sha256(raw).digest(),
        "0000.floe": hashlib.sha256((folder / "sealed/0000.floe").read_bytes()).digest(),
        "0001.floe": bytes(32),
    }
    (folder / "sealed.sig").write_bytes(sign(digests, artifacts.read_signer(desk.signer)))
    assert desk.read() == {"a": b"1", "b": b"2"}
    with pytest.raises(ArtifactCorrupt, match=r"0001\.floe is not what was signed"):
        desk.verify()


def test_the_file_changes_while_it_is_opened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced, cut or edited between the checks and the read: old content, or an error, and never a mix."""
    content = {"big": os.urandom(5_000_000)}
    folder = desk.seal(files=content)
    blob = folder / "sealed/0000.floe"
    good, bad = blob.read_bytes(), os.urandom(blob.stat().st_size)
    fill = os.preadv
    for change in (
        lambda: blob.write_bytes(bad),
        lambda: os.truncate(blob, 2_000_000),
        lambda: os.truncate(blob, 0),
    ):
        blob.write_bytes(good)
        artifact, calls = desk.open(threads=1), itertools.count()

        def late(*arguments: Any, change: Any = change, calls: Any = calls) -> int:
            if next(calls) == 5:
                change()
            return fill(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", late)
            with pytest.raises(ArtifactCorrupt, match=r"SHA-256 differs|cut short"):
                artifact.read("big")
    blob.unlink()  # and a replaced file is another file: the one that was opened is read on
    blob.write_bytes(good)
    assert desk.read() == content


def test_replaced_in_a_loop(desk: Desk) -> None:
    """One swaps good and bad versions as fast as he can, others open: content, or the error, for each."""
    content = {"big": os.urandom(3_000_000)}
    folder = desk.seal(files=content)
    blob = folder / "sealed/0000.floe"
    good = blob.read_bytes()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    stop = threading.Event()

    def swap() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            draft = folder / "draft"
            draft.write_bytes(bad if number % 2 else good)
            draft.replace(blob)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(60):
            with suppress(ArtifactCorrupt):
                assert desk.read() == content
    finally:
        stop.set()
        swapper.join()


def open_many(desk: Desk, count: int) -> int:
    """Open in so many threads at once, and return how many saw the right content."""
    with ThreadPoolExecutor(count) as pool:
        return sum(found == FILES for found in pool.map(lambda _: desk.read(), range(count)))


def test_threads_and_processes_at_once(desk: Desk) -> None:
    """16 threads, and 4 processes."""
    desk.seal()
    assert open_many(desk, 16) == 16
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.starmap(open_many, [(desk, 4)] * 4) == [4] * 4


def test_one_artifact_in_many_threads(desk: Desk) -> None:
    """An open artifact may be read by all of them."""
    desk.seal()
    artifact = desk.open()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: bytes(artifact.read("model.bin")), range(64))) == {b"weights"}


def test_one_file_of_many_reads_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the small files and that one are opened, whatever is wrong with others."""
    files = {f"f{number}": b"%d" % number * 1000 for number in range(50)}
    folder = desk.seal(files=files)
    for number in range(50):
        if number != 7:
            (folder / f"sealed/{number:04d}.floe").write_bytes(b"damaged")
    seen: list[str] = []
    opener = os.open

    def told(path: Any, *arguments: Any, **more: Any) -> int:
        seen.append(Path(path).name)
        return opener(path, *arguments, **more)

    monkeypatch.setattr(os, "open", told)
    assert bytes(desk.open().read("f7")) == b"7" * 1000
    assert [name for name in seen if "floe" in name] == ["0007.floe"]
    with pytest.raises(ArtifactCorrupt, match="'f8'"):
        desk.open().read("f8")


def test_a_file_that_is_not_there(desk: Desk) -> None:
    """The message lists those that are; nothing of an artifact shows its key."""
    desk.seal()
    artifact = desk.open()
    for call in (artifact.read, artifact.open, artifact.memfd):
        with pytest.raises(ArtifactNotFound, match=r"no file 'model\.pkl'; it has: 'model\.bin'"):
            call("model.pkl")
    assert "_data_key" not in repr(artifact)
    assert artifact._data_key.hex() not in repr(artifact)
    with pytest.raises(InvalidValue, match="threads=0"):
        desk.open(threads=0)
    for tag in ("screening:v9", "nothing", Path("/nowhere"), "no/where"):
        with pytest.raises(ArtifactNotFound):
            desk.open(tag)


def test_a_seekable_file(desk: Desk) -> None:
    """As a file on a disk: seek, read, lines, and the end."""
    desk.seal(files={"a": b"one\ntwo\nthree"})
    with desk.open().open("a") as file:
        assert file.seekable()
        assert file.readable()
        assert not file.writable()
        assert file.read(4) == b"one\n"
        assert file.readlines() == [b"two\n", b"three"]
        assert file.seek(-5, io.SEEK_END) == 8
        assert (file.read(), file.read(), file.tell()) == (b"three", b"", 13)
        assert file.seek(4) == 4
        assert file.seek(1, io.SEEK_CUR) == 5
        assert file.read(2) == b"wo"
        assert (file.seek(100), file.read()) == (100, b"")
        with pytest.raises(OSError, match="before the first byte"):
            file.seek(-1000, io.SEEK_END)
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, 9)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_a_file_in_memory(desk: Desk) -> None:
    """It has a name in this process, nobody can change it, and it ends with its block."""
    desk.seal()
    with desk.open().memfd("model.bin") as memory:
        assert Path(memory.path).read_bytes() == b"weights"
        assert "model.bin" in str(Path(memory.path).readlink())
        for change in (lambda: os.pwrite(memory.fd, b"x", 0), lambda: os.truncate(memory.fd, 0)):
            with pytest.raises(OSError, match="not permitted"):
                change()
        kept = memory.path
    assert not Path(kept).exists()
    memory.close()
    with desk.open().memfd("empty") as memory:
        assert Path(memory.path).read_bytes() == b""


def test_a_file_in_memory_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it stays open: neither for damage nor when there is no memory, and no file is too many."""
    folder = desk.seal(files={"a": CANARY})
    artifact = desk.open()
    blob = bytearray((folder / "sealed/0000.floe").read_bytes())
    blob[-1] ^= 1
    (folder / "sealed/0000.floe").write_bytes(blob)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ArtifactCorrupt):
        artifact.memfd("a")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="100 bytes"):  # noqa: PT012
        patch.setattr(os, "posix_fallocate", full)
        SealedMemory("a", 100, lambda _: None)

    def many(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch, pytest.raises(ArtifactError, match="ulimit -n"):  # noqa: PT012
        patch.setattr(os, "memfd_create", many)
        SealedMemory("a", 100, lambda _: None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("links", [True, False])
def test_a_folder(desk: Desk, links: bool) -> None:
    """All files are there, for this user alone, and gone when the block ends, by an exception too."""
    desk.seal()
    artifact = desk.open()

    def use() -> Path:
        with artifact.folder(links=links) as folder:
            found = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
            assert found == FILES
            assert folder.stat().st_mode & 0o777 == 0o700
            code = f"print(open({str(folder / 'model.bin')!r}).read())"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout == "weights\n"  # other processes of the same user see it, too
            if links:
                with pytest.raises(OSError, match="not permitted"):
                    os.truncate(folder / "model.bin", 0)
            raised.append(folder)
            raise ZeroDivisionError

    raised: list[Path] = []
    with pytest.raises(ZeroDivisionError):
        use()
    assert not raised[0].exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_of_what_is_damaged(desk: Desk, links: bool) -> None:
    """The loader does not begin, and nothing is left."""
    folder = desk.seal(files={"a": CANARY, "b": b"b"})
    (folder / "sealed/0001.floe").write_bytes(b"x")
    before = set(private_parent(in_memory=True).glob("bento-rollout-open-*"))
    with pytest.raises(ArtifactCorrupt, match="'b'"), desk.open().folder(links=links):
        pytest.fail("the block must not begin")
    assert set(private_parent(in_memory=True).glob("bento-rollout-open-*")) <= before


OPENED = """
import sys, time
from pathlib import Path
from tests.unit.seals import Desk
with Desk(Path(sys.argv[1])).open().folder(links=sys.argv[2] == "True") as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("links", [True, False])
def test_kill_9_with_an_open_folder(desk: Desk, links: bool, tmp_path: Path) -> None:
    """Of links nothing but names is left; real files stay in memory until the next folder is opened."""
    desk.seal(files={"a": CANARY * 1000})
    child = subprocess.Popen(
        [sys.executable, "-c", OPENED, str(desk.folder), str(links)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    left = Path(child.stdout.readline().strip())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert os.path.lexists(left / "a")
    assert (left / "a").exists() is not links
    assert CANARY not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with desk.open().folder():
        assert not left.exists()


def test_no_shared_memory(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file system in memory there are links, and no real files; one that is full says so."""
    desk.seal()
    with monkeypatch.context() as patch:
        patch.setattr("bento_rollout.artifacts.plaintext._SHARED_MEMORY", tmp_path)
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        with desk.open().folder() as folder:
            assert folder.parent == tmp_path
            assert (folder / "model.bin").read_bytes() == b"weights"
        with pytest.raises(ArtifactError, match="no file system in memory"), desk.open().folder(links=False):
            pytest.fail("plaintext would be on a disk")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bento_rollout.artifacts.opening._write", full)
        with pytest.raises(ArtifactError, match="shm-size"), desk.open().folder(links=False):
            pytest.fail("the block must not begin")


def test_extract(desk: Desk, tmp_path: Path) -> None:
    """Plaintext on a disk, for its owner alone, when all of it has passed; else nothing."""
    content = os.urandom(20 * 2**20)
    folder = desk.seal(files={"big": content, "empty": b""})
    out, told = tmp_path / "out", list[int]()
    desk.open().extract("big", out, progress=told.append)
    assert out.read_bytes() == content
    assert out.stat().st_mode & 0o777 == 0o600
    assert sum(told) == len(content)
    desk.open().extract("empty", tmp_path / "none")
    assert (tmp_path / "none").read_bytes() == b""
    blob = folder / "sealed/0000.floe"
    damaged = bytearray(blob.read_bytes())
    damaged[-1] ^= 1
    blob.write_bytes(damaged)
    with pytest.raises(ArtifactCorrupt, match="segment 20"):
        desk.open().extract("big", tmp_path / "again")
    assert not list(tmp_path.glob("*again*"))
    assert not list(tmp_path.glob(".*"))


def test_load(desk: Desk) -> None:
    """The loader gets what it asks for, and its own errors pass."""
    desk.seal()
    places: dict[str, Any] = {"policy": desk.policy, "shelf": desk.shelf}

    def load(path: str | None, loader: Any, **more: Any) -> Any:
        return artifacts.load("screening:v3", path, loader=loader, **places, **more)

    assert load("model.bin", lambda file: file.read()) == b"weights"
    assert load("model.bin", lambda file: file, as_="file").read() == b"weights"
    assert load("model.bin", lambda raw: (type(raw), raw), as_="bytes") == (bytes, b"weights")
    assert load("model.bin", lambda name: Path(name).read_bytes(), as_="path") == b"weights"
    inside = load(
        "conf/labels.txt",
        lambda name: sorted(path.name for path in Path(name).parent.parent.iterdir()),
        as_="folder",
    )
    assert inside == ["conf", "empty", "model.bin"]
    assert load(None, lambda name: Path(name, "model.bin").read_bytes(), as_="folder") == b"weights"
    with pytest.raises(InvalidValue, match="as_='memory'"):
        load("model.bin", bytes, as_="memory")
    with pytest.raises(InvalidValue, match="path=None"):
        load(None, bytes)
    with pytest.raises(ArtifactNotFound):
        load("nothing", bytes, as_="folder")
    with pytest.raises(ZeroDivisionError):
        load("model.bin", lambda _: 1 / 0)


def test_no_loader_runs_before_all_has_passed(desk: Desk) -> None:
    """Whatever it would be given, after whatever change."""
    folder = desk.seal()
    blob = folder / "sealed/0000.floe"
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    for as_ in ("file", "bytes", "path", "folder"):
        with pytest.raises(ArtifactCorrupt):
            artifacts.load(
                "screening:v3",
                "model.bin",
                loader=lambda _: pytest.fail("the loader ran"),
                as_=as_,
                policy=desk.policy,
                shelf=desk.shelf,
            )


def test_inspect(desk: Desk, tmp_path: Path) -> None:
    """What is there is told without a key or a policy, damaged or not."""
    folder = desk.seal(kms={"eu": FileKms(tmp_path / "kms")})
    found = artifacts.inspect("screening:v3", shelf=desk.shelf)
    assert found.manifest == desk.verify().manifest
    assert found.signer == artifacts.read_public_key(desk.public).hint
    assert (found.recipients, found.services, found.passphrase) == (tuple(desk.recipients), ("eu",), False)
    assert (found.tag, found.problems) == ("screening:v3", ())
    desk.seal("p:1", recipients=[], passphrase="x")
    assert artifacts.inspect("p", shelf=desk.shelf).passphrase
    (folder / "sealed" / "extra").write_bytes(b"")
    assert "'extra'" in artifacts.inspect(folder).problems[0]
    for name in ("sealed.sig", "keys.age", "sealed/manifest.json"):
        (folder / name).write_bytes(b"{}")
    found = artifacts.inspect(folder)
    assert (found.manifest, found.signer, found.recipients) == (None, None, ())
    assert len(found.problems) == 3


def test_rewrap(desk: Desk, tmp_path: Path) -> None:
    """Who may open it changes, the signature stays, and nobody is kept by accident."""
    folder = desk.seal()
    signed = (folder / "sealed.sig").read_bytes()
    artifacts.keygen(tmp_path / "new")
    recipients = (tmp_path / "new" / "recipient.txt").read_text().split()
    kms = {"eu": FileKms(tmp_path / "kms")}
    common: dict[str, Any] = {"policy": desk.policy, "shelf": desk.shelf}
    assert rewrap("screening:v3", recipients=recipients, new_kms=kms, **common).recipients == (*recipients,)
    assert (folder / "sealed.sig").read_bytes() == signed
    with pytest.raises(KeyUnavailable, match="was not wrapped for"):
        desk.open()
    assert desk.read(identity=tmp_path / "new" / "identity.txt") == FILES
    rewrap("screening:v3", new_kms=kms, kms=kms, **common)
    assert not (folder / "keys.age").exists()
    assert desk.read(kms=kms) == FILES
    rewrap("screening:v3", new_passphrase="horse", kms=kms, **common)
    assert desk.read(passphrase="horse") == FILES
    rewrap("screening:v3", recipients=desk.recipients, passphrase="horse", **common)
    assert desk.read() == FILES
    assert desk.verify().manifest.tag == "screening:v3"
    assert not list(folder.glob(".*"))


def test_operators_meet(desk: Desk, tmp_path: Path) -> None:
    """Many rewrap and sign again at once: each call does its work, and what is left is one of theirs."""
    folder = desk.seal()
    teams = [tmp_path / f"team-{number}" for number in range(6)]
    for team in teams:
        artifacts.keygen(team)
    recipients = {team: (team / "recipient.txt").read_text().split() for team in teams}
    common: dict[str, Any] = {"policy": desk.policy, "shelf": desk.shelf}
    ours = desk.recipients

    def work(team: Path) -> None:
        rewrap("screening:v3", recipients=[*ours, *recipients[team]], **common)
        resign("screening:v3", signer=desk.signer, **common)

    with ThreadPoolExecutor(len(teams)) as pool:
        list(pool.map(work, teams))
    listed = json.loads((folder / "keys.json").read_bytes())["recipients"]
    (last,) = [team for team in teams if recipients[team][0] in listed]
    assert desk.read(identity=last / "identity.txt") == FILES
    others = [team for team in teams if team != last]
    for team in others:
        with pytest.raises(KeyUnavailable):
            desk.open(identity=team / "identity.txt")
    assert desk.verify().manifest.tag == "screening:v3"
    assert not list(folder.glob(".*"))


def test_rewrap_that_is_refused(desk: Desk) -> None:
    """No opener, no key, and above all: never the data key that an attacker put there."""
    folder = desk.seal()
    common: dict[str, Any] = {"policy": desk.policy, "shelf": desk.shelf}
    before = (folder / "keys.age").read_bytes()
    with pytest.raises(InvalidValue, match="nobody could open it"):
        rewrap("screening:v3", **common)
    with pytest.raises(InvalidValue, match="one text"):
        rewrap("screening:v3", recipients="age1x", **common)
    assert (folder / "keys.age").read_bytes() == before
    theirs = desk.seal("other:v1")
    shutil.copy(theirs / "keys.age", folder / "keys.age")
    before = (folder / "keys.age").read_bytes()
    with pytest.raises(ArtifactCorrupt, match="another key"):
        rewrap("screening:v3", recipients=desk.recipients, **common)
    assert (folder / "keys.age").read_bytes() == before


def test_resign(desk: Desk, tmp_path: Path) -> None:
    """Another key signs, with another serial or the same; what was signed is checked to the last byte."""
    folder = desk.seal()
    before = desk.verify().manifest
    artifacts.keygen(tmp_path / "new")
    public, signer = tmp_path / "new" / "sign.pub.pem", tmp_path / "new" / "sign.pem"
    found = resign("screening:v3", signer=signer, policy=desk.policy, shelf=desk.shelf)
    assert found.manifest == before
    with pytest.raises(SignatureInvalid, match="not trusted here"):
        desk.verify()
    found = resign("screening:v3", signer=desk.signer, serial=50, public_keys=[public], shelf=desk.shelf)
    assert found.manifest == replace(before, serial=50) == desk.verify().manifest
    assert desk.read() == FILES
    assert {path.name for path in folder.iterdir()} == {"sealed", "sealed.sig", "keys.age", "keys.json"}
    with pytest.raises(InvalidValue, match="serial=-1"):
        resign("screening:v3", signer=desk.signer, serial=-1, policy=desk.policy, shelf=desk.shelf)
    blob = folder / "sealed/0001.floe"
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    kept = (folder / "sealed.sig").read_bytes()
    with pytest.raises(ArtifactCorrupt, match="labels"):
        resign("screening:v3", signer=signer, policy=desk.policy, shelf=desk.shelf)
    assert (folder / "sealed.sig").read_bytes() == kept


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_resign_that_is_interrupted(desk: Desk, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """Nothing false opens in between, and the same call again ends it."""
    desk.seal()
    counted, rename = itertools.count(), Path.replace

    class Killed(BaseException):
        pass

    def killed(self: Path, target: Path) -> Path:
        if next(counted) == renames:
            raise Killed
        return rename(self, target)

    def again() -> artifacts.Verified:
        return resign("screening:v3", signer=desk.signer, serial=50, policy=desk.policy, shelf=desk.shelf)

    with monkeypatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(Path, "replace", killed)
        again()
    if renames == 2:
        with pytest.raises(ArtifactCorrupt, match=r"manifest\.json is not what was signed"):
            desk.verify()
    else:
        assert desk.verify().manifest.serial == 42
    assert again().manifest.serial == desk.verify().manifest.serial == 50
    assert desk.read() == FILES


def test_what_waits_to_be_signed_is_not_trusted(desk: Desk) -> None:
    """A waiting signature of somebody else, or of another manifest, is left alone."""
    folder = desk.seal()
    other = desk.seal("other:v1")
    for waiting in (b"nonsense", (other / "sealed.sig").read_bytes()):
        (folder / "sealed.sig.next").write_bytes(waiting)
        resign("screening:v3", signer=desk.signer, policy=desk.policy, shelf=desk.shelf)
        assert desk.read() == FILES


def test_a_lazy_package() -> None:
    """Importing it loads none of its parts; every name is there."""
    code = (
        "import sys; from bento_rollout import artifacts;"
        "bad = {'cryptography', 'pyrage', 'bentoml', 'numpy'} & set(sys.modules); assert not bad, bad;"
        "[getattr(artifacts, name) for name in artifacts.__all__ if name != 'SealedModel'];"
        "assert 'bentoml' not in sys.modules;"
        "assert set(artifacts.__all__) <= set(dir(artifacts))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'opn'"):
        _ = artifacts.opn


def test_a_file_that_grew(desk: Desk) -> None:
    """Its size is signed: nothing is taken for what it has now."""
    folder = desk.seal(files={"a": b"x" * 1000})
    os.truncate(folder / "sealed/0000.floe", 2**40)
    for call in (desk.read, desk.verify):
        with pytest.raises(ArtifactCorrupt, match="bytes, and 1106 were signed"):
            call()
