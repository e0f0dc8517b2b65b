"""`Connection`: PostgreSQL with the surface of sqlite3, so that the stores' statements are written once."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar, cast

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumper, TextLoader

from .faults import OperationalError, as_sqlite
from .translating import Statement, flattened, translated

__all__ = ["ADAPTERS", "Connection", "Raw", "Row", "lock_of", "row_of"]

T = TypeVar("T")


class Raw(psycopg.Connection[Any]):
    """psycopg's connection, which waits for an answer no longer than it is told to.

    Attributes:
        patience: seconds that each statement may take; None: as long as the server lets it.
    """

    patience: float | None = None

    def wait(self, gen: PQGen[T], *args: Any, **more: Any) -> T:
        """Wait for an answer.

        Raises:
            OperationalError: psycopg's: there was none in time; the connection is of no use any more.
        """
        limited = gen if self.patience is None else _within(gen, self.patience)
        return super().wait(limited, *args, **more)


def _within(gen: PQGen[T], patience: float) -> PQGen[T]:
    """Return what does what a generator of psycopg's does, and gives up after some seconds."""
    until = time.monotonic() + patience
    ready: Any = None
    try:
        while True:
            ready = yield gen.send(ready)
            if not ready and time.monotonic() > until:
                gen.close()
                raise psycopg.OperationalError(f"no answer within {patience:g} s")
    except StopIteration as end:
        return cast(T, end.value)


_ROWS, _STATEMENTS = 500, 100
"""How many rows of one ``INSERT``, and how many other statements, go to the server at once."""


class Row(tuple[Any, ...]):
    """One row: its values by number, or by the column's name."""

    __slots__ = ()
    _columns: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        """Return the value of a column."""
        return tuple.__getitem__(self, self._columns[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._columns)


@lru_cache(maxsize=1024)
def _rows_of(names: tuple[str, ...]) -> type[Row]:
    columns = {name: at for at, name in reversed(list(enumerate(names)))}
    return type("Row", (Row,), {"__slots__": (), "_columns": {name: columns[name] for name in names}})


def row_of(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    """Return what makes rows of a cursor's values: a row factory for psycopg."""
    return _rows_of(tuple(column.name for column in cursor.description or ()))


class _Text(StrDumper):
    """Text, of which PostgreSQL refuses one character."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    def quote(self, obj: str) -> Buffer:
        return super().quote(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class _Truth(Dumper):
    """Truth as the integers 0 and 1, as SQLite keeps it."""

    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: bool) -> Buffer | None:
        return b"1" if obj else b"0"

    def quote(self, obj: bool) -> Buffer:
        return b"1" if obj else b"0"


class _Real(Dumper):
    """A float: never of the type that keeps decimals, whose sums would differ."""

    oid = psycopg.adapters.types["float8"].oid

    def dump(self, obj: float) -> Buffer | None:
        return repr(float(obj)).encode()

    def quote(self, obj: float) -> Buffer:
        return b"'%s'::float8" % repr(float(obj)).encode()


class _Number(Loader):
    """A sum of integers, or a decimal."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        if "." not in text and text.lstrip("-").isdecimal():
            return int(text)
        value = float(text)
        return int(value) if value.is_integer() else value


class _Bit(Loader):
    """Truth as SQLite gives it."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


def _adapters() -> AdaptersMap:
    made = AdaptersMap(psycopg.adapters)
    made.register_dumper(str, _Text)
    made.register_dumper(bool, _Truth)
    made.register_dumper(float, _Real)
    made.register_loader("numeric", _Number)
    made.register_loader("bool", _Bit)
    for name in ("json", "jsonb", "regclass", "name"):
        made.register_loader(name, TextLoader)
    return made


ADAPTERS = _adapters()
"""How values come and go."""


class _Nothing:
    """What a statement that has nothing to do found."""

    rowcount = 0

    def fetchone(self) -> Any:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def close(self) -> None:
        """Do nothing."""


class _Done(_Nothing):
    """What statements did to how many rows."""

    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount


class _Found:
    """What a statement found."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor
        self._rows = cursor.description is not None

    @property
    def rowcount(self) -> int:
        """How many rows were changed; -1: it changes none."""
        return (
            -1 if self._rows and (self._cursor.statusmessage or "")[:6] == "SELECT" else self._cursor.rowcount
        )

    def fetchone(self) -> Any:
        return self._cursor.fetchone() if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall() if self._rows else []

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor) if self._rows else iter(())

    def close(self) -> None:
        self._cursor.close()


class Connection:
    """A connection that is lent for one operation or a few; it speaks as sqlite3 does, errors included.

    Outside of a transaction each statement is one of its own. ``BEGIN IMMEDIATE`` waits until it is the only
    writer of its schema, as in SQLite; ``BEGIN`` reads everything at one moment, and may not write.

    Unlike in SQLite, a statement that fails inside a transaction ends it: only ``ROLLBACK`` is left then.

    Args:
        raw: psycopg's connection, in autocommit.
        lock: the number of the advisory lock that the writers of its schema take.
        give_back: takes psycopg's connection when this one is closed.
    """

    def __init__(self, raw: Raw, lock: int, give_back: Callable[[Raw], None] | None = None) -> None:
        self._raw: Raw | None = raw
        self._lock = lock
        self._give_back = give_back

    @property
    def raw(self) -> Raw:
        """Psycopg's connection.

        Raises:
            OperationalError: this one was closed.
        """
        if self._raw is None:
            raise OperationalError("the connection is closed")
        return self._raw

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction runs, or has failed and waits for its end."""
        return self._raw is not None and self._raw.info.transaction_status in (
            TransactionStatus.ACTIVE,
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        )

    def execute(self, sql: str, parameters: Any = (), /) -> _Found | _Nothing:
        """Run a statement."""
        raw = self.raw
        try:
            statement = translated(sql)
            if statement.skipped:
                return _Nothing()
            if statement.begins:
                self._begin(raw, statement.begins)
                return _Nothing()
            values = statement.values(parameters)
            return _Found(self._send(raw, statement.sql, values, changes=statement.changes))
        except psycopg.Error as error:
            raise as_sqlite(error) from error

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> _Found | _Nothing:
        """Run a statement once for each set of values; many at a time go to the server."""
        raw, done = self.raw, 0
        try:
            statement, rows = translated(sql), iter(parameters)
            while some := list(islice(rows, _ROWS if statement.single else _STATEMENTS)):
                whole = _inserts(statement, some) if statement.single else _joined(raw, statement, some)
                cursor = self._send(raw, *whole, changes=True)
                done += max(cursor.rowcount, 0)
                while cursor.nextset():
                    done += max(cursor.rowcount, 0)
        except psycopg.Error as error:
            raise as_sqlite(error) from error
        return _Done(done)

    def close(self) -> None:
        """Give it back; what was not committed is undone."""
        raw, self._raw = self._raw, None
        if raw is None:
            return
        if self._give_back is None:
            raw.close()
        else:
            self._give_back(raw)

    def _begin(self, raw: Raw, kind: str) -> None:
        if kind == "read":
            raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return
        try:
            raw.execute(f"BEGIN; SELECT pg_advisory_xact_lock({self._lock})".encode())
        except psycopg.Error:
            if not raw.closed and raw.info.transaction_status == TransactionStatus.INERROR:
                raw.execute("ROLLBACK")
            raise

    def _send(self, raw: Raw, sql: str, values: Any, *, changes: bool) -> psycopg.Cursor[Any]:
        """Run statements; a change outside of a transaction waits for its turn, as in SQLite."""
        alone = changes and raw.info.transaction_status == TransactionStatus.IDLE
        turn = f"SELECT pg_advisory_xact_lock({self._lock}); " if alone else ""
        cursor = raw.execute(f"{turn}{sql}".encode(), values)
        if alone:
            cursor.nextset()
        return cursor


def _inserts(statement: Statement, rows: list[Any]) -> tuple[str, Any]:
    before, one, after = statement.single or ("", "", "")
    return before + ", ".join([one] * len(rows)) + after, flattened(rows)


def _joined(raw: Raw, statement: Statement, rows: list[Any]) -> tuple[str, Any]:
    cursor = psycopg.ClientCursor(raw)
    return "; ".join(cursor.mogrify(statement.sql.encode(), statement.values(row)) for row in rows), None


def lock_of(schema: str, name: str = "writer") -> int:
    """Return the number of an advisory lock."""
    digest = sha256(f"bento_rollout {schema} {name}".encode()).digest()
    return int(struct.unpack(">q", digest[:8])[0])
