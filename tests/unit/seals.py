"""A desk with keys, a policy and a shelf, where artifacts are sealed for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bento_rollout import artifacts

FILES = {"model.bin": b"weights", "conf/labels.txt": b"yes\nno\n", "empty": b""}


@dataclass(frozen=True)
class Desk:
    """Keys, a policy that trusts them, and a shelf.

    Args:
        folder: where all of it lies.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Desk:
        """Make the keys and the policy."""
        artifacts.keygen(folder / "keys")
        desk = cls(folder)
        desk.trust()
        return desk

    def trust(self, more: str = "") -> Path:
        """Write the policy again."""
        self.policy.write_text(f'keys = ["sign.pub.pem"]\nidentity = "identity.txt"\n{more}')
        return self.policy

    @property
    def policy(self) -> Path:
        """The policy's file."""
        return self.folder / "keys" / "trust.toml"

    @property
    def signer(self) -> Path:
        """The signing key's file."""
        return self.folder / "keys" / "sign.pem"

    @property
    def public(self) -> Path:
        """The public key's file."""
        return self.folder / "keys" / "sign.pub.pem"

    @property
    def recipients(self) -> list[str]:
        """Whoever holds the desk's identity."""
        return (self.folder / "keys" / "recipient.txt").read_text().split()

    @property
    def shelf(self) -> artifacts.FolderShelf:
        """Where it is published."""
        return artifacts.FolderShelf(self.folder / "shelf")

    def create(self, tag: str = "screening:v3", **more: Any) -> artifacts.Creation:
        """Begin an artifact."""
        asked: dict[str, Any] = {
            "recipients": self.recipients,
            "signer": self.signer,
            "serial": 42,
            "shelf": self.shelf,
        }
        return artifacts.create(tag, **(asked | more))

    def seal(self, tag: str = "screening:v3", files: Mapping[str, bytes] | None = None, **more: Any) -> Path:
        """Seal these files, and return the folder."""
        with self.create(tag, **more) as art:
            for path, content in (FILES if files is None else files).items():
                with art.open(path, "wb") as file:
                    file.write(content)
        assert art.folder is not None
        return art.folder

    def open(self, tag: str | Path = "screening:v3", **more: Any) -> artifacts.Artifact:
        """Open one."""
        asked: dict[str, Any] = {"policy": self.policy, "shelf": self.shelf}
        return artifacts.open(tag, **(asked | more))

    def verify(self, tag: str | Path = "screening:v3", **more: Any) -> artifacts.Verified:
        """Verify one."""
        asked: dict[str, Any] = {"policy": self.policy, "shelf": self.shelf}
        return artifacts.verify(tag, **(asked | more))

    def read(self, tag: str | Path = "screening:v3", **more: Any) -> dict[str, bytes]:
        """Open one and read all of it."""
        artifact = self.open(tag, **more)
        return {path: bytes(artifact.read(path)) for path in artifact.paths}
