"""The last act: the truth about every biopsy comes later, and joins what was predicted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.demo.operator import NAME, Operator
from services.demo.promises import Verdict
from services.demo.screen import Screen
from services.demo.traffic import Answer
from services.screening import BORDER

PROMISE = "every answer stands in the ledger, and its truth joins it"


def joined(
    operator: Operator, answers: Sequence[Answer], malignant: NDArray[np.bool_], home: Path, screen: Screen
) -> Verdict:
    """Tell the truth about every answer, read it back from the ledger, and say how right each variant was."""
    given = {answer.prediction_id: answer for answer in answers if answer.status == 200}
    truths = {name: int(malignant[answer.patient.row]) for name, answer in given.items()}
    labels, export = home / "labels.jsonl", home / "ledger.jsonl"
    lines = (json.dumps({"prediction_id": n, "label": t, "source": "biopsy"}) for n, t in truths.items())
    labels.write_text("\n".join(lines), encoding="utf-8")
    told = operator.ask("label", NAME, str(labels))
    operator.run("ledger", NAME, "export", "--output", str(export))
    right, seen = defaultdict[str, list[bool]](list), 0
    with export.open(encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            if (truth := truths.get(row["prediction_id"])) is None:
                continue
            seen += row["label"] == truth and row["variant"] == given[row["prediction_id"]].variant
            right[row["variant"]].append((row["output"][0] >= BORDER) == bool(truth))
    said = ", ".join(f"{name} right in {np.mean(hits):.1%} of {len(hits)}" for name, hits in right.items())
    screen.say(f"$ bento-rollout label {NAME} {labels.name}")
    screen.say(f"  {told['accepted']} truths told; in the ledger: {said}")
    kept = told["accepted"] == len(truths) == seen and not told["refused"]
    return Verdict(PROMISE, kept, f"{seen} of {len(truths)} answers have their truth in the ledger")
