"""A team lets a model take over the reading of biopsies, from degree 1 to 4, and stops there.

Run ``python -m examples.screening``. ``docs/screening.md`` goes the same way by hand, step by step.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from bento_rollout import Rollout, open_rollout
from bento_rollout.errors import Refused
from bento_rollout.reviewing import Selection
from examples._serving import served
from examples.screening.clinic import Clinic, Visit, agreed, defocused, readers
from examples.screening.readers import at_work, write_tokens


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
    while not clinic.demoted and len(broken) < 800:
        broken += clinic.sees(islice(again, 16))
    clinic.tell(broken)
    now = screening.automation()["read"]
    print(f"  degree {now['number']}, {now['degree']}, set by {now['author']}: {now['demoted']}")
    clinic.tell(clinic.sees(islice(again, 8)))

    for commit in reversed(screening.history()):
        print(commit.author, commit.action, commit.reason)
    trail = screening.verify_trail()
    print(f"the trail of {trail.entries} acts is whole: {trail.broken_at is None}")


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
        staff = readers()
        write_tokens(Path(home, "readers"), {one.name: one.token for one in staff})
        from examples.screening.patients import patients
        from examples.screening.service import train  # late: BentoML reads its home when it is imported

        train()
        _, people = patients()
        truth = people.malignant.tolist()
        rows = people.rows.tolist()
        later = cycle((number, defocused(row)) for number, row in enumerate(rows))
        root = Path(__file__).parents[2]
        with served("examples.screening.service:Screening", rollout="screening", folder=root) as client:
            screening = open_rollout("screening", author="dora")
            with at_work(staff, str(client.base_url), truth):
                story(Clinic(client, screening, staff, truth), iter(enumerate(rows)), later)


if __name__ == "__main__":
    main()
