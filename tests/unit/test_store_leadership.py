"""One leads, on a host or on all of them: the next one does as soon as it is gone, however it goes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bento_rollout.errors import StoreUnreachable
from bento_rollout.store.leadership import leadership_at
from bento_rollout.store.place import Place, Shared
from tests.places import cut_off, end_holders
from tests.postgres import Database
from tests.states import finish, fork, started, wait_until


def test_one_leads(place: Place) -> None:
    """Whoever asked first, until it resigns; a right of another name is another one."""
    first, second, other = leadership_at(place), leadership_at(place), leadership_at(place, "other.lock")
    assert [first.hold(), second.hold(), first.hold(), other.hold()] == [True, False, True, True]
    second.resign()
    assert first.hold()
    first.resign()
    first.resign()
    assert [second.hold(), first.hold(), other.hold()] == [True, False, True]
    second.resign()
    other.resign()


def _lead(place: Place, leads: Any) -> None:
    right = leadership_at(place)
    if right.hold():
        leads.set()
        time.sleep(120)


def test_another_one_leads_when_the_leader_is_killed(place: Place) -> None:
    """Within two seconds."""
    leads = fork.Event()
    process = started(_lead, place, leads)
    assert leads.wait(30)
    mine = leadership_at(place)
    assert not mine.hold()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(mine.hold, 2.0)
    process.join()
    mine.resign()


def _lead_and_fork(place: Place, leads: Any, child: Any) -> None:
    right = leadership_at(place)
    if right.hold():
        grandchild = os.fork()
        if not grandchild:
            leads.set()
            time.sleep(120)
            os._exit(0)
        child.value = grandchild
        time.sleep(120)


def test_a_forked_child_does_not_keep_it(place: Place) -> None:
    """A leader's child that outlives it neither leads, nor lets nobody else lead."""
    leads, child = fork.Event(), fork.Value("i", 0)
    process = started(_lead_and_fork, place, leads, child)
    assert leads.wait(30)
    wait_until(lambda: child.value != 0)
    mine = leadership_at(place)
    assert not mine.hold()
    os.kill(process.pid, signal.SIGKILL)
    try:
        wait_until(mine.hold, 2.0)
    finally:
        os.kill(child.value, signal.SIGKILL)
    process.join()
    mine.resign()


def test_a_child_does_not_take_it_from_its_parent(place: Place) -> None:
    """It neither leads itself, nor ends its parent's lead when it resigns or goes."""
    mine = leadership_at(place)
    assert mine.hold()

    def child() -> None:
        mine.resign()
        assert not mine.hold()

    finish(started(child))
    assert mine.hold()
    assert not leadership_at(place).hold()
    mine.resign()


def test_many_ask_at_once(place: Place) -> None:
    """At no time do two lead."""
    leading, most, go = 0, 0, threading.Barrier(4)
    held = [0] * 4

    def work(number: int) -> None:
        nonlocal leading, most
        right = leadership_at(place)
        go.wait()
        for _ in range(8):
            if right.hold():
                leading += 1
                most = max(most, leading)
                held[number] += 1
                leading -= 1
                right.resign()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert sum(held) > 0


def test_who_has_lost_its_session_lets_go(shared: Callable[..., Shared], database: Database) -> None:
    """It is told so once, whether or not another one leads by then, and may lead again after that."""
    first, second = leadership_at(shared()), leadership_at(shared())
    assert first.hold()
    end_holders(database)
    assert second.hold()
    assert [first.hold(), first.hold()] == [False, False]
    second.resign()
    assert first.hold()
    end_holders(database)
    assert [first.hold(), first.hold()] == [False, True]
    first.resign()


def test_without_a_database_nobody_leads(shared: Callable[..., Shared], database: Database) -> None:
    """The one who did lets go, whoever asks is told why, and afterwards somebody leads again."""
    first, second = leadership_at(shared()), leadership_at(shared())
    assert first.hold()
    with cut_off(database):
        assert not first.hold()
        for right in (first, second):
            with pytest.raises(StoreUnreachable, match="nobody can say who leads") as error:
                right.hold()
            assert "secret-word" not in str(error.value)

    def leads() -> bool:
        try:
            return second.hold()
        except StoreUnreachable:
            return False

    wait_until(leads)
    assert not first.hold()
    second.resign()
