"""Keys and sealed models for tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bento_rollout.artifacts.keys import keygen

CLI = [sys.executable, "-m", "bento_rollout.cli", "artifacts"]

CANARY = b"the canary of the plaintext, 9f31c7"
"""What may be nowhere but in what was sealed and in what somebody asked for in the clear."""


@dataclass(frozen=True)
class Keys:
    """A folder that `keygen` filled, and one with another pair."""

    folder: Path
    others: Path

    @classmethod
    def make(cls, root: Path) -> Keys:
        """Make both."""
        for name in ("keys", "others"):
            keygen(root / name)
        return cls(root / "keys", root / "others")

    @property
    def recipient(self) -> str:
        """Who opens what is sealed here."""
        return (self.folder / "recipient.txt").read_text(encoding="ascii").strip()

    @property
    def public(self) -> tuple[str, str]:
        """The option that trusts the signing key."""
        return ("--public-key", str(self.folder / "sign.pub.pem"))

    @property
    def identity(self) -> tuple[str, str]:
        """The option that opens."""
        return ("--identity", str(self.folder / "identity.txt"))

    @property
    def signer(self) -> tuple[str, str]:
        """The option that signs."""
        return ("--signer", str(self.folder / "sign.pem"))

    @property
    def sealing(self) -> tuple[str, ...]:
        """The options that seal."""
        return ("--recipient", self.recipient, *self.signer, "--serial", "7")


def run(*arguments: str | Path, home: Path, **environ: str) -> tuple[int, bytes, str]:
    """Run a verb of ``artifacts`` as a process; returns exit code, standard output and standard error."""
    done = subprocess.run(
        [*CLI, *map(str, arguments)],
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "1", **environ},
        capture_output=True,
        check=False,
        timeout=120,
    )
    err = done.stderr.decode(errors="replace")
    assert "Traceback" not in err, err
    return done.returncode, done.stdout, err


def told(code: int, out: str, kind: str) -> dict[str, Any]:
    """Check that a document says an error of this kind and exit code; returns it."""
    error: dict[str, Any] = json.loads(out)["error"]
    assert (error["exit_code"], error["type"]) == (code, kind)
    return error


def canaries(*folders: Path) -> list[Path]:
    """Return the files below these folders that hold the plaintext."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and CANARY in path.read_bytes()
    ]
