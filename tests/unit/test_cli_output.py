"""What the command line writes to a terminal, a pipe, and a place that cannot be written."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.cli import main
from bento_rollout.cli.output import Cell, Grid, Line, visible
from bento_rollout.operations import open_rollout
from bento_rollout.store.presence import Presence
from bento_rollout.store.sqlite import SQLiteStore

CLI = [sys.executable, "-m", "bento_rollout.cli"]
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(
    *arguments: str, seconds: float = 20.0, stop: Callable[[str], bool] | None = None
) -> tuple[int, str]:
    """Run a command in a terminal of its own; returns exit code and everything that it drew.

    ``stop`` is asked after each piece of output; once it says so, the command gets a Ctrl-C.
    """
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    environ.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [*CLI, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    )
    os.close(theirs)
    drawn, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the terminal has no other side any more
                    break
                drawn += piece
                if stop is not None and stop(drawn.decode(errors="replace")):
                    process.send_signal(signal.SIGINT)
                    stop = None
        return process.wait(10), drawn.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``status --watch`` in a pipe, until the block ends."""
    command = [*CLI, "status", "screening", "--watch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> Any:
    """Return the next document of a watch."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


# -- for people ----------------------------------------------------------------------------------------------


def test_status_is_one_screen(
    store: SQLiteStore, join: Callable[..., Presence], capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe ``status`` is plain text that says all that an operator must know."""
    join(spec={"weights": {"boosted": 5}})
    main(["weight", "screening", "boosted=12.5", "--reason", "ramp"])
    main(["flip", "screening", "--to", "forest"])
    capsys.readouterr()
    assert main(["status", "screening"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert len(out.splitlines()) <= 24
    for text in (
        "revision 3",
        "champion forest 100 %",
        "rollback would give all traffic to logistic",
        "pid 4000",
        "durable",
        "binds this host",
        "weights: the spec asks for",
        "flip by",
    ):
        assert text in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if " ready " in line}
    assert set(rows) == {"logistic", "boosted", "forest"}
    assert rows["forest"][1:3] == ["ready", "worker"]


def test_status_without_a_way_back(store: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """When there is nothing to roll back, ``status`` says so."""
    main(["status", "screening"])
    assert "nothing to roll back" in capsys.readouterr().out


def test_colour_in_a_terminal(store: SQLiteStore) -> None:
    """In a terminal a table has colour, and in a pipe it has none."""
    for line in ("list", "status screening", "history screening", "assign screening --key u1", "doctor"):
        _, drawn = in_terminal(*line.split())
        assert "\x1b[" in drawn, line
        piped = subprocess.run([*CLI, *line.split()], capture_output=True, text=True, check=False)
        assert "\x1b" not in piped.stdout, line
        assert [*ANSI.sub("", drawn).split()] == piped.stdout.split(), line


def test_json_in_a_terminal(store: SQLiteStore) -> None:
    """With ``--json`` a terminal gets one document without colour too."""
    code, drawn = in_terminal("status", "screening", "--json")
    assert code == 0
    assert json.loads(drawn)["name"] == "screening"


def test_hostile_text(store: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason that came into the store some other way cannot move the cursor, add a line, or turn text."""
    newest = open_rollout("screening").history(1)[0]
    state = newest.state.model_copy(update={"revision": 2})
    hostile = {"state": state, "parent": 1, "reason": "a\x1b[2J\r\nb\u202ec [bold]d"}
    store.commit(newest.model_copy(update=hostile), after=1)
    main(["history", "screening"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert r"a\x1b[2J\r\nb\u202ec [bold]d" in out


def test_visible() -> None:
    """Text that can be shown stays as it is."""
    assert visible("Größe 日本 [x] %") == "Größe 日本 [x] %"
    assert visible("\udcff\x00\n") == r"\udcff\x00\n"


def test_blocks_are_values() -> None:
    """What is shown is data before it is text."""
    assert Line("a", (Cell("b"),)) == Line("a", (Cell("b"),))
    assert hash(Grid(("a",), ((Cell("b"),),))) == hash(Grid(("a",), ((Cell("b"),),)))


def test_an_encoding_that_lacks_letters(store: SQLiteStore) -> None:
    """A terminal of another encoding gets escapes, not an error after the change was made."""
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    main(["pause", "screening", "--reason", "für Ärzte"])
    done = subprocess.run([*CLI, "history", "screening"], capture_output=True, env=environ, check=True)
    assert rb"f\xfcr" in done.stdout


def test_sentences_begin_at_the_margin(store: SQLiteStore) -> None:
    """In a terminal a sentence begins where lines begin, and labels keep one width around it."""
    for line in ("pause screening", "rollback screening", "validate nowhere.yaml"):
        _, drawn = in_terminal(*line.split())
        lines = ANSI.sub("", drawn).splitlines()
        assert not [text for text in lines if text.startswith("  ")], line
    drawn = ANSI.sub("", in_terminal("status", "screening")[1])
    lines = [line.rstrip() for line in drawn.splitlines()]
    assert lines.index("nothing to roll back") > lines.index("rollout  screening  revision 2")
    places = {re.sub(r"^\w+ +", lambda label: "x" * len(label[0]), line).count("x") for line in lines[:5]}
    assert places == {9}  # behind the widest label


def test_times_have_a_zone(store: SQLiteStore) -> None:
    """People read the time of their own clock with its distance from UTC, programs read UTC."""
    environ = {**os.environ, "TZ": "Asia/Kolkata"}
    for line in ("history screening", "status screening"):
        done = subprocess.run([*CLI, *line.split()], env=environ, capture_output=True, text=True, check=True)
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30", done.stdout), done.stdout
        done = subprocess.run(
            [*CLI, *line.split(), "--json"], env=environ, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        said = found[0]["time"] if isinstance(found, list) else found["last_change"]["time"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said)
        age = time.time() - datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp()
        assert 0 <= age < 300


# -- where it cannot write -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["rollback screening", "history screening --json", "status screening", "status nobody --json"]
)
def test_a_reader_that_left(store: SQLiteStore, line: str) -> None:
    """A broken pipe is quiet, and the exit code is the command's own."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [*CLI, *line.split()], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == (3 if "nobody" in line else 0)
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output(store: SQLiteStore) -> None:
    """A change that was made is not reported as refused because its report could not be written."""
    with Path("/dev/full").open("wb") as full:
        changed = subprocess.run(
            [*CLI, "pause", "screening"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
        looked = subprocess.run([*CLI, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (changed.returncode, looked.returncode) == (0, 1)
    assert open_rollout("screening").state.paused
    for done in (changed, looked):
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_closed_output(store: SQLiteStore) -> None:
    """A command whose standard output is closed does its work."""
    done = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *CLI, "pause", "screening"], check=False)
    assert done.returncode == 0
    assert open_rollout("screening").state.paused


@pytest.mark.parametrize("line", ["history screening --json", "list", "status screening --watch", "openapi"])
def test_nothing_is_shown_to_nobody(store: SQLiteStore, line: str) -> None:
    """A command that only looks, and whose standard output is closed, says so and does not claim success."""
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *CLI, *line.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is closed: nothing could be written there\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_error_that_nobody_can_read(store: SQLiteStore) -> None:
    """The exit code says what happened when neither output can be written."""
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >/dev/full 2>/dev/full', "sh", *CLI, "status", "nobody", "--json"],
        check=False,
    )
    assert done.returncode == 3


# -- watching ------------------------------------------------------------------------------------------------


def test_watch_in_a_pipe(store: SQLiteStore) -> None:
    """In a pipe each change is one line of JSON, and nothing is printed in between."""
    with watching() as process:
        assert read_line(process)["revision"] == 1
        time.sleep(1.5)
        main(["weight", "screening", "boosted=5"])
        assert read_line(process)["weights"] == {"boosted": 5.0, "forest": 0.0}
        moved = store.path.with_name("moved")
        store.path.rename(moved)
        assert "gone" in read_line(process)["store"]["problem"]
        moved.rename(store.path)
        assert read_line(process)["store"]["problem"] is None


def test_watch_ends_with_its_reader(store: SQLiteStore) -> None:
    """A watch whose reader left ends by itself and quietly, though nothing changes any more."""
    with watching() as process:
        read_line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_interrupt(store: SQLiteStore) -> None:
    """Ctrl-C ends a watch with exit code 130 and without a word: it is the way to end it."""
    with watching() as process:
        read_line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_interrupted_flip(store: SQLiteStore, join: Callable[..., Presence]) -> None:
    """Ctrl-C while a flip waits for a worker leaves everything as it was, and the way free for the next."""
    join(before_flip=1)
    command = [*CLI, "flip", "screening", "--to", "boosted", "--timeout", "60s"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not (store.place("screening") / "flip.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert open_rollout("screening").state.revision == 1
    assert main(["flip", "screening", "--to", "boosted", "--timeout", "100ms"]) == 1
    assert not (store.place("screening") / "flip.json").exists()


def test_watch_of_nothing(store: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A watch of a rollout that is not there ends at once."""
    assert main(["status", "nobody", "--watch"]) == 3


def test_watch_in_a_terminal(store: SQLiteStore) -> None:
    """In a terminal the screen is drawn anew, until Ctrl-C."""
    changed: list[bool] = []

    def stop(drawn: str) -> bool:
        if "revision 1" in ANSI.sub("", drawn) and not changed:
            changed.append(True)
            main(["weight", "screening", "boosted=5"])
        return "boosted 5 %" in ANSI.sub("", drawn)

    code, drawn = in_terminal("status", "screening", "--watch", stop=stop)
    assert code == 130
    assert "Traceback" not in drawn
    assert "Error" not in drawn
    assert "\x1b[?25h" in drawn  # the cursor is shown again
