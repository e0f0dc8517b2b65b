"""Pictures of what was simulated, as small SVG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.decisions.pictures import Panel, svg

from .rows import Series

__all__ = ["draw"]

_PANELS = {
    "drift-data": {
        "sudden-1000": "half a deviation in 3 of 30, after 1 000",
        "sudden-20000": "half a deviation in 3 of 30, after 20 000",
        "gradual": "growing to that over 20 000",
    },
    "drift-concept": {
        "loss-zero_one-1000": "error 2.3 → 22.8 %, after 1 000",
        "loss-zero_one-20000": "error 2.3 → 22.8 %, after 20 000",
        "loss-gradual": "growing to 22.8 % over 20 000",
    },
}
_MOST = {"gradual": 20_000.0, "loss-gradual": 20_000.0}
_UNITS = {"drift-data": "rows since the change", "drift-concept": "labels since the change"}


def draw(found: Mapping[str, Mapping[str, Series]], folder: Path) -> None:
    """Write the pictures whose rows were all simulated: how many streams had alarmed by then."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, titles in _PANELS.items():
        if titles.keys() <= found.keys():
            panels = [
                Panel(
                    title,
                    {who: series.delays for who, series in found[row].items() if len(series.delays)},
                    _MOST.get(row, 10_000.0),
                    log=True,
                    what=_UNITS[name],
                )
                for row, title in titles.items()
            ]
            (folder / f"{name}.svg").write_text(svg(panels), encoding="utf-8")
