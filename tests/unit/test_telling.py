"""What verbs, the history and ``doctor`` tell people, and programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from bento_rollout.operations import Rollout
from bento_rollout.targets import Target
from bento_rollout.telling import target_changes
from tests.unit.door import Door, Say, problem
from tests.unit.workers import READY, Join, with_digest

# -- verbs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pause screening", "automation paused; champion logistic 95 %, boosted 5 %"),
        ("shadow screening forest=20", "shadow forest 20 % (was 0 %); champion logistic 95 %"),
        ("target screening forest --key u1", "target forest + key u1; champion"),
        (
            "target screening forest --header X-Ring=dogfood",
            "target forest + header x-ring=dogfood; champion",
        ),
        ("retire screening forest", "retired forest; champion logistic 95 %, boosted 5 %"),
        ("weight screening boosted=7", "revision 3, champion logistic 93 %, boosted 7 %"),
        ("flip screening --to forest", "revision 3, champion forest 100 %"),
        ("weight screening boosted=5", "nothing changed, revision 2, champion logistic 95 %, boosted 5 %"),
    ],
)
def test_a_verb_says_in_one_line_what_is_different(say: Say, join: Join, line: str, told: str) -> None:
    """The last line of each verb is what changed, and who answers now."""
    join()
    say("weight", "screening", "boosted=5")
    code, out, _ = say(*line.split())
    assert code == 0
    assert told in out.splitlines()[-1]
    assert out.splitlines()[-1].startswith("screening: ")


def test_a_resume_and_a_target_that_is_removed(say: Say) -> None:
    """What ends something says so, too."""
    say("pause", "screening")
    assert "automation resumed" in say("resume", "screening")[1]
    say("target", "screening", "boosted", "--key", "u1", "--key", "u2")
    assert "target boosted - key u2;" in say("target", "screening", "boosted", "--key", "u2", "--remove")[1]


def test_a_verb_does_not_show_what_is_held_as_served(say: Say, join: Join) -> None:
    """The line of a verb is as truthful as `status`."""
    first = join()
    say("weight", "screening", "boosted=50")
    first.leave()
    join(variants=with_digest("new"))
    told = "champion logistic 100 %; held: boosted 50 % (new digest: grant it with bento-rollout weight"
    assert told in say("pause", "screening")[1]
    assert f"{told} screening boosted=50)" in say("status", "screening")[1]


def test_many_keys_are_counted_and_not_listed() -> None:
    """Of thousands of keys three are named, and a long key is cut."""
    many = Target(keys=tuple(f"u{i}" for i in range(10_000)))
    assert list(target_changes({}, {"b": many})) == ["target b + keys u0, u1, u2 ... (10000 keys)"]
    (told,) = target_changes({}, {"b": Target(keys=("x" * 8000,), header={"x-ring": "y" * 8000})})
    assert len(told) < 130


def test_verbs_do_not_tell_who_is_live(door: Door, join: Join) -> None:
    """Workers write down a moment later what they serve: the answer of a verb does not show them behind."""
    join()
    answer = door.post("flip", {"to": "boosted"}).json()
    assert (answer["revision"], answer["champion"]) == (2, "boosted")
    assert "workers" not in answer
    assert door.state()["workers"] != []


# -- the history ---------------------------------------------------------------------------------------------


def test_the_history_tells_what_each_change_changed(screening: Rollout, join: Join) -> None:
    """Every kind of change has its words in the history; who answers is in the columns beside."""
    first = join()
    screening.set_weights({"boosted": 50})
    screening.target("boosted", keys=["u1", "u2"])
    screening.target("forest", keys=["u1"])
    screening.set_shadow({"forest": 20})
    screening.pause()
    screening.resume()
    first.leave()
    join(variants=with_digest("new"))
    screening.set_weights({"boosted": 50})
    screening.flip("boosted")
    screening.retire("forest")
    assert [row["detail"] for row in reversed(screening.history_rows())] == [
        [],
        [],
        ["target boosted + keys u1, u2"],
        ["target forest + key u1", "target boosted - key u1"],
        ["shadow forest 20 % (was 0 %)"],
        ["automation paused"],
        ["automation resumed"],
        ["boosted granted to digest new (was 222222222222)"],
        [],
        ["retired forest", "target forest - key u1", "shadow forest 0 % (was 20 %)"],
    ]


def test_the_history_of_people_leaves_out_empty_columns(say: Say) -> None:
    """A column in which nothing stands is not drawn."""
    say("weight", "screening", "boosted=5", "--reason", "ramp")
    head = say("history", "screening")[1].splitlines()[0].split()
    assert head == ["REVISION", "TIME", "ACTION", "CHAMPION", "WEIGHTS", "AUTHOR", "REASON"]
    say("pause", "screening")
    assert "DETAIL" in say("history", "screening")[1].splitlines()[0]


def test_the_history_of_people_is_a_screenful(say: Say, ask: Callable[..., Any], screening: Rollout) -> None:
    """People get 50 revisions and are told of the older ones; programs get all, or as many as asked."""
    for _ in range(30):
        screening.pause()
        screening.resume()
    lines = say("history", "screening")[1].splitlines()
    assert len(lines) == 52
    assert lines[-1] == "older ones, from revision 11 down, are not shown: --limit 0 shows all"
    assert len(say("history", "screening", "--limit", "0")[1].splitlines()) == 62
    assert len(ask("history", "screening")) == 61
    assert len(ask("history", "screening", "--limit", "3")) == 3


def test_the_history_over_http_comes_in_pages(door: Door, screening: Rollout) -> None:
    """100 revisions, or as many as asked; a link leads to the next page, until there is none."""
    for _ in range(75):
        screening.pause()
        screening.resume()
    path, found = "/rollout/admin/history", []
    answer = door.ask("GET", path)
    assert [row["revision"] for row in answer.json()] == list(range(151, 51, -1))
    answer = door.ask("GET", f"{path}?limit=60")
    while True:
        found += [row["revision"] for row in answer.json()]
        if "next" not in answer.links:
            break
        answer = door.ask("GET", path + answer.links["next"]["url"])
    assert found == list(range(151, 0, -1))
    assert door.ask("GET", f"{path}?before=3&limit=1").json()[0]["detail"] == ["automation paused"]
    assert door.ask("GET", f"{path}?before=1").json() == []


@pytest.mark.parametrize(
    "query", ["limit=1001", "limit=0", "before=0", "before=x", "before=1&before=2", "after=1"]
)
def test_pages_that_cannot_be(door: Door, query: str) -> None:
    """What is no page is 400, and names the field."""
    assert (
        query.partition("=")[0] in problem(door.ask("GET", f"/rollout/admin/history?{query}"), 400)["detail"]
    )


def test_a_history_of_many_keys_is_cheap(screening: Rollout, join: Join) -> None:
    """Rows over states of 10 000 keys are made without checking each key of each revision again."""
    join()
    screening.target("boosted", keys=range(10_000))
    for _ in range(20):
        screening.pause()
        screening.resume()
    began = time.process_time()
    screening.history(20)
    checked = time.process_time() - began
    began = time.process_time()
    rows = screening.history_rows(20)
    assert len(rows) == 20
    assert time.process_time() - began < checked


# -- doctor --------------------------------------------------------------------------------------------------


def test_doctor_says_what_it_counts(say: Say, join: Join) -> None:
    """A held weight is a problem with its command; new code without weight is a note; the sum is right."""
    first = join()
    say("weight", "screening", "boosted=50")
    first.leave()
    join(revision=2, variants={**with_digest("new"), "forest": READY["logistic"]})
    code, out, _ = say("doctor")
    assert code == 1
    assert "variant 'boosted': new digest, weight 50 held: grant it with bento-rollout weight" in out
    assert "bento-rollout weight screening boosted=50" in out
    assert "variant 'forest' has a new digest and no weight" in out
    assert out.splitlines()[-1] == "1 problem"
    (row,) = [line.split() for line in out.splitlines() if line.split()[-2:] == ["1", "1"]]
    assert row[0] == "screening"


def test_new_code_without_weight_is_no_problem(say: Say, join: Join) -> None:
    """A candidate that arrives with new code and no weight is how every deployment begins."""
    join(variants=with_digest("new"))
    code, out, _ = say("doctor")
    assert (code, out.splitlines()[-1]) == (0, "all is well")
    assert "bento-rollout weight screening boosted=0" in out


def test_doctor_without_a_worker_checked_only_the_store(say: Say) -> None:
    """With nobody alive it does not say that all is well, and that is no failure."""
    code, out, _ = say("doctor")
    assert code == 0
    assert "all is well" not in out
    assert "no worker of screening is live: only the store was checked" in out
