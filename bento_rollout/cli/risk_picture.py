"""The error of a model against the part of the traffic that it would decide, as SVG; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .elements import Html, element

__all__ = ["risk_picture"]

_WIDTH, _LEFT, _RIGHT = 720, 64, 24
_TOP, _TALL, _BETWEEN = 56, 220, 84
_LINE, _BOUND, _TARGET, _CHOSEN, _TEXT, _FAINT = (
    "#2c5f9e",
    "#7a4b9a",
    "#c0392b",
    "#1e8449",
    "#222222",
    "#bbbbbb",
)


def risk_picture(facts: Mapping[str, Any]) -> str:
    """Return error and its bound by coverage, with the target and what was certified.

    Args:
        facts: a calibration as plain data; of several classes or segments each has a plot of its own.
    """
    kind, classes = ("segment", facts["segments"]) if facts["segments"] else ("class", facts["classes"])
    height = _TOP + max(1, len(classes)) * (_TALL + _BETWEEN)
    parts = [element("rect", width=_WIDTH, height=height, fill="#ffffff")]
    for number, (name, one) in enumerate(classes.items()):
        top = _TOP + number * (_TALL + _BETWEEN)
        what = f"{facts['endpoint']}, {facts['variant']}{f', {kind} {name}' if name else ''}"
        parts += [_text(what, _LEFT, top - 24, size=15), *_plot(one, top)]
    label = f"Error by coverage of {facts['variant']} for {facts['endpoint']}: {facts['words']}"
    return element(
        "svg", element("title", label), *parts, xmlns="http://www.w3.org/2000/svg", role="img",
        width=_WIDTH, height=height, viewBox=f"0 0 {_WIDTH} {height}", font_family="sans-serif",
    )  # fmt: skip


def _plot(one: Mapping[str, Any], top: float) -> Iterator[Html]:
    table, target = one["table"], one["target_error"]
    errors = [row["error"] for row in table if row["error"] is not None]
    most = min(1.0, max([2 * target, *errors]) * 1.15)
    yield from _axes(most, top)
    yield _across(min(target, most), most, top)
    yield _text(
        f"target {100 * target:g} %", _WIDTH - _RIGHT, _y(target, most, top) - 6, anchor="end", colour=_TARGET
    )
    seen = [(row["coverage"], row["error"]) for row in table if row["error"] is not None]
    bounds = [(row["coverage"], min(row["bound"], most)) for row in table]
    yield _course(bounds, most, top, _BOUND, dashed=True)
    yield _course(seen, most, top, _LINE)
    key = top + _TALL + 56
    yield _text("error of those that the model would decide", _LEFT, key, colour=_LINE)
    yield _text("bound of it, at this threshold by itself", _LEFT + 300, key, colour=_BOUND)
    for row in table:
        if row["threshold"] == one["threshold"] and row["error"] is not None:
            x, y = _x(row["coverage"]), _y(row["error"], most, top)
            said = f"certified: score from {one['threshold']:.4g}"
            yield element("circle", element("title", said), cx=f"{x:.1f}", cy=f"{y:.1f}", r=6, fill=_CHOSEN)
            ends = {"y1": f"{top:.1f}", "y2": f"{y:.1f}"}
            yield element(
                "line", x1=f"{x:.1f}", x2=f"{x:.1f}", **ends, stroke=_CHOSEN, stroke_dasharray="2 3"
            )
            left = x > _WIDTH / 2
            yield _text(
                said, x - 8 if left else x + 8, top + 16, anchor="end" if left else "start", colour=_CHOSEN
            )


def _axes(most: float, top: float) -> Iterator[Html]:
    for part in (0.0, 0.5, 1.0):
        y = _y(part * most, most, top)
        yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke=_FAINT)
        yield _text(f"{part * most:.2%}", _LEFT - 8, y + 4, anchor="end")
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield _text(f"{part:.0%}", _x(part), top + _TALL + 18, anchor="middle")
    yield _text(
        "part of the traffic that the model would decide", _WIDTH / 2, top + _TALL + 36, anchor="middle"
    )


def _across(value: float, most: float, top: float) -> Html:
    y = f"{_y(value, most, top):.1f}"
    return element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, stroke=_TARGET, stroke_dasharray="6 4")


def _course(
    points: Sequence[tuple[float, float]], most: float, top: float, colour: str, *, dashed: bool = False
) -> Html:
    path = " ".join(f"{_x(coverage):.1f},{_y(error, most, top):.1f}" for coverage, error in points)
    dashes = "3 3" if dashed else None
    return element(
        "polyline", points=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes
    )


def _x(coverage: float) -> float:
    return _LEFT + coverage * (_WIDTH - _LEFT - _RIGHT)


def _y(error: float, most: float, top: float) -> float:
    return top + _TALL * (1 - min(error / most, 1.0)) if most else top + _TALL


def _text(
    text: str, x: float, y: float, *, anchor: str = "start", size: int = 12, colour: str = _TEXT
) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, font_size=size, fill=colour)
