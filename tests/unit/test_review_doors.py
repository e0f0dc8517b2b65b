"""The reviewers' routes over a real queue: each rule, each refusal, and what an attacker tries."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bento_rollout.admin import admin_app
from bento_rollout.admin.people import People, Proxies
from bento_rollout.admin.reviews import Reviewing
from bento_rollout.admin.tokens import Tokens
from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidValue
from bento_rollout.reviewing import Case, Given, Role, Visibility
from bento_rollout.store.reviews import Keep
from tests.reviewed import START, Queue, said
from tests.unit.door import Door, opened, problem

OPERATOR = "an-operators-token-161803"
SECRET = "model-says-zq-31337"
TOKENS = {name: f"token-of-{name}-2718281828" for name in ("ann", "bob", "cid", "vic", "deploy")}
ROLES: dict[str, dict[str, tuple[Role, ...]]] = {
    "read": {"cid": (Role.ADJUDICATOR,), "vic": (Role.VIEWER,)},
    "grade": {"ann": (), "cid": (Role.REVIEWER, Role.ADJUDICATOR), "vic": ()},
}
LEASES = {"read": 600.0, "grade": 60.0}


def make(case: Case, given: Given) -> tuple[str, bytes]:
    """Make answers; some choices are none, in several ways."""
    if given.choice == {"no": "output"}:
        raise InvalidValue("this is no output of endpoint 'read': 1 place is wrong, the first is label")
    if given.choice == "burst":
        raise KeyError(SECRET)
    return "application/json", json.dumps({"label": given.choice}).encode()


class Reviewers(Door):
    """Asks as several people."""

    def __init__(self, queue: Queue, people: People, make: Callable[..., Any] = make) -> None:
        super().__init__(Tokens(OPERATOR))
        self.queue = queue
        self.app = admin_app(
            opened, tokens=Tokens(), labellers=Tokens(), people=people,
            reviewing=Reviewing(queue.reviews, make, LEASES, ROLES, lambda _: opened()),
        )  # fmt: skip

    def act(self, who: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Let somebody do something."""
        given = {"json": body} if body is not None else {}
        answer = self.ask("POST", f"/rollout/reviews/{path}", TOKENS[who], **given, **more)
        assert answer.headers["cache-control"] == "no-store"
        return answer

    def look(self, who: str, path: str = "") -> httpx.Response:
        """Let somebody look."""
        return self.ask("GET", f"/rollout/reviews{path}", TOKENS[who])

    def claim(self, who: str, **body: Any) -> dict[str, Any]:
        """Let somebody take the case that must be there."""
        answer = self.act(who, "claim", body or None)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def on(self, who: str, claim: dict[str, Any], verb: str, **body: Any) -> httpx.Response:
        """Let somebody do something with a case that was taken."""
        return self.act(who, f"{claim['task']}/{verb}", {"token": claim["token"], **body})


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """A queue on a disk."""
    return Queue(tmp_path / "store" / "screening")


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Ann and Bob review, Cid adjudicates, Vic looks; one has the name of a machine."""
    path = tmp_path / "tokens"
    path.write_text("".join(f"{name}:{token}\n" for name, token in TOKENS.items()))
    return People(Tokens(OPERATOR), Tokens(path=path), ROLES)


@pytest.fixture
def door(queue: Queue, people: People) -> Reviewers:
    """The doors."""
    return Reviewers(queue, people)


def test_a_case_is_taken_and_answered(door: Reviewers, queue: Queue) -> None:
    """Claim, renew, answer; then there is nothing more, and the caller's decision is there."""
    one = queue.submit(due=START + 60)
    claim = door.claim("ann")
    assert claim == {
        "task": one.id,
        "token": claim["token"],
        "endpoint": "read",
        "input": {"kind": "json", "content": {"amount": 12}, "media_type": ""},
        "choices": ["yes", "no"],
        "due": START + 60,
        "until": START + 600,
    }
    queue.clock.now += 100
    assert door.on("ann", claim, "renew").json() == {"until": START + 700}
    assert door.on("ann", claim, "answer", choice="yes", seconds=3.5).json() == {
        "status": "done",
        "until": None,
    }
    decision = queue.reviews.decision(one.id)
    assert decision is not None
    assert decision.body == b'{"label": "yes"}'
    empty = door.act("ann", "claim")
    assert (empty.status_code, empty.content) == (204, b"")
    assert queue.reviews.stats().median_seconds == 3.5


def test_an_answer_that_is_told_again_is_kept_once(door: Reviewers, queue: Queue) -> None:
    """A replay says the same, also with another choice: the first one counted."""
    queue.submit()
    claim = door.claim("ann")
    first = door.on("ann", claim, "answer", choice="yes")
    again = door.on("ann", claim, "answer", choice="no")
    assert first.json() == again.json() == {"status": "done", "until": None}
    assert queue.reviews.stats().answered == {"ann": 1}
    decision = queue.reviews.decision(claim["task"])
    assert decision is not None
    assert decision.choice == "yes"


def test_a_suggestion_is_seen_when_the_design_says_so(door: Reviewers, queue: Queue) -> None:
    """Hidden: never; after the answer: then, and the second answer ends it; shown: at once."""
    suggestion = said("no", {"label": SECRET})
    queue.submit(suggestion=suggestion, visibility=Visibility.HIDDEN)
    queue.submit(suggestion=suggestion, visibility=Visibility.SHOWN, degree=Degree.SHADOW)
    queue.submit(suggestion=suggestion, visibility=Visibility.SHOWN, blind=True)
    for _ in range(3):
        claim = door.claim("ann")
        assert "suggestion" not in claim
        answer = door.on("ann", claim, "answer", choice="yes")
        assert answer.json() == {"status": "done", "until": None}
        assert door.on("ann", claim, "answer", choice="yes").json() == answer.json()
    assert not any(SECRET in text for text in door.seen)
    queue.submit(suggestion=suggestion, visibility=Visibility.AFTER_ANSWER)
    claim = door.claim("ann")
    assert "suggestion" not in claim
    shown = {"choice": "no", "output": {"label": SECRET}, "score": 0.7}
    for _ in range(2):  # the first call may have been lost
        first = door.on("ann", claim, "answer", choice="yes", final=False).json()
        assert first == {"status": "revealed", "until": None, "suggestion": shown}
    last = door.on("ann", claim, "answer", choice="no").json()
    assert last == {"status": "done", "until": None}
    stats = queue.reviews.stats()
    assert (stats.revised, stats.revealed) == (1, 1)
    queue.submit(suggestion=suggestion, visibility=Visibility.SHOWN)
    assert door.claim("ann")["suggestion"] == shown


def test_a_suggestion_that_comes_after_an_answer_does_not_come_through_a_replay(
    door: Reviewers, queue: Queue
) -> None:
    """Who may still take an answer back does not learn by a replay what the model says meanwhile."""
    one = queue.submit(visibility=Visibility.AFTER_ANSWER)
    claim = door.claim("ann")
    assert door.on("ann", claim, "answer", choice="yes", undo=30).json()["status"] == "kept"
    queue.reviews.suggest(one.id, said("no", {"label": SECRET}))
    again = door.on("ann", claim, "answer", choice="yes", undo=30)
    assert "suggestion" not in again.json()
    assert SECRET not in again.text


def test_an_answer_can_be_taken_back_for_a_while(door: Reviewers, queue: Queue) -> None:
    """With ``undo`` nothing follows until the time is over; afterwards it is final."""
    queue.submit()
    claim = door.claim("ann")
    answer = door.on("ann", claim, "answer", choice="yes", undo=10)
    assert answer.json() == {"status": "kept", "until": START + 10}
    back = door.on("ann", claim, "undo").json()
    assert (back["task"], back["token"], back["choices"]) == (claim["task"], claim["token"], ["yes", "no"])
    door.on("ann", claim, "answer", choice="no", undo=10)
    queue.clock.now += 11
    late = problem(door.on("ann", claim, "undo"), 409)
    assert "final" in late["detail"]
    assert problem(door.on("ann", claim, "answer", choice="no", undo=61), 400)["detail"].startswith("undo")


def test_cases_are_put_down(door: Reviewers, queue: Queue) -> None:
    """Skip and hand up need a reason; what was given back may be taken again."""
    queue.submit()
    claim = door.claim("ann")
    assert door.on("ann", claim, "release").json() == {"status": "released"}
    claim = door.claim("ann")
    assert "reason" in problem(door.on("ann", claim, "skip"), 400)["detail"]
    assert "why" in problem(door.on("ann", claim, "skip", reason="  "), 400)["detail"]
    assert door.on("ann", claim, "skip", reason="cannot tell").json() == {"status": "skipped"}
    assert door.on("ann", claim, "skip", reason="cannot tell").json() == {"status": "skipped"}
    assert door.act("ann", "claim").status_code == 204
    claim = door.claim("bob")
    assert door.on("bob", claim, "escalate", reason="odd").json() == {"status": "escalated"}
    assert door.act("ann", "claim").status_code == 204
    claim = door.claim("cid")
    assert "adjudicates" not in claim
    assert door.on("cid", claim, "answer", choice="no").json()["status"] == "done"


def test_two_who_differ_need_a_third(door: Reviewers, queue: Queue) -> None:
    """Neither sees the other's answer; the adjudicator sees both and no suggestion."""
    queue.submit(
        reviewers=2, adjudicate=True, suggestion=said("no", {"label": SECRET}), visibility=Visibility.SHOWN
    )
    first, second = door.claim("ann"), door.claim("bob")
    assert first["task"] == second["task"]
    assert door.on("ann", first, "answer", choice="yes").json()["status"] == "kept"
    assert door.on("bob", second, "answer", choice="no").json()["status"] == "disagree"
    third = door.claim("cid", role="adjudicator")
    assert sorted(third["adjudicates"]) == ["no", "yes"]
    assert "suggestion" not in third
    assert door.on("cid", third, "answer", choice="no").json()["status"] == "done"


def test_roles_are_of_endpoints(door: Reviewers, queue: Queue) -> None:
    """Who holds a role for one endpoint does nothing with another one's cases."""
    queue.submit(endpoint="grade")
    assert door.act("ann", "claim").status_code == 204  # of `read` there is none
    lacking = problem(door.act("ann", "claim", {"endpoint": "grade"}), 403)
    assert "ann lacks the role adjudicator or reviewer" in lacking["detail"]
    assert problem(door.act("ann", "claim", {"role": "adjudicator"}), 403)
    assert problem(door.act("vic", "claim"), 403)
    assert problem(door.act("cid", "claim", {"endpoint": "read", "role": "reviewer"}), 403)
    claim = door.claim("cid")
    assert (claim["endpoint"], claim["until"]) == ("grade", START + 60)
    for verb, more in (("answer", {"choice": "yes"}), ("skip", {"reason": "x"}), ("renew", {}), ("undo", {})):
        assert problem(door.on("ann", claim, verb, **more), 403)
        assert problem(door.on("bob", claim, verb, **more), 409)
    assert door.on("cid", claim, "renew").json() == {"until": START + 60}
    assert problem(door.act("bob", "claim", {"endpoint": "free"}), 404)["detail"].startswith("'free'")


def test_adjudications_come_first_where_roles_differ(door: Reviewers, queue: Queue) -> None:
    """A person with other roles for other endpoints gets what nobody else may decide first."""
    queue.submit(endpoint="grade", priority=5)
    queue.submit()
    door.on("ann", door.claim("ann"), "escalate", reason="odd")
    assert [door.claim("cid")["endpoint"] for _ in range(2)] in (["read", "grade"], ["grade", "read"])
    assert door.act("cid", "claim").status_code == 204


def test_viewers_look_without_payload(door: Reviewers, queue: Queue) -> None:
    """Lists and numbers of the endpoints at which one may look; ids are cut: they open the decision."""
    one = queue.submit(suggestion=said("no", {"label": SECRET}), why=("amount above 10000",))
    queue.submit(endpoint="grade")
    claim = door.claim("ann")
    (row,) = door.look("vic").json()
    assert row["case"] == one.id[:12]
    assert one.id not in door.seen[-1]
    assert (row["endpoint"], row["degree"], row["status"], row["in_hands_of"]) == (
        "read",
        "assist",
        "open",
        ["ann"],
    )
    assert door.look("vic", "?status=answered").json() == []
    stats = door.look("vic", "/stats").json()
    assert stats.keys() == {"read"}
    assert (stats["read"]["open"], stats["read"]["waiting"]) == (1, 0)
    assert door.ask("GET", "/rollout/reviews/stats", OPERATOR).json().keys() == {
        "read",
        "grade",
    }
    everything = door.ask("GET", "/rollout/reviews?status=open&limit=1", OPERATOR).json()
    assert [row["endpoint"] for row in everything] == ["read"]
    for path in ("", "/stats", "?endpoint=read"):
        assert problem(door.look("ann", path), 403)
    assert problem(door.look("vic", "?endpoint=grade"), 403)
    for wrong in ("?limit=0", "?limit=1001", "?limit=x", "?status=odd", "?x=1", "?limit=1&limit=2"):
        assert problem(door.look("vic", wrong), 400)
    assert not any(SECRET in text or claim["token"] in text for text in door.seen[1:])


# -- what cannot be answered any more ------------------------------------------------------------------------


def test_what_is_over_is_told_apart(door: Reviewers, queue: Queue) -> None:
    """404: never asked; 409: lost, or somebody answered it; 410: it ended by itself."""
    lost = queue.submit(priority=3)
    first = door.claim("ann")
    queue.clock.now += 700
    second = door.claim("bob")
    assert first["task"] == second["task"] == lost.id
    assert "somebody else has it" in problem(door.on("ann", first, "answer", choice="yes"), 409)["detail"]
    door.on("bob", second, "answer", choice="yes")
    assert "answered by human" in problem(door.on("ann", first, "answer", choice="yes"), 409)["detail"]
    ends: tuple[tuple[str, dict[str, Any]], ...] = (
        ("rejected", {"on_timeout": "reject"}),
        ("defaulted", {"on_timeout": "default", "default": "no"}),
    )
    for status, fields in ends:
        queue.submit(due=queue.clock.now + 5, **fields)
        claim = door.claim("ann")
        queue.clock.now += 6
        queue.settle()
        gone = problem(door.on("ann", claim, "answer", choice="yes"), 410)
        assert status in gone["detail"]
        assert gone["type"].endswith("gone")
    one = queue.submit()
    claim = door.claim("ann")
    queue.reviews.withdraw([one.id])
    assert problem(door.on("ann", claim, "answer", choice="yes"), 410)
    queue.reviews.forget([one.prediction_id])
    assert problem(door.on("ann", claim, "answer", choice="yes"), 404)
    for task in ("0" * 32, "odd", "%2e%2e", claim["task"].upper(), "x" * 4000):
        assert problem(door.act("ann", f"{task}/release", {"token": "x"}), 404)


def test_a_decision_that_has_expired_is_unknown(door: Reviewers, queue: Queue) -> None:
    """After ``decisions.keep`` nothing can be done with it."""
    queue.submit(Keep(decisions=10.0))
    claim = door.claim("ann")
    door.on("ann", claim, "answer", choice="yes")
    queue.clock.now += 11
    assert problem(door.on("ann", claim, "answer", choice="yes"), 404)


# -- answers that are none --------------------------------------------------------------------------------


def test_an_answer_that_the_endpoint_does_not_take_is_the_reviewers_mistake(
    door: Reviewers, queue: Queue
) -> None:
    """400, in words without payload; the case stays in hand, and the right answer is taken."""
    one = queue.submit(choices=(), schema={"type": "object"})
    claim = door.claim("ann")
    assert claim["schema"] == {"type": "object"}
    assert "no output" in problem(door.on("ann", claim, "answer", choice={"no": "output"}), 400)["detail"]
    burst = problem(door.on("ann", claim, "answer", choice="burst"), 400)
    assert burst["detail"] == "endpoint 'read' does not take this answer (KeyError)"
    assert queue.reviews.decision(one.id) is not None
    assert queue.reviews.open("read") == 1
    assert door.on("ann", claim, "answer", choice={"label": 1}).json()["status"] == "done"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choice": "yes"},
        {"token": 5, "choice": "yes"},
        {"token": "", "choice": "yes"},
        {"token": "x" * 201, "choice": "yes"},
        {"token": "x"},
        {"token": "x", "choice": "yes", "seconds": -1},
        {"token": "x", "choice": "yes", "seconds": "3"},
        {"token": "x", "choice": "yes", "comment": "x" * 10_001},
        {"token": "x", "choice": "yes", "final": "no"},
        {"token": "x", "choice": "yes", "reviewer": "bob"},
        [],
        "yes",
    ],
)
def test_a_body_that_is_none_is_refused(door: Reviewers, queue: Queue, body: Any) -> None:
    """Each names what is wrong; nothing changed."""
    queue.submit()
    claim = door.claim("ann")
    document = problem(door.act("ann", f"{claim['task']}/answer", body), 400)
    assert "xxx" not in document["detail"]
    assert queue.reviews.open("read") == 1


def test_bodies_are_bounded(door: Reviewers, queue: Queue) -> None:
    """A long body, a deep one, one that is no JSON: refused before anybody looks at the case."""
    queue.submit(choices=())
    claim = door.claim("ann")
    path, token = f"{claim['task']}/answer", claim["token"]
    large = json.dumps({"token": token, "choice": "x" * (1 << 20)})
    assert problem(door.act("ann", path, content=large), 413)
    for depth in (100, 500, 100_000):
        deep = f'{{"token": "{token}", "choice": {"[" * depth}1{"]" * depth}}}'
        assert "nested too deeply" in problem(door.act("ann", path, content=deep), 400)["detail"]
    for wrong in (b"\xff", b"{", b'{"token": NaN}', b'{"token": "a", "token": "b"}', '{"choice": "\\ud800"}'):
        assert problem(door.act("ann", path, content=wrong), 400)
    assert problem(door.act("ann", "claim", content=b"[1]"), 400)
    assert queue.reviews.open("read") == 1


# -- who comes in ----------------------------------------------------------------------------------------


def test_tokens_that_are_none(door: Reviewers, queue: Queue) -> None:
    """No token, an unknown one, two of them, a machine's name: refused on every route, alike."""
    queue.submit()
    routes = [("GET", ""), ("GET", "/stats"), ("POST", "/claim"), ("POST", f"/{'0' * 32}/answer")]
    for method, path in routes:
        for token in (None, "wrong", TOKENS["ann"] + "x"):
            answer = door.ask(method, f"/rollout/reviews{path}", token)
            assert problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
        twice = [("Authorization", f"Bearer {TOKENS['ann']}"), ("Authorization", "Bearer x")]
        assert problem(door.ask(method, f"/rollout/reviews{path}", None, headers=twice), 401)
        assert (
            "the service's own"
            in problem(door.ask(method, f"/rollout/reviews{path}", TOKENS["deploy"]), 403)["detail"]
        )
    assert door.ask("GET", "/rollout/reviews/claim", TOKENS["ann"]).status_code == 405
    assert queue.reviews.trail.entries()[-1].what == "submitted"


def test_other_peoples_cases(door: Reviewers, queue: Queue) -> None:
    """With another person's token, or with none of one's own, nothing can be done with a case."""
    queue.submit()
    claim = door.claim("ann")
    for verb, more in (
        ("answer", {"choice": "no"}), ("skip", {"reason": "x"}), ("escalate", {"reason": "x"}),
        ("release", {}), ("renew", {}), ("undo", {}),
    ):  # fmt: skip
        assert problem(door.on("bob", claim, verb, **more), 409)
        assert problem(door.on("ann", {**claim, "token": "guessed"}, verb, **more), 409)
        path, body = f"/rollout/reviews/{claim['task']}/{verb}", {"token": claim["token"], **more}
        assert problem(door.ask("POST", path, OPERATOR, json=body), 409)
    assert door.on("ann", claim, "answer", choice="yes").json()["status"] == "done"


def test_reviewers_tokens_open_no_operators_route(door: Reviewers) -> None:
    """What reviewers have does not change a rollout, nor tell labels."""
    for path in ("admin/flip", "admin/degree", "labels"):
        assert door.ask("POST", f"/rollout/{path}", TOKENS["ann"], json={}).status_code == 403


def test_nobody_comes_in_without_tokens(queue: Queue, tmp_path: Path) -> None:
    """Without any token, or with a broken file, the doors are closed, and the reason names what to do."""
    closed = Reviewers(queue, People(Tokens(), Tokens()))
    assert "BENTO_ROLLOUT_REVIEW_TOKEN" in problem(closed.act("ann", "claim"), 403)["detail"]
    path = tmp_path / "broken"
    path.write_text("no token here\n")
    assert problem(Reviewers(queue, People(Tokens("x" * 20), Tokens(path=path))).act("ann", "claim"), 401)


def test_a_proxys_word_counts_for_json_only(queue: Queue, tmp_path: Path) -> None:
    """Behind single sign-on the browser sends its proof by itself: another page cannot use it."""
    proxies = Proxies("X-User", ["127.0.0.1"])
    door = Reviewers(queue, People(Tokens(), Tokens(), {}, proxies))
    queue.submit()
    headers = {"X-User": "eve"}
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        more = {"Content-Type": kind} if kind else {}
        answer = door.ask("POST", "/rollout/reviews/claim", None, content=b"{}", headers={**headers, **more})
        assert "application/json" in problem(answer, 403)["detail"]
    answer = door.ask("POST", "/rollout/reviews/claim", None, json={}, headers=headers)
    assert answer.status_code == 200
    wrong = {"Authorization": "Bearer wrong", **headers}
    assert problem(door.ask("POST", "/rollout/reviews/claim", None, json={}, headers=wrong), 401)


def test_a_queue_that_cannot_be_used_is_told(door: Reviewers, queue: Queue) -> None:
    """503 with what is wrong, and no 500."""
    queue.submit()
    queue.reviews.close()
    queue.reviews.path.write_bytes(b"not a database, " * 500)
    document = problem(door.act("ann", "claim"), 503)
    assert "damaged" in document["detail"]


def test_many_people_at_once_answer_each_case_once(door: Reviewers, queue: Queue) -> None:
    """Two who take cases as fast as they can never have the same one."""
    ids = {queue.submit().id for _ in range(20)}
    done: list[str] = []

    def work(who: str) -> None:
        while (answer := door.act(who, "claim")).status_code == 200:
            claim = answer.json()
            assert door.on(who, claim, "answer", choice="yes").json()["status"] == "done"
            done.append(claim["task"])

    crew = [threading.Thread(target=work, args=(who,)) for who in ("ann", "bob")]
    for one in crew:
        one.start()
    for one in crew:
        one.join(60)
    assert sorted(done) == sorted(ids)


def test_openapi_describes_what_is_there(door: Reviewers, people: People) -> None:
    """Each reviewers' route stands in the document, and no other."""
    document = door.ask("GET", "/rollout/admin/openapi.json", None)
    assert document.status_code == 403  # this app has no operators
    from bento_rollout.admin.openapi import openapi

    described = {path for path in openapi()["paths"] if path.startswith("/rollout/reviews")}
    paths = (getattr(route, "path", "") for route in door.app.routes)
    served = {path for path in paths if path.startswith("/rollout/reviews")}
    assert described == served
