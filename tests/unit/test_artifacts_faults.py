"""Faults of the system, and of people who give a secret where its file's name belongs."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.artifacts import keeping, payload
from bento_rollout.artifacts import scratch as scratch_module
from bento_rollout.artifacts.files import Unusable, alone, read_private, read_small
from bento_rollout.artifacts.keys import find_identities, read_public_key, read_signer
from bento_rollout.artifacts.plaintext import private_parent
from bento_rollout.artifacts.scratch import scratch
from bento_rollout.artifacts.sources import walk
from bento_rollout.artifacts.verifying import establish
from bento_rollout.cli import main
from bento_rollout.errors import ArtifactError, ArtifactNotFound, InvalidValue, KeyUnavailable, PolicyViolated
from tests.states import mounted
from tests.unit.seals import FILES, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Keys, a policy and a shelf."""
    return Desk.make(tmp_path)


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open nothing more."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_end_a_scratch_folder(tmp_path: Path) -> None:
    """It is told, once, and nothing is left: trying again for ever would fill the file system."""
    with (
        no_more_files(),
        pytest.raises(OSError, match="Too many open files") as told,
        scratch(tmp_path, "x-"),
    ):
        raise AssertionError("there is no folder to work in")
    assert told.value.errno == errno.EMFILE
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_ends_a_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none."""

    def flock(_fd: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    named = {name: getattr(fcntl, name) for name in ("LOCK_EX", "LOCK_NB")}
    monkeypatch.setattr(scratch_module, "fcntl", SimpleNamespace(flock=flock, **named))
    before = open_files()
    with pytest.raises(OSError, match="No locks available"), scratch(tmp_path, "x-"):
        raise AssertionError("there is no folder to work in")
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


def test_a_file_system_that_gives_folders_to_another_user_has_scratch_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS makes root's files those of nobody: the folder is ours all the same, and nobody sweeps others'."""
    (tmp_path / "x-others").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with scratch(tmp_path, "x-") as folder:
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["x-others"]


def test_too_many_open_files_are_an_error_of_the_artifact(desk: Desk) -> None:
    """A loader's folder is not made; what was begun is gone."""
    desk.seal()
    artifact = desk.open()
    parent = private_parent(in_memory=False)
    before = set(parent.glob("bento-rollout-open-*"))
    with no_more_files(), pytest.raises(ArtifactError, match="Too many open files"), artifact.folder():
        raise AssertionError("there is no folder to load from")
    assert set(parent.glob("bento-rollout-open-*")) <= before


def test_no_descriptor_is_lost_with_a_folder_in_a_files_place(tmp_path: Path) -> None:
    """A folder opens, and then is no file."""
    before = open_files()
    for read in (read_small, read_private):
        with pytest.raises(Unusable, match="no regular file"):
            read(tmp_path)
    assert open_files() == before


@pytest.mark.skipif(not os.access("/proc/kmsg", os.R_OK), reason="for root alone")
def test_a_file_that_has_nothing_to_say_now_cannot_be_used() -> None:
    """Some files of the kernel call themselves regular, and have a reader wait."""
    for read in (read_small, read_private):
        with pytest.raises(Unusable):
            read(Path("/proc/kmsg"))


Use = Callable[[Desk, str], object]

MISUSES: dict[str, tuple[Use, type[Exception]]] = {
    "argument": (lambda _desk, secret: find_identities(secret), KeyUnavailable),
    "path": (lambda desk, secret: find_identities(desk.folder / secret), KeyUnavailable),
    "policy": (
        lambda desk, secret: find_identities(policy_file=desk.policy.parent / secret),
        KeyUnavailable,
    ),
    "variable": (
        lambda _desk, secret: find_identities(environ={"BENTO_ROLLOUT_IDENTITY_FILE": secret}),
        KeyUnavailable,
    ),
    "signer": (lambda _desk, secret: read_signer(Path(secret)), InvalidValue),
    "public key": (lambda _desk, secret: read_public_key(Path(secret)), InvalidValue),
    "create": (lambda desk, secret: desk.create(signer=secret), InvalidValue),
    "trust": (lambda _desk, secret: artifacts.TrustPolicy.read(Path(secret)), PolicyViolated),
}


@pytest.mark.parametrize("where", MISUSES)
def test_a_secret_in_the_place_of_its_files_name_is_not_shown(desk: Desk, where: str) -> None:
    """People paste it, and variables are mixed up: errors reach logs."""
    use, error = MISUSES[where]
    identity = (desk.folder / "keys" / "identity.txt").read_text()
    signer = desk.signer.read_text()
    line = identity.strip().splitlines()[-1]
    for secret in (identity, line, line.lower(), f" {line}", signer):
        with pytest.raises(error, match=r"give (the path of )?a file that holds it") as told:
            use(desk, secret)
        shown = str(told.value).lower()
        assert line[15:].lower() not in shown
        assert signer.splitlines()[1].lower() not in shown


def test_a_secret_in_the_place_of_a_recipient_is_not_shown(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who seals may take one file of `keygen` for the other."""
    line = (desk.folder / "keys" / "identity.txt").read_text().strip().splitlines()[-1]
    asked = ["--name", "m:v1", "--recipient", line, "--signer", str(desk.signer), "--serial", "1", "--json"]
    assert main(["artifacts", "seal", str(desk.public), *asked]) == 2
    out, err = capfd.readouterr()
    assert "recipient.txt" in out
    assert line not in out + err


def test_a_path_that_no_system_has_is_an_error_of_the_artifact(desk: Desk) -> None:
    """Names longer than the system's longest are told like others that are not there."""
    for tag in ("a" * 10_000 + "/x", Path("a" * 10_000)):
        with pytest.raises(ArtifactError, match="File name too long"):
            desk.verify(tag)
    with pytest.raises(ArtifactError, match="File name too long"):
        desk.verify("m", shelf=artifacts.PlainFolder(Path("a" * 10_000)))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder in which others lie, each in the one before, deeper than Python calls or removes."""
    before, depth = Path.cwd(), 1200
    os.chdir(tmp_path)
    for _ in range(depth):
        Path("a").mkdir()
        os.chdir("a")
    os.chdir(before)
    yield tmp_path
    os.chdir(tmp_path)
    for _ in range(depth):
        os.chdir("a")
    for _ in range(depth):
        os.chdir("..")
        Path("a").rmdir()
    os.chdir(before)


def test_folders_may_lie_deeper_than_python_calls(deep: Path) -> None:
    """What is too deep for a path of an artifact is refused by the path, and empty folders are nothing."""
    for path in ("b/1", "b/2", "b.txt", "c"):
        (deep / path).parent.mkdir(exist_ok=True)
        (deep / path).touch()
    assert [path for path, _ in walk(deep)] == ["b/1", "b/2", "b.txt", "c"]


def test_an_artifact_is_not_sealed_into_itself(desk: Desk) -> None:
    """A folder in which the artifact itself is made is refused: its drafts would be files of the model."""
    source = desk.folder / "shelf"
    (source / "deep").mkdir(parents=True)
    (source / "weights").write_bytes(b"w")
    for folder in (source, source / ".." / "shelf"):
        with pytest.raises(InvalidValue, match="is made in"), desk.create() as art:
            art.add_folder(folder)
    with desk.create() as art:
        art.add("weights", source / "weights")
        art.add_folder(source / "deep")
    assert desk.open().paths == ("weights",)


def left(desk: Desk) -> list[str]:
    """The files on the shelf, and what somebody else put there."""
    return [str(path.relative_to(desk.shelf.root)) for path in desk.shelf.root.rglob("*") if path.is_file()]


def test_a_version_that_cannot_become_the_newest_is_not_there(desk: Desk) -> None:
    """Sealing failed, so nothing opens, and the same version can be sealed again."""
    (desk.shelf.root / "screening" / "latest").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        desk.seal()
    with pytest.raises(ArtifactNotFound):
        desk.open()
    assert left(desk) == []
    (desk.shelf.root / "screening" / "latest").rmdir()
    desk.seal()
    assert desk.open("screening:latest").manifest.version == "v3"


@pytest.mark.fault
def test_a_disk_that_is_full_at_any_step_leaves_nothing_that_opens(desk: Desk) -> None:
    """One file more has room each time, up to the one that says which version is the newest."""
    reached = 0
    for files in range(1, 16):
        with mounted(desk.shelf.root) as again:
            again(f"nr_inodes={files + 1}")
            try:
                desk.seal()
            except OSError:
                reached += 1
                assert left(desk) == []
            else:
                assert desk.open("screening:latest").paths == tuple(FILES)
    assert 10 <= reached < 15


class Talkative:
    """A key service whose errors say what was asked, as clients of clouds do for bad parameters."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Fail with the data key in the error."""
        self.keys.append(key)
        raise ValueError(f"bad parameters {key!r}, {context}")

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Fail with what was wrapped in the error."""
        raise ValueError(f"bad parameters {blob!r}, {context}")


def test_no_traceback_has_the_data_key_that_a_service_put_into_its_error(desk: Desk) -> None:
    """The error of the service is named, and is neither cause nor context: a start logs tracebacks."""
    desk.seal()
    kms = Talkative()
    for fails in (
        lambda: artifacts.rewrap(
            "screening:v3",
            recipients=desk.recipients,
            new_kms={"eu": kms},
            policy=desk.policy,
            shelf=desk.shelf,
        ),
        lambda: desk.seal("screening:v4", kms={"eu": kms}),
    ):
        with pytest.raises(KeyUnavailable, match="wrap of the KMS 'eu' raised ValueError") as told:
            fails()
        assert repr(kms.keys[-1]) not in "".join(traceback.format_exception(told.value))
        assert told.value.__cause__ is None


def test_a_pipe_needs_room_in_memory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All of a file must have passed before the first byte goes out; a lack of memory is no error of ours."""

    def none(size: int) -> memoryview:
        raise MemoryError(f"there is no memory for {size} bytes: Cannot allocate memory")

    folder = desk.seal()
    monkeypatch.setattr(payload, "private_memory", none)
    asked = ["model.bin", "--output", "-", "--policy", str(desk.policy)]
    assert main(["artifacts", "open", str(folder), *asked]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "no memory for 7 bytes: Cannot allocate memory; --output FILE takes 16 MiB" in err


def test_a_bump_uses_the_draft_of_one_that_was_killed(desk: Desk) -> None:
    """No file is left for each of them."""
    desk.seal()
    draft = desk.policy.with_name(".trust.toml.draft")
    draft.write_text("half of a pol")
    assert artifacts.bump(desk.policy, desk.verify().manifest)
    assert not draft.exists()
    assert artifacts.TrustPolicy.read(desk.policy).models["screening"].min_serial == 42


def test_a_disk_that_cannot_be_read_is_an_error_of_the_artifact(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two that read a file meets it, all of it or segment by segment."""
    desk.seal(files={"big": bytes(3 << 20)})
    read = os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset > 1 << 20:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(
        ArtifactError, match=r"'big': the payload cannot be read at byte .*: Input/output error"
    ):
        desk.verify()
    with pytest.raises(ArtifactError, match="Input/output error"):
        desk.open().read("big")


def test_a_rewrap_waits_for_a_signature_that_is_being_replaced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told that the artifact is corrupt, which for a moment it is."""
    folder = desk.seal()
    looked, done = threading.Event(), threading.Event()

    def looking(*arguments: Any) -> Any:
        looked.set()
        return establish(*arguments)

    def rewrap() -> None:
        artifacts.rewrap("screening:v3", recipients=desk.recipients, policy=desk.policy, shelf=desk.shelf)
        done.set()

    monkeypatch.setattr(keeping, "establish", looking)
    signature = (folder / "sealed.sig").read_bytes()
    with alone(folder):
        (folder / "sealed.sig").write_bytes(b"{}")
        other = threading.Thread(target=rewrap)
        other.start()
        assert not looked.wait(0.3), "nothing is read before it is its turn"
        (folder / "sealed.sig").write_bytes(signature)
    other.join()
    assert done.is_set()
