"""The console in a real browser: by keyboard and by mouse, light and dark, wide and narrow, with axe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bento_rollout.reviewing import Shown, Status, Suggestion, Visibility
from tests.browsing import CHROMIUM, OPTIONS, chromium
from tests.console.site import ADMIN, CHOICES, DIGESTS, ENDPOINT, TOKENS, Site, picture, served
from tests.npm import AXE, npm_package

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
BASE = "/rollout/console"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return axe-core's source."""
    folder = npm_package(*AXE, tmp_path_factory.getbasetemp() / "npm")
    return (folder / "axe.min.js").read_text(encoding="utf-8")


class Tab:
    """A page of the console, and what the browser complained of."""

    def __init__(self, context: Any, url: str) -> None:
        self.context, self.url = context, url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._alerted)
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _alerted(self, dialog: Any) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def login(self, who: str) -> Tab:
        """Show somebody's token."""
        return self.enter(ADMIN if who == "admin" else TOKENS[who])

    def enter(self, token: str) -> Tab:
        """Show a token."""
        self.page.goto(f"{self.url}{BASE}/login")
        self.page.fill("#token", token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.url}{BASE}")
        return self

    def open(self, path: str) -> Tab:
        """Open a page."""
        self.page.goto(f"{self.url}{BASE}{path}")
        return self

    def take(self) -> Tab:
        """Take a case."""
        self.open("/review").wait_for_script()
        self.page.keyboard.press("n")
        self.page.wait_for_selector("#answer")
        return self

    def wait_for_script(self) -> None:
        """Wait until htmx has the forms; before, the browser sends them itself."""
        self.page.wait_for_selector("#work form[data-htmx-powered]", state="attached")

    def answer(self, key: str) -> None:
        """Press a key, and wait for what comes then."""
        task = self.page.locator("#work").get_attribute("data-task")
        with self.page.expect_response(re.compile(f"{BASE}/(review|adjudication)/answer")):
            self.page.keyboard.press(key)
        self.page.wait_for_function(
            "old => document.querySelector('#work').dataset.task !== old || document.querySelector('#keep')",
            arg=task,
        )
        self.wait_for_script()

    @property
    def status(self) -> str:
        """What a screen reader is told."""
        return str(self.page.locator("#status").inner_text())

    def is_quiet(self) -> bool:
        """Whether nothing was wrong, and nothing was loaded from elsewhere."""
        ours = all(one.startswith((self.url, "data:image/")) for one in self.requests)
        return self.complaints == [] and ours


@contextmanager
def tab(browser: Any, site: Site, *, host: str = "127.0.0.1", **options: Any) -> Iterator[Tab]:
    """Serve the console, and open a browser's page."""
    with served(site.app()) as url, tab_at(browser, url.replace("127.0.0.1", host), **options) as one:
        yield one


@contextmanager
def tab_at(browser: Any, url: str, **options: Any) -> Iterator[Tab]:
    """Open a browser's page of a console that is served already."""
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)
    try:
        yield Tab(context, url)
    finally:
        context.close()


# -- everybody can use it ---------------------------------------------------------------------------------


def filled(site: Site) -> None:
    """Put something on every page."""
    rollout = site.rollout().acting_as("dora")
    for percent in (5, 10, 25):
        rollout.set_weights({"boosted": percent}, reason="evidence is good")
    for number in range(40):
        truth = CHOICES[number % 2]
        site.ask_suggested(
            truth if number % 9 else CHOICES[0], score=0.6 + number / 100, reviewers=1 + number % 2
        )
        site.answer("ada", truth)
        if number % 2:
            site.answer("ben", truth)


def shown_case(shown: Shown | None = None, **more: Any) -> Callable[[Site, Tab], None]:
    """Return what takes a case with an input."""

    def act(site: Site, one: Tab) -> None:
        site.ask(shown, **more)
        one.login("ada").take()

    return act


def revealed(site: Site, one: Tab) -> None:
    """Answer a case of which the model says otherwise."""
    site.ask_suggested("malignant", why=("score 0.71 below 0.93",))
    one.login("ada").take().answer("1")


def adjudicating(site: Site, one: Tab) -> None:
    """Take a case whose two answers differ."""
    site.ask(reviewers=2, adjudicate=True)
    site.answer("ada", "benign")
    site.answer("ben", "malignant")
    one.login("cleo").open("/adjudication").page.keyboard.press("n")
    one.page.wait_for_selector("#answer")


def skipping(site: Site, one: Tab) -> None:
    """Open the reasons."""
    site.ask()
    one.login("ada").take().page.keyboard.press("s")


def helped(site: Site, one: Tab) -> None:
    """Open the help."""
    one.login("ada").open("/review").page.keyboard.press("?")


def verified(site: Site, one: Tab) -> None:
    """Verify the trail."""
    one.login("admin").open("/trail").page.get_by_role("button", name="Verify").click()


FORM = {
    "type": "object",
    "properties": {"finding": {"enum": ["a", "b"]}, "size": {"type": "number"}, "more": {"type": "array"}},
    "required": ["finding"],
}
TABLE = {"columns": [f"column {n}" for n in range(12)], "rows": [[n * 1.5] * 12 for n in range(5)]}

VIEWS: dict[str, Callable[[Site, Tab], object]] = {
    "login": lambda _, one: one.open("/login"),
    "overview": lambda _, one: one.login("admin"),
    "start": lambda _, one: one.login("ada").open("/review"),
    "image": shown_case(picture()),
    "text": shown_case(Shown("text", "A long report. " * 80)),
    "table": shown_case(Shown("table", TABLE)),
    "json": shown_case(Shown("json", {"a": {"b": ["x" * 200]}})),
    "link": shown_case(Shown("link", "https://pacs.example/" + "x" * 200)),
    "form": shown_case(choices=(), schema=FORM),
    "many": shown_case(choices=tuple(f"choice {n} " + "long " * n for n in range(12))),
    "revealed": revealed,
    "skip": skipping,
    "help": helped,
    "adjudication": adjudicating,
    "agreement": lambda _, one: one.login("admin").open("/agreement"),
    "automation": lambda _, one: one.login("admin").open("/automation"),
    "trail": verified,
}  # fmt: skip

LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 320)]

SMALL = """
() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".leap, .hush"))
  .filter((one) => getComputedStyle(one).display !== "inline")
  .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24))
  .map(([html, box]) => `${html} ${box.width} x ${box.height}`)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """Yield a console with something on every page, and its address."""
    site = Site(tmp_path_factory.mktemp("world"))
    filled(site)
    with served(site.app()) as url:
        yield site, url
    site.presence.leave()
    site.reviews.close()


FEWER = """
() => document.querySelectorAll("tbody tr:nth-child(n + 31)").forEach((row) => row.remove())
"""
"""Of a long table 30 rows are looked at: the others are made alike, and axe takes seconds for a hundred."""

SETTLED = "() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 200))"
"""Charts are drawn anew 150 ms after the window has another size."""


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_accessible(browser: Any, axe: str, world: tuple[Site, str], view: str) -> None:
    """Axe finds nothing against WCAG 2.2 AA; nothing is wider than the screen; targets are large."""
    site, url = world
    site.reviews.withdraw([one.id for one in site.reviews.list(status=Status.OPEN)])
    with tab_at(browser, url, color_scheme=LOOKS[0][0], viewport=window(LOOKS[0][1])) as one:
        VIEWS[view](site, one)
        one.page.wait_for_load_state("networkidle")
        one.page.evaluate(FEWER)
        one.page.evaluate(axe)  # by the debugger: the page's own policy would not let it in
        for scheme, width in LOOKS:
            one.page.emulate_media(color_scheme=scheme)
            one.page.set_viewport_size(window(width))
            one.page.evaluate(SETTLED)
            found = one.page.evaluate(
                "tags => axe.run(document, { runOnly: tags, resultTypes: ['violations'] })", TAGS
            )
            assert len(found["passes"]) > 10
            broken = [
                (rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]
            ]
            assert broken == [], (scheme, width)
            assert one.page.evaluate("document.documentElement.scrollWidth") <= width
            assert one.page.evaluate(SMALL) == [], (scheme, width)
        assert one.is_quiet(), (one.complaints, one.requests)


def window(width: int) -> dict[str, int]:
    """Return the size of a phone's or a desktop's window."""
    return {"width": width, "height": 844 if width < 500 else 800}


def test_dark_is_dark(browser: Any, site: Site) -> None:
    """The page follows what the system is set to."""
    for scheme, color in (("light", "rgb(246, 247, 249)"), ("dark", "rgb(18, 21, 26)")):
        with tab(browser, site, color_scheme=scheme) as one:
            one.open("/login")
            assert one.page.evaluate("getComputedStyle(document.body).backgroundColor") == color


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_cookie_is_kept_on_this_machine(browser: Any, site: Site, host: str) -> None:
    """Over plain http, too: for these names the browser takes a `__Host-` cookie; no script reads it."""
    with tab(browser, site, host=host) as one:
        one.login("ada")
        (cookie,) = one.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
            "__Host-bento-rollout", True, True, "Strict", "/",
        )  # fmt: skip
        assert one.page.evaluate("document.cookie") == ""


def test_elsewhere_the_page_says_why_it_cannot(browser: Any, site: Site) -> None:
    """Over plain http by another name the browser drops the cookie."""
    rules = "--host-resolver-rules=MAP console.example 127.0.0.1"
    other = browser.browser_type.launch(executable_path=str(CHROMIUM), args=[*OPTIONS, rules])
    try:
        with served(site.app()) as url:
            page = other.new_page()
            page.goto(f"{url.replace('127.0.0.1', 'console.example')}{BASE}/login")
            page.fill("#token", TOKENS["ada"])
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("**/entered")
            assert "Open the console over https" in page.inner_text("main")
            assert page.context.cookies() == []
    finally:
        other.close()


# -- review -----------------------------------------------------------------------------------------------


def test_review_by_keyboard(browser: Any, site: Site) -> None:
    """Take, answer, see what the model says, keep, skip, take back: without a mouse or a page load."""
    site.ask_suggested("malignant")
    for text in ("the second", "the third"):
        site.ask(Shown("text", text))
    with tab(browser, site) as one:
        one.login("ada").take()
        loads = len([url for url in one.requests if url.endswith("/review")])
        one.answer("1")
        assert "The model says otherwise" in one.page.inner_text("#work")
        assert "This is what the model says" in one.status
        one.answer("n")
        assert "the second" in one.page.inner_text("#work")
        assert one.status == "Answer kept."
        assert one.page.evaluate("document.activeElement.id") == "case-title"
        one.page.keyboard.press("n")
        assert "Answer this one first" in one.status
        one.page.keyboard.press("s")
        one.page.keyboard.press("ArrowDown")
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector("text=the third")
        one.wait_for_script()
        assert "Skipped" in one.status
        one.answer("2")
        one.page.keyboard.press("u")
        one.page.wait_for_selector("text=the third")
        one.wait_for_script()
        assert "Taken back" in one.status
        one.answer("1")
        assert "last one for now" in one.page.inner_text("#work")
        assert len([url for url in one.requests if url.endswith("/review")]) == loads
        assert one.is_quiet(), one.complaints
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    assert [(rating.choice, rating.task[-1]) for rating in site.reviews.ratings(ENDPOINT)] == [
        ("benign", "1"), ("benign", "3"),
    ]  # fmt: skip
    assert site.reviews.stats().skipped == 1


def test_keys_rest_in_fields_and_can_be_turned_off(browser: Any, site: Site) -> None:
    """What somebody writes answers nothing; the switch stays as it was set."""
    site.ask()
    with tab(browser, site) as one:
        one.login("ada").take()
        one.page.get_by_text("Comment").first.click()
        one.page.locator("#comment").press_sequentially("1 sun ?")
        assert one.page.input_value("#comment") == "1 sun ?"
        switch = one.page.get_by_role("switch", name="Keys")
        switch.click()
        assert switch.get_attribute("aria-checked") == "false"
        assert one.status == "Keys are off"
        for key in ("1", "s", "n", "?"):
            one.page.locator("#case-title").press(key)
        one.page.reload()
        one.page.keyboard.press("1")
        assert one.page.get_by_role("switch", name="Keys").get_attribute("aria-checked") == "false"
        assert not one.page.locator("#help").is_visible()
        one.page.get_by_role("switch", name="Keys").click()
        one.page.locator("#case-title").press("Control+1")
        assert "Your answer" in one.page.inner_text("#work")
        one.page.locator("#case-title").press("?")
        assert one.page.locator("#help").is_visible()
        one.page.keyboard.press("1")  # the help is open
        one.page.keyboard.press("Escape")
        assert "Your answer" in one.page.inner_text("#work")
        assert one.is_quiet(), one.complaints
    assert [act.what for act in site.reviews.trail.latest()] == ["claimed", "submitted"]


def test_a_comment_and_the_time_are_kept(browser: Any, site: Site) -> None:
    """The time is what the page was looked at, as the browser measured it."""
    site.ask()
    with tab(browser, site) as one:
        one.login("ada").take()
        one.page.get_by_text("Comment").first.click()
        one.page.fill("#comment", "a remark")
        one.page.get_by_role("button", name="malignant").click()
        one.page.wait_for_selector("text=last one for now")
    site.reviews.settle(time.time() + 60, lambda _: ("", b""))
    seconds = site.reviews.stats().median_seconds
    assert seconds is not None
    assert 0 < seconds < 60
    assert round(seconds, 1) == seconds


TIMERS = "one => one.closest('.undo').getAnimations().map((timer) => timer.effect.getTiming().delay)"


def test_what_can_be_taken_back_vanishes(browser: Any, site: Site) -> None:
    """After ten seconds the button is gone; it goes by an animation, whose clock runs faster here."""
    site.ask()
    with tab(browser, site) as one:
        one.login("ada").take().answer("1")
        assert one.page.locator("#undo").is_visible()
        one.page.wait_for_timeout(500)
        assert one.page.locator("#undo").is_visible()
        (timer,) = one.page.locator("#undo").evaluate(TIMERS)
        assert timer == 10_000
        debugger = one.context.new_cdp_session(one.page)
        debugger.send("Animation.enable")
        debugger.send("Animation.setPlaybackRate", {"playbackRate": 20})
        one.page.locator("#undo").wait_for(state="hidden")
        assert one.is_quiet()


def test_a_wrong_answer_is_said(browser: Any, site: Site) -> None:
    """What the endpoint does not take stays in hand, and is an alert."""
    site.ask(choices=("impossible", "benign"))
    with tab(browser, site) as one:
        one.login("ada").take()
        one.page.keyboard.press("1")
        assert "does not take this answer" in one.page.get_by_role("alert").inner_text()
        one.wait_for_script()
        assert [text for text in one.complaints if "422" not in text] == []
        one.page.keyboard.press("2")
        one.page.wait_for_selector("text=last one for now")


def test_a_session_that_ended_meanwhile_leads_to_the_login(browser: Any, site: Site) -> None:
    """Whoever answers then is asked to log in, and the case is not answered."""
    site.ask()
    with tab(browser, site) as one:
        one.login("ada").take()
        one.context.clear_cookies()
        one.page.keyboard.press("1")
        one.page.wait_for_url("**/login")
    assert site.reviews.stats().answered == {}


def test_a_service_that_is_gone_is_said(browser: Any, site: Site) -> None:
    """The keys work again when it is back."""
    site.ask()
    with tab(browser, site) as one:
        one.login("ada").take()
        one.page.route("**/answer", lambda route: route.abort())
        one.page.keyboard.press("1")
        one.page.wait_for_function(
            "() => document.querySelector('#status').textContent.includes('did not answer')"
        )
        one.page.unroute("**/answer")
        one.page.keyboard.press("1")
        one.page.wait_for_selector("text=last one for now")


def test_a_resting_pointer_chooses_nothing(browser: Any, site: Site) -> None:
    """All buttons of a case that has just come look the same, wherever the pointer was left."""
    site.ask()
    site.ask()
    look = "one => ['backgroundColor', 'borderColor'].map((name) => getComputedStyle(one)[name]).join()"
    with tab(browser, site) as one:
        one.login("ada").take()
        task = one.page.locator("#work").get_attribute("data-task")
        one.page.get_by_role("button", name="malignant").click()
        one.page.wait_for_function("old => document.querySelector('#work').dataset.task !== old", arg=task)
        box = one.page.get_by_role("button", name="malignant").bounding_box()
        one.page.wait_for_timeout(300)
        looks = [button.evaluate(look) for button in one.page.locator(".choice").all()]
        assert looks[0] == looks[1]
        one.page.mouse.move(box["x"] + 20, box["y"] + 20)
        assert one.page.locator(".choice").nth(1).evaluate(look) != looks[0]


def test_a_case_stays_in_the_hands_of_whoever_works(browser: Any, site: Site) -> None:
    """Without a sign of life it goes to others when the lease is over; with one it stays."""
    site.ask()
    with served(site.app(lease=8.0)) as url, tab_at(browser, url) as one:
        one.login("ada").take()
        begin = time.monotonic()
        while time.monotonic() < begin + 11:
            one.page.keyboard.press("Shift")
            one.page.wait_for_timeout(500)
        assert [hand for case in site.reviews.list() for hand in case.in_hands_of] == ["ada"]
        assert one.is_quiet(), one.complaints


def test_without_a_script(browser: Any, site: Site) -> None:
    """Plain forms do the same."""
    site.ask_suggested("malignant")
    site.ask(Shown("text", "the second"))
    with tab(browser, site, java_script_enabled=False) as one:
        one.login("ada").open("/review")
        one.page.get_by_role("button", name="Take the next case").click()
        one.page.get_by_role("button", name="benign").click()
        assert one.page.get_by_text("The model says otherwise").is_visible()
        one.page.get_by_role("button", name="Keep my answer").click()
        assert one.page.get_by_text("the second").is_visible()
        one.page.get_by_role("button", name="Take it back").click()
        assert one.page.get_by_text("The model says otherwise").is_visible()
        one.page.get_by_role("button", name="malignant").click()
        one.page.get_by_text("Skip or hand up").click()
        one.page.get_by_label("This is not my field").check()
        one.page.get_by_role("button", name="Skip").click()
        assert one.page.get_by_text("last one for now").is_visible()
        assert not one.page.get_by_role("switch").is_visible()
        one.page.get_by_role("link", name="Audit trail").click()
        one.page.get_by_role("button", name="Log out").click()
        assert one.page.get_by_role("heading", name="Log in").is_visible()
        assert one.is_quiet(), one.complaints


def test_the_menu_of_a_phone(browser: Any, site: Site) -> None:
    """It opens and closes, and says so."""
    with tab(browser, site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as one:
        one.login("ada")
        menu = one.page.get_by_role("button", name="Menu")
        assert menu.get_attribute("aria-expanded") == "false"
        assert not one.page.get_by_role("link", name="Review").is_visible()
        menu.click()
        assert menu.get_attribute("aria-expanded") == "true"
        one.page.get_by_role("link", name="Review").click()
        assert one.page.get_by_role("heading", name="Review", exact=True).is_visible()
        assert not one.page.get_by_role("switch").is_visible()  # there are no keys
        assert one.is_quiet()


@pytest.mark.parametrize("kind", ["text", "json", "link", "table", "image"])
def test_markup_runs_nothing(browser: Any, site: Site, kind: str) -> None:
    """Whatever inputs, choices, suggestions, comments and names hold."""
    content: Any = {"columns": [EVIL], "rows": [[EVIL]]} if kind == "table" else EVIL
    said = Suggestion(EVIL, EVIL, 0.5, EVIL, DIGESTS["logistic"], time.time())
    site.ask(
        Shown(kind, content, EVIL), choices=(EVIL, "b"), suggestion=said, visibility=Visibility.AFTER_ANSWER,
        why=(EVIL,),
    )  # fmt: skip
    site.rollout().acting_as(EVIL).set_weights({"boosted": 5}, reason=EVIL)
    with tab(browser, site) as one:
        one.login("admin").take().answer("1")
        assert EVIL in one.page.inner_text("#work")
        one.answer("1")
        for path in ("", "/review", "/adjudication", "/agreement", "/automation", "/trail"):
            one.open(path)
            assert (
                one.page.evaluate(
                    "document.querySelectorAll('img[src=\"x\"], main script:not([type])').length"
                )
                == 0
            )
        assert one.is_quiet(), one.complaints


def test_charts_are_drawn_and_say_the_same_as_their_tables(browser: Any, site: Site) -> None:
    """Each has a canvas of some size, a caption, and a table in the same section."""
    filled(site)
    with tab(browser, site) as one:
        for path in ("", "/automation"):
            (one.login("admin") if path == "" else one).open(path)
            chart = one.page.locator("[data-chart]").first
            size = chart.locator("canvas").bounding_box()
            assert size["width"] > 200
            assert size["height"] > 100
            assert chart.locator("figcaption").inner_text()
            assert chart.locator("xpath=ancestor::section[1]").locator("table").count() == 1
        assert one.is_quiet()
