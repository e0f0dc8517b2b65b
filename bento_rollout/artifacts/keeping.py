"""The later life of an artifact: other people open it, or another key signs it; the payload stays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..errors import ArtifactError, InvalidValue, SignatureInvalid
from .canonical import GREATEST
from .envelope import KEYS_AGE, KEYS_JSON, Envelope
from .files import alone, put_file, sync_folder
from .floe import Message
from .keys import Identities, read_signer
from .kms import KeyList, Kms
from .manifest import MANIFEST_FILE, Manifest
from .opening import data_key
from .payload import Progress
from .policy import TrustPolicy
from .shelf import Shelf, find
from .signature import SIGNATURE_FILE, sign, verify_signature
from .signers import PublicKey, Signer
from .stored import NEXT_SIGNATURE, Stored
from .verifying import THREADS, Pinned, Verified, check_blobs, establish, naming, trusted

__all__ = ["resign", "rewrap"]


def rewrap(  # noqa: PLR0913 - what opens it now, and what shall
    tag: str | os.PathLike[str],
    *,
    recipients: Iterable[str] = (),
    new_passphrase: str | None = None,
    new_kms: Mapping[str, Kms] | None = None,
    policy: TrustPolicy | Path | str | None = None,
    public_keys: Pinned | None = None,
    identity: Identities | Path | str | None = None,
    passphrase: str | None = None,
    kms: Mapping[str, Kms] | None = None,
    shelf: Shelf | None = None,
    now: datetime | None = None,
) -> KeyList:
    """Let these, and nobody else, open an artifact from now on; its signature stays valid.

    The data key stays the same: whoever had it, or has a copy of the old ``keys.age`` and its identity, can
    still open this artifact. To shut somebody out of the next release, seal that without him.

    Args:
        tag: ``name:version``, ``name:latest``, ``name``, or a folder that holds ``sealed/``.
        recipients: all of age who may open it (``age1…``); those who could until now are not kept.
        new_passphrase: instead of recipients.
        new_kms: key services that wrap it; those that did until now are not kept.
        policy: a trust policy or its file; by default that which ``BENTO_ROLLOUT_TRUST`` names.
        public_keys: instead of a policy: whose signatures are valid, and nothing more is asked.
        identity: what opens it now; as for `open_artifact`.
        passphrase: what opens it now, if it is a passphrase.
        kms: what opens it now, if it is a key service.
        shelf: where the tag is looked up; BentoML's model store by default.
        now: the time, with its zone, for the policy's ``not_after``.

    Returns:
        What ``keys.json`` says now.

    Raises:
        InvalidValue: nobody could open it, or a recipient cannot be.
        KeyUnavailable: nothing at hand gives the data key, or a key service failed; nothing has changed.
        ArtifactCorrupt: the data key that was wrapped is not that of this artifact; nothing has changed.
        ArtifactError: the files cannot be replaced. Each is replaced in one step, one after the other: what
            opens the artifact is then as before, or as it shall be.
        PolicyViolated, SignatureInvalid, ArtifactNotFound: as for `open_artifact`.
    """
    if isinstance(recipients, str):
        raise InvalidValue('recipients is one text: give a list of them, ["age1…"]')
    trust, shelved = trusted(policy, public_keys), find(tag, shelf)
    folder = shelved.folder
    try:
        with alone(folder):
            found = establish(shelved, trust, now)
            manifest = found.manifest
            key = data_key(found, identity=identity, passphrase=passphrase, kms=kms)
            for file in manifest.files:
                with naming(file.path):
                    Message.resume(key, manifest.aad(file.path), file.header)
            envelope = Envelope.seal(
                key, manifest.context(), recipients=recipients, passphrase=new_passphrase, kms=new_kms
            )
            if envelope.age is not None:
                put_file(folder / KEYS_AGE, envelope.age)
            put_file(folder / KEYS_JSON, envelope.keys.to_bytes())
            if envelope.age is None:
                (folder / KEYS_AGE).unlink(missing_ok=True)
                sync_folder(folder)
    except OSError as error:
        raise ArtifactError(f"the keys in {folder} cannot be replaced: {error.strerror}") from error
    return envelope.keys


def resign(  # noqa: PLR0913 - whom to trust until now, and who signs
    tag: str | os.PathLike[str],
    *,
    signer: Signer | Path | str,
    serial: int | None = None,
    policy: TrustPolicy | Path | str | None = None,
    public_keys: Pinned | None = None,
    shelf: Shelf | None = None,
    threads: int = THREADS,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Replace an artifact's signature, after every byte of it has passed with the old one.

    Payload, keys and artifact id stay, and no key that decrypts is needed. With another serial the manifest
    changes too. Both files cannot be replaced in one step: whoever opens the artifact in between is told that
    it is corrupt. If the process is killed there, the same call again (with the old key or the new one
    trusted) ends it.

    Args:
        tag: ``name:version``, ``name:latest``, ``name``, or a folder that holds ``sealed/``.
        signer: who signs from now on: a key, or the path of its PEM file.
        serial: the new serial; the old one stays if None.
        policy: whom to trust until now; by default what ``BENTO_ROLLOUT_TRUST`` names.
        public_keys: instead of a policy: whose signature is valid until now.
        shelf: where the tag is looked up; BentoML's model store by default.
        threads: how many work on a file.
        now: the time, with its zone, for the policy's ``not_after``.
        progress: called with bytes of plaintext as they pass, from any thread.

    Returns:
        What is signed now.

    Raises:
        InvalidValue: a signing key or serial that cannot be.
        ArtifactError: a file cannot be replaced.
        PolicyViolated, SignatureInvalid, ArtifactCorrupt, ArtifactNotFound: as for `verify`; nothing changed.
    """
    if serial is not None and (type(serial) is not int or not 0 <= serial <= GREATEST):
        raise InvalidValue(f"serial={serial!r}: it is an integer from 0 to 2^53-1")
    key = signer if isinstance(signer, Signer) else read_signer(Path(signer))
    trust, shelved = trusted(policy, public_keys), find(tag, shelf)
    try:
        with alone(shelved.folder):
            if _end_interrupted(Stored(shelved.folder), key.public):
                trust = replace(trust, keys=(*trust.keys, key.public))
            found = establish(shelved, trust, now)
            check_blobs(found, threads=threads, progress=progress)
            manifest = found.manifest if serial is None else replace(found.manifest, serial=serial)
            raw = manifest.to_bytes()
            bundle = sign({**found.signed.resources, MANIFEST_FILE: hashlib.sha256(raw).digest()}, key)
            _replace(found.stored, found.manifest, raw, bundle)
    except OSError as error:
        raise ArtifactError(f"{shelved.folder} cannot be signed again: {error.strerror}") from error
    return Verified(manifest, key.public, shelved.folder)


def _replace(stored: Stored, before: Manifest, raw: bytes, bundle: bytes) -> None:
    """Put manifest and signature in their places, so that an interruption between them can be ended."""
    if raw != before.to_bytes():
        put_file(stored.folder / NEXT_SIGNATURE, bundle)
        put_file(stored.sealed / MANIFEST_FILE, raw, draft=stored.folder / f".{MANIFEST_FILE}.draft")
        (stored.folder / NEXT_SIGNATURE).replace(stored.folder / SIGNATURE_FILE)
        sync_folder(stored.folder)
    else:
        put_file(stored.folder / SIGNATURE_FILE, bundle)


def _end_interrupted(stored: Stored, public: PublicKey) -> bool:
    """Put the signature in its place whose manifest is there already, if somebody was killed between them."""
    waiting = stored.next_bundle()
    if waiting is None:
        return False
    try:
        signed = verify_signature(waiting, [public])
    except SignatureInvalid:
        return False
    if signed.resources.get(MANIFEST_FILE) != hashlib.sha256(stored.manifest()).digest():
        return False
    (stored.folder / NEXT_SIGNATURE).replace(stored.folder / SIGNATURE_FILE)
    sync_folder(stored.folder)
    return True
