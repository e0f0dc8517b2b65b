"""Each file in tests/vectors/sealed gives what its index says, with this exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import errors
from bento_rollout.artifacts.envelope import Envelope
from bento_rollout.artifacts.keys import Identities, read_public_key
from bento_rollout.artifacts.manifest import Manifest
from bento_rollout.artifacts.policy import TrustPolicy, parse_trust
from bento_rollout.artifacts.signature import verify

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "tests" / "vectors" / "sealed"
INDEX: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


def read_signature(path: Path) -> object:
    """Verify a bundle over the files of the vectors."""
    files = json.loads((path.parent / "files.json").read_text(encoding="utf-8"))
    digests = {name: bytes.fromhex(digest) for name, digest in files.items()}
    return verify(path.read_bytes(), [read_public_key(path.parent / "key.pem")], digests)


def open_age(path: Path) -> object:
    """Open `keys.age` with the identity of the vectors."""
    identities = Identities.parse((path.parent / "identity.txt").read_text(encoding="utf-8"), "identity.txt")
    key = Envelope.parse(path.read_bytes(), None).open({}, identities=identities)
    assert key.hex() == (path.parent / "data-key.hex").read_text(encoding="utf-8").strip()
    return key


READERS: dict[str, Callable[[Path], object]] = {
    "manifest": lambda path: Manifest.parse(path.read_bytes()),
    "signature": read_signature,
    "keys-age": open_age,
    "keys-json": lambda path: Envelope.parse(None, path.read_bytes()),
    "trust": TrustPolicy.read,
}


@pytest.mark.parametrize("vector", INDEX, ids=lambda vector: str(vector["file"]))
def test_vectors(vector: dict[str, Any]) -> None:
    """A good one is read; a bad one is refused by exactly its class."""
    read, path = READERS[vector["layer"]], FOLDER / vector["file"]
    if vector["error"] is None:
        assert read(path)
        return
    with pytest.raises(errors.RolloutError) as raised:
        read(path)
    assert type(raised.value).__name__ == vector["error"]
    assert type(raised.value).exit_code == vector["exit_code"]


def test_every_vector_is_listed() -> None:
    """No file lies there that nobody reads; `whole/` has an index and a test of its own."""
    beside = {
        "key.pem",
        "sign.pub.pem",
        "files.json",
        "identity.txt",
        "data-key.hex",
        "README.md",
        "index.json",
        ".gitattributes",
    }
    files = (path.relative_to(FOLDER) for path in FOLDER.rglob("*.*") if path.name not in beside)
    found = {str(path) for path in files if path.parts[0] != "whole"}
    assert found == {vector["file"] for vector in INDEX}


def test_the_policy_that_the_format_shows() -> None:
    """The example in docs/sealed-format.md is one."""
    text = (ROOT / "docs" / "sealed-format.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert parse_trust(shown.encode()).models["screening"].min_serial == 42
