"""The story of examples/screening: from degree 1 to 4 on a real server, and down again by audits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

# A few suggestions may come after the readers are done: at degree shadow nobody waits for the model.
TELLS = (
    r"degree 1, human: [^\n]*\n  40 callers were answered by \{'human': 40\}",
    r"  ann, alone, was wrong in 0 of 40 \(0\.0% to 8\.8%\)",
    r"  people agree in 9\d\.\d% of 40 cases \(",
    r"degree 2, shadow: [^\n]*\n  40 callers were answered by \{'human': 40\}",
    r"  calibrate: nothing can be certified: at least 1[01]\d more cases are missing ",
    r"  partial is refused: automation\.read\.degree: partial needs a threshold that was certified for this ",
    r"  the model, as people see it, was wrong in \d of (200|19\d) \(",
    r"degree 3, assist: [^\n]*\n  40 callers were answered by \{'human': 40\}",
    r"  the model's answer was shown after [78]\d answers; \d followed it",
    r"  calibrate: certified for \d\d\.\d% of the traffic: \d errors in \d+ accepted of 2[34]\d cases",
    r"  certified: a score of at least 0\.9\d+ is wrong in at most 2%, with 95% confidence",
    r"degree 4, partial: [^\n]*\n  119 callers were answered by \{(?=.*'model': \d)(?=.*'human': \d)",
    r"  automated: [789]\d%; by audits the model was wrong in \d of [1-5]\d \(",
    r"  full is refused: automation\.read\.max_degree: partial is the highest that the spec allows",
    r"  degree 2, shadow, set by automation: \d+ of \d+ audits found the model wrong, and at most 2 %",
    r"  8 callers were answered by \{'human': 8\}",
    r"dora degree certified for [^\n]*\nautomation demote ",
    r"the trail of \d+ acts is whole: True",
)


def test_a_team_goes_up_to_partial_and_stops_there(tmp_path: Path) -> None:
    """The story ends by itself, and tells in this order what people want to see at each degree."""
    environ = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "1"}
    for name in ("BENTO_ROLLOUT_STORE", "BENTO_ROLLOUT_REVIEW_TOKEN_FILE", "PYTHONUNBUFFERED"):
        environ.pop(name, None)
    run = subprocess.run(
        [sys.executable, "-m", "examples.screening"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    told = "\n".join(line for line in run.stdout.splitlines() if not line.startswith(("{", "20", "INFO")))
    at = 0
    for line in TELLS:
        found = re.compile(line).search(told, at)
        assert found, f"{line} does not follow in\n{told[at:]}"
        at = found.end()
