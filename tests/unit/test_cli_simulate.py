"""``simulate``: the command, its tables, its picture, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bento_rollout.cli.plan_picture import timeline
from bento_rollout.cli.plan_views import plan_view
from bento_rollout.cli.progress import counting_bar
from bento_rollout.cli.simulating import _all
from bento_rollout.operations import Rollout
from bento_rollout.records import Plan, Reason
from tests.ledgers import NOW, prediction, written
from tests.unit.door import Say

SPEC = """
name: screening
strategy:
  canary:
    candidate: boosted
    steps: [{weight: 10, bake: 5m}, {weight: 50, bake: 5m}]
    bake_after: {for: 10m, holdback: 5}
  guardrails:
    error_rate: {margin: 3pp}
  give_up_after: 1d
"""

FEW = ("--requests-per-second", "50", "--keys", "5000", "--runs", "3")
BAD = ("--base", "error_rate=0.5%", "--candidate", "error_rate=20%")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A spec with a strategy."""
    path = tmp_path / "rollout.yaml"
    path.write_text(SPEC)
    return str(path)


def test_more_processes_than_cores_are_not_started(say: Say, file: str) -> None:
    """However many are asked for; who asks is told, and the answer is the same."""
    code, out, err = say("simulate", file, *FEW, "--jobs", "99999")
    assert (code, err.startswith("--jobs 99999: "), "one for each core" in err) == (0, True, True)
    assert out == say("simulate", file, *FEW)[1]


def test_a_plan_is_a_table_and_a_plot(say: Say, file: str) -> None:
    """It says how long it takes, how soon harm is caught, whom it hits, and how often it is wrong."""
    code, out, err = say("simulate", file, *FEW, *BAD)
    assert (code, err) == (0, "")
    for words in (
        "3 simulated rollouts of each kind, seed 1",
        "50 requests/s of 5,000 users",
        "time until promoted",
        "time until the alarm",
        "users who met it until then",
        "decided wrongly",
        "DISTINCT USERS NEEDED",
        "healthy: time until promoted",
        "harmful: time until caught",
    ):
        assert words in out


def test_a_plan_for_programs(say: Say, file: str) -> None:
    """``--json`` has the same numbers, and the same seed gives them again."""
    code, out, _ = say("simulate", file, *FEW, *BAD, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["healthy"]["promoted"]["share"] == 1.0
    assert facts["harmful"]["outcomes"]["rolled_back"]["runs"] == 3
    assert facts["harmful"]["caught"]["keys"]["median"] > 0
    assert json.loads(say("simulate", file, *FEW, *BAD, "--json")[1]) == facts
    assert json.loads(say("simulate", file, *FEW, *BAD, "--json", "--seed", "2")[1]) != facts


def test_only_a_healthy_candidate(say: Say, file: str) -> None:
    """Without ``--candidate`` there is one column, and nothing harmful."""
    _, out, _ = say("simulate", file, *FEW, "--no-keys", "--zipf", "1.1")
    assert "harmful" not in out
    assert "REQUESTS NEEDED" in out
    assert "each call is drawn anew" in out


def test_the_work_is_the_same_in_other_processes(say: Say, file: str) -> None:
    """Who does the runs makes no difference to what comes out, nor to the order."""
    several = (*FEW[:-1], "8", "--json", "--no-keys")
    alone, together = (say("simulate", file, *several, "--jobs", jobs)[1] for jobs in ("1", "2"))
    assert json.loads(alone) == json.loads(together)


def test_a_picture(say: Say, file: str, tmp_path: Path) -> None:
    """``--picture`` is a whole SVG with the decisions of a run of each kind."""
    target = tmp_path / "plan.svg"
    code, _, err = say("simulate", file, *FEW, *BAD, "--picture", str(target))
    assert (code, err) == (0, f"{target} is written\n")
    text = target.read_text()
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "harm shown after" in text
    assert "promote" in text
    code, _, err = say("simulate", file, *FEW, "--picture", str(tmp_path / "no" / "plan.svg"))
    assert code == 2
    assert "No such file" in err


def test_a_picture_escapes_what_it_quotes() -> None:
    """No name becomes markup."""
    assert "<b>" not in timeline([], {"candidate": "<b>", "runs": 1})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--keys", "5"), "--requests-per-second is missing"),
        (("--requests-per-second", "5"), "--keys is missing"),
        (("--requests-per-second", "0", "--keys", "5"), "requests a second is 0"),
        (("--requests-per-second", "5", "--keys", "0"), "keys is 0"),
        ((*FEW, "--base", "latency=1s"), "'latency' is not guarded by this strategy"),
        ((*FEW, "--base", "error_rate=200%"), "fraction '200%' is not valid"),
        ((*FEW, "--candidate", "error_rate=9ms"), "--candidate error_rate"),
        ((*FEW, "--runs", "0"), "'0' is not a whole number from 1 on"),
        ((*FEW, "--runs", "999999"), "at most 100000 are simulated"),
        ((*FEW, "--person", "soon"), "--person"),
        ((*FEW, "--aa", "screening"), "--requests-per-second says nothing about them"),
        (("--aa", "screening", "--picture", "a.svg"), "--picture is of simulated rollouts"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    say: Say, file: str, arguments: tuple[str, ...], named: str
) -> None:
    """Exit code 2, and what is wrong."""
    code, _, err = say("simulate", file, *arguments)
    assert code == 2
    assert named in err


def test_a_file_without_strategy_is_refused(say: Say, tmp_path: Path) -> None:
    """There is nothing to plan, and it says so."""
    path = tmp_path / "rollout.yaml"
    path.write_text("name: screening\nweights: {boosted: 5}\n")
    code, _, err = say("simulate", str(path), *FEW)
    assert code == 2
    assert "it has no `strategy`, so there is nothing to plan" in err


def test_a_champion_is_replayed_against_itself(
    say: Say, file: str, screening: Rollout, tmp_path: Path
) -> None:
    """``--aa`` reads the ledger's calls, and tells per guardrail how often it alarmed beside the promise."""
    rng, champion = np.random.default_rng(1), screening.state.champion
    plans = (Plan(champion, 3, Reason.SPLIT),)
    calls = [
        prediction(f"u{rng.integers(300)}", at=NOW - 600 + number / 10, plans=plans) for number in range(2500)
    ]
    runs = [call._replace(runs=(call.runs[0]._replace(variant=champion),)) for call in calls]
    written(screening.ledger.place, *runs)
    code, out, _ = say("simulate", file, "--aa", "screening", "--runs", "5", "--json")
    assert code == 0
    facts: dict[str, Any] = json.loads(out)
    assert (facts["rollout"], facts["champion"], facts["replays"]) == ("screening", champion, 5)
    assert facts["guardrails"]["error_rate"]["runs"] == 0
    assert facts["any"]["promised"] == 0.01
    _, out, _ = say("simulate", file, "--aa", "screening", "--runs", "5")
    assert f"5 replays of 2,000 calls of {champion} against itself" in out
    assert "any of them" in out


def test_a_ledger_with_too_little_is_refused(say: Say, file: str, screening: Rollout) -> None:
    """Nothing is said from a handful of calls."""
    assert screening.state.revision
    code, _, err = say("simulate", file, "--aa", "screening")
    assert code == 2
    assert "the ledger has 0 calls of the champion" in err


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody looks, so nothing is drawn; results come in the order of the tasks."""
    with counting_bar("rollouts", 3) as tick:
        tick()
    assert _all(str, [1, 2, 3], 1, "rollouts") == ["1", "2", "3"]
    assert capsys.readouterr().err == ""


def test_a_plot_of_one_moment_is_one_row() -> None:
    """Runs that all end at once are no histogram."""
    nothing = {"runs": 0, "of": 0, "share": 0.0, "low": 0.0, "high": 1.0}
    ends = ("promoted", "held", "rolled_back", "paused", "unmeasurable", "gave_up")
    reached = dict.fromkeys(("seconds", "calls", "failed", "keys", "hurt"))
    side = {
        "outcomes": dict.fromkeys(ends, nothing),
        "promoted": {**nothing, "seconds": None, "times": [60.0, 60.2]},
        "caught": {**nothing, **reached, "times": []},
    }
    facts = {
        "candidate": "b", "runs": 2, "seed": 1, "requests_per_second": 1.0, "keys": 1, "sticky": True,
        "warnings": [], "metrics": {}, "steps": [], "labels_add": 3600.0, "healthy": side, "harmful": None,
    }  # fmt: skip
    told = str(plan_view(facts, width=80))
    assert "in all" in told
    assert "waiting for labels adds 1h" in told
