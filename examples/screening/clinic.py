"""A clinic whose biopsies the service reads, and its people; also for walking through the story by hand.

``python -m examples.screening.clinic opens`` makes what the walk-through in ``docs/screening.md`` begins
with, and ``python -m examples.screening.clinic 0:40`` lets the first 40 patients come.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bento_rollout import Rollout, open_rollout
from bento_rollout.forecast import interval
from bento_rollout.reviewing import Selection
from examples.screening.patients import patients
from examples.screening.readers import Reader, at_work, read_tokens, write_tokens

DEFOCUSED = 0.7
"""What the microscope makes of each measurement, after it was set up anew."""

Visit = tuple[int, list[float]]


def readers() -> list[Reader]:
    """Return those who read biopsies here, with tokens that are made up now."""
    return [Reader("ann", errs=0.01), Reader("bob", errs=0.05), Reader("cara", errs=0.01)]


def defocused(row: Sequence[float]) -> list[float]:
    """Return what the microscope measures since it was set up anew."""
    return [DEFOCUSED * one for one in row]


class Clinic:
    """Where patients come, callers wait for an answer, and people look on.

    Args:
        client: of the service.
        rollout: of it, as its operator has it.
        staff: those who read.
        truth: whether the tumour of each patient is malignant: known to the story, and to nobody in it.
    """

    def __init__(
        self, client: httpx.Client, rollout: Rollout, staff: Sequence[Reader], truth: Sequence[bool]
    ) -> None:
        self.client, self.rollout, self.staff, self.truth = client, rollout, staff, truth
        self._pool = ThreadPoolExecutor(8)
        self._shown = self._revealed()
        self._seen = dict.fromkeys((one.name for one in staff), 0)

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

    @property
    def demoted(self) -> bool:
        """Whether audits took the degree back."""
        return bool(self.rollout.automation()["read"]["demoted"])

    def judged(self, why: Selection) -> str:
        """Return how often the model was wrong, as people see it, in cases that were asked so."""
        cases = self.rollout.reviews.judged("read", self.rollout.state.champions_digest)
        return rate([one.wrong for one in cases if one.selection is why and one.independent])

    def tell(self, found: Sequence[tuple[str, bool]]) -> None:
        """Tell who answered, and how often it was wrong."""
        print(f"  {len(found)} callers were answered by {dict(Counter(by for by, _ in found))}")
        for by in sorted({by for by, _ in found}):
            print(f"  answers by {by}: {rate([wrong for who, wrong in found if who == by])} wrong")
        for one in self.staff:
            mine = one.right[self._seen[one.name] :]
            self._seen[one.name] = len(one.right)
            if mine:
                print(f"  {one.name}, alone, was wrong in {rate([not right for right in mine])}")
        before, self._shown = self._shown, self._revealed()
        shown, revised = (now - then for now, then in zip(self._shown, before, strict=True))
        if shown:
            print(f"  the model's answer was shown after {shown} answers; {revised} followed it")

    def _revealed(self) -> tuple[int, int]:
        stats = self.rollout.review_stats("read")
        return stats["revealed"], stats["revised"]


def rate(wrong: Sequence[bool]) -> str:
    """Return how many of them are true, with the interval."""
    low, high = interval(sum(wrong), len(wrong))
    return f"{sum(wrong)} of {len(wrong)} ({low:.1%} to {high:.1%})"


def agreed(facts: dict[str, Any]) -> str:
    """Return an agreement in words."""
    low, high = facts["raw_interval"]
    return f"agree in {facts['raw']:.1%} of {facts['units']} cases ({low:.1%} to {high:.1%})"


def opens() -> None:
    """Train the model, give everybody a token, and write down what the service is asked of each patient."""
    from examples.screening.service import train  # late: BentoML reads its home when it is imported

    file = Path(os.environ["BENTO_ROLLOUT_REVIEW_TOKEN_FILE"])
    file.parent.mkdir(parents=True, exist_ok=True)
    train()
    dora = secrets.token_urlsafe(24)
    write_tokens(file, {**{one.name: one.token for one in readers()}, "dora": dora})
    folder = Path(os.environ["BENTOML_HOME"], "patients")
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(patients()[1].rows.tolist()):
        asked = json.dumps({"patient": str(number), "measured": row})
        (folder / f"{number}.json").write_text(asked, encoding="utf-8")
    print("the model is trained; ann, bob and cara have tokens")
    print(f"you are dora, and your token is {dora}")


def come(groups: Sequence[slice], url: str, *, blurred: bool, until_demoted: bool) -> None:
    """Let patients come, a few at a time, and people read until all of them are done, or the degree fell."""
    _, people = patients()
    truth, rows = people.malignant.tolist(), people.rows.tolist()
    everybody = [(number, defocused(row) if blurred else row) for number, row in enumerate(rows)]
    visits = [visit for group in groups for visit in everybody[group]]
    tokens = read_tokens(Path(os.environ["BENTO_ROLLOUT_REVIEW_TOKEN_FILE"]))
    staff = readers()
    for one in staff:
        one.token = tokens[one.name]
    found: list[tuple[str, bool]] = []
    with httpx.Client(base_url=url) as client, at_work(staff, url, truth):
        clinic = Clinic(client, open_rollout("screening"), staff, truth)
        for begin in range(0, len(visits), 16):
            found += clinic.sees(visits[begin : begin + 16])
            if until_demoted and clinic.demoted:
                break
        clinic.tell(found)


def main() -> None:
    """Open the clinic, or let patients come."""
    parser = argparse.ArgumentParser(prog="python -m examples.screening.clinic")
    parser.add_argument("what", nargs="+", help="opens, or which patients come: FROM:TO, of 399")
    parser.add_argument("--defocused", action="store_true", help="the microscope was set up anew")
    parser.add_argument(
        "--until-demoted", action="store_true", help="no more come once audits took the degree back"
    )
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="of the service")
    options = parser.parse_args()
    if options.what == ["opens"]:
        opens()
        return
    pairs = (what.split(":") for what in options.what)
    groups = [slice(int(first), int(last)) for first, last in pairs]
    come(groups, options.url, blurred=options.defocused, until_demoted=options.until_demoted)


if __name__ == "__main__":
    main()
