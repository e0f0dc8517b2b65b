"""What others do on the same kind of streams: river's detectors with their defaults, Evidently's rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from river.drift import ADWIN, PageHinkley
from river.drift.binary import DDM, EDDM

from .data import MOVED, Floats, Shift, losses, table

__all__ = ["BINARY", "DETECTORS", "WINDOW", "evidently", "evidently_alarms", "on_features", "on_losses"]

DETECTORS: dict[str, Callable[[], Any]] = {"ADWIN": ADWIN, "PageHinkley": PageHinkley}
BINARY: dict[str, Callable[[], Any]] = {**DETECTORS, "DDM": DDM, "EDDM": EDDM}

WINDOW = 1000
"""Rows of a window of Evidently's rule; windows do not overlap."""

LARGE = 1000
"""A reference of more rows than this is compared by a distance, a smaller one by a p-value."""

DISTANCE, CHANCE, PART = 0.1, 0.05, 0.5

_TERMS = 100


def on_features(rng: np.random.Generator, name: str, reference: int, shift: Shift) -> tuple[int, float]:
    """Return how many false alarms a detector on each feature gave, and the rows until the first true one.

    A detector of river begins anew by itself after an alarm. False alarms at one row count once.
    """
    rows = table()
    known = rows[rng.integers(0, len(rows), reference)]
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    quiet = (rows[rng.integers(0, len(rows), shift.after)] - mean) / deviation
    alarms = np.zeros(shift.after, dtype=bool)
    detectors = [DETECTORS[name]() for _ in range(rows.shape[1])]
    for column, detector in enumerate(detectors):
        alarms[_detected(detector, quiet[:, column])] = True
    if not shift.rows:
        return int(alarms.sum()), math.inf
    after = rows[rng.integers(0, len(rows), shift.rows)].copy()
    moved = rng.permutation(rows.shape[1])[:MOVED]
    after[:, moved] += shift.sizes()[:, None] * rows.std(axis=0)[moved]
    after = (after - mean) / deviation
    first = (_first(detector, after[:, column]) for column, detector in enumerate(detectors))
    return int(alarms.sum()), min(first)


def on_losses(rng: np.random.Generator, name: str, reference: int, shift: Shift) -> tuple[int, float]:
    """Return the same on 0/1 losses; the reference comes first, and alarms in it are not counted."""
    known, detector = losses("zero_one"), BINARY[name]()
    drawn = len(known.before)
    kind: Callable[[float], float | bool] = bool if name in ("DDM", "EDDM") else float
    for place in rng.integers(0, drawn, reference):
        detector.update(kind(known.before[place]))
    quiet = [kind(value) for value in known.before[rng.integers(0, drawn, shift.after)]]
    false = len(_detected(detector, quiet))
    if not shift.rows:
        return false, math.inf
    turned = rng.random(shift.rows) < shift.sizes() / shift.sizes()[-1]
    picked = rng.integers(0, drawn, shift.rows)
    after = np.where(turned, known.after[picked], known.before[picked])
    return false, _first(detector, [kind(value) for value in after])


def _detected(detector: Any, values: Any) -> list[int]:
    found = []
    for place, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(place)
    return found


def _first(detector: Any, values: Any) -> float:
    for place, value in enumerate(values, 1):
        detector.update(value)
        if detector.drift_detected:
            return float(place)
    return math.inf


def evidently_alarms(rng: np.random.Generator, reference: int, shift: Shift) -> tuple[int, float]:
    """Return how many quiet windows Evidently's rule calls drifted, and the rows until it finds a change."""
    rows = table()
    known = np.sort(rows[rng.integers(0, len(rows), reference)], axis=0)
    quiet = rows[rng.integers(0, len(rows), shift.after)]
    false = sum(evidently(known, quiet[end - WINDOW : end]) for end in range(WINDOW, len(quiet) + 1, WINDOW))
    if not shift.rows:
        return false, math.inf
    after = rows[rng.integers(0, len(rows), shift.rows)].copy()
    moved = rng.permutation(rows.shape[1])[:MOVED]
    after[:, moved] += shift.sizes()[:, None] * rows.std(axis=0)[moved]
    whole = np.concatenate([quiet[len(quiet) // WINDOW * WINDOW :], after])
    for end in range(WINDOW, len(whole) + 1, WINDOW):
        if evidently(known, whole[end - WINDOW : end]):
            return false, float(end - (len(whole) - len(after)))
    return false, math.inf


def evidently(known: Floats, window: Floats) -> bool:
    """Whether half of the columns have drifted: Evidently's preset for a data set with numeric columns.

    Of more than 1 000 reference rows a column has drifted where the Wasserstein distance, in standard
    deviations of the reference, is at least 0.1; of fewer where the Kolmogorov-Smirnov test has p < 0.05.

    Args:
        known: the reference, rows x columns, each column in rising order.
        window: as many rows as one likes.
    """
    return (
        float(np.mean([drifted(a, b) for a, b in zip(known.T, np.sort(window, axis=0).T, strict=True)]))
        >= PART
    )


def drifted(known: Floats, window: Floats) -> bool:
    """Whether a column has drifted; both in rising order."""
    values = np.sort(np.concatenate([known, window]))
    gap = np.abs(
        np.searchsorted(known, values, side="right") / len(known)
        - np.searchsorted(window, values, side="right") / len(window)
    )
    if len(known) > LARGE:
        return float((gap[:-1] * np.diff(values)).sum()) / max(float(known.std()), 0.001) >= DISTANCE
    root = math.sqrt(len(known) * len(window) / (len(known) + len(window)))
    return kolmogorov(root * float(gap.max())) < CHANCE


def kolmogorov(distance: float) -> float:
    """Return the chance of a larger distance, in the limit of many rows."""
    if distance < 0.2:
        return 1.0
    terms = ((-1) ** (n - 1) * math.exp(-2 * (n * distance) ** 2) for n in range(1, _TERMS))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
