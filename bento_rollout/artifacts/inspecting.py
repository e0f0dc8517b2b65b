"""What an artifact says of itself; nothing of it is verified."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import ArtifactCorrupt, ArtifactError, ArtifactNotFound, InvalidValue, SignatureInvalid
from .canonical import Malformed, parse
from .envelope import Envelope
from .manifest import Manifest
from .shelf import Shelf, find
from .signature import MAX_BUNDLE
from .stored import Stored

__all__ = ["Inspection", "inspect"]

_HINT = re.compile(r"[0-9a-f]{64}", re.ASCII)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Inspection:
    """What lies in an artifact's folder, by its own word: anybody may have written it.

    Args:
        tag: what was asked for, with the version that it stands for; or the folder.
        folder: where it lies.
        manifest: None if there is no valid one.
        signer: the SHA-256 of the public key that the signature names, or None.
        recipients: whom ``keys.json`` lists as able to open it.
        services: the key services for which ``keys.json`` has the data key.
        passphrase: whether a passphrase opens ``keys.age``.
        problems: what is missing or malformed, in words.
    """

    tag: str
    folder: Path
    manifest: Manifest | None
    signer: str | None
    recipients: tuple[str, ...]
    services: tuple[str, ...]
    passphrase: bool
    problems: tuple[str, ...]


def inspect(tag: str | os.PathLike[str], *, shelf: Shelf | None = None) -> Inspection:
    """Say what is there, without a key, a policy or any trust.

    Raises:
        InvalidValue: it is no tag.
        ArtifactNotFound: there is no sealed artifact.
    """
    shelved = find(tag, shelf)
    stored = Stored(shelved.folder)
    problems: list[str] = []

    def tried(read: Callable[[], Found]) -> Found | None:
        try:
            return read()
        except ArtifactNotFound:
            raise
        except (ArtifactError, InvalidValue, Malformed) as error:
            problems.append(str(error))
            return None

    bundle = tried(stored.bundle)
    signer = tried(lambda: _hint(bundle)) if bundle is not None else None
    manifest = tried(lambda: Manifest.parse(stored.manifest()))
    if manifest is not None:
        tried(lambda: _check_names(manifest, stored))
    envelope = tried(lambda: Envelope.parse(*stored.keys()))
    return Inspection(
        str(shelved),
        shelved.folder,
        manifest,
        signer,
        envelope.keys.recipients if envelope else (),
        tuple(envelope.keys.wrapped) if envelope else (),
        envelope.needs_passphrase if envelope else False,
        tuple(problems),
    )


def _hint(bundle: bytes) -> str:
    """The key that the bundle names."""
    found = parse(bundle, limit=MAX_BUNDLE, containers=16)
    for member in ("verificationMaterial", "publicKey", "hint"):
        found = found.get(member) if isinstance(found, dict) else None
    if not isinstance(found, str) or not _HINT.fullmatch(found):
        raise SignatureInvalid("sealed.sig names no key")
    return found


def _check_names(manifest: Manifest, stored: Stored) -> None:
    wanted = manifest.resource_names()
    found = set(stored.names(len(wanted)))
    if wanted != found:
        some = ascii(min(wanted ^ found))
        raise ArtifactCorrupt(f"sealed/ does not hold the files of the manifest: look at {some}")
