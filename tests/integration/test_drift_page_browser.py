"""The report of drift in a real browser: accessible and whole at any width, light and dark, and quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.cli.drift_page import drift_page
from bento_rollout.concept import ConceptRules
from bento_rollout.concept_watch import ConceptSettings
from bento_rollout.drift import Reference
from tests.browsing import chromium
from tests.drift_host import Host, made_host
from tests.drift_rows import ENDPOINT, judge, odd, write
from tests.npm import AXE, npm_package

EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 320)]
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


def columns(rows: int, seed: int, shift: float = 0.0) -> dict[str, Any]:
    """Rows of features with all kinds of names: numbers, categories, and one that is long."""
    draw = np.random.default_rng(seed)
    towns = ["north", "south", EVIL, "a town whose name is longer than anybody would like it to be"]
    found: dict[str, Any] = {f"measure of the {place}th kind": draw.normal(size=rows) for place in range(10)}
    found[EVIL] = draw.normal(size=rows) + shift
    found["a_name_that_has_no_place_where_it_may_be_broken_" * 2] = draw.normal(size=rows)
    likely = [0.1, 0.2, 0.3, 0.4] if shift else [0.4, 0.3, 0.2, 0.1]
    found["town"] = draw.choice(towns, rows, p=likely).tolist()
    return found


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


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose data, losses and rows have all changed, and where an alarm was acknowledged before."""
    host = made_host(tmp_path, monkeypatch)
    host.of = Reference.fit(columns(2000, 1), seed=3)
    host.losses = ConceptSettings(ENDPOINT, "label", 10.0, ConceptRules(reference=200, min_coverage=0.05))
    worker = host.worker()
    worker.look(host.now)
    for part in range(2):
        write(host.place, columns(300, 2 + part), host.of, start=10_000 * part)
        write(host.place, columns(300, 4 + part, 1.5), host.of, start=10_000 * part + 300)
        host.settle(worker)
        if part == 0:
            host.rollout().drift.ack(reason=f"seen; {EVIL}")
    judge(host.place, [n % 20 == 0 for n in range(300)] + [n % 3 == 0 for n in range(200)], start=50_000)
    odd(host.place, host.of, "lost", "town", 7)
    odd(host.place, host.of, "category", EVIL, 70)
    host.now += 10_000.0
    host.settle(worker)
    return host


@pytest.fixture
def page(host: Host, tmp_path: Path) -> Path:
    """The report as a file."""
    path = tmp_path / "drift.html"
    path.write_text(drift_page(host.rollout().drift.report()), encoding="utf-8")
    return path


@contextmanager
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """Open the report, everything unfolded; it may not complain, nor ask for anything else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab, complaints, requests = context.new_page(), [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    tab.evaluate(UNFOLD)
    yield tab
    context.close()
    assert complaints == []
    assert requests == [page.as_uri()]


def test_the_report_is_accessible(browser: Any, axe: str, page: Path) -> None:
    """Axe finds nothing against WCAG 2.2 AA, and nothing is wider than the screen."""
    with opened(browser, page) as tab:
        tab.evaluate(axe)  # by the debugger: the page's own policy would not let it in
        for scheme, width in LOOKS:
            tab.emulate_media(color_scheme=scheme)
            tab.set_viewport_size({"width": width, "height": 800})
            found = tab.evaluate(
                "tags => axe.run(document, { runOnly: tags, resultTypes: ['violations'] })", TAGS
            )
            assert len(found["passes"]) > 10
            broken = [
                (rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]
            ]
            assert broken == [], (scheme, width)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_report_has_all_of_it(browser: Any, page: Path) -> None:
    """Both tests with their evidence and histograms, how rows are built, and alarms; names are only text."""
    with opened(browser, page) as tab:
        text = tab.inner_text("main")
        for words in ("What comes in", "How wrong a is", "How rows are built", "acknowledged", EVIL):
            assert words in text
        assert "It has changed: predictions are wrong more often since about label" in text
        assert tab.locator("svg line.seen").count() >= 2  # even where the evidence was noted only once
        assert tab.locator("svg .mark.alarm").count() >= 2
        ends = tab.locator("#test-data svg text[text-anchor=end]").all_text_contents()
        assert any(one.endswith("or more") for one in ends)
