"""What the queue comes to: lists, numbers and agreement, at the terminal and in Python; labels that wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidValue, NotFound
from bento_rollout.labelling import FIRST, LONGEST, Labelling
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.reviewing import Given, Role, Selection, Visibility
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.feedback import LOCK, Feedback
from bento_rollout.store.files import release, try_lock
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.telemetry import log
from tests.reviewed import Queue, case, made, said
from tests.unit.degrees import DIGESTS, automation
from tests.unit.door import Say


@pytest.fixture
def rollout(store: SQLiteStore) -> Rollout:
    """A rollout whose endpoint ``read`` is automated."""
    open_state(store, "reading", "logistic", RolloutSpec.parse(automation("shadow")), DIGESTS)
    return open_rollout("reading", author="ann")


def asked(rollout: Rollout, answers: dict[str, str], **fields: Any) -> None:
    """Let people answer one case, each without seeing the other's answer."""
    reviews = rollout.reviews
    digest = rollout.state.champions_digest
    one = case(degree=Degree.SHADOW, reviewers=len(answers), suggestion=None, **fields)
    reviews.submit(one)
    suggestion = said("no")
    reviews.suggest(one.id, type(suggestion)(suggestion.output, "no", 0.7, "logistic", digest, 0.0))
    for who, choice in answers.items():
        claim = reviews.claim(who, roles=frozenset({Role.REVIEWER}))
        assert claim is not None
        reviews.answer(claim.case.id, who, claim.token, Given(choice), make=made)


def test_agreement_of_people_and_with_the_model(rollout: Rollout, say: Say) -> None:
    """Two who answered the same cases; beside it each first answer with the champion's, of unbiased cases."""
    for number in range(6):
        asked(rollout, {"ann": "yes" if number else "no", "bob": "yes"})
    asked(rollout, {"ann": "no"}, selection=Selection.UNSURE)  # says nothing of how good the model is
    found = rollout.agreement()["read"]
    assert found["digest"] == rollout.state.champions_digest
    assert (found["people"]["units"], found["people"]["raw"]) == (6, pytest.approx(5 / 6))
    assert (found["model"]["units"], found["model"]["raw"]) == (6, pytest.approx(1 / 6))
    assert any("50" in warning for warning in found["people"]["warnings"])
    code, out, _ = say("reviews", "reading", "agreement", "--json")
    assert (code, json.loads(out)["read"]["people"]["units"]) == (0, 6)
    code, out, _ = say("reviews", "reading", "agreement")
    assert code == 0
    assert "people with each other" in out
    assert "people with the model" in out
    assert "0.83 (" in out


def test_a_disagreement_counts_before_somebody_decides_it(rollout: Rollout) -> None:
    """Else people would seem to agree until an adjudicator has the time."""
    asked(rollout, {"ann": "yes", "bob": "yes"}, adjudicate=True)
    asked(rollout, {"ann": "yes", "bob": "no"}, adjudicate=True)
    assert rollout.review_stats("read")["adjudicating"] == 1
    people = rollout.agreement("read")["read"]["people"]
    assert (people["units"], people["raw"]) == (2, 0.5)


def test_audits_beside_all_cases_are_warned_of(rollout: Rollout) -> None:
    """Audits only know what the model was sure of."""
    asked(rollout, {"ann": "no"})
    asked(rollout, {"ann": "no"}, selection=Selection.AUDIT, probability=0.1)
    warnings = rollout.agreement("read")["read"]["model"]["warnings"]
    assert any("audits" in warning for warning in warnings)


def test_agreement_of_nothing_is_no_number(rollout: Rollout, say: Say) -> None:
    """Where nobody answered, JSON has null, and the terminal a dash."""
    code, out, _ = say("reviews", "reading", "agreement", "--json")
    facts = json.loads(out)["read"]["people"]
    assert (code, facts["units"], facts["raw"], facts["kappa"]) == (0, 0, None, None)
    code, out, _ = say("reviews", "reading", "agreement")
    assert code == 0


def test_lists_and_numbers(rollout: Rollout, say: Say) -> None:
    """Cases without payload, and how the queue does; wrong names are refused."""
    asked(rollout, {"ann": "yes"}, why=("amount above 10000",))
    rollout.reviews.submit(case(reviewers=2))
    (first, second) = rollout.review_cases()
    assert [first["status"], second["status"]] == ["open", "answered"]
    assert [row["status"] for row in rollout.review_cases("read", status="open", limit=1)] == ["open"]
    with pytest.raises(InvalidValue, match="status 'odd' is none"):
        rollout.review_cases(status="odd")
    with pytest.raises(NotFound):
        open_rollout("nobody").review_stats()
    code, out, _ = say("reviews", "reading", "list")
    assert code == 0
    assert "amount above 10000" in out
    assert "answered by human" in out
    code, out, _ = say("reviews", "reading", "list", "--status", "rejected")
    assert "no such case" in out
    code, out, _ = say("reviews", "reading", "stats", "--json")
    assert (code, json.loads(out)["ended"]) == (0, {"answered": 1})
    code, out, _ = say("reviews", "reading", "stats", "--endpoint", "read")
    assert code == 0
    assert "1 open, 1 wait for somebody" in out
    assert "ann 1" in out
    assert say("reviews", "reading", "list", "--status", "odd")[0] == 2
    assert say("reviews", "nobody", "stats")[0] == 3


def test_an_export_of_labelled_rows_only(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, say: Say, tmp_path: Path
) -> None:
    """``--labelled`` leaves out what nobody said anything of; the chance of each row is beside its label."""
    from bento_rollout.spec import Ledger as Settings
    from bento_rollout.store.ledger_writer import LedgerWriter
    from tests.unit.test_ledger_doors import id_of, prediction

    monkeypatch.setenv("BENTO_ROLLOUT_HASH_KEY", "a secret of this test, and long enough")
    writer = LedgerWriter(store.place("screening"), Settings(), rollout="screening")
    for number in range(3):
        writer.offer(prediction(number))
    writer.close(10)
    told = {"prediction_id": id_of(1), "label": "yes", "selection": "audit", "probability": 0.02}
    open_rollout("screening").label(told, source="review")
    code, out, _ = say("ledger", "screening", "export", "--labelled")
    (row,) = map(json.loads, out.splitlines())
    assert (code, row["prediction_id"], row["label"]) == (0, id_of(1), "yes")
    assert (row["label_selection"], row["label_probability"], row["label_source"]) == (
        "audit",
        0.02,
        "review",
    )
    assert len(say("ledger", "screening", "export")[1].splitlines()) == 3


# -- labels that wait ---------------------------------------------------------------------------------------


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is logged."""
    seen: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(log, "event", lambda name, level="info", **facts: seen.append((name, facts)))
    return seen


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """A queue with one decision."""
    made = Queue(tmp_path / "store" / "screening")
    made.submit(visibility=Visibility.HIDDEN)
    made.answer(made.take("ann"), "yes")
    return made


def labelling(queue: Queue, now: Callable[[], float], **more: Any) -> Labelling:
    """Whoever tells the ledger in a worker."""
    feedback = Feedback(queue.place, clock=queue.clock, patience=0.1)
    return Labelling(feedback, "screening", clock=now, **more)


def test_a_ledger_that_cannot_be_used_is_tried_again(
    queue: Queue, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """It is said once, tried less and less often, and said when it is over; nothing is lost."""
    now = [0.0]
    teller = labelling(queue, lambda: now[0])
    path = Path(Ledger(queue.place).where)
    path.write_bytes(b"damaged " * 1000)
    for pause in (0.0, FIRST, 2 * FIRST, LONGEST, LONGEST):
        now[0] += pause
        teller.look()
    assert [name for name, _ in events] == ["reviews.labels_wait"]
    path.unlink()
    teller.look()  # it is not its turn yet
    assert not path.exists()
    now[0] += LONGEST
    teller.look()
    teller.look()
    assert [name for name, _ in events] == ["reviews.labels_wait", "reviews.labels_told"]
    assert events[1][1]["labels"] == 1
    assert Ledger(queue.place).counts().labels == 1
    teller.close()


def test_without_a_ledger_decisions_wait_for_one(
    queue: Queue, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """No file is made, it is said once with how many wait, and a later service tells them."""
    now = [0.0]
    teller = labelling(queue, lambda: now[0], ledger=False)
    for _ in range(3):
        teller.look()
        now[0] += 100
    ((name, facts),) = events
    assert (name, facts["waiting"]) == ("reviews.labels_wait", 1)
    assert not Path(Ledger(queue.place).where).exists()
    labelling(queue, lambda: 0.0).look()
    assert Ledger(queue.place).counts().labels == 1


def test_what_the_ledger_refuses_is_said(queue: Queue, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Without a word of the answer."""
    queue.submit(choices=())
    queue.answer(queue.take("ann"), "secret-" * 20_000)
    labelling(queue, lambda: 0.0).look()
    ((name, facts),) = events
    assert (name, facts["labels"]) == ("reviews.label_refused", 1)
    assert "secret" not in str(facts)


def test_what_belongs_to_a_key_is_forgotten_everywhere(
    rollout: Rollout, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``forget --key`` deletes its cases with its predictions, and no label comes back from one."""
    monkeypatch.setenv("BENTO_ROLLOUT_HASH_KEY", "a secret of this test, and long enough")
    hashed = rollout.ledger.key_hash("ann-4711")
    reviews = rollout.reviews
    reviews.submit(case(), key_hash=hashed)
    claim = reviews.claim("ann", roles=frozenset({Role.REVIEWER}))
    assert claim is not None
    reviews.answer(claim.case.id, "ann", claim.token, Given("yes"), make=made)
    reviews.submit(case(), key_hash=hashed)
    reviews.submit(case())
    code, out, _ = say("ledger", "reading", "forget", "--key", "ann-4711", "--json")
    assert (code, json.loads(out)["cases"]) == (0, 2)
    assert [row["status"] for row in rollout.review_cases()] == ["open"]
    place = reviews.path.parent
    assert Feedback(place).waiting() == 0
    assert rollout.forget("nobody")[1] == 0
    held = try_lock(place / LOCK)
    assert held is not None
    release(held)
