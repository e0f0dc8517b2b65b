"""Predictions that have reached their maturity age, read from the ledger with their labels, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidValue, StoreCorrupt
from ..label_evidence import Mature
from ..records import Outcome, Reason
from .ledger_file import LedgerFile
from .ledger_ids import id_of
from .ledger_json import read
from .ledger_newest import AT_ONCE as LABELS_AT_ONCE
from .ledger_newest import SAYS, newest_labels, outputs_of
from .place import Place
from .sql import Db

__all__ = [
    "AHEAD",
    "AT_ONCE",
    "DRAWN",
    "GIVEN",
    "PATIENCE",
    "Matured",
    "Watermark",
    "base_rate",
    "end_of",
    "matured",
    "sound",
    "start_of",
]

AHEAD = 300.0
"""Seconds that a prediction's time may be ahead of the clock; one that is further ahead never counts."""

AT_ONCE = 2000
"""Predictions that are looked at in one read."""

HEAVIEST = 1 << 23
"""Characters of answers of one read: it ends after the one that goes beyond."""

PATIENCE = 0.5
"""Seconds that a read waits for another process's lock: whoever decides looks again soon."""

DRAWN = frozenset((Reason.SPLIT, Reason.NO_KEY))
"""What chance gave to a variant: what variants are compared by."""

GIVEN = DRAWN | {Reason.DEFAULT}
"""And what nobody drew, as the champion answers all: what says how wrong one variant is by itself."""

_NEXT = (
    "SELECT seq, id, row, time, key_hash, inference_id, endpoint, variant, revision, reason, outcome "
    "FROM predictions WHERE seq > ? ORDER BY seq LIMIT ?"
)
_LAST_BEFORE = "SELECT id FROM predictions WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_NEWER = "SELECT seq FROM predictions WHERE id > ? ORDER BY id, row LIMIT 1"
_NEWEST = "SELECT id FROM predictions ORDER BY id DESC, row DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a reader of mature predictions has come. Immutable; kept with what was made of them.

    It is a place in the order of arrival (``seq``), not a time: SQLite gives out ``seq`` under the lock of
    whoever writes, so what is written later has a greater one, whatever its time. A row that arrives late (a
    long stream, a ledger that was locked for a minute) is therefore never skipped and never counted twice,
    and no jump of a clock moves the mark.

    Args:
        seq: the last place that was looked at; 0: none.
        newest: the greatest request id up to it: by this another file is told from this one.
    """

    seq: int = 0
    newest: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {"seq": self.seq, "newest": self.newest}

    @classmethod
    def from_plain(cls, told: object) -> Watermark:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it is something else.
        """
        match told:
            case {"seq": int(seq), "newest": str(newest)} if type(seq) is int and 0 <= seq < 1 << 63:
                return cls(seq, newest)
        raise InvalidValue(f"{told!r} is no place in a ledger: a seq from 0 and the newest id are needed")


@dataclass(frozen=True, slots=True)
class Matured:
    """What one read found.

    Attributes:
        rows: the predictions that count, in the order of arrival.
        after: where the next read goes on; to be kept in one step with what is made of the rows.
        more: whether there may be more at once: the read was ended by its own bounds.
        apart: mature predictions that are no evidence, by why: by their reason (``pinned``, ``fallback``, …),
            ``unanswered`` (the drawn variant failed, or the client left: nothing was predicted), ``ahead``
            (the time lies so far ahead that a clock was wrong).
        missing: how many went before they were looked at, at most: they were pruned or forgotten (or were
            written twice, and kept once). Of many, `ledger.max_size` is too small for the maturity age.
        replaced: whether another file lies there than the one that the mark was made in.
    """

    rows: tuple[Mature, ...]
    after: Watermark
    more: bool = False
    apart: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0
    replaced: bool = False


def end_of(place: Place, *, patience: float = PATIENCE) -> Watermark:
    """Return the mark after all that a ledger holds: a try begins there, with what is predicted from then on.

    Raises:
        StoreUnreachable: the file cannot be read.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=patience)
    if not file.exists():
        return Watermark()
    with file.reading() as db:
        return _end(file, db)


def matured(
    place: Place,
    *,
    label: str,
    after: Watermark,
    until: float,
    matures: float,
    most: int = AT_ONCE,
    patience: float = PATIENCE,
    reasons: Collection[Reason] = DRAWN,
) -> Matured:
    """Return the predictions that have matured since the last read, each once, with their labels.

    They come in the order of arrival, which is the order of their maturity as far as calls take equally
    long: a call that took a minute may wait up to a minute longer for those that came meanwhile and were
    answered sooner. That order, and when a prediction counts, know nothing of its label.

    A label counts if it was told before its prediction matured, however late the read is: whoever decides
    may have been down, and finds the same. Of several the newest counts, by its time, then by arrival; one by
    inference id is the newest prediction's of that id, of those made until this one matured.

    Labels of predictions that were asked about *because* the model was unsure, or somebody chose them, are
    not looked at (`Selection.unbiased`): they say how hard those cases are, not how good the variant is.

    Only what chance gave to a variant (see ``reasons``), and what it answered by itself, is evidence: what a
    stand-in answered says nothing of the candidate. Failed calls are left to the error rate.

    One read looks at a bounded number of rows, by the primary key, and at the labels of each by an index; a
    read that finds nothing new looks at one row. What lies ahead of the clock by up to 5 minutes is waited
    for, and holds up what arrived after it; what is further ahead is apart. Where the file was replaced, it
    goes on with what is newer than all that was looked at.

    Args:
        place: where the rollout's shared files lie; where there is no ledger, nothing is found.
        label: the labels' name.
        after: where the last read ended.
        until: now, in seconds since 1970. Of a clock that jumps ahead all becomes mature at once, in both
            arms alike, with the labels that are there.
        matures: the maturity age, in seconds.
        most: rows that are looked at, at most.
        patience: seconds to wait for another process's lock.
        reasons: predictions with these are evidence.

    Raises:
        StoreUnreachable: the file cannot be read now; the same mark finds the same later.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=patience)
    if not file.exists():
        return Matured((), after)
    with sound(file), file.reading() as db:
        start = start_of(file, db, after)
        return _Reading(db, label, until, matures, reasons).read(
            start, max(most, 1), replaced=start is not after
        )


Told = tuple[str | None, str | None]
"""The newest label of a prediction and, where there is one, its answer; as JSON text."""


class _Reading:
    """One read, at one moment of the file."""

    def __init__(self, db: Db, label: str, until: float, matures: float, reasons: Collection[Reason]) -> None:
        self._db, self._label, self._until, self._matures = db, label, until, matures
        self._reasons = {one.value for one in reasons}
        self._left = HEAVIEST

    def read(self, start: Watermark, most: int, *, replaced: bool) -> Matured:
        rows: list[Mature] = []
        apart: Counter[str] = Counter()
        seq, newest, seen = start.seq, start.newest, 0
        for row, told in self._with_labels(self._ripe(start, most)):
            seq, seen, newest = row[0], seen + 1, max(newest, row[1])
            if (why := self._apart(row)) is not None:
                apart[why] += 1
            else:
                rows.append(self._mature(row, *told))
            if self._left < 0:
                break
        more = seen == most or self._left < 0
        missing = seq - start.seq - seen if start.seq else 0  # nobody was asked to look at what went before
        return Matured(tuple(rows), Watermark(seq, newest), more, dict(apart), missing, replaced)

    def _ripe(self, start: Watermark, most: int) -> list[Sequence[Any]]:
        """Return rows up to the first that is waited for."""
        found: list[Sequence[Any]] = []
        with closing(self._db.execute(_NEXT, (start.seq, most))) as cursor:
            for row in cursor:
                if self._until - self._matures < row[3] <= self._until + AHEAD:
                    break
                found.append(row)
        return found

    def _apart(self, row: Sequence[Any]) -> str | None:
        """Return why a row is no evidence; None: it is."""
        if row[3] > self._until:
            return "ahead"
        if row[9] not in self._reasons:
            return str(row[9])
        return None if row[10] == Outcome.OK.value else "unanswered"

    def _with_labels(self, rows: list[Sequence[Any]]) -> Iterator[tuple[Sequence[Any], Told]]:
        """Yield rows with their newest labels, and the answers of those that have one."""
        for start in range(0, len(rows), LABELS_AT_ONCE):
            some = rows[start : start + LABELS_AT_ONCE]
            seqs = [row[0] for row in some if self._apart(row) is None]
            labels = newest_labels(self._db, self._label, seqs, self._matures)
            outputs = outputs_of(self._db, list(labels))
            for row in some:
                yield row, (labels.get(row[0]), outputs.get(row[0]))

    def _mature(self, row: Sequence[Any], value: str | None, output: str | None) -> Mature:
        _, request, number, time, key_hash, inference_id, endpoint, variant, revision, reason, _ = row
        self._left -= len(output or "")
        return Mature(
            id_of(request, number), time, int(revision), endpoint, variant,
            reason == Reason.SPLIT.value, key_hash, inference_id,
            value is not None, read(value), read(output),
        )  # fmt: skip


@contextmanager
def sound(file: LedgerFile) -> Iterator[None]:
    """Turn what values of the wrong kind raise, which only a damaged file holds, into an error of ours."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(
            f"the ledger {file.where} is damaged: a prediction in it cannot be ({type(error).__name__}); "
            "move it away, and a new one begins"
        ) from error


def start_of(file: LedgerFile, db: Db, after: Watermark) -> Watermark:
    """Return where to go on: the mark itself, or its like in a file that lies there instead of the old."""
    if after.seq == 0:
        return after
    given = file.home.given(db)
    before = db.execute(_LAST_BEFORE, (after.seq,)).fetchone()
    if given >= after.seq and (before is None or before[0] <= after.newest):
        return after
    newer = db.execute(_NEWER, (after.newest,)).fetchone()
    return Watermark(given if newer is None else newer[0] - 1, after.newest)


def _end(file: LedgerFile, db: Db) -> Watermark:
    (newest,) = db.execute(_NEWEST).fetchone() or ("",)
    return Watermark(file.home.given(db), newest)


# -- how frequent a class is --------------------------------------------------------------------------------

LEAST = 100
"""With fewer labels nothing is said of how frequent a class is."""

_MOST_LABELS, _MOST_LOOKED_AT = 10_000, 200_000

_LABELS = (
    "SELECT coalesce(inference_id, id), row, value FROM labels "  # noqa: S608 - constants
    f"WHERE seq > (SELECT max(seq) FROM labels) - ? AND name = ? AND {SAYS} ORDER BY seq DESC LIMIT ?"
)


def base_rate(
    place: Place,
    label: str,
    *,
    class_of: Callable[[Any], str | None] = str,
    positive: Collection[str] | None = None,
    patience: float = PATIENCE,
) -> float | None:
    """Return which part of a label's values is positive, by the newest that the ledger keeps.

    Of each prediction the label that was told last counts; of the newest 10 000 labels of that name, among
    the newest 200 000 of all names.

    Args:
        place: where the rollout's shared files lie.
        label: the labels' name.
        class_of: the class of a value; None: it has none, and is left out.
        positive: the positive classes. None: all but the most frequent one: a model that always says that one
            is right in all other cases.
        patience: seconds to wait for another process's lock.

    Returns:
        None: fewer than 100 are known.

    Raises:
        StoreUnreachable: the file cannot be read.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=patience)
    if not file.exists():
        return None
    with sound(file), file.reading() as db:
        told = db.execute(_LABELS, (_MOST_LOOKED_AT, label, _MOST_LABELS)).fetchall()
    newest: dict[tuple[str, int], str] = {}
    for name, row, value in told:
        newest.setdefault((name, row), value)
    classes = Counter(_classes(newest.values(), class_of))
    if (total := classes.total()) < LEAST:
        return None
    if positive is None:
        return 1 - max(classes.values()) / total
    return sum(classes[name] for name in set(positive)) / total


def _classes(values: Collection[str], class_of: Callable[[Any], str | None]) -> Iterator[str]:
    for value in values:
        if (found := class_of(read(value))) is not None:
            yield found
