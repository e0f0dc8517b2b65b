"""The verbs of a try on a real store, with live workers; and the door through which evidence decides."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.decision import Action, Decision
from bento_rollout.errors import Conflict, InvalidValue, NotFound, NotReady, Refused, StoreUnreachable, Vetoed
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.position import Position, Stage
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.ballot import Ballot, Vote
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.strategy import Strategy
from tests.unit.trying import CANARY, FINE, SWAP, assessed, parsed
from tests.unit.trying import Try as Led
from tests.unit.workers import READY, Join, spec, with_digest, with_state

HARMFUL = {"error_rate": {"finding": "harmful", "detail": "20 % against 1 %", "numbers": {"harm": 1.0}}}


@pytest.fixture
def serve(join: Join) -> Callable[..., Any]:
    """Let a worker live whose spec has a strategy; arguments replace fields of the strategy."""

    def serve(text: str = CANARY, fields: dict[str, Any] | None = None, **changes: Any) -> Any:
        return join(spec={"strategy": parsed(text, **changes).plain}, **(fields or {}))

    return serve


def lead(rollout: Rollout, **changes: Any) -> Led:
    """A try that is led from where the rollout's try stands."""
    attempt = rollout.state.attempt
    assert attempt is not None
    led = Led(attempt.strategy)
    led.position = attempt.position.model_copy(update=changes)
    return led


def decide(rollout: Rollout, led: Led) -> Any:
    """Let evidence decide for the next thing, and commit it."""
    for _ in range(200):
        led.position = led.position.model_copy(update={"passed": True})
        if (decision := led.look()).action is not Action.HOLD:
            return rollout.decided(decision, after_revision=rollout.state.revision)
    raise AssertionError(led.last.words)


def tell(rollout: Rollout, store: SQLiteStore, position: Position, **more: Any) -> None:
    """Report as a leader does."""
    attempt = rollout.state.attempt
    assert attempt is not None
    report = {"number": attempt.number, "revision": attempt.revision, "position": position.plain}
    EvidenceLog(store.place(rollout.name)).tell({**report, "looked": 1000.0, **more})


# -- start ------------------------------------------------------------------------------------------------


def test_start_takes_the_strategy_of_the_service(screening: Rollout, serve: Any) -> None:
    """What the live workers' spec says is what is tried; the candidate's traffic is granted to its code."""
    serve()
    change = screening.start(reason="tuesday")
    assert change.detail == ("try 1 of boosted begins: step 1 of 3 (weight 5 %)",)
    assert change.state.percents == {"boosted": 5}
    attempt = change.state.attempt
    assert attempt is not None
    assert attempt.strategy == parsed(CANARY)
    assert attempt.digests == {name: READY[name].digest for name in ("boosted", "logistic")}
    newest = screening.history()[0]
    assert (newest.action, newest.author, newest.reason) == ("start", "ann", "tuesday")


def test_start_grants_new_code(screening: Rollout, join: Join) -> None:
    """A candidate that was deployed anew is tried as it is now."""
    join(variants=with_digest("d2"), spec={"strategy": parsed(CANARY).plain})
    assert screening.start("boosted").state.granted["boosted"] == "d2"


@pytest.mark.parametrize(
    ("fields", "candidate", "error", "told"),
    [
        ({"spec": {}}, None, Refused, "the spec of the service has no strategy.*`weight` and `flip`"),
        ({}, "forest", Refused, "the spec's strategy tries 'boosted', not 'forest'"),
        ({"variants": with_state("starting")}, None, NotReady, "'boosted' is starting in worker 4000"),
    ],
)
def test_starts_that_the_service_does_not_allow(
    screening: Rollout,
    join: Join,
    fields: dict[str, Any],
    candidate: str | None,
    error: type[Exception],
    told: str,
) -> None:
    """No strategy, another candidate, one that is not ready: by name, and nothing changed."""
    join(**{"spec": {"strategy": parsed(CANARY).plain}, **fields})
    with pytest.raises(error, match=told):
        screening.start(candidate)
    assert screening.state.revision == 1


def test_nobody_starts_without_a_worker(screening: Rollout, serve: Any) -> None:
    """The last card says what would be tried, and nobody confirms that it is ready."""
    serve().leave()
    with pytest.raises(NotReady, match="no worker is live: nobody confirms that 'boosted' is ready"):
        screening.start()


def test_workers_of_two_deployments_start_nothing(screening: Rollout, serve: Any) -> None:
    """While some workers have another strategy nobody can say which is meant."""
    serve()
    serve(false_alarm=0.05)
    with pytest.raises(NotReady, match="the strategy is not the same in every live worker"):
        screening.start()


def test_a_try_that_runs_is_not_started_again(screening: Rollout, serve: Any) -> None:
    """The second start names the first, and leaves it as it is."""
    serve()
    screening.start()
    with pytest.raises(Refused, match=r"try 1 of boosted runs \(step 1; revision 2 began it\)"):
        open_rollout("screening", author="bob").start()
    assert screening.state.revision == 2


def test_two_candidates_are_not_started_at_once(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """Of two operators who start at the same moment one does, and the other is told of that one."""
    serve()
    bob = open_rollout("screening", author="bob")
    desk, read = bob._desk, bob._desk.read
    others = iter([screening.start])

    def late(if_revision: int | None = None) -> Any:
        commit = read(if_revision)
        for start in others:  # ann is faster by a moment
            start()
        return commit

    desk.read = late  # type: ignore[method-assign]
    with pytest.raises(Refused, match="try 1 of boosted runs"):
        bob.start()
    assert [commit.author for commit in screening.history()] == ["ann", "spec"]


def test_another_candidate_with_weight(screening: Rollout, serve: Any) -> None:
    """Its traffic would be compared with nobody; the message has the command."""
    serve()
    screening.set_weights({"forest": 3})
    with pytest.raises(Refused, match=r"bento-rollout weight screening forest=0"):
        screening.start()


# -- decisions --------------------------------------------------------------------------------------------


def test_evidence_decides_for_its_own_author(screening: Rollout, serve: Any) -> None:
    """Each decision is one revision of the author ``evidence``, with its words for a reason."""
    serve()
    screening.start()
    led = lead(screening)
    names = []
    while screening.state.running:
        names.append(decide(screening, led).state.revision)
    rows = screening.history_rows()[: len(names)]
    assert [row["action"] for row in reversed(rows)] == ["advance", "advance", "promote", "end_bake"]
    assert {row["author"] for row in rows} == {"evidence"}
    assert rows[0]["reason"] == led.last.words
    assert rows[0]["detail"] == ["try 1 of boosted: done"]
    assert rows[1]["detail"][-1] == "try 1 of boosted: bakes after the promotion"
    assert screening.state.champion == "boosted"


def test_a_decision_on_an_old_state_is_not_taken(screening: Rollout, serve: Any) -> None:
    """Whoever decides twice, or beside a person, is told of the conflict, and nothing changed."""
    serve()
    screening.start()
    led = lead(screening)
    decision = led.until(Action.ADVANCE)
    screening.decided(decision, after_revision=2)
    with pytest.raises(Conflict) as raised:
        screening.decided(decision, after_revision=2)
    assert (raised.value.current, screening.state.revision) == (3, 3)


def test_evidence_gives_traffic_to_no_other_code(screening: Rollout, serve: Any) -> None:
    """A candidate that was deployed anew was never tried: nothing advances on what another one showed."""
    first = serve()
    screening.start()
    first.leave()
    serve(fields={"variants": with_digest("d2")})
    with pytest.raises(NotReady, match="'boosted' is other code than try 1 of boosted began with"):
        decide(screening, lead(screening))
    with pytest.raises(NotReady, match="abort, then retry"):
        screening.promote(reason="now")
    assert screening.state.revision == 2


def test_evidence_may_be_vetoed(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """A promotion by evidence is prepared like a flip: hooks may say no; a rollback asks nobody."""
    worker = serve(fields={"before_flip": 1})
    screening.start()
    led = lead(screening, step=2, counted=100.0)
    with answering(store, worker, "the cache is cold"), pytest.raises(Vetoed, match="the cache is cold"):
        decide(screening, led)
    assert screening.state.champion == "logistic"
    at = lead(screening).position.at(Stage.ROLLED_BACK)
    back = Decision(Action.ROLL_BACK, "harm\nis shown", at, weights={})
    assert screening.decided(back, after_revision=2).state.percents == {}
    newest = screening.history()[0]
    assert (newest.action, newest.reason) == ("rollback", "harm is shown")


@contextmanager
def answering(store: SQLiteStore, worker: Any, veto: str | None) -> Iterator[None]:
    """Answer, as a worker does, to whatever flip is proposed."""
    ballot, over = Ballot(store.place("screening")), threading.Event()

    def answer() -> None:
        while not over.wait(0.005):
            proposal = ballot.pending()
            if proposal is not None:
                ballot.vote(proposal, Vote(worker.token, 1, veto, 0.0))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- people -----------------------------------------------------------------------------------------------


def test_abort_is_final_until_retry(screening: Rollout, serve: Any) -> None:
    """All traffic to the control; then only `retry` begins anew, as another try without evidence."""
    serve()
    screening.start()
    assert screening.abort(reason="no").state.percents == {}
    with pytest.raises(
        Refused, match=r"no strategy is running for 'screening' \(try 1 of boosted was aborted\)"
    ):
        screening.abort()
    with pytest.raises(Refused, match="`retry` begins a new one"):
        screening.promote(reason="yes")
    change = screening.retry()
    assert change.state.attempt is not None
    assert (change.state.attempt.number, change.state.percents) == (2, {"boosted": 5})
    assert change.notes == (
        "try 2 of boosted: nothing of the earlier ones counts, and false_alarm (1 %) holds anew",
    )
    assert [commit.action for commit in screening.history(3)] == ["retry", "abort", "start"]


def test_what_is_not_over_is_not_retried(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """Nothing began, or it runs, or it is done; but one that waits for an answer to harm is aborted first."""
    serve()
    with pytest.raises(Refused, match="nothing was aborted or rolled back"):
        screening.retry()
    screening.start()
    with pytest.raises(Refused, match=r"try 1 of boosted runs \(step 1\): abort it first"):
        screening.retry()
    paused = {"by": "evidence", "cause": "harm", "reason": "latency"}
    tell(screening, store, Position.parse({**lead(screening).position.plain, "paused": paused}))
    again = screening.retry().state
    assert again.attempt is not None
    assert (again.attempt.number, again.attempt.position.paused) == (2, None)
    led = lead(screening)
    while screening.state.running:
        decide(screening, led)
    with pytest.raises(Refused, match="nothing was aborted or rolled back"):
        screening.retry()


def test_promote_needs_a_try_and_a_reason(screening: Rollout, serve: Any) -> None:
    """It is a person's decision, and the history says so."""
    serve()
    with pytest.raises(Refused, match="use `flip`"):
        screening.promote(reason="yes")
    screening.start()
    with pytest.raises(InvalidValue, match="needs a reason: --reason TEXT"):
        screening.promote()
    change = screening.promote(reason="the board wants it")
    assert (change.state.champion, change.state.percents) == ("boosted", {"logistic": 2})
    with pytest.raises(Refused, match="'boosted' is the champion already"):
        screening.promote(reason="again")
    told = screening.explain(3)
    assert not told["by_evidence"]
    assert told["words"].startswith(
        "ann decided this, not evidence: promote (champion boosted (was logistic); "
    )
    assert screening.rollback().state.champion == "logistic"


def test_a_promotion_is_prepared(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """The live workers' ``before_flip`` hooks may veto it; so they may a start of blue/green."""
    worker = serve(SWAP, {"before_flip": 1})
    with answering(store, worker, "not warm"), pytest.raises(Vetoed, match="not warm"):
        screening.start()
    with answering(store, worker, None):
        assert screening.start().state.champion == "boosted"


def test_people_go_on_from_where_the_leader_is(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """A pause loses nothing of what was counted and shown since the newest revision."""
    serve()
    screening.start()
    seen = {"counted": 31.0, "healthy": ("error_rate",), "alarms": ("latency",)}
    tell(screening, store, lead(screening, **seen).position)
    change = screening.pause(reason="lunch")
    assert change.state.attempt is not None
    position = change.state.attempt.position
    assert (position.counted, position.healthy, position.alarms) == (31.0, ("error_rate",), ("latency",))
    with pytest.raises(Refused, match="latency is shown to be harmful: say why"):
        screening.resume()
    assert screening.resume(reason="known").detail == ("automation resumed", "try 1 of boosted resumed")


def test_a_report_about_another_revision_counts_no_more(
    screening: Rollout, store: SQLiteStore, serve: Any
) -> None:
    """What was told before the newest decision is about another stretch."""
    serve()
    screening.start()
    tell(screening, store, lead(screening, counted=31.0).position, words="old")
    decide(screening, lead(screening))
    status = screening.status()["try"]
    assert (status["counted"], status["looked"]) == (0.0, None)
    tell(screening, store, lead(screening, counted=5.0).position, words="new")
    status = screening.status()["try"]
    assert (status["counted"], status["words"]) == (5.0, "new")


def test_pause_and_resume_without_a_try(screening: Rollout, join: Join) -> None:
    """They are what they were: said to all automation."""
    join()
    assert screening.pause().detail == ("automation paused",)
    assert not screening.pause().changed
    assert screening.resume().detail == ("automation resumed",)
    assert not screening.resume().changed


def test_a_pause_step_waits_for_resume(screening: Rollout, serve: Any) -> None:
    """`resume` lets a try go on that waits in a pause step, without a pause."""
    serve()
    screening.start()
    led = lead(screening)
    screening.decided(led.until(Action.ADVANCE), after_revision=2)
    change = screening.resume()
    assert change.state.attempt is not None
    assert change.state.attempt.position.passed


def test_weights_are_peoples(screening: Rollout, serve: Any) -> None:
    """A person may set a weight at any time; the next step sets its own."""
    serve()
    screening.start()
    assert screening.set_weights({"boosted": 1}).state.percents == {"boosted": 1}
    led = lead(screening)
    decide(screening, led)
    assert decide(screening, led).state.percents == {"boosted": 50}


@pytest.mark.parametrize("verb", ["flip", "retire"])
def test_what_would_cross_a_try_is_refused(screening: Rollout, serve: Any, verb: str) -> None:
    """The message names the verbs that end it."""
    serve()
    screening.start()
    with pytest.raises(Refused, match="promote or abort it first"):
        getattr(screening, verb)("boosted")


def test_a_rollback_aborts(screening: Rollout, serve: Any) -> None:
    """All traffic to the control, and the try is over; the answer says so."""
    serve()
    screening.start()
    change = screening.rollback()
    assert change.detail == ("try 1 of boosted: aborted",)
    assert screening.rollback().notes == ("nothing to roll back",)


# -- apply ------------------------------------------------------------------------------------------------


def with_strategy(strategy: Strategy) -> RolloutSpec:
    """A spec with a strategy."""
    return spec(strategy=strategy.plain)


def test_a_file_changes_the_strategy_of_a_running_try(screening: Rollout, serve: Any) -> None:
    """The strategy may change, nothing else may; ``abort`` ends the try first."""
    serve()
    screening.start()
    eager = with_strategy(parsed(CANARY, on_harm="pause"))
    assert screening.differences(eager) == [
        "strategy.on_harm: the spec asks for pause, try 1 of boosted goes by rollback"
    ]
    change = screening.apply(eager)
    assert change.detail == ("try 1 of boosted goes on by another strategy: on_harm pause (was rollback)",)
    assert not screening.apply(eager).changed
    with pytest.raises(Refused, match=r"more than its strategy: .*forest 5 % \(was 0 %\); end the try"):
        screening.apply(spec(weights={"forest": 5}))
    with pytest.raises(InvalidValue, match="the try is of 'boosted'"):
        screening.apply(with_strategy(parsed(CANARY.replace("boosted", "forest"))))
    change = screening.apply(spec(weights={"forest": 5}), abort=True)
    assert change.state.percents == {"forest": 5}
    assert change.detail == ("try 1 of boosted: aborted",)


def test_a_second_start_names_the_try_also_in_its_bake(screening: Rollout, serve: Any) -> None:
    """Then the strategy's candidate is champion; that a try runs is said first, and as a refusal."""
    serve()
    screening.start()
    screening.promote(reason="a test")
    with pytest.raises(Refused, match=r"try 1 of boosted runs \(bake; revision 2 began it\)"):
        screening.start()


def test_a_weight_of_the_present_step_holds_later_and_that_is_said(screening: Rollout, serve: Any) -> None:
    """Traffic stays as it is, and nobody is left to think that it moved."""
    serve()
    screening.start("boosted")
    change = screening.apply(with_strategy(parsed(CANARY.replace("weight: 5,", "weight: 7,"))))
    assert change.state.percents == {"boosted": 5}
    assert change.notes == ("boosted stays at 5 %: weights of the present step hold from the next one on",)


def test_a_strategy_is_no_state_without_a_try(screening: Rollout, serve: Any) -> None:
    """`apply` starts nothing, and says what does."""
    serve()
    change = screening.apply(with_strategy(parsed(CANARY)))
    assert (change.changed, len(change.notes)) == (False, 1)
    assert "`bento-rollout start screening` takes that of the running service's spec" in change.notes[0]


def test_nobodys_script_restarts_what_was_aborted(screening: Rollout, serve: Any) -> None:
    """A content from before the abort does not raise weights again."""
    serve()
    weights = spec(weights={"boosted": 20})
    screening.apply(weights)
    screening.start()
    screening.abort()
    with pytest.raises(Refused, match=r"ann rolled back \(revision 4\) what this content sets"):
        screening.apply(weights)


# -- what is told -----------------------------------------------------------------------------------------


def test_status_without_a_try(screening: Rollout, join: Join) -> None:
    """Where nothing was tried nothing is told."""
    join()
    assert screening.status()["try"] is None


def test_status_tells_how_a_try_stands(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """Steps, evidence, what is missing: the leader's last word, about the strategy that holds."""
    serve()
    screening.start()
    before = screening.status()["try"]
    assert (before["words"], before["looked"]) == ("nobody has looked at it since its newest revision", None)
    assert before["guardrails"]["latency"] == {
        "finding": "no_data",
        "detail": "",
        "needed": None,
        "unit": "requests",
        "numbers": {"harm": 0.0, "health": 0.0},
        "required": True,
        "on_harm": "rollback",
        "latched": False,
        "excused": False,
    }
    row = {"finding": "inconclusive", "detail": "1 % against 1 %", "needed": 40, "unit": "keys"}
    more = {
        "guardrails": {
            "error_rate": {**row, "numbers": {"harm": 0.1, "health": 0.8}},
            "odd": {"finding": "?"},
        },
        "missing": ["error_rate healthy"],
        "words": "holds",
        "may_end": 25.0,
        "warnings": ["few keys"],
    }
    tell(screening, store, lead(screening, counted=35.0).position, **more)
    told = screening.status()["try"]
    assert told["warnings"].pop().startswith("nobody has looked for ")  # not since 1970
    assert [(step["what"], step["state"]) for step in told["steps"]] == [
        ("weight 5 %", "now"),
        ("pause", "next"),
        ("weight 50 %", "next"),
    ]
    assert told["guardrails"]["error_rate"]["numbers"] == {"harm": 0.1, "health": 0.8}
    assert told["checks"] == {}
    keys = ("number", "candidate", "control", "stage", "step", "may_end", "warnings", "missing", "looked")
    assert {key: told[key] for key in keys} == {
        "number": 1,
        "candidate": "boosted",
        "control": "logistic",
        "stage": "steps",
        "step": 1,
        "may_end": None,
        "warnings": ["few keys"],
        "missing": ["error_rate healthy"],
        "looked": "1970-01-01T00:16:40.000Z",
    }
    assert told["started"]["revision"] == 2
    screening.abort()
    told = screening.status()["try"]
    assert [step["state"] for step in told["steps"]] == ["reached", "never", "never"]
    assert (told["stage"], told["runs"]) == ("aborted", False)
    assert told["words"] == "a person ended it; `retry` begins a new one"


def test_status_survives_lost_evidence(screening: Rollout, store: SQLiteStore, serve: Any) -> None:
    """A damaged file of evidence takes nothing from what is shown of the state, nor from a verb."""
    serve()
    screening.start()
    (store.place("screening") / "evidence.db").write_bytes(b"no database at all" * 100)
    assert screening.status()["try"]["number"] == 1
    assert screening.pause().changed


def test_explain_tells_why(screening: Rollout, serve: Any) -> None:
    """The newest decision by default: its words, its numbers, and the weights before and after it."""
    serve()
    screening.start()
    led = lead(screening)
    decide(screening, led)
    decide(screening, led)
    screening.pause(reason="lunch")
    told = screening.explain()
    assert (told["revision"], told["author"], told["action"]) == (4, "evidence", "advance")
    assert told["by_evidence"]
    assert told["words"] == led.last.words
    assert told["place"] == "step 3"
    assert set(told["guardrails"]) == {"error_rate", "latency"}
    assert told["guardrails"]["latency"]["finding"] == assessed(FINE)["latency"].finding.value
    assert (told["weights_before"], told["weights"]) == (
        {"logistic": 95, "boosted": 5},
        {"logistic": 50, "boosted": 50},
    )
    told = screening.explain(5)
    assert told["words"] == (
        "ann decided this, not evidence: pause "
        "(automation paused; try 1 of boosted paused by ann: lunch): lunch"
    )
    assert (told["guardrails"], told["causes"], told["dry_run"]) == ({}, [], False)
    with pytest.raises(NotFound, match="there is no revision 9 in the history"):
        screening.explain(9)


def test_explain_without_a_decision(screening: Rollout, join: Join) -> None:
    """Where evidence never decided the newest revision is told, by whom it was."""
    join()
    assert screening.explain()["words"] == "spec: seed: the store did not know this rollout"
    screening.set_weights({"boosted": 5}, reason="a look")
    assert screening.explain()["words"] == (
        "ann decided this, not evidence: weight (boosted 5 % (was 0 %)): a look"
    )


# -- the report -------------------------------------------------------------------------------------------


def test_the_report_is_the_last_word(tmp_path: Path) -> None:
    """Whoever leads says how it stands; nobody reads what was said before."""
    log = EvidenceLog(tmp_path)
    assert log.report() is None
    log.tell({"number": 1})
    log.tell({"number": 2, "words": "ü"})
    assert EvidenceLog(tmp_path).report() == {"number": 2, "words": "ü"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.tell({"harm": float("nan")})


def test_a_report_of_an_older_file(tmp_path: Path) -> None:
    """A file of the first schema gets its report when somebody opens it."""
    log = EvidenceLog(tmp_path)
    log.tell({})
    with sqlite3.connect(tmp_path / "evidence.db") as db:
        db.execute("DROP TABLE report")
        db.execute("PRAGMA user_version = 1")
    assert log.report() is None
    log.tell({"number": 1})
    assert log.report() == {"number": 1}


def test_a_damaged_report_is_named(tmp_path: Path) -> None:
    """What is no JSON is told as damage, with what to do."""
    log = EvidenceLog(tmp_path)
    log.tell({})
    with sqlite3.connect(tmp_path / "evidence.db") as db:
        db.execute("UPDATE report SET told = '{'")
    with pytest.raises(StoreUnreachable, match="is damaged"):
        log.report()
