"""Dashboard, alerts and the guide's table of metrics: they name what there is, and real tools accept them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bento_rollout.telemetry.measures import MEASURES
from tests.states import unavailable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "observability"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

SAMPLES = {
    f"{one.name}{suffix}": {*one.labels, *more, "instance", "job"}
    for one in MEASURES
    for suffix, more in (
        [("_bucket", ["le"]), ("_sum", []), ("_count", [])] if one.kind == "histogram" else [("", [])]
    )
}
"""By the name of what is scraped, the labels that it has."""


def queries() -> Iterator[str]:
    """Return every PromQL expression of the dashboard."""
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"] if "expr" in one)


def promtool(*arguments: str, cwd: Path = FOLDER) -> None:
    """Run promtool; fail with what it says."""
    found = shutil.which("promtool")
    if found is None:
        unavailable("promtool is not installed (on Debian it is in the package prometheus)")
    done = subprocess.run([str(found), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


# -- alerts -----------------------------------------------------------------------------------------------


def test_the_rules_and_the_configuration_are_valid() -> None:
    """Promtool reads them."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
    promtool("check", "config", "prometheus.yaml")


def test_each_alert_is_raised_by_what_it_is_about_and_by_nothing_else() -> None:
    """Promtool runs the tests beside the rules."""
    promtool("test", "rules", "alerts-test.yaml")


def test_each_alert_is_tested_both_ways() -> None:
    """The tests raise every alert, and want every one quiet where all is well."""
    tests = yaml.safe_load((FOLDER / "alerts-test.yaml").read_text(encoding="utf-8"))["tests"]
    quiet = {one["alertname"] for one in tests[0]["alert_rule_test"] if one["exp_alerts"] == []}
    raised = {
        name
        for test in tests
        for wanted in test.get("promql_expr_test", ())
        for sample in wanted["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    raised |= {one["alertname"] for t in tests for one in t.get("alert_rule_test", ()) if one["exp_alerts"]}
    assert quiet == raised == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """It waits a while, has a severity, and says what, how much, and what to do."""
    alert = ALERTS[name]
    assert alert["for"]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook"} == set(alert["annotations"])
    assert "$value" in alert["annotations"]["description"]


# -- the dashboard ----------------------------------------------------------------------------------------


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    """As Grafana would send them; promtool parses them as rules."""
    values = {
        "$__rate_interval": "1m",
        "$__range": "3h",
        "$rollout": "screening",
        "$endpoint": "predict|rank",
    }
    rules = []
    for number, query in enumerate(queries()):
        for name, value in values.items():
            query = query.replace(name, value)  # noqa: PLW2901 - step by step
        assert "$" not in query
        rules.append({"record": f"dashboard:query:{number}", "expr": query})
    assert len(rules) > 20
    text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    (tmp_path / "dashboard.yaml").write_text(text, encoding="utf-8")
    promtool("check", "rules", "dashboard.yaml", cwd=tmp_path)


def test_the_dashboard_can_be_imported() -> None:
    """It asks for a data source and a rollout, and nothing in it belongs to somebody's Grafana."""
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert {"datasource", "rollout"} <= set(variables)
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 41
    mine = [*PANELS, *(t for p in PANELS for t in p["targets"])]
    mine += [one for one in variables.values() if one["type"] == "query"]
    mine += [one for one in DASHBOARD["annotations"]["list"] if "expr" in one]
    assert {one["datasource"]["uid"] for one in mine} == {"${datasource}"}
    for query in queries():
        assert '{rollout=~"$rollout"' in query


def test_the_panels_have_their_places() -> None:
    """Each has an id, a title and words that say what it shows; none lies on another."""
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in every)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) == 23


# -- names ------------------------------------------------------------------------------------------------


def used(text: str) -> Iterator[tuple[str, set[str]]]:
    """Return each metric that an expression names, with the labels that it is chosen by."""
    for name, chosen in re.findall(r"\b(bento_rollout_\w+)(?:\{([^}]*)\})?", re.sub(r"\w+:[\w:]+", "", text)):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


TEXTS = [
    *queries(),
    *(rule["expr"] for rule in RULES),
    *re.findall(r"label_values\(.*?\)", json.dumps(DASHBOARD)),
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_asked_for_exists(text: str) -> None:
    """Dashboard and alerts name metrics, labels and recorded rules that are there."""
    for name, chosen in used(text):
        assert name in SAMPLES
        assert chosen <= SAMPLES[name]
    assert set(re.findall(r"\b\w+:\w+:\w+\b", text)) <= RECORDS


def test_every_metric_is_looked_at() -> None:
    """The dashboard leaves none out."""
    named = set(itertools.chain.from_iterable((name for name, _ in used(query)) for query in queries()))
    histograms = {one.name: f"{one.name}_bucket" for one in MEASURES if one.kind == "histogram"}
    assert {histograms.get(one.name, one.name) for one in MEASURES} <= named


def test_the_guide_has_one_table_of_all_metrics() -> None:
    """Each with its kind and its labels, as they are scraped; no page names another metric."""
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split("\n## Metrics\n")[1], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", section, re.MULTILINE)
    shown = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert shown == [(one.name, one.kind, one.labels) for one in MEASURES]
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *FOLDER.glob("*.md")]
    for page in pages:
        named = set(re.findall(r"\bbento_rollout_[a-z_]+\b", page.read_text(encoding="utf-8")))
        assert named <= set(SAMPLES) | {one.name for one in MEASURES}, page


def test_the_guide_has_all_alerts() -> None:
    """One table names them, and no other."""
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Rollout\w+)` \|", text, re.MULTILINE) == list(ALERTS)
