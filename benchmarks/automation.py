"""Does a certified threshold keep its promise, and how soon is a model that got worse found out?

Calibrations: a model is trained on a part of a data set (digits, breast cancer), and the other part is taken
for the population, so that each threshold's true error is known. Each calibration draws labelled cases from
it, certifies a threshold, and is *violated* when the true error among the accepted exceeds the target. Beside
it stands the usual way: the lowest threshold at which the labels show no more than the target. Audits: a
model with three times the certified error, from the start and after 5 000 good audits.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from bento_rollout.automation import AuditTest, audited, certify_threshold, coverage_grid

TARGETS = (0.01, 0.02, 0.05)
SIZES = (150, 300, 600)
CONFIDENCE = 0.95
TARGET, FACTOR = 0.02, 3.0
BARS = {0: 480, 5000: 1000}
"""Audits within which the worse model must be found out in 95 of 100 runs, by the good ones before."""


@dataclass(frozen=True)
class Population:
    """Cases of which everything is known: how sure a model is of each, and whether it is wrong."""

    name: str
    scores: Any
    wrong: Any


def populations() -> Iterator[Population]:
    """Yield a strong and a weak model of each data set."""
    for name, load in (("digits", load_digits), ("breast_cancer", load_breast_cancer)):
        inputs, labels = load(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(inputs))
        inputs, labels = inputs[order], labels[order]
        few = len(inputs) // 4
        models = {
            "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            "stump": DecisionTreeClassifier(max_depth=4, random_state=0),
        }
        for kind, model in models.items():
            model.fit(inputs[:few], labels[:few])
            chances = model.predict_proba(inputs[few:])
            wrong = model.classes_[chances.argmax(axis=1)] != labels[few:]
            yield Population(f"{name}, {kind}", chances.max(axis=1), wrong)


def calibrations(runs: int) -> bool:
    """Print how often the promise was broken in each setting, and return whether that is seldom enough."""
    bar = (1 - CONFIDENCE) + 2 * math.sqrt((1 - CONFIDENCE) * CONFIDENCE / runs)
    print(f"{runs} calibrations each, 95 % confidence; violated in at most {bar:.1%} is the bar")
    print("| model (its error) | target | labels | violated | not certified | coverage | the usual way |")
    print("|---|---|---|---|---|---|---|")
    good = True
    for one in populations():
        for target in TARGETS:
            for size in SIZES:
                found = [
                    calibrated(one, target, size, np.random.default_rng((run, size))) for run in range(runs)
                ]
                broken = sum(violated for violated, _, _ in found) / runs
                covers = [coverage for _, coverage, _ in found if coverage is not None]
                naive = sum(violated for _, _, violated in found) / runs
                good = good and broken <= bar
                print(
                    f"| {one.name} ({one.wrong.mean():.1%}) | {target:.0%} | {size} | {broken:.1%} "
                    f"| {1 - len(covers) / runs:.0%} | {np.mean(covers or [0]):.2f} | {naive:.1%} |",
                    flush=True,
                )
    return good


def calibrated(one: Population, target: float, size: int, random: Any) -> tuple[bool, float | None, bool]:
    """Return whether a calibration broke its promise, what it covers, and whether the usual way broke it."""
    sample = random.integers(len(one.scores), size=size)
    scores, wrong = one.scores[sample], one.wrong[sample]
    grid = coverage_grid(scores)
    certified = certify_threshold(scores, wrong, grid, target, CONFIDENCE)
    order = np.argsort(-scores)
    rates = np.cumsum(wrong[order]) / np.arange(1, size + 1)
    places = [np.searchsorted(-scores[order], -bar, side="right") - 1 for bar in grid]
    looks = [bar for bar, place in zip(grid, places, strict=True) if rates[place] <= target]
    naive = bool(looks) and true_error(one, min(looks)) > target
    if certified.threshold is None:
        return False, None, naive
    return true_error(one, certified.threshold) > target, certified.coverage, naive


def true_error(one: Population, threshold: float) -> float:
    """Return the error among all cases that a threshold accepts."""
    accepted = one.scores >= threshold
    return float(one.wrong[accepted].mean()) if accepted.any() else 0.0


def audits(runs: int) -> bool:
    """Print how soon a worse model was found out, and return whether that is soon enough."""
    met: list[bool] = []
    for before, bar in BARS.items():
        random = np.random.default_rng((7, before))
        delays: list[int] = []
        early = 0
        while len(delays) < runs:
            test = followed(AuditTest(TARGET), random.random(before) < TARGET / 2)
            if test.alarm:  # at half the target this is a false alarm, of which there may be 5 %
                early += 1
                continue
            delays.append(delay(test, random, 10 * bar))
        within = sum(one <= bar for one in delays) / runs
        met.append(within >= 0.95)
        print(
            f"an error of {FACTOR:g} times {TARGET:.0%} after {before} good audits: found out after "
            f"{np.median(delays):.0f} (median; 95 % within {np.quantile(delays, 0.95):.0f}); within {bar} in "
            f"{within:.0%} of {runs} runs, bar 95 %; {early} false alarms before"
        )
    return all(met)


def delay(test: AuditTest, random: Any, most: int) -> int:
    """Return after how many audits of the worse model a test alarms."""
    for count, wrong in enumerate(random.random(most) < FACTOR * TARGET, 1):
        test = test.update(wrong=bool(wrong))
        if test.alarm:
            return count
    return most


def followed(test: AuditTest, outcomes: Any) -> AuditTest:
    """Return a test after these audits."""
    for wrong in outcomes:
        test = test.update(wrong=bool(wrong))
    return test


def shares() -> bool:
    """Print how exactly the audited part is what was asked for, over a million ids."""
    count, good = 1_000_000, True
    for rate in (0.01, 0.02, 0.1):
        seen = sum(audited(f"01a21cf9-5af8-7b9e-9ba7-{number:012x}", rate) for number in range(count)) / count
        error = abs(seen - rate) / math.sqrt(rate * (1 - rate) / count)
        good = good and error < 4
        print(f"audits at {rate:.0%}: {seen:.3%} of {count} ids, {error:.1f} standard errors from it")
    return good


def main() -> int:
    """Simulate, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    options = parser.parse_args()
    runs = 50 if options.quick else 500
    met = [calibrations(runs), audits(runs // 5), shares()]
    print("all bars are met" if all(met) else "a bar is MISSED")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
