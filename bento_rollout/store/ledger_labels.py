"""Labels: what the truth turned out to be. One is checked by itself; the newest of a source is valid."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import InvalidKey, InvalidValue
from ..keys import normal_key
from ..reviewing import Selection
from ..values import shown
from .ledger_ids import WHOLE, id_of, split_id
from .ledger_json import LONGEST, check_depth, compact, read
from .sql import Db

__all__ = [
    "AHEAD",
    "LABEL",
    "MOST_IN_BATCH",
    "MOST_OF_ONE",
    "MOST_ORPHANS",
    "Accepted",
    "Label",
    "Refusal",
    "add_label",
    "label_of",
    "parse_label",
    "settle_orphans",
    "valid_of",
]

MOST_IN_BATCH = 100_000
"""Labels that are taken at once."""

MOST_ORPHANS = 100_000
"""Labels whose prediction is not known that are kept; of more the oldest go."""

MOST_OF_ONE = 1000
"""Labels of one prediction, name and source that are kept: each new one is compared with them."""

AHEAD = 300.0
"""Seconds that a label's time may be ahead of the clock here."""

LONGEST_ID = 512
LONGEST_NAME = 64
LONGEST_REASON = 4096

LABEL = "seq, id, row, inference_id, name, source, time, received, value, reason, selection, probability"
"""The columns that `label_of` reads."""

_NAME = re.compile(r"[^\W\d][\w.:-]*")
_FIELDS = frozenset(
    {
        "prediction_id", "inference_id", "label", "name", "source", "time", "reason", "selection",
        "probability",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody says that the truth is. Immutable.

    Attributes:
        prediction_id, inference_id: which prediction; one of them.
        value: the truth: anything that JSON can say.
        name: what it is the truth about.
        source: who says so.
        time: when it was found out, in seconds since 1970.
        received: when it was told here.
        reason: why, possibly empty.
        selection: why this prediction was asked about, as `Selection` has it; None: that is not known, or all
            are told. Only what says nothing of how sure the model was is evidence.
        probability: the chance with which it was asked about; None: that is not known.
        seq: its place in the order of arrival; 0: not kept yet.
        valid: whether it is the newest of its prediction, name and source.
    """

    prediction_id: str | None
    inference_id: str | None
    value: Any
    name: str = "label"
    source: str = "api"
    time: float = 0.0
    received: float = 0.0
    reason: str = ""
    selection: Selection | None = None
    probability: float | None = None
    seq: int = 0
    valid: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A label of a batch that was not taken: which one, from 0, and why."""

    index: int
    error: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch of labels.

    Attributes:
        accepted: how many are kept; one that was told before is.
        orphaned: how many of these wait for a prediction that is not known.
        refused: the others.
    """

    accepted: int = 0
    orphaned: int = 0
    refused: tuple[Refusal, ...] = ()


# -- one label ----------------------------------------------------------------------------------------------


def parse_label(item: object, now: float, *, source: str = "api") -> Label:
    """Return the label that plain data (``{prediction_id | inference_id, label, …}``) describes; pure.

    Args:
        item: the data.
        now: seconds since 1970; a label without ``time`` has this one.
        source: of one that names none.

    Raises:
        InvalidValue: saying which field is wrong, and how.

    >>> parse_label({"inference_id": "tx-7", "label": True}, 0.0).value
    True
    """
    if not isinstance(item, Mapping):
        raise InvalidValue(f"a label is an object, not {type(item).__name__}")
    if strangers := [name for name in item if name not in _FIELDS]:
        raise InvalidValue(f"unknown field {shown(strangers[0])}; known here: {', '.join(sorted(_FIELDS))}")
    prediction, inference = _prediction_id(item.get("prediction_id")), _inference_id(item.get("inference_id"))
    if (prediction is None) == (inference is None):
        raise InvalidValue("one of prediction_id and inference_id is needed, and not both")
    if "label" not in item or item["label"] is None:
        raise InvalidValue(
            "label is missing: it is the truth, as text, a number, true, false, a list or an object"
        )
    return Label(
        prediction,
        inference,
        _value(item["label"]),
        _name(item, "name", "label"),
        _name(item, "source", source),
        _time(item.get("time"), now),
        now,
        _reason(item.get("reason")),
        _selection(item.get("selection")),
        _probability(item.get("probability")),
    )


def _prediction_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidValue(f"prediction_id must be text, not {type(value).__name__}")
    if not value or value != value.strip() or not value.isprintable():
        raise InvalidValue(f"prediction_id {shown(value)} is empty, has blanks around it, or does not print")
    if len(value.encode()) > LONGEST_ID:
        raise InvalidValue(f"prediction_id has more than {LONGEST_ID} bytes")
    return id_of(*split_id(value))


def _inference_id(value: object) -> str | None:
    """Return the caller's own id as the text that a request's becomes."""
    if value is None:
        return None
    try:
        return normal_key(value)
    except InvalidKey as error:
        raise InvalidValue(
            f"inference_id: {str(error).replace('the key', 'it').replace('a key', 'it')}"
        ) from None


def _name(item: Mapping[Any, Any], field: str, default: str) -> str:
    value = item.get(field)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InvalidValue(f"{field} must be text, not {type(value).__name__}")
    if len(value) > LONGEST_NAME or not _NAME.fullmatch(value):
        raise InvalidValue(
            f"{field} {shown(value)} is no name: a letter, then letters, digits, _.:-; at most {LONGEST_NAME}"
        )
    return value


def _value(value: Any) -> Any:
    try:
        text = compact(value)
        size = len(text.encode())
        check_depth(value)
    except UnicodeEncodeError:
        raise InvalidValue("label is not valid Unicode text (it holds a lone surrogate)") from None
    except (ValueError, RecursionError):
        raise InvalidValue("label holds NaN, an infinity, or more levels than can be kept") from None
    except TypeError:
        raise InvalidValue(f"label must be what JSON can say, not {type(value).__name__}") from None
    if size > LONGEST:
        raise InvalidValue(f"label has {size} bytes of JSON; at most {LONGEST} are kept")
    return value


def _time(value: object, now: float) -> float:
    if value is None:
        return now
    if isinstance(value, str):
        time = _parsed(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(f"time must be seconds since 1970 or ISO 8601 text, not {type(value).__name__}")
    else:
        time = float(min(max(value, -1), 1e12))  # of an integer with a thousand digits, too
    if not math.isfinite(time) or time < 0:
        raise InvalidValue(f"time {shown(value)} is no time since 1970")
    if time > now + AHEAD:
        raise InvalidValue(f"time {shown(value)} is more than {AHEAD:.0f} s ahead of the clock here")
    return time


def _parsed(text: str) -> float:
    try:
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
    except ValueError:
        raise InvalidValue(f"time {shown(text)} is not ISO 8601, like 2026-11-26T09:30:00Z") from None
    if found.tzinfo is None:
        raise InvalidValue(f"time {shown(text)} says no time zone: write Z or +02:00 after it")
    return found.timestamp()


def _reason(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidValue(f"reason must be text, not {type(value).__name__}")
    if len(value.encode("utf-8", "replace")) > LONGEST_REASON:
        raise InvalidValue(f"reason has more than {LONGEST_REASON} bytes")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidValue("reason is not valid Unicode text (it holds a lone surrogate)")
    return value


def _selection(value: object) -> Selection | None:
    if value is None:
        return None
    try:
        return Selection(value)
    except ValueError:
        known = ", ".join(one.value for one in Selection)
        raise InvalidValue(f"selection {shown(value)} is not known: write one of {known}") from None


def _probability(value: object) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not 0.0 < number <= 1.0:
        raise InvalidValue(f"probability {shown(value)} is none: a number above 0, at most 1, is needed")
    return number


# -- which one is valid -------------------------------------------------------------------------------------


def valid_of(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return one prediction's labels by their time, then by arrival, the valid ones marked; pure."""
    ordered = sorted(labels, key=lambda label: (label.time, label.seq))
    newest = {(label.name, label.source): label.seq for label in ordered}
    return tuple(replace(x, valid=newest[x.name, x.source] == x.seq) for x in ordered)


# -- in the file --------------------------------------------------------------------------------------------


def label_of(row: Sequence[Any]) -> Label:
    """Return a stored row of `LABEL`."""
    seq, request, number, inference, name, source, time, received, value, reason, selection, chance = row
    prediction = None if request is None else id_of(request, number)
    why = None if selection is None else Selection(selection)
    return Label(prediction, inference, read(value), name, source, time, received, reason, why, chance, seq)


_KNOWN = "SELECT 1 FROM predictions WHERE id = ? AND row = ?"
_ROWS = "SELECT row FROM predictions WHERE id = ? LIMIT 1"
_INFERRED = "SELECT 1 FROM predictions WHERE inference_id = ? LIMIT 1"
_OF_PREDICTION = (
    "SELECT time, value, reason FROM labels WHERE id = ? AND row = ? AND name = ? AND source = ? ORDER BY seq"
)
_OF_INFERENCE = (
    "SELECT time, value, reason FROM labels WHERE inference_id = ? AND name = ? AND source = ? ORDER BY seq"
)
_INSERT = {
    known: f"INSERT INTO labels ({LABEL.removeprefix('seq, ')}, orphan) VALUES ({'?, ' * 11}{orphan})"  # noqa: S608 - constants
    for known, orphan in ((True, "FALSE"), (False, "TRUE"))
}


def add_label(db: Db, label: Label) -> bool:
    """Keep one label, unless it was told before; return whether its prediction is known.

    One that says what is valid already, and no time, was told before; so is one that says all the same.

    Raises:
        InvalidValue: its request has a prediction for each row, and it names none; or the other way round.
    """
    value = compact(label.value)
    if label.inference_id is not None:
        known = db.execute(_INFERRED, (label.inference_id,)).fetchone() is not None
        told = db.execute(_OF_INFERENCE, (label.inference_id, label.name, label.source)).fetchall()
        target: tuple[object, ...] = (None, WHOLE, label.inference_id)
    else:
        request, row = split_id(label.prediction_id or "")
        known = db.execute(_KNOWN, (request, row)).fetchone() is not None
        if not known:
            _check_row(db, request, row)
        told = db.execute(_OF_PREDICTION, (request, row, label.name, label.source)).fetchall()
        target = (request, row, None)
    if not _is_told(label, value, told):
        if len(told) >= MOST_OF_ONE:
            raise InvalidValue(
                f"it has {len(told)} labels {label.name!r} of {label.source!r} already: no more are kept"
            )
        said = (label.name, label.source, label.time, label.received, value, label.reason)
        drawn = (label.selection and label.selection.value, label.probability)
        db.execute(_INSERT[known], (*target, *said, *drawn))
    return known


def _check_row(db: Db, request: str, row: int) -> None:
    if (found := db.execute(_ROWS, (request,)).fetchone()) is None:
        return
    if row == WHOLE:
        raise InvalidValue(
            f"the request {request} has a prediction for each row: write {request}.0 and so on"
        )
    if found[0] == WHOLE:
        raise InvalidValue(f"the request {request} is one prediction, and has no row {row}: write {request}")
    raise InvalidValue(f"the request {request} has no row {row}")


def _is_told(label: Label, value: str, told: Sequence[tuple[float, str, str]]) -> bool:
    if any(one == (label.time, value, label.reason) for one in told):
        return True
    newest = max(reversed(told), key=lambda one: one[0], default=None)  # of equal times the last told
    return label.time == label.received and newest is not None and newest[1:] == (value, label.reason)


def settle_orphans(db: Db, before: float, after: int, most: int) -> tuple[int | None, int]:
    """Note which of some orphans have found their prediction, and forget the others that are too old.

    Args:
        db: in a transaction.
        before: those told before then go, in seconds since 1970.
        after: look at those that arrived after the one with this ``seq``.
        most: how many.

    Returns:
        The last that was looked at, None where there are no more; and how many went.
    """
    query = "SELECT seq FROM labels WHERE orphan AND seq > ? ORDER BY seq LIMIT ?"
    seqs = [seq for (seq,) in db.execute(query, (after, most))]
    if not seqs:
        return None, 0
    some = "orphan AND seq BETWEEN ? AND ?"
    db.execute(
        f"UPDATE labels SET orphan = FALSE WHERE {some} AND (EXISTS (SELECT 1 FROM predictions AS p WHERE "  # noqa: S608 - constants
        "p.id = labels.id AND p.row = labels.row) OR EXISTS (SELECT 1 FROM predictions AS p WHERE "
        "p.inference_id = labels.inference_id))",
        (seqs[0], seqs[-1]),
    )
    told = f"DELETE FROM labels WHERE {some} AND received < ?"  # noqa: S608 - constants
    gone = db.execute(told, (seqs[0], seqs[-1], before)).rowcount
    return (seqs[-1] if len(seqs) == most else None), gone
