"""What people see of a shadow report in a terminal: facts in, blocks out; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["shadow_report"]

Facts = Mapping[str, Any]

FEW = 5
"""Fields, pairs of labels and disagreements that one screen shows; the JSON and the HTML have more."""


def shadow_report(facts: Facts) -> list[Block]:
    """Return one screen about the shadows of a rollout."""
    candidates = facts["candidates"]
    told = f"  since revision {facts['since_revision']}, champion {facts['champion']}"
    blocks: list[Block] = [Line("rollout", (Cell(facts["rollout"], "bold"), Cell(told, "cyan")))]
    if not candidates and facts["noise"] is None:
        hint = f"nobody shadows: bento-rollout shadow {facts['rollout']} VARIANT=100 begins"
        blocks.append(Line("", (Cell(hint, "yellow"),)))
    for name, row in candidates.items():
        blocks += _candidate(name, row, facts["champion"])
    if (noise := facts["noise"]) is not None:
        blocks += [Line("noise", _agreement(noise, f"{facts['champion']} with itself")), *_missed(noise)]
    if candidates or facts["noise"] is not None:
        blocks += [_latencies(facts)]
    for name, row in candidates.items():
        blocks += _tables(name, row)
    return blocks


def _candidate(name: str, row: Facts, champion: str) -> Iterator[Line]:
    """Yield what is said of one candidate in lines."""
    yield Line(name, _agreement(row, f"with {champion}"))
    if row["beyond_noise"]["value"] is not None:
        floor, left = row["noise_floor"], row["beyond_noise"]
        told = f"{_percent(floor)} is the champion's own noise; beyond it {_percent(left['value'])} differ"
        yield Line(" ", (Cell(f"{told} (95 % sure: {_percent(left['low'])} to {_percent(left['high'])})"),))
    if len(row["endpoints"]) > 1:
        for endpoint, part in row["endpoints"].items():
            if part["compared"]:
                told = f"{endpoint}: {_percent(part['agreement']['value'])} of {part['compared']} calls"
                yield Line(" ", (Cell(told),))
    yield from _missed(row)
    now = row["now"]
    if now["stuck"]:
        told = f"{now['stuck']} of {now['running']} running calls hang: they keep their places until they end"
        yield Line(" ", (Cell(told, "bold red"),))
    for note in row["notes"]:
        yield Line(" ", (Cell(note, "yellow"),))


def _missed(row: Facts) -> Iterator[Line]:
    """Yield the calls that could not be compared, and those that were not shadowed."""
    if row["not_comparable"]:
        yield Line(" ", (Cell(f"not comparable: {_counts(row['not_comparable'])}", "red"),))
    if row["dropped"]:
        yield Line(" ", (Cell(f"dropped: {_counts(row['dropped'])}", "yellow"),))


def _agreement(row: Facts, whom: str) -> tuple[Cell, ...]:
    share, compared = row["agreement"], row["compared"]
    if share["value"] is None:
        return (Cell(f"watches {row['percent']:g} %; nothing was compared yet", "dim"),)
    bounds = f" (95 % sure: {_percent(share['low'])} to {_percent(share['high'])})"
    calls = f" of {compared} call{'s' * (compared != 1)}; watches {row['percent']:g} %"
    return (Cell(f"agrees {whom} in "), Cell(_percent(share["value"]), "bold"), Cell(calls + bounds))


def _latencies(facts: Facts) -> Grid:
    rows = []
    noise = {} if facts["noise"] is None else {f"{facts['champion']} (noise)": facts["noise"]}
    for name, row in {**facts["candidates"], **noise}.items():
        for side, label in (("champion", facts["champion"]), ("candidate", name)):
            told = row["latency"][side]
            cells = [Cell(_seconds(told[q])) for q in ("p50", "p95", "p99")]
            rows.append((Cell(name, "cyan"), Cell(label, "bold"), Cell(str(told["calls"])), *cells))
    return Grid(("shadow", "latency of", "calls", "p50", "p95", "p99"), tuple(rows))


def _tables(name: str, row: Facts) -> Iterator[Grid]:
    """Yield where answers differ, which labels, and the most telling disagreements."""
    fields = [
        (endpoint, path, told)
        for endpoint, part in row["endpoints"].items()
        for path, told in part["fields"].items()
    ]
    if fields:
        most = sorted(fields, key=lambda field: -field[2]["differed"])[:FEW]
        cells = tuple(
            (Cell(name, "cyan"), Cell(endpoint), *_field(path, told)) for endpoint, path, told in most
        )
        yield Grid(("shadow", "endpoint", "field", "differs", "noise", "beyond noise"), cells)
    mixed = [pair for pair in row["labels"] if pair["champion"] != pair["candidate"]][:FEW]
    if mixed:
        pairs = ((Cell(p["champion"]), Cell(p["candidate"]), Cell(str(p["count"]))) for p in mixed)
        yield Grid(("champion says", f"{name} says", "calls"), tuple(pairs))
    if row["examples"]:
        columns = ("prediction", "endpoint", "where", "champion", name)
        yield Grid(columns, _examples(row["examples"][:FEW]), frozenset({"prediction"}))


def _field(path: str, told: Facts) -> tuple[Cell, ...]:
    """Return how often a field differs, and whether for real; what is not known is said."""
    real = told["beyond_noise"]
    known = Cell(EMPTY) if real is None else Cell("yes", "red") if real else Cell("no", "green")
    return Cell(path), Cell(str(told["differed"])), Cell(_or_nothing(told["noise"])), known


def _or_nothing(number: int | None) -> str:
    return EMPTY if number is None else str(number)


def _examples(examples: Sequence[Facts]) -> tuple[tuple[Cell, ...], ...]:
    rows = []
    for example in examples:
        most = example["differences"][0] if example["differences"] else {}
        where = Cell(most.get("path", "-"))
        sides = Cell(most.get("champion", "-")), Cell(most.get("candidate", "-"))
        rows.append((Cell(example["prediction_id"], "dim"), Cell(example["endpoint"]), where, *sides))
    return tuple(rows)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _percent(share: float) -> str:
    """Return a share in percent, with as many digits as tell it from 0 and from 100.

    >>> _percent(0.9), _percent(0.99996), _percent(0.0)
    ('90 %', '99.996 %', '0 %')
    """
    percent = share * 100
    return f"{round(percent, 1 if 1 <= percent <= 99 else 3):g} %"  # noqa: PLR2004 - percent


def _seconds(seconds: float | None) -> str:
    """Return a duration as people say it.

    >>> _seconds(0.0123), _seconds(2.5), _seconds(None)
    ('12.3 ms', '2.5 s', '-')
    """
    if seconds is None:
        return "-"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
