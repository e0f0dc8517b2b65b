"""Plots of shadow calls as SVG inside of HTML: agreement on one axis, and how long calls took; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ..histogram import bin_of, edges_of
from .elements import NOTHING, THIN, Html, amount, duration, element, percent, short, span, table

__all__ = ["agreement_figure", "latency_figure"]

BARS = 60
"""Visible bars of a histogram, about."""

LEAST_BINS = 46
"""Fine bins of 2 % that an axis of time has at least: a factor of 2.5."""

MOST_TICKS = 6

QUANTILES = ("p50", "p90", "p95", "p99")
TIMES = "\u00d7"


# -- agreement -----------------------------------------------------------------------------------------


def agreement_figure(facts: Mapping[str, Any], names: tuple[str, str], *, sure: str) -> Html:
    """Return how often two variants agree, as a plot with its legend.

    Args:
        facts: of a report, or of one of its endpoints; something was compared.
        names: of the champion and the candidate.
        sure: how sure the bounds are.
    """
    agreement, noise = facts["agreement"], facts["noise_floor"]
    value, bounds = percent(agreement["value"]), span(agreement["low"], agreement["high"])
    label = f"Agreement of {names[0]} with {names[1]}: {value}, {sure} sure: {bounds}"
    key = [_key("seen", f"agreement {value}"), _key("ci", f"{sure} sure: {bounds}")]
    if noise is not None:
        label += f"; the champion agrees with itself in {percent(1 - noise)}"
        key.append(_key("noise", f"champion's own noise {percent(noise)}"))
    if facts["compared_by"]:
        key.append(element("span", "compared by ", ", ".join(map(short, facts["compared_by"]))))
    return element("figure", _agreement_plot(agreement, noise, label), element("figcaption", *key))


def _key(name: str, text: str) -> Html:
    return element("span", element("i", class_=f"key {name}"), text)


def _agreement_plot(agreement: Mapping[str, float], noise: float | None, label: str) -> Html:
    """Return an interval on one axis that ends at 100 %, beside how often the champion agrees with itself.

    Widths are percentages and heights pixels, so that text keeps its size on a small screen.

    Args:
        agreement: its ``value``, ``low`` and ``high``.
        noise: in which part of the calls the champion differs from itself; None: nobody knows.
        label: what it shows, in words.
    """
    quiet = 1.0 if noise is None else 1.0 - noise
    width, step = _zoom(1.0 - min(agreement["low"], quiet))
    low, high, value = (_across(agreement[key], width) for key in ("low", "high", "value"))
    top = 8 if noise is None else 36
    parts = [
        element("rect", class_="track", x="0", y=top, width="100%", height=20, rx=3),
        *(() if noise is None else _noise_zone(quiet, width, top)),
        element("rect", class_="ci", x=_at(low), y=top + 4, width=_at(max(high - low, 0.3)), height=12, rx=3),
        element("line", class_="seen", x1=_at(value), x2=_at(value), y1=top - 3, y2=top + 23),
        element("circle", class_="seen", cx=_at(value), cy=top + 10, r=6),
        *_ticks(((1 - width + i * step) for i in range(round(width / step) + 1)), width, step, top + 26),
    ]
    return _svg(label, top + 54, parts)


def _noise_zone(quiet: float, width: float, top: float) -> list[Html]:
    at = _across(quiet, width)
    text = f"the champion agrees with itself: {percent(quiet)}"
    anchor, x = ("start", at + 0.8) if at < 50 else ("end", at - 0.8)  # noqa: PLR2004 - the middle
    return [
        element("rect", class_="noise", x=_at(at), y=top, width=_at(100 - at), height=20),
        element("line", class_="floor", x1=_at(at), x2=_at(at), y1=6, y2=top + 26),
        element("text", text, x=_at(x), y=18, text_anchor=anchor),
    ]


def _zoom(needed: float) -> tuple[float, float]:
    """Return the width of an axis in round numbers that has room for a share, and the step of its ticks."""
    needed = min(1.0, max(needed * 1.15, 1e-5))
    scale: float = 10.0 ** math.floor(math.log10(needed))
    for factor, steps in ((1, 5), (2, 4), (5, 5), (10, 5)):
        if needed <= factor * scale * (1 + 1e-9):
            return factor * scale, factor * scale / steps
    return 1.0, 0.2  # pragma: no cover - the last factor always has room


def _ticks(shares: Iterable[float], width: float, step: float, top: float) -> list[Html]:
    digits = max(0, math.ceil(-math.log10(step * 100) - 1e-9))
    found = []
    for share in shares:
        at = _across(share, width)
        found += _tick(at, f"{share * 100:.{digits}f}{THIN}%", top, top + 20)
    return found


def _tick(at: float, text: str, top: float, baseline: float) -> list[Html]:
    anchor = "start" if at < 4 else "end" if at > 96 else "middle"  # noqa: PLR2004 - near an edge
    return [
        element("line", class_="tick", x1=_at(at), x2=_at(at), y1=top, y2=top + 5),
        element("text", text, x=_at(at), y=baseline, text_anchor=anchor),
    ]


def _across(share: float, width: float) -> float:
    """Return where a share lies on an axis, in percent of its width."""
    return min(100.0, max(0.0, (share - (1 - width)) / width * 100))


# -- latency -------------------------------------------------------------------------------------------

_TOP, _BASE = 44, 176
"""Pixels between which the bars stand."""


def latency_figure(latency: Mapping[str, Mapping[str, Any]], names: tuple[str, str]) -> Html:
    """Return how long calls took, as a plot with its legend beside a table.

    Args:
        latency: of ``champion`` and ``candidate``: ``calls``, ``histogram`` and quantiles.
        names: of the champion and the candidate.
    """
    champion, candidate = latency["champion"], latency["candidate"]
    told = (
        f"{name} {', '.join(f'{q} {duration(side[q])}' for q in ('p50', 'p99'))}"
        for name, side in zip(names, (champion, candidate), strict=True)
    )
    rows = [
        (q, duration(champion[q]), duration(candidate[q]), _ratio(champion[q], candidate[q]))
        for q in QUANTILES
    ]
    axes = element("span", "height: share of calls, axis: time, logarithmic")
    legend = element("figcaption", *map(_key, ("champion", "candidate"), names), axes)
    plot = element("figure", _latency_plot(latency, f"Latency: {'; '.join(told)}"), legend)
    heads = ("Quantile", *(f"#{short(name, 24)}" for name in names), "#Ratio")
    return element("div", plot, table("Quantiles of latency", heads, rows), class_="beside")


def _ratio(champion: float | None, candidate: float | None) -> str:
    if not champion or candidate is None:
        return NOTHING
    ratio = candidate / champion
    return (f"{ratio:.2f}" if ratio < 10 else amount(round(ratio))) + TIMES  # noqa: PLR2004 - decimals of small ones


def _latency_plot(latency: Mapping[str, Mapping[str, Any]], label: str) -> Html:
    """Return the histograms of champion and candidate on one logarithmic axis of time.

    Args:
        latency: of ``champion`` and ``candidate``: ``calls``, ``histogram``, ``p50`` and ``p99``.
        label: what it shows, in words.
    """
    bins = {who: _bins(latency[who]["histogram"]) for who in ("champion", "candidate")}
    first, count, each = _axis(list(chain(*bins.values())))
    merged = {who: _merged(found, first, each) for who, found in bins.items()}
    tallest = max(chain(*(heights.values() for heights in merged.values())), default=1.0)
    parts = [element("line", class_="axis", x1="0", x2="100%", y1=_BASE, y2=_BASE)]
    for row, (who, heights) in enumerate(merged.items()):
        for place, share in sorted(heights.items()):
            height = max(1.0, share / tallest * (_BASE - _TOP))
            at = {"x": _at(place * 100 / count), "y": f"{_BASE - height:.1f}"}
            size = {"width": _at(100 / count), "height": f"{height:.1f}"}
            parts.append(element("rect", class_=f"bar {who}", **at, **size))
        parts += _marks(latency[who], who, 14 + 17 * row, lambda s: _place(s, first, count * each))
    for seconds in _times(first, first + count * each):
        parts += _tick(
            _place(seconds, first, count * each), duration(seconds, round_=True), _BASE, _BASE + 20
        )
    return _svg(label, _BASE + 26, parts)


def _bins(histogram: Sequence[Sequence[float]]) -> dict[int, float]:
    """Return the share of all calls by fine bin."""
    total = sum(row[2] for row in histogram) or 1
    return {bin_of(math.sqrt(low * high)): calls / total for low, high, calls in histogram}


def _axis(bins: Sequence[int]) -> tuple[int, int, int]:
    """Return the first fine bin of an axis, its number of bars, and how many fine bins each bar holds."""
    least, most = min(bins, default=0), max(bins, default=0)
    wanted = max(LEAST_BINS, math.ceil((most - least + 1) * 1.16))
    each = max(1, round(wanted / BARS))
    count = math.ceil(wanted / each)
    return least - (count * each - (most - least + 1)) // 2, count, each


def _merged(bins: Mapping[int, float], first: int, each: int) -> dict[int, float]:
    merged: dict[int, float] = {}
    for index, share in bins.items():
        place = (index - first) // each
        merged[place] = merged.get(place, 0.0) + share
    return merged


def _marks(latency: Mapping[str, Any], who: str, y: float, place: Callable[[float], float]) -> list[Html]:
    """Return the lines at the 50th and 99th percentile; their names stand beside them, outside of the two."""
    found = []
    for name, anchor, aside in (("p50", "end", -0.9), ("p99", "start", 0.9)):
        if latency[name] is not None:
            at = _at(place(latency[name]))
            text_at = _at(place(latency[name]) + aside)
            found += [
                element("line", class_=f"mark {who} {name}", x1=at, x2=at, y1=y - 9, y2=_BASE),
                element("text", name, class_=who, x=text_at, y=y, text_anchor=anchor),
            ]
    return found


def _place(seconds: float, first: int, bins: int) -> float:
    """Return where a duration lies on an axis of fine bins, in percent of its width."""
    least, step = edges_of(1)[0], math.log(edges_of(1)[1] / edges_of(1)[0])
    at = (math.log(max(seconds, least / 2) / least) / step + 1 - first) / bins * 100
    return min(100.0, max(0.0, at))


def _times(first: int, last: int) -> list[float]:
    """Return round durations between two fine bins: as many as an axis has room for."""
    least, step = edges_of(1)[0], math.log(edges_of(1)[1] / edges_of(1)[0])
    low = least * math.exp((first - 1) * step)
    high = least * math.exp((last - 1) * step)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) <= MOST_TICKS:
            break
    return found[:: math.ceil(len(found) / MOST_TICKS) or 1]


def _svg(label: str, height: float, parts: Iterable[Html]) -> Html:
    return element("svg", *parts, role="img", aria_label=label, width="100%", height=height)


def _at(share: float) -> str:
    return f"{share:.3f}%"
