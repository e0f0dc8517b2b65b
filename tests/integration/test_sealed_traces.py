"""No file of any process that seals, opens or serves a sealed model holds its plaintext or data key, ever."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyrage
import pytest

from bento_rollout.artifacts import keygen
from tests.integration.running import ROOT, serving, until
from tests.scanning import Secrets, deleted_maps, scanned

BEGIN = """
import json, os, sys, time
from pathlib import Path
from bento_rollout import artifacts
asked = json.loads(sys.stdin.readline())
plain = bytes.fromhex(asked["canary"]) * 70_000
def wait():
    print("ready", flush=True)
    time.sleep(600)
def create(version):
    opened = {"recipients": [asked["recipient"]], "signer": asked["signer"], "serial": 1}
    return artifacts.create(f"held:{version}", **opened)
def seal(version):
    with create(version) as art:
        for name in ("model.bin", "more/labels.bin"):
            with art.open(name, "wb") as file:
                file.write(plain)
"""

SEAL = """
for version in ("first", "second"):
    seal(version)
print("ready", flush=True)
"""

SEALING = {
    "in the middle of a file": """
with create("third") as art:
    with art.open("whole.bin", "wb") as file:
        file.write(plain)
    file = art.open("half.bin", "wb")
    file.write(plain)
    wait()
""",
    "before the signature": """
from bento_rollout.artifacts.signers import Signer
Signer.sign = lambda *_: wait()
seal("third")
""",
}

OPENING = {
    "file": "held = artifacts.load('held:first', 'model.bin', loader=lambda file: (file.read(), file))",
    "bytes": "held = artifacts.load('held:first', 'model.bin', loader=bytes, as_='bytes')",
    "path": "held = artifacts.load('held:first', 'model.bin', loader=lambda it: open(it, 'rb'), as_='path')",
    "folder": """
def loader(folder):
    files = [path.open("rb") for path in Path(folder).rglob("*.bin")]
    assert all(file.read() == plain for file in files)
    wait()
artifacts.load("held:first", None, loader=loader, as_="folder")
""",
}

MIDDLE = """
fill, counted = os.preadv, iter(range(10**6))
def stopped(*arguments):
    if arguments[2] > 2**20 and next(counted) == 0:
        wait()
    return fill(*arguments)
os.preadv = stopped
artifact = artifacts.open("held:first", threads=1)
"""

IN_THE_MIDDLE = {
    "read": "artifact.read('model.bin')",
    "memfd": "artifact.memfd('model.bin')",
    "folder": "artifact.folder().__enter__()",
}


@dataclass(frozen=True)
class Place:
    """Two sealed models, and where all that their processes write must lie."""

    folder: Path
    canary: bytes

    @property
    def home(self) -> Path:
        """BentoML's home."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files; the working directory, too."""
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """Where things lie, for every process."""
        return {
            "BENTOML_HOME": str(self.home),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTO_ROLLOUT_TRUST": str(self.folder / "keys" / "trust.toml"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.temporary),
        }

    @contextmanager
    def started(self, code: str) -> Iterator[subprocess.Popen[str]]:
        """Run code until it is ready; the canary stands in no argument, variable or file of the process."""
        asked = {
            "canary": self.canary.hex(),
            "recipient": (self.folder / "keys" / "recipient.txt").read_text(encoding="utf-8").strip(),
            "signer": str(self.folder / "keys" / "sign.pem"),
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BENTO")}
        with subprocess.Popen(
            [sys.executable, "-c", BEGIN + code],
            env={**inherited, **self.environment},
            cwd=self.temporary,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
                assert process.stdout.readline() == "ready\n"
                yield process
            finally:
                process.kill()

    def secrets(self) -> Secrets:
        """The plaintext, and the data key of every artifact and every half of one that lies there."""
        text = (self.folder / "keys" / "identity.txt").read_text(encoding="utf-8")
        (line,) = [line for line in text.splitlines() if line.startswith("AGE")]
        identity = pyrage.x25519.Identity.from_str(line)
        keys = [pyrage.decrypt(path.read_bytes(), [identity]) for path in self.home.rglob("keys.age")]
        assert len(keys) >= 2
        return Secrets(self.canary, *keys)

    def clean(self, *pids: int) -> None:
        """No place has a secret, and no process a file without a name that was on a disk."""
        assert scanned(self.secrets(), [self.home, self.temporary], pids) == []
        assert [name for pid in pids for name in deleted_maps(pid, self.folder)] == []


@pytest.fixture(scope="module")
def original() -> Iterator[Place]:
    """Two sealed models; in a folder of short name, for sockets lie in it."""
    folder = Path(tempfile.mkdtemp())
    keygen(folder / "keys")
    (folder / "keys" / "trust.toml").write_text(
        'keys = ["sign.pub.pem"]\nidentity = "identity.txt"\n', encoding="utf-8"
    )
    place = Place(folder, secrets.token_bytes(32))
    place.home.mkdir()
    place.temporary.mkdir()
    with place.started(SEAL) as process:
        assert process.wait(60) == 0
    yield place
    shutil.rmtree(folder)


@pytest.fixture
def place(original: Place) -> Iterator[Place]:
    """The same, with nothing in its temporary folder; what a killed process left is in the next scan."""
    yield original
    shutil.rmtree(original.temporary)
    original.temporary.mkdir()


def test_the_scan_finds_what_is_there(tmp_path: Path) -> None:
    """In files, their names, shared memory and open files that were deleted, and at any place."""
    canary = secrets.token_bytes(32)
    needle = Secrets(canary)
    own = os.getpid()
    assert scanned(needle, [tmp_path], [own]) == []
    forms = [bytes((1 << 22) - 7) + canary, canary.hex().encode(), json.dumps(canary.hex().upper()).encode()]
    forms += [base64.b64encode(bytes(count) + canary + b"more") for count in range(5)]
    for form in forms:
        (tmp_path / "x").write_bytes(form)
        assert scanned(needle, [tmp_path]) == [str(tmp_path / "x")]
    with (tmp_path / "x").open("rb"):
        (tmp_path / "x").unlink()
        assert scanned(needle, [tmp_path], [own]) == [f"{tmp_path / 'x'} (deleted)"]
    assert scanned(needle, [tmp_path], [own]) == []
    (tmp_path / canary.hex()).touch()
    assert len(scanned(needle, [tmp_path])) == 1
    with tempfile.NamedTemporaryFile(dir="/dev/shm", buffering=0) as file:
        file.write(canary)
        assert file.name in scanned(needle, [])


@pytest.mark.parametrize("moment", SEALING)
def test_sealing(place: Place, moment: str) -> None:
    """While it seals, and when it was killed: halves are ciphertext, and no tag finds them."""
    with place.started(SEALING[moment]) as process:
        drafts = list(place.home.rglob("*.floe"))
        assert len(drafts) > 4
        place.clean(process.pid)
        process.kill()
        process.wait()
        place.clean()
    assert not (place.home / "models" / "held" / "third").exists()


@pytest.mark.parametrize("way", OPENING)
def test_a_process_that_holds_it(place: Place, way: str) -> None:
    """It has the whole plaintext, in whatever way it asked for it, and is killed with it."""
    with place.started(f"{OPENING[way]}\nwait()") as process:
        place.clean(process.pid)
        in_files = place.secrets().open_in(process.pid, memory=True)
        assert bool(in_files) is (way in {"path", "folder"})  # the scan sees what there is
        process.kill()
        process.wait()
        place.clean()


@pytest.mark.parametrize("way", IN_THE_MIDDLE)
def test_a_process_killed_while_it_opens(place: Place, way: str) -> None:
    """One segment is decrypted, and the next is not."""
    with place.started(f"{MIDDLE}held = {IN_THE_MIDDLE[way]}") as process:
        place.clean(process.pid)
        process.kill()
        process.wait()
        place.clean()


@pytest.mark.server
def test_a_server(place: Place) -> None:
    """It answers from models that it holds; then every process of it is killed at once."""
    options = {"rollout": "held", "workers": 1, "environment": place.environment}
    with serving("tests.integration.apps.held:Held", place.home, **options) as server:
        server.ready()
        answer = httpx.post(f"http://127.0.0.1:{server.port}/size", json={"times": 2}, timeout=30)
        assert answer.json() == 2 * 70_000 * 32
        processes = until(server.processes, "there are processes")
        assert len(processes) > 1
        place.clean(*(process.pid for process in processes))
        assert any(place.secrets().open_in(process.pid, memory=True) for process in processes)
        for process in processes:
            process.kill()
        server.arbiter.wait()
        place.clean()
