"""What webhooks are told of cases: written with each act, sent by one worker, bounded, forgotten."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.courier import Courier
from bento_rollout.degrees import Degree
from bento_rollout.errors import QueueFull
from bento_rollout.outbox import Patience
from bento_rollout.review_settings import ReviewWebhook
from bento_rollout.reviewing import Claim, Selection, Shown, Status, Visibility
from bento_rollout.store import letters
from bento_rollout.store.letterbox import Letterbox
from bento_rollout.store.letters import task_name
from bento_rollout.store.place import Place
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.reviews_hiding import Hiding
from bento_rollout.store.reviews_rows import Keep, Submission
from bento_rollout.telemetry import log
from bento_rollout.webhook import signatures
from tests.places import behind
from tests.reviewed import START, Clock, Queue, case, said

from .notices import KEY, Listener, listening, resetting, saying, silent

QUICK = Patience(first=0.01, longest=0.05, tries=4, seconds=60.0)
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
def queue(place: Place) -> Queue:
    """A queue of whose endpoint `read` a webhook is told."""
    made = Queue(place)
    Letterbox(made.place).listen(["read"])
    return made


@pytest.fixture
def box(queue: Queue) -> Letterbox:
    """What the webhook is still to be told."""
    return Letterbox(queue.place, clock=queue.clock)


@pytest.fixture
def courier(queue: Queue) -> Iterator[Callable[..., Courier]]:
    """Makes couriers, and ends them."""
    made: list[Courier] = []

    def make(url: str, patience: Patience = QUICK, **fields: Any) -> Courier:
        settings = ReviewWebhook(url=url, secret="env:HOOK_KEY", **fields)
        made.append(Courier("screening", "read", settings, queue.place, patience=patience))
        return made[-1]

    yield make
    for one in made:
        one.close(5)


def drained(box: Letterbox) -> list[tuple[str, dict[str, Any]]]:
    """Take out what waits, and return kind and content of each."""
    found = []
    while (letter := box.next("read")) is not None:
        found.append((letter.kind, dict(letter.data)))
        box.told(letter)
    return found


def told(server: Listener) -> list[dict[str, Any]]:
    """What a server was told, by what came in."""
    return [json.loads(one.body) for one in server.asked]


# -- what is told --------------------------------------------------------------------------------------------


def test_a_case_is_told_when_it_opens_and_when_it_ends(queue: Queue, box: Letterbox) -> None:
    """With what tells it from others, and nothing of what is in it."""
    one = queue.submit(due=START + 60, priority=3, secret="5e")
    queue.answer(queue.take("ann"), "yes")
    known = {"task": task_name(one.id), "prediction_id": one.prediction_id, "endpoint": "read"}
    assert drained(box) == [
        ("case.opened", {**known, "why": [], "selection": "all", "due": START + 60, "priority": 3}),
        ("case.decided", {**known, "status": "answered", "decided_by": "human", "selection": "all"}),
    ]


def test_an_endpoint_without_a_webhook_leaves_no_word(queue: Queue, box: Letterbox) -> None:
    """Nothing is written of it."""
    queue.submit(endpoint="other")
    assert box.next("other") is None
    assert box.numbers("other") == (0, 0)


def test_why_is_told_where_reviewers_see_it(queue: Queue, box: Letterbox) -> None:
    """Else it would tell the score, and an audit from a case that the model was unsure of."""
    fields: dict[str, Any] = {
        "selection": Selection.UNSURE, "why": ("score 0.71 below 0.93",), "suggestion": said()
    }  # fmt: skip
    queue.submit(visibility=Visibility.SHOWN, **fields)
    for hidden in (
        {"visibility": Visibility.AFTER_ANSWER},
        {"visibility": Visibility.SHOWN, "blind": True},
        {"visibility": Visibility.SHOWN, "degree": Degree.SHADOW},
    ):
        queue.submit(**fields, **hidden)
    found = [(data["selection"], data["why"]) for _, data in drained(box)]
    assert found == [("unsure", ["score 0.71 below 0.93"]), *[("all", [])] * 3]


def test_who_asked_by_hand_and_why_is_told_to_nobody(queue: Queue, box: Letterbox) -> None:
    """Reviewers read what a person wrote; a chat does not."""
    fields: dict[str, Any] = {"selection": Selection.MANUAL, "why": ("otto asks", "Mrs. Miller called")}
    queue.submit(visibility=Visibility.SHOWN, **fields)
    queue.submit(visibility=Visibility.AFTER_ANSWER, **fields)
    queue.reviews.escalate(*_hand(queue.take("ann")), "a reason")
    found = [(data["selection"], data["why"]) for _, data in drained(box)]
    assert found == [("manual", ["asked by hand"]), ("all", []), ("manual", ["asked by hand"])]


def _hand(claim: Claim) -> tuple[str, str, str]:
    return claim.case.id, claim.reviewer, claim.token


def test_a_fall_to_shadow_hides_in_letters_that_wait(queue: Queue, box: Letterbox) -> None:
    """What a letter says is read when it is sent."""
    queue.submit(visibility=Visibility.SHOWN, selection=Selection.UNSURE, why=("score 0.7 below 0.9",))
    Hiding(queue.place, clock=Clock()).look("read", blind=True)
    ((_, data),) = drained(box)
    assert (data["selection"], data["why"]) == ("all", [])


def test_a_case_that_is_handed_up_is_told_once(queue: Queue, box: Letterbox) -> None:
    """However often it is said, and by how many."""
    one = queue.submit(reviewers=2)
    ann, bob = queue.take("ann"), queue.take("bob")
    for claim in (ann, ann, bob):
        queue.reviews.escalate(one.id, claim.reviewer, claim.token, "unclear to patient 7")
    found = drained(box)
    assert [kind for kind, _ in found] == ["case.opened", "case.escalated"]
    assert found[1][1]["cause"] == "handed_up"
    assert "patient" not in str(found)


def test_answers_that_differ_are_told(queue: Queue, box: Letterbox) -> None:
    """An adjudicator is needed then."""
    queue.submit(reviewers=2, adjudicate=True)
    queue.answer(queue.take("ann"), "yes")
    queue.answer(queue.take("bob"), "no")
    queue.answer(queue.take("cem", up=True), "no")
    found = drained(box)
    assert [kind for kind, _ in found] == ["case.opened", "case.escalated", "case.decided"]
    assert found[1][1]["cause"] == "disagreement"


def test_what_waits_is_counted(queue: Queue) -> None:
    """Cases, those of them that an adjudicator must decide, and letters; in the stats, too."""
    queue.submit()
    queue.submit(reviewers=2, adjudicate=True, due=START)
    queue.answer(queue.take("ann"), "yes")
    queue.answer(queue.take("bob"), "no")
    assert queue.reviews.queued("read") == (2, 1, 3, 0)
    assert queue.reviews.queued("other") == (0, 0, 0, 0)
    stats = queue.reviews.stats("read")
    assert (stats.adjudicating, stats.letters_waiting, stats.letters_lost) == (1, 3, 0)


def test_ends_without_a_person_are_told(queue: Queue, box: Letterbox) -> None:
    """By default, by nobody, and because nobody needs it any more."""
    for way in ("default", "model", "reject"):
        queue.submit(due=START + 1, on_timeout=way, default="no", suggestion=said())
    gone = queue.submit()
    queue.clock.now += 2
    queue.settle()
    queue.reviews.withdraw([gone.id])
    ended = [(d["status"], d["decided_by"]) for kind, d in drained(box) if kind == "case.decided"]
    assert sorted(ended, key=str) == [
        ("defaulted", "default"), ("defaulted", "model"), ("rejected", None), ("withdrawn", None),
    ]  # fmt: skip


def test_too_many_cases_are_told_once_a_minute(queue: Queue, box: Letterbox) -> None:
    """Though each call that is turned away is one."""
    queue.submit()
    for _ in range(3):
        with pytest.raises(QueueFull):
            queue.reviews.submit(case(), most=1)
    found = queue.reviews.submit_many([Submission(case(), 1)] * 2)
    assert all(isinstance(one, QueueFull) for one in found)
    assert drained(box)[1:] == [("case.overflowed", {"endpoint": "read", "open": 1, "most": 1})]
    queue.clock.now += 61
    with pytest.raises(QueueFull):
        queue.reviews.submit(case(), most=1)
    assert [kind for kind, _ in drained(box)] == ["case.overflowed"]


def test_a_degree_that_changed_is_told_once(queue: Queue, box: Letterbox) -> None:
    """Whoever of the workers sees it; one that is behind tells nothing old; a new store counts anew."""
    other = Letterbox(queue.place, clock=queue.clock)

    def says(letterbox: Letterbox, degree: Degree, revision: int, since: float) -> bool:
        return letterbox.degree("read", degree, {"revision": revision, "author": "automation"}, since)

    assert not says(box, Degree.PARTIAL, 4, 10.0)
    assert says(box, Degree.SHADOW, 5, 11.0)
    assert not says(other, Degree.SHADOW, 5, 11.0)
    assert not says(other, Degree.PARTIAL, 4, 10.0)
    assert says(other, Degree.HUMAN, 1, 12.0)
    found = [(kind, data["was"], data["degree"]) for kind, data in drained(box)]
    assert found == [("degree.changed", "partial", "shadow"), ("degree.changed", "shadow", "human")]


# -- what is not ---------------------------------------------------------------------------------------------


def test_no_letter_holds_payload(queue: Queue, box: Letterbox) -> None:
    """Not the input, what the model says, what was answered, nor what lets a caller read it."""
    canary = "zq-canary"
    one = queue.submit(
        id="c" * 32, input=Shown("json", {"text": canary}), suggestion=said(canary), choices=(canary, "b"),
        secret=canary, visibility=Visibility.SHOWN, on_timeout="default", default=canary,
    )  # fmt: skip
    queue.answer(queue.take("ann"), canary)
    with closing(behind(queue.place, "reviews")) as db:
        rows = str(db.execute("SELECT * FROM letters").fetchall())
    for text in (rows, str(drained(box))):
        assert canary not in text
        assert one.id not in text


def test_what_is_forgotten_is_told_to_nobody(queue: Queue, box: Letterbox) -> None:
    """Letters that were not sent go with the case."""
    one, other = queue.submit(), queue.submit()
    queue.answer(queue.take("ann"), "yes")
    queue.reviews.submit(case(), key_hash="hash")
    assert queue.reviews.forget([one.prediction_id]) == 1
    assert queue.reviews.forget(key_hash="hash") == 1
    assert {data["task"] for _, data in drained(box)} == {task_name(other.id)}
    assert box.numbers("read") == (0, 0)


def test_of_too_many_letters_the_oldest_are_lost(
    queue: Queue, box: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted."""
    monkeypatch.setattr(letters, "MOST", 3)
    cases = [queue.submit() for _ in range(5)]
    assert box.numbers("read") == (3, 2)
    assert [data["task"] for _, data in drained(box)] == [task_name(one.id) for one in cases[2:]]


def test_who_has_no_webhook_any_more_leaves_no_letters(queue: Queue, box: Letterbox) -> None:
    """What was still to be told is given up; a webhook that stays keeps its own."""
    queue.submit()
    box.listen(["read", "other"])
    assert box.numbers("read") == (1, 0)
    box.listen(["other"])
    queue.submit()
    assert box.next("read") is None
    assert box.numbers("read") == (0, 0)


def test_without_any_webhook_no_file_is_made(tmp_path: Path) -> None:
    """Nor one read."""
    box = Letterbox(tmp_path / "store" / "screening")
    box.listen([])
    assert box.next("read") is None
    assert box.numbers("read") == (0, 0)
    assert Reviews(tmp_path / "store" / "screening", rollout="screening").queued("read") == (0, 0, 0, 0)
    assert not (tmp_path / "store").exists()


@given(st.lists(st.sampled_from(["submit", "answer", "told", "give_up", "again", "forget", "withdraw"])))
@settings(max_examples=25, deadline=None)
def test_whatever_happens_the_letters_are_counted(acts: list[str]) -> None:
    """What waits is what is there; nothing is counted as lost that was told, or forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        queue = Queue(Path(folder) / "store" / "screening")
        box, cases, given_up = Letterbox(queue.place, clock=queue.clock), [], 0
        box.listen(["read"])
        for act in ["submit", *acts]:
            queue.clock.now += 1
            if act == "submit":
                cases.append(queue.submit())
            elif act == "answer" and (claim := queue.claim("ann")) is not None:
                queue.answer(claim, "yes")
            elif act == "forget":
                queue.reviews.forget([cases[0].prediction_id])
            elif act == "withdraw":
                queue.reviews.withdraw([cases[-1].id])
            elif (letter := box.next("read")) is not None:
                given_up += act == "give_up"
                for _ in range(2):
                    if act == "again":
                        box.again(letter, 5.0)
                    else:
                        (box.give_up if act == "give_up" else box.told)(letter)
            with closing(behind(queue.place, "reviews")) as db:
                (there,) = db.execute("SELECT count(*) FROM letters").fetchone()
            assert box.numbers("read") == (there, given_up)
        box.close()
        queue.reviews.close()


# -- how it is sent ------------------------------------------------------------------------------------------


def test_letters_are_signed_and_sent(queue: Queue, courier: Callable[..., Courier]) -> None:
    """As any webhook's: with an id, a time and a signature; and with a link, where the address is known."""
    with listening(saying(204)) as server:
        one = courier(server.url, console="https://screening.example.com/")
        queue.submit()
        assert one.send_due() == 1
        (asked,) = server.asked
    name, stamp = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
    key = b"0" * 32
    assert asked.headers["webhook-signature"] == signatures((key,), name, stamp, asked.body)
    message = json.loads(asked.body)
    assert (message["type"], message["timestamp"]) == ("case.opened", "2023-11-14T22:13:20.000Z")
    assert message["data"]["rollout"] == "screening"
    assert message["data"]["console"] == "https://screening.example.com/rollout/console/review"


@pytest.mark.parametrize(("answer", "expected"), [(False, None), (True, "answer yes")])
def test_the_answer_is_told_where_the_spec_says_so(
    queue: Queue, courier: Callable[..., Courier], answer: bool, expected: str | None
) -> None:
    """Else only that there is one."""
    with listening(saying(204)) as server:
        one = courier(server.url, answer=answer)
        queue.submit()
        queue.answer(queue.take("ann"), "yes")
        assert one.send_due() == 2
        opened, decided = told(server)
    assert "answer" not in opened["data"]
    assert decided["data"].get("answer") == expected


def test_a_letter_that_is_not_taken_comes_again_under_its_id(
    queue: Queue, courier: Callable[..., Courier], lines: Lines
) -> None:
    """It holds no newer one; that it fails is said once, and that it works again."""
    with listening(saying(500), resetting, saying(204)) as server:
        one = courier(server.url)
        queue.submit()
        queue.submit()
        until = time.monotonic() + 20
        while len(server.asked) < 4 and time.monotonic() < until:
            one.send_due()
        names = [asked.headers["webhook-id"] for asked in server.asked]
    assert len(names) == 4
    assert len(set(names)) == 2
    assert [name for name, _ in lines] == ["reviews.letters_wait", "reviews.letters_told"]
    assert "B1-secret" not in str(lines)


def test_a_letter_that_nobody_takes_is_given_up(
    queue: Queue, box: Letterbox, courier: Callable[..., Courier], lines: Lines
) -> None:
    """After so many tries, or at once where it will never go better; it is counted and said once."""
    with listening(saying(410)) as server:
        one = courier(server.url)
        one.send_due()
        queue.submit()
        queue.submit()
        assert (one.send_due(), len(server.asked)) == (0, 1)  # the other one may be taken in a second
        assert (one.send_due(), len(server.asked)) == (0, 2)
    assert box.numbers("read") == (0, 2)
    assert [name for name, _ in lines] == ["reviews.letters_wait", "reviews.letters_lost"]
    with listening(saying(503)) as server:
        again = courier(server.url)
        queue.submit()
        until = time.monotonic() + 20
        while box.numbers("read")[0] and time.monotonic() < until:
            again.send_due()
        assert len({asked.headers["webhook-id"] for asked in server.asked}) == 1
        assert len(server.asked) == QUICK.tries
    assert box.numbers("read") == (0, 3)


def test_a_clock_that_went_back_delays_no_letter(queue: Queue, box: Letterbox) -> None:
    """It is due again, though the time of its next try lies far ahead."""
    queue.submit()
    letter = box.next("read")
    assert letter is not None
    queue.clock.now += 86_400
    box.again(letter, 300.0)
    assert box.next("read") is None
    queue.clock.now -= 86_400
    assert box.next("read") is not None


def test_a_letter_from_a_clock_that_was_ahead_waits_for_its_tries_alone(queue: Queue, box: Letterbox) -> None:
    """It is due at once, though it was written tomorrow; once it was tried its pause holds."""
    queue.clock.now += 86_400
    queue.submit()
    queue.clock.now -= 86_400
    letter = box.next("read")
    assert letter is not None
    box.again(letter, 300.0)
    assert box.next("read") is None
    queue.clock.now += 301
    assert box.next("read") is not None


def test_one_worker_sends_and_the_next_goes_on(queue: Queue, courier: Callable[..., Courier]) -> None:
    """Two at a time send each letter once; when one ends the other does."""
    with listening(saying(204)) as server:
        first, second = courier(server.url), courier(server.url)
        for one in (first, second):
            one.start()
        for _ in range(5):
            queue.submit()
        wait_for(lambda: len(server.asked) >= 5)
        first.close(5)
        queue.submit()
        wait_for(lambda: len(server.asked) >= 6)
        second.close(5)
        assert len({asked.headers["webhook-id"] for asked in server.asked}) == len(server.asked) == 6


def test_a_receiver_that_is_silent_holds_nobody_up(queue: Queue, courier: Callable[..., Courier]) -> None:
    """People answer and calls are asked about while it is waited for; the courier ends with its request."""
    with listening(silent) as server:
        one = courier(server.url, timeout="2s")
        one.start()
        queue.submit()
        wait_for(lambda: server.asked)
        for _ in range(20):
            queue.submit()
            queue.answer(queue.take("ann"), "yes")
        assert {listed.status for listed in queue.reviews.list(limit=100)} >= {Status.ANSWERED}
        one.close(10)


def test_a_key_that_is_not_there_is_said_and_no_letter_is_lost(
    queue: Queue, box: Letterbox, courier: Callable[..., Courier], lines: Lines, monkeypatch: Any
) -> None:
    """It is read for each request: when it comes the letters go out."""
    monkeypatch.delenv("HOOK_KEY")
    with listening(saying(204)) as server:
        one = courier(server.url, patience=Patience(first=0.01, longest=0.01, tries=10_000))
        queue.submit()
        assert one.send_due() == 0
        assert server.asked == []
        monkeypatch.setenv("HOOK_KEY", KEY)
        wait_for(lambda: one.send_due() or server.asked)
    assert box.numbers("read") == (0, 0)
    assert "HOOK_KEY" in lines[0][1]["problem"]


def wait_for(happens: Callable[[], Any]) -> None:
    """Wait until something is the case."""
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_keep_is_short_and_the_letter_goes_with_the_case(queue: Queue, box: Letterbox) -> None:
    """What was kept long enough is in no letter either."""
    queue.submit(keep=Keep(inputs=1.0, decisions=1.0, labels=1.0))
    queue.answer(queue.take("ann"), "yes")
    queue.clock.now += 10
    queue.settle()
    assert drained(box) == []
    assert Reviews(queue.place, rollout="screening").list() == ()
