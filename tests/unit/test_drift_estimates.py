"""The error that is estimated without labels: shown as what it is, from a bounded look at the ledger."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import drift_estimates
from bento_rollout.cli.drift_page import drift_page
from bento_rollout.cli.drift_views import report as blocks
from bento_rollout.cli.output import show
from bento_rollout.concept import ConceptRules
from bento_rollout.concept_watch import ConceptSettings
from bento_rollout.drift_estimates import estimated
from bento_rollout.errors import StoreUnreachable
from bento_rollout.label_evidence import Mature
from bento_rollout.store.ledger_answers import MOST, Answers, newest_answers
from tests.drift_host import Host, made_host
from tests.drift_rows import ENDPOINT, judge

SETTINGS = ConceptSettings(ENDPOINT, "label", 2000.0, ConceptRules("zero_one", reference=200))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that watches losses, and nothing else."""
    host = made_host(tmp_path, monkeypatch)
    host.rules, host.losses = None, SETTINGS
    return host


def judged(host: Host, rows: int, low: float, high: float, *, start: int = 0, labelled: bool = True) -> None:
    """Write predictions of a model that is right as often as it says."""
    draw = random.Random(start)
    sure = [draw.uniform(low, high) for _ in range(rows)]
    wrong = [draw.random() > one for one in sure]
    judge(host.place, wrong, start=start, time=1000.0 + start, labelled=labelled, sure=sure)


def watched(host: Host) -> dict[str, Any]:
    """Return the report after one worker has looked."""
    worker = host.worker()
    worker.look(host.now)
    judged(host, 900, 0.5, 1.0)
    judged(host, 300, 0.5, 0.6, start=900, labelled=False)
    host.now = 3895.0
    host.settle(worker)
    worker.resign()
    second = host.worker()  # whoever owns it next estimates at once
    host.settle(second)
    return host.rollout().drift.report()


def test_harder_cases_are_estimated_as_wrong_more_often(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands beside what labels say, with what it cannot see, in the terminal, the page and the JSON."""
    report = watched(host)
    found = report["tests"]["concept/a"]["estimate"]
    assert 0.38 < found["estimate"] < 0.52
    assert 0.2 < found["labelled"] < 0.3
    assert 300 <= found["rows"] <= 310
    assert found["blind_to_concept_drift"] is True
    assert not report["latched"]
    show(blocks(report))
    for text in (capsys.readouterr().out, drift_page(report), found["words"]):
        words = " ".join(text.split())
        assert "estimated, blind to concept drift: it closes no alarm and promotes nothing" in words


def test_an_estimate_of_another_model_is_not_shown(host: Host) -> None:
    """It is of the model that it was made for."""
    watched(host)
    known = host.file.facts()["estimates"]
    known["concept/a"]["digest"] = "another"
    host.file.note("estimates", known)
    assert "estimate" not in host.rollout().drift.status()["tests"]["concept/a"]


def test_a_ledger_that_cannot_be_read_costs_nothing_else(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and the tests go on."""

    def unreadable(*_: object, **__: object) -> Answers:
        raise StoreUnreachable("the disk is gone")

    monkeypatch.setattr(drift_estimates, "newest_answers", unreadable)
    report = watched(host)
    assert report["tests"]["concept/a"]["rows"] > 0
    assert "estimate" not in report["tests"]["concept/a"]


def test_a_look_is_bounded(host: Host) -> None:
    """However many predictions there are, and nothing where there is no ledger."""
    assert (
        newest_answers(host.drift.parent / "none", endpoint=ENDPOINT, label="label", seq=5, matures=1.0)
        == Answers()
    )
    judged(host, 2 * MOST + 100, 0.5, 1.0)
    found = newest_answers(host.place, endpoint=ENDPOINT, label="label", seq=MOST + 50, matures=1e6)
    assert (len(found.labelled), len(found.recent)) == (MOST, MOST)
    assert found.recent[0].prediction_id.startswith("00002099")
    assert not found.recent[0].labelled
    other = newest_answers(host.place, endpoint="other", label="label", seq=500, matures=1e6)
    assert other == Answers()


@pytest.mark.parametrize("output", ["benign", None, 3, {"a": 3.0}, [["x"]]])
def test_answers_without_a_score_have_no_estimate(output: object) -> None:
    """Nor have too few labels."""
    labelled = [Mature("id", 0.0, 1, ENDPOINT, "a", labelled=True, label=1, output=output)] * 200
    assert estimated("zero_one", Answers(tuple(labelled), tuple(labelled))) is None


def test_one_number_is_as_sure_as_its_likelier_class() -> None:
    """The probability of class 1 alone is enough."""
    labelled = tuple(
        Mature("id", 0.0, 1, ENDPOINT, "a", labelled=True, label=place % 10 == 0, output=0.1)
        for place in range(200)
    )
    recent = (Mature("id", 0.0, 1, ENDPOINT, "a", output=[0.9]),) * 5
    found = estimated("zero_one", Answers(labelled, recent))
    assert found is not None
    assert found["estimate"] == pytest.approx(0.1)
    assert estimated("zero_one", Answers(labelled[:50], recent)) is None
