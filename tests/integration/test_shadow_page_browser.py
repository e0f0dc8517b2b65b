"""The page of a shadow report in a real browser: all of it can be seen, at any width, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.cli.shadow_page import shadow_page
from bento_rollout.records import Difference
from bento_rollout.tally import Example, Kind, label_pair
from tests.browsing import chromium
from tests.unit.test_shadow_page import EVIL, NOW, Shadowed, full_report

WIDTHS = (1200, 400)
READABLE = 4.5
"""Contrast of text with what is behind it: WCAG 2.2, 1.4.3 (level AA)."""

UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"

CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const one of document.body.querySelectorAll("*")) {
    const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !one.getClientRects().length) continue;
    const behind = [];
    for (let at = one; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(one);
    const color = one instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(paint(["white", ...behind])), luminance(paint(["white", ...behind, color]))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([one.tagName, one.textContent.trim().slice(0, 40), contrast]);
  }
  return found;
}
"""

PLOTS = """
() => [...document.querySelectorAll("svg")].filter((plot) => plot.getClientRects().length).map((plot) => {
  const edges = (one) => {
    const { left, top, right, bottom } = one.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  return [edges(plot), [...plot.querySelectorAll("rect, line, text, circle")].map(edges)];
})
"""

BARS = """
(plot, who) => [...plot.querySelectorAll(`rect.bar.${who}`)]
  .map((bar) => bar.getBoundingClientRect()).map(({ width, height }) => [width, height])
"""

OVERFLOW = """
() => [...document.querySelectorAll("body *")]
  .filter((one) => !one.closest("caption") && !(one.closest(".scroll") && !one.matches(".scroll")))
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((one) => `${one.tagName}.${one.getAttribute("class")} ${one.textContent.slice(0, 40)}`)
"""


class Opened:
    """A page that a browser shows, what it asked for, and what it complained of."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._alerted)
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        self.own = file.as_uri()

    def _alerted(self, dialog: Any) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def is_quiet(self) -> bool:
        """Whether it only asked for itself, and nothing was wrong."""
        return self.complaints == [] and self.requests == [self.own]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium."""
    with chromium() as started:
        yield started


@contextmanager
def opened(
    browser: Any, folder: Path, report: dict[str, Any], width: int, scheme: str = "light"
) -> Iterator[Opened]:
    """Show the page of a report."""
    file = folder / "report.html"
    file.write_text(shadow_page(report), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        yield Opened(page, file)
    finally:
        page.close()


def hostile_report() -> dict[str, Any]:
    """Return a report whose names are markup or very long, and whose numbers are huge."""
    evil, long = EVIL, "w" * 3000
    told = Shadowed({evil: 100, "b": 1}, name="r" * 100, champion="c" * 100)
    told.agree(evil, 10**15, 10**14).agree("c" * 100, 10**15, 10**12)
    series = told.series(evil)
    told.took(series, [0.0, 2e3], [1e-6, 0.1]).count(series, {
        Kind.ERROR: {evil: 10**12, long: 1}, Kind.DROPPED: {"queue_full": 10**15},
        Kind.FIELD: {long: 7, evil: 6},
        Kind.LABELS: {label_pair(f"{n} {long}", f"{n % 7} {evil}"): 10**12 + n for n in range(60)},
    })  # fmt: skip
    told.sums.show(series, [Example(1.0, NOW, long, (Difference(long, "value", evil, long),))])
    return told.report()


@pytest.mark.parametrize("width", WIDTHS)
def test_headings_and_numbers_are_seen(browser: Any, tmp_path: Path, width: int) -> None:
    """Whoever opens the file sees who agrees with whom, how often, and what was lost; no request is made."""
    with opened(browser, tmp_path, full_report(), width) as shown:
        page = shown.page
        for heading in ("screening", "boosted", "forest", "The champion beside itself"):
            assert page.get_by_role("heading", name=heading, exact=True).is_visible()
        boosted = page.locator("#candidate-boosted")
        lead = boosted.locator(".lead").first
        assert lead.is_visible()
        said = lead.inner_text().replace("\u202f", " ").replace("\u00a0", " ")
        assert said.startswith(
            "boosted agrees with logistic in 96.9 % of 49 441 calls (95 % sure: 96.6 to 97.2 %)"
        )
        for heading in (
            "Latency",
            "Not comparable",
            "Dropped",
            "Labels",
            "Fields that differ",
            "By endpoint",
        ):
            assert boosted.get_by_role("heading", name=heading, exact=True).first.is_visible()
        assert boosted.get_by_role("alert").is_visible()
        assert boosted.get_by_text("queue_full", exact=True).first.is_visible()
        assert boosted.get_by_text("60\u202f002", exact=True).is_visible()
        assert page.title() == "Shadow report of screening"
        assert shown.is_quiet()


@pytest.mark.parametrize("width", WIDTHS)
def test_plots_have_their_bars(browser: Any, tmp_path: Path, width: int) -> None:
    """Each plot has a size, and what it draws stands within it: a bar for every part of the time axis."""
    report = full_report()
    with opened(browser, tmp_path, report, width) as shown:
        shown.page.evaluate(UNFOLD)
        assert shown.page.get_by_role("img").count() == 12  # two, for two wholes with two endpoints each
        for (left, top, right, bottom), parts in shown.page.evaluate(PLOTS):
            assert right - left > 0.3 * width
            assert bottom - top > 50
            assert len(parts) > 8
            for x, y, end, low in parts:
                assert left - 8 <= x <= end <= right + 8
                assert top - 1 <= y <= low <= bottom + 1
        latency = shown.page.locator("#candidate-boosted svg").nth(1)
        for who in ("champion", "candidate"):
            bars = latency.evaluate(BARS, who)
            rows = report["candidates"]["boosted"]["latency"][who]["histogram"]
            assert len(rows) / 6 < len(bars) <= min(len(rows), 66)
            assert all(wide > 1 for wide, _ in bars)
            assert 60 < max(high for _, high in bars) <= 133


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("report", [full_report(), hostile_report()], ids=["full", "hostile"])
def test_nothing_is_wider_than_the_screen(
    browser: Any, tmp_path: Path, report: dict[str, Any], width: int
) -> None:
    """Wide tables scroll by themselves; markup in names is text, and runs nothing."""
    with opened(browser, tmp_path, report, width) as shown:
        shown.page.evaluate(UNFOLD)
        assert shown.page.evaluate(OVERFLOW) == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.page.evaluate("document.querySelectorAll('script, img').length") == 0
        assert shown.is_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("report", [full_report(), hostile_report()], ids=["full", "hostile"])
def test_text_is_readable(browser: Any, tmp_path: Path, report: dict[str, Any], scheme: str) -> None:
    """All text, that of the plots included, has the contrast that people need; dark is dark."""
    with opened(browser, tmp_path, report, 1200, scheme) as shown:
        shown.page.evaluate(UNFOLD)
        contrasts = shown.page.evaluate(CONTRASTS)
        assert len(contrasts) > 200
        assert {"P", "TD", "TH", "text", "CODE", "DD", "H1"} <= {tag for tag, _, _ in contrasts}
        assert [found for found in contrasts if found[2] < READABLE] == []
        page = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert page == ("rgb(246, 247, 249)" if scheme == "light" else "rgb(18, 21, 26)")


def test_contrast_is_measured(browser: Any, tmp_path: Path) -> None:
    """Grey on grey is found out."""
    with opened(browser, tmp_path, full_report(), 1200) as shown:
        shown.page.evaluate("document.querySelector('h1').style.color = '#999'")
        assert [tag for tag, _, contrast in shown.page.evaluate(CONTRASTS) if contrast < READABLE] == ["H1"]


def test_folds_open_and_tables_take_the_focus(browser: Any, tmp_path: Path) -> None:
    """An endpoint's numbers unfold without a script; a wide table is scrolled by keyboard."""
    with opened(browser, tmp_path, full_report(), 400) as shown:
        endpoint = shown.page.locator("#candidate-boosted details.endpoint").first
        lead = endpoint.locator(".lead")
        assert not lead.is_visible()
        endpoint.locator("summary").first.click()
        assert lead.is_visible()
        table = shown.page.get_by_role("region", name="Fields that differ", exact=True).first
        table.focus()
        table.press("ArrowRight")
        shown.page.wait_for_timeout(500)
        assert table.evaluate("one => one.scrollLeft") > 0
