"""How numbers of shadow calls are written down while they wait for a database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple

from ..eras import Era, Series
from ..tally import Kind, Things

__all__ = ["body_of", "counts_of"]


def body_of(counts: Mapping[Series, Things], now: float) -> str:
    """Return numbers by series, and when they were counted, as the body of a batch."""
    plain = [
        [
            [*astuple(series.era), series.revision, series.endpoint],
            {kind.value: names for kind, names in things.items()},
        ]
        for series, things in counts.items()
    ]
    return json.dumps([now, plain], separators=(",", ":"))


def counts_of(body: str) -> tuple[dict[Series, Things], float]:
    """Return what `body_of` wrote down."""
    now, plain = json.loads(body)
    counts = {
        Series(Era(*key[:5]), *key[5:]): {Kind(kind): names for kind, names in things.items()}
        for key, things in plain
    }
    return counts, now
