"""`Delivery`: a worker's connection to its ledger, over which rows get there, some at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ..errors import StoreUnreachable
from .ledger_file import LedgerFile
from .ledger_inserting import Batch, Row, is_trouble
from .ledger_pruning import transaction
from .sql import Db

__all__ = ["Delivery"]

RESERVE = 1 << 26
"""Bytes of the disk that are left to the store, or an eighth of it if that is less."""


class Delivery:
    """Writes batches; what it raises `LedgerFile.in_words` says in words. For one thread at a time.

    Args:
        file: the ledger.
        told: what the ledger is told of this worker when a connection begins.
        lose: told how many facts cannot be written, and why.
        gone: told when the file lies there no more, and a new one begins.
    """

    def __init__(
        self,
        file: LedgerFile,
        told: Callable[[], Mapping[str, str]],
        lose: Callable[[int, str], None],
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._file, self._told, self._lose, self._gone = file, told, lose, gone
        self._db: Db | None = None
        self._inode = (0, 0)

    @property
    def db(self) -> Db | None:
        """The connection, if there is one."""
        return self._db

    def write(self, rows: Sequence[Row], batch: Batch) -> None:
        """Write rows in one transaction; those that are odd are lost, and no other."""
        self._leave_room()
        db = self.connected()
        try:
            self._file.home.insert(db, rows, batch)
        except Exception as error:
            if is_trouble(error):
                raise
            odd, reason = self._file.home.insert_each(db, rows, batch)
            if odd:
                self._lose(len(odd), reason)

    def connected(self) -> Db:
        """Return the connection to the ledger that is there now; a file that was replaced is left."""
        home = self._file.home
        if self._db is not None and home.inode() != self._inode:
            self.disconnect()
            self._gone()
        if self._db is None:
            db = self._file.connect()
            try:
                self._introduce(db)
            except BaseException:
                db.close()
                raise
            self._db, self._inode = db, home.inode()
        return self._db

    def disconnect(self) -> None:
        """Close the connection; the next one who asks gets a new one."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def _introduce(self, db: Db) -> None:
        """Note what this worker keeps, and under which secret keys are hashed."""
        told = self._told()
        if told.items() <= dict(db.execute("SELECT key, value FROM meta")).items():
            return
        with transaction(db):
            db.executemany(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                told.items(),
            )

    def _leave_room(self) -> None:
        """Raise when the disk is nearly full: what is left is for the store, in which a rollback must fit."""
        if self._file.home.path is None:
            return
        try:
            found = os.statvfs(self._file.folder)
        except OSError:
            return  # the folder is made with the file
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < min(RESERVE, total // 8):
            raise StoreUnreachable(
                f"the disk of {self._file.where} is nearly full ({free} bytes free): the rest is the store's"
            )
