"""A person sends a prediction of the ledger to others: in Python, at the terminal, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.admin import admin_app
from bento_rollout.admin.people import People
from bento_rollout.admin.reviews import Reviewing
from bento_rollout.admin.tokens import Tokens
from bento_rollout.applying import ladders_of
from bento_rollout.errors import InvalidValue, NotFound, QueueFull, Refused
from bento_rollout.ids import uuid7
from bento_rollout.manner import Manner, manner_of
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.records import Observation, Outcome, Plan, Prediction, Reason, Reply
from bento_rollout.reviewing import Claim, Given, Role, Selection, Status
from bento_rollout.spec import Ledger as Settings
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.feedback import Feedback
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.sqlite import SQLiteStore
from tests.reviewed import made
from tests.unit.degrees import DIGESTS, REVIEW, answer, automation
from tests.unit.door import Door, Say, problem
from tests.unit.workers import Join

NOW = time.time()
CHOICES = ("benign", "malignant")
REVIEWER = frozenset({Role.REVIEWER})
Serve = Callable[..., Rollout]


def id_of(number: int) -> str:
    """The id of a prediction."""
    return uuid7(int(NOW * 1000) + number, number.to_bytes(10, "big"))


def prediction(number: int, own: str | None = None, endpoint: str = "read") -> Prediction:
    """A prediction that the champion answered by ``benign``."""
    seen = Observation(
        "screening", endpoint, "logistic", 1, Reason.SPLIT, id_of(number), Outcome.OK, 0.01, (), None
    )
    body = b'"benign"'
    return Prediction(
        "screening", endpoint, id_of(number), NOW, (Plan("logistic", 1, Reason.SPLIT),), (seen,), Outcome.OK,
        0.01, (f"patient-{number}",), (own,), "a" * 32, "b" * 16,
        reply=Reply(200, "application/json", body, len(body)), inputs={"radius": number, "texture": 2.5},
    )  # fmt: skip


@pytest.fixture
def serve(store: SQLiteStore, join: Join, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Deploy a service that automates ``read``, with predictions in its ledger; returns ann's rollout."""
    monkeypatch.setenv("BENTO_ROLLOUT_HASH_KEY", "a secret of this test, and long enough")

    def serve(
        *facts: Prediction, kept: bool = True, told: bool = True, degree: str = "assist", **review: Any
    ) -> Rollout:
        spec = RolloutSpec.parse(automation(degree, review={**REVIEW, **review}))
        open_state(store, "screening", "logistic", spec, DIGESTS)
        card = {name: one.plain for name, one in ladders_of(spec).items()}
        if told:
            card["read"]["asking"] = manner_of(spec.automation["read"], CHOICES, None).plain
        join(spec={"automation": card})
        writer = LedgerWriter(store.place("screening"), Settings(inputs=kept), rollout="screening")
        for fact in facts or (prediction(1), prediction(2, "scan-2")):
            writer.offer(fact)
        writer.close(10)
        return open_rollout("screening", author="ann")

    return serve


def taken(rollout: Rollout, who: str = "chen") -> Claim:
    """The case that this person takes."""
    claim = rollout.reviews.claim(who, roles=REVIEWER)
    assert claim is not None
    return claim


def decide(rollout: Rollout, choice: str, who: str = "chen") -> None:
    """Let a person answer the next case, and stand by it."""
    claim = taken(rollout, who)
    for _ in range(2):  # the suggestion is revealed after the first
        rollout.reviews.answer(claim.case.id, who, claim.token, Given(choice), make=made)


def test_a_prediction_is_asked_about_by_hand(serve: Serve) -> None:
    """With its input and what the model said; nobody waits for it, and no caller can open its decision."""
    rollout = serve(due="4h")
    found = rollout.ask_review(id_of(1), reason="it looks odd")
    assert found == {
        "case": found["case"],
        "prediction_id": id_of(1),
        "endpoint": "read",
        "selection": "manual",
        "status": "open",
        "new": True,
    }
    claim = taken(rollout)
    case = claim.case
    assert (case.input.kind, case.input.content) == ("json", {"radius": 1, "texture": 2.5})
    assert (case.choices, case.suggestion) == (CHOICES, None)  # revealed after the answer
    (row,) = rollout.review_cases()
    assert (row["held"], row["why"], row["selection"]) == (False, ("ann asks", "it looks odd"), "manual")
    assert row["due"] == pytest.approx(time.time() + 4 * 3600, abs=60)
    outcome = rollout.reviews.answer(case.id, "chen", claim.token, Given("malignant"), make=made)
    assert outcome.suggestion is not None
    assert (outcome.suggestion.choice, outcome.suggestion.digest) == ("benign", DIGESTS["logistic"])
    decision = rollout.reviews.decision(case.id)
    assert decision is not None
    assert len(decision.secret) == 64
    entries = rollout.reviews.trail.entries(task=case.id)
    assert [(one.who, one.what) for one in entries][:2] == [("automation", "submitted"), ("ann", "asked")]


def test_asked_twice_it_is_one_case(serve: Serve) -> None:
    """By whomever, at the same time, by the caller's own id too; also when it was answered."""
    rollout = serve()
    found: list[dict[str, Any]] = []

    def ask(who: str, name: str) -> None:
        found.append(rollout.acting_as(who).ask_review(name))

    threads = [
        threading.Thread(target=ask, args=(f"p{n}", id_of(2) if n % 2 else "scan-2")) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one["case"] for one in found}) == 1
    assert sorted(one["new"] for one in found) == [False] * 5 + [True]
    decide(rollout, "benign")
    again = rollout.ask_review(id_of(2))
    assert (again["new"], again["status"], again["case"]) == (False, "answered", found[0]["case"])
    assert len(rollout.review_cases()) == 1


def test_what_people_have_anyway_is_not_asked_by_hand(serve: Serve) -> None:
    """Else a person could put another answer in the place of an audit's, and so choose the evidence."""
    rollout = serve(prediction(1))
    store = rollout.reviews
    answer(store, 7, selection=Selection.AUDIT, probability=0.02)
    with store._file.writing() as db:
        db.execute("UPDATE tasks SET prediction_id = ?", (id_of(1),))
    found = rollout.ask_review(id_of(1))
    assert (found["selection"], found["new"], found["status"]) == ("audit", False, "answered")


@pytest.mark.parametrize("first", ["audit", "manual"])
def test_an_audit_that_was_on_its_way_keeps_its_label(serve: Serve, first: str) -> None:
    """Audits are written a moment after the call; who asks before that does not choose its label."""
    rollout = serve(prediction(1))
    rollout.ask_review(id_of(1))
    if first == "manual":
        decide(rollout, "malignant")
    hand = None if first == "manual" else taken(rollout)
    feedback = Feedback(rollout.reviews.path.parent)
    feedback.tell()
    answer(rollout.reviews, 7, selection=Selection.AUDIT, probability=0.02)
    with rollout.reviews._file.writing() as db:
        db.execute("UPDATE tasks SET prediction_id = ? WHERE selection = 'audit'", (id_of(1),))
    if hand is not None:
        for _ in range(2):
            given = hand.case.id, "chen", hand.token, Given("malignant")
            rollout.reviews.answer(*given, make=made)
    told = feedback.tell()
    assert (told.labels, told.waiting) == (1, 0)
    kept = [label for label in rollout.ledger.story(id_of(1)).labels if label.valid]
    assert [(label.selection, label.probability) for label in kept] == [(Selection.AUDIT, 0.02)]


def test_one_that_ended_without_a_person_may_be_asked_again(serve: Serve) -> None:
    """Withdrawn: nobody looked at it."""
    rollout = serve()
    first = rollout.ask_review(id_of(1))
    rollout.reviews.withdraw([first["case"]])
    assert rollout.ask_review(id_of(1))["new"]


def test_the_answer_is_a_label_that_is_evidence_of_nothing(serve: Serve) -> None:
    """It stands in the ledger as manual; calibration, audits and agreement with the model leave it out."""
    rollout = serve(*(prediction(number) for number in range(40)))
    for number in range(40):
        rollout.ask_review(id_of(number))
        decide(rollout, "malignant")
    assert Feedback(rollout.reviews.path.parent).tell().labels == 40
    (label,) = rollout.ledger.story(id_of(3)).labels
    assert (label.value, label.selection, label.probability) == ("malignant", Selection.MANUAL, 1.0)
    found = rollout.calibrate()
    assert (found.used, found.left_out) == ({}, {"asked for another reason: manual": 40})
    assert found.labels_missing == found.least
    digest = rollout.state.champions_digest
    rollout.reviews.watch("read", digest, 0.02)
    assert not rollout.reviews.alarmed("read", digest)
    assert [test.audits for test in rollout.reviews.audits("read", digest).values()] == [0]
    assert rollout.agreement("read")["read"]["model"]["units"] == 0
    entry = rollout.ledger.story(id_of(3)).prediction
    assert (entry.output, entry.outcome, entry.variant) == ("benign", "ok", "logistic")


def test_where_nobody_may_see_what_the_model_says(serve: Serve) -> None:
    """At degree shadow neither the suggestion nor who asks and why is shown."""
    rollout = serve(degree="shadow")
    rollout.ask_review(id_of(1), reason="is it benign?")
    claim = taken(rollout)
    assert (claim.case.suggestion, claim.case.why, claim.case.selection) == (None, (), Selection.ALL)
    outcome = rollout.reviews.answer(claim.case.id, "chen", claim.token, Given("benign"), make=made)
    assert (outcome.status, outcome.suggestion) == ("done", None)


@pytest.mark.parametrize(
    ("inputs", "number", "content"),
    [("plain", 2, "inference id scan-2"), ("reference", 1, f"prediction id {id_of(1)}")],
    ids=["plain", "reference"],
)
def test_without_inputs_an_id_is_shown(serve: Serve, inputs: str, number: int, content: str) -> None:
    """The caller's own, else, where the spec says that reviewers look inputs up, the prediction's."""
    rollout = serve(kept=False, inputs=inputs)
    rollout.ask_review(id_of(number))
    assert taken(rollout).case.input.content == content


def test_a_reference_keeps_no_input(serve: Serve) -> None:
    """Even where the ledger has it."""
    rollout = serve(inputs="reference")
    rollout.ask_review(id_of(1))
    assert b"radius" not in rollout.reviews.path.read_bytes()
    assert taken(rollout).case.input.content == f"prediction id {id_of(1)}"


def test_sealed_inputs_are_sealed(serve: Serve) -> None:
    """As the spec says."""
    rollout = serve(inputs="sealed")
    rollout.ask_review(id_of(1))
    with rollout.reviews._file.reading() as db:
        ((sealed, content),) = db.execute("SELECT sealed, content FROM inputs").fetchall()
    assert sealed
    assert b"radius" not in content
    assert taken(rollout).case.input.content == {"radius": 1, "texture": 2.5}


def test_what_is_forgotten_is_not_asked_about(serve: Serve) -> None:
    """The case goes with its prediction, by the routing key; afterwards there is nothing to ask about."""
    rollout = serve()
    found = rollout.ask_review(id_of(1))
    assert rollout.forget("patient-1")[1] == 1
    assert rollout.reviews.decision(found["case"]) is None
    with pytest.raises(NotFound, match="no prediction"):
        rollout.ask_review(id_of(1))


def test_refusals(serve: Serve) -> None:
    """Each says what is wrong, and nobody was asked."""
    rollout = serve(prediction(1), prediction(2, "scan-2"), prediction(3, "x", "write"), kept=False)
    with pytest.raises(NotFound, match="no prediction 'odd' is in the ledger"):
        rollout.ask_review("odd")
    with pytest.raises(Refused, match=r"nothing of prediction .* can be shown: .* .inputs: reference"):
        rollout.ask_review(id_of(1))
    with pytest.raises(Refused, match=r"automation\.write: the service's spec does not automate it"):
        rollout.ask_review(id_of(3))
    with pytest.raises(Refused, match="automation is no person"):
        rollout.acting_as("automation").ask_review(id_of(2))
    with pytest.raises(InvalidValue, match="reason"):
        rollout.ask_review(id_of(2), reason="two\nlines")
    assert rollout.review_cases() == []


def test_an_older_workers_card_says_nothing_of_it(serve: Serve) -> None:
    """Its degrees are known, and how people are asked is not."""
    rollout = serve(told=False)
    assert rollout.automation()["read"]["degree"] == "assist"
    with pytest.raises(Refused, match=r"automation\.read: its workers, of an older version, do not say"):
        rollout.ask_review(id_of(1))


def test_how_people_are_asked_on_a_card() -> None:
    """It is read as it was written; what a newer worker adds is passed over, and less is named."""
    spec = RolloutSpec.parse(automation("assist"))
    manner = manner_of(spec.automation["read"], (), {"type": "object"})
    assert Manner.parse({**json.loads(json.dumps(manner.plain)), "newer": 1}) == manner
    with pytest.raises(InvalidValue, match="how people are asked is not readable: inputs"):
        Manner.parse({"keep": 1.0})


def test_too_many_open_cases(serve: Serve) -> None:
    """What a person asks for takes room as an audit does."""
    rollout = serve(overflow={"max_open": 1, "action": "reject"})
    rollout.ask_review(id_of(1))
    with pytest.raises(QueueFull):
        rollout.ask_review(id_of(2))
    assert not rollout.ask_review(id_of(1))["new"]


def test_at_the_terminal(serve: Serve, say: Say) -> None:
    """For people and for programs; whoever asks is in the trail."""
    rollout = serve()
    code, out, _ = say("reviews", "screening", "ask", id_of(1), "--reason", "odd", "--author", "dana")
    assert code == 0
    assert "people are asked now" in out
    code, out, _ = say("reviews", "screening", "ask", id_of(1), "--json")
    assert (code, json.loads(out)["new"]) == (0, False)
    assert "people have it already, open" in say("reviews", "screening", "ask", id_of(1))[1]
    assert rollout.reviews.trail.latest(1)[0].who == "dana"
    assert say("reviews", "screening", "ask", "odd")[0] == 3


TOKENS = {name: f"token-of-{name}-2718281828" for name in ("olga", "ann", "vic")}
ROLES: dict[str, dict[str, tuple[Role, ...]]] = {
    "read": {"olga": (Role.OPERATOR,), "vic": (Role.VIEWER,)},
    "write": {"olga": ()},
}


@pytest.fixture
def ask(serve: Serve, tmp_path: Path) -> Callable[..., Any]:
    """Ask over HTTP as one of several people: Olga operates ``read``, Ann reviews, Vic looks."""
    path = tmp_path / "tokens"
    path.write_text("".join(f"{name}:{token}\n" for name, token in TOKENS.items()))
    rollout = serve(prediction(1), prediction(3, "x", "write"))
    people = People(Tokens("an-operators-token-161803"), Tokens(path=path), ROLES)
    door = Door(Tokens("an-operators-token-161803"))
    door.app = admin_app(
        lambda: rollout, tokens=Tokens(), labellers=Tokens(), people=people,
        reviewing=Reviewing(
            rollout.reviews, made, {"read": 60.0, "write": 60.0}, ROLES, rollout.acting_as
        ),
    )  # fmt: skip
    return lambda who, body: door.ask(
        "POST", "/rollout/reviews/ask", TOKENS.get(who, "an-operators-token-161803"), json=body
    )


def test_over_http(ask: Callable[..., Any], store: SQLiteStore) -> None:
    """An operator of the endpoint may, and the admin; of the case's id only its first digits are told."""
    answer = ask("olga", {"prediction": id_of(1), "reason": "odd"})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["new"], told["selection"], len(told["case"])) == (True, "manual", 12)
    assert ask("admin", {"prediction": id_of(1)}).json() == {**told, "new": False}
    rollout = open_rollout("screening")
    (row,) = rollout.review_cases()
    assert row["id"].startswith(told["case"])
    assert row["status"] == Status.OPEN.value
    assert row["why"] == ("olga asks", "odd")


def test_over_http_not_everybody_may(ask: Callable[..., Any]) -> None:
    """Reviewers and viewers may not, and learn of no prediction; nor who operates another endpoint."""
    for who in ("ann", "vic"):
        for name in (id_of(1), "unknown"):
            told = problem(ask(who, {"prediction": name}), 403)["detail"]
            assert f"{who} lacks the role operator for any automated endpoint" in told
    assert "'write'" in problem(ask("olga", {"prediction": id_of(3)}), 403)["detail"]
    assert "no prediction" in problem(ask("olga", {"prediction": "odd"}), 404)["detail"]
    assert problem(ask("olga", {"prediction": ""}), 400)
    assert problem(ask("olga", {}), 400)
    assert "nobody was asked" in problem(ask("admin", {"prediction": id_of(3)}), 409)["detail"]
