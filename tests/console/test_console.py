"""The console without a script: who comes in, what people see, and what becomes of what they do."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bento_rollout.admin.people import Proxies
from bento_rollout.console.visiting import CLOSED
from bento_rollout.degrees import Degree
from bento_rollout.reviewing import Role, Selection, Shown, Status, Suggestion, Visibility
from tests.console.site import ADMIN, CHOICES, DIGESTS, ENDPOINT, ROLES, TOKENS, Site, picture
from tests.console.visitor import BASE, OURS, Visitor

PAGES = ("", "/review", "/adjudication", "/agreement", "/automation", "/trail")
ACTS = (
    "/review/next", "/review/answer", "/review/skip", "/review/undo", "/review/stop", "/review/renew",
    "/adjudication/next", "/adjudication/answer", "/automation/set", "/automation/calibrate", "/trail/verify",
)  # fmt: skip
EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
CANARY = "canary-4711"


# -- who comes in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/login", "/entered", "/static/x/console.css", "/no/such/page"])
def test_without_a_token_it_says_only_that(tmp_path: Path, path: str) -> None:
    """A console that nobody can enter shows nothing, whatever is asked for."""
    site = Site(tmp_path, tokens={}, admin="")
    answer = TestClient(site.app()).get(f"{BASE}{path}")
    assert (answer.status_code, answer.text) == (403, CLOSED)


@pytest.mark.parametrize("path", PAGES)
def test_strangers_are_led_to_the_login(site: Site, path: str) -> None:
    """No page is shown to whoever did not log in."""
    answer = Visitor(site).client.get(f"{BASE}{path}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/login")
    assert answer.content == b""


@pytest.mark.parametrize("path", ACTS)
def test_strangers_change_nothing(site: Site, path: str) -> None:
    """Neither does any button work."""
    site.ask()
    answer = Visitor(site).client.post(f"{BASE}{path}", headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/login")
    assert site.reviews.trail.latest(1)[0].what == "submitted"


def test_a_token_is_exchanged_for_a_cookie(site: Site) -> None:
    """The cookie is bound to this host, not read by scripts, and sent to this site alone; it is no token."""
    answer = Visitor(site).login(TOKENS["ada"])
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/entered")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-bento-rollout=")
    told = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"path=/", "secure", "httponly", "samesite=strict", "max-age=28800"} <= told
    assert not any(part.startswith("domain") for part in told)
    assert TOKENS["ada"] not in str(answer.headers)


def test_another_token_lets_nobody_in(site: Site) -> None:
    """It is refused in words, and is not repeated."""
    answer = Visitor(site).login("no-such-token")
    assert answer.status_code == 401
    assert "not known here" in answer.text
    assert "no-such-token" not in answer.text
    assert "set-cookie" not in answer.headers


def test_logins_are_limited(site: Site) -> None:
    """After ten failures the right token has to wait, too."""
    visitor = Visitor(site)
    for _ in range(10):
        assert visitor.login("wrong").status_code == 401
    answer = visitor.login(TOKENS["ada"])
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


def test_whoever_logged_in_is_led_on(site: Site) -> None:
    """The login page is for others; logging out forgets the session."""
    visitor = Visitor(site, "ada")
    assert "<h1>screening</h1>" in visitor.get("/login")
    assert "<h1>screening</h1>" in visitor.get("/entered")
    visitor.press("logout")
    assert "<h1>Log in</h1>" in visitor.page
    assert "<h1>Log in</h1>" in visitor.get()


def test_a_browser_that_keeps_no_cookie_is_told_why(site: Site) -> None:
    """On plain http from another machine browsers drop the cookie: the page says what to do."""
    assert "https" in Visitor(site).get("/entered")


def test_a_session_ends_with_its_token(site: Site) -> None:
    """Whoever's token is taken out of the file is out."""
    visitor = Visitor(site, "ada")
    assert "<h1>Review</h1>" in visitor.get("/review")
    site.token_file.write_text("ben:another\n")
    assert "<h1>Log in</h1>" in visitor.get("/review")
    assert Visitor(site).login(TOKENS["ada"]).status_code == 401


def test_a_link_from_elsewhere_asks_again(site: Site) -> None:
    """A strict cookie is not sent then: the page itself asks once more, and nothing is shown before."""
    page = Visitor(site).get("/review", **{"Sec-Fetch-Site": "cross-site"})
    assert f'content="0; url={BASE}/review"' in page


def test_a_proxy_may_name_the_person(site: Site) -> None:
    """Behind single sign-on nobody needs a token; forms work with the session that was opened on the way."""
    site.proxies = Proxies("X-User", ["127.0.0.1"], [])
    site.ask()
    inside = TestClient(site.app(), base_url="https://console.example", client=("127.0.0.1", 5000))
    visitor = Visitor(site)
    visitor.client = inside
    visitor.get("/review", **{"X-User": "grace"})
    inside.headers["X-User"] = "grace"
    assert "grace" in visitor.page
    assert "Your answer" in visitor.press("next")
    assert site.reviews.trail.latest(1)[0].who == "grace"
    inside.headers["X-User"] = "heidi"  # the session was grace's
    assert "heidi" in visitor.get()
    del inside.headers["X-User"]
    assert "<h1>Log in</h1>" in visitor.get()


def test_a_stranger_is_not_believed_to_be_a_proxy(site: Site) -> None:
    """The header of somebody else's connection means nothing."""
    site.proxies = Proxies("X-User", ["10.0.0.1"], [])
    assert "<h1>Log in</h1>" in Visitor(site).get("/review", **{"X-User": "grace"})


# -- unsafe requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize("path", [*ACTS, "/login", "/logout"])
def test_other_sites_cannot_act(site: Site, path: str, headers: Mapping[str, str]) -> None:
    """A form on another page does nothing, even with the cookie and the token."""
    site.ask()
    visitor = Visitor(site, "admin")
    csrf = re.findall(r'name="csrf" value="([^"]*)"', visitor.get("/review"))[0]
    answer = visitor.client.post(f"{BASE}{path}", data={"csrf": csrf, "token": ADMIN}, headers=headers)
    assert answer.status_code == 403
    assert site.reviews.trail.latest(1)[0].what == "submitted"
    assert visitor.client.get(BASE).status_code == 200


@pytest.mark.parametrize("path", ACTS)
@pytest.mark.parametrize("csrf", ["", "x", None])
def test_forms_show_their_sessions_token(site: Site, path: str, csrf: str | None) -> None:
    """Without it nothing happens; another session's does not count."""
    site.ask()
    visitor, other = Visitor(site, "admin"), Visitor(site, "admin")
    theirs = re.findall(r'name="csrf" value="([^"]*)"', other.get("/review"))[0]
    data = {} if csrf is None else {"csrf": csrf if csrf == "" else theirs}
    visitor.post(path, data)
    assert visitor.status == 403
    assert site.reviews.trail.latest(1)[0].what == "submitted"


def test_forms_are_small(site: Site) -> None:
    """A huge one is refused before it is read."""
    visitor = Visitor(site, "ada")
    visitor.post("/review/answer", {"comment": "x" * (1 << 19)})
    assert visitor.status == 413


@pytest.mark.parametrize("path", [*PAGES, "/login", "/no/such/page"])
def test_every_answer_has_the_policy(site: Site, path: str) -> None:
    """Exactly what was promised, and nothing is cached or framed."""
    headers = Visitor(site, "admin").client.get(f"{BASE}{path}").headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_files_are_kept_by_browsers_and_packed(site: Site) -> None:
    """Their address changes with them; an old address is not found."""
    visitor = Visitor(site)
    sheet = re.findall(
        r'<link rel="stylesheet" href="([^"]*)" integrity="(sha384-[^"]*)">', visitor.get("/login")
    )
    answer = visitor.client.get(sheet[0][0])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/css")
    assert visitor.client.get(sheet[0][0], headers={"Accept-Encoding": "identity"}).text == answer.text
    assert visitor.client.get(f"{BASE}/static/0123456789ab/console.css").status_code == 404


# -- review -----------------------------------------------------------------------------------------------


def test_a_case_is_taken_answered_and_the_next_one_comes(site: Site) -> None:
    """Answer by answer, until none is left."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    assert "radius" in visitor.take()
    assert "the second" in visitor.press("answer", choice="benign", comment="clear", seconds="3.5")
    assert "Answer kept." in visitor.page
    assert "That was the last one" in visitor.press("answer", choice="malignant")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    (rating, _) = site.reviews.ratings(ENDPOINT)
    assert (rating.reviewer, rating.choice) == ("ada", "benign")
    assert site.reviews.stats().median_seconds is not None
    decision = site.reviews.decision(f"{1:032x}")
    assert decision is not None
    assert (decision.status, decision.body, decision.decided_by) == (Status.ANSWERED, b'"benign"', "human")


def test_no_answer_is_preselected_and_all_look_the_same(site: Site) -> None:
    """The buttons differ in nothing but their words and numbers."""
    site.ask_suggested("malignant", visibility=Visibility.SHOWN)
    page = Visitor(site, "ada").take()
    buttons = re.findall(r'<button name="choice" value="([^"]*)" class="([^"]*)"( data-key="\d")?>', page)
    assert [value for value, _, _ in buttons] == list(CHOICES)
    assert {style for _, style, _ in buttons} == {"choice"}
    assert " checked" not in page
    assert "autofocus" not in page


def test_choices_that_are_digits_have_their_own_keys(site: Site) -> None:
    """Whoever reads a 2 presses 2; else the keys count, and the tenth choice has none."""
    site.ask(choices=tuple("0123456789"))
    site.ask(choices=tuple(f"choice {number}" for number in range(11)))
    visitor = Visitor(site, "ada")
    keys = r'value="([^"]*)" class="choice"(?: data-key="(\d)")?'
    assert re.findall(keys, visitor.take()) == [(digit, digit) for digit in "0123456789"]
    found = [key for _, key in re.findall(keys, visitor.press("answer", choice="3"))]
    assert found == [*"123456789", "", ""]


def test_a_reload_shows_the_case_in_hand(site: Site) -> None:
    """Nobody loses a case, or takes a second one, by opening the page again."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "radius" in visitor.get("/review")
    visitor.post("/review/next", {"csrf": re.findall(r'name="csrf" value="([^"]*)"', visitor.page)[0]})
    assert "radius" in visitor.page
    assert len([one for one in site.reviews.list() if one.in_hands_of]) == 1


def test_after_the_answer_the_suggestion_is_shown_and_may_be_followed(site: Site) -> None:
    """Both answers are kept: what was said first, and what was made of it."""
    site.ask_suggested("malignant", why=("score 0.71 below 0.93",))
    visitor = Visitor(site, "ada")
    page = visitor.take()
    assert "0.91" not in page
    assert "0.71" not in page
    page = visitor.press("answer", choice="benign")
    assert "The model says otherwise" in page
    assert "0.91" in page
    assert "score 0.71 below 0.93" in page
    assert "The model says otherwise" in visitor.get("/review")  # a reload keeps it
    visitor.press("answer", choice="malignant")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    (rating,) = site.reviews.ratings(ENDPOINT)
    assert (rating.choice, rating.independent) == ("benign", True)
    assert site.reviews.stats().revised == 1


@pytest.mark.parametrize("visibility", [Visibility.HIDDEN, Visibility.AFTER_ANSWER])
def test_a_hidden_suggestion_appears_nowhere(site: Site, visibility: Visibility) -> None:
    """Neither in a page, nor in a header, nor in a cookie, before the answer."""
    said = Suggestion({"label": CANARY}, CANARY, 0.4711, CANARY, DIGESTS["logistic"], time.time())
    site.ask(suggestion=said, visibility=visibility, why=(f"because of {CANARY}",))
    visitor = Visitor(site, "ada")
    visitor.take()
    for path in PAGES:
        answer = visitor.client.get(f"{BASE}{path}")
        assert CANARY not in answer.text + str(answer.headers)
        assert "0.47" not in answer.text
    visitor.get("/review")
    after = visitor.press("answer", choice="benign")
    assert (CANARY in after) is (visibility is Visibility.AFTER_ANSWER)


def test_a_shown_suggestion_is_seen_before_unless_the_case_is_blind(site: Site) -> None:
    """The blind share hides it."""
    site.ask_suggested("malignant", visibility=Visibility.SHOWN)
    site.ask_suggested("malignant", visibility=Visibility.SHOWN, blind=True)
    visitor = Visitor(site, "ada")
    assert "The model suggests" in visitor.take()
    assert "The model suggests" not in visitor.press("answer", choice="benign")
    assert "Your answer" in visitor.page


def test_an_answer_can_be_taken_back(site: Site) -> None:
    """The case is in hand again; the one that came meanwhile goes back."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    visitor.take()
    visitor.press("answer", choice="benign")
    page = visitor.press("undo")
    assert "Taken back" in page
    assert "radius" in page
    assert "the second" in visitor.press("answer", choice="malignant")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    (rating,) = site.reviews.ratings(ENDPOINT)
    assert rating.choice == "malignant"


def test_what_is_final_stays(site: Site) -> None:
    """After ten seconds it is said that it is too late, and the case in hand stays there."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    visitor.take()
    visitor.press("answer", choice="benign")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    page = visitor.press("undo")
    assert visitor.status == 422
    assert "is final" in page
    assert "the second" in page


def test_a_skip_needs_a_reason(site: Site) -> None:
    """Without one the case stays in hand; with one it is gone for this person."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "a skip needs a reason" in visitor.press("skip", act="skip")
    assert visitor.status == 422
    assert "Skipped" in visitor.press("skip", act="skip", reason="This is not my field")
    assert "No case waits for you now" in visitor.press("next")
    assert "radius" in Visitor(site, "ben").take()


def test_a_case_is_handed_up(site: Site) -> None:
    """An adjudicator gets it, in words of the reviewer's own."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "Handed up" in visitor.press("skip", act="escalate", other="I have never seen this")
    assert "radius" in Visitor(site, "cleo").take("/adjudication")
    acts = [(one.who, one.what) for one in site.reviews.trail.entries(task=f"{1:032x}")]
    assert acts[-2:] == [("ada", "escalated"), ("cleo", "claimed")]


def test_giving_back(site: Site) -> None:
    """Whoever stops leaves the case to others."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "nothing is in your hands" in visitor.press("stop")
    assert "radius" in Visitor(site, "ben").take()


def test_a_case_that_was_lost_is_said_so(site: Site) -> None:
    """Somebody who comes back late is told, and gets the next one."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    visitor.take()
    site.reviews.withdraw([f"{1:032x}"])
    page = visitor.press("answer", choice="benign")
    assert "not in your hands any more" in page
    assert "the second" in page


def test_an_answer_told_twice_counts_once(site: Site) -> None:
    """A key that was pressed twice does not answer the next case."""
    site.ask()
    site.ask(Shown("text", "the second"))
    visitor = Visitor(site, "ada")
    first = visitor.take()
    visitor.press("answer", choice="benign")
    visitor.page = first
    assert "the second" in visitor.press("answer", choice="malignant")
    assert site.reviews.stats().open == 2
    assert [one.answers for one in site.reviews.list()].count(1) == 1


def test_only_a_part_is_sent_to_the_script(site: Site) -> None:
    """The rest of the page is there already."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.get("/review")
    page = visitor.press("next", part=True)
    assert page.startswith('<div id="work"')
    assert "<html" not in page


def test_a_session_that_ended_leads_the_script_to_the_login(site: Site) -> None:
    """Not a login page within a page."""
    answer = Visitor(site).client.post(f"{BASE}/review/next", headers={**OURS, "HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, f"{BASE}/login")


def test_what_the_endpoint_does_not_take_is_said_without_its_words(site: Site) -> None:
    """The user's own code may raise anything: nothing is kept, and its words are not shown."""
    site.ask(choices=("impossible", "benign"))
    visitor = Visitor(site, "ada")
    visitor.take()
    page = visitor.press("answer", choice="impossible", comment="my remark")
    assert visitor.status == 422
    assert "does not take this answer (ValueError)" in page
    assert "a secret of the endpoint" not in page
    assert "my remark" in page
    assert "That was the last one" in visitor.press("answer", choice="benign")


def test_an_answer_that_is_no_choice_is_refused(site: Site) -> None:
    """A form that was made up answers nothing."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "none of its choices" in visitor.press("answer", choice="maybe")
    assert visitor.status == 422


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "finding": {"$ref": "#/$defs/Finding"},
        "size": {"type": "number", "description": "in mm"},
        "count": {"type": "integer"},
        "urgent": {"type": "boolean"},
        "note": {"type": "string"},
        "regions": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["finding", "size"],
    "$defs": {"Finding": {"enum": ["benign", "malignant"]}},
}


def test_a_form_by_schema(site: Site) -> None:
    """Cases without choices are filled in; what is left empty and may be is left out."""
    site.ask(choices=(), schema=SCHEMA)
    visitor = Visitor(site, "ada")
    page = visitor.take()
    assert re.findall(r'name="f\.(\w+)"', page) == ["finding", "size", "count", "note", "regions", "urgent"]
    assert "in mm" in page
    for wrong, words in (
        ({"f.finding": '"benign"', "f.size": "big"}, "size"),
        ({"f.finding": '"benign"', "f.size": "1", "f.count": "1.5"}, "count must be a whole number"),
        ({"f.finding": '"other"', "f.size": "1"}, "finding must be one of"),
        ({"f.finding": '"benign"', "f.size": "1", "f.regions": "[1,"}, "regions"),
        ({"f.finding": "", "f.size": "1"}, "finding is empty"),
    ):
        assert words in visitor.press("answer", {**wrong, "f.note": "kept"})
        assert visitor.status == 422
        assert 'value="kept"' in visitor.page
    visitor.press(
        "answer", {"f.finding": '"malignant"', "f.size": "12.5", "f.urgent": "true", "f.regions": "[1, 2]"}
    )
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    (rating,) = site.reviews.ratings(ENDPOINT)
    assert rating.choice == {"finding": "malignant", "size": 12.5, "urgent": True, "regions": [1, 2]}


@pytest.mark.parametrize("schema", [None, {}, {"type": "array"}, {"type": "number"}, {"$ref": "#/nothing"}])
def test_other_schemas_are_one_field(site: Site, schema: Mapping[str, Any] | None) -> None:
    """Whatever the output is, an answer can be written."""
    site.ask(choices=(), schema=schema)
    visitor = Visitor(site, "ada")
    visitor.take()
    assert "is empty" in visitor.press("answer", json="")
    assert "That was the last one" in visitor.press("answer", json="12")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (picture(40, 30), 'src="data:image/png;base64,'),
        (Shown("text", "a < b"), '<div class="prose">a &lt; b</div>'),
        (Shown("table", {"columns": ["a"], "rows": [[1], [None]]}), "<td>1</td>"),
        (Shown("json", {"a": {"b": [1]}}), '<pre class="code"'),
        (Shown("json", {"a": 1}), '<tr><th scope="row">a</th><td>1</td></tr>'),
        (Shown("json", [{"a": 1, "b": 2}, {"a": 3}]), "<td>3</td>"),
        (Shown("json", [1, 2]), '<pre class="code"'),
        (Shown("json", 5), '<pre class="code"'),
        (
            Shown("link", "https://pacs.example/1"),
            'href="https://pacs.example/1" target="_blank" rel="noopener',
        ),
        (Shown("link", "javascript:alert(1)"), '<div class="prose">javascript:alert(1)</div>'),
        (Shown("link", "data:text/html,x"), '<div class="prose">data:text/html,x</div>'),
        (Shown("link", "//evil.example"), '<div class="prose">//evil.example</div>'),
        (Shown("image", "PHN2Zz4=", "image/svg+xml"), "cannot be shown here"),
        (Shown("image", '"><script>', "image/png"), "cannot be shown here"),
        (Shown("image", "AAAA", 'image/png" onload="x'), "cannot be shown here"),
        (Shown("table", {"columns": "x"}), "columns"),
        (Shown("text", "x" * 300_000), "100000 more characters are not shown"),
        (Shown("json", [{"a": n} for n in range(600)]), "100 more rows are not shown"),
    ],
)
def test_inputs_are_shown_as_what_they_are(site: Site, shown: Shown, expected: str) -> None:
    """And what is not what it says it is, is text."""
    site.ask(shown)
    assert expected in Visitor(site, "ada").take()


@pytest.mark.parametrize("kind", ["text", "json", "link", "table", "image", "no such kind"])
def test_markup_is_text_wherever_it_comes_from(site: Site, kind: str) -> None:
    """Inputs, choices, suggestions, reasons, comments and names hold anything, and run nothing."""
    content: Any = {"columns": [EVIL], "rows": [[EVIL]]} if kind == "table" else EVIL
    content = {EVIL: EVIL} if kind == "json" else content
    said = Suggestion(EVIL, EVIL, 0.5, EVIL, DIGESTS["logistic"], time.time())
    more: dict[str, Any] = {"suggestion": said, "visibility": Visibility.AFTER_ANSWER, "why": (EVIL,)}
    site.ask(Shown(kind, content, EVIL), choices=(EVIL, "b"), **more)
    site.rollout().acting_as(EVIL).set_weights({"boosted": 5}, reason=EVIL)
    visitor = Visitor(site, "ada")
    pages = [visitor.take(), visitor.press("answer", choice=EVIL, comment=EVIL)]
    pages.append(visitor.press("answer", choice=EVIL))
    admin = Visitor(site, "admin")
    pages += [admin.get(path) for path in PAGES]
    for page in pages:
        assert "onerror=alert(1)>" not in page
        assert "<script>alert" not in page
        assert "</script><script" not in page.replace("</script>\n<script", "")
    assert "&lt;img src=x onerror" in pages[0]


def test_somebody_without_the_role_reviews_nothing(site: Site) -> None:
    """A viewer sees the pages, and no case."""
    site.ask()
    ROLES["ben"] = (Role.VIEWER,)
    try:
        visitor = Visitor(site, "ben")
        assert "Not for your role" in visitor.get("/review")
        csrf = re.findall(r'name="csrf" value="([^"]*)"', Visitor(site, "ada").get("/review"))[0]
        visitor.post("/review/next", {"csrf": csrf})
        assert visitor.status == 403
        assert site.reviews.trail.latest(1)[0].what == "submitted"
    finally:
        del ROLES["ben"]


# -- adjudication -----------------------------------------------------------------------------------------


def test_two_answers_that_differ_are_adjudicated_without_names(site: Site) -> None:
    """The third person sees both, and not whose they are; the first two do not see each other's."""
    site.ask(reviewers=2, adjudicate=True)
    ada, ben = Visitor(site, "ada"), Visitor(site, "ben")
    ada.take()
    ada.press("answer", choice="benign")
    assert "Answer A" not in ben.take()
    ben.press("answer", choice="malignant")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    cleo = Visitor(site, "cleo")
    page = cleo.take("/adjudication")
    assert "Two answers differ" in page
    assert re.findall(r"Answer [AB]</span> <strong>(\w+)<", page) in (
        ["benign", "malignant"],
        ["malignant", "benign"],
    )
    assert "ada" not in page
    assert "ben<" not in page
    cleo.press("answer", choice="malignant")
    site.reviews.settle(time.time() + 120, lambda _: ("", b""))
    decision = site.reviews.decision(f"{1:032x}")
    assert decision is not None
    assert decision.body == b'"malignant"'


def test_reviewers_do_not_adjudicate(site: Site) -> None:
    """It is said whose task it is."""
    assert "Adjudicators decide" in Visitor(site, "ada").get("/adjudication")


# -- the other pages --------------------------------------------------------------------------------------


def test_the_overview_says_how_it_stands(site: Site) -> None:
    """Who answers how much, whether all is well, and what changed."""
    site.rollout().acting_as("dora").set_weights({"boosted": 12.5}, reason="a first look")
    visitor = Visitor(site, "ada")
    page = visitor.get()
    assert "1 of 1 workers serve an older revision" in page
    site.describe()
    page = visitor.get()
    assert "All is well" in page
    assert "87.5\u202f%" in page
    assert "a first look" in page
    assert "dora" in page
    site.presence.leave()
    assert "No worker is live" in visitor.get()


def test_a_spec_that_differs_is_no_trouble(site: Site) -> None:
    """A degree above the spec's is where every climb leads: it is told, and all is well."""
    visitor = Visitor(site, "ada")
    assert "The spec says otherwise" not in visitor.get()
    site.rollout().acting_as("dora").set_degree(ENDPOINT, "assist", reason="they agree")
    site.describe()
    page = visitor.get()
    assert "The spec says otherwise" in page
    assert "the spec asks for shadow, the state has assist" in page
    assert "All is well" in page
    assert "Needs a look" not in page


def test_agreement_of_people_and_model(site: Site) -> None:
    """Raw, kappa and alpha with intervals, warnings, and who answered how often."""
    for number in range(12):
        site.ask_suggested(CHOICES[number % 2], reviewers=2, adjudicate=True)
        site.answer("ada", CHOICES[number % 2])
        site.answer("ben", CHOICES[number % 3 % 2])
    visitor = Visitor(site, "ada")
    assert "6 cases wait for an adjudicator" in visitor.get("/agreement")
    for _ in range(6):
        site.answer("cleo", "benign", role=Role.ADJUDICATOR)
    page = visitor.get("/agreement")
    assert "Cohen\u2019s \u03ba" in page
    assert "Krippendorff\u2019s \u03b1" in page
    assert "below 50" in page
    assert "12 cases that two people answered" in page
    assert re.search(r"ada</th><td class=\"num\">12<", page)


def test_agreement_is_what_the_terminal_says(site: Site) -> None:
    """One number for one thing: a case counts once, and one that the model was unsure of does not count."""
    for number in range(20):
        site.ask_suggested(CHOICES[number % 2], reviewers=2)
        site.answer("ada", CHOICES[number % 2])
        site.answer("ben", CHOICES[number % 3 % 2])
    for _ in range(9):
        site.ask_suggested("benign", degree=Degree.PARTIAL, selection=Selection.UNSURE)
        site.answer("ada", "malignant")
    page = Visitor(site, "ada").get("/agreement")
    found = site.rollout().agreement(ENDPOINT)[ENDPOINT]
    assert found["model"]["units"] == 20
    assert "20 cases drawn whatever this model said" in page
    for group in ("people", "model"):
        low, high = found[group]["raw_interval"]
        assert f"{low:.2f} to {high:.2f}<" in page


def test_the_ladder_shows_evidence_and_who_may_raise(site: Site) -> None:
    """Five degrees, what each needs, what is missing."""
    for _ in range(5):
        site.ask_suggested("benign")
        site.answer("ada", "benign")
    page = Visitor(site, "ada").get("/automation")
    for word in ("human", "shadow", "assist", "partial", "full"):
        assert f"<h3>{word} " in page
    assert 'aria-current="step"' in page
    assert "144 missing" in page
    assert "none for this model" in page
    assert "max_degree: partial is the highest" in page
    assert "an operator: admin, dora" in page
    assert "Set assist" not in page


def test_operators_set_degrees_and_calibrate(site: Site) -> None:
    """By the same rules as every other door; a reason is asked for."""
    visitor = Visitor(site, "admin")
    visitor.get("/automation")
    forms = {"endpoint": ENDPOINT, "degree": "assist"}
    assert "say why" in visitor.press("set", forms)
    assert "read is at assist now" in visitor.press("set", forms, reason="they agree")
    assert site.rollout().state.automation[ENDPOINT].author == "admin"
    assert "needs a threshold" in visitor.press("set", endpoint=ENDPOINT, degree="partial", reason="why not")
    assert "nothing can be certified" in visitor.press("calibrate")


@pytest.mark.parametrize("act", ["set", "calibrate"])
def test_nobody_else_sets_a_degree(site: Site, act: str) -> None:
    """A reviewer's form, made up, changes nothing."""
    visitor = Visitor(site, "ada")
    csrf = re.findall(r'name="csrf" value="([^"]*)"', visitor.get("/review"))[0]
    data = {"csrf": csrf, "endpoint": ENDPOINT, "degree": "human", "reason": "x"}
    assert "only operators change degrees" in visitor.post(f"/automation/{act}", data)
    assert site.rollout().state.automation[ENDPOINT].degree.word == "shadow"


def test_the_trail_is_read_and_verified(site: Site) -> None:
    """Whoever tampers with it is found out."""
    site.ask()
    site.answer("ada", "benign")
    visitor = Visitor(site, "admin")
    page = visitor.get("/trail")
    assert re.findall(r"<strong>(\w+)</strong></td><td[^>]*>([^<]*)<details", page) == [
        ("ada", "decided it"),
        ("ada", "answered it"),
        ("ada", "took it in hand"),
        ("automation", f"asked people about a prediction of {ENDPOINT}: people see every case"),
    ]
    assert "&#34;what&#34;: &#34;claimed&#34;" in page
    assert f"{1:032x}" not in page  # who knows all of it may ask for the decision
    assert "whole" in visitor.press("verify")
    with sqlite3.connect(site.reviews.path) as db:
        db.execute("DROP TRIGGER trail_stays")
        db.execute("UPDATE trail SET who = 'mallory' WHERE what = 'claimed'")
    assert "Entry 2 of 4 is not as it was written" in visitor.press("verify")
    assert "Not for your role" in Visitor(site, "ada").get("/trail")


def test_nothing_is_automated(site: Site) -> None:
    """A service without `automation:` has a console, too."""
    visitor = Visitor(site, "admin", site.app(lambda: None))
    for path in PAGES:
        assert visitor.get(path)
        assert visitor.status == 200
    assert "Nothing is automated here" in visitor.get("/review")


def test_a_store_that_cannot_be_used_is_said_so(site: Site) -> None:
    """The page names it; nobody loses their session."""
    site.ask()
    visitor = Visitor(site, "ada")
    visitor.take()
    site.reviews.close()
    site.reviews.path.write_bytes(b"no database at all, and long enough to be read as one" * 100)
    page = visitor.get("/review")
    assert visitor.status == 503
    assert "cannot be done now" in page
    visitor.get()
    assert visitor.status == 200
