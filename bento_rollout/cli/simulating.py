"""``simulate``: what a rollout will take, before it is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidSpec, InvalidValue
from .options import Whole, parse_time, printing
from .output import emit_json, in_terminal, show
from .progress import counting_bar
from .replayed import replayed_calls

if TYPE_CHECKING:
    from ..replaying import Replay
    from ..simulation import Plan, Run
    from ..spec import RolloutSpec
    from ..strategy import Strategy

__all__ = ["one_replay", "one_run", "simulate"]

_FEW = 20
"""Runs that are not worth a second process."""

_MOST_RUNS = 100_000


@click.command()
@click.argument("file")
@click.option("--requests-per-second", type=float, metavar="RATE", help="Calls of all users together.")
@click.option("--keys", type=Whole(0), metavar="N", help="How many users (routing keys) there are.")
@click.option(
    "--base", multiple=True, metavar="METRIC=VALUE", help="What the champion does, like error_rate=0.5%."
)
@click.option(
    "--candidate",
    multiple=True,
    metavar="METRIC=VALUE",
    help="What a harmful candidate does, like error_rate=2% or latency=x1.3.",
)
@click.option(
    "--runs", type=Whole(1), default=200, show_default=True, metavar="N", help="Rollouts of each kind."
)
@click.option(
    "--seed",
    type=Whole(0),
    default=1,
    show_default=True,
    metavar="N",
    help="The same seed, the same numbers.",
)
@click.option("--no-keys", is_flag=True, help="Routing is not sticky: each call is drawn anew.")
@click.option(
    "--zipf", type=float, default=0.0, metavar="S", help="How unevenly users call, like 1.1; default: evenly."
)
@click.option("--sigma", type=float, default=0.5, show_default=True, help="Spread of the log of durations.")
@click.option(
    "--per-key",
    type=float,
    default=0.1,
    show_default=True,
    help="Part of what a call does that is its user's own.",
)
@click.option(
    "--person", metavar="TIME", help="How long a person takes to end a pause step, like 1h; default: no time."
)
@click.option("--aa", metavar="NAME", help="Replay the last calls of rollout NAME's champion against itself.")
@click.option(
    "--jobs",
    type=Whole(0),
    default=0,
    metavar="N",
    help="Processes; default, and at most, one for each core.",
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg", help="Write a timeline."
)
@printing
def simulate(file: str, aa: str | None, picture: Path | None, as_json: bool, **asked: Any) -> int:
    """Plan a rollout by the strategy in FILE: how long it takes, how soon harm is caught, how often it errs.

    The policy and the tests are the real ones, and the calls are made up. Without --candidate only a healthy
    candidate is tried. With --aa the calls are real: those of a champion, split in two by chance.
    """
    if aa is not None and picture is not None:
        raise click.UsageError("--picture is of simulated rollouts, and --aa replays calls that were")
    spec = _spec(file)
    if aa is not None:
        facts, runs = _replayed(spec, aa, asked)
        from .plan_views import replay_view as view
    else:
        facts, runs = _planned(_planned_strategy(spec), asked)
        from .plan_views import plan_view as view
    if as_json:
        emit_json(facts)
    else:
        show(view(facts, width=_width() if in_terminal() else 0))
    if picture is not None:
        _draw(picture, runs, facts)
    return 0


def _planned(strategy: Strategy, asked: dict[str, Any]) -> tuple[dict[str, Any], list[Run]]:
    for option in ("requests_per_second", "keys"):
        if asked[option] is None:
            raise click.UsageError(
                f"--{option.replace('_', '-')} is missing: how long it takes depends on it"
            )
    import numpy as np

    from ..behaviour import behaviours
    from ..forecast import forecast, median_run
    from ..guardrails import Label
    from ..simulation import Plan, past_of
    from ..traffic import Traffic, endpoints_of

    arms = behaviours(strategy, asked["base"], asked["candidate"])
    traffic = Traffic(
        asked["requests_per_second"], asked["keys"], arms, strategy.guardrails, not asked["no_keys"],
        asked["zipf"], asked["per_key"], asked["sigma"], endpoints_of(strategy.guardrails),
    )  # fmt: skip
    person = parse_time("--person", asked["person"]) if asked["person"] else 0.0
    plan = Plan(strategy, traffic, past_of(traffic, np.random.default_rng([asked["seed"], 0])), person)
    kinds = {"healthy": (True, False)}
    if arms.differ:
        kinds["harmful"] = (False, False)
    if any(isinstance(one, Label) and one.is_required for one in strategy.guardrails.values()):
        kinds["prompt"] = (True, True)
    each = _checked_runs(asked["runs"])
    tasks = [(plan, asked["seed"], number, *kind) for kind in kinds.values() for number in range(each)]
    found = _all(one_run, tasks, asked["jobs"], "rollouts")
    runs = {kind: found[at * each : (at + 1) * each] for at, kind in enumerate(kinds)}
    told = median_run(runs.get("harmful") or runs["healthy"])
    both = [run for run in (median_run(runs["healthy"]), told if arms.differ else None) if run is not None]
    return {**forecast(plan, **runs), "runs": each, "seed": asked["seed"]}, both


def one_run(task: tuple[Plan, int, int, bool, bool]) -> Run:
    """Return what became of one rollout; a function of its argument, in whatever process."""
    import numpy as np

    from ..simulation import simulate as simulated

    plan, seed, number, healthy, prompt = task
    return simulated(plan, np.random.default_rng([seed, 1, number]), healthy=healthy, prompt=prompt)


def _replayed(spec: RolloutSpec, name: str, asked: dict[str, Any]) -> tuple[dict[str, Any], list[Run]]:
    from ..operations import open_rollout
    from ..replaying import Replay, replay_facts
    from .reaching import here

    here("simulate --aa")

    for option in ("requests_per_second", "keys", "base", "candidate", "zipf"):
        if asked[option]:
            words = f"--aa replays calls that were: --{option.replace('_', '-')} says nothing about them"
            raise click.UsageError(words)
    rollout = open_rollout(name)
    champion = rollout.state.champion
    calls = replayed_calls(spec, rollout.ledger.place, champion)
    task = Replay.of(_planned_strategy(spec), calls, sticky=not asked["no_keys"])
    salts = range(asked["seed"] * _MOST_RUNS, asked["seed"] * _MOST_RUNS + _checked_runs(asked["runs"]))
    alarms = _all(one_replay, [(task, salt) for salt in salts], asked["jobs"], "replays")
    return {"rollout": name, "champion": champion, **replay_facts(task, alarms)}, []


def one_replay(task: tuple[Replay, int]) -> tuple[str, ...]:
    """Return what alarmed in one replay, in whatever process."""
    from ..replaying import replay

    return replay(*task)


def _all(work: Callable[[Any], Any], tasks: list[Any], jobs: int, what: str) -> list[Any]:
    """Return the results of all tasks, in their order."""
    with counting_bar(what, len(tasks)) as tick, _mapping(jobs, len(tasks)) as mapped:
        found = []
        for result in mapped(work, tasks):
            found.append(result)
            tick()
        return found


@contextmanager
def _mapping(
    jobs: int, tasks: int
) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]]:
    jobs = min(_processes(jobs), tasks)
    if jobs < 2 or tasks < _FEW:  # noqa: PLR2004 - one process needs no pool
        yield map
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield lambda work, items: pool.map(work, items, chunksize=max(1, min(8, tasks // (4 * jobs))))


def _processes(asked: int) -> int:
    """Return how many processes work: as many as there are cores, or fewer; who asked for more is told."""
    import os

    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if asked > most:
        words = f"--jobs {asked}: {most} process{'es' if most > 1 else ''} will do it, one for each core"
        click.echo(words, err=True)
    return min(asked, most) if asked else most


def _checked_runs(runs: int) -> int:
    if runs > _MOST_RUNS:
        raise InvalidValue(f"--runs {runs}: at most {_MOST_RUNS} are simulated")
    return runs


def _spec(file: str) -> RolloutSpec:
    """Return a spec that has a strategy.

    Raises:
        InvalidSpec: the file is none, or has no strategy.
    """
    from ..specfile import load_with_digest

    spec = load_with_digest(file)[0]
    if spec.strategy is None:
        where = "<stdin>" if file == "-" else file
        raise InvalidSpec(f"{where}: it has no `strategy`, so there is nothing to plan")
    return spec


def _planned_strategy(spec: RolloutSpec) -> Strategy:
    """Return the strategy; a dry run is planned as if it were none."""
    strategy = spec.strategy
    assert strategy is not None
    return strategy.model_copy(update={"dry_run": False})


def _draw(picture: Path, runs: list[Run], facts: dict[str, Any]) -> None:
    from .plan_picture import timeline

    try:
        picture.write_text(timeline(runs, facts) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"--picture {picture}: {error.strerror}") from None
    click.echo(f"{picture} is written", err=True)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns
