"""What counts once: one call, or of a call with a key for each row all its rows of one key; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from .guardrails import Measure
from .records import Compared, Observation, Plan, Reason, Relation

__all__ = ["PairUnit", "Told", "Unit", "bad_part", "is_failure", "pairs_of", "units_of", "values_of"]

MOST_EVENTS = float(1 << 20)
"""Events that one unit has at most: sums of more would not be exact any more."""


class Told(Protocol):
    """What is counted of a prediction."""

    @property
    def prediction_id(self) -> str:
        """Its id."""

    @property
    def time(self) -> float:
        """When the request came, in seconds since 1970."""

    @property
    def plans(self) -> Sequence[Plan]:
        """Who answered."""

    @property
    def runs(self) -> Sequence[Observation]:
        """Each run that it took."""

    @property
    def keys(self) -> Sequence[str | None]:
        """The routing keys, one for each plan."""

    @property
    def inference_ids(self) -> Sequence[str | None]:
        """The caller's own ids, one for each plan."""


class Unit(NamedTuple):
    """What counts once, and whose it is.

    Attributes:
        name: what tells it from others of its endpoint: of its key, else of its own id. Personal data.
        variant: who was drawn for it.
        reason: why.
        run: what became of it; of a variant that was not there, what its stand-in did.
        rows: of a request with a key for each row, which ones these are.
        failed: whether it was the variant's error.
        missed: whether the variant was not there.
    """

    name: str
    variant: str
    reason: Reason
    run: Observation
    rows: tuple[int, ...]
    failed: bool
    missed: bool = False

    def __repr__(self) -> str:
        """Return what became of it, and nothing of whose it is."""
        return f"<Unit of {self.variant}: {'failed' if self.failed else 'well'}>"


class PairUnit(NamedTuple):
    """What counts once of a comparison.

    Attributes:
        name: as a unit's.
        agreed: whether all its rows agree.
    """

    name: str
    agreed: bool

    def __repr__(self) -> str:
        """Return what became of it, and nothing of whose it is."""
        return f"<PairUnit: {'agreed' if self.agreed else 'disagreed'}>"


def is_failure(run: Observation) -> bool:
    """Whether a run failed by the variant's doing: an error, a timeout, not being there; no client's 4xx.

    Where ``is_error=`` said something, that holds.
    """
    return run.outcome.failed if run.counts is None else run.counts


def units_of(told: Told) -> Iterator[Unit]:
    """Return what counts once: the run of whoever was drawn.

    A run after a failed one is a stand-in's, and no evidence of anybody. So is one for a variant that chance
    drew and that had been ready here and is not any more; that is a failed unit of this variant beside it.
    """
    runs = told.runs
    if not runs:
        return
    if not runs[0].rows:
        name, run = _name(told, 0, by_rows=False), runs[0]
        yield Unit(name, run.variant, run.reason, run, (), is_failure(run))
        if told.plans and (missed := told.plans[0].missed) is not None:
            yield Unit(name, missed, _SPLIT, run, (), failed=True, missed=True)
        return
    yield from _row_units(told)


def _row_units(told: Told) -> Iterator[Unit]:
    first: dict[int, Observation] = {}
    for run in told.runs:
        for row in run.rows:
            first.setdefault(row, run)
    units: dict[tuple[str, str, bool], Unit] = {}
    for row, run in sorted(first.items()):
        name = _name(told, row, by_rows=True)
        _add_row(units, Unit(name, run.variant, run.reason, run, (row,), is_failure(run)))
        if row < len(told.plans) and (missed := told.plans[row].missed) is not None:
            _add_row(units, Unit(name, missed, _SPLIT, run, (row,), failed=True, missed=True))
    yield from units.values()


def _add_row(units: dict[tuple[str, str, bool], Unit], unit: Unit) -> None:
    at = (unit.name, unit.variant, unit.missed)
    known = units.get(at)
    if known is None or (unit.failed and not known.failed):
        units[at] = unit  # one failed row is enough
    elif known.run is unit.run:
        units[at] = known._replace(rows=known.rows + unit.rows)


def pairs_of(told: Compared) -> Iterator[PairUnit]:
    """Return what counts once of a comparison: one row that does not agree is enough."""
    rows = (0,) if told.rows is None else told.rows
    agreed: dict[str, bool] = {}
    for row, comparison in zip(rows, told.comparisons, strict=False):
        name = _name(told, row, by_rows=told.rows is not None)
        agreed[name] = agreed.get(name, True) and comparison.relation is Relation.AGREE
    for name, all_agreed in agreed.items():
        yield PairUnit(name, all_agreed)


def _name(told: Told | Compared, row: int, *, by_rows: bool) -> str:
    """Return what tells a unit from others: its key's name, else its own id's.

    A client's retry has the same id, and counts once.
    """
    keys, names = told.keys, told.inference_ids
    if row < len(keys) and (key := keys[row]) is not None:
        return f"key:{key}"
    if row < len(names) and (name := names[row]) is not None:
        return f"id:{name}"
    return f"call:{told.prediction_id}.{row}" if by_rows else f"call:{told.prediction_id}"


_SPLIT = Reason.SPLIT
"""Looked up once: until Python 3.12 an enum's member costs a fifth of a microsecond."""


# -- measures --------------------------------------------------------------------------------------------


def values_of(unit: Unit) -> Mapping[str, Sequence[float]]:
    """Return what was measured of a unit, by name.

    Where a name has as many values as the run has rows, each is of one row; else all are of all rows.
    """
    run = unit.run
    found: dict[str, list[float]] = {}
    for name, value in run.measures:
        found.setdefault(name, []).extend(value if isinstance(value, tuple) else (value,))
    if len(run.rows) > len(unit.rows):
        at = [run.rows.index(row) for row in unit.rows]
        for name, values in found.items():
            if len(values) == len(run.rows):
                found[name] = [values[index] for index in at]
    return found


def bad_part(measure: Measure, values: Sequence[float]) -> tuple[float, bool]:
    """Return the bad part of what one unit gave, and whether a value lay outside the range.

    Of values in a range it is their mean, from 0 (best) to 1; what is no number is the worst. Of a counter it
    is the events together; below 0, or no number, is none.

    >>> bad_part(Measure(better="high", range=(0, 8)), [6.0, 12.0])
    (0.125, True)
    """
    if measure.range is None:
        events = [value if value >= 0 else 0.0 for value in values]  # NaN is not
        total = min(sum(events), MOST_EVENTS)
        return total, any(value != event for value, event in zip(values, events, strict=True)) or (
            total < sum(events)
        )
    low, high = measure.range
    worst = low if measure.better == "high" else high
    inside = [min(max(value, low), high) if value == value else worst for value in values]  # noqa: PLR0124 - NaN
    parts = [(value - low) / (high - low) for value in inside]
    mean = min(1.0, max(0.0, sum(parts) / len(parts)))
    bad = 1.0 - mean if measure.better == "high" else mean
    return bad, any(value != one for value, one in zip(values, inside, strict=True))
