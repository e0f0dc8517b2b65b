"""The newest answers of an endpoint that the ledger kept, with the labels of those that have matured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..label_evidence import Mature
from ..records import Outcome, Reason
from .ledger_file import LedgerFile
from .ledger_ids import id_of
from .ledger_json import read
from .ledger_matured import PATIENCE, sound
from .ledger_newest import AT_ONCE, newest_labels, outputs_of
from .place import Place
from .sql import Db, Found

__all__ = ["Answers", "newest_answers"]

LOOKED_AT = 4000
"""Matured predictions, the newest, of which the labels are looked for."""

MOST = 1000
"""Answers with a label, and as many without one, that are read."""

HEAVIEST = 1 << 22
"""Characters of answers of either kind that are read."""

_NEWEST = (
    "SELECT seq, id, row, time, inference_id, endpoint, variant, revision FROM predictions "  # noqa: S608
    f"WHERE seq > ? AND seq <= ? AND endpoint = ? AND outcome = '{Outcome.OK.value}' "
    f"AND reason IN ('{Reason.SPLIT.value}', '{Reason.NO_KEY.value}') ORDER BY seq DESC LIMIT ?"
)
_END = "SELECT coalesce(max(seq), 0) FROM predictions"


@dataclass(frozen=True, slots=True)
class Answers:
    """What was read. Immutable.

    Attributes:
        labelled: matured predictions with a label and an answer, the newest first.
        recent: predictions that have not matured, with an answer, the newest first.
    """

    labelled: tuple[Mature, ...] = ()
    recent: tuple[Mature, ...] = ()


def newest_answers(
    place: Place, *, endpoint: str, label: str, seq: int, matures: float, patience: float = PATIENCE
) -> Answers:
    """Return the newest answers; a bounded number of them, whatever the ledger holds.

    Labels count as for `matured`: told before their prediction matured, and of no case that was selected.

    Args:
        place: where the rollout's shared files lie; where there is no ledger, nothing is found.
        endpoint: whose.
        label: the labels' name.
        seq: up to where predictions have matured.
        matures: the maturity age, in seconds.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: the file cannot be read now.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=patience)
    if not file.exists():
        return Answers()
    with sound(file), file.reading() as db:
        (end,) = db.execute(_END).fetchone()
        ripe = db.execute(_NEWEST, (seq - LOOKED_AT, seq, endpoint, LOOKED_AT))
        fresh = db.execute(_NEWEST, (max(seq, end - LOOKED_AT), end, endpoint, MOST))
        return Answers(tuple(_labelled(db, ripe, label, matures)), tuple(_recent(db, fresh)))


def _labelled(db: Db, rows: Found, label: str, matures: float) -> Iterator[Mature]:
    left, found = HEAVIEST, 0
    for some in _parts(rows):
        labels = newest_labels(db, label, [row[0] for row in some], matures)
        outputs = outputs_of(db, list(labels))
        for seq, request, number, time, _, *who in some:
            if (output := outputs.get(seq)) is None:
                continue
            left, found = left - len(output), found + 1
            if left < 0 or found > MOST:
                return
            yield _mature(request, number, time, who, output, labels[seq])


def _recent(db: Db, rows: Found) -> Iterator[Mature]:
    left = HEAVIEST
    for some in _parts(rows):
        outputs = outputs_of(db, [row[0] for row in some])
        for seq, request, number, time, _, *who in some:
            if (output := outputs.get(seq)) is None:
                continue
            if (left := left - len(output)) < 0:
                return
            yield _mature(request, number, time, who, output, None)


def _parts(rows: Found) -> Iterator[list[Any]]:
    """Yield rows some at a time."""
    left = iter(rows)
    while some := list(islice(left, AT_ONCE)):
        yield some


def _mature(request: str, number: int, time: float, who: list[Any], output: str, label: str | None) -> Mature:
    endpoint, variant, revision = who
    return Mature(
        id_of(request, number), time, int(revision), endpoint, variant,
        labelled=label is not None, label=read(label), output=read(output),
    )  # fmt: skip
