"""Whether an artifact is what somebody signed whom the reader trusts: no key of any data is needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import ArtifactCorrupt, ArtifactError, InvalidValue, PolicyViolated
from .floe import SEGMENT_LENGTH
from .keys import read_public_key
from .manifest import MANIFEST_FILE, Manifest, SealedFile
from .payload import Payload, Progress
from .policy import TrustPolicy, find_policy
from .shelf import Shelf, Shelved, find
from .signature import Signed, verify_signature
from .signers import PublicKey
from .stored import Stored

__all__ = [
    "THREADS",
    "Established",
    "Pinned",
    "Verified",
    "check_blobs",
    "establish",
    "naming",
    "payload_of",
    "trusted",
    "verify",
]

THREADS = 2
"""How many work on a file, unless the caller says it."""

Pinned = Iterable[PublicKey | Path | str]
"""Public keys, or the paths of their PEM files."""


@dataclass(frozen=True)
class Verified:
    """An artifact that passed: each byte of it is what was signed, and the policy allows it.

    Args:
        manifest: what was signed.
        key: who signed it.
        folder: where it lies.
    """

    manifest: Manifest
    key: PublicKey
    folder: Path


@dataclass(frozen=True)
class Established:
    """An artifact whose signature, manifest and list of files passed, and nothing of its payload yet."""

    manifest: Manifest
    signed: Signed
    stored: Stored
    policy: TrustPolicy


def trusted(policy: TrustPolicy | Path | str | None = None, public_keys: Pinned | None = None) -> TrustPolicy:
    """Return the policy that was given, by its file or by keys alone, or that of the environment.

    Raises:
        InvalidValue: both were given, or a key cannot be used.
        PolicyViolated: there is none, or it cannot be used.
    """
    if public_keys is None:
        return find_policy(policy)
    if policy is not None:
        raise InvalidValue("a policy names its keys: give policy= or public_keys=, not both")
    if isinstance(public_keys, (str, os.PathLike, PublicKey)):
        public_keys = [public_keys]
    keys = tuple(key if isinstance(key, PublicKey) else read_public_key(Path(key)) for key in public_keys)
    if not keys:
        raise PolicyViolated("public_keys= is empty, which trusts nobody: name a sign.pub.pem")
    return TrustPolicy(keys)


def establish(shelved: Shelved, policy: TrustPolicy, now: datetime | None = None) -> Established:
    """Check all that comes before the data key, in the order that the format says.

    Raises:
        ArtifactNotFound: it is no sealed artifact.
        SignatureInvalid: no trusted key signed it, or not in the one form.
        ArtifactCorrupt: manifest or files are not those that were signed, or it lies under another name.
        PolicyViolated: the policy does not allow it.
        ArtifactError: the system cannot read it.
    """
    stored = Stored(shelved.folder)
    signed = verify_signature(stored.bundle(), policy.keys)
    raw = stored.manifest()
    signed.require(MANIFEST_FILE, hashlib.sha256(raw).digest())
    manifest = Manifest.parse(raw)
    signed.require_names(manifest.resource_names())
    signed.require_names(stored.names(len(signed.resources)))
    if shelved.name is not None:
        manifest.expect(shelved.name, shelved.version or manifest.version)
    policy.check(manifest, now or datetime.now(timezone.utc))
    return Established(manifest, signed, stored, policy)


def verify(
    tag: str | os.PathLike[str],
    *,
    policy: TrustPolicy | Path | str | None = None,
    public_keys: Pinned | None = None,
    shelf: Shelf | None = None,
    threads: int = THREADS,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Check every byte of an artifact; this needs no key that decrypts.

    Args:
        tag: ``name:version``, ``name:latest``, ``name``, or a folder that holds ``sealed/``.
        policy: a trust policy or its file; by default that which ``BENTO_ROLLOUT_TRUST`` names.
        public_keys: instead of a policy: whose signatures are valid, and nothing more is asked.
        shelf: where the tag is looked up; BentoML's model store by default.
        threads: how many work on a file.
        now: the time, with its zone, for the policy's ``not_after``.
        progress: called with bytes of plaintext as they pass, from any thread; `Manifest.files` have sizes.

    Raises:
        PolicyViolated: there is no policy, or it does not allow this artifact.
        ArtifactNotFound: there is none.
        SignatureInvalid: no trusted key signed it, or not in the one form.
        ArtifactCorrupt: something is not what was signed, or it lies under another name.
        ArtifactError: the system cannot read it.
    """
    trust = trusted(policy, public_keys)
    found = establish(find(tag, shelf), trust, now)
    check_blobs(found, threads=threads, progress=progress)
    return Verified(found.manifest, found.signed.key, found.stored.folder)


def check_blobs(found: Established, *, threads: int = THREADS, progress: Progress | None = None) -> None:
    """Check the ciphertext of every file, in segments and as a whole.

    Raises:
        ArtifactCorrupt: one is not what was signed; the message names it.
        ArtifactError: the system cannot read it.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="bento-rollout-verify") as beside:
        for blob, file in found.manifest.blobs():
            with found.stored.blob(blob) as fd, naming(file.path):
                # The segments first: they end where the signed size says, and a file may grow for ever.
                whole = beside.submit(_sha256, fd, file.blob_size)
                try:
                    payload_of(file).check(fd, threads=threads, progress=progress)
                finally:
                    digest = whole.result()
            found.signed.require(blob, digest)


class naming:  # noqa: N801 - read as a statement
    """A block in which damage is told with the path of the file that has it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (ArtifactCorrupt, ArtifactError)):
            raise type(error)(f"{self._path!r}: {error}") from None


def payload_of(file: SealedFile) -> Payload:
    """Return what the payload's reader needs to know of a file."""
    return Payload(file.header, file.size, file.segments, SEGMENT_LENGTH)


def _sha256(fd: int, size: int) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(size, SEGMENT_LENGTH)))
    offset = 0
    try:
        while offset < size and (got := os.preadv(fd, [buffer[: size - offset]], offset)):
            digest.update(buffer[:got])
            offset += got
    except OSError as error:
        raise ArtifactError(f"the payload cannot be read at byte {offset}: {error.strerror}") from error
    return digest.digest()
