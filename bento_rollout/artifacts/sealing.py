"""Seals a model: files are encrypted as they are written, and the signature comes last."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from ..errors import InvalidValue
from .canonical import GREATEST, Malformed, shown
from .envelope import KEYS_AGE, KEYS_JSON, Envelope
from .files import sync_folder, write_new
from .floe import KEY_LENGTH
from .keys import read_signer
from .kms import Kms
from .manifest import MANIFEST_FILE, MAX_FILES, Manifest, SealedFile, aad, blob_name, new_artifact_id
from .paths import PathSet
from .payload import Payload, Progress
from .sealer import Sealer
from .shelf import Shelf, Shelved, default_shelf, split_tag
from .signature import SIGNATURE_FILE, sign
from .signers import Signer
from .sources import open_source, walk
from .stored import SEALED_FOLDER
from .verifying import THREADS
from .writing import FILE_MODE, SealedWriter

__all__ = ["Creation", "create"]

_CHUNK = 1 << 20


def create(
    tag: str,
    *,
    signer: Signer | Path | str,
    serial: int,
    recipients: Iterable[str] = (),
    passphrase: str | None = None,
    kms: Mapping[str, Kms] | None = None,
    shelf: Shelf | None = None,
    threads: int = THREADS,
) -> Creation:
    """Seal a new artifact in a ``with`` block; see `Creation`.

    Args:
        tag: ``name:version``, or ``name`` for a version of its own, which `Creation.tag` then says.
        signer: a signing key, or the path of its PEM file.
        serial: counts up with each release of this model; policies refuse those below their ``min_serial``.
        recipients: of age (``age1…``), at most 64: who may open it.
        passphrase: instead of recipients.
        kms: key services by a name of yours, beside the others or alone.
        shelf: where it is published; BentoML's model store by default.
        threads: how many work on a file; each takes 2 MiB.

    Raises:
        InvalidValue: one of them cannot be.
    """
    name, version = split_tag(tag)
    if version is None and ":" in tag:
        raise InvalidValue(f"{tag}: latest is no version to publish; leave it out, and one is chosen")
    if type(serial) is not int or not 0 <= serial <= GREATEST:
        raise InvalidValue(f"serial={serial!r}: it is an integer from 0 to 2^53-1")
    if threads < 1:
        raise InvalidValue(f"threads={threads}: it is 1 or more")
    if isinstance(recipients, str):
        raise InvalidValue('recipients is one text: give a list of them, ["age1…"]')
    return Creation(
        name,
        version,
        serial,
        signer if isinstance(signer, Signer) else read_signer(Path(signer)),
        _Openers(tuple(recipients), passphrase, kms),
        default_shelf() if shelf is None else shelf,
        threads,
    )


class _Openers:
    """Who may open it."""

    def __init__(
        self, recipients: tuple[str, ...], passphrase: str | None, kms: Mapping[str, Kms] | None
    ) -> None:
        self._recipients, self._passphrase, self._kms = recipients, passphrase, kms

    def __repr__(self) -> str:
        return f"_Openers({len(self._recipients)} recipients)"

    def wrap(self, key: bytes, context: Mapping[str, str]) -> Envelope:
        return Envelope.seal(
            key, context, recipients=self._recipients, passphrase=self._passphrase, kms=self._kms
        )


class Creation:
    """An artifact that is being sealed; it is there when the ``with`` block ends without an exception.

    Until then nothing can be found under its tag. An exception, a crash or a full disk leaves nothing that
    opens, and plaintext is never on a disk: what is written is encrypted in memory. The data key is wrapped
    before the first byte, so that a wrong recipient or a key service that fails shows at once.

    Files may be written by several threads, each file by one at a time.

    Attributes:
        tag: ``name:version``.
        manifest: what was signed; None until the block has ended.
        folder: where it lies; None until the block has ended.
    """

    def __init__(
        self,
        name: str,
        version: str | None,
        serial: int,
        signer: Signer,
        openers: _Openers,
        shelf: Shelf,
        threads: int,
    ) -> None:
        self.manifest: Manifest | None = None
        self.folder: Path | None = None
        self._draft: Path | None = None
        self._name, self._version, self._serial = name, version, serial
        self._signer, self._openers, self._shelf, self._threads = signer, openers, shelf, threads
        self._key = b""
        self._id = ""
        self._publishing: AbstractContextManager[Shelved] | None = None
        self._lock = threading.Lock()
        self._names = PathSet()
        self._open: dict[str, SealedWriter] = {}
        self._abandoned: set[str] = set()
        self._files: list[SealedFile] = []
        self._digests: dict[str, bytes] = {}
        self._drafts = 0

    @property
    def tag(self) -> str:
        """``name:version``; the version is known within the block at the latest."""
        return self._name if self._version is None else f"{self._name}:{self._version}"

    def __enter__(self) -> Creation:  # noqa: PYI034 - Self is in typing since 3.11
        if self._id:
            raise InvalidValue(f"{self.tag} was sealed by this object already: make a new one with create()")
        self._id = new_artifact_id(secrets.token_bytes(16))
        self._publishing = self._shelf.publish(self._name, self._version)
        shelved = self._publishing.__enter__()
        try:
            self._draft, self._version = shelved.folder, shelved.version
            self._key = secrets.token_bytes(KEY_LENGTH)
            context = {"artifact_id": self._id, "name": self._name, "version": str(self._version)}
            envelope = self._openers.wrap(self._key, context)
            if envelope.age is not None:
                write_new(shelved.folder / KEYS_AGE, envelope.age, FILE_MODE)
            write_new(shelved.folder / KEYS_JSON, envelope.keys.to_bytes(), FILE_MODE)
            self._sealed.mkdir()
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                manifest = self._finish()
            except BaseException as problem:
                self._abandon(problem)
                raise
            publishing = self._publishing
            self._forget()
            assert publishing is not None
            publishing.__exit__(None, None, None)
            self.folder, self.manifest = self._shelf.find(self.tag).folder, manifest
        else:
            self._abandon(error)

    def open(self, path: str, mode: str = "wb") -> BinaryIO:
        """Return a file that is encrypted as it is written; it cannot be read, and seeks nowhere.

        It belongs to the artifact when it is closed. If its own ``with`` block ends by an exception, it is as
        if it had never been opened, and so it is when something cannot be written.

        Args:
            path: its name in the artifact: relative, parts joined by ``/``.
            mode: nothing but ``wb``.

        Raises:
            InvalidValue: the path cannot be, or collides with another; or another mode.
            OSError: it cannot be made.
        """
        if mode != "wb":
            raise InvalidValue(f"mode={mode!r}: files of an artifact are written once, in the mode 'wb'")
        return cast("BinaryIO", self._begin(path))

    def add(self, path: str, source: str | os.PathLike[str], *, progress: Progress | None = None) -> None:
        """Seal a file that is there already.

        Args:
            path: its name in the artifact.
            source: a regular file; links, devices and pipes are refused.
            progress: called with the bytes that were taken, again and again.

        Raises:
            InvalidValue: the path cannot be, or the source is none.
            OSError: it cannot be read or written.
        """
        with open(open_source(source), "rb", buffering=0) as file, self._begin(path) as sealed:  # noqa: PTH123 - a descriptor
            buffer = memoryview(bytearray(_CHUNK))
            while got := file.readinto(buffer):
                sealed.write(buffer[:got])
                if progress:
                    progress(got)

    def add_folder(
        self, source: str | os.PathLike[str], *, below: str = "", progress: Progress | None = None
    ) -> None:
        """Seal all files in a folder and in those below it, in the order of their names.

        Args:
            source: the folder; a link, device or pipe anywhere in it is refused. Empty folders are left out.
            below: where they lie in the artifact; at its top by default.
            progress: called with the bytes that were taken, again and again.

        Raises:
            InvalidValue: a path cannot be, something is no regular file, or the artifact is made in there.
            OSError: something cannot be read or written.
        """
        here = Path(source).lstat()
        above = () if self._draft is None else self._draft.resolve().parents
        if any(os.path.samestat(here, folder.stat()) for folder in above):
            raise InvalidValue(
                f"{self.tag} is made in {source}, and cannot hold itself: choose another place"
            )
        for path, file in walk(Path(source)):
            self.add(f"{below}/{path}" if below else path, file, progress=progress)

    @property
    def _sealed(self) -> Path:
        assert self._draft is not None
        return self._draft / SEALED_FOLDER

    def _begin(self, path: str) -> SealedWriter:
        if not self._key:
            raise InvalidValue("files are sealed within the block: with artifacts.create(…) as art: …")
        with self._lock:
            if path not in self._abandoned:
                try:
                    self._names.add(path)
                except Malformed as error:
                    raise InvalidValue(str(error)) from None
            if len(self._files) + len(self._open) >= MAX_FILES:
                raise InvalidValue(f"an artifact has at most {MAX_FILES} files: pack some into one")
            self._abandoned.discard(path)
            self._drafts += 1
            draft = self._sealed / f".{self._drafts}.draft"
            data = aad(self._id, self._name, str(self._version), path)
            try:
                writer = SealedWriter(
                    draft,
                    lambda sink: Sealer(self._key, data, sink, threads=self._threads),
                    lambda payload, digest: self._finished(path, payload, draft, digest),
                    lambda: self._dropped(path),
                )
            except BaseException:
                self._abandoned.add(path)
                raise
            self._open[path] = writer
            return writer

    def _finished(self, path: str, payload: Payload, draft: Path, digest: bytes) -> None:
        """Take a file that was written to its end."""
        file = SealedFile(path, payload.size, payload.header, payload.digests)
        with self._lock:
            blob = blob_name(len(self._files))
            draft.rename(self._sealed / blob)
            self._files.append(file)
            self._digests[blob] = digest
            self._open.pop(path, None)

    def _dropped(self, path: str) -> None:
        """Forget a file that was not written to its end."""
        with self._lock:
            self._open.pop(path, None)
            self._abandoned.add(path)

    def _finish(self) -> Manifest:
        if self._open:
            raise InvalidValue(f"{shown(next(iter(self._open)))} is still open: close it within the block")
        if not self._files:
            raise InvalidValue(f"{self.tag} has no files: seal one at least")
        manifest = Manifest(self._id, self._name, str(self._version), self._serial, tuple(self._files))
        raw = manifest.to_bytes()
        write_new(self._sealed / MANIFEST_FILE, raw, FILE_MODE)
        sync_folder(self._sealed)
        resources = {**self._digests, MANIFEST_FILE: hashlib.sha256(raw).digest()}
        folder = self._sealed.parent
        write_new(folder / SIGNATURE_FILE, sign(resources, self._signer), FILE_MODE)
        sync_folder(folder)
        return manifest

    def _abandon(self, error: BaseException) -> None:
        """Let the shelf remove everything; the exception goes on by itself."""
        for writer in list(self._open.values()):
            writer.abandon()
        publishing = self._publishing
        assert publishing is not None
        self._forget()
        publishing.__exit__(type(error), error, error.__traceback__)

    def _forget(self) -> None:
        self._key, self._publishing = b"", None
