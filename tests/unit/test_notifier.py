"""Who is told what, how often, by which leader: real servers, real files, callables that misbehave."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import Hook, Notice, Webhook
from bento_rollout.errors import InvalidValue
from bento_rollout.notifier import FURTHEST, RECENT, Notifier, as_receivers
from bento_rollout.outbox import MOST, Patience
from bento_rollout.state import Commit
from bento_rollout.store.told import Told, ToldFile
from bento_rollout.telemetry import log
from tests.states import wait_until

from .notices import KEY, commit, listening, notice, resetting, saying, silent

QUICK = Patience(first=0.01, longest=0.05, tries=6, seconds=60.0)
Lines = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What is logged."""
    found: Lines = []
    monkeypatch.setattr(log, "event", lambda name, level="info", **fields: found.append((name, fields)))
    return found


@pytest.fixture
def notifier(tmp_path: Path) -> Iterator[Callable[..., Notifier]]:
    """Makes notifiers in one place, and ends them."""
    made: list[Notifier] = []

    def make(*receivers: Any, patience: Patience = QUICK, loop: Any = None) -> Notifier:
        made.append(Notifier(as_receivers(receivers), ToldFile(tmp_path), loop, patience))
        return made[-1]

    yield make
    for one in made:
        one.close(0)


def hook(url: str, timeout: float = 5.0) -> Webhook:
    """A webhook with the test's key."""
    return Webhook(url, secret="env:HOOK_KEY", timeout=timeout)


def fresh(revision: int, action: str = "advance", **how: Any) -> Commit:
    """A commit of just now."""
    return commit(revision, action, **{"when": time.time(), **how})


# -- who is told ------------------------------------------------------------------------------------------


def test_one_a_list_and_nobody() -> None:
    """A callable, a hook and a webhook are receivers, alone or in a list."""
    one = hook("https://a.example")
    assert as_receivers(None) == ()
    assert as_receivers(one) == (one,)
    called, kept = as_receivers([print, Hook(print, timeout="1m")])
    assert isinstance(called, Hook)
    assert isinstance(kept, Hook)
    assert (called.timeout, kept.timeout) == (10.0, 60.0)


@pytest.mark.parametrize("wrong", [5, [print, {}], "https://hooks.example.com/hunter2", [Webhook], object()])
def test_what_is_neither_is_refused(wrong: Any) -> None:
    """By its value, but for a text: that may be an address with a secret in it."""
    with pytest.raises(InvalidValue, match="callables and Webhooks") as caught:
        as_receivers(wrong)
    assert "hunter2" not in str(caught.value)


def test_everybody_gets_a_copy_of_their_own(notifier: Callable[..., Notifier]) -> None:
    """Who changes what it was given changes it for nobody else."""
    seen: list[Notice] = []

    def spoil(told: Notice) -> None:
        told.guardrails.clear()  # type: ignore[attr-defined]  # what a receiver must not do
        seen.append(told)

    given = notice(guardrails={"errors": {"finding": "harmful"}})
    notifier(spoil, spoil, seen.append).offer(given)
    wait_until(lambda: len(seen) == 3)
    assert sum(bool(one.guardrails) for one in seen) == 1
    assert given.guardrails


def test_an_async_callable_runs_on_the_workers_loop(notifier: Callable[..., Notifier]) -> None:
    """And without a loop on one of its own."""
    loops: list[object] = []

    async def tell(_: Notice) -> None:
        loops.append(asyncio.get_running_loop())

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        notifier(tell, loop=loop).offer(notice())
        notifier(tell).offer(notice())
        wait_until(lambda: len(loops) == 2)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert loops.count(loop) == 1


@pytest.mark.parametrize("raised", [ValueError("no chat"), SystemExit(3), KeyboardInterrupt()])
def test_a_callable_that_raises_stops_nobody(
    notifier: Callable[..., Notifier], lines: Lines, raised: BaseException
) -> None:
    """It is named, called no more for that notice, and told of the next one."""
    seen: list[int] = []

    def broken(told: Notice) -> None:
        seen.append(-told.revision)
        raise raised

    one = notifier(broken, lambda told: seen.append(told.revision))
    one.offer(notice(7))
    one.offer(notice(8))
    wait_until(lambda: len(seen) == 4 and len(lines) == 2)
    assert sorted(seen) == [-8, -7, 7, 8]
    name, fields = lines[0]
    assert name == "notice.given_up"
    assert (fields["rollout"], fields["revision"], fields["action"], fields["tries"]) == (
        "screening",
        7,
        "rollback",
        1,
    )
    assert f"broken raised {type(raised).__name__}" in fields["problem"]


def test_a_callable_that_hangs_holds_one_thread_and_nobody_else(
    notifier: Callable[..., Notifier], lines: Lines
) -> None:
    """However many notices come, it is not called beside itself; when it returns it is told again."""
    calls: list[int] = []
    seen: list[int] = []
    freed = threading.Event()

    def hang(told: Notice) -> None:
        calls.append(told.revision)
        freed.wait(60)

    one = notifier(Hook(hang, timeout=0.05), lambda told: seen.append(told.revision))
    for revision in range(1, 6):
        one.offer(notice(revision))
    wait_until(lambda: len(lines) == 5 and len(seen) == 5)
    assert calls == [1]
    assert "longer than 0.05 s" in lines[0][1]["problem"]
    assert "has not returned from an earlier notice" in lines[1][1]["problem"]
    freed.set()
    one.offer(notice(6))
    wait_until(lambda: calls == [1, 6])


# -- webhooks ---------------------------------------------------------------------------------------------


def test_a_webhook_is_tried_again_until_it_is_told(notifier: Callable[..., Notifier], lines: Lines) -> None:
    """Under the same id each time, and the log says it once."""
    with listening(saying(500), resetting, saying(429, "Retry-After: 0\r\n"), saying(204)) as listener:
        notifier(hook(listener.url)).offer(notice())
        wait_until(lambda: len(listener.asked) == 4)
    assert len({asked.headers["webhook-id"] for asked in listener.asked}) == 1
    assert len({asked.body for asked in listener.asked}) == 1
    assert [name for name, _ in lines] == ["notice.failed"]
    assert lines[0][1]["problem"] == "it answers 500"
    assert lines[0][1]["receiver"].startswith("http://127.0.0.1:")
    assert "secret" not in str(lines)
    assert KEY not in str(lines)


def test_a_webhook_is_given_up_at_last(notifier: Callable[..., Notifier], lines: Lines) -> None:
    """After the last try, and when its time is over; what cannot get better is not tried again."""
    with listening(saying(500)) as down, listening(saying(404)) as gone, listening(silent) as mute:
        notifier(hook(down.url)).offer(notice(1))
        wait_until(lambda: any(name == "notice.given_up" for name, _ in lines))
        assert lines[-1][1]["tries"] == len(down.asked) == QUICK.tries
        notifier(hook(gone.url)).offer(notice(2))
        wait_until(lambda: lines[-1][1]["revision"] == 2)
        assert (lines[-1][0], lines[-1][1]["tries"]) == ("notice.given_up", 1)
        notifier(hook(mute.url, 0.05), patience=Patience(first=0.01, tries=99, seconds=0.2)).offer(notice(3))
        wait_until(lambda: lines[-1][0] == "notice.given_up" and lines[-1][1]["revision"] == 3)
        assert lines[-1][1]["problem"] == "no answer within 0.05 s"
        assert lines[-1][1]["tries"] < 99


def test_a_notice_that_waits_holds_no_newer_one(notifier: Callable[..., Notifier]) -> None:
    """The news of a rollback is not behind a notice that cannot be told."""
    with listening(saying(500), saying(204)) as listener:
        one = notifier(hook(listener.url), patience=Patience(first=3600))
        one.offer(notice(1))
        wait_until(lambda: len(listener.asked) == 1)
        one.offer(notice(2))
        wait_until(lambda: len(listener.asked) == 2)
    assert b'"revision": 2' in listener.asked[1].body


def test_an_offer_returns_at_once_and_the_queue_is_bounded(
    notifier: Callable[..., Notifier], lines: Lines
) -> None:
    """A receiver that takes nothing costs a bounded queue, and one thread."""
    freed = threading.Event()
    before = threading.active_count()
    one = notifier(Hook(lambda _: freed.wait(60), timeout=60))
    for revision in range(1, 4 * MOST):
        one.offer(notice(revision))
    assert threading.active_count() <= before + 2
    given_up = [fields for name, fields in lines if name == "notice.given_up"]
    assert len(given_up) == 3 * MOST - 1
    assert given_up[-1]["problem"] == f"more than {MOST} notices wait"
    freed.set()


def test_pauses_grow_and_are_bounded() -> None:
    """Doubling from a second to five minutes, a half of it drawn; all within an hour."""
    patience = Patience()
    assert [patience.pause(tries, 1.0) for tries in (1, 2, 3, 9, 10, 19)] == [1, 2, 4, 256, 300, 300]
    assert patience.pause(3, 0.0) == 2.0
    assert patience.pause(1, 0.5, asked=90.0) == 90.0
    assert sum(patience.pause(tries, 1.0) for tries in range(1, patience.tries)) < patience.seconds


def test_a_key_that_is_not_there_is_said_at_the_start(
    notifier: Callable[..., Notifier], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when a model turns out to be harmful."""
    monkeypatch.delenv("HOOK_KEY")
    notifier(hook("https://a.example/secret"))
    ((name, fields),) = lines
    assert name == "notice.failed"
    assert "env:HOOK_KEY" in fields["problem"]


def test_a_close_tells_what_is_due_and_waits_for_no_more(notifier: Callable[..., Notifier]) -> None:
    """What could be told in a second is; a receiver that never answers holds no shutdown."""
    seen: list[int] = []
    with listening(silent) as mute:
        one = notifier(lambda told: seen.append(told.revision), hook(mute.url, 60))
        for revision in range(1, 51):
            one.offer(notice(revision))
        one.close(0.5)
        one.offer(notice(99))
    wait_until(lambda: len(seen) == 50)
    assert sorted(seen) == list(range(1, 51))


# -- leaders ----------------------------------------------------------------------------------------------


def test_the_history_is_followed(notifier: Callable[..., Notifier], tmp_path: Path) -> None:
    """Each commit of a try is told once, with the weights before it, and how far that went is kept."""
    seen: list[Notice] = []
    one = notifier(seen.append)
    assert one.behind(3) == 4
    one.follow(
        [
            fresh(3, percent=5.0),
            fresh(2, "weight", touched=False, author="ann"),
            fresh(1, "start", author="ann"),
        ]
    )
    wait_until(lambda: len(seen) == 2)
    assert one.behind(3) == 0
    assert one.behind(4) == 2
    one.follow([fresh(4, percent=25.0)])
    wait_until(lambda: len(seen) == 3)
    assert sorted(told.revision for told in seen) == [1, 3, 4]
    assert (seen[-1].weights_before, seen[-1].weights) == ({"boosted": 5.0}, {"boosted": 25.0})
    one.offer(seen[-1])
    wait_until(lambda: list(ToldFile(tmp_path).read().receivers.values()) == [4])
    assert len(seen) == 3


def test_a_new_leader_tells_what_the_last_one_did_not(
    notifier: Callable[..., Notifier], tmp_path: Path
) -> None:
    """A webhook that was down when a leader died is told by the next one, under the same id."""
    history = [fresh(revision) for revision in range(1, 5)]
    seen: list[int] = []

    def tell(told: Notice) -> None:
        seen.append(told.revision)

    with listening(saying(204), saying(204), saying(500)) as down:
        first = notifier(tell, hook(down.url), patience=Patience(first=3600))
        first.follow(history[:2])
        wait_until(lambda: len(down.asked) == 2 and len(seen) == 2)
        first.follow(history[1:3])
        wait_until(
            lambda: len(down.asked) == 3 and sorted(ToldFile(tmp_path).read().receivers.values()) == [2, 3]
        )
        lost = down.asked[-1].headers["webhook-id"]
        first.close(0)
        second = notifier(tell, hook(down.url), patience=Patience(first=3600))
        assert second.behind(4) == 3
        second.follow(history[1:])
        wait_until(lambda: len(down.asked) == 5 and len(seen) == 4)
    again = {asked.headers["webhook-id"] for asked in down.asked[3:]}
    assert lost in again
    assert len(again) == 2
    assert sorted(seen) == [1, 2, 3, 4]


def test_what_a_leader_left_is_told_however_late(notifier: Callable[..., Notifier], tmp_path: Path) -> None:
    """Where it is known how far a receiver was told, time does not matter."""
    seen: list[int] = []

    def tell(told: Notice) -> None:
        seen.append(told.revision)

    ToldFile(tmp_path).write(Told(3, commit(3).time, {Hook(tell).name: 3}))
    one = notifier(tell)
    assert one.behind(5) == 3
    one.follow([commit(revision) for revision in range(1, 6)])
    wait_until(lambda: len(seen) == 2)
    assert sorted(seen) == [4, 5]


def test_a_receiver_that_is_new_is_told_nothing_old(notifier: Callable[..., Notifier]) -> None:
    """What is older than an hour is history."""
    seen: list[int] = []
    now = time.time()
    one = notifier(lambda told: seen.append(told.revision))
    one.follow([fresh(1, when=now - RECENT - 60), fresh(2, when=now - 60), fresh(3, when=now)])
    wait_until(lambda: len(seen) == 2)
    assert sorted(seen) == [2, 3]


@pytest.mark.parametrize("newest", [2, 5])
def test_a_store_that_was_made_anew_is_told_of(
    notifier: Callable[..., Notifier], tmp_path: Path, newest: int
) -> None:
    """Its revisions begin again, and are no others'."""
    seen: list[float] = []

    def tell(told: Notice) -> None:
        seen.append(told.time)

    before = notifier(tell)
    before.follow([fresh(revision) for revision in range(1, 6)])
    wait_until(lambda: len(seen) == 5 and set(ToldFile(tmp_path).read().receivers.values()) == {5})
    anew = [fresh(revision) for revision in range(1, newest + 1)]
    after = notifier(tell)
    for one in (before, after):
        assert one is before or one.behind(newest) >= 1
        one.follow(anew)
    wait_until(lambda: len(seen) == 5 + 2 * newest)
    assert ToldFile(tmp_path).read().revision == newest


def test_looking_back_is_bounded(notifier: Callable[..., Notifier]) -> None:
    """A long history is not read whole, and without receivers none is."""
    assert notifier(print).behind(1_000_000) == FURTHEST
    assert notifier().behind(1_000_000) == 0
    notifier().follow([fresh(1)])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"revision": 1}', '{"revision": 1, "time": 2, "receivers": []}', "{"]
)
def test_a_file_that_cannot_be_read_is_nothing(tmp_path: Path, content: str) -> None:
    """Then the last hour is told, once more maybe."""
    (tmp_path / "told.json").write_text(content)
    assert ToldFile(tmp_path).read() == Told()


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """All are told; it is the next leader that tells some of it again."""
    (tmp_path / "place").write_text("no folder")
    seen: list[int] = []
    one = Notifier(as_receivers(lambda told: seen.append(told.revision)), ToldFile(tmp_path / "place"))
    one.follow([fresh(1)])
    wait_until(lambda: seen == [1])
    one.close()


def test_two_receivers_of_one_name_are_two(notifier: Callable[..., Notifier], tmp_path: Path) -> None:
    """Each is told, and each has its own place in the file."""
    seen: list[int] = []
    tells = [lambda told: seen.append(told.revision) for _ in range(2)]
    notifier(*tells).follow([fresh(1)])
    wait_until(lambda: seen == [1, 1] and len(ToldFile(tmp_path).read().receivers) == 2)
