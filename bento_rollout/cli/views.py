"""What people see of a status, a history, an assignment and an examination: facts in, blocks out; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .degree_views import degrees
from .output import EMPTY, Block, Cell, Grid, Line
from .try_views import glance, tried

__all__ = ["assignments", "changed", "doctor", "history", "rollouts", "status", "traffic", "watched"]

Facts = Mapping[str, Any]
STATES = {"ready": "green", "starting": "yellow"}
NOTHING = Cell(EMPTY, "dim")
DIGEST = 12


def changed(facts: Facts) -> list[Block]:
    """Return what a verb did: notes, and one line that says what is different now and who answers."""
    head = f"{facts['name']}: " + ("" if facts["changed"] else "nothing changed, ")
    told = "".join(f"{phrase}; " for phrase in facts["detail"])
    revision = Cell(f"revision {facts['revision']}, {told}")
    notes = [_sentence(note, "yellow") for note in facts["notes"]]
    return [*notes, Line("", (Cell(head, "bold"), revision, *traffic(facts)))]


def traffic(facts: Facts) -> tuple[Cell, ...]:
    """Return who answers how much, the champion first; then who has weight and does not answer, and why."""
    champion, weights = facts["champion"], facts["weights"]
    served = facts.get("served") or {champion: round(100 - sum(weights.values()), 3), **weights}
    cells = [Cell("champion "), Cell(champion, "bold green"), Cell(f" {served.get(champion, 0):g} %")]
    for name, percent in served.items():
        if percent and name != champion:
            cells += [Cell(", "), Cell(name, "cyan"), Cell(f" {percent:g} %")]
    for name, row in facts.get("idle", {}).items():
        if row["percent"]:
            told = f"; {row['state']}: {name} {row['percent']:g} % ({row['why']})"
            cells.append(Cell(told, "yellow" if row["state"] in ("held", "starting") else "red"))
    return tuple(cells)


def rollouts(rows: Sequence[Facts]) -> list[Block]:
    """Return the rollouts of a store."""
    if not rows:
        return [_sentence("the store has no rollout yet")]
    cells = [(Cell(r["name"], "bold"), Cell(str(r["revision"])), Cell(r["champion"], "green")) for r in rows]
    return [Grid(("name", "revision", "champion"), tuple(cells))]


def status(facts: Facts) -> list[Block]:
    """Return one screen about a rollout."""
    around = (*_live_lines(facts), *_way_back(facts), _variants(facts))
    return [*_state_lines(facts), *tried(facts.get("try")), *around]


def watched(facts: Facts) -> list[Block]:
    """Return the same for who watches: of a running try what counts stands within the first lines."""
    attempt = facts.get("try")
    if not attempt or not attempt["runs"]:
        return status(facts)
    around = (*_live_lines(facts), *_way_back(facts), _variants(facts))
    lines = [_title(facts), Line("traffic", traffic(facts)), *_problem(facts["store"])]
    return [*lines, *glance(attempt), *around]


def _title(facts: Facts) -> Line:
    return Line("rollout", (Cell(facts["name"], "bold"), Cell(f"  revision {facts['revision']}", "cyan")))


def _state_lines(facts: Facts) -> Iterator[Block]:
    yield _title(facts)
    last = facts.get("last_change")
    if isinstance(last, Mapping):
        text = f"{last['action']} by {last['author']}, {_when(last['time'])}"
        yield Line(
            "changed", (Cell(text), *([Cell(f": {last['reason']}", "italic")] if last["reason"] else []))
        )
    yield from _held_against(facts)
    yield Line("traffic", traffic(facts))
    yield Line("shadow", _percents(facts["shadow"]))
    if facts.get("standby"):
        yield Line("standby", (Cell(facts["standby"], "cyan"),))
    if facts.get("targets"):
        idle = facts.get("idle", {})
        told = (_target(name, target, idle.get(name)) for name, target in facts["targets"].items())
        yield Line("targets", (Cell("; ".join(told)),))
    yield from degrees(facts.get("automation", {}))
    yield Line(
        "paused",
        (Cell("yes: automation raises and promotes nothing", "yellow") if facts["paused"] else Cell("no"),),
    )
    if facts.get("drift"):
        yield _drift(facts)


def _held_against(facts: Facts) -> Iterator[Line]:
    """Yield what this host holds against the file that governs, and what of that file waits."""
    override = facts.get("override") or {}
    for verb in ("rollback", "pause"):
        if (mark := override.get(verb)) is not None:
            why = f": {mark['reason']}" if mark["reason"] else ""
            told = f"{verb} by {mark['author']}, {_when(mark['time'])}{why}"
            ends = f"  holds on this host until the file changes, or bento-rollout resume {facts['name']}"
            yield Line("override", (Cell(told, "bold red"), Cell(ends)))
    if waits := facts.get("waits_for_restart"):
        yield Line("waits", (Cell(f"{', '.join(waits)}: code, which waits for the next start", "yellow"),))


def _drift(facts: Facts) -> Line:
    """Return that an alarm of drift waits, in one line, and where it is looked at."""
    first, *more = facts["drift"]["alarms"]
    others = f" (and {len(more)} more)" if more else ""
    how = f": look with bento-rollout drift {facts['name']} report"
    return Line("drift", (Cell(f"{first['words']}{others}", "bold red"), Cell(how)))


def _live_lines(facts: Facts) -> Iterator[Block]:
    workers = facts.get("workers", [])
    if not workers:
        yield Line("workers", (Cell("none is live", "yellow"),))
    for index, worker in enumerate(workers):
        behind = worker["revision"] != facts["revision"]
        style = "yellow" if behind else "green"
        host = f"on {worker['host']} " if worker.get("host") else ""
        cells = [Cell(f"pid {worker['pid']} {host}"), Cell(f"at revision {worker['revision']}", style)]
        if worker.get("trouble"):
            cells.append(Cell(f"  {worker['trouble']}", "red"))
        yield Line(
            " " if index else f"{'worker' if len(workers) == 1 else 'workers'} {len(workers)}", tuple(cells)
        )
    for one in facts.get("silent", ()):
        yield Line("silent", (Cell(one["words"], "yellow"),))
    yield from _codes(facts.get("code") or {})
    yield from _store(facts["store"])


def _codes(code: Facts) -> Iterator[Block]:
    """Yield who runs which code, where it is not the same everywhere."""
    workers = code.get("workers", {})
    if len(workers) < 2:  # noqa: PLR2004 - with one code nothing differs
        return
    told = "; ".join(
        f"{digest}{' (newest)' if digest == code['newest'] else ''}: {', '.join(who)}"
        for digest, who in workers.items()
    )
    yield Line("code", (Cell(f"differs, so no try goes on: {told}", "yellow"),))


def _store(store: Facts) -> Iterator[Block]:
    place = store.get("url") or store["kind"]
    durable = (
        Cell("durable", "green")
        if store["durable"]
        else Cell(f"not durable: {store.get('why') or 'changes are refused'}", "red")
    )
    yield Line("store", (Cell(f"{place}, "), durable, Cell(f", binds this {store['binds']}")))
    yield from _problem(store)


def _problem(store: Facts) -> Iterator[Block]:
    if store.get("problem"):
        yield Line("problem", (Cell(store["problem"], "bold red"),))


def _way_back(facts: Facts) -> Iterator[Block]:
    back = facts.get("rollback")
    if not back:
        again = facts.get("rollback_again")
        further = f"; rollback --again would give all traffic to {again['champion']}" if again else ""
        yield _sentence(f"nothing to roll back{further}", "bold")
    elif (state := facts["variants"].get(back["champion"], {}).get("state")) in ("missing", "failed"):
        yield _sentence(f"rollback to {back['champion']} would be refused: it is {state}", "bold red")
    else:
        yield _sentence(f"rollback would give all traffic to {back['champion']}", "bold")
    for text in facts.get("differences", ()):
        yield Line("differs", (Cell(text, "yellow"),))


def _variants(facts: Facts) -> Grid:
    weights = {**facts["weights"], facts["champion"]: facts["served"][facts["champion"]]}
    rows = []
    for name, row in facts["variants"].items():
        grant = f"{row['held']}: grant it with {row['grant']}" if "held" in row else None
        told = name in facts["idle"] and facts["idle"][name]["percent"]  # in the line about traffic
        notes = "; ".join(filter(None, (row.get("held") if told else grant, row.get("error"))))
        rows.append(
            (
                Cell(name, "bold green" if name == facts["champion"] else "cyan"),
                Cell(row["state"], STATES.get(row["state"], "red")),
                Cell(_place(row)),
                _percent(weights.get(name)),
                _percent(facts["shadow"].get(name)),
                Cell(", ".join(row.get("models", ()))) if row.get("models") else NOTHING,
                Cell(row["digest"][:DIGEST], "dim") if row["digest"] else NOTHING,
                Cell(notes, "yellow" if row["state"] in STATES else "red") if notes else NOTHING,
            )
        )
    columns = ("variant", "state", "runner", "weight", "shadow", "model", "digest", "note")
    return _without_empty(columns, rows, {"shadow", "model", "note"})


def _place(row: Facts) -> str:
    """Return where a variant runs, and what its processes cost."""
    processes = row.get("processes")
    if not processes:
        return str(row["runner"])
    memory = sum(process.get("memory_mb", 0) for process in processes)
    restarts = sum(process["restarts"] for process in processes)
    again = f", {restarts} restart{'s' * (restarts != 1)}" if restarts else ""
    return f"{row['runner']} ({memory} MB{again})"


def history(rows: Sequence[Facts]) -> list[Block]:
    """Return the revisions, newest first; columns that say nothing are left out."""
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
                Cell("; ".join(row["detail"])) if row["detail"] else NOTHING,
                Cell(row["author"]),
                Cell(row["reason"] + late) if row["reason"] or late else NOTHING,
            )
        )
    columns = ("revision", "time", "action", "champion", "weights", "shadow", "detail", "author", "reason")
    grid = _without_empty(
        columns, cells, {"weights", "shadow", "detail", "reason"}, "revision", "time", "action"
    )
    more = rows[-1]["parent"] if rows else 0
    older = f"older ones, from revision {more} down, are not shown: --limit 0 shows all"
    return [grid, _sentence(older, "dim")] if more else [grid]


def _without_empty(
    columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], optional: Collection[str], *firm: str
) -> Grid:
    """Return a table without those of the ``optional`` columns in which nothing stands."""
    kept = [
        index
        for index, column in enumerate(columns)
        if column not in optional or any(row[index] != NOTHING for row in rows)
    ]
    cells = tuple(tuple(row[index] for index in kept) for row in rows)
    return Grid(tuple(columns[index] for index in kept), cells, frozenset(firm))


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


def doctor(facts: Facts, repaired: Sequence[str] = (), *, served: bool = False) -> list[Block]:
    """Return one screen about everything around a store; ``served``: as the service itself finds it."""
    lines: list[Block] = [Line("repair", (Cell(text, "green"),)) for text in repaired]
    lines += _store(facts["store"])
    lines += [Line("files", (Cell(text, "red"),)) for text in facts["permissions"] or ()]
    lines.append(Line("token", (_token(facts["token"], served=served),)))
    for row in facts["rollouts"]:
        lines += [Line(row["name"], (Cell(text, "red"),)) for text in row["problems"]]
        lines += [Line(row["name"], (Cell(text, "yellow"),)) for text in (*row["differences"], *row["notes"])]
        lines += [Line(row["name"], _ledger(kept)) for kept in (row["ledger"],) if kept.get("predictions")]
    cells = tuple(
        (
            Cell(row["name"], "bold"),
            _or_nothing(row["revision"]),
            _or_nothing(row.get("champion")),
            Cell(", ".join(f"{w['pid']} at {w['revision']}" for w in row["workers"]) or "none is live"),
            Cell(str(len(row["problems"])), "red" if row["problems"] else "green"),
            Cell(str(len(row["differences"]) + len(row["notes"]))),
        )
        for row in facts["rollouts"]
    )
    grid = Grid(("rollout", "revision", "champion", "workers", "problems", "notes"), cells)
    if cells:
        lines.append(grid)
    elif not facts["store"].get("problem"):  # else nobody knows what it has
        lines.append(_sentence("the store has no rollout yet"))
    return [*lines, _verdict(facts)]


def _ledger(kept: Facts) -> tuple[Cell, ...]:
    """Return what is kept of a rollout, and what was lost."""
    told = f"{kept['predictions']} predictions and {kept['labels']} labels, {kept['size'] / 1e6:.1f} MB"
    cells = (Cell(f"the ledger has {told} in {kept['path']}"),)
    return (*cells, Cell(f"; {kept['lost']} were lost", "yellow")) if kept["lost"] else cells


def _verdict(facts: Facts) -> Line:
    """Return what all of it comes to: as many problems as were shown."""
    around = (facts["store"].get("problem"), facts["token"].get("problem"), *(facts["permissions"] or ()))
    count = sum(len(row["problems"]) for row in facts["rollouts"]) + sum(map(bool, around))
    if count:
        return _sentence(f"{count} problem{'s' if count > 1 else ''}", "bold red")
    alone = [row["name"] for row in facts["rollouts"] if not row["workers"]]
    if alone or not facts["rollouts"]:
        of = f" of {', '.join(alone)}" if alone else ""
        return _sentence(f"no worker{of} is live: only the store was checked, and it is well", "yellow")
    return _sentence("all is well", "green")


def _token(token: Facts, *, served: bool) -> Cell:
    here = "the service" if served else "a service started from this shell"
    elsewhere = "" if served else " (a running service has its own environment, which is not looked at)"
    if token.get("problem"):
        return Cell(f"{here}: the operators' routes are closed: {token['problem']}{elsewhere}", "red")
    if not token["names"]:
        return Cell(f"{here}: none, so the operators' routes are closed{elsewhere}", "yellow")
    return Cell(f"{here}: known names: {', '.join(token['names'])}{elsewhere}", "green")


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


def _target(name: str, target: Facts, idle: Facts | None) -> str:
    keys, headers = target.get("keys") or (), target.get("header") or {}
    parts = [f"{len(keys)} key{'s' if len(keys) != 1 else ''}"] if keys else []
    told = f"{name}: {', '.join([*parts, *(f'{n}={v}' for n, v in headers.items())])}"
    return told if idle is None else f"{told} ({idle['state']}: the champion answers)"


def _when(utc: str) -> str:
    """Return a time as the clock here shows it, and how far that is from UTC."""
    local = datetime.fromisoformat(utc.replace("Z", "+00:00")).astimezone()
    return local.isoformat(sep=" ", timespec="seconds")
