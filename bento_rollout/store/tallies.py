"""What shadow calls came to in all workers of a rollout: sums beside the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field

from ..eras import Era, Series
from ..errors import RolloutError, StoreUnreachable
from ..records import Difference
from ..tally import EXAMPLES, Example, Kind, Load, Sums, Things
from .outbox import Outbox
from .place import Place, Shared
from .side_file import SideFile
from .spool import Batch, is_new
from .sql import Db
from .tally_form import body_of, counts_of

__all__ = ["APPLICATION_ID", "Counted", "Tallies"]

APPLICATION_ID = 0x42525348  # "BRSH"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE series (
            id INTEGER PRIMARY KEY, champion TEXT NOT NULL, champion_digest TEXT NOT NULL,
            candidate TEXT NOT NULL, candidate_digest TEXT NOT NULL, settings TEXT NOT NULL,
            revision INTEGER NOT NULL, endpoint TEXT NOT NULL, updated REAL NOT NULL,
            UNIQUE (champion, champion_digest, candidate, candidate_digest, settings, revision, endpoint)
        )""",
        """CREATE TABLE counts (
            series INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
            PRIMARY KEY (series, kind, name)
        )""",
        """CREATE TABLE examples (
            series INTEGER NOT NULL, magnitude REAL NOT NULL, time REAL NOT NULL,
            prediction_id TEXT NOT NULL, differences TEXT NOT NULL
        )""",
        "CREATE INDEX examples_of ON examples (series, magnitude, time)",
        """CREATE TABLE loads (
            token TEXT NOT NULL, candidate TEXT NOT NULL, pid INTEGER NOT NULL, pending INTEGER NOT NULL,
            running INTEGER NOT NULL, stuck INTEGER NOT NULL, PRIMARY KEY (token, candidate)
        )""",
    ),
    (
        "ALTER TABLE examples RENAME TO examples_before",
        """CREATE TABLE examples (
            id INTEGER PRIMARY KEY, series INTEGER NOT NULL, magnitude REAL NOT NULL, time REAL NOT NULL,
            prediction_id TEXT NOT NULL, differences TEXT NOT NULL
        )""",
        """INSERT INTO examples (series, magnitude, time, prediction_id, differences)
        SELECT series, magnitude, time, prediction_id, differences FROM examples_before""",
        "DROP TABLE examples_before",
        "CREATE INDEX examples_of ON examples (series, magnitude, time)",
    ),
)
SCHEMA = len(_MIGRATIONS)

MOST_SERIES = 5000
"""Series that are kept; the ones that were counted longest ago go."""

_KEY = "champion, champion_digest, candidate, candidate_digest, settings, revision, endpoint"
_EXAMPLES = (
    "SELECT series, magnitude, time, prediction_id, differences FROM examples "
    "ORDER BY magnitude DESC, time DESC, id"
)
_PUT_LOAD = (
    "INSERT INTO loads (token, candidate, pid, pending, running, stuck) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (token, candidate) DO UPDATE SET pid = excluded.pid, pending = excluded.pending, "
    "running = excluded.running, stuck = excluded.stuck"
)
_LOSS = "the numbers begin anew, and nothing else is lost"


@dataclass(frozen=True, slots=True)
class Counted:
    """All that was ever counted of a rollout's shadows.

    Attributes:
        counts: by series.
        examples: the most telling disagreements, by series.
        updated: when each series was counted last, in seconds since 1970.
        loads: what the shadows do now, by the worker's token and the candidate.
    """

    counts: dict[Series, Things] = field(default_factory=dict)
    examples: dict[Series, list[Example]] = field(default_factory=dict)
    updated: dict[Series, float] = field(default_factory=dict)
    loads: dict[tuple[str, str], Load] = field(default_factory=dict)


class Tallies:
    """The sums of all workers of one rollout; each adds what it counted since it last did.

    A connection lives for one operation. The file is not the store: whatever becomes of it costs numbers.

    Args:
        place: where what belongs to the rollout lies; the file is made when somebody has something to add.
        patience: seconds to wait for another worker's lock.
    """

    def __init__(self, place: Place, *, patience: float = 2.0) -> None:
        self._outbox = (
            Outbox(place.folder, "shadows", "what shadow calls came to", self._deliver)
            if isinstance(place, Shared)
            else None
        )
        self._file = SideFile(
            place,
            "shadows",
            "the numbers of shadow calls",
            APPLICATION_ID,
            _MIGRATIONS,
            _LOSS,
            patience=patience,
            synchronous="OFF",  # a power cut may cost numbers, and they are only numbers
        )

    @property
    def waits(self) -> bool:
        """Whether numbers wait on this host, or may wait: add something, though it be nothing."""
        return self._outbox is not None and self._outbox.waits

    def add(self, token: str, pid: int, sums: Sums, now: float, last: bool = False) -> str | None:
        """Add what a worker counted, whole or not at all.

        Numbers wait in a file of this host while a database cannot be reached. Disagreements do not: they are
        examples, and whoever forgets a person would have to find them on each host.

        Args:
            token: names the worker among all that ever lived.
            pid: its process.
            sums: what it counted.
            now: seconds since 1970.
            last: the worker ends, and has no time to offer it again.

        Returns:
            Why the numbers wait on this host; None: they do not.

        Raises:
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        if self._outbox is None:
            with self._file.open(write=True) as db:
                db.execute("BEGIN IMMEDIATE")
                _add(db, sums.counts, now)
                _show(db, token, pid, sums, now)
                db.execute("COMMIT")
            return None
        if sums.counts:
            waits = self._outbox.send(body_of(sums.counts, now), 0, last=last)
        elif (waits := self._outbox.look()) is not None and sums.loads:
            raise StoreUnreachable(waits)
        if waits is None and (sums.examples or sums.loads):
            with suppress(RolloutError), self._file.open(write=True) as db:
                db.execute("BEGIN IMMEDIATE")
                _show(db, token, pid, sums, now)
                db.execute("COMMIT")
        return waits

    def _deliver(self, batch: Batch) -> None:
        counts, now = counts_of(batch.body)
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            if is_new(db, batch):
                _add(db, counts, now)
            db.execute("COMMIT")

    def leave(self, token: str) -> None:
        """Forget what a worker that ends is doing."""
        with self._file.open(write=True) as db:
            db.execute("DELETE FROM loads WHERE token = ?", (token,))

    def read(self) -> Counted:
        """Return everything; nothing when nobody ever counted.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return Counted()
        with self._file.open(write=False) as db:
            db.execute("BEGIN")  # all of it at one moment
            try:
                return _all_of(db)
            except (ValueError, TypeError, KeyError) as error:
                raise self._file.damaged(error) from error

    def examples(self) -> list[str]:
        """Return of which predictions disagreements are told.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return []
        with self._file.open(write=False) as db:
            return [name for (name,) in db.execute("SELECT DISTINCT prediction_id FROM examples")]

    def forget(self, predictions: Sequence[str]) -> None:
        """Delete the disagreements of predictions, so that no byte of them is left; the sums stay.

        Raises:
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        with self._file.open(write=True) as db:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            db.executemany("DELETE FROM examples WHERE prediction_id = ?", [(name,) for name in predictions])
            db.execute("COMMIT")
            db.execute("VACUUM")


def _add(db: Db, counts: Mapping[Series, Things], now: float) -> None:
    """Add numbers, in a transaction."""
    for series, things in counts.items():
        _add_things(db, _number_of(db, series, now), things)


def _show(db: Db, token: str, pid: int, sums: Sums, now: float) -> None:
    """Keep the most telling disagreements, and what the worker does now, in a transaction."""
    for series, examples in sums.examples.items():
        _add_examples(db, _number_of(db, series, now), examples)
    for candidate, load in sums.loads.items():
        db.execute(_PUT_LOAD, (token, candidate, pid, *load))


def _all_of(db: Db) -> Counted:
    found, numbers = Counted(), dict[int, Series]()
    for number, updated, *key in db.execute(f"SELECT id, updated, {_KEY} FROM series"):  # noqa: S608 - constants
        series = numbers[number] = Series(Era(*key[:5]), *key[5:])
        found.updated[series] = updated
        found.counts[series] = {}
    for number, kind, name, count in db.execute("SELECT series, kind, name, number FROM counts"):
        found.counts[numbers[number]].setdefault(Kind(kind), {})[name] = count
    for number, *example in db.execute(_EXAMPLES):
        found.examples.setdefault(numbers[number], []).append(_example_of(*example))
    for token, candidate, *load in db.execute("SELECT token, candidate, pending, running, stuck FROM loads"):
        found.loads[token, candidate] = Load(*load)
    return found


def _number_of(db: Db, series: Series, now: float) -> int:
    """Return a series' number in the file; of too many the one that was counted longest ago goes."""
    key = (*astuple(series.era), series.revision, series.endpoint)
    query = f"UPDATE series SET updated = ? WHERE ({_KEY}) = (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
    if not db.execute(query, (now, *key)).rowcount:
        insert = f"INSERT INTO series (updated, {_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
        db.execute(insert, (now, *key))
        _forget_oldest(db)
    query = f"SELECT id FROM series WHERE ({_KEY}) = (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
    (number,) = db.execute(query, key).fetchone()
    return int(number)


def _forget_oldest(db: Db) -> None:
    (count,) = db.execute("SELECT count(*) FROM series").fetchone()
    if count <= MOST_SERIES:
        return
    (number,) = db.execute("SELECT id FROM series ORDER BY updated LIMIT 1").fetchone()
    db.execute("DELETE FROM counts WHERE series = ?", (number,))
    db.execute("DELETE FROM examples WHERE series = ?", (number,))
    db.execute("DELETE FROM series WHERE id = ?", (number,))


def _add_things(db: Db, number: int, things: Things) -> None:
    known: dict[Kind, set[str]] = {}
    for kind, name in db.execute("SELECT kind, name FROM counts WHERE series = ?", (number,)):
        known.setdefault(Kind(kind), set()).add(name)
    add = (
        "INSERT INTO counts (series, kind, name, number) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (series, kind, name) DO UPDATE SET number = counts.number + excluded.number"
    )
    rows: list[tuple[int, str, str, int]] = []
    for thing, names in things.items():
        there = known.setdefault(thing, set())
        for name, count in names.items():
            bounded = thing.bounded(name, there)
            there.add(bounded)
            rows.append((number, thing.value, bounded, count))
    db.executemany(add, rows)


def _add_examples(db: Db, number: int, examples: tuple[Example, ...] | list[Example]) -> None:
    rows = [
        (number, e.magnitude, e.time, e.prediction_id, json.dumps([asdict(d) for d in e.differences]))
        for e in examples
    ]
    if not rows:
        return
    db.executemany(
        "INSERT INTO examples (series, magnitude, time, prediction_id, differences) VALUES (?, ?, ?, ?, ?)",
        rows,
    )
    db.execute(
        "DELETE FROM examples WHERE series = ? AND id NOT IN (SELECT id FROM examples WHERE series = ? "
        "ORDER BY magnitude DESC, time DESC LIMIT ?)",
        (number, number, EXAMPLES),
    )


def _example_of(magnitude: float, time: float, prediction_id: str, differences: str) -> Example:
    told = tuple(Difference(**item) for item in json.loads(differences))
    return Example(magnitude, time, prediction_id, told)
