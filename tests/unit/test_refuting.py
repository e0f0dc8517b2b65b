"""Audits refute a certificate: by themselves, by class, and only by those that came since the last time."""

from __future__ import annotations

from bento_rollout.refuting import refutation
from bento_rollout.reviewing import Selection
from tests.unit.degrees import Seen, certificate


def seen(wrong: bool, at: float, label: str = "benign", selection: Selection = Selection.AUDIT) -> Seen:
    """A case that a person answered."""
    return Seen(str(at), wrong=wrong, at=at, label=label, selection=selection)


def test_wrong_audits_refute() -> None:
    """Many wrong audits refute a target of 2 percent; right ones, and cases that were no audits, do not."""
    promise = certificate()
    assert refutation([seen(wrong=True, at=float(n)) for n in range(40)], promise)
    assert not refutation([seen(wrong=False, at=float(n)) for n in range(400)], promise)
    others = [seen(wrong=True, at=float(n), selection=Selection.UNSURE) for n in range(400)]
    assert not refutation(others, promise)


def test_what_is_known_already_refutes_nothing_new() -> None:
    """Audits from before ``since`` do not count against what was certified afterwards."""
    old = [seen(wrong=True, at=float(n)) for n in range(40)]
    new = [seen(wrong=True, at=100.0 + n) for n in range(40)]
    assert not refutation(old, certificate(since=50.0))
    assert refutation([*old, *new], certificate(since=50.0))


def test_each_class_has_its_own_promise() -> None:
    """Of targets by class the one of the model's choice counts."""
    promise = certificate(target_error={"benign": 0.02, "malignant": 0.5}, by_class={"benign": 0.9})
    wrong = [seen(wrong=n % 3 == 0, at=float(n), label="malignant") for n in range(200)]
    assert not refutation(wrong, promise)
    assert refutation([seen(wrong=n % 3 == 0, at=float(n)) for n in range(200)], promise) == (
        "67 of 200 audits of benign found the model wrong, and at most 2 % was certified"
    )


def test_a_refutation_says_its_numbers() -> None:
    """Whoever reads why a degree is gone sees how many audits there were, and how many were wrong."""
    cases = [seen(wrong=n % 2 == 0, at=float(n)) for n in range(40)]
    others = [seen(wrong=True, at=50.0, selection=Selection.UNSURE)]
    assert refutation([*cases, *others], certificate()) == (
        "20 of 40 audits found the model wrong, and at most 2 % was certified"
    )
