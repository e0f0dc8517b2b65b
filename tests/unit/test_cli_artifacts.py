"""``artifacts``: what each verb does with real keys and real models, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from bento_rollout.artifacts.envelope import Envelope
from bento_rollout.artifacts.keys import Identities, read_public_key, read_signer
from bento_rollout.artifacts.policy import TrustPolicy
from bento_rollout.artifacts.sealing import Creation
from bento_rollout.artifacts.signature import sign
from bento_rollout.testing import FileKms
from tests.unit.door import Say
from tests.unit.sealing import CANARY, Keys, canaries, run, told

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT / "tests" / "vectors" / "sealed"
INDEX: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Two pairs of keys."""
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def original(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed model with three files, which nobody changes."""
    root = tmp_path_factory.mktemp("original")
    plain = root / "plain"
    (plain / "deep").mkdir(parents=True)
    (plain / "model.bin").write_bytes(CANARY * 60_000)  # two segments
    (plain / "deep/ü x.json").write_bytes(b"{}")
    (plain / "empty").write_bytes(b"")
    code, _, err = run("seal", plain, "--name", "m:v1", *keys.sealing, "--output", root / "model", home=root)
    assert code == 0, err
    return root / "model"


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy of the sealed model, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "model"))


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No policy and no identity but those that a test names."""
    for name in ("TRUST", "IDENTITY", "IDENTITY_FILE"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)


# -- keys ----------------------------------------------------------------------------------------------------


def test_keygen(say: Say, ask: Ask, tmp_path: Path) -> None:
    """Four files; what is printed is public, and says what to do next."""
    folder = tmp_path / "a b"
    code, out, err = say("artifacts", "keygen", "--output", str(folder))
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [
        "identity.txt",
        "recipient.txt",
        "sign.pem",
        "sign.pub.pem",
    ]
    assert (folder / "recipient.txt").read_text().strip() in out
    assert read_public_key(folder / "sign.pub.pem").hint in out
    assert f"artifacts seal FILE --name MODEL:VERSION --serial 1 --recipient '{folder}/recipient.txt'" in out
    more = ask("artifacts", "keygen", "--output", str(tmp_path / "more"))
    assert set(more) == {"recipient", "fingerprint", "files"}
    for secret in (folder / "identity.txt", folder / "sign.pem", tmp_path / "more/identity.txt"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert secret.read_text().splitlines()[1] not in out + json.dumps(more)


def test_keygen_overwrites_nothing(say: Say, tmp_path: Path) -> None:
    """Exit code 1: a key is there; what was there is as it was."""
    (tmp_path / "sign.pem").write_text("mine")
    code, out, err = say("artifacts", "keygen", "--output", str(tmp_path), "--json")
    told(1, out, "refused")
    assert code == 1
    assert "never overwritten" in err
    assert (tmp_path / "sign.pem").read_text() == "mine"
    assert not (tmp_path / "identity.txt").exists()


def test_keygen_where_nothing_can_be_written(say: Say) -> None:
    """A folder that cannot be made is told in a sentence."""
    code, _, err = say("artifacts", "keygen", "--output", "/proc/nobody/keys")
    assert (code, err) == (1, "Error: /proc/nobody/keys cannot be written: No such file or directory\n")


# -- the whole way -------------------------------------------------------------------------------------------


def test_through_the_model_store(keys: Keys, tmp_path: Path) -> None:
    """Seal a file under a tag, verify it, list it with BentoML, open it: all as processes, as a user does."""
    (tmp_path / "model.bin").write_bytes(CANARY)
    home = tmp_path / "home"
    home.mkdir()

    def ask(*arguments: str) -> Any:
        code, out, err = run(*arguments, "--json", home=home)
        assert (code, err) == (0, "")
        return json.loads(out)

    sealed = ask("seal", str(tmp_path / "model.bin"), "--name", "screening:v3", *keys.sealing)
    assert sealed["files"] == [{"path": "model.bin", "size": len(CANARY)}]
    assert (sealed["tag"], sealed["serial"]) == ("screening:v3", 7)
    assert sealed["folder"] == str(home / "models/screening/v3")
    listed = subprocess.run(
        [sys.executable, "-m", "bentoml", "models", "list", "-o", "json"],
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one["tag"] for one in json.loads(listed.stdout)] == ["screening:v3"]
    for tag in ("screening:v3", "screening:latest", "screening", str(home / "models/screening/v3")):
        verified = ask("verify", tag, *keys.public)
        assert (verified["tag"], verified["verified"]) == ("screening:v3", True)
        assert verified["signed_by"] == sealed["signed_by"]
        assert verified["artifact_id"] == sealed["artifact_id"]
    code, out, err = run(
        "open", "screening:v3", "model.bin", "--output", "-", *keys.public, *keys.identity, home=home
    )
    assert (code, out, err) == (0, CANARY, "")
    assert not canaries(home)
    assert run("verify", "nobody", *keys.public, home=home)[0] == 3
    assert run("verify", "screening:v4", *keys.public, home=home)[0] == 3
    again = run("seal", tmp_path / "model.bin", "--name", "screening:v3", *keys.sealing, home=home)
    assert again[0] == 1
    assert "never overwritten" in again[2]


def test_a_version_of_its_own(keys: Keys, tmp_path: Path) -> None:
    """A name alone gets a version, which the answer says."""
    (tmp_path / "x").write_bytes(b"1")
    code, out, _ = run("seal", tmp_path / "x", "--name", "m", *keys.sealing, "--json", home=tmp_path)
    tag = json.loads(out)["tag"]
    assert code == 0
    assert run("verify", tag, *keys.public, home=tmp_path)[0] == 0


def test_a_folder(model: Path, keys: Keys, ask: Ask, say: Say) -> None:
    """A folder lies where it was told; each of its files opens by its path."""
    facts = ask("artifacts", "verify", str(model), *keys.public)
    assert [(file["path"], file["size"]) for file in facts["files"]] == [
        ("deep/ü x.json", 2),
        ("empty", 0),
        ("model.bin", 60_000 * len(CANARY)),
    ]
    code, out, _ = say("artifacts", "verify", str(model), *keys.public)
    assert code == 0
    for text in ("m:v1", "serial 7", "deep/ü x.json", "2.1 MB", facts["artifact_id"], facts["signed_by"]):
        assert text in out


def test_sealed_for_several(keys: Keys, tmp_path: Path, say: Say) -> None:
    """Recipients are texts or files of them, with comments; each of them opens."""
    everybody = tmp_path / "everybody.txt"
    everybody.write_text(
        f"# the office\n{keys.recipient}\n\n  {(keys.others / 'recipient.txt').read_text()}", encoding="utf-8"
    )
    (tmp_path / "x").write_bytes(CANARY)
    sealing = ("--recipient", str(everybody), *keys.signer, "--serial", "1", "--output", str(tmp_path / "m"))
    assert say("artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", *sealing)[0] == 0
    for folder in (keys.folder, keys.others):
        target = tmp_path / folder.name
        opening = ("--identity", str(folder / "identity.txt"), *keys.public, "--output", str(target))
        assert say("artifacts", "open", str(tmp_path / "m"), "x", *opening)[0] == 0
        assert target.read_bytes() == CANARY


def secret_file(path: Path, text: str) -> str:
    """A file that only its owner reads."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def test_a_passphrase(keys: Keys, tmp_path: Path, say: Say) -> None:
    """A passphrase in a file seals and opens; another one is exit code 11, and none of them is shown."""
    (tmp_path / "x").write_bytes(CANARY)
    good = secret_file(tmp_path / "good", "correct horse\n")
    bad = secret_file(tmp_path / "bad", "battery staple\n")
    sealing = ("--passphrase-file", good, *keys.signer, "--serial", "1", "--output", str(tmp_path / "m"))
    assert say("artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", *sealing)[0] == 0
    for file, code in ((bad, 11), (good, 0)):
        target = str(tmp_path / "plain")
        opening = ("--passphrase-file", file, *keys.public, "--output", target, "--json")
        found, out, err = say("artifacts", "open", str(tmp_path / "m"), "x", *opening)
        assert found == code
        assert "horse" not in out + err
        assert "staple" not in out + err
    assert (tmp_path / "plain").read_bytes() == CANARY


def test_an_encrypted_signing_key(keys: Keys, tmp_path: Path, say: Say) -> None:
    """A signing key that others' tools have encrypted takes its password from a file."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((keys.folder / "sign.pem").read_bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"swordfish"),
    )
    signer = secret_file(tmp_path / "sign.pem", pem.decode())
    (tmp_path / "x").write_bytes(b"1")
    line: tuple[str, ...] = ("artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", "--serial", "1")
    line = (*line, "--recipient", keys.recipient, "--signer", signer, "--output", str(tmp_path / "m"))
    code, _, err = say(*line)
    assert code == 2
    assert "give its password" in err
    wrong = secret_file(tmp_path / "wrong", "trout")
    assert say(*line, "--signer-password-file", wrong)[0] == 2
    good = secret_file(tmp_path / "good", "swordfish")
    assert say(*line, "--signer-password-file", good)[0] == 0
    assert say("artifacts", "verify", str(tmp_path / "m"), *keys.public)[0] == 0


# -- opening -------------------------------------------------------------------------------------------------


def test_open_writes_a_private_file_once(model: Path, keys: Keys, say: Say, ask: Ask, tmp_path: Path) -> None:
    """The plaintext is its owner's alone, and replaces nothing, not even itself."""
    target = tmp_path / "plain.bin"
    line = (
        "artifacts",
        "open",
        str(model),
        "model.bin",
        "--output",
        str(target),
        *keys.public,
        *keys.identity,
    )
    before = os.umask(0)
    try:
        assert ask(*line) == {
            "tag": "m:v1",
            "path": "model.bin",
            "size": 60_000 * len(CANARY),
            "output": str(target),
        }
    finally:
        os.umask(before)
    assert target.read_bytes() == CANARY * 60_000
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.write_bytes(b"mine")
    code, _, err = say(*line)
    assert code == 1
    assert err == f"Error: {target} is there already, and nothing is overwritten\n"
    assert target.read_bytes() == b"mine"
    target.unlink()
    target.symlink_to(tmp_path / "elsewhere")
    assert say(*line)[0] == 1
    assert not (tmp_path / "elsewhere").exists()


def test_open_says_where_the_plaintext_goes(model: Path, keys: Keys, say: Say) -> None:
    """Without ``--output`` nothing is decrypted, and ``-`` is refused with ``--json``."""
    line = ("artifacts", "open", str(model), "model.bin", *keys.public, *keys.identity)
    code, out, _ = say(*line)
    assert (code, out) == (2, "")
    code, out, _ = say(*line, "--output", "-", "--json")
    told(2, out, "usage")
    assert CANARY.decode() not in out


def test_identity_from_the_policy_and_the_environment(
    model: Path, keys: Keys, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What opens is said by the command, else by ``trust.toml``, else by the environment."""
    line = ("artifacts", "open", str(model), "model.bin")
    policy = tmp_path / "trust.toml"
    policy.write_text(f'keys = ["{keys.folder}/sign.pub.pem"]\nidentity = "{keys.folder}/identity.txt"\n')
    assert say(*line, "--policy", str(policy), "--output", str(tmp_path / "1"))[0] == 0
    assert say(*line, "--output", str(tmp_path / "2"))[0] == 13
    monkeypatch.setenv("BENTO_ROLLOUT_TRUST", str(policy))
    assert say(*line, "--output", str(tmp_path / "3"))[0] == 0
    assert say(*line, *keys.public, "--output", str(tmp_path / "4"))[0] == 11
    monkeypatch.setenv("BENTO_ROLLOUT_IDENTITY_FILE", str(keys.folder / "identity.txt"))
    assert say(*line, *keys.public, "--output", str(tmp_path / "5"))[0] == 0
    assert {path.name for path in tmp_path.iterdir() if path.name.isdigit()} == {"1", "3", "5"}


# -- policies ------------------------------------------------------------------------------------------------


def test_policy_and_bump(model: Path, keys: Keys, say: Say, ask: Ask, tmp_path: Path) -> None:
    """``--bump`` raises ``min_serial`` once; an older release is exit code 13 from then on."""
    policy = tmp_path / "trust.toml"
    policy.write_text(f'# ours\nkeys = ["{keys.folder}/sign.pub.pem"]\n')
    line = ("artifacts", "verify", str(model), "--policy", str(policy))
    assert "bumped" not in ask(*line)
    assert ask(*line, "--bump")["bumped"] is True
    assert ask(*line, "--bump")["bumped"] is False
    code, out, _ = say(*line, "--bump")
    assert code == 0
    assert f"{policy}: asked for this serial or a later one before" in out
    assert policy.read_text().startswith("# ours\n")
    assert TrustPolicy.read(policy).models["m"].min_serial == 7
    assert say("artifacts", "resign", str(model), *keys.signer, *keys.public, "--serial", "6")[0] == 0
    code, out, err = say(*line, "--json")
    told(13, out, "policy_violated")
    assert code == 13
    assert "older release" in err


def test_bump_needs_a_policy(model: Path, keys: Keys, say: Say) -> None:
    """Keys alone have no serial to raise."""
    code, _, err = say("artifacts", "verify", str(model), *keys.public, "--bump")
    assert code == 2
    assert "name one with --policy" in err


# -- later ---------------------------------------------------------------------------------------------------


def test_rewrap(model: Path, keys: Keys, say: Say, ask: Ask, tmp_path: Path) -> None:
    """From then on others open it, whoever did before does not, and the signature is as it was."""
    other = (keys.others / "recipient.txt").read_text().strip()
    signature = (model / "sealed.sig").read_bytes()
    done = ask("artifacts", "rewrap", str(model), "--recipient", other, *keys.public, *keys.identity)
    assert done == {"tag": str(model), "recipients": [other], "passphrase": False}
    assert (model / "sealed.sig").read_bytes() == signature
    line = ("artifacts", "open", str(model), "model.bin", *keys.public, "--output", str(tmp_path / "plain"))
    assert say(*line, *keys.identity)[0] == 11
    assert say(*line, "--identity", str(keys.others / "identity.txt"))[0] == 0
    phrase = secret_file(tmp_path / "phrase", "correct horse\n")
    rewrap = ("artifacts", "rewrap", str(model), *keys.public)
    code, out, _ = say(
        *rewrap, "--identity", str(keys.others / "identity.txt"), "--new-passphrase-file", phrase
    )
    assert code == 0
    assert "opened by  a passphrase" in out
    assert "still can" in out
    assert say(*rewrap, "--passphrase-file", phrase, "--recipient", keys.recipient)[0] == 0
    assert say(*rewrap, *keys.identity)[0] == 2  # nobody could open it


def test_rewrap_leaves_key_services_alone(model: Path, keys: Keys, say: Say, tmp_path: Path) -> None:
    """What this command cannot wrap for is not shut out without a word."""
    from bento_rollout.artifacts.keeping import rewrap

    service = FileKms(tmp_path / "kms")
    rewrap(
        model,
        recipients=[keys.recipient],
        new_kms={"cloud": service},
        public_keys=[keys.folder / "sign.pub.pem"],
        identity=keys.folder / "identity.txt",
    )
    line = ("artifacts", "rewrap", str(model), "--recipient", keys.recipient, *keys.public, *keys.identity)
    code, _, err = say(*line)
    assert code == 1
    assert "cloud" in err
    assert say("artifacts", "inspect", str(model))[1].count("the key service cloud") == 1
    assert say(*line, "--drop-services")[0] == 0
    assert json.loads((model / "keys.json").read_bytes())["kms"] == []


def test_resign(model: Path, keys: Keys, say: Say, ask: Ask) -> None:
    """Another key signs, after the old signature was found good; the content is as it was."""
    theirs = ("--public-key", str(keys.others / "sign.pub.pem"))
    signer = ("--signer", str(keys.others / "sign.pem"))
    assert say("artifacts", "resign", str(model), *signer, *theirs)[0] == 10
    done = ask("artifacts", "resign", str(model), *signer, *keys.public, "--serial", "8")
    assert (done["serial"], done["signed_by"]) == (8, read_public_key(keys.others / "sign.pub.pem").hint)
    assert say("artifacts", "verify", str(model), *keys.public)[0] == 10
    assert say("artifacts", "verify", str(model), *theirs, *keys.public)[0] == 0
    code, out, _ = say("artifacts", "resign", str(model), *keys.signer, *theirs)
    assert code == 0
    assert "resigned" in out


# -- inspecting ----------------------------------------------------------------------------------------------


def test_inspect_says_that_nothing_is_verified(model: Path, keys: Keys, say: Say, ask: Ask) -> None:
    """It shows what is there, and above all that anybody may have written it."""
    code, out, err = say("artifacts", "inspect", str(model))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("NOTHING HERE IS VERIFIED")
    assert keys.recipient in out
    facts = ask("artifacts", "inspect", str(model))
    assert facts["verified"] is False
    assert (facts["manifest"]["tag"], facts["problems"]) == ("m:v1", [])
    (model / "sealed.sig").unlink()
    (model / "sealed/manifest.json").write_bytes(b"{}")
    facts = ask("artifacts", "inspect", str(model))
    assert facts["manifest"] is None
    assert len(facts["problems"]) == 2
    assert "problem" in say("artifacts", "inspect", str(model))[1]


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b2J\u202e"
"""Sets the window's title, clears the screen in two ways, goes back, and turns the direction of writing."""


def test_nothing_in_an_artifact_moves_the_cursor(model: Path, keys: Keys, say: Say) -> None:
    """What anybody may have written is shown with its control characters written out."""
    manifest = json.loads((model / "sealed/manifest.json").read_bytes())
    manifest["files"][0]["path"] = "a\u202eb\u2028c"  # what a path may be
    raw = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    (model / "sealed/manifest.json").write_bytes(raw)
    _, out, err = say("artifacts", "inspect", str(model))
    assert "a\\u202eb\\u2028c" in out
    _, document, _ = say("artifacts", "inspect", str(model), "--json")
    assert json.loads(document)["manifest"]["files"][0]["path"] == "a\u202eb\u2028c"
    shown = [out, err, document]
    manifest["name"] = HOSTILE
    (model / "sealed/manifest.json").write_bytes(json.dumps(manifest).encode())
    (model / "sealed" / HOSTILE).write_bytes(b"")
    (model / "keys.age").write_bytes(HOSTILE.encode())
    opening = ("open", str(model), HOSTILE, "--output", "/dev/null/x", *keys.identity, *keys.public)
    for line in (("inspect", str(model)), ("verify", str(model), *keys.public), opening):
        for more in ((), ("--json",)):
            shown += say("artifacts", *line, *more)[1:]
    for text in shown:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", text)


# -- exit codes ----------------------------------------------------------------------------------------------


def resigned(model: Path, keys: Keys) -> None:
    """Sign whatever lies in ``sealed/``, as somebody does who has the key."""
    import hashlib

    digests = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (model / "sealed").iterdir()}
    (model / "sealed.sig").write_bytes(sign(digests, read_signer(keys.folder / "sign.pem")))


def no_artifact(model: Path) -> None:
    """Remove all that is sealed."""
    shutil.rmtree(model / "sealed")
    (model / "sealed.sig").unlink()


def a_pipe(model: Path) -> None:
    """Put a pipe in the place of a payload."""
    (model / "sealed/0000.floe").unlink()
    os.mkfifo(model / "sealed/0000.floe")


def flipped(path: Path, place: int) -> None:
    """Change one bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


FAULTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no artifact": (no_artifact, 3, "artifact_not_found"),
    "no signature": (lambda model: (model / "sealed.sig").unlink(), 10, "signature_invalid"),
    "signature cut short": (lambda model: os.truncate(model / "sealed.sig", 100), 10, "signature_invalid"),
    "no manifest": (lambda model: (model / "sealed/manifest.json").unlink(), 12, "artifact_corrupt"),
    "a bit of the payload": (
        lambda model: flipped(model / "sealed/0002.floe", 2**20 + 100),
        12,
        "artifact_corrupt",
    ),
    "payload cut short": (
        lambda model: os.truncate(model / "sealed/0002.floe", 2**20 + 74),
        12,
        "artifact_corrupt",
    ),
    "a file too many": (lambda model: (model / "sealed/0003.floe").touch(), 12, "artifact_corrupt"),
    "a file too few": (lambda model: (model / "sealed/0000.floe").unlink(), 12, "artifact_corrupt"),
    "a pipe": (a_pipe, 12, "artifact_corrupt"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_it_was_sealed(model: Path, keys: Keys, say: Say, tmp_path: Path, fault: str) -> None:
    """``verify`` and ``open`` say which check failed; nothing of the content is written."""
    make, code, kind = FAULTS[fault]
    make(model)
    opening = ("model.bin", "--output", str(tmp_path / "plain"), *keys.identity)
    for verb, more in (("verify", ()), ("open", opening)):
        found, out, err = say("artifacts", verb, str(model), *more, *keys.public, "--json")
        assert found == code
        told(code, out, kind)
        assert err.startswith("Error: ")
        assert not err.count("\n") > 1
    assert not (tmp_path / "plain").exists()
    assert not canaries(tmp_path)


def test_other_exit_codes(model: Path, keys: Keys, say: Say, tmp_path: Path) -> None:
    """3: no such file or artifact. 10: another key. 11: another identity, or none. 12: the wrong data key."""
    theirs = ("--public-key", str(keys.others / "sign.pub.pem"))
    output = ("--output", str(tmp_path / "plain"))
    line = ("artifacts", "open", str(model), "model.bin", *output)
    assert say("artifacts", "open", str(model), "nothing", *output, *keys.public, *keys.identity)[0] == 3
    assert say("artifacts", "verify", str(tmp_path / "no/where"), *keys.public)[0] == 3
    assert say("artifacts", "inspect", str(tmp_path / "no/where"))[0] == 3
    assert say("artifacts", "verify", str(model), *theirs)[0] == 10
    assert say(*line, *keys.public, "--identity", str(keys.others / "identity.txt"))[0] == 11
    assert say(*line, *keys.public)[0] == 11
    assert say("artifacts", "verify", str(model))[0] == 13
    attackers = Envelope.seal(bytes(32), {}, recipients=[keys.recipient])
    assert attackers.age is not None
    (model / "keys.age").write_bytes(attackers.age)
    assert say(*line, *keys.public, *keys.identity)[0] == 12
    assert say("artifacts", "verify", str(model), *keys.public)[0] == 0  # keys are not what is signed
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize(
    "vector", [one for one in INDEX if one["error"]], ids=lambda vector: str(vector["file"])
)
def test_vectors(vector: dict[str, Any], model: Path, keys: Keys, say: Say, tmp_path: Path) -> None:
    """Each bad input of the vectors, laid out in an artifact, has its exit code at the command line too."""
    path = VECTORS / vector["file"]
    public, identity = keys.public, keys.identity
    if vector["layer"] == "manifest":
        (model / "sealed/manifest.json").write_bytes(path.read_bytes())
        resigned(model, keys)
    elif vector["layer"] == "signature":
        (model / "sealed.sig").write_bytes(path.read_bytes())
        public = ("--public-key", str(path.parent / "key.pem"))
    elif vector["layer"] == "keys-age":
        (model / "keys.age").write_bytes(path.read_bytes())
        identity = (
            "--identity",
            secret_file(tmp_path / "identity.txt", (path.parent / "identity.txt").read_text()),
        )
    elif vector["layer"] == "keys-json":
        (model / "keys.json").write_bytes(path.read_bytes())
    else:
        public = ("--policy", str(path))
    code, out, err = say(
        "artifacts",
        "open",
        str(model),
        "model.bin",
        "--output",
        str(tmp_path / "plain"),
        *public,
        *identity,
        "--json",
    )
    assert code == vector["exit_code"], err
    told(vector["exit_code"], out, re.sub(r"(?<!^)(?=[A-Z])", "_", vector["error"]).lower())
    assert not (tmp_path / "plain").exists()


WRONG: list[tuple[str, str]] = [
    ("seal {x} --name m:v1 --recipient {recipient} --serial 1", "--signer"),
    ("seal {x} --name m:v1 --recipient {recipient} --signer {signer}", "--serial"),
    ("seal {x} --name m:v1 --recipient {recipient} --signer {signer} --serial -1", "serial"),
    ("seal {x} --name m:v1 --signer {signer} --serial 1", "nobody could open it"),
    ("seal {x} --name M:v1 --recipient {recipient} --signer {signer} --serial 1", "'M'"),
    ("seal {x} --name m:latest --recipient {recipient} --signer {signer} --serial 1", "latest"),
    ("seal {x} --name m:v1 --recipient age1nobody --signer {signer} --serial 1", "age1nobody"),
    ("seal {x} --name m:v1 --recipient {x} --signer {signer} --serial 1", "no recipient"),
    ("seal {x} --name m:v1 --recipient {recipient} --signer {x} --serial 1", "open to others"),
    (
        "seal {x} --name m:1 --recipient {recipient} --passphrase-file {secret} --signer {signer} --serial 1",
        "alone",
    ),
    ("seal {x} --name m:v1 --passphrase-file {x} --signer {signer} --serial 1", "open to others"),
    ("seal {x} --name m:v1 --passphrase-file {empty} --signer {signer} --serial 1", "nothing in it"),
    ("seal {x}/no --name m:v1 --recipient {recipient} --signer {signer} --serial 1", "cannot be read"),
    ("seal {link} --name m:v1 --recipient {recipient} --signer {signer} --serial 1", "link"),
    ("seal {links} --name m:v1 --recipient {recipient} --signer {signer} --serial 1", "link"),
    ("seal /dev/zero --name m:v1 --recipient {recipient} --signer {signer} --serial 1", "/dev/zero"),
    ("seal {nothing} --name m:v1 --recipient {recipient} --signer {signer} --serial 1", "no files"),
    ("verify M --public-key {public}", "'M'"),
    ("verify m --public-key {x}", "no public key in PEM"),
    ("verify m --public-key {public} --policy {x}", "not both"),
    ("resign m --public-key {public} --signer {public}", "is a public key: give the secret one"),
    ("rewrap m", "TAG"),
    ("keygen", "--output"),
]


@pytest.mark.parametrize(("line", "names"), WRONG, ids=lambda text: str(text)[:60])
def test_wrong_usage(keys: Keys, say: Say, tmp_path: Path, line: str, names: str) -> None:
    """A wrong value is exit code 2 and a sentence that names it; nothing is made."""
    (tmp_path / "in").mkdir()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "x").write_text("x")
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "in/link").symlink_to("../x")
    filled = line.format(
        x=tmp_path / "x",
        link=tmp_path / "link",
        links=tmp_path / "in",
        nothing=tmp_path / "nothing",
        secret=secret_file(tmp_path / "secret", "phrase"),
        empty=secret_file(tmp_path / "empty", "\n"),
        recipient=keys.recipient,
        signer=keys.folder / "sign.pem",
        public=keys.folder / "sign.pub.pem",
    )
    more = ("--output", str(tmp_path / "made")) if line.startswith("seal") else ()
    if line == "rewrap m":
        filled, more = "rewrap", ()
    code, _, err = say("artifacts", *filled.split(), *more)
    assert code == 2, err
    assert names.lower() in err.lower()
    assert not [path for path in tmp_path.iterdir() if "made" in path.name]


def test_what_lies_somewhere_else_is_said(
    say: Say, keys: Keys, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without a ``/`` is a tag, and a file is no artifact: both are told, with what to write."""
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(model.parent)
    code, _, err = say("artifacts", "verify", model.name, *keys.public)
    assert code == 3
    assert f"for the folder {model.name} write ./{model.name}" in err
    code, _, err = say("artifacts", "verify", str(tmp_path / "file"), *keys.public)
    assert code == 3
    assert "file is a file; an artifact is a folder that holds sealed/" in err


def test_a_store_that_is_closed_to_this_user(
    say: Say, keys: Keys, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told in a sentence, and is no bug; root is let in anywhere, so the system's answer is made up."""

    def closed(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    code, _, err = say("artifacts", "verify", str(model), *keys.public)
    assert (code, err) == (1, f"Error: '{model}' cannot be looked at: Permission denied\n")


def test_the_line_that_is_no_recipient_is_named(say: Say, keys: Keys, tmp_path: Path) -> None:
    """And what it holds is not: it may be an identity."""
    (tmp_path / "x").write_text("x")
    identity = keys.folder / "identity.txt"
    seal = ("artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", "--serial", "1")
    signer = ("--signer", str(keys.folder / "sign.pem"))
    for given, said in (
        (str(identity), "line 2 is no recipient"),
        (identity.read_text(), "--recipient is a secret key"),
    ):
        code, _, err = say(*seal, *signer, "--recipient", given)
        assert code == 2
        assert said in err
        assert "AGE-SECRET-KEY-1" not in err


def test_a_full_disk_is_told_with_what_was_being_written(
    say: Say, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system names no file when a write fails: the tag does."""
    (tmp_path / "x").write_text("x")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Creation, "add", full)
    code, _, err = say("artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", *keys.sealing)
    assert (code, "m:v1 cannot be written: No space left on device" in err) == (1, True), err


# -- what others' tools say ----------------------------------------------------------------------------------


def test_pyrage_opens_the_data_key(model: Path, keys: Keys) -> None:
    """The public tool's library opens what ``seal`` has wrapped: 32 bytes."""
    secrets = Identities.read(keys.folder / "identity.txt").secrets
    assert len(pyrage.decrypt((model / "keys.age").read_bytes(), list(secrets))) == 32


def test_the_public_tool_verifies(model: Path, keys: Keys) -> None:
    """``model_signing verify`` accepts what ``seal`` has signed, and refuses it with one bit changed."""
    tool = Path(sys.executable).with_name("model_signing")
    if not tool.exists():
        pytest.skip("the dependency group `interop` is not installed")
    command: list[str | Path] = [tool, "verify", "key", model / "sealed", "--signature", model / "sealed.sig"]
    command += ["--public_key", keys.folder / "sign.pub.pem"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    flipped(model / "sealed/0002.floe", 1000)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
