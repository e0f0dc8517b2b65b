"""A timeline of simulated rollouts as SVG: the candidate's share over time, with its decisions; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..amounts import in_short
from .elements import Html, element

if TYPE_CHECKING:
    from ..simulation import Event, Run

__all__ = ["timeline"]

_WIDTH, _LEFT, _RIGHT = 960, 60, 20
_TOP, _TALL, _BETWEEN = 46, 150, 130
_LETTERS = 130
_COLOURS = {"roll_back": "#c0392b", "pause": "#d68910", "promote": "#1e8449", "end_bake": "#1e8449"}
_LINE, _TEXT, _FAINT = "#2c5f9e", "#222222", "#bbbbbb"


def timeline(runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    """Return the median run of each kind as one picture.

    Args:
        runs: of a healthy candidate, then perhaps of a harmful one.
        facts: the plan's.
    """
    height = _TOP + len(runs) * (_TALL + _BETWEEN)
    names = ("healthy candidate", "harmful candidate")
    parts = [element("rect", width=_WIDTH, height=height, fill="#ffffff")]
    for number, run in enumerate(runs):
        top = _TOP + number * (_TALL + _BETWEEN)
        title = f"{facts['candidate']}, {names[number]}: the median of {facts['runs']} simulated rollouts"
        parts += [_text(title, _LEFT, top - 16, size=15), *_axes(run, top), *_course(run, top)]
    label = f"Simulated rollouts of {facts['candidate']}: share of traffic over time, with the decisions"
    return element(
        "svg", element("title", label), *parts, xmlns="http://www.w3.org/2000/svg", role="img",
        width=_WIDTH, height=height, viewBox=f"0 0 {_WIDTH} {height}", font_family="sans-serif",
    )  # fmt: skip


def _axes(run: Run, top: float) -> list[Html]:
    found = []
    for percent in (0, 50, 100):
        y = _y(percent / 100, top)
        line = element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke=_FAINT)
        found += [line, _text(f"{percent} %", _LEFT - 8, y + 4, anchor="end")]
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        seconds = part * run.end.seconds
        text = in_short(seconds) if seconds else "start"
        anchor = "start" if not part else "end" if part == 1 else "middle"
        found.append(_text(text, _x(seconds, run), top + _TALL + 18, anchor=anchor))
    return found


def _course(run: Run, top: float) -> list[Html]:
    """Return the share as a line in steps, and a mark with words for each decision."""
    corners, share = [], 0.0
    for event in run.events:
        corners += [(event.seconds, share), (event.seconds, event.share)]
        share = event.share
    corners.append((run.end.seconds, share))
    points = " ".join(f"{_x(seconds, run):.1f},{_y(part, top):.1f}" for seconds, part in corners)
    found = [element("polyline", points=points, fill="none", stroke=_LINE, stroke_width="2.5")]
    for event in run.events:
        found += _mark(event, run, top)
    if run.caught is not None:
        words = (
            f"harm shown after {in_short(run.caught.seconds)}, {run.caught.calls:,.0f} calls of the candidate"
        )
        found.append(_text(words, _LEFT, top + _TALL + 40, colour=_COLOURS["roll_back"]))
    ending = f"{run.outcome.value.replace('_', ' ')}: {run.events[-1].words}"
    for row, line in enumerate(wrap(ending, _LETTERS, max_lines=2, placeholder=" …")):
        found.append(_text(line, _LEFT, top + _TALL + 58 + 16 * row))
    return found


def _mark(event: Event, run: Run, top: float) -> list[Html]:
    x, y = _x(event.seconds, run), _y(event.share, top)
    colour = _COLOURS.get(event.action.value, _LINE)
    dot = element("circle", element("title", event.words), cx=f"{x:.1f}", cy=f"{y:.1f}", r=5, fill=colour)
    anchor = "end" if x > _WIDTH * 0.8 else "start"
    words = event.action.value.replace("_", " ")
    if event.action.value == "advance":
        words = f"{event.share * 100:g} %"
    return [dot, _text(words, x, y - 9, anchor=anchor, size=11, colour=colour)]


def _x(seconds: float, run: Run) -> float:
    whole = max(run.end.seconds, 1e-9)
    return _LEFT + min(1.0, seconds / whole) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float, top: float) -> float:
    return top + _TALL * (1 - share)


def _text(
    text: str, x: float, y: float, *, anchor: str = "start", size: int = 12, colour: str = _TEXT
) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, font_size=size, fill=colour)
