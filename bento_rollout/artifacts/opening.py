"""Opens artifacts: first what can be checked without a key, then the data key, then the files asked for."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import ArtifactError, InvalidValue, KeyUnavailable
from .envelope import Envelope
from .floe import OVERHEAD, SEGMENT_LENGTH
from .keys import Identities, find_identities
from .kms import Kms
from .manifest import Manifest, SealedFile
from .memory import private_memory
from .payload import Progress
from .plaintext import MemoryFile, SealedMemory, overwrite, placed, private_parent
from .policy import TrustPolicy
from .scratch import scratch
from .shelf import Shelf, find
from .signers import PublicKey
from .stored import Stored
from .verifying import THREADS, Established, Pinned, establish, naming, payload_of, trusted

__all__ = ["Artifact", "data_key", "open_artifact"]

_FOLDER_PREFIX = "bento-rollout-open-"
_PART = 16
"""Segments that `Artifact.extract` has in memory at a time."""


@dataclass(frozen=True)
class Artifact:
    """An artifact that passed all checks and whose data key is there; each file is checked as it is read.

    Nothing of a file is given to anybody before the whole of it has passed. Plaintext is in memory only,
    unless `extract` is called.

    Args:
        manifest: what was signed.
        key: who signed it.
        where: the folder that it lies in.
        threads: how many work on a file.

    Attributes:
        paths: the files, in the manifest's order.
    """

    manifest: Manifest
    key: PublicKey
    where: Path
    threads: int = THREADS
    _data_key: bytes = field(default=b"", repr=False, kw_only=True)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, in the manifest's order."""
        return tuple(file.path for file in self.manifest.files)

    def read(self, path: str, *, progress: Progress | None = None) -> memoryview:
        """Return a file's content, in fresh memory that belongs to the caller.

        Args:
            path: one of `paths`.
            progress: called with bytes of plaintext as they pass, from any thread.

        Raises:
            ArtifactNotFound: there is no such file.
            ArtifactCorrupt: it is not what was signed; nothing of it is given out.
            ArtifactError: the system cannot read it.
            MemoryError: there is not that much memory.
        """
        blob, file = self.manifest.find(path)
        with self._stored.blob(blob) as fd, naming(path):
            return payload_of(file).read(
                fd, self._data_key, self.manifest.aad(path), threads=self.threads, progress=progress
            )

    def open(self, path: str, *, progress: Progress | None = None) -> BinaryIO:
        """Return a file's content as a seekable binary file in memory; else as `read`."""
        return cast("BinaryIO", io.BufferedReader(MemoryFile(self.read(path, progress=progress)), 1 << 16))

    def memfd(self, path: str, *, progress: Progress | None = None) -> SealedMemory:
        """Return a file's content as a file in memory that has a name, and that nobody can change.

        Its `path` (``/proc/self/fd/N``) is good in this process until it is closed. Else as `read`.
        """
        blob, file = self.manifest.find(path)
        with self._stored.blob(blob) as fd, naming(path):
            payload_of(file).check_file(fd)
            return SealedMemory(path, file.size, lambda out: self._into(fd, file, out, progress))

    @contextmanager
    def folder(self, *, links: bool = True, progress: Progress | None = None) -> Iterator[Path]:
        """Give a private folder with all files, until the block ends: for loaders that want a folder.

        By default each file is a link to a file in memory (as `memfd`): no content has a name on any file
        system, nobody can change it, and a killed process leaves names, but no content. With
        ``links=False`` the files are real ones on ``/dev/shm`` (mode 0700), for loaders that do not follow
        links. They are overwritten and removed at the end; a killed process leaves them, until the same user
        opens the next folder or the system restarts.

        Raises:
            ArtifactCorrupt: a file is not what was signed; the loader has not begun yet.
            ArtifactError: too many files are open, for links; there is no ``/dev/shm``, or no room in it, for
                real files.
        """
        with ExitStack() as stack:
            parent = private_parent(in_memory=not links)
            try:
                folder = stack.enter_context(scratch(parent, _FOLDER_PREFIX))
            except OSError as error:
                raise ArtifactError(f"no folder can be made in {parent}: {error.strerror}") from error
            for file in self.manifest.files:
                target = folder / file.path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if links:
                    memory = stack.enter_context(self.memfd(file.path, progress=progress))
                    target.symlink_to(memory.path_for_others)
                else:
                    stack.callback(overwrite, target)
                    self._place(file.path, target, progress)
            yield folder

    def _place(self, path: str, target: Path, progress: Progress | None) -> None:
        try:
            self.extract(path, target, progress=progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise ArtifactError(
                f"there is no room for {path!r} in {target.parent}: give the container more shared memory"
                " (`docker run --shm-size`), or take links"
            ) from error

    def extract(self, path: str, target: Path | str, *, progress: Progress | None = None) -> None:
        """Write a file's plaintext to where the caller wants it: the only way by which it gets on a disk.

        It appears under its name when all of it has passed, with mode 0600, and takes 16 MiB of memory.

        Raises:
            ArtifactNotFound: there is no such file.
            ArtifactCorrupt: it is not what was signed; nothing is left of it.
            FileExistsError: something is there already; it stays as it is.
            OSError: it cannot be written; nothing is left of it.
        """
        blob, file = self.manifest.find(path)
        with self._stored.blob(blob) as fd, naming(path), placed(Path(target)) as sink:
            for part in self._parts(fd, file, progress):
                _write(sink, part)

    def _parts(self, fd: int, file: SealedFile, progress: Progress | None) -> Iterator[memoryview]:
        payload, aad = payload_of(file), self.manifest.aad(file.path)
        buffer = private_memory(min(file.size, _PART * (SEGMENT_LENGTH - OVERHEAD)))
        for start in range(0, payload.layout.count, _PART):
            segments = range(start, min(start + _PART, payload.layout.count))
            begin, end = payload.layout.plain(start)[0], payload.layout.plain(segments[-1])[1]
            part = buffer[: end - begin]
            payload.read_into(
                fd, self._data_key, aad, part, segments=segments, threads=self.threads, progress=progress
            )
            yield part

    def _into(self, fd: int, file: SealedFile, out: memoryview, progress: Progress | None) -> None:
        payload_of(file).read_into(
            fd, self._data_key, self.manifest.aad(file.path), out, threads=self.threads, progress=progress
        )

    @property
    def _stored(self) -> Stored:
        return Stored(self.where)


def open_artifact(  # noqa: PLR0913 - whom to trust, what opens it, and where it is
    tag: str | os.PathLike[str],
    *,
    policy: TrustPolicy | Path | str | None = None,
    public_keys: Pinned | None = None,
    identity: Identities | Path | str | None = None,
    passphrase: str | None = None,
    kms: Mapping[str, Kms] | None = None,
    shelf: Shelf | None = None,
    threads: int = THREADS,
    now: datetime | None = None,
) -> Artifact:
    """Open an artifact; files are read when they are asked for.

    Args:
        tag: ``name:version``, ``name:latest``, ``name``, or a folder that holds ``sealed/``.
        policy: a trust policy or its file; by default that which ``BENTO_ROLLOUT_TRUST`` names.
        public_keys: instead of a policy: whose signatures are valid, and nothing more is asked.
        identity: an age identity or its file; by default from where the policy or the environment says.
        passphrase: for an artifact that was sealed with one.
        kms: key services, by the names under which they wrapped the data key.
        shelf: where the tag is looked up; BentoML's model store by default.
        threads: how many work on a file; each takes 1 MiB.
        now: the time, with its zone, for the policy's ``not_after``.

    Raises:
        PolicyViolated: there is no policy, or it does not allow this artifact.
        ArtifactNotFound: there is none.
        SignatureInvalid: no trusted key signed it, or not in the one form.
        ArtifactCorrupt: something is not what was signed, or it lies under another name.
        KeyUnavailable: nothing at hand gives the data key.
        ArtifactError: the system cannot read it.
    """
    if threads < 1:
        raise InvalidValue(f"threads={threads}: it is 1 or more")
    found = establish(find(tag, shelf), trusted(policy, public_keys), now)
    key = data_key(found, identity=identity, passphrase=passphrase, kms=kms)
    return Artifact(found.manifest, found.signed.key, found.stored.folder, threads, _data_key=key)


def data_key(
    found: Established,
    *,
    identity: Identities | Path | str | None = None,
    passphrase: str | None = None,
    kms: Mapping[str, Kms] | None = None,
) -> bytes:
    """Return the data key that somebody wrapped for one of these; payloads tell whether it is the right one.

    Raises:
        KeyUnavailable: none of them gives one.
        ArtifactCorrupt: ``keys.age`` or ``keys.json`` is damaged.
    """
    envelope = Envelope.parse(*found.stored.keys())
    identities: Identities | None = None
    why: KeyUnavailable | None = None
    if envelope.age is not None and not envelope.needs_passphrase:
        try:
            identities = find_identities(identity, policy_file=found.policy.identity_file)
        except KeyUnavailable as error:
            if not kms:
                raise
            why = error
    try:
        return envelope.open(found.manifest.context(), identities=identities, passphrase=passphrase, kms=kms)
    except KeyUnavailable as error:
        raise KeyUnavailable(f"{error}; {why}" if why else str(error)) from None


def _write(sink: Any, part: memoryview) -> None:
    while part:
        part = part[sink.write(part) :]
