"""``artifacts`` when it is interrupted, killed, out of space, in a terminal, or has nobody who listens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.states import fill, mounted
from tests.unit.sealing import CANARY, CLI, Keys, canaries, run
from tests.unit.test_cli_output import ANSI, in_terminal

LARGE = 160 * 2**20


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Two pairs of keys."""
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes a while, with a canary at its begin; most of it is a hole."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        file.write(CANARY)
        file.truncate(LARGE)
    return path


@pytest.fixture(scope="module")
def sealed(keys: Keys, large: Path) -> Path:
    """The large file, sealed."""
    home = large.parent
    code, _, err = run("seal", large, "--name", "m:v1", *keys.sealing, "--output", home / "model", home=home)
    assert code == 0, err
    return home / "model"


@contextmanager
def started(*arguments: str | Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a verb."""
    environ = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "1", "TMPDIR": str(home)}
    with subprocess.Popen(
        [*CLI, *map(str, arguments)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Wait until it is in the middle of its work."""
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, "it ended before anybody could stop it"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stored(folder: Path) -> int:
    """Bytes of ciphertext that are there already."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.suffix in {".draft", ".floe"} else 0
        except FileNotFoundError:
            continue
    return total


def unnamed(process: subprocess.Popen[str], folder: Path) -> int:
    """Bytes in files of a process that have no name yet, or a draft's."""
    total = 0
    try:
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith(str(folder)) and target.endswith((" (deleted)", ".draft")):
                total += link.stat().st_size
    except OSError:
        pass
    return total


# -- stopped in the middle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_sealing_that_is_stopped(keys: Keys, large: Path, tmp_path: Path, how: signal.Signals) -> None:
    """Nothing can be found under its tag, nothing of the plaintext is anywhere, and the next one succeeds."""
    home = tmp_path / "home"
    home.mkdir()
    with started("seal", large, "--name", "m:v1", *keys.sealing, home=home) as process:
        until(process, lambda: stored(home) > 2**20)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in err
    assert run("verify", "m:v1", *keys.public, home=home)[0] == 3
    assert not list(home.glob("models/*/*"))
    assert not canaries(home)
    if how == signal.SIGINT:
        assert err.strip() == "Error: interrupted"
        assert stored(home) == 0
    small = tmp_path / "small"
    small.write_bytes(b"1")
    assert run("seal", small, "--name", "m:v1", *keys.sealing, home=home)[0] == 0
    assert stored(home) < 1000  # what was left is swept away


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_opening_that_is_stopped(keys: Keys, sealed: Path, tmp_path: Path, how: signal.Signals) -> None:
    """There is no file with the plaintext, neither whole nor half, under any name."""
    folder = tmp_path / "out"
    folder.mkdir()
    line = ("open", sealed, "large.bin", "--output", folder / "plain", *keys.public, *keys.identity)
    with started(*line, home=tmp_path) as process:
        until(process, lambda: unnamed(process, folder) > 2**20)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in err
    assert not list(folder.iterdir())
    assert not canaries(tmp_path)


# -- no room -------------------------------------------------------------------------------------------------


def test_full_disks(keys: Keys, large: Path, sealed: Path, tmp_path: Path) -> None:
    """Exit code 1 and a sentence; nothing of it is left, and nothing opens."""
    with mounted(tmp_path / "small", "8m"):
        home = tmp_path / "small"
        code, out, err = run("seal", large, "--name", "m:v1", *keys.sealing, home=home)
        assert (code, out) == (1, b"")
        assert "No space left on device" in err
        assert run("verify", "m:v1", *keys.public, home=home)[0] == 3
        assert stored(home) == 0
        line = ("open", sealed, "large.bin", "--output", home / "plain", *keys.public, *keys.identity)
        code, _, err = run(*line, home=home)
        assert code == 1
        assert err == f"Error: {home / 'plain'} cannot be written: No space left on device\n"
        assert not canaries(home)
        assert not (home / "plain").exists()
        fill(home)
        code, _, err = run("keygen", "--output", home / "keys", home=home)
        assert code == 1
        assert "No space left" in err
        assert not list(home.glob("keys/*"))


# -- nobody listens ------------------------------------------------------------------------------------------


def test_a_pipe_whose_reader_left(keys: Keys, sealed: Path, tmp_path: Path) -> None:
    """``open --output -`` into a pipe that somebody closes is quiet."""
    line = ("open", sealed, "large.bin", "--output", "-", *keys.public, *keys.identity)
    with started(*line, home=tmp_path) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), len(CANARY)) == CANARY
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_a_closed_output(keys: Keys, sealed: Path) -> None:
    """Plaintext, or a report, that nobody can get is no success; a sealed model is one without its report."""
    line = ("open", sealed, "large.bin", "--output", "-", *keys.public, *keys.identity)
    for verb in (line, ("inspect", sealed)):
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&-', "sh", *CLI, *map(str, verb)], capture_output=True, check=False
        )
        assert done.returncode == 1
        assert b"standard output is closed" in done.stderr
        assert b"Traceback" not in done.stderr


# -- terminals -----------------------------------------------------------------------------------------------


def test_progress_in_a_terminal(keys: Keys, sealed: Path, large: Path, tmp_path: Path) -> None:
    """In a terminal a large file has a bar, which is gone at the end; a pipe has none."""
    verify = ("artifacts", "verify", str(sealed), *keys.public)
    output = ("--output", str(tmp_path / "model"))
    seal = ("artifacts", "seal", str(large), "--name", "m:v1", *keys.sealing, *output)
    opened = ("artifacts", "open", str(sealed), "large.bin", "--output", str(tmp_path / "plain"))
    for line, what in (
        (verify, "verifying"),
        (seal, "sealing"),
        ((*opened, *keys.public, *keys.identity), "opening"),
    ):
        code, drawn = in_terminal(*line, seconds=120)
        assert code == 0, drawn
        assert what in drawn
        assert "160.0 MiB" in ANSI.sub("", drawn)
    assert (tmp_path / "plain").stat().st_size == LARGE
    code, out, err = run("verify", sealed, *keys.public, home=tmp_path)
    assert (code, err) == (0, "")
    assert b"\x1b" not in out


def test_ctrl_c_in_a_terminal(keys: Keys, large: Path, tmp_path: Path) -> None:
    """Ctrl-C while there is a bar leaves a terminal that shows its cursor, and no model."""
    line = ("artifacts", "seal", str(large), "--name", "m:v1", *keys.sealing)
    output = ("--output", str(tmp_path / "model"))
    code, drawn = in_terminal(*line, *output, seconds=120, stop=lambda drawn: "sealing" in drawn)
    assert code == 130
    assert "Traceback" not in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    assert not list(tmp_path.iterdir())


def test_a_small_file_has_no_bar(keys: Keys, tmp_path: Path) -> None:
    """Nothing is drawn of what takes no time; colour and signs are for terminals."""
    (tmp_path / "x").write_bytes(b"1")
    output = ("--output", str(tmp_path / "model"))
    code, drawn = in_terminal(
        "artifacts", "seal", str(tmp_path / "x"), "--name", "m:v1", *keys.sealing, *output
    )
    assert code == 0
    assert "sealing" not in drawn
    assert "\x1b[" in drawn


def test_plaintext_is_not_poured_into_a_terminal(keys: Keys, sealed: Path) -> None:
    """``--output -`` in a terminal is wrong usage: content may move the cursor."""
    line = ("artifacts", "open", str(sealed), "large.bin", "--output", "-", *keys.public, *keys.identity)
    code, drawn = in_terminal(*line)
    assert code == 2
    assert CANARY.decode() not in drawn
