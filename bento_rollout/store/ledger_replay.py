"""What the champion did, read from the ledger as arrays: for a rollout that tries it against itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValue
from ..label_evidence import judged, unit_of
from ..records import Outcome, Reason
from .ledger_file import LedgerFile
from .ledger_ids import id_of
from .ledger_json import read
from .ledger_matured import sound
from .ledger_newest import AT_ONCE, newest_labels, outputs_of
from .place import Place
from .sql import Db

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..label_evidence import BadOf

__all__ = ["MOST", "Replayable", "replayable"]

MOST = 1_000_000
"""Calls that are read at most: about 40 bytes are held of each."""

_CHUNK = 2000
"""Rows that are looked at in one read of the file: nothing is held between two of them."""

_GIVEN = frozenset(reason.value for reason in (Reason.SPLIT, Reason.NO_KEY, Reason.DEFAULT))
_FAILED = frozenset(outcome.value for outcome in Outcome if outcome.failed)

_BACKWARD = (
    "SELECT seq, variant, reason, id, row, time, key_hash, inference_id, endpoint, outcome, seconds "
    "FROM predictions WHERE seq < ? ORDER BY seq DESC LIMIT ?"
)
_END = (1 << 63) - 1

Judging = tuple[str, "BadOf", float]
"""The labels' name, how bad an answer is by them, and the seconds within which they count."""


@dataclass(frozen=True, slots=True)
class Replayable:
    """Calls of one variant, oldest first; all arrays are as long as there are calls, and cannot be written.

    A row of a request with a key for each row is a call of its own.

    Attributes:
        times: when each came, in seconds since 1970 (float64); never falling.
        units: 64-bit hashes (uint64) of the routing keys; of a call without one of the caller's own id, or of
            the call's.
        keyed: whether each had a routing key that was hashed (bool).
        endpoints: the names that ``endpoint`` counts from 0, in the order of the alphabet.
        endpoint: which one was asked (int32).
        failed: whether it was the variant's error (bool): an error, a timeout, not being there; no client's
            4xx. What a service's own ``is_error`` says of an answer is not in the ledger.
        seconds: how long the variant ran; of a stream to its first item (float64).
        bad: how bad the answer was by its label, 0 to 1 (float64); NaN: no label, or none was asked for.
    """

    times: NDArray[Any]
    units: NDArray[Any]
    keyed: NDArray[Any]
    endpoints: tuple[str, ...]
    endpoint: NDArray[Any]
    failed: NDArray[Any]
    seconds: NDArray[Any]
    bad: NDArray[Any]

    def __len__(self) -> int:
        """How many calls there are."""
        return len(self.times)


def replayable(
    place: Place,
    champion: str,
    *,
    last: int = 100_000,
    label: str | None = None,
    bad_of: BadOf | None = None,
    matures: float | None = None,
    patience: float = 5.0,
) -> Replayable:
    """Return the last calls of a champion that chance, or the default, gave it, in the order of their time.

    Left out is what somebody pinned or targeted, and where it stood in for another variant: in a trial these
    would be no evidence.

    Args:
        place: where the rollout's shared files lie; where nothing was kept, there are no calls.
        champion: the variant.
        last: how many; at most `MOST`.
        label, bad_of: the name of labels, and how bad an answer is by them; both or none.
        matures: only labels that were told within so many seconds of their prediction; None: all.
        patience: seconds to wait for another process's lock.

    Raises:
        InvalidValue: ``last`` is below 1 or above `MOST`, or one of ``label`` and ``bad_of`` is missing.
        StoreUnreachable: the ledger cannot be read.
        StoreCorrupt: it is damaged.
    """
    if not 1 <= last <= MOST:
        raise InvalidValue(f"last is {last}: 1 to {MOST} calls are read")
    if (label is None) != (bad_of is None):
        raise InvalidValue("labels need both their name (label) and how bad an answer is by them (bad_of)")
    judging = (
        None if label is None or bad_of is None else (label, bad_of, math.inf if matures is None else matures)
    )
    calls, file = _Calls(last), LedgerFile(place, patience=patience)
    before = _END if file.exists() else 0
    while before and calls.wanted:
        with sound(file), file.reading() as db:
            before = calls.add_chunk(db, before, champion, judging)
    return calls.whole()


def _judged(db: Db, seqs: list[int], judging: Judging) -> dict[int, float | None]:
    """Return how bad answers are by their labels, as far as they have one."""
    label, bad_of, matures = judging
    found: dict[int, float | None] = {}
    for start in range(0, len(seqs), AT_ONCE):
        labels = newest_labels(db, label, seqs[start : start + AT_ONCE], matures)
        outputs = outputs_of(db, list(labels))
        for seq, value in labels.items():
            found[seq] = judged(bad_of, read(value), read(outputs.get(seq)))
    return found


class _Calls:
    """Calls as they are read, newest first, in arrays that are filled from their ends."""

    def __init__(self, last: int) -> None:
        import numpy as np

        self._arrays: dict[str, Any] = {
            "times": np.empty(last, np.float64),
            "units": np.empty(last, np.uint64),
            "keyed": np.empty(last, np.bool_),
            "endpoint": np.empty(last, np.int32),
            "failed": np.empty(last, np.bool_),
            "seconds": np.empty(last, np.float64),
            "bad": np.full(last, np.nan, np.float64),
        }
        self.wanted = last
        self._endpoints: dict[str, int] = {}

    def add_chunk(self, db: Db, before: int, champion: str, judging: Judging | None) -> int:
        """Add the calls among the rows before a ``seq``; return the first one's ``seq``, 0: no more."""
        rows = db.execute(_BACKWARD, (before, _CHUNK)).fetchall()
        given = [row for row in rows if row[1] == champion and row[2] in _GIVEN][: self.wanted]
        bad = (
            {}
            if judging is None
            else _judged(db, [row[0] for row in given if row[9] == Outcome.OK.value], judging)
        )
        for seq, _, _, *call in given:
            self._add(call, bad.get(seq))
        return rows[-1][0] if len(rows) == _CHUNK else 0

    def _add(self, call: list[Any], bad: float | None) -> None:
        request, row, time, key_hash, inference_id, endpoint, outcome, seconds = call
        self.wanted -= 1
        at, arrays = self.wanted, self._arrays
        number = self._endpoints.setdefault(endpoint, len(self._endpoints))
        arrays["times"][at], arrays["seconds"][at], arrays["endpoint"][at] = time, seconds, number
        arrays["units"][at] = unit_of(key_hash, inference_id, id_of(request, row))
        arrays["keyed"][at], arrays["failed"][at] = key_hash is not None, outcome in _FAILED
        if bad is not None:
            arrays["bad"][at] = bad

    def whole(self) -> Replayable:
        """Return what was read, in the order of time."""
        import numpy as np

        found = {name: array[self.wanted :] for name, array in self._arrays.items()}
        order = np.argsort(found["times"], kind="stable")
        names = sorted(self._endpoints)
        place = np.zeros(max(len(names), 1), np.int32)
        for new, name in enumerate(names):
            place[self._endpoints[name]] = new
        found["endpoint"] = place[found["endpoint"]]
        arrays = {name: array[order] for name, array in found.items()}
        for array in arrays.values():
            array.flags.writeable = False
        return Replayable(endpoints=tuple(names), **arrays)
