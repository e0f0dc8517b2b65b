"""``sealed/manifest.json``: what an artifact is, which files it has, and the hashes of their ciphertext.

The manifest is covered by the signature, and everything about the payload follows from it: how many segments
a file has, which one is the last, and what each must hash to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ArtifactCorrupt, ArtifactNotFound, InvalidValue
from .canonical import (
    GREATEST,
    Malformed,
    as_constant,
    as_integer,
    as_list,
    as_object,
    as_text,
    canonical,
    parse,
    shown,
)
from .paths import check_paths, path_problem

__all__ = [
    "FORMAT",
    "HEADER_SIZE",
    "MANIFEST_FILE",
    "MAX_FILES",
    "MAX_MANIFEST",
    "SEGMENT_OVERHEAD",
    "SEGMENT_SIZE",
    "TAG_PART",
    "Manifest",
    "SealedFile",
    "aad",
    "blob_name",
    "new_artifact_id",
    "segment_count",
]

FORMAT = "bento-rollout/sealed/v1"
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST = 16 * 2**20
"""Bytes."""

MAX_FILES = 10_000
"""Blobs have four digits."""

SEGMENT_SIZE = 2**20
"""Bytes of an encrypted segment; only the last one of a file may be shorter."""

SEGMENT_OVERHEAD = 32
"""Bytes of a segment that are no plaintext: flag, IV and tag."""

HEADER_SIZE = 74
"""Bytes of a FLOE header: parameters, IV and tag."""

_PARAMETERS = bytes([0, 0]) + SEGMENT_SIZE.to_bytes(4, "big") + (32).to_bytes(4, "big")
"""How each header begins: GCM256_IV256, HKDF-SHA384, segments of 1 MiB, an IV of 32 bytes."""

TAG_PART = re.compile(r"[a-z0-9](?:[-._a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER = re.compile(rf"[0-9a-f]{{{2 * HEADER_SIZE}}}", re.ASCII)
_HEADER_FORM = f"{2 * HEADER_SIZE} lower-case hexadecimal digits"
_MEMBERS = {"artifact_id", "files", "format", "name", "serial", "version"}
_FILE_MEMBERS = {"blob", "header", "path", "segments", "size"}


def segment_count(size: int) -> int:
    """Return how many segments so many bytes of plaintext make: at least one; the last may be full.

    >>> [segment_count(size) for size in (0, 1, 2**20 - 32, 2**20 - 31)]
    [1, 1, 1, 2]
    """
    return max(1, -(-size // (SEGMENT_SIZE - SEGMENT_OVERHEAD)))


def blob_name(index: int) -> str:
    """Return the name of a file's ciphertext in ``sealed/``, by the file's place in the manifest.

    >>> blob_name(7)
    '0007.floe'
    """
    return f"{index:04d}.floe"


def new_artifact_id(random: bytes) -> str:
    """Return the id of a new artifact, made of 16 random bytes.

    Raises:
        InvalidValue: they are not 16.
    """
    if len(random) != 16:  # noqa: PLR2004 - as the docstring says
        raise InvalidValue(f"an artifact's id is made of 16 random bytes, not {len(random)}")
    return random.hex()


def aad(artifact_id: str, name: str, version: str, path: str) -> bytes:
    """Return what FLOE authenticates beside a file: canonical JSON of format, artifact and path.

    >>> aad("00" * 16, "m", "v1", "a/b")[:60]
    b'{"artifact_id":"00000000000000000000000000000000","format":"'
    """
    return canonical(
        {"artifact_id": artifact_id, "format": FORMAT, "name": name, "path": path, "version": version}
    )


@dataclass(frozen=True)
class SealedFile:
    """One file of an artifact.

    Args:
        path: its name for those who open it, relative, parts joined by ``/``.
        size: bytes of plaintext.
        header: the 74 bytes of its FLOE header, with which its blob begins.
        segments: the SHA-256 (32 bytes) of each encrypted segment, as it follows the header in the blob.

    Raises:
        InvalidValue: path, size, header or number of segments cannot be.
    """

    path: str
    size: int
    header: bytes
    segments: tuple[bytes, ...]

    def __post_init__(self) -> None:
        try:
            self._check()
        except Malformed as error:
            raise InvalidValue(str(error)) from None

    def _check(self) -> None:
        if problem := path_problem(self.path):
            raise Malformed(f"the path {shown(self.path)} {problem}")
        if not 0 <= self.size <= GREATEST:
            raise Malformed(f"{shown(self.path)} has the size {self.size}, not one from 0 to 2^53-1")
        if len(self.header) != HEADER_SIZE or not self.header.startswith(_PARAMETERS):
            raise Malformed(
                f"{shown(self.path)} has a FLOE header that is not GCM256_IV256 with 1 MiB segments"
            )
        needed = segment_count(self.size)
        if len(self.segments) != needed:
            raise Malformed(
                f"{shown(self.path)} has {len(self.segments)} segments; {self.size} bytes make {needed}"
            )
        if any(len(digest) != 32 for digest in self.segments):  # noqa: PLR2004 - SHA-256
            raise Malformed(f"{shown(self.path)} has a segment hash that is not 32 bytes")

    @property
    def blob_size(self) -> int:
        """Bytes of the blob, header included."""
        return HEADER_SIZE + self.size + SEGMENT_OVERHEAD * len(self.segments)

    def segment_span(self, index: int) -> tuple[int, int]:
        """Return where an encrypted segment begins in the blob, and how many bytes it has.

        >>> SealedFile("a", 5, _PARAMETERS + bytes(64), (bytes(32),)).segment_span(0)
        (74, 37)
        """
        start = HEADER_SIZE + index * SEGMENT_SIZE
        last = index == len(self.segments) - 1
        return start, self.blob_size - start if last else SEGMENT_SIZE


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, and its files in the order of their blobs.

    Args:
        artifact_id: 32 lower-case hexadecimal digits, random, new with each sealing.
        name: the model's name, as BentoML allows it, at most 63 characters.
        version: the model's version, in the same form.
        serial: counts up with each release of a model, from 0; a trust policy refuses those below its
            ``min_serial``.
        files: at least one, at most 10 000.

    Raises:
        InvalidValue: one of them cannot be, or two paths collide.
    """

    artifact_id: str
    name: str
    version: str
    serial: int
    files: tuple[SealedFile, ...]

    def __post_init__(self) -> None:
        try:
            self._check()
        except Malformed as error:
            raise InvalidValue(str(error)) from None

    def _check(self) -> None:
        if not _ID.fullmatch(self.artifact_id):
            raise Malformed(
                f"the artifact id {shown(self.artifact_id)} is not 32 lower-case hexadecimal digits"
            )
        for what, tag in (("name", self.name), ("version", self.version)):
            if not TAG_PART.fullmatch(tag):
                raise Malformed(
                    f"the {what} {shown(tag)} is not 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or"
                    " digit at both ends"
                )
        if not 0 <= self.serial <= GREATEST:
            raise Malformed(f"the serial {self.serial} is not one from 0 to 2^53-1")
        if not 0 < len(self.files) <= MAX_FILES:
            raise Malformed(f"it has {len(self.files)} files, not 1 to {MAX_FILES}")
        check_paths(file.path for file in self.files)

    @property
    def tag(self) -> str:
        """``name:version``."""
        return f"{self.name}:{self.version}"

    def blobs(self) -> Iterator[tuple[str, SealedFile]]:
        """Yield each file behind the name of its blob in ``sealed/``."""
        return ((blob_name(index), file) for index, file in enumerate(self.files))

    def resource_names(self) -> frozenset[str]:
        """Return what must lie in ``sealed/``, and nothing else may."""
        return frozenset({MANIFEST_FILE, *(blob for blob, _ in self.blobs())})

    def find(self, path: str) -> tuple[str, SealedFile]:
        """Return a file behind the name of its blob.

        Raises:
            ArtifactNotFound: there is no such file; the message lists some that there are.
        """
        for blob, file in self.blobs():
            if file.path == path:
                return blob, file
        some = ", ".join(repr(file.path) for file in self.files[:10]) + (", …" if self.files[10:] else "")
        raise ArtifactNotFound(f"{self.tag} has no file {path!r}; it has: {some}")

    def context(self) -> dict[str, str]:
        """Return what a KMS binds the wrapped data key to."""
        return {"artifact_id": self.artifact_id, "name": self.name, "version": self.version}

    def aad(self, path: str) -> bytes:
        """Return what FLOE authenticates beside the file of this path."""
        return aad(self.artifact_id, self.name, self.version, path)

    def expect(self, name: str, version: str) -> None:
        """Check that this is the model that was asked for.

        Raises:
            ArtifactCorrupt: it was sealed as another one and lies in its place.
        """
        if (self.name, self.version) != (name, version):
            raise ArtifactCorrupt(
                f"what lies at {name}:{version} was sealed as {self.tag}: it was renamed or swapped"
            )

    def to_bytes(self) -> bytes:
        """Return the canonical JSON.

        Raises:
            InvalidValue: it would have more than 16 MiB.
        """
        raw = canonical(
            {
                "artifact_id": self.artifact_id,
                "files": [
                    {
                        "blob": blob,
                        "header": file.header.hex(),
                        "path": file.path,
                        "segments": [digest.hex() for digest in file.segments],
                        "size": file.size,
                    }
                    for blob, file in self.blobs()
                ],
                "format": FORMAT,
                "name": self.name,
                "serial": self.serial,
                "version": self.version,
            }
        )
        if len(raw) > MAX_MANIFEST:
            raise InvalidValue(
                f"the manifest of {self.tag} would have {len(raw)} bytes, more than {MAX_MANIFEST}:"
                " seal it in parts"
            )
        return raw

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Read a manifest, whose hash was found in a valid signature before.

        Raises:
            ArtifactCorrupt: it is not exactly what `to_bytes` writes of a manifest that can be.
        """
        try:
            found = as_object(parse(raw, limit=MAX_MANIFEST, containers=2 * MAX_FILES + 2), _MEMBERS, "it")
            as_constant(found["format"], FORMAT, "format")
            manifest = cls(
                artifact_id=as_text(found["artifact_id"], "artifact_id"),
                name=as_text(found["name"], "name"),
                version=as_text(found["version"], "version"),
                serial=as_integer(found["serial"], "serial"),
                files=tuple(
                    _file(index, item) for index, item in enumerate(as_list(found["files"], "files"))
                ),
            )
            canonical_bytes = manifest.to_bytes()
        except (Malformed, InvalidValue) as error:
            raise ArtifactCorrupt(f"{MANIFEST_FILE} is not valid: {error}") from None
        if canonical_bytes != raw:
            raise ArtifactCorrupt(f"{MANIFEST_FILE} is not valid: it is not in canonical form (RFC 8785)")
        return manifest


def _file(index: int, item: Any) -> SealedFile:
    where = f"files[{index}]"
    found = as_object(item, _FILE_MEMBERS, where)
    if found["blob"] != blob_name(index):
        raise Malformed(f"{where}.blob is {shown(found['blob'])}, not {blob_name(index)!r}")
    digests = as_list(found["segments"], f"{where}.segments")
    hexadecimal = "64 lower-case hexadecimal digits"
    return SealedFile(
        path=as_text(found["path"], f"{where}.path"),
        size=as_integer(found["size"], f"{where}.size"),
        header=bytes.fromhex(as_text(found["header"], f"{where}.header", _HEADER, _HEADER_FORM)),
        segments=tuple(
            bytes.fromhex(as_text(digest, f"a hash in {where}.segments", _HASH, hexadecimal))
            for digest in digests
        ),
    )
