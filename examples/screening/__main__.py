"""A team lets a model take over the reading of biopsies, from degree 1 to 4, and stops there.

Run ``python -m examples.screening``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx

from bento_rollout import Rollout, open_rollout
from bento_rollout.errors import Refused
from bento_rollout.forecast import interval
from bento_rollout.reviewing import Selection
from examples._serving import served
from examples.screening.readers import Reader, at_work, write_tokens

READERS = Reader("ann", errs=0.01), Reader("bob", errs=0.05), Reader("cara", errs=0.01)
DEFOCUSED = 0.7
"""What the microscope makes of each measurement, after it was set up anew."""

Visit = tuple[int, list[float]]


class Clinic:
    """Where patients come, callers wait for an answer, and people look on.

    Args:
        client: of the service.
        rollout: of it, as its operator has it.
        truth: whether the tumour of each patient is malignant: known to the story, and to nobody in it.
    """

    def __init__(self, client: httpx.Client, rollout: Rollout, truth: Sequence[bool]) -> None:
        self.client, self.rollout, self.truth = client, rollout, truth
        self._pool = ThreadPoolExecutor(8)
        self._shown = 0, 0
        self._seen = dict.fromkeys((one.name for one in READERS), 0)

    def sees(self, visits: Iterable[Visit]) -> list[tuple[str, bool]]:
        """Have biopsies read; returns of each who decided, and whether it was wrong."""
        found = list(self._pool.map(self._read, visits))
        while self.rollout.review_stats("read")["open"]:  # audits, for which no caller waits
            time.sleep(0.05)
        return found

    def _read(self, visit: Visit) -> tuple[str, bool]:
        patient, measured = visit
        answer = self.client.post("/read", json={"patient": str(patient), "measured": measured}, timeout=60)
        answer.raise_for_status()
        wrong = (answer.json()["label"] == "malignant") is not self.truth[patient]
        return answer.headers["x-rollout-decided-by"], wrong

    def judged(self, why: Selection) -> str:
        """Return how often the model was wrong, as people see it, in cases that were asked so."""
        cases = self.rollout.reviews.judged("read", self.rollout.state.champions_digest)
        return rate([one.wrong for one in cases if one.selection is why and one.independent])

    def tell(self, found: Sequence[tuple[str, bool]]) -> None:
        """Tell who answered, and how often it was wrong."""
        print(f"  {len(found)} callers were answered by {dict(Counter(by for by, _ in found))}")
        for by in sorted({by for by, _ in found}):
            print(f"  answers by {by}: {rate([wrong for who, wrong in found if who == by])} wrong")
        for one in READERS:
            mine = one.right[self._seen[one.name] :]
            self._seen[one.name] = len(one.right)
            if mine:
                print(f"  {one.name}, alone, was wrong in {rate([not right for right in mine])}")
        stats = self.rollout.review_stats("read")
        shown, revised = stats["revealed"] - self._shown[0], stats["revised"] - self._shown[1]
        self._shown = stats["revealed"], stats["revised"]
        if shown:
            print(f"  the model's answer was shown after {shown} answers; {revised} followed it")


def rate(wrong: Sequence[bool]) -> str:
    """Return how many of them are true, with the interval."""
    low, high = interval(sum(wrong), len(wrong))
    return f"{sum(wrong)} of {len(wrong)} ({low:.1%} to {high:.1%})"


def agreed(facts: dict[str, Any]) -> str:
    """Return an agreement in words."""
    low, high = facts["raw_interval"]
    return f"agree in {facts['raw']:.1%} of {facts['units']} cases ({low:.1%} to {high:.1%})"


def story(clinic: Clinic, coming: Iterator[Visit], again: Iterator[Visit]) -> None:
    """Go up step by step, each by evidence and by a person, as far as the team wants; and come down."""
    screening = clinic.rollout

    print("degree 1, human: two people read each biopsy, and a third decides where they differ")
    clinic.tell(clinic.sees(islice(coming, 40)))
    print(f"  people {agreed(screening.agreement('read')['read']['people'])}")

    screening.set_degree("read", "shadow", reason="people agree; what would the model say?")
    print("degree 2, shadow: the model reads along, and nobody sees what it says")
    clinic.tell(clinic.sees(islice(coming, 40)))
    print(f"  calibrate: {screening.calibrate('read').words}")
    refused(screening, "partial")
    clinic.tell(clinic.sees(islice(coming, 160)))
    print(f"  the model, as people see it, was wrong in {clinic.judged(Selection.ALL)}")
    print(f"  the model and people {agreed(screening.agreement('read')['read']['model'])}")

    screening.set_degree("read", "assist", reason="the model is as good as one reader")
    print("degree 3, assist: people answer, see what the model says, and may revise")
    clinic.tell(clinic.sees(islice(coming, 40)))
    found = screening.calibrate("read", reason="as many labels as were planned")
    print(f"  calibrate: {found.words}")
    for row in found.tables[""][9::10]:
        print(f"    from {row.threshold:.4f} on: {row.coverage:.0%} of the cases, {row.errors} errors")
    assert found.certificate is not None
    least = found.certificate.threshold
    print(f"  certified: a score of at least {least:.3f} is wrong in at most 2%, with 95% confidence")

    screening.set_degree("read", "partial", reason=found.words)
    print("degree 4, partial: the model decides where it is sure, and people look at every fourth of these")
    answers = clinic.sees(coming)
    clinic.tell(answers)
    share = sum(by == "model" for by, _ in answers) / len(answers)
    print(f"  automated: {share:.0%}; by audits the model was wrong in {clinic.judged(Selection.AUDIT)}")
    refused(screening, "full")

    print("the microscope is set up anew, and measures less than there is: the model is sure, and wrong")
    broken: list[tuple[str, bool]] = []
    while not demoted(screening) and len(broken) < 800:
        broken += clinic.sees(islice(again, 16))
    clinic.tell(broken)
    now = screening.automation()["read"]
    print(f"  degree {now['number']}, {now['degree']}, set by {now['author']}: {now['demoted']}")
    clinic.tell(clinic.sees(islice(again, 8)))

    for commit in reversed(screening.history()):
        print(commit.author, commit.action, commit.reason)
    trail = screening.verify_trail()
    print(f"the trail of {trail.entries} acts is whole: {trail.broken_at is None}")


def demoted(screening: Rollout) -> bool:
    """Say whether audits took the degree back."""
    return bool(screening.automation()["read"]["demoted"])


def refused(screening: Rollout, degree: str) -> None:
    """Ask for a degree that is not to be had."""
    try:
        screening.set_degree("read", degree)
    except Refused as error:
        print(f"  {degree} is refused: {error}")


def main() -> None:
    """Train the model, serve it, and tell the story, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTOML_HOME"] = home
        os.environ["BENTO_ROLLOUT_REVIEW_TOKEN_FILE"] = f"{home}/readers"
        write_tokens(Path(home, "readers"), READERS)
        from examples.screening.patients import patients
        from examples.screening.service import train  # late: BentoML reads its home when it is imported

        train()
        _, people = patients()
        truth = people.malignant.tolist()
        rows = people.rows.tolist()
        later = cycle((number, [DEFOCUSED * one for one in row]) for number, row in enumerate(rows))
        root = Path(__file__).parents[2]
        with served("examples.screening.service:Screening", rollout="screening", folder=root) as client:
            screening = open_rollout("screening", author="dora")
            with at_work(READERS, str(client.base_url), truth):
                story(Clinic(client, screening, truth), iter(enumerate(rows)), later)


if __name__ == "__main__":
    main()
