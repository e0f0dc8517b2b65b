"""Labels of real ledgers become losses of the model that answered; too few of them become nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.concept import MODELS, WINDOW, Concept, ConceptBoard, ConceptRules
from bento_rollout.errors import InvalidValue
from bento_rollout.label_evidence import Mature
from bento_rollout.reviewing import Selection
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_matured import Watermark, matured
from tests.ledgers import NOW, prediction, reply_of, written

DAY = 86400.0
RULES = ConceptRules(reference=100)
MODEL = ("one", "sha256:1")


def row(label: Any = None, output: Any = 1, *, variant: str = "one", endpoint: str = "predict") -> Mature:
    """Return a matured prediction; without a label where that is None."""
    return Mature("id", 0.0, 3, endpoint, variant, labelled=label is not None, label=label, output=output)


def rows(rate: float, count: int, *, seed: int = 0, labelled: float = 1.0) -> list[Mature]:
    """Return predictions of class 1 that are wrong so often, and have a label so often."""
    rng = np.random.default_rng(seed)
    return [
        row(int(wrong >= rate) if there < labelled else None)
        for wrong, there in rng.random((count, 2)).tolist()
    ]


def fed(rules: ConceptRules, found: Iterable[Mature]) -> Concept:
    """Return what one model's predictions come to."""
    return Concept(rules).update(found)


# -- reference, test, alarm ---------------------------------------------------------------------------------


def test_the_first_labels_are_the_reference() -> None:
    """The test begins after them, and finds a rise."""
    concept = fed(RULES, rows(0.05, 99))
    assert (concept.test, concept.words) == (None, "reference: 99 of 100 labels")
    concept = concept.update(rows(0.05, 301, seed=1))
    assert concept.test is not None
    assert (concept.test.kind, concept.test.rows) == ("zero_one", 300)
    assert concept.words == "300 labels tested by their zero_one loss"
    concept = concept.update(rows(0.5, 200, seed=2))
    assert concept.alarm
    assert concept.words.startswith("the zero_one loss has risen, from 0.0")
    assert not concept.restarted().alarm
    assert not concept.rebased(150).alarm


@pytest.mark.parametrize(
    ("loss", "label", "output", "kind"),
    [
        ("auto", 1, [0.2, 0.8], "log"),
        ("auto", 1.5, 1.25, "absolute"),
        ("zero_one", 1, [0.2, 0.8], "zero_one"),
        ("pinball", 1.5, 1.25, "pinball"),
    ],
)
def test_the_loss_that_is_tested(loss: str, label: Any, output: Any, kind: str) -> None:
    """The one of the spec, or the one that fits."""
    concept = fed(replace(RULES, loss=loss), [row(label, output)] * 150)
    assert concept.test is not None
    assert (concept.test.kind, concept.test.rows) == (kind, 50)


def test_a_reference_from_a_file() -> None:
    """A model whose losses are known is tested from its first label on; one whose are not, or few, is not."""
    board = ConceptBoard(RULES, losses={"a": (0.0,) * 190 + (1.0,) * 10, "b": (0.0,) * 99, "c": (0.5,) * 500})
    for digest, tested in {"a": 60, "b": None, "c": None, "d": None}.items():
        test = board.update([row(1)] * 60, lambda one, digest=digest: digest).concepts["one", digest].test  # type: ignore[misc]  # bound now
        assert (test and test.rows) == tested
    stored = ConceptBoard.from_bytes(board.to_bytes(), RULES, losses=board.losses)
    assert stored.update([row(1)], lambda one: "a").concepts["one", "a"].test is not None
    amounts = Concept.begun(replace(RULES, loss="log"), [0.5] * 500).test
    assert amounts is not None
    assert amounts.kind == "log"


def test_labels_that_fit_nothing_are_counted() -> None:
    """Answers that were not kept, or of another kind, are no loss; a reference of all sorts is begun anew."""
    concept = fed(RULES, [row(1, None)] * 150)
    assert (concept.test, concept.odd, concept.gathered) == (None, 150, ())
    concept = fed(RULES, [row(1.5, 1.0), row("cat", "dog")] * 60)
    assert (concept.test, concept.unfit) == (None, 1)
    assert concept.words == "no loss fitted its labels and answers, begun anew; reference: 20 of 100 labels"


def test_one_model_does_not_count_for_another() -> None:
    """Variants, digests and endpoints apart: each has its own reference."""
    board = ConceptBoard(RULES, "predict")
    found = [row(1), row(1, variant="two"), row(1, endpoint="other")] * 60
    board = board.update(found, lambda one: "a").update(found[:30], lambda one: "b")
    assert {model: one.matured for model, one in board.concepts.items()} == {
        ("one", "a"): 60, ("two", "a"): 60, ("one", "b"): 10, ("two", "b"): 10,
    }  # fmt: skip


def test_old_models_are_forgotten() -> None:
    """A variant that gets a new model each day does not grow without bound."""
    board = ConceptBoard(RULES)
    for number in range(MODELS + 5):
        board = board.update([row(1)], lambda one, number=number: f"sha256:{number}")  # type: ignore[misc]  # bound now
    assert list(board.concepts) == [("one", f"sha256:{number}") for number in range(5, MODELS + 5)]


# -- coverage -----------------------------------------------------------------------------------------------


def test_too_few_labels_are_not_tested() -> None:
    """Below the floor nothing is fed, and it says so; labels that come again are taken up again."""
    concept = fed(RULES, rows(0.05, 500))
    assert concept.test is not None
    tested = concept.test.rows
    silent = concept.update([row()] * 800)
    assert silent.coverage == pytest.approx(0.2)
    few = silent.update(rows(1.0, 100, labelled=0.3))
    assert few.test is not None
    assert (few.test.rows, few.alarm) == (tested, False)
    assert few.unfed > 20
    assert few.words.startswith("coverage ")
    assert few.words.endswith(" % of 50 %: not tested")
    again = few.update(rows(0.05, WINDOW, seed=3))
    assert again.test is not None
    assert again.test.rows > tested
    assert (again.coverage, again.alarm) == (1.0, False)


def test_coverage_is_not_told_of_few() -> None:
    """Of 49 predictions it is unknown; of 50 it is told."""
    concept = fed(RULES, rows(0.05, 49, labelled=0.0))
    assert (concept.coverage, concept.covered) == (None, True)
    concept = concept.update([row()])
    assert (concept.coverage, concept.covered) == (0.0, False)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 200), max_size=12), st.floats(0.2, 1.0))
def test_any_split_is_the_same(sizes: list[int], labelled: float) -> None:
    """Whatever pages a ledger is read in, with a restart after each, the state is the same to the bit."""
    found = rows(0.1, sum(sizes), labelled=labelled)
    parts, at = ConceptBoard(RULES), 0
    for size in sizes:
        parts = parts.update(found[at : at + size], lambda one: "d")
        parts = ConceptBoard.from_bytes(parts.to_bytes(), RULES)
        at += size
    assert parts.to_bytes() == ConceptBoard(RULES).update(found, lambda one: "d").to_bytes()


# -- a real ledger ------------------------------------------------------------------------------------------


def test_from_a_ledger(tmp_path: Path) -> None:
    """Labels that were told in time count, once, in the order of arrival; those of unsure cases never."""
    place = tmp_path / "store.d" / "r"
    reply = reply_of(b"[0.25, 0.75]")
    facts = [prediction(at=NOW - 2 * DAY + number, reply=reply) for number in range(300)]
    written(place, *facts)
    labels: list[dict[str, Any]] = [{"prediction_id": fact.prediction_id, "label": 1} for fact in facts]
    for label, selection in zip(labels[200:], [Selection.UNSURE, Selection.AUDIT] * 50, strict=True):
        label |= {
            "selection": selection.value,
            "probability": 0.1,
            "label": int(selection is Selection.AUDIT),
        }
    assert not Ledger(place, clock=lambda: NOW - 1.5 * DAY).label(labels).refused
    board, mark = ConceptBoard(RULES), Watermark()
    for _ in range(5):
        found = matured(place, label="label", after=mark, until=NOW, matures=DAY, most=100)
        board, mark = board.update(found.rows, lambda one: "sha256:1"), found.after
        board = ConceptBoard.from_bytes(board.to_bytes(), RULES)
    concept = board.concepts[MODEL]
    assert (concept.matured, concept.labelled, concept.odd) == (300, 250, 0)
    assert concept.test is not None
    assert (concept.test.kind, concept.test.rows, concept.alarm) == ("log", 150, False)


def test_a_label_before_its_prediction(tmp_path: Path) -> None:
    """A label that was told before the prediction is in the ledger finds it once it is there."""
    place = tmp_path / "store.d" / "r"
    early, late = prediction(at=NOW - 2 * DAY), prediction(at=NOW - 2 * DAY, reply=reply_of(b"1"))
    written(place, early)
    Ledger(place, clock=lambda: NOW - 2 * DAY).label([{"prediction_id": late.prediction_id, "label": 1}])
    written(place, late)
    found = matured(place, label="label", after=Watermark(), until=NOW, matures=DAY)
    concept = ConceptBoard(RULES).update(found.rows, lambda one: "sha256:1").concepts[MODEL]
    assert (concept.matured, concept.labelled) == (2, 1)


# -- settings and stored states -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hinge"}, "hinge"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"min_coverage": 1.5}, "min_coverage is 1.5"),
        ({"reference": 99}, "reference is 99"),
    ],
)
def test_rules_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    """Each names its field."""
    with pytest.raises(InvalidValue, match=message):
        ConceptRules(**wrong)


def test_other_rules_begin_anew() -> None:
    """Evidence of another alpha, or of another loss, says nothing under the new one; counts stay."""
    plain = fed(RULES, rows(0.05, 300)).to_plain()
    assert Concept.from_plain(RULES, plain).test is not None
    for changed in ({"alpha": 0.05}, {"loss": "log"}):
        other = Concept.from_plain(replace(RULES, **changed), plain)
        assert (other.test, other.matured) == (None, 300)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"version":2}', b'{"version":1,"models":[[1]]}', b"\xff"]
)
def test_damaged_states_are_refused(data: bytes) -> None:
    """Another version, or bytes that are none of ours."""
    with pytest.raises(InvalidValue, match="begin anew"):
        ConceptBoard.from_bytes(data, RULES)


@pytest.mark.parametrize(
    "change",
    [
        {"recent": "AgI="}, {"recent": "?"}, {"gathered": [[1]]}, {"test": "AAAA"}, {"sight": {}},
        {"matured": "x"}, {"test": 7},
    ],
)  # fmt: skip
def test_damaged_parts_are_refused(change: dict[str, Any]) -> None:
    """Whatever part it is."""
    with pytest.raises(InvalidValue):
        Concept.from_plain(RULES, {**fed(RULES, rows(0.05, 50)).to_plain(), **change})


def test_nothing_that_was_said_is_kept() -> None:
    """Neither labels nor answers, not even while a reference is gathered: losses, counts and few hashes."""
    said = [row("a secret of the label", "a secret of the answer")]
    for count in (50, 150):
        assert "secret" not in json.dumps(fed(RULES, said * count).to_plain())
