"""Log lines: structured, never in the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from bento_rollout.telemetry import log
from bento_rollout.telemetry.rendering import Line, as_text


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Nobody has configured structlog."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Outside a terminal each event is one line of JSON on standard error, with event, level and time."""
    log.event("store.unreachable", "error", rollout="r", problem="no\nspace", odd={1, 2}.__class__)
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert out == ""
    assert err.count("\n") == 1
    assert (line["event"], line["level"], line["rollout"]) == ("store.unreachable", "error", "r")
    assert line["problem"] == "no\nspace"
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal lines are for people."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]  # a terminal
    monkeypatch.setattr(sys, "stderr", terminal)
    log.event("rollout.store", rollout="r")
    assert "rollout.store" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


@pytest.mark.parametrize(
    "odd", ["\x1b[31m", "\x9b2J", "\u2028", "\u202e", "\x00", "a b\x1b[1m", "\r", "\x7f"]
)
def test_a_text_does_nothing_to_a_terminal(monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    """What a caller sent as an id is shown, and not obeyed; and so in JSON."""
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]  # a terminal
    for stream in (terminal, file):
        monkeypatch.setattr(sys, "stderr", stream)
        log.event("prediction.served", inference_id=f"<{odd}>", other="grün")
    plain = re.sub(r"\x1b\[\d*m", "", terminal.getvalue().replace(odd, "LEAK"))
    assert plain.removesuffix("\n").isprintable()
    assert "LEAK" not in plain
    assert "grün" in plain
    assert file.getvalue().isascii()
    assert json.loads(file.getvalue())["inference_id"] == f"<{odd}>"


def test_a_full_pipe_does_not_stop_a_start() -> None:
    """Before anybody serves a line is written at once: for a pipe that nobody reads it is given up."""
    end, fd = os.pipe()
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, b"x" * select.PIPE_BUF)
    os.set_blocking(fd, True)
    code = "from bento_rollout.telemetry.log import event\n"
    code += "for number in range(3): event('test.line', filling='x' * 9000 * number)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=fd)
    assert process.wait(60) == 0
    while os.read(end, select.PIPE_BUF).count(b"x") == select.PIPE_BUF:
        if not select.select([end], [], [], 0)[0]:
            break
    reading = subprocess.Popen([sys.executable, "-c", code], stderr=fd)
    os.close(fd)
    with os.fdopen(end) as reader:
        lines = reader.read().splitlines()
    assert reading.wait(60) == 0
    assert [len(json.loads(line)["filling"]) for line in lines] == [0, 9000, 18000]


def test_the_order_of_fields() -> None:
    """When, how bad, what; then as they were given: people read them."""
    line = log_line("test.line", variant="b", endpoint="a")
    assert list(json.loads(as_text(line, terminal=False))) == [
        "timestamp", "level", "event", "variant", "endpoint",
    ]  # fmt: skip
    shown = as_text(line, terminal=True)
    assert shown.index("variant") < shown.index("endpoint")


def log_line(name: str, **fields: object) -> Line:
    """A line of this moment."""
    return Line(name, "info", fields, 1.5)


def test_a_users_configuration_is_followed() -> None:
    """A service that configures structlog, even after our first line, gets our lines its own way."""
    log.event("before")
    seen: list[structlog.typing.EventDict] = []

    def keep(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        seen.append(dict(fields))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    log.event("after", rollout="r")
    assert seen == [{"event": "after", "rollout": "r"}]


@pytest.mark.parametrize("broken", [None, "closed", "full"])
def test_a_broken_sink_costs_no_answer(monkeypatch: pytest.MonkeyPatch, broken: str | None) -> None:
    """Without standard error, with a closed one, or on a full disk, logging never raises."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", {None: None, "closed": closed, "full": Full()}[broken])
    log.event("anything", rollout="r")


def test_odd_values_and_processors_cost_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A value that cannot be printed, an unknown level and a user's failing processor are swallowed."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    log.event("odd", value=Odd())
    log.event("odd", "loudly")

    def failing(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        raise fields["error"]

    structlog.configure(processors=[failing])
    for error in (RuntimeError(), SystemExit(1)):
        log.event("odd", error=error)
    assert capsys.readouterr().err == ""


def test_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A thing is said once until it is over, and then again."""
    once = log.Once()
    for _ in range(3):
        once.say("store", "store.unreachable", rollout="r")
    assert once.over("store")
    assert not once.over("store")
    once.say("store", "store.unreachable", rollout="r")
    assert capsys.readouterr().err.count("store.unreachable") == 2


def test_lines_of_threads_do_not_mix(capfd: pytest.CaptureFixture[str]) -> None:
    """Many threads at once: every line stays whole."""

    def talk(name: int) -> None:
        for _ in range(50):
            log.event("talk", thread=name, filling="x" * 200)

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capfd.readouterr().err.splitlines()
    assert len([json.loads(line) for line in lines]) == 400


LINE = "import sys, bento_rollout.telemetry.log as l; l.event('a.b', 'error', x=1, odd=sys.path.__class__)"


def test_json_is_the_same_with_and_without_structlog() -> None:
    """A line of JSON has the same fields in the same order, whether or not structlog has been imported."""
    lines = []
    for before in ("", "import structlog; "):
        code = f"{before}{LINE}; print('structlog' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(bool(before))
        lines.append(json.loads(done.stderr))
    plain, ours = ({**line, "timestamp": len(line["timestamp"])} for line in lines)
    assert list(plain.items()) == list(ours.items())
