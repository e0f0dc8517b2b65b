"""Sealed artifacts for tests, made of the same parts as real ones, with every part at hand to be broken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bento_rollout.artifacts.envelope import KEYS_AGE, KEYS_JSON, Envelope
from bento_rollout.artifacts.keys import Identities
from bento_rollout.artifacts.manifest import MANIFEST_FILE, Manifest, SealedFile, aad, blob_name
from bento_rollout.artifacts.sealer import Sealer
from bento_rollout.artifacts.signature import SIGNATURE_FILE, sign
from bento_rollout.artifacts.signers import Signer

NAME, VERSION, SERIAL = "screening", "v3", 42


@dataclass
class Sealed:
    """An artifact in a folder, and all the keys that it was made with.

    Args:
        folder: where its files lie.
        files: plaintext by path.
    """

    folder: Path
    files: Mapping[str, bytes]
    signer: Signer = field(default_factory=Signer.generate)
    identity: Identities = field(default_factory=Identities.generate)
    data_key: bytes = field(default_factory=lambda: os.urandom(32))
    artifact_id: str = field(default_factory=lambda: os.urandom(16).hex())

    def __post_init__(self) -> None:
        (self.folder / "sealed").mkdir(parents=True)
        entries = []
        for index, (path, plain) in enumerate(self.files.items()):
            bound = aad(self.artifact_id, NAME, VERSION, path)
            with (
                self.blob(index).open("wb", buffering=0) as sink,
                Sealer(self.data_key, bound, sink) as sealer,
            ):
                sealer.write(plain)
            assert sealer.payload is not None
            entries.append(SealedFile(path, len(plain), sealer.payload.header, tuple(sealer.payload.digests)))
        self.manifest = Manifest(self.artifact_id, NAME, VERSION, SERIAL, tuple(entries))
        (self.folder / "sealed" / MANIFEST_FILE).write_bytes(self.manifest.to_bytes())
        self.wrap(self.data_key, self.identity)
        self.sign()

    def blob(self, index: int) -> Path:
        """Return where a file's ciphertext lies."""
        return self.folder / "sealed" / blob_name(index)

    def wrap(self, data_key: bytes, identity: Identities) -> None:
        """Write the envelope of a data key for one identity."""
        envelope = Envelope.seal(data_key, self.manifest.context(), recipients=identity.recipients)
        assert envelope.age is not None
        (self.folder / KEYS_AGE).write_bytes(envelope.age)
        (self.folder / KEYS_JSON).write_bytes(envelope.keys.to_bytes())

    def sign(self, signer: Signer | None = None) -> None:
        """Sign what lies in `sealed/` now."""
        found = sorted((self.folder / "sealed").iterdir())
        digests = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in found}
        (self.folder / SIGNATURE_FILE).write_bytes(sign(digests, signer or self.signer))
