"""The demo's tables: they stand before anything happened, and count every answer once."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from services.demo.operator import Step
from services.demo.screen import Screen
from services.demo.traffic import Answer, Patient

SICK, WELL = Patient("patient-0", 0, b""), Patient("patient-1", 1, b"")


def shown(screen: Screen) -> list[list[str]]:
    """Return the words of every line that a person would see."""
    screen.console.print(screen.render())
    assert isinstance(screen.console.file, io.StringIO)
    return [line.split() for line in screen.console.file.getvalue().splitlines()]


def screen() -> Screen:
    """Return a screen whose first patient is ill and whose second is not."""
    return Screen(Console(file=io.StringIO(), width=110), np.array([True, False]))


def answer(patient: Patient, variant: str, revision: int, probability: float | None) -> Answer:
    """Return an answer that took 10 ms."""
    status = 500 if probability is None else 200
    return Answer(patient, 1.0, 1.01, status, variant, revision, probability=probability)


def test_the_tables_stand_before_anything_happened() -> None:
    """No step and no answer is a table without rows, not an error."""
    assert ["logistic", "0", "-", "-", "-", "0"] in shown(screen())


def test_answers_that_come_before_the_first_step_are_shown() -> None:
    """The operator's first command may still be running when the first answers come."""
    early = screen()
    early.count([answer(SICK, "logistic", 1, 0.9)])
    assert ["...", "1", "0.0%", "1", "0", "0", "10.0", "10.0"] in shown(early)


def test_each_answer_is_counted_once_under_its_revision_and_variant() -> None:
    """Counting goes on where it stopped; a failure is counted as one, and as nobody's answer."""
    ours = screen()
    ours.steps = [Step("start", 0, 0, 0, 1), Step("canary", 50, 0, 0, 2)]
    given = [answer(SICK, "logistic", 1, 0.9), answer(WELL, "boosted", 2, 0.9)]
    ours.count(given)
    ours.count([*given, answer(WELL, "logistic", 2, 0.1), answer(SICK, "", 0, None)])
    lines = shown(ours)
    assert ["start", "1", "0%", "0.0%", "1", "0", "0", "10.0", "10.0"] in lines
    assert ["canary", "2", "50%", "50.0%", "1", "1", "1", "10.0", "10.0"] in lines
    assert ["logistic", "2", "100.0%", "10.0", "10.0", "0"] in lines
    assert ["boosted", "1", "0.0%", "10.0", "10.0", "0"] in lines
