"""What people see of a status, a history, an assignment and an examination: facts in, blocks out; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from .output import Block, Cell, Grid, Line

__all__ = ["assignments", "doctor", "history", "rollouts", "status", "traffic"]

Facts = Mapping[str, Any]
STATES = {"ready": "green", "starting": "yellow"}
NOTHING = Cell("-", "dim")
DIGEST = 12


def traffic(champion: str, weights: Mapping[str, float]) -> tuple[Cell, ...]:
    """Return who answers how much, the champion first."""
    rest = round(100 - sum(weights.values()), 3)
    cells = [Cell("champion ", ""), Cell(champion, "bold green"), Cell(f" {rest:g} %")]
    for name, percent in weights.items():
        if percent:
            cells += [Cell(", "), Cell(name, "cyan"), Cell(f" {percent:g} %")]
    return tuple(cells)


def rollouts(rows: Sequence[Facts]) -> list[Block]:
    """Return the rollouts of a store."""
    if not rows:
        return [_sentence("the store has no rollout yet")]
    cells = [(Cell(r["name"], "bold"), Cell(str(r["revision"])), Cell(r["champion"], "green")) for r in rows]
    return [Grid(("name", "revision", "champion"), tuple(cells))]


def status(facts: Facts) -> list[Block]:
    """Return one screen about a rollout."""
    return [*_state_lines(facts), *_live_lines(facts), *_way_back(facts), _variants(facts)]


def _state_lines(facts: Facts) -> Iterator[Block]:
    yield Line("rollout", (Cell(facts["name"], "bold"), Cell(f"  revision {facts['revision']}", "cyan")))
    last = facts.get("last_change")
    if isinstance(last, Mapping):
        text = f"{last['action']} by {last['author']}, {_when(last['time'])}"
        yield Line(
            "changed", (Cell(text), *([Cell(f": {last['reason']}", "italic")] if last["reason"] else []))
        )
    yield Line("traffic", traffic(facts["champion"], facts["weights"]))
    yield Line("shadow", _percents(facts["shadow"]))
    if facts.get("standby"):
        yield Line("standby", (Cell(facts["standby"], "cyan"),))
    if facts.get("targets"):
        yield Line("targets", (Cell("; ".join(_target(*item) for item in facts["targets"].items())),))
    yield Line(
        "paused",
        (Cell("yes: automation raises and promotes nothing", "yellow") if facts["paused"] else Cell("no"),),
    )


def _live_lines(facts: Facts) -> Iterator[Block]:
    workers = facts.get("workers", [])
    if not workers:
        yield Line("workers", (Cell("none is live", "yellow"),))
    for index, worker in enumerate(workers):
        behind = worker["revision"] != facts["revision"]
        style = "yellow" if behind else "green"
        cells = [Cell(f"pid {worker['pid']} "), Cell(f"at revision {worker['revision']}", style)]
        if worker.get("trouble"):
            cells.append(Cell(f"  {worker['trouble']}", "red"))
        yield Line(" " if index else f"workers {len(workers)}", tuple(cells))
    yield from _store(facts["store"])


def _store(store: Facts) -> Iterator[Block]:
    place = store.get("url") or store["kind"]
    durable = (
        Cell("durable", "green")
        if store["durable"]
        else Cell(f"not durable: {store.get('why') or 'changes are refused'}", "red")
    )
    yield Line("store", (Cell(f"{place}, "), durable, Cell(f", binds this {store['binds']}")))
    if store.get("problem"):
        yield Line("problem", (Cell(store["problem"], "bold red"),))


def _way_back(facts: Facts) -> Iterator[Block]:
    back = facts.get("rollback")
    if not back:
        yield _sentence("nothing to roll back", "bold")
    elif (state := facts["variants"].get(back["champion"], {}).get("state")) in ("missing", "failed"):
        yield _sentence(f"rollback to {back['champion']} would be refused: it is {state}", "bold red")
    else:
        yield _sentence(f"rollback would give all traffic to {back['champion']}", "bold")
    for text in facts.get("differences", ()):
        yield Line("differs", (Cell(text, "yellow"),))


def _variants(facts: Facts) -> Grid:
    weights = {**facts["weights"], facts["champion"]: round(100 - sum(facts["weights"].values()), 3)}
    rows = []
    for name, row in facts["variants"].items():
        notes = "; ".join(filter(None, (row.get("held"), row.get("error"))))
        rows.append(
            (
                Cell(name, "bold green" if name == facts["champion"] else "cyan"),
                Cell(row["state"], STATES.get(row["state"], "red")),
                Cell(row["runner"]),
                _percent(weights.get(name)),
                _percent(facts["shadow"].get(name)),
                Cell(row["digest"][:DIGEST], "dim") if row["digest"] else NOTHING,
                Cell(notes, "yellow" if row["state"] in STATES else "red") if notes else NOTHING,
            )
        )
    return Grid(("variant", "state", "runner", "weight", "shadow", "digest", "note"), tuple(rows))


def history(rows: Sequence[Facts]) -> list[Block]:
    """Return the revisions, newest first."""
    cells = []
    for row in rows:
        after = row.get("after_flip")
        late = (
            f" (after_flip {after['state']} in worker {after['worker']})"
            if after and after["state"] != "done"
            else ""
        )
        cells.append(
            (
                Cell(str(row["revision"]), "cyan"),
                Cell(_when(row["time"]), "dim"),
                Cell(row["action"], "bold"),
                Cell(row["champion"], "green"),
                _joined(row["weights"]),
                _joined(row["shadow"]),
                Cell(row["author"]),
                Cell(row["reason"] + late) if row["reason"] or late else NOTHING,
            )
        )
    return [
        Grid(
            ("revision", "time", "action", "champion", "weights", "shadow", "author", "reason"), tuple(cells)
        )
    ]


def assignments(rows: Sequence[Facts]) -> list[Block]:
    """Return who answers each key."""
    cells = tuple(
        (
            Cell(r["key"]),
            Cell(str(r["bucket"]), "dim"),
            Cell(r["variant"], "bold"),
            Cell(r["reason"]),
            Cell(str(r["revision"]), "cyan"),
        )
        for r in rows
    )
    return [Grid(("key", "bucket", "variant", "reason", "revision"), cells)]


def doctor(facts: Facts, repaired: Sequence[str] = ()) -> list[Block]:
    """Return one screen about everything around a store."""
    lines: list[Block] = [Line("repair", (Cell(text, "green"),)) for text in repaired]
    lines += _store(facts["store"])
    lines += [Line("files", (Cell(text, "red"),)) for text in facts["permissions"] or ()]
    lines.append(Line("token", (_token(facts["token"]),)))
    for row in facts["rollouts"]:
        lines += [Line(row["name"], (Cell(text, "red"),)) for text in row["problems"]]
        lines += [Line(row["name"], (Cell(text, "yellow"),)) for text in row["differences"]]
    cells = tuple(
        (
            Cell(row["name"], "bold"),
            _or_nothing(row["revision"]),
            _or_nothing(row.get("champion")),
            Cell(", ".join(f"{w['pid']} at {w['revision']}" for w in row["workers"]) or "none is live"),
            Cell(str(len(row["problems"])), "red" if row["problems"] else "green"),
        )
        for row in facts["rollouts"]
    )
    grid = Grid(("rollout", "revision", "champion", "workers", "problems"), cells)
    return [*lines, grid if cells else _sentence("the store has no rollout yet")]


def _token(token: Facts) -> Cell:
    if token.get("problem"):
        return Cell(f"the operators' routes are closed: {token['problem']}", "red")
    if not token["names"]:
        return Cell(
            "none in this environment: the operators' routes of a service started here are closed", "yellow"
        )
    return Cell(f"known names: {', '.join(token['names'])}", "green")


def _sentence(text: str, style: str = "") -> Line:
    return Line("", (Cell(text, style),))


def _percents(percents: Mapping[str, float]) -> tuple[Cell, ...]:
    return (_joined(percents) if any(percents.values()) else Cell("none", "dim"),)


def _joined(percents: Mapping[str, float]) -> Cell:
    text = ", ".join(f"{name} {percent:g} %" for name, percent in percents.items() if percent)
    return Cell(text) if text else NOTHING


def _percent(percent: float | None) -> Cell:
    return Cell(f"{percent:g} %") if percent else NOTHING


def _or_nothing(value: object) -> Cell:
    return NOTHING if value is None else Cell(str(value))


def _target(name: str, target: Facts) -> str:
    keys, headers = target.get("keys") or (), target.get("header") or {}
    parts = [f"{len(keys)} key{'s' if len(keys) != 1 else ''}"] if keys else []
    return f"{name}: {', '.join([*parts, *(f'{n}={v}' for n, v in headers.items())])}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
