"""A line for each prediction, by whoever writes it: what it tells, which are written, what breaks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from bento_rollout.records import (
    Compared,
    Comparison,
    Dropped,
    Observation,
    Outcome,
    Plan,
    Prediction,
    Reason,
    Relation,
    Reply,
)
from bento_rollout.spec import Logging
from bento_rollout.telemetry import log
from bento_rollout.telemetry.channel import Channel
from bento_rollout.telemetry.lines import LogLines, is_sampled, weight_of
from bento_rollout.telemetry.rendering import Line
from bento_rollout.telemetry.users import bound
from bento_rollout.telemetry.writer import Writer
from tests.integration.running import until

ID = "0190b8f0-0000-7000-8000-000000000000"


def observation(variant: str = "one", outcome: Outcome = Outcome.OK, **more: Any) -> Observation:
    """One run."""
    return Observation("r", "predict", variant, 3, Reason.SPLIT, ID, outcome, 0.25, **more)


def prediction(*runs: Observation, outcome: Outcome = Outcome.OK, **more: Any) -> Prediction:
    """One prediction, that its last run answered unless `plans` say otherwise."""
    runs = runs or (observation(),)
    plans = more.pop("plans", (Plan(runs[-1].variant, 3, Reason.SPLIT),))
    keys = {"keys": ("secret-key",) * len(plans), "inference_ids": (None,) * len(plans)}
    facts = {"trace_id": "a" * 32, "span_id": "b" * 16, **keys, **more}
    return Prediction("r", "predict", ID, 1.5, plans, runs, outcome, 0.1234567, **facts)


def compared(*errors: str | None, **more: Any) -> Compared:
    """What a shadow made of one prediction, or of its rows."""
    found = tuple(Comparison(Relation.NOT_COMPARABLE if error else Relation.AGREE, error) for error in errors)
    return Compared("r", "predict", "two", "one", 3, ID, 1.5, found, **more)


Lines = Callable[..., list[dict[str, Any]]]
DROPPED = Dropped("r", "predict", "two", "one", 3, "queue_full", 9)


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Nobody has configured structlog."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Write facts' lines; returns what stands on standard error then."""

    def write(*facts: Any, **settings: Any) -> list[dict[str, Any]]:
        lines = LogLines("r", Logging(**settings), lambda text: f"hash of {len(text)}", Writer())
        for fact in facts:
            lines.offer(fact)
        assert lines.close(30)
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return write


def test_a_line_tells_who_answered_and_why(lines: Lines) -> None:
    """All that the contract names, and of the key and the payload nothing."""
    reply = Reply(200, "application/json", b"secret-answer", 13)
    fact = prediction(inputs={"x": "secret-input"}, reply=reply, shadows=("two",), inference_ids=("tx-1",))
    assert lines(fact) == [
        {
            "event": "prediction.served",
            "timestamp": "1970-01-01T00:00:01.500000Z",
            "level": "info",
            "rollout": "r",
            "variant": "one",
            "endpoint": "predict",
            "revision": 3,
            "reason": "split",
            "prediction_id": ID,
            "trace_id": "a" * 32,
            "span_id": "b" * 16,
            "seconds": 0.123457,
            "outcome": "ok",
            "inference_id": "tx-1",
            "shadows": ["two"],
        }
    ]
    (line,) = lines(prediction(trace_id="", span_id="", task_id="t1"))
    assert (line["trace_id"], line["span_id"], line["task_id"]) == ("", "", "t1")
    assert "inference_id" not in line


@pytest.mark.parametrize(
    ("outcome", "event", "level"),
    [
        (Outcome.OK, "prediction.served", "info"),
        (Outcome.CLIENT_ERROR, "prediction.failed", "warning"),
        (Outcome.DISCONNECTED, "prediction.failed", "warning"),
        (Outcome.ERROR, "prediction.failed", "error"),
        (Outcome.TIMEOUT, "prediction.failed", "error"),
        (Outcome.UNAVAILABLE, "prediction.failed", "error"),
    ],
)
def test_whose_error_it_was(lines: Lines, outcome: Outcome, event: str, level: str) -> None:
    """The caller's is a warning, ours an error."""
    error = None if outcome is Outcome.OK else "Oops"
    (line,) = lines(prediction(observation(outcome=outcome, error=error), outcome=outcome))
    assert (line["event"], line["level"], line["outcome"]) == (event, level, outcome.value)
    assert line.get("error") == error
    assert "failed_runs" not in line


def test_what_failed_before_the_answer(lines: Lines) -> None:
    """A candidate that failed before the champion answered, and before it failed, too."""
    failed = observation("two", Outcome.TIMEOUT, error="Late")
    run = {"variant": "two", "outcome": "timeout", "seconds": 0.25, "error": "Late"}
    (served,) = lines(prediction(failed, observation()))
    assert (served["event"], served["level"], served["failed_runs"]) == (
        "prediction.served",
        "warning",
        [run],
    )
    assert "error" not in served
    last = observation("one", Outcome.ERROR, error="Oops")
    (both,) = lines(prediction(failed, last, outcome=Outcome.ERROR))
    assert (both["error"], both["failed_runs"], both["level"]) == ("Oops", [run], "error")


def test_rows(lines: Lines) -> None:
    """The distinct variants and reasons, the newest revision, and how many rows; no row's own id."""
    plans = (Plan("two", 4, Reason.SPLIT), Plan("one", 3, Reason.NO_KEY), Plan("two", 4, Reason.SPLIT))
    runs = observation("two", rows=(0, 2)), observation("one", rows=(1,))
    (line,) = lines(prediction(*runs, plans=plans, inference_ids=("a", "b", "c")))
    told = line["variant"], line["revision"], line["reason"], line["rows"]
    assert told == ("one,two", 4, "no_key,split", 3)
    assert "inference_id" not in line


def test_what_shadows_made_of_it(lines: Lines) -> None:
    """One relation, or of rows how many of each; what cannot be compared is a warning."""
    agreed, rows, failed, dropped = lines(
        compared(None, seconds=0.5, champion_seconds=0.25, trace_id="c" * 32, span_id="d" * 16),
        compared(None, "shape", "nan", None, rows=(0, 1, 2, 3)),
        compared("Oops"),
        DROPPED,
    )
    assert (agreed["event"], agreed["level"], agreed["relation"]) == ("shadow.compared", "info", "agree")
    assert (agreed["variant"], agreed["champion"], agreed["prediction_id"]) == ("two", "one", ID)
    assert (agreed["seconds"], agreed["champion_seconds"]) == (0.5, 0.25)
    assert (agreed["trace_id"], agreed["span_id"]) == ("c" * 32, "d" * 16)
    assert (rows["relations"], rows["rows"]) == ({"agree": 2, "not_comparable": 2}, 4)
    assert rows["error"] == "nan,shape"
    assert (failed["level"], failed["relation"], failed["error"]) == ("warning", "not_comparable", "Oops")
    assert "seconds" not in failed
    assert (dropped["event"], dropped["reason"], dropped["count"]) == ("shadow.dropped", "queue_full", 9)


def test_a_part_of_the_lines_and_all_failures(lines: Lines) -> None:
    """With nothing sampled only what failed is there; a fallback and what cannot be compared are failures."""
    nothing = {"prediction.served": 0, "shadow.compared": 0, "shadow.dropped": 0}
    failed = observation("two", Outcome.ERROR, error="Oops")
    facts = (
        prediction(),
        prediction(failed, observation()),
        prediction(observation(outcome=Outcome.CLIENT_ERROR), outcome=Outcome.CLIENT_ERROR),
        compared(None),
        compared("shape"),
        DROPPED,
    )
    told = [line["event"] for line in lines(*facts, sample=nothing)]
    assert told == ["prediction.served", "prediction.failed", "shadow.compared"]


def test_which_part() -> None:
    """The same predictions for each event; a smaller part is a part of the larger one."""
    ids = [f"0190b8f0-0000-7000-8000-{number:012x}" for number in range(20_000)]
    few, many = ({one for one in ids if is_sampled(one, part)} for part in (0.1, 0.5))
    assert few < many
    assert 1800 < len(few) < 2200
    assert not any(is_sampled(one, 0.0) for one in ids)
    assert all(is_sampled(one, 1.0) for one in ids)


def test_a_part_of_what_was_dropped(lines: Lines) -> None:
    """Every so many; their counts are of no prediction."""
    assert len(lines(*[DROPPED] * 100, sample={"shadow.dropped": 0.25})) == 25


# -- arguments --------------------------------------------------------------------------------------------


def test_arguments_only_where_they_are_asked_for(lines: Lines) -> None:
    """Masked, hashed and left out by path; a path that finds nothing is said once."""
    inputs = {"row": {"name": "Ann", "age": 7, "mail": "a@b.c", "key": "u1"}, "note": "n"}
    paths = {"mask": ["row.name", "row.nam", "note.x"], "hash": ["row.key"], "drop": ["row.mail"]}
    *told, unmatched = lines(*[prediction(inputs=inputs)] * 3, inputs=True, **paths)
    assert (unmatched["event"], unmatched["path"]) == ("log.path_unmatched", "row.nam")
    assert [line["event"] for line in told] == ["prediction.served"] * 3
    assert told[0]["inputs"] == {"row": {"name": "***", "age": 7, "key": "hash of 2"}}
    assert told[0]["inputs_left_out"] == ["note"]


def test_a_line_is_bounded(lines: Lines) -> None:
    """However much the arguments hold."""
    inputs = {f"argument_{number}": "\U0001f600" * 1000 for number in range(2000)}
    many, one = lines(prediction(inputs=inputs), prediction(inputs={"a": "x" * 10**6}), inputs=True)
    assert len(json.dumps(many)) <= 8192
    assert one["inputs"]["a"].endswith("… (1000000 characters)")


def test_what_waits_is_weighed() -> None:
    """About as many bytes as it holds, looked at for a moment only."""
    assert 30_000 < weight_of({"a": "x" * 30_000}) < 40_000
    assert weight_of([["x" * 1000] * 100] * 100) > 1_000_000
    assert weight_of(list(range(10**6))) > 8_000_000
    numpy, pandas = __import__("numpy"), __import__("pandas")
    assert weight_of(numpy.zeros(10**6)) >= 8_000_000
    assert weight_of(pandas.DataFrame({"a": ["x"] * 10_000})) >= 80_000


# -- whoever writes them ----------------------------------------------------------------------------------


class Pipe:
    """Standard error is a pipe that is read when the test says so."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.end, fd = os.pipe()
        self.stream = io.TextIOWrapper(os.fdopen(fd, "wb"), line_buffering=True)
        patch.setattr(sys, "stderr", self.stream)

    def read(self, until: Callable[[bytes], bool]) -> list[dict[str, Any]]:
        """Return the lines, when there are enough."""
        text = b""
        while not until(text):
            text += os.read(self.end, 1 << 16)
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def writer() -> Writer:
    """A writer that somebody serves with."""
    writer = Writer()
    writer.serve()
    return writer


def say(writer: Writer, name: str, **fields: Any) -> None:
    """Let an event be written."""
    writer.take(lambda line: line, Line(name, "info", fields, 0.0))


def test_a_pipe_that_nobody_reads_holds_nobody(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has lines goes on; what finds no room is counted, and told once the pipe is read again."""
    pipe = Pipe(monkeypatch)
    for number in range(30_000):
        say(writer, "test.line", number=number, filling="x" * 50)
        if number == 1000:
            until(lambda: writer._channel.waiting < 1000, "the thread has begun")
    assert not writer.flush(0.2)
    lost = writer.lost
    assert lost > 0
    found = pipe.read(lambda text: text.count(b"\n") == 30_000 - lost + 1)
    told = [line for line in found if line["event"] == "log.lost"]
    numbers = [line["number"] for line in found if line["event"] == "test.line"]
    assert [line["count"] for line in told] == [lost]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + lost == 30_000


def test_lines_of_many_processes_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a pipe, and no line is torn by another's."""
    end, fd = os.pipe()
    code = (
        "from bento_rollout.telemetry.log import WRITER, event\n"
        "WRITER.serve()\n"
        "for number in range(3000): event('test.line', number=number, filling='x' * (number % 900))\n"
    )
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stderr=fd) for _ in range(3)]
    os.close(fd)
    with os.fdopen(end) as reader:
        numbers = [json.loads(line)["number"] for line in reader]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sorted(numbers) == sorted(list(range(3000)) * 3)


def test_lines_are_written_when_the_process_ends() -> None:
    """Nothing that was said last is lost, in its order."""
    code = "from bento_rollout.telemetry.log import WRITER, event\nWRITER.serve()\n"
    code += "for number in range(500): event('test.line', number=number)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line)["number"] for line in done.stderr.splitlines()] == list(range(500))


def test_a_process_ends_though_its_pipe_is_full() -> None:
    """The thread that is stuck holds nothing that the end needs."""
    end, fd = os.pipe()
    code = "from bento_rollout.telemetry.log import WRITER, event\nWRITER.serve()\n"
    code += "for number in range(5000): event('test.line', filling='x' * 100)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=fd)
    os.close(fd)
    assert process.wait(60) == 0
    os.close(end)


def test_a_fork_writes_its_own_lines() -> None:
    """It has no thread, so it writes at once."""
    code = """
import os
from bento_rollout.telemetry.log import WRITER, event
WRITER.serve()
event("test.parent")
assert WRITER.flush(30)
if (child := os.fork()) == 0:
    event("test.child")
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]  # Python warns of forks, too
    assert [json.loads(line)["event"] for line in lines] == ["test.parent", "test.child"]


class Broken(io.StringIO):
    """A standard error on a disk that is full for a while."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is counted, and told once when there is room again."""
    stream = Broken()
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in range(3):
        say(writer, "test.lost")
        assert writer.flush(30)
    assert writer.lost == 3
    stream.full = False
    for _ in range(3):
        say(writer, "test.written")
        assert writer.flush(30)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    events = [line["event"] for line in told]
    assert events == ["test.written", "log.lost", "test.written", "test.written"]
    assert told[1]["count"] == 3


def test_a_line_that_was_written_in_part_tears_no_other(tmp_path: Path) -> None:
    """A disk that becomes full within a line: the next one begins on a line of its own."""
    code = """
import resource
from bento_rollout.telemetry.log import WRITER, event
WRITER.serve()
before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for number in range(100): event("test.line", number=number, filling="x" * 100)
assert WRITER.flush(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
event("test.last")
"""
    file = tmp_path / "stderr"
    with file.open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], stderr=stream, check=True)
    *_, torn, last, lost = file.read_text().splitlines()
    assert not torn.endswith("}")
    assert json.loads(last)["event"] == "test.last"
    assert (json.loads(lost)["event"], json.loads(lost)["count"]) == ("log.lost", 100)


@pytest.mark.parametrize("gone", [None, "closed", "broken"])
def test_a_standard_error_that_is_gone(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, gone: str | None
) -> None:
    """Lines are lost and counted, and nothing else happens."""
    pipe = Pipe(monkeypatch)
    if gone is None:
        monkeypatch.setattr(sys, "stderr", None)
    elif gone == "closed":
        pipe.stream.close()
    os.close(pipe.end)
    for _ in range(5):
        say(writer, "test.lost")
    assert writer.flush(30)
    assert writer.lost == 5
    monkeypatch.undo()
    if gone == "broken":
        pipe.stream.close()


def test_events_never_wait_while_somebody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own way, too: a loop that says something is not held by a full pipe."""
    writer = Writer()
    monkeypatch.setattr(log, "WRITER", writer)
    pipe = Pipe(monkeypatch)
    lines = LogLines("r", Logging(), str, writer)
    for _ in range(1000):
        log.event("test.line", filling="x" * 200)
    assert not lines.close(0.1)
    log.event("test.line")  # whoever waited for the pipe now would wait for good
    found = pipe.read(lambda text: text.count(b"\n") == 1001)
    assert {line["event"] for line in found} == {"test.line"}
    other = LogLines("r", Logging(), str, writer)
    assert lines.close(30)
    assert lines.close(30)  # a second time ends nobody else's
    assert writer._serving == 1
    assert other.close(30)
    log.event("test.last")
    assert [line["event"] for line in pipe.read(lambda text: text.endswith(b"\n"))] == ["test.last"]


# -- the user's own structlog -----------------------------------------------------------------------------


def test_a_users_configuration_is_followed(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """Their processors, their renderer, their destination, their levels; nothing on standard error."""
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.LogfmtRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    lines = LogLines("r", Logging(), str, writer)
    failed = observation("two", Outcome.ERROR, error="Oops")
    lines.offer(prediction())
    lines.offer(prediction(failed, observation()))
    assert lines.close(30)
    (line,) = out.getvalue().splitlines()
    assert "event=prediction.served" in line
    assert "level=warning" in line
    assert "timestamp=1970-01-01T00:00:01.500000Z" in line
    assert capsys.readouterr().err == ""


def test_a_processor_that_raises_costs_its_line_only(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are written; it is said once on standard error, and counted."""
    seen: list[Any] = []

    def picky(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if fields["number"] % 2:
            raise KeyError("secret")
        seen.append(fields["number"])
        raise structlog.DropEvent

    structlog.configure(processors=[picky])
    for number in range(10):
        say(writer, "test.line", number=number)
    assert writer.flush(30)
    assert seen == [0, 2, 4, 6, 8]
    assert writer.failed == 5
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["line"], line["error"]) == ("log.failed", "test.line", "KeyError")
    assert "secret" not in json.dumps(line)


def test_nothing_ends_the_thread(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even what ends a process or a task: whoever raises it costs one line."""

    def fatal(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        raise fields["raised"]

    def make(error: BaseException) -> Line:
        raise error

    raised = [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
    for error in raised:
        writer.take(make, error)
        assert writer.flush(30)
    structlog.configure(processors=[fatal])
    for error in raised:
        say(writer, "test.line", raised=error)
        assert writer.flush(30)
    assert writer.failed == 2 * len(raised)
    structlog.reset_defaults()
    say(writer, "test.line", last=True)
    assert writer.flush(30)
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["last"]


def test_what_is_bound_for_a_request_is_in_its_line(writer: Writer) -> None:
    """If the user's processors merge it; what we tell ourselves stays as it is."""
    out = io.StringIO()
    merge = structlog.contextvars.merge_contextvars
    with structlog.contextvars.bound_contextvars(request="q1", variant="theirs"):
        assert bound() is None
        structlog.configure(processors=[structlog.processors.LogfmtRenderer()])
        assert bound() is None
        structlog.configure(
            processors=[merge, structlog.processors.LogfmtRenderer()],
            logger_factory=structlog.WriteLoggerFactory(out),
        )
        fact = prediction(bound=bound())
    assert bound() is None
    lines = LogLines("r", Logging(), str, writer)
    lines.offer(fact)
    lines.offer(prediction())
    assert lines.close(30)
    first, second = out.getvalue().splitlines()
    assert "request=q1" in first
    assert "variant=one" in first
    assert "request" not in second


def test_a_stamp_of_writing_leaves_the_time_of_the_request(writer: Writer) -> None:
    """A user's `TimeStamper` writes over `timestamp`: then the request's time has another name."""
    seen: list[Any] = []

    def keep(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        seen.append(dict(fields))
        raise structlog.DropEvent

    lines = LogLines("r", Logging(), str, writer)
    for key in ("timestamp", "at"):
        structlog.configure(processors=[structlog.processors.TimeStamper(fmt="iso", key=key), keep])
        lines.offer(prediction())
        assert writer.flush(30)
    assert lines.close(30)
    stamp = "1970-01-01T00:00:01.500000Z"
    assert (seen[0]["time"], seen[0]["timestamp"] == stamp) == (stamp, False)
    assert (seen[1].get("time"), seen[1]["timestamp"]) == (None, stamp)


def test_a_logger_that_is_awaited(writer: Writer) -> None:
    """Its synchronous side is used: there is no loop in the thread."""
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.LogfmtRenderer()],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    say(writer, "test.line", number=1)
    assert writer.flush(30)
    assert "event=test.line" in out.getvalue()


def test_a_users_context_is_an_events_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was bound where an event happened is there where it is written."""
    writer, out = Writer(), io.StringIO()
    monkeypatch.setattr(log, "WRITER", writer)
    writer.serve()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.LogfmtRenderer()],
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    with structlog.contextvars.bound_contextvars(request="q1"):
        log.event("test.line")
    assert writer.flush(30)
    assert "request=q1" in out.getvalue()


def test_a_destination_that_is_stuck_holds_nobody(writer: Writer) -> None:
    """A processor that waits holds the writing thread only."""
    free = threading.Event()

    def stuck(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        free.wait(60)
        raise structlog.DropEvent

    structlog.configure(processors=[stuck])
    for _ in range(25_000):
        say(writer, "test.line")
    assert not writer.flush(0.1)
    assert writer.lost >= 4000
    free.set()
    assert writer.flush(60)


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), ValueError()]
)
def test_no_work_ends_a_channel(error: BaseException) -> None:
    """Whatever the work raises is counted, and the next facts are worked on."""
    done: list[Any] = []

    def work(facts: Any) -> None:
        if not done:
            done.append("failed")
            raise error
        done.extend(facts)

    channel: Channel[int] = Channel("test", work, linger=0)
    channel.offer(1)
    assert channel.flush(30)
    channel.offer(2)
    assert channel.flush(30)
    assert (done, channel.failed, channel.trouble) == (["failed", 2], 1, None)
    assert channel.close(30)


def test_facts_that_keep_coming_come_in_batches() -> None:
    """While one batch is worked on the next one gathers: a busy worker does not write them one by one."""
    batches: list[int] = []

    def work(facts: Sequence[int]) -> None:
        batches.append(len(facts))
        time.sleep(0.005)  # more come meanwhile

    channel: Channel[int] = Channel("test", work, linger=0.2)
    for number in range(300):
        channel.offer(number)
        time.sleep(0.002)
    assert channel.close(30)
    assert (sum(batches), len(batches) < 30) == (300, True)
