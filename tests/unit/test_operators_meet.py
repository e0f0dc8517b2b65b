"""Operators in many processes at once, over workers whose hooks veto: one wins, the others are told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import Conflict, Refused, Vetoed
from bento_rollout.feed import Feed
from bento_rollout.hooks import as_hooks
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.records import Flip
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import RolloutState
from bento_rollout.store.presence import Card, VariantCard
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.worker import Worker
from tests.states import finish, fork, started, wait_until

NAMES = ("logistic", "boosted", "forest")
DIGESTS = {name: str(number) * 12 for number, name in enumerate(NAMES, 1)}
SECONDS = 3.0

Act = Callable[[Rollout, random.Random], Any]


@contextmanager
def lend(variant: str) -> Iterator[str]:
    """Lend a variant's name in place of its instance."""
    yield variant


def card() -> Card:
    """What a worker with all variants and one hook says of itself."""
    variants = {name: VariantCard("ready", "worker", digest) for name, digest in DIGESTS.items()}
    return Card("", 0, 1, "Screening", 0, variants, before_flip=1)


def moody(flip: Flip) -> None:
    """Take a moment, and veto every other flip."""
    time.sleep(0.005)
    if flip.reason.endswith("veto"):
        raise RuntimeError("not in the mood")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store lies that the environment names."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'rollouts.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    store = SQLiteStore(tmp_path / "rollouts.db", create=True)
    open_state(store, "screening", "logistic", RolloutSpec.parse({}), DIGESTS)
    return store.path


@contextmanager
def serving(path: Path, count: int = 2) -> Iterator[list[Feed]]:
    """Let workers live that follow the store and run the hook."""
    loop = asyncio.new_event_loop()
    workers, feeds = [], []
    for _ in range(count):
        store = SQLiteStore(path)
        feed = Feed(store, open_state(store, "screening", "logistic", RolloutSpec.parse({}), DIGESTS))
        worker = Worker(store, feed, as_hooks(moody), (), card, lend, loop)
        worker.start()
        workers.append(worker)
        feeds.append(feed)
    try:
        yield feeds
    finally:
        for worker in workers:
            worker.stop()
        loop.close()


def flips(rollout: Rollout, chance: random.Random) -> Any:
    """Flip to anybody; the hooks veto half of it."""
    return rollout.flip(chance.choice(NAMES), reason=chance.choice(("go", "veto")))


def weighs_boosted(rollout: Rollout, chance: random.Random) -> Any:
    """Set one candidate's weight."""
    return rollout.set_weights({"boosted": chance.randrange(40)})


def weighs_forest(rollout: Rollout, chance: random.Random) -> Any:
    """Set the other one's."""
    return rollout.set_weights({"forest": chance.randrange(40)})


def goes_back(rollout: Rollout, chance: random.Random) -> Any:
    """Undo, or roll back."""
    return rollout.undo() if chance.random() < 0.5 else rollout.rollback()


def operate(act: Act, author: str, begin: Any, report: Path) -> None:
    """Do the same again and again in a process of its own; write down how each attempt ended."""
    rollout, chance, ends = open_rollout("screening", author=author), random.Random(author), Counter[str]()
    begin.wait(30)
    deadline = time.monotonic() + SECONDS
    patience = deadline + (20.0 if act is flips else 0.0)  # on a busy machine none may get through before
    while (now := time.monotonic()) < deadline or (now < patience and not ends["changed"]):
        before = rollout.state.revision
        try:
            end = "changed" if act(rollout, chance).changed else "nothing"
        except Vetoed:
            end = "vetoed"
        except Conflict as conflict:
            end = "conflict" if conflict.current > before else "told wrong"
        except (Refused, ValueError) as error:  # the champion has no weight; another flip is being prepared
            end = type(error).__name__
        ends[end] += 1
        time.sleep(chance.random() * (0.01 if act is flips else 0.2))  # so that some flips get through
    report.write_text(json.dumps(ends))


def test_operators_meet(path: Path, tmp_path: Path) -> None:
    """Whoever is told that a change was made made exactly one revision, whole; nobody else made any."""
    acts = (flips, flips, weighs_boosted, weighs_forest, goes_back)
    authors = {f"op{number}": act for number, act in enumerate(acts)}
    begin = fork.Event()
    processes = [
        started(operate, act, author, begin, tmp_path / f"{author}.json") for author, act in authors.items()
    ]
    with serving(path) as feeds:
        begin.set()
        for process in processes:
            finish(process)
        ends = {author: json.loads((tmp_path / f"{author}.json").read_text()) for author in authors}
        commits = list(reversed(open_rollout("screening").history()))
        wait_until(lambda: {feed.table().revision for feed in feeds} == {commits[-1].revision})
    assert [(commit.revision, commit.parent) for commit in commits] == [
        (n + 1, n) for n in range(len(commits))
    ]
    made = Counter(commit.author for commit in commits[1:])
    assert made == {author: found["changed"] for author, found in ends.items() if found.get("changed")}
    total = sum(map(Counter[str], ends.values()), Counter[str]())
    assert min(total["conflict"], total["vetoed"], total["changed"]) > 0
    assert any(commit.action == "flip" for commit in commits)
    assert total["told wrong"] == 0
    assert not [commit for commit in commits if commit.action == "flip" and commit.reason == "veto"]
    for parent, commit in pairwise(commits):
        _check_whole(parent.state, commit.state, commit.action)
    assert not (SQLiteStore(path).place("screening") / "flip.json").exists()


def _check_whole(before: RolloutState, after: RolloutState, action: str) -> None:
    """A change is what its verb makes of the state that it was made from, and nothing of anybody else's."""
    if action == "flip":
        assert after.champion != before.champion
        assert (after.percents, after.standby) == ({}, before.champion)
    if action == "weight":
        assert after.champion == before.champion
        changed = {name for name in NAMES if after.weights.get(name, 0) != before.weights.get(name, 0)}
        assert len(changed) == 1
    if action == "rollback":
        assert after.is_settled
