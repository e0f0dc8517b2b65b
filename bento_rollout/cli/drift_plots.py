"""Plots of drift as SVG inside of HTML: the evidence over the rows, and two histograms of a feature; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .elements import Html, amount, element, short

__all__ = ["evidence_figure", "histogram_figure"]

MOST_LINES = 300
"""Pieces of one line."""

BEGINNING: Mapping[str, Any] = {"row": 0, "log_evidence": 0.0}
"""Before the first row the evidence is 1."""

MOST_LETTERS = 20
"""Of what a bin holds, below a histogram."""

_TOP, _BASE = 14, 168
_BAR_TOP, _BAR_BASE = 8, 108
LN10 = math.log(10)


def evidence_figure(test: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> Html:
    """Return the course of a test's evidence, on a logarithmic axis, with the height that is an alarm.

    Args:
        test: of a report: its ``timeline``, and ``alarm_at``.
        alarms: those of this epoch.
    """
    points = [BEGINNING, *_thinned(test["timeline"])]
    last = max((point["row"] for point in points), default=1)
    values = [max(0.0, point["log_evidence"]) / LN10 for point in points]
    bound = test["alarm_at"] / LN10
    most = max([bound * 1.15, *(value * 1.08 for value in values)])
    across = [point["row"] / last * 100 for point in points]
    heights = [_BASE - value / most * (_BASE - _TOP) for value in values]
    line = [
        element("line", class_="seen", x1=_at(x), y1=f"{y:.1f}", x2=_at(x2), y2=f"{y2:.1f}")
        for x, y, x2, y2 in zip(across, heights, across[1:], heights[1:])  # noqa: B905 - pairs of neighbours
    ]
    height = _BASE - bound / most * (_BASE - _TOP)
    marks = [one for alarm in alarms for one in _mark(alarm["row"] / last * 100)]
    parts = [
        element("line", class_="axis", x1="0", x2="100%", y1=_BASE, y2=_BASE),
        element("line", class_="floor", x1="0", x2="100%", y1=f"{height:.1f}", y2=f"{height:.1f}"),
        element("text", f"alarm at {test['odds_needed']}", x="0", y=f"{height - 5:.1f}"),
        *line,
        *marks,
        *_rows(last),
    ]
    label = f"Evidence of {test['odds']} after {amount(test['rows'])} rows; {test['odds_needed']} is an alarm"
    caption = element(
        "figcaption",
        _key("seen", "evidence that something changed, logarithmic"),
        _key("noise", "from here on an alarm"),
        *([_key("alarm", "the alarm")] if alarms else []),
    )
    return element("figure", _svg(label, _BASE + 26, parts), caption)


def histogram_figure(feature: Mapping[str, Any]) -> Html:
    """Return the reference and the recent rows of a feature, bin by bin, as shares.

    Args:
        feature: of a report: ``labels``, ``reference_histogram`` and ``recent_histogram``.
    """
    before, now = _shares(feature["reference_histogram"]), _shares(feature["recent_histogram"])
    most, count = max([*before, *now, 1e-9]), max(len(before), 1)
    parts = [element("line", class_="axis", x1="0", x2="100%", y1=_BAR_BASE, y2=_BAR_BASE)]
    for place, shares in enumerate(zip(before, now, strict=True)):
        for side, (who, share) in enumerate(zip(("champion", "candidate"), shares, strict=True)):
            tall = share / most * (_BAR_BASE - _BAR_TOP)
            x, width = (place + 0.08 + 0.42 * side) / count * 100, 0.42 / count * 100
            parts.append(
                element(
                    "rect", class_=f"bar {who}", x=_at(x), y=f"{_BAR_BASE - tall:.1f}", width=_at(width),
                    height=f"{tall:.1f}",
                )
            )  # fmt: skip
    label = f"{feature['name']}: {count} bins, the reference beside {amount(feature['rows'])} recent rows"
    caption = element("figcaption", _key("champion", "reference"), _key("candidate", "recent rows"))
    return element("figure", _svg(label, _BAR_BASE + 22, [*parts, *_ends(feature["labels"])]), caption)


def _ends(labels: Sequence[str]) -> list[Html]:
    """Return what the first and the last bin hold, below the axis; what is missing is no first one."""
    first = 1 if len(labels) > 2 and labels[0] == "missing" else 0  # noqa: PLR2004 - it and two others
    if len(labels) - first < 2:  # noqa: PLR2004 - the first is the last
        return []
    low, high = short(labels[first], MOST_LETTERS), short(labels[-1], MOST_LETTERS)
    y = _BAR_BASE + 16
    return [
        element("text", low, x=_at(first / len(labels) * 100), y=y),
        element("text", high, x="100%", y=y, text_anchor="end"),
    ]


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _mark(x: float) -> list[Html]:
    return [element("line", class_="mark alarm", x1=_at(x), x2=_at(x), y1=_TOP - 10, y2=_BASE)]


def _rows(last: int) -> list[Html]:
    found = []
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = _at(part * 100)
        found.append(element("line", class_="tick", x1=x, x2=x, y1=_BASE, y2=_BASE + 5))
        text = f"row {amount(round(last * part))}" if part else "0"
        found.append(element("text", text, x=x, y=_BASE + 20, text_anchor=anchor))
    return found


def _thinned(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    step = max(1, math.ceil(len(points) / MOST_LINES))
    found = list(points[::step])
    return found if not points or found[-1] is points[-1] else [*found, points[-1]]


def _key(name: str, text: str) -> Html:
    return element("span", element("i", class_=f"key {name}"), text)


def _svg(label: str, height: float, parts: Iterable[Html]) -> Html:
    return element("svg", *parts, role="img", aria_label=label, width="100%", height=height)


def _at(share: float) -> str:
    return f"{share:.3f}%"
