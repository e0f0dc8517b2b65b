"""Other people's tools read what we write, and we read what they write: ``model_signing`` and `pyrage`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyrage
import pytest

from bento_rollout.artifacts.envelope import Envelope
from bento_rollout.artifacts.keys import Identities, keygen, read_public_key, read_signer
from bento_rollout.artifacts.kms import KeyList
from bento_rollout.artifacts.signature import sign, verify
from bento_rollout.errors import ArtifactCorrupt, SignatureInvalid
from tests.sealing import Sealed
from tests.states import unavailable


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A folder with keys, and `sealed/` as an artifact has it."""
    keygen(tmp_path)
    (tmp_path / "sealed").mkdir()
    (tmp_path / "sealed/manifest.json").write_bytes(b"{}")
    for index in range(11):
        (tmp_path / f"sealed/{index:04d}.floe").write_bytes(os.urandom(100))
    return tmp_path


def digests(artifact: Path) -> dict[str, bytes]:
    """The SHA-256 of each file in `sealed/`."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (artifact / "sealed").iterdir()}


def model_signing(verb: str, artifact: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the public tool over `sealed/`; it is in the dependency group `interop`, which CI installs."""
    if find_spec("model_signing") is None:
        unavailable("model_signing is not installed (pip install model-signing pyopenssl)")
    line = [
        sys.executable,
        "-m",
        "model_signing",
        verb,
        "key",
        "sealed",
        "--signature",
        "sealed.sig",
        *options,
    ]
    return subprocess.run(line, cwd=artifact, capture_output=True, text=True, timeout=120, check=False)


def test_the_public_tool_verifies_what_we_sign(artifact: Path) -> None:
    """`model_signing verify key` accepts our bundle, and no longer when a byte has changed."""
    bundle = sign(digests(artifact), read_signer(artifact / "sign.pem"))
    (artifact / "sealed.sig").write_bytes(bundle)
    done = model_signing("verify", artifact, "--public_key", "sign.pub.pem")
    assert done.returncode == 0, done.stderr
    assert "Verification succeeded" in done.stdout
    (artifact / "sealed/0003.floe").write_bytes(b"other")
    done = model_signing("verify", artifact, "--public_key", "sign.pub.pem")
    assert done.returncode != 0


def test_we_verify_what_the_public_tool_signs(artifact: Path) -> None:
    """With `--no-ignore-git-paths` its bundle is one of ours; its default is refused, with that advice."""
    keys = [read_public_key(artifact / "sign.pub.pem")]
    done = model_signing("sign", artifact, "--private_key", "sign.pem", "--no-ignore-git-paths")
    assert done.returncode == 0, done.stderr
    verify((artifact / "sealed.sig").read_bytes(), keys, digests(artifact))
    with pytest.raises(ArtifactCorrupt, match=r"0003\.floe is not what was signed"):
        verify((artifact / "sealed.sig").read_bytes(), keys, {**digests(artifact), "0003.floe": bytes(32)})

    done = model_signing("sign", artifact, "--private_key", "sign.pem")
    assert done.returncode == 0, done.stderr
    with pytest.raises(SignatureInvalid, match=r"sign again with .*--no-ignore-git-paths"):
        verify((artifact / "sealed.sig").read_bytes(), keys, digests(artifact))


def test_a_whole_artifact_is_read_by_others(tmp_path: Path) -> None:
    """The public tool verifies it as it lies there, and plain age gives the data key."""
    sealed = Sealed(tmp_path / "artifact", {"model.joblib": os.urandom(3 * 2**20), "empty": b""})
    (sealed.folder / "sign.pub.pem").write_bytes(sealed.signer.public.pem)
    done = model_signing("verify", sealed.folder, "--public_key", "sign.pub.pem")
    assert done.returncode == 0, done.stderr
    age = (sealed.folder / "keys.age").read_bytes()
    assert pyrage.decrypt(age, list(sealed.identity.secrets)) == sealed.data_key


def test_age_opens_what_we_wrap() -> None:
    """Plain age decryption of `keys.age` gives the data key."""
    key = os.urandom(32)
    one, two = Identities.generate(), Identities.generate()
    age = Envelope.seal(key, {}, recipients=[*one.recipients, *two.recipients]).age
    assert age is not None
    assert pyrage.decrypt(age, list(one.secrets)) == pyrage.decrypt(age, list(two.secrets)) == key


def test_we_open_what_age_wraps() -> None:
    """A data key that plain age encrypted to an identity of ours is opened, with any number of recipients."""
    key = os.urandom(32)
    identity = Identities.generate()
    others = [pyrage.x25519.Identity.generate().to_public() for _ in range(20)]
    age = pyrage.encrypt(key, [*others, *(secret.to_public() for secret in identity.secrets)])
    assert Envelope.parse(age, KeyList().to_bytes()).open({}, identities=identity) == key
