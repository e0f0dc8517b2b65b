"""The people's queue under fire: many at once, killed processes, damaged files."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bento_rollout.errors import StoreCorrupt, StoreUnreachable
from bento_rollout.reviewing import Decision, Given, Status
from bento_rollout.store import letters
from bento_rollout.store.letterbox import Letterbox
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.reviews_rows import Submission
from tests.places import run
from tests.postgres import Server
from tests.reviewed import REVIEWER, case, made
from tests.reviewing_crew import address_of

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parent.parent.parent

Crew = Callable[..., "subprocess.Popen[str]"]


def queue_of(place: Place, number: int, **fields: object) -> Reviews:
    """A queue in which so many cases wait."""
    reviews = Reviews(place, rollout="screening", patience=30.0)
    asked = [Submission(case(created=time.time(), **fields)) for _ in range(number)]
    assert all(isinstance(one, Decision) for one in reviews.submit_many(asked))
    return reviews


@pytest.fixture
def crew(place: Place, request: pytest.FixtureRequest) -> Crew:
    """Begin a process of such people; they wait until they are let loose."""
    where = address_of(place, request)
    return lambda act, *names: begun(where, act, *names)


def begun(where: str, act: str, *names: str) -> subprocess.Popen[str]:
    """Begin a process, and wait until it is ready."""
    command = [sys.executable, "-m", "tests.reviewing_crew", where, act, *names]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def let_loose(processes: Sequence[subprocess.Popen[str]]) -> list[list[str]]:
    """Let them all work at once, and return what each told."""
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    told = [one.communicate()[0].splitlines() for one in processes]
    assert [one.returncode for one in processes] == [0] * len(processes)
    return told


@pytest.mark.slow
def test_many_reviewers_at_once_answer_each_case_once(place: Place, crew: Crew) -> None:
    """Twenty people in four processes: no case is answered twice, none is lost."""
    reviews = queue_of(place, 200)
    processes = [crew("answer", *(f"p{n}-{m}" for m in range(5))) for n in range(4)]
    lines = [line.split() for told in let_loose(processes) for line in told]
    assert Counter(Counter(task for task, *_ in lines).values()) == {1: 200}
    told = {task: choice for task, _, choice in lines}
    assert {name: one.choice for name, one in reviews.decided(list(told)).items()} == told
    assert reviews.open("read") == 0
    assert sum(reviews.stats().answered.values()) == 200
    trail = reviews.trail.entries(limit=10_000)
    assert Counter(entry.what for entry in trail) == {
        "submitted": 200, "claimed": 200, "answered": 200, "decided": 200,
    }  # fmt: skip
    assert reviews.trail.verify().whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_loses_no_answer_that_was_acknowledged(place: Place, crew: Crew, seed: int) -> None:
    """``kill -9`` at any moment: each is there, no case is half decided, and others go on."""
    reviews = queue_of(place, 150)
    process = crew("answer", "ann", "bob")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    first = process.stdout.readline()
    time.sleep(random.Random(seed).random() * 0.4)
    process.kill()
    lines = [first, *process.stdout.read().splitlines(keepends=True)]
    process.wait()
    told = {task: choice for task, _, choice in (line.split() for line in lines if line.endswith("\n"))}
    there = reviews.decided([one.id for one in reviews.list(limit=1000)])
    assert {name: there[name].choice for name in told} == told
    assert all(one.body == f"answer {one.choice}".encode() for one in there.values())
    assert reviews.trail.verify().whole
    assert reviews.open("read") == 150 - len(there)
    if isinstance(place, Path):
        assert run(place, "reviews", "PRAGMA integrity_check") == [("ok",)]
    in_hand = 2  # of the two who are no more
    assert reviews.open("read") <= in_hand or reviews.claim("cem", roles=REVIEWER) is not None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_leaves_word_of_each_decision(place: Place, crew: Crew, seed: int) -> None:
    """``kill -9`` at any moment: a letter for each case that opened and each that ended, and for no other."""
    box = Letterbox(place)
    box.listen(["read"])
    reviews = queue_of(place, 100)
    process = crew("answer", "ann", "bob")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(random.Random(seed).random() * 0.3)
    process.kill()
    process.wait()
    found: Counter[str] = Counter()
    tasks = set()
    while (letter := box.next("read")) is not None:
        found[letter.kind] += 1
        if letter.kind == "case.decided":
            tasks.add(letter.data["task"])
        box.told(letter)
    ended = {letters.task_name(one.id) for one in reviews.list(status=Status.ANSWERED, limit=1000)}
    assert ended
    assert tasks == ended
    assert found == {"case.opened": 100, "case.decided": len(ended)}


@pytest.mark.slow
def test_processes_that_settle_at_once_end_each_case_once(place: Place, crew: Crew) -> None:
    """Each timeout acts exactly once, whoever of them does it."""
    now = time.time()
    reviews = queue_of(place, 60, due=now, on_timeout="default", default="no")
    told = let_loose([crew("settle", "a", "b") for _ in range(2)])
    assert sum(int(line) for lines in told for line in lines) == 60
    assert Counter(entry.what for entry in reviews.trail.entries()) == {"submitted": 60, "defaulted": 60}
    assert {one.status for one in reviews.list(limit=100)} == {Status.DEFAULTED}
    assert reviews.trail.verify().whole


@pytest.mark.slow
def test_sessions_that_are_ended_lose_nothing(
    home: Engine, server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At any moment: who asks again is answered; each answer counts once, and the trail is whole."""
    place = Shared(home, "screening-ended", tmp_path)
    reviews = queue_of(place, 40)
    where = address_of(place, request)
    processes = [begun(where, "persist", f"p{n}-0", f"p{n}-1") for n in range(2)]
    over = threading.Event()
    ended: list[tuple[object, ...]] = []

    def end_them() -> None:
        draw = random.Random(7)
        while len(ended) < 12 and not over.wait(0.05 + 0.3 * draw.random()):
            ended.extend(server.run(_ENDED))

    ender = threading.Thread(target=end_them)
    ender.start()
    try:
        lines = [line.split() for told in let_loose(processes) for line in told]
    finally:
        over.set()
        ender.join()
    assert len(ended) > 5
    assert Counter(Counter(task for task, *_ in lines).values()) == {1: 40}
    told = {task: choice for task, _, choice in lines}
    assert {name: one.choice for name, one in reviews.decided(list(told)).items()} == told
    acts = Counter(entry.what for entry in reviews.trail.entries(limit=10_000))
    assert (acts["submitted"], acts["answered"], acts["decided"]) == (40, 40, 40)
    assert reviews.trail.verify().whole


_ENDED = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = 'home' AND pid <> pg_backend_pid()
"""


def test_a_database_that_crashes_loses_no_answer(server: Server, shared: Callable[..., Shared]) -> None:
    """What was acknowledged is there when it is back; meanwhile it is said that it cannot be used."""
    place = shared("screening")
    reviews = queue_of(place, 2)
    claim = reviews.claim("ann", roles=REVIEWER)
    assert claim is not None
    reviews.answer(claim.case.id, "ann", claim.token, Given("yes"), make=made)
    server.stop("immediate")
    try:
        with pytest.raises(StoreUnreachable, match=r"the reviews in postgresql://postgres@127"):
            reviews.claim("ann", roles=REVIEWER)
        with pytest.raises(StoreUnreachable) as said:
            reviews.stats()
        assert "secret-word" not in str(said.value)
    finally:
        server.start()
    reviews = Reviews(shared("screening"), rollout="screening")  # another host: it need not wait a second
    assert reviews.decided([claim.case.id])[claim.case.id].choice == "yes"
    assert reviews.open("read") == 1
    assert reviews.trail.verify().whole


def damage(path: Path) -> None:
    """Overwrite the middle of a file."""
    content = bytearray(path.read_bytes())
    content[4096 : len(content) - 4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)


def no_database(path: Path) -> None:
    """Put a text in its place."""
    path.write_text("this was a queue" * 500)


def foreign(path: Path) -> None:
    """Put another program's database in its place."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (name TEXT)")


@pytest.mark.parametrize("harm", [damage, no_database, foreign])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, harm: object) -> None:
    """By reading and by writing; nothing is made anew in its place."""
    reviews = queue_of(tmp_path / "screening", 50)
    reviews.close()
    with sqlite3.connect(reviews.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    for suffix in ("-wal", "-shm"):
        reviews.path.with_name(reviews.path.name + suffix).unlink(missing_ok=True)
    assert callable(harm)
    harm(reviews.path)
    size = reviews.path.stat().st_size
    for act in (lambda: reviews.submit(case()), lambda: reviews.list(limit=100), reviews.stats):
        with pytest.raises(StoreCorrupt, match=r"reviews\.db"):
            act()
    assert reviews.path.stat().st_size == size


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """Nothing is written to what this version does not know."""
    reviews = queue_of(tmp_path / "screening", 1)
    reviews.close()
    with sqlite3.connect(reviews.path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnreachable, match=r"schema 99.*newer"):
        reviews.open("read")


def test_a_locked_file_says_so(tmp_path: Path) -> None:
    """And all goes on when the lock is gone."""
    place = queue_of(tmp_path / "screening", 1).path.parent
    reviews = Reviews(place, rollout="screening", patience=0.05)
    db = sqlite3.connect(reviews.path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnreachable, match=r"reviews\.db.*locked"):
        reviews.submit(case())
    assert reviews.open("read") == 1  # who reads does not wait
    db.execute("ROLLBACK")
    reviews.submit(case())


def test_a_replaced_file_is_not_written_through_an_old_connection(tmp_path: Path) -> None:
    """What lies at the path now is what counts."""
    reviews = queue_of(tmp_path / "screening", 1)
    for path in list(reviews.path.parent.iterdir()):
        path.rename(path.with_name(f"old-{path.name}"))
    assert reviews.list() == ()
    reviews.submit(case())
    assert len(reviews.list()) == 1
