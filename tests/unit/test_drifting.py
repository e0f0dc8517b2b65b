"""Drift in a spec: what is valid, and each refusal, by name and with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bento_rollout.drifting import Data, Drift, Source
from bento_rollout.errors import InvalidSpec
from bento_rollout.spec import RolloutSpec
from bento_rollout.specfile import load_spec, load_with_digest, parse_spec

SPEC = """\
ledger: {inputs: true}
drift:
  endpoint: predict
  reference: {ledger: 14d, min_rows: 2000}
  data:
    features: [age, income]
    alpha: 1%
    effect: {psi: 0.2, min_rows: 150}
    sampling: {every: 50, dedupe_by: key}
    segments: {by: [site], min_rows: 400}
    stratify_by: null
  concept: {loss: log, label: outcome, alpha: 5%, matures: 36h, min_coverage: 60%}
  on_alarm: {rollout: pause}
"""


def read(text: str = SPEC) -> Drift:
    """The settings in a spec's text."""
    drift = parse_spec(text.encode(), "rollout.yaml").drift
    assert drift is not None
    return drift


def refused(old: str, new: str, *told: str, text: str = SPEC) -> None:
    """Fail unless the text with something else in a place is refused in these words, one thing a line."""
    assert old in text
    with pytest.raises(InvalidSpec) as error:
        read(text.replace(old, new, 1))
    lines = str(error.value).splitlines()
    assert len(lines) == len(told), lines
    for line, words in zip(lines, told, strict=True):
        assert line.startswith(f"rollout.yaml: line {words}"), line


# -- what is valid ----------------------------------------------------------------------------------------


def test_the_shape_of_the_yaml() -> None:
    """Each field is read as it is written."""
    drift = read()
    assert (drift.endpoint, drift.reference) == ("predict", Source(ledger="14d", min_rows=2000))
    data, concept = drift.data, drift.concept
    assert data is not None
    assert concept is not None
    assert (data.features, data.alpha) == ({"age": None, "income": None}, 0.01)
    assert (data.effect.psi, data.effect.min_rows) == (0.2, 150)
    assert (data.sampling.every, data.sampling.dedupe_by) == (50, "key")
    assert (data.segments.by, data.segments.min_rows, data.stratify_by) == (("site",), 400, None)
    assert (concept.loss, concept.label, concept.alpha) == ("log", "outcome", 0.05)
    assert (concept.matures, concept.min_coverage) == (36 * 3600.0, 0.6)
    assert (drift.on_alarm.rollout, drift.on_alarm.automation) == ("pause", None)


def test_the_shortest() -> None:
    """What is left out is as the guide says."""
    drift = read("drift: {reference: {file: training.parquet}, data: {}}")
    assert drift.data == Data()
    assert Data().features is None
    assert (Data().alpha, Data().effect.psi, Data().effect.min_rows) == (0.01, 0.1, 100)
    assert (Data().sampling.every, Data().segments.by, Data().segments.min_rows) == (1, (), 300)
    assert (drift.endpoint, drift.concept, drift.on_alarm.rollout) == (None, None, None)
    concept = read("drift: {concept: {}}").concept
    assert concept is not None
    assert (concept.loss, concept.label, concept.matures, concept.min_coverage) == (
        "auto", "label", 86400.0, 0.5
    )  # fmt: skip


def test_kinds_may_be_given() -> None:
    """A number that is a code is no quantity; who knows it says so."""
    data = read(SPEC.replace("[age, income]", "{postcode: category, age: auto}")).data
    assert data is not None
    assert data.features == {"postcode": "category", "age": None}


@pytest.mark.parametrize(
    "text",
    [
        SPEC,
        SPEC.replace("[age, income]", "{postcode: category, age: auto}"),
        "drift: {reference: {file: a.csv}, data: {}}",
    ],
)
def test_what_is_written_is_read_again(text: str) -> None:
    """Settings survive JSON."""
    drift = read(text)
    assert Drift(**json.loads(drift.model_dump_json())) == drift
    assert RolloutSpec(**yaml.safe_load(text)).drift == drift


def test_a_sealed_reference() -> None:
    """The file is part of a sealed model; its name has a default."""
    source = read("drift: {reference: {sealed: 'screening:champion'}, data: {}}").reference
    assert source is not None
    assert (source.sealed, source.name) == ("screening:champion", "drift.json")
    assert str(source) == "drift.json in screening:champion"


def test_a_relative_file_lies_beside_the_spec(tmp_path: Path) -> None:
    """Wherever the service starts, the reference is found; an absolute path stays as it is."""
    file = tmp_path / "rollout.yaml"
    file.write_text("drift: {reference: {file: data/ref.json}, data: {}}", encoding="utf-8")
    for spec in (load_spec(file), load_with_digest(file)[0]):
        assert spec.drift is not None
        assert spec.drift.reference == Source(file=str(tmp_path / "data" / "ref.json"))
    elsewhere = tmp_path.parent / "ref.json"
    file.write_text(f"drift: {{reference: {{file: {elsewhere}}}, data: {{}}}}", encoding="utf-8")
    drift = load_spec(file).drift
    assert drift is not None
    assert drift.reference == Source(file=str(elsewhere))
    file.write_text("drift: {reference: {sealed: 'screening:1', file: ref.json}, data: {}}", encoding="utf-8")
    drift = load_spec(file).drift
    assert drift is not None
    assert drift.reference is not None
    assert drift.reference.name == "ref.json"


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("alpha: 1%", "alpha: 0%", "7: drift.data.alpha: alpha '0%' is not valid"),
        ("alpha: 1%", "alpha: 51%", "7: drift.data.alpha: alpha '51%' is not valid"),
        ("alpha: 1%", "alpha: high", "7: drift.data.alpha: fraction 'high' is not valid"),
        ("alpha: 5%", "alpha: 0.9", "12: drift.concept.alpha: alpha 0.9 is not valid"),
        ("psi: 0.2", "psi: 0", "8: drift.data.effect.psi: psi 0 is not valid"),
        ("psi: 0.2", "psi: .nan", "8: drift.data.effect.psi: psi nan is not valid"),
        ("min_rows: 150", "min_rows: 2001", "8: drift.data.effect.min_rows: min_rows 2001 is not valid"),
        ("every: 50", "every: 0", "9: drift.data.sampling.every: every 0 is not valid"),
        ("every: 50", "every: true", "9: drift.data.sampling.every: every True is not valid"),
        ("dedupe_by: key", "dedupe_by: row", "9: drift.data.sampling.dedupe_by: input should be 'key'"),
        ("by: [site]", "by: site", "10: drift.data.segments.by: 'site' is no list of names"),
        ("by: [site]", "by: [a, b, c, d]", "10: drift.data.segments.by: 4 are too many: at most 3"),
        ("by: [site]", "by: [site, site]", "10: drift.data.segments.by: 'site' stands twice"),
        ("min_rows: 400", "min_rows: 10", "10: drift.data.segments.min_rows: min_rows 10 is not valid"),
        ("by: null", "by: weekday", "11: drift.data.stratify_by: input should be 'hour_of_week'"),
        (
            "by: null",
            "by: hour_of_week",
            "10: drift.data.segments.by: rows are parted by stratify_by already",
        ),
        ("[age, income]", "age", "6: drift.data.features: 'age' is no list of names: write auto"),
        ("[age, income]", "[]", "6: drift.data.features: an empty list names no feature"),
        ("[age, income]", "[age, age]", "6: drift.data.features: 'age' stands twice"),
        ("[age, income]", "['']", "6: drift.data.features: an empty name is no feature"),
        ("[age, income]", "[{}]", "6: drift.data.features: the feature {} is not text"),
        ("[age, income]", "{age: number}", "6: drift.data.features: 'number' is no kind of feature"),
        ("loss: log", "loss: hinge", "12: drift.concept.loss: input should be 'auto', 'zero_one'"),
        ("label: outcome", "label: 'a b'", "12: drift.concept.label: label name 'a b' is not valid"),
        ("matures: 36h", "matures: soon", "12: drift.concept.matures: duration 'soon' is not valid"),
        ("min_coverage: 60%", "min_coverage: 0%", "12: drift.concept.min_coverage: min_coverage '0%' is not"),
        ("rollout: pause", "rollout: stop", "13: drift.on_alarm.rollout: input should be 'pause'"),
        ("rollout: pause", "automation: off", "13: drift.on_alarm.automation: input should be 'demote'"),
        ("endpoint: predict", "endpoint: '*'", "3: drift.endpoint: endpoint name '*' is not valid"),
        ("endpoint: predict", "endpiont: predict", "3: unknown field 'drift.endpiont'; known here: concept"),
        ("psi: 0.2", "psy: 0.2", "8: unknown field 'drift.data.effect.psy'; known here: min_rows, psi"),
        ("label: outcome", "labels: x", "12: unknown field 'drift.concept.labels'; known here: alpha, label"),
        ("14d", "never", "4: drift.reference.ledger: duration 'never' is not valid"),
        ("min_rows: 2000", "min_rows: 50", "4: drift.reference.min_rows: min_rows 50 is not valid"),
        ("ledger: 14d", "file: a.csv, ledger: 1d", "4: drift.reference.ledger: ledger and file are two"),
        ("ledger: 14d", "file: a.csv", "4: drift.reference.min_rows: it counts the rows of the ledger"),
        (
            "ledger: 14d, min_rows: 2000",
            "file: a.pickle",
            "4: drift.reference.file: file 'a.pickle' is of no",
        ),
        ("ledger: 14d, min_rows: 2000", "file: 5", "4: drift.reference.file: file 5 is not the path"),
        (
            "ledger: 14d, min_rows: 2000",
            "sealed: 'a b'",
            "4: drift.reference.sealed: sealed 'a b' is not the",
        ),
        ("ledger: 14d, min_rows: 2000", "", "4: drift.reference: it says nothing: write {file: training"),
        # What does not go together with the rest of the spec.
        ("14d", "60d", "4: drift.reference.ledger: 60d is longer than the ledger keeps predictions (30d)"),
        ("inputs: true", "inputs: false", "4: drift.reference.ledger: it is made of inputs, and the ledger"),
        ("36h", "30d", "12: drift.concept.matures: 30d is not shorter than the ledger keeps predictions"),
        ("inputs: true", "inputs: true, outputs: false", "12: drift.concept: labels are compared with answ"),
        ("{inputs: true}", "false", "2: drift: what is watched comes from the ledger, and it is off"),
        ("rollout: pause", "automation: demote", "13: drift.on_alarm.automation: 'predict' has no auto"),
        ("drift:\n", "endpoints: [a]\ndrift:\n", "4: drift.endpoint: no routed endpoint is called 'predict'"),
    ],
)
def test_refusals(old: str, new: str, told: str) -> None:
    """Each is told with its line, its field, what was found, and what to write."""
    refused(old, new, told)


def test_a_watch_of_nothing_is_refused() -> None:
    """Neither data nor losses, or data without anything to compare it with."""
    for text, told in (
        ("drift: {reference: {file: a.csv}}", "1: drift: it watches nothing: write data: {}"),
        ("drift: {data: {}}", "1: drift.reference: data is compared with it"),
        ("drift: {endpoint: predict}", "1: drift: it watches nothing"),
        ("drift: true", "1: drift: a mapping of fields is expected (got True)"),
        ("drift: {concept: true}", "1: drift.concept: a mapping of fields is expected (got True)"),
        ("endpoints: [a, b]\ndrift: {concept: {}}", "2: drift.endpoint: 2 endpoints are routed"),
        (
            "drift: {reference: {file: a.csv}, data: {stratify_by: hour_of_week}}",
            "1: drift.data.stratify_by: no file says at which hour its rows came",
        ),
    ):
        refused("drift", "drift", told, text=text)


def test_several_things_are_told_at_once() -> None:
    """One read, all that is wrong."""
    refused(
        "{inputs: true}", "{outputs: false, keep: 1d}",
        "4: drift.reference.ledger: it is made of inputs",
        "4: drift.reference.ledger: 14d is longer than the ledger keeps predictions (1d)",
        "12: drift.concept.matures: 36h is not shorter",
        "12: drift.concept: labels are compared",
    )  # fmt: skip


def test_only_an_automated_endpoint_can_be_demoted() -> None:
    """An automation of another endpoint does not help."""
    automation = """\
automation:
  read:
    degree: human
    max_degree: assist
    review: {choices: [a, b], inputs: reference, on_timeout: wait, overflow: {max_open: 9, action: wait}}
"""
    text = SPEC.replace("rollout: pause", "automation: demote") + automation
    refused("drift", "drift", "13: drift.on_alarm.automation: 'predict' has no automation", text=text)
    assert read(text.replace("predict", "read")).on_alarm.automation == "demote"
