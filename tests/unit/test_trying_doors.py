"""The verbs of a try on the command line and over HTTP: what is answered, shown and refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from bento_rollout.admin.answers import Explanation, State
from bento_rollout.cli.output import Block, Grid, Line
from bento_rollout.cli.try_views import bar, explained, tried
from bento_rollout.decision import Action
from bento_rollout.operations import Rollout
from bento_rollout.reports import utc
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import Door, Say, problem
from tests.unit.trying import CANARY, FINE, Try, parsed
from tests.unit.workers import Join

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def served(join: Join) -> None:
    """A live worker whose spec has a strategy."""
    join(spec={"strategy": parsed(CANARY).plain})


def decide(rollout: Rollout, times: int = 1) -> None:
    """Let evidence decide, and commit it."""
    attempt = rollout.state.attempt
    assert attempt is not None
    led = Try(attempt.strategy)
    led.position = attempt.position
    for _ in range(times):
        led.position = led.position.model_copy(update={"passed": True})
        while (decision := led.look(FINE)).action is Action.HOLD:
            pass
        rollout.decided(decision, after_revision=rollout.state.revision)


def text_of(blocks: list[Block]) -> str:
    """What blocks say, a line each."""
    lines = []
    for block in blocks:
        if isinstance(block, Line):
            lines.append(f"{block.label}: {''.join(cell.text for cell in block.cells)}")
        elif isinstance(block, Grid):
            lines.append(" | ".join(block.columns))
            lines += [" | ".join(cell.text for cell in row) for row in block.rows]
    return "\n".join(lines)


# -- the command line -------------------------------------------------------------------------------------


def test_a_walk_through_a_try(ask: Ask, say: Say) -> None:
    """Each verb answers with what it did, and the refusals are exit code 1 with the way out."""
    facts = ask("start", "screening", "boosted", "--reason", "tuesday")
    assert facts["detail"] == ["try 1 of boosted begins: step 1 of 3 (weight 5 %)"]
    assert (facts["try"]["number"], facts["weights"]["boosted"]) == (1, 5)
    assert ask("pause", "screening")["try"]["paused"]["cause"] == "person"
    assert ask("resume", "screening")["try"]["paused"] is None
    code, _, err = say("start", "screening")
    assert (code, "try 1 of boosted runs" in err) == (1, True)
    code, _, err = say("promote", "screening")
    assert (code, "--reason TEXT" in err) == (2, True)
    assert ask("abort", "screening")["try"]["stage"] == "aborted"
    code, _, err = say("promote", "screening", "--reason", "yes")
    assert (code, "`retry` begins a new one" in err) == (1, True)
    assert ask("retry", "screening", "--timeout", "5s")["try"]["number"] == 2
    facts = ask("promote", "screening", "--reason", "yes")
    assert (facts["champion"], facts["try"]["stage"]) == ("boosted", "bake")
    assert ask("rollback", "screening")["champion"] == "logistic"


def test_an_alarm_that_is_latched_is_exit_code_7(screening: Rollout, store: SQLiteStore, say: Say) -> None:
    """Going on over harm needs a reason, and scripts can tell that apart from other refusals."""
    attempt = screening.start().state.attempt
    assert attempt is not None
    position = {**attempt.position.plain, "alarms": ["latency"]}
    report = {"number": 1, "revision": attempt.revision, "position": position}
    EvidenceLog(store.place("screening")).tell(report)
    code, out, err = say("resume", "screening", "--json")
    assert (code, "latency is shown to be harmful" in err) == (7, True)
    assert '"type": "alarm_latched"' in out
    assert say("resume", "screening", "--reason", "known")[0] == 0


def test_explain(screening: Rollout, say: Say, ask: Ask) -> None:
    """A sentence, then a table of the guardrails; ``--revision`` asks for another one."""
    screening.start()
    decide(screening)
    code, out, _ = say("explain", "screening")
    assert code == 0
    assert out.startswith(
        "Step 1 of 3 (weight 5 %) is over (healthy: error_rate, latency); boosted enters step 2"
    )
    assert "advance by evidence" in out
    assert "error_rate" in out
    assert (
        "ann decided this, not evidence: start" in say("explain", "screening", "--revision", "2")[1].lower()
    )
    facts = ask("explain", "screening")
    assert facts == screening.explain(3)
    Explanation.model_validate(facts)
    assert say("explain", "screening", "--revision", "9")[0] == 3
    assert say("explain", "screening", "--revision", "0")[0] == 2


def test_status_shows_the_try(screening: Rollout, store: SQLiteStore, say: Say) -> None:
    """Where it is, the evidence as bars, what is missing, when it may end, and what is to be known."""
    assert "try" not in say("status", "screening")[1].split()
    attempt = screening.start().state.attempt
    assert attempt is not None
    assert "nobody yet" in say("status", "screening")[1]
    row = {"finding": "inconclusive", "detail": "1 % against 1 %", "needed": 40, "unit": "keys"}
    EvidenceLog(store.place("screening")).tell(
        {
            "number": 1,
            "revision": attempt.revision,
            "position": attempt.position.plain,
            "guardrails": {
                "error_rate": {**row, "numbers": {"harm": 0.25, "health": 0.6}},
                "sample_ratio": {"finding": "healthy", "numbers": {}},
            },
            "missing": ["the bake: 25s more", "error_rate healthy"],
            "words": "holds at step 1",
            "may_end": 25.0,
            "may_end_late": 25.0,
            "warnings": ["9 000 keys are needed, and about 400 come before give_up_after"],
            "looked": (now := time.time()),
        }
    )
    told = text_of(list(tried(screening.status()["try"])))
    assert told.splitlines() == [
        "try: 1 of boosted against logistic, step 1 of 3",
        "steps: weight 5 %, bake 1m (now); pause (next); weight 50 %, bake 1m (next)",
        "decision: holds at step 1",
        "missing: the bake: 25s more",
        " : error_rate healthy",
        "may end: in 25s at the earliest",
        "warning: 9 000 keys are needed, and about 400 come before give_up_after",
        f"looked: {utc(now)}",
        "guardrail | harmful | healthy | finding | needed | detail | on harm",
        "error_rate | --------##|######---- | inconclusive | about 40 keys | 1 % against 1 % | rollback",
        "latency | ----------|---------- | no data | - | - | rollback",
        "sample_ratio | ----------|---------- | healthy | - | - | pause",
    ]
    out = say("status", "screening")[1]
    assert "--------##|######----" in out
    State.model_validate(screening.status())


def test_status_shows_how_a_try_ended(screening: Rollout, say: Say) -> None:
    """Who ended it, or what: the words of the last decision."""
    screening.start()
    decide(screening, 4)
    told = text_of(list(tried(screening.status()["try"])))
    assert told.startswith("try: 1 of boosted against logistic, done\n")
    assert "ended: the bake is over, and no harm was seen: all traffic is boosted's" in told
    assert "try 1 of boosted: done" in say("history", "screening")[1]


def test_a_weight_by_hand_is_told(screening: Rollout, ask: Ask, say: Say) -> None:
    """It is not what the step gives: the answer, the history, the explanation and the status say so."""
    screening.start()
    told = "try 1 of boosted: boosted has 0 %, and step 1 of 3 gives it 5 %"
    none = f"{told}; without calls of it nothing can be shown"
    assert ask("weight", "screening", "boosted=0")["detail"] == [none]
    assert none in say("history", "screening")[1]
    assert none in screening.explain(3)["words"]
    assert none in screening.status()["try"]["warnings"]
    some = told.replace("0 %", "2 %", 1) + "; the next step sets its own"
    assert ask("weight", "screening", "boosted=2")["detail"] == [some]
    assert ask("weight", "screening", "boosted=5")["detail"] == []
    assert screening.status()["try"]["warnings"] == []
    screening.promote(reason="yes")
    assert screening.status()["try"]["warnings"] == []
    held = "try 1 of boosted: logistic has 1 %, and the bake gives it 2 %; that holds until it is over"
    assert ask("weight", "screening", "logistic=1")["detail"] == [held]


def test_what_helps_while_a_bake_runs(screening: Rollout, say: Say) -> None:
    """Nothing can be promoted then: wait, make it shorter, or go back."""
    screening.start()
    screening.promote(reason="yes")
    ways = (
        "wait until the bake is over (`apply` may make it shorter), or abort: logistic gets all traffic back"
    )
    for verb in (("flip", "screening", "--to", "forest"), ("start", "screening")):
        code, _, err = say(*verb)
        assert (code, ways in err) == (1, True), err
    code, _, err = say("promote", "screening", "--reason", "yes")
    assert (code, "the bake ends by itself, and `abort` goes back to 'logistic'" in err) == (1, True), err


@pytest.mark.parametrize(
    ("numbers", "drawn"),
    [
        ({}, "----------|----------"),
        ({"harm": 0.0, "health": 1.0}, "----------|##########"),
        ({"harm": 0.999, "health": 0.001}, "-#########|----------"),
        ({"harm": 7.0, "health": -1.0}, "##########|----------"),
        ({"harm": float("nan"), "health": float("inf")}, "----------|##########"),
    ],
)
def test_a_bar_is_full_only_when_it_is_shown(numbers: dict[str, float], drawn: str) -> None:
    """The last character is for what is proven, and odd numbers break nothing."""
    assert bar(numbers) == drawn


def test_a_dry_run_is_said(screening: Rollout) -> None:
    """Both in a status and in an explanation."""
    screening.start()
    facts = {**screening.status()["try"], "dry_run": True}
    assert "a dry run: nothing moves" in text_of(list(tried(facts)))
    assert text_of(explained({**screening.explain(), "dry_run": True})).startswith(": dry run, ")


# -- HTTP -------------------------------------------------------------------------------------------------


def test_the_same_verbs_over_http(door: Door, screening: Rollout) -> None:
    """Each is a POST that answers with the new state; refusals are 409, with the way out."""
    facts = door.post("start", {"candidate": "boosted", "reason": "tuesday"}).json()
    assert (facts["try"]["number"], facts["detail"][0][:5]) == (1, "try 1")
    assert "try 1 of boosted runs" in problem(door.post("start", {}), 409)["detail"]
    assert problem(door.post("promote", {}), 400)["detail"].endswith("--reason TEXT")
    assert door.post("abort", {}).json()["try"]["stage"] == "aborted"
    assert problem(door.post("abort", {}), 409)["detail"].startswith("no strategy is running")
    assert door.post("retry", {"timeout": "5s"}).json()["try"]["number"] == 2
    assert door.post("pause", {"reason": "lunch"}).json()["try"]["paused"]["reason"] == "lunch"
    assert door.post("resume").json()["try"]["paused"] is None
    assert door.post("promote", {"reason": "yes"}).json()["champion"] == "boosted"
    assert [commit.author for commit in screening.history(2)] == ["admin", "admin"]


REASON = "reason: Input should be a valid string (got 5)"
TIMEOUT = [("soon", "'soon'"), ("2h", "7200"), (-1, "-1"), (True, "True"), ([5], "a list"), (None, "null")]


@pytest.mark.parametrize("verb", ["start", "abort", "retry", "promote", "pause", "resume"])
def test_what_is_wrong_in_a_body_is_named(door: Door, verb: str) -> None:
    """The field, the value, and for a field that the verb does not have which it has."""
    assert problem(door.post(verb, {"reason": 5}), 400)["detail"] == REASON
    told = problem(door.post(verb, {"reason": "a\nb"}), 400)["detail"]
    assert told == "reason: control characters and line ends are not allowed here (got 'a\\nb')"
    assert "(got -1)" in problem(door.post(verb, {"if_revision": -1}), 400)["detail"]
    assert "(got 1.5)" in problem(door.post(verb, {"if_revision": 1.5}), 400)["detail"]
    told = problem(door.post(verb, {"resaon": "secret"}), 400)["detail"]
    assert told.startswith(f"resaon: unknown field; {verb} takes ")
    assert ("reason" in told, "secret" in told) == (True, False)
    assert problem(door.post(verb, [5]), 400)["detail"] == "the body must be a JSON object (got a list)"
    assert len(problem(door.post(verb, {"reason": "x" * 5000}), 400)["detail"]) < 200


@pytest.mark.parametrize("verb", ["start", "retry", "promote"])
@pytest.mark.parametrize(("timeout", "got"), TIMEOUT)
def test_a_wrong_timeout_is_named(door: Door, verb: str, timeout: Any, got: str) -> None:
    """With its value, whatever it is."""
    told = problem(door.post(verb, {"timeout": timeout}), 400)["detail"]
    assert (told.startswith("timeout: "), got in told) == (True, True), told


def test_no_message_holds_a_routing_key(door: Door) -> None:
    """Of keys and headers only the place is told."""
    for body in ({"keys": [True, "patient-7"]}, {"keys": "patient-7"}, {"header": {"x": ["patient-7"]}}):
        told = problem(door.post("target", {"variant": "boosted", **body}), 400)["detail"]
        assert ("patient-7" in told, told.startswith(next(iter(body)))) == (False, True)


def test_explain_over_http(door: Door, screening: Rollout) -> None:
    """The newest decision, or the revision that is asked for."""
    screening.start()
    decide(screening)
    told = door.ask("GET", "/rollout/admin/explain").json()
    assert told == screening.explain()
    assert told["by_evidence"]
    assert door.ask("GET", "/rollout/admin/explain?revision=2").json()["action"] == "start"
    problem(door.ask("GET", "/rollout/admin/explain?revision=9"), 404)
    problem(door.ask("GET", "/rollout/admin/explain?revision=x"), 400)


def test_the_document_describes_the_try(door: Door) -> None:
    """The OpenAPI document has the verbs, and what a state tells of a try."""
    document = door.ask("GET", "/rollout/admin/openapi.json").json()
    paths = set(document["paths"])
    assert paths >= {f"/rollout/admin/{verb}" for verb in ("start", "abort", "retry", "promote", "explain")}
    assert "try" in document["components"]["schemas"]["State"]["properties"]
