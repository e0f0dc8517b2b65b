"""Forgets what belongs to a routing key, so that no byte of it is left, and what comes late stays away."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused, StoreUnreachable
from .hashing import VARIABLE, KeyHash
from .ledger_file import LedgerFile
from .ledger_ids import split_id
from .ledger_on_disk import size_of
from .ledger_pruning import Gone, add_count, delete_key, marked, transaction
from .place import Place
from .sql import Db
from .tallies import Tallies

__all__ = ["Forgotten", "forget", "forget_examples", "rewrite"]

ROOM = 1 << 26
"""Bytes of a disk that are left to others."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What belonged to a key, and is gone.

    Attributes:
        gone: how much.
        examples: how many telling disagreements of shadows with it.
        other_keys: whether hashes under another secret are in the ledger; what they belong to cannot be told.
    """

    gone: Gone
    examples: int = 0
    other_keys: bool = False


def forget(file: LedgerFile, text: str, hashed: KeyHash | None, *, patience: float, now: float) -> Forgotten:
    """Delete what belongs to a routing key; a file is written anew.

    A database gives the bytes of deleted rows to others when it is vacuumed; its log and its backups hold
    them until they expire.

    Args:
        file: the ledger, which is there.
        text: the key as text.
        hashed: hashes under the secret that is known here; None: none is.
        patience: seconds to wait for whoever reads.
        now: seconds since 1970.

    Raises:
        Refused: the hashes are under another secret.
        StoreUnreachable: with what is left to do.
    """
    with file.writing() as db:
        known = {row[0] for row in db.execute("SELECT value FROM meta WHERE key LIKE 'hash_key:%'")}
        if hashed is None and not known:
            return Forgotten(Gone())  # no key was ever hashed
        if hashed is None or (known and hashed.fingerprint not in known):
            raise Refused(
                f"the keys in {file.where} are hashed under another secret: set {VARIABLE} to the one "
                "that the service has, or run this where its hash.key lies"
            )
        key_hash = hashed.of(text)
        db.execute("PRAGMA secure_delete = ON")
        examples = forget_examples(db, file.place, key_hash)  # first: its predictions tell whose they are
        gone = delete_key(db, key_hash, now)
        with transaction(db):
            add_count(db, "forgotten", gone.predictions)
        if file.home.path is not None:
            rewrite(db, file.home.path, patience)
    return Forgotten(gone, examples, other_keys=bool(known - {hashed.fingerprint}))


def forget_examples(db: Db, place: Place, key_hash: str | None = None) -> int:
    """Delete the disagreements that shadows had with predictions of a key, or with forgotten ones.

    Returns:
        How many.

    Raises:
        StoreUnreachable: the file that they are in cannot be used.
    """
    if key_hash is None and db.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None:
        return 0
    tallies = Tallies(place)
    mine = [name for name in tallies.examples() if _is_forgotten(db, name, key_hash)]
    if mine:
        tallies.forget(mine)
    return len(mine)


def _is_forgotten(db: Db, name: str, key_hash: str | None) -> bool:
    request, row = split_id(name)
    query = "SELECT 1 FROM predictions WHERE id = ? AND row = ? AND key_hash = ?"
    mine = key_hash is not None and db.execute(query, (request, row, key_hash)).fetchone() is not None
    return mine or bool(marked(db, [(request, row)]))


def rewrite(db: Db, path: Path, patience: float) -> None:
    """Write the file anew and empty its log: bytes of what was deleted may be left in either."""
    try:
        _check_room(path, size_of(db))
        _empty_log(db, path, patience)  # whoever reads now would keep a log that is as large as the ledger
        db.execute("VACUUM")
        _empty_log(db, path, patience)
    except BaseException as error:
        with suppress(sqlite3.Error):  # what was written in vain takes no space
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if isinstance(error, sqlite3.Error):
            raise StoreUnreachable(
                f"{_LEFT.format(path=path)}: it could not be written anew ({error}); run it again"
            ) from error
        raise


def _empty_log(db: Db, path: Path, patience: float) -> None:
    until = time.monotonic() + max(patience, 1.0)
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise StoreUnreachable(f"{_LEFT.format(path=path)}, because somebody is reading it: run it again")


def _check_room(path: Path, size: int) -> None:
    """Raise when the file cannot be written anew: it is in its log and in SQLite's folder for a while."""
    for folder in (path.parent, _temporary()):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < (needed := size + min(ROOM, total // 8)):
            raise StoreUnreachable(
                f"{_LEFT.format(path=path)}: to write it anew takes {needed} bytes in {folder}, and {free} "
                "are free: make space (or name another folder by SQLITE_TMPDIR), and run it again"
            )


def _temporary() -> Path:
    """Return where SQLite keeps temporary files (https://sqlite.org/tempfiles.html, section 5)."""
    named = os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp"  # noqa: S108
    found = (folder for folder in named if folder and os.access(folder, os.W_OK | os.X_OK))
    return Path(next(found, "."))


_LEFT = "it is deleted, and {path} or its log may still hold bytes of it"
