"""Who may come in: named bearer tokens from the environment or from a file that may change while serving."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tokens", "parse_tokens"]

ADMIN = "BENTO_ROLLOUT_ADMIN_TOKEN"
MAX_BYTES = 1 << 18
FRESH = 2.0
"""Seconds for which a changed file is read each time: two writes may fall into one tick of its clock."""

_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,100}")
_TOKEN = re.compile(r"[\x21-\x7e]+")

Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """The names and the tokens' SHA-256 digests; never the tokens themselves."""

    entries: tuple[tuple[str, bytes], ...] = ()
    problem: str | None = None


class Tokens:
    """The tokens of one audience; safe to use from several threads.

    Args:
        token: one token, whose name is ``name``; None or an empty text: there is none.
        path: a file with lines ``name:token`` and ``#`` comments, read again whenever it changed.
        name: what the author of a change is called when ``token`` was shown.

    A file that is missing, unreadable or not in this form closes the door altogether, the single token
    included: `problem` says what is wrong with it (by line, without its text), and nobody is let in until it
    is mended.
    """

    def __init__(
        self, token: str | None = None, path: str | Path | None = None, *, name: str = "admin"
    ) -> None:
        self._single = _single(token, name)
        self._path = Path(path) if path else None
        self._known = _Known()
        self._signature: Signature | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], variable: str = ADMIN, *, name: str = "admin"
    ) -> Tokens:
        """Return the tokens in ``variable``, and those in the file that ``variable`` + ``_FILE`` names."""
        return cls(environ.get(variable), environ.get(f"{variable}_FILE"), name=name)

    @property
    def problem(self) -> str | None:
        """What is wrong with the tokens now, for the log and ``doctor``; None: nothing. Holds no token."""
        return self._current().problem

    @property
    def names(self) -> tuple[str, ...]:
        """The names that could come in now; empty: the door is closed."""
        known = self._current()
        return () if known.problem else tuple(dict.fromkeys(name for name, _ in known.entries))

    def name_of(self, shown: bytes) -> str | None:
        """Return whose token was shown, or None. Every known token is compared, each in constant time."""
        digest = hashlib.sha256(shown).digest()
        known = self._current()
        found: str | None = None
        for name, expected in known.entries:
            if hmac.compare_digest(digest, expected) and found is None:
                found = name
        return None if known.problem else found

    def mark_of(self, shown: bytes) -> str:
        """Return what a session remembers of a token: enough to know it again, too little to show it."""
        return _mark(hashlib.sha256(shown).digest())

    def marked(self, mark: str) -> str | None:
        """Return whose token has this mark now; None: there is no such token any more."""
        known = self._current()
        names = [
            name
            for name, digest in known.entries
            if hmac.compare_digest(_mark(digest).encode(), mark.encode())
        ]
        return names[0] if names and not known.problem else None

    def _current(self) -> _Known:
        single = self._single
        if self._path is None or single.problem:
            return single
        with self._lock:
            self._refresh(self._path)
            return _Known((*single.entries, *self._known.entries), self._known.problem)

    def _refresh(self, path: Path) -> None:
        try:
            signature = _signature(path.stat())
        except (OSError, ValueError) as error:
            self._known, self._signature = _Known(problem=f"{path} cannot be read: {_why(error)}"), None
            return
        settled = self._read_at - signature[0] / 1e9 > FRESH
        if signature == self._signature and settled:
            return
        self._read_at = time.time()
        self._known = _read(path)
        self._signature = signature


def _single(token: str | None, name: str) -> _Known:
    text = (token or "").strip()
    if not text:
        return _Known()
    if not _TOKEN.fullmatch(text):
        return _Known(problem="the token in the environment holds other than visible ASCII")
    return _Known(((name, _digest(text)),))


def _read(path: Path) -> _Known:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _Known(problem=f"{path} is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            return _Known(problem=f"{path} has over {MAX_BYTES} bytes: this is no token file")
        return _Known(parse_tokens(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        return _Known(problem=f"{path} is not UTF-8 text")
    except (OSError, ValueError) as error:
        return _Known(problem=f"{path}: {_why(error)}")


def parse_tokens(text: str) -> tuple[tuple[str, bytes], ...]:
    """Return names and SHA-256 digests from lines ``name:token``, without empty lines and ``#`` comments.

    Raises:
        ValueError: a line in another form, or a token that stands twice; it names the line, never its text.
    """
    entries: list[tuple[str, bytes]] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, colon, token = (part.strip() for part in stripped.partition(":"))
        if not colon or not _NAME.fullmatch(name) or not _TOKEN.fullmatch(token):
            raise ValueError(
                f"line {number} is not NAME:TOKEN; a name has letters, digits and . _ @ + -, "
                "and a token visible ASCII"
            )
        digest = _digest(token)
        if any(digest == other for _, other in entries):
            raise ValueError(f"line {number} repeats a token: whose change it is could not be told")
        entries.append((name, digest))
    return tuple(entries)


def _mark(digest: bytes) -> str:
    return hashlib.sha256(b"bento-rollout session of " + digest).hexdigest()[:32]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()


def _signature(found: os.stat_result) -> Signature:
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
