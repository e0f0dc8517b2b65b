"""Pictures of what was simulated, as small SVG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from .streams import Found
from .twins import Array

__all__ = ["draw"]

WIDTH, HEIGHT = 260, 190
LEFT, TOP, BOTTOM, GAP = 44, 46, 42, 26
COLORS = ("#0b6bcb", "#c4320a", "#8a6d00", "#5b3fa0", "#13795b")
FONT = 'font-family="system-ui, sans-serif" font-size="11"'
POINTS = 120


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: how many runs had alarmed by then, for several series.

    Attributes:
        title: above it.
        series: delays of all runs, by name.
        most: where the horizontal axis ends.
        top: where the vertical axis ends, from 0 to 1.
        bar: a dashed line at this height; None: there is none.
        log: whether the horizontal axis is logarithmic.
        what: below the horizontal axis.
    """

    title: str
    series: Mapping[str, Array]
    most: float
    top: float = 1.0
    bar: float | None = None
    log: bool = False
    what: str = "candidate requests"


def draw(found: Mapping[str, Found], folder: Path) -> None:
    """Write the pictures that the rows tell; those whose rows were not simulated are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, panels in _pictures(found).items():
        if panels:
            (folder / f"{name}.svg").write_text(svg(panels), encoding="utf-8")


def _pictures(found: Mapping[str, Found]) -> dict[str, list[Panel]]:
    def panels(rows: Mapping[str, Callable[[Found], Panel]]) -> list[Panel]:
        return [panel(found[name]) for name, panel in rows.items() if name in found]

    def only(series: Found, *names: str) -> Found:
        return {name: series[name] for name in names}

    peers = "ours", "z-test", "threshold"
    return {
        "false-alarms": panels(
            {
                f"equal-{rate}%": lambda series, rate=rate: Panel(  # type: ignore[misc]
                    f"both arms fail in {rate} %", only(series, *peers), 20_000, 0.2, 0.01
                )
                for rate in ("0.5", "1", "5")
            }
        ),
        "keys": panels(
            {
                "keys-errors": lambda series: _by_keys("1 % of keys always fail", series),
                "keys-latencies-0.3": lambda series: _by_keys("keys have own latencies, sd 0.3", series),
                "keys-agreement": lambda series: _by_keys("3 % of keys always disagree", series),
            }
        ),
        "delays": panels(
            {
                "delay-0.5→2%": lambda series: Panel(
                    "errors 0.5 → 2 %", only(series, *peers), 10_000, log=True
                ),
                "delay-1→5%": lambda series: Panel("errors 1 → 5 %", only(series, *peers), 10_000, log=True),
                "sticky-break": lambda series: Panel(
                    "2 000 keys, errors 5 → 100 %", series, 10_000, log=True, what="requests of both arms"
                ),
            }
        ),
    }


def _by_keys(title: str, series: Found) -> Panel:
    chosen = {name: series[name] for name in ("ours", "each request")}
    last = max((float(times[np.isfinite(times)].max(initial=0)) for times in chosen.values()), default=0)
    return Panel(title, chosen, max(last, 100_000.0), 1.0, 0.01, what="requests of both arms")


def svg(panels: list[Panel]) -> str:
    """Return panels side by side, with one legend above."""
    width = len(panels) * (LEFT + WIDTH + GAP)
    height = TOP + HEIGHT + BOTTOM
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, name in enumerate(names):
        x = LEFT + 130 * place
        color = COLORS[place % len(COLORS)]
        parts.append(f'<path d="M{x} 12h22" stroke="{color}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 28}" y="16" fill="#222">{escape(name)}</text>')
    for place, panel in enumerate(panels):
        parts += _panel(panel, LEFT + place * (LEFT + WIDTH + GAP), names)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float, names: list[str]) -> list[str]:
    low = 5.0 if panel.log else 0.0

    def across(value: float) -> float:
        if panel.log:
            return left + WIDTH * math.log(max(value, low) / low) / math.log(panel.most / low)
        return left + WIDTH * value / panel.most

    def up(value: float) -> float:
        return TOP + HEIGHT * (1 - min(value / panel.top, 1.0))

    base = TOP + HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 10}" fill="#222" font-weight="600">{escape(panel.title)}</text>']
    for tick in range(5):
        y = up(panel.top * tick / 4)
        parts.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#dddddd"/>')
        text = f"{100 * panel.top * tick / 4:.0f} %"
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" fill="#555" text-anchor="end">{text}</text>')
    ticks = [10, 100, 1000, 10_000] if panel.log else [panel.most * part / 4 for part in range(5)]
    for value in ticks:
        text = f"{value:,.0f}".replace(",", "\u2009")
        parts.append(f'<path d="M{across(value):.1f} {base}v4" stroke="#888"/>')
        x = across(value)
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" fill="#555" text-anchor="middle">{text}</text>')
    parts.append(
        f'<text x="{left + WIDTH / 2}" y="{base + 32}" fill="#555" text-anchor="middle">{panel.what}</text>'
    )
    if panel.bar is not None:
        y = up(panel.bar)
        parts.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#222" stroke-dasharray="4 3"/>')
    places = np.linspace(0.0, 1.0, POINTS)
    values = low * (panel.most / low) ** places if panel.log else panel.most * places
    for name, times in reversed(list(panel.series.items())):  # ours is on top
        color = COLORS[names.index(name) % len(COLORS)]
        ordered = np.sort(times)
        shares = np.searchsorted(ordered, values, side="right") / max(1, len(ordered))
        seen = 1 + int(np.searchsorted(shares, panel.top))  # what goes out of the picture ends at its edge
        shown = zip(values[:seen], shares[:seen], strict=True)
        path = "L".join(f"{across(v):.1f} {up(s):.1f}" for v, s in shown)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
    return parts
