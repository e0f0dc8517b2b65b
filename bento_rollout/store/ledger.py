"""`Ledger`: every prediction of one rollout, what its shadows said, and what the truth turned out to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from ..errors import InvalidValue, NotFound
from ..keys import normal_key
from .hashing import KeyHash
from .ledger_file import LedgerFile
from .ledger_forgetting import Forgotten, forget
from .ledger_ids import WHOLE, Bound, id_at, id_of, split_id
from .ledger_joins import Story, exported, stories_of
from .ledger_labels import MOST_IN_BATCH, Accepted, Label, Refusal, add_label, parse_label
from .ledger_pruning import Gone, expire_marks, prune, settle, transaction, trim_orphans
from .ledger_rows import PREDICTION, Entry, entry_of
from .place import Place
from .sql import Db

__all__ = ["ORPHANS_KEPT", "Counts", "Forgotten", "Ledger"]

_CHUNK = 256
"""Predictions that are read at a time."""

_LABELS, _LABELS_SHARED = 500, 100
"""Labels that are kept in one transaction, in a file, and in a database that is some way off."""

_BREATH = 0.005
"""Seconds between two transactions of one batch, in which other writers get in."""

_KEEP, _MAX_SIZE = 30 * 86400.0, 1_000_000_000
"""What is kept where no worker ever said how much."""

ORPHANS_KEPT = 7 * 86400.0
"""Seconds for which a label waits for its prediction, or as long as predictions are kept, if that is less."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a ledger holds, and what it lost.

    Attributes:
        predictions, shadows, labels: how many.
        orphans: labels whose prediction is not known.
        size: bytes of the file and of its log.
        oldest, newest: when the first and the last prediction came, in seconds since 1970.
        events: what was ever counted: ``pruned`` and ``forgotten`` predictions, ``orphans_expired``, and
            ``unwritten`` predictions that workers could not write.
    """

    predictions: int = 0
    shadows: int = 0
    labels: int = 0
    orphans: int = 0
    size: int = 0
    oldest: float | None = None
    newest: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """Reads a rollout's ledger, and adds labels to it; each operation opens the file by itself.

    Where nothing was ever kept, everything is empty, and only labels make a file.

    Args:
        place: where the rollout's shared files, or its tables, lie (`SQLiteStore.place`).
        patience: seconds to wait for other processes' locks.
        clock: seconds since 1970.
        environ: instead of this process's environment.

    Raises:
        StoreUnreachable: every operation: the file is locked, full, read-only, or of a newer schema.
        StoreCorrupt: it is damaged.
    """

    def __init__(
        self,
        place: Place,
        *,
        patience: float = 5.0,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._file = LedgerFile(place, patience=patience)
        self._patience, self._clock, self._environ = patience, clock, environ

    @property
    def place(self) -> Place:
        """Where the rollout's shared files, or its tables, lie."""
        return self._file.place

    @property
    def where(self) -> str:
        """Where the file is, or would be, or the tables are; to show."""
        return self._file.where

    @property
    def rollout(self) -> str:
        """The rollout's name."""
        return self._file.place.name

    # -- labels ----------------------------------------------------------------------------------------

    def label(self, items: Sequence[object], *, source: str = "api") -> Accepted:
        """Keep labels, each by itself: what is wrong with one costs no other.

        Args:
            items: plain data, each ``{prediction_id | inference_id, label, name="label", source, time?,
                reason?}``; at most 100 000.
            source: of those that name none.

        Raises:
            InvalidValue: for too many.
            StoreUnreachable: some may be kept; telling all of them again changes nothing for these.
        """
        if len(items) > MOST_IN_BATCH:
            raise InvalidValue(f"{len(items)} labels are too many at once: send at most {MOST_IN_BATCH}")
        now, total = self._clock(), Accepted()
        step = _LABELS_SHARED if self._file.home.path is None else _LABELS
        for start in range(0, len(items), step):
            good, refused = _parsed(items[start : start + step], start, now, source)
            total = _sum(total, Accepted(refused=refused))
            if good:
                time.sleep(_BREATH if start else 0)
                with self._file.writing() as db, transaction(db):
                    total = _sum(total, _added(db, good))
                    trim_orphans(db, len(good))
        return total

    # -- reading ---------------------------------------------------------------------------------------

    def tail(self, limit: int = 20, *, after: int | None = None) -> list[Entry]:
        """Return the predictions that arrived last, in the order of arrival.

        Args:
            limit: at most so many.
            after: only those that arrived after the one with this ``seq``, the first of them first.
        """
        with self._reading() as db:
            if db is None:
                return []
            if after is not None:
                query = f"SELECT {PREDICTION} FROM predictions WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
                return [entry_of(row) for row in db.execute(query, (after, limit))]
            query = f"SELECT {PREDICTION} FROM predictions ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constants
            return [entry_of(row) for row in db.execute(query, (limit,))][::-1]

    def find(self, *, key: object = None, inference_id: object = None, limit: int = 20) -> list[Entry]:
        """Return the predictions of a routing key, or of the caller's own id, that arrived last, in order.

        For a key that has few the whole file is read.

        Args:
            key: the routing key.
            inference_id: the caller's own id.
            limit: at most so many.

        Raises:
            InvalidKey: one of them can be no key, or no id.
        """
        hashed = None if key is None else self.key_hash(key)
        name = None if inference_id is None else normal_key(inference_id)
        wanted = {"key_hash": hashed, "inference_id": name}
        found = {column: value for column, value in wanted.items() if value is not None}
        with self._reading() as db:
            if db is None or not found or (key is not None and hashed is None):
                return []
            where = " AND ".join(f"{column} = ?" for column in found)
            query = f"SELECT {PREDICTION} FROM predictions WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constants
            return [entry_of(row) for row in db.execute(query, (*found.values(), limit))][::-1]

    def story(self, text: str) -> Story:
        """Return all that is known of one prediction.

        Args:
            text: its id, ``ID.i`` for row i, or the caller's own id: then the newest prediction of it.

        Raises:
            NotFound: there is no such prediction, or no longer; or the request has one for each row.
        """
        with self._reading() as db:
            row = None if db is None else _find(db, text)
            if db is None or row is None:
                raise NotFound(
                    f"no prediction {text!r} is in the ledger of {self.rollout!r}: it is too old, it was "
                    "forgotten, it was never written, or it is another rollout's"
                )
            (story,) = (s for s in stories_of(db, [row]) if s.prediction.seq == row[0])
            name = story.prediction.inference_id
            others = () if name is None else db.execute(_OTHERS, (name, row[0]))
            return replace(story, others=tuple(id_of(*other) for other in others))

    def stories(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        variant: str | None = None,
        endpoint: str | None = None,
        key: object = None,
    ) -> Iterator[Story]:
        """Return predictions in the order of their time, each with what belongs to it.

        They are read as they are asked for, and nothing is locked between two of them: what is written
        meanwhile with a later time is among them.

        Args:
            since, until: seconds since 1970; the first is included, the last is not.
            variant, endpoint: only those.
            key: only those of this routing key.
        """
        hashed = None if key is None else self.key_hash(key)
        if key is not None and hashed is None:
            return
        wanted = {"variant": variant, "endpoint": endpoint, "key_hash": hashed}
        where = "".join(f" AND {name} = ?" for name, value in wanted.items() if value is not None)
        values = [value for value in wanted.values() if value is not None]
        if until is not None:
            where, values = f"{where} AND id < ?", [*values, id_at(until)]
        query = (
            f"SELECT {PREDICTION} FROM predictions WHERE (id, row) > (?, ?){where} "  # noqa: S608 - constants
            "ORDER BY id, row LIMIT ?"
        )
        last: Bound = ("" if since is None else id_at(since), WHOLE - 1)
        while True:
            with self._reading() as db:
                rows = [] if db is None else db.execute(query, (*last, *values, _CHUNK)).fetchall()
                found = [] if db is None else list(stories_of(db, rows))
            yield from found
            if len(rows) < _CHUNK:
                return
            last = rows[-1][1], rows[-1][2]

    def export(self, *, labelled: bool = False, **filters: Any) -> Iterator[dict[str, Any]]:
        """Return plain rows, one for each prediction, with shadows and valid labels; filters as `stories`.

        Args:
            labelled: only those that have a label.
            **filters: as of `stories`.
        """
        rows = map(exported, self.stories(**filters))
        return filter(_is_labelled, rows) if labelled else rows

    def counts(self) -> Counts:
        """Return how much is kept, and what was lost."""
        with self._reading() as db:
            if db is None:
                return Counts()
            predictions, shadows, labels, orphans = (
                db.execute(f"SELECT count(*) FROM {what}").fetchone()[0]  # noqa: S608 - constants
                for what in ("predictions", "shadows", "labels", f"labels WHERE orphan AND NOT {_FOUND}")
            )
            oldest, newest = (
                db.execute(f"SELECT time FROM predictions ORDER BY id {way} LIMIT 1").fetchone() or (None,)  # noqa: S608
                for way in ("ASC", "DESC")
            )
            events = dict(db.execute("SELECT name, number FROM counters ORDER BY name"))
            size = self._file.home.size()
            return Counts(predictions, shadows, labels, orphans, size, oldest[0], newest[0], events)

    # -- forgetting ------------------------------------------------------------------------------------

    def prune(self, *, keep: float | None = None, max_size: int | None = None) -> Gone:
        """Delete what is too old or too much, with its labels, and give the space back.

        Args:
            keep: seconds for which predictions are kept. Default: as the service's spec says.
            max_size: bytes of the file. Default: as the service's spec says.
        """
        if not self._file.exists():
            return Gone()
        with self._file.writing() as db:
            told = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('keep', 'max_size')"))
            keep = float(told.get("keep", _KEEP)) if keep is None else keep
            max_size = int(told.get("max_size", _MAX_SIZE)) if max_size is None else max_size
            now = self._clock()
            gone = prune(db, self._file.home, before=now - keep, max_size=max_size)
            expire_marks(db, now)
            return gone + settle(db, now - min(keep, ORPHANS_KEPT))

    def key_hash(self, key: object) -> str | None:
        """Return the hash under which a routing key's predictions are kept; None where no key has one.

        Raises:
            InvalidKey: it is no key.
            StoreUnreachable: the secret cannot be read.
        """
        text, hashed = normal_key(key), self._hashed()
        return None if hashed is None else hashed.of(text)

    def forget(self, key: object) -> Forgotten:
        """Delete what belongs to a routing key, so that neither the file nor its log holds a byte of it.

        The file is written anew, which takes as much space again for a while, beside it and in the folder
        that SQLite uses for temporary files (``SQLITE_TMPDIR``). In a database the rows are deleted: their
        bytes are overwritten after a vacuum, and the server's log and backups hold them until they expire.
        What workers write later is new; what a shadow says later to a prediction that is forgotten is not
        kept.

        Raises:
            InvalidKey: it is no key.
            Refused: the hashes are under another secret than the one that is known here.
            StoreUnreachable: with what is left to do.
        """
        text, hashed = normal_key(key), self._hashed()
        if not self._file.exists():
            return Forgotten(Gone())
        return forget(self._file, text, hashed, patience=self._patience, now=self._clock())

    # -- the parts -------------------------------------------------------------------------------------

    def _hashed(self) -> KeyHash | None:
        return KeyHash.of_place(self._file.place, environ=self._environ)

    def _reading(self) -> Any:
        return self._file.reading() if self._file.exists() else _Nothing()


_OTHERS = "SELECT id, row FROM predictions WHERE inference_id = ? AND seq <> ? ORDER BY id, row LIMIT 100"


def _is_labelled(row: Mapping[str, Any]) -> bool:
    return bool(row["labels"])


class _Nothing:
    """A ledger that nobody ever wrote to."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_FOUND = (
    "(EXISTS (SELECT 1 FROM predictions AS p WHERE p.id = labels.id AND p.row = labels.row) "
    "OR EXISTS (SELECT 1 FROM predictions AS p WHERE p.inference_id = labels.inference_id))"
)


def _parsed(
    items: Sequence[object], start: int, now: float, source: str
) -> tuple[list[tuple[int, Label]], tuple[Refusal, ...]]:
    good, refused = [], []
    for index, item in enumerate(items, start):
        try:
            good.append((index, parse_label(item, now, source=source)))
        except InvalidValue as error:
            refused.append(Refusal(index, str(error)))
    return good, tuple(refused)


def _added(db: Db, labels: Sequence[tuple[int, Label]]) -> Accepted:
    accepted = orphaned = 0
    refused = []
    for index, label in labels:
        try:
            known = add_label(db, label)
        except InvalidValue as error:
            refused.append(Refusal(index, str(error)))
        else:
            accepted, orphaned = accepted + 1, orphaned + (not known)
    return Accepted(accepted, orphaned, tuple(refused))


def _sum(one: Accepted, other: Accepted) -> Accepted:
    refused = tuple(sorted((*one.refused, *other.refused), key=lambda refusal: refusal.index))
    return Accepted(one.accepted + other.accepted, one.orphaned + other.orphaned, refused)


def _find(db: Db, text: str) -> Any:
    """Return the stored row that an id names.

    Raises:
        NotFound: it names a request that has a prediction for each row.
    """
    query = f"SELECT {PREDICTION} FROM predictions WHERE "  # noqa: S608 - constants
    request, row = split_id(text)
    if (found := db.execute(f"{query} id = ? AND row = ?", (request, row)).fetchone()) is not None:
        return found
    by_caller = f"{query} inference_id = ? ORDER BY id DESC, row DESC LIMIT 1"
    if (found := db.execute(by_caller, (text,)).fetchone()) is not None:
        return found
    rows = db.execute("SELECT row FROM predictions WHERE id = ? ORDER BY row", (request,)).fetchall()
    if rows:
        shown = ", ".join(id_of(request, number) for (number,) in islice(rows, 3))
        raise NotFound(f"the request {request} has {len(rows)} predictions, one for each row: {shown} …")
    return None
