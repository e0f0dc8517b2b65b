"""Each whole artifact in tests/vectors/sealed/whole comes to what its index says, by every way to read it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.cli import main
from bento_rollout.errors import RolloutError
from tests.unit.sealing import run, told
from tests.whole.draft import CANARY, NAME, PASSPHRASE
from tests.whole.writing import FOLDER, index, lay_out, rendered

INDEX = index()
WAYS = ("file", "bytes", "path", "folder")

Vector = dict[str, Any]


def named(vector: Vector) -> str:
    """The id of a test."""
    return str(vector["folder"])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys and policies of the vectors, private to this user as they must be."""
    folder = Path(shutil.copytree(FOLDER / "keys", tmp_path_factory.mktemp("whole") / "keys"))
    for name in ("identity.txt", "passphrase.txt"):
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Places for temporary files that this test alone uses, and no keys from outside."""
    for name in ("TRUST", "IDENTITY", "IDENTITY_FILE"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)
    folder, private = tmp_path / "tmp", tmp_path / "shm"
    folder.mkdir()
    private.mkdir()
    monkeypatch.setattr("bento_rollout.artifacts.opening.private_parent", lambda *, in_memory: private)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> artifacts.FolderShelf:
    """Where a vector lies when it is asked for by its tag; as BentoML's store has it."""
    return artifacts.FolderShelf(tmp_path / "home" / "models")


def placed(vector: Vector, shelf: artifacts.FolderShelf) -> tuple[str | Path, Path]:
    """Lay an artifact out; return what is asked for, and where it lies."""
    name, _, version = (tag := vector.get("tag", f"{NAME}:v3")).partition(":")
    folder = lay_out(vector, shelf.root / name / version)
    return tag if "tag" in vector else folder, folder


def kept(root: Path) -> dict[str, bytes | None]:
    """All that lies below a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def memories() -> Counter[str]:
    """The files in memory that this process has open; what earlier tests left may go at any time."""
    targets = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link))
    return Counter(target for target in targets if target.startswith("/memfd:"))


def contents(given: Any, folder: str | None) -> dict[str, str]:
    """The SHA-256 of what a loader was given, by path."""
    if folder is not None:
        path = Path(given)
        for _ in Path(folder).parts:
            path = path.parent
        files = [file for file in path.rglob("*") if file.is_file()]
        found = {str(file.relative_to(path)): file.read_bytes() for file in files}
    elif isinstance(given, bytes):
        found = {"": given}
    else:
        found = {"": Path(given).read_bytes() if isinstance(given, str) else given.read()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def outcome(call: Callable[[], object]) -> tuple[str | None, int, str]:
    """Class, exit code and message of what a call raises."""
    try:
        call()
    except RolloutError as error:
        return type(error).__name__, type(error).exit_code, str(error)
    return None, 0, ""


@pytest.mark.parametrize("vector", INDEX, ids=named)
def test_from_python(vector: Vector, keys: Path, shelf: artifacts.FolderShelf, tmp_path: Path) -> None:
    """Exactly its class and exit code, for its own reason; no loader runs, and nothing is left anywhere."""
    asked, _ = placed(vector, shelf)
    policy = keys / vector.get("policy", "trust.toml")
    before, memory = kept(tmp_path), memories()
    found = outcome(lambda: artifacts.verify(asked, policy=policy, shelf=shelf))
    assert found[:2] == (vector["verify_error"], vector["verify_exit_code"]), found
    path, given = vector.get("path", "model.bin"), list[dict[str, str]]()
    for way in WAYS:

        def load(way: Any = way) -> None:
            artifacts.load(
                asked,
                path,
                loader=lambda it: given.append(contents(it, path if way == "folder" else None)),
                as_=way,
                policy=policy,
                shelf=shelf,
                passphrase=PASSPHRASE if vector.get("passphrase") else None,
            )

        found = outcome(load)
        assert found[:2] == (vector["error"], vector["exit_code"]), (way, found)
        assert re.search(vector.get("says", ""), found[2]), (way, found)
        assert len(found[2]) < 2000
        assert CANARY.decode() not in found[2]
    if vector["error"] is None:
        assert given == [{"": vector["files"][path]}] * 3 + [vector["files"]]
    else:
        assert given == []
    assert kept(tmp_path) == before
    assert not memories() - memory
    assert not [name for name, content in before.items() if content and CANARY in content]


def lines(vector: Vector, asked: str | Path, keys: Path, out: Path) -> dict[str, list[str]]:
    """The command lines that read a vector, by what the index calls them."""
    policy = str(keys / vector.get("policy", "trust.toml"))
    opening = ["open", str(asked), vector.get("path", "model.bin"), "--output", str(out)]
    if vector.get("passphrase"):
        opening += ["--passphrase-file", str(keys / "passphrase.txt")]
    return {
        "verify_": ["verify", str(asked), "--policy", policy, "--json"],
        "": [*opening, "--policy", policy, "--json"],
    }


def checked(vector: Vector, verb: str, code: int, out: str, err: str) -> None:
    """What a command printed is what the index says."""
    assert code == vector[f"{verb}exit_code"], err
    if code:
        told(code, out, re.sub(r"(?<!^)(?=[A-Z])", "_", vector[f"{verb}error"]).lower())
        assert err.startswith("Error: ")
    assert CANARY.decode() not in out + err


@pytest.mark.parametrize("vector", [one for one in INDEX if "tag" not in one], ids=named)
def test_at_the_command_line(
    vector: Vector,
    keys: Path,
    shelf: artifacts.FolderShelf,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same exit codes, told as JSON; no plaintext is written but of what is good."""
    asked, _ = placed(vector, shelf)
    target, before = tmp_path / "plain", kept(tmp_path)
    for verb, line in lines(vector, asked, keys, target).items():
        code = main(["artifacts", *line])
        checked(vector, verb, code, *capsys.readouterr())
    if vector["error"] is None:
        plain = target.read_bytes()
        assert hashlib.sha256(plain).hexdigest() == vector["files"][vector.get("path", "model.bin")]
        target.unlink()
    assert kept(tmp_path) == before


APART = [
    "good",
    "files-no-artifact",
    "signature-missing",
    "keys-of-others",
    "signed-flip-tag",
    "policy-older-serial",
]


@pytest.mark.parametrize(
    "vector", [one for one in INDEX if "tag" in one or one["folder"] in APART], ids=named
)
def test_as_a_process(vector: Vector, keys: Path, shelf: artifacts.FolderShelf, tmp_path: Path) -> None:
    """One of each exit code as users see it, and those that lie in the model store under a tag."""
    asked, _ = placed(vector, shelf)
    target, before = tmp_path / "plain", kept(tmp_path)
    for verb, line in lines(vector, asked, keys, target).items():
        code, out, err = run(*line, home=shelf.root.parent)
        checked(vector, verb, code, out.decode(), err)
    assert target.exists() is (vector["error"] is None)
    target.unlink(missing_ok=True)
    if "tag" not in vector:  # BentoML keeps a file of its own in its home
        assert kept(tmp_path) == before


def test_the_generator_writes_them() -> None:
    """``python -m tests.whole`` writes what lies there, byte for byte: nothing was made by hand."""
    stored = {
        str(path.relative_to(FOLDER)): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()
    }
    made = rendered()
    assert stored.keys() == made.keys()
    assert not [name for name in made if made[name] != stored[name]]
