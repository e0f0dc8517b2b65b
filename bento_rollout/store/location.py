"""Where the environment says that the store lies, and whom it binds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidValue

__all__ = ["Location", "locate"]

_SCHEME = "sqlite:///"
_SHARED = ("postgresql://", "postgres://")
_DIES_WITH_CONTAINER = frozenset({"overlay", "tmpfs", "aufs", "ramfs"})


@dataclass(frozen=True)
class Location:
    """Where a store lies.

    Attributes:
        path: the SQLite file; of a database the folder that this host keeps copies in.
        durable: whether what is written there outlives this container and binds every replica.
        why: when it is not durable, the reason.
        kind, binds: ``sqlite`` binds the ``host``, ``postgresql`` the ``cluster``.
        database: the URL of a database, which may hold a password; None: it is an SQLite file.
        shown: that URL without what is secret in it.
    """

    path: Path
    durable: bool
    why: str = ""
    kind: str = "sqlite"
    binds: str = "host"
    database: str | None = field(default=None, repr=False)
    shown: str = ""

    def __str__(self) -> str:
        return self.shown or f"sqlite:///{self.path}"

    @property
    def words(self) -> str:
        """Where it lies, for messages."""
        return self.shown or str(self.path)


def locate(url: str | None = None, environ: Mapping[str, str] | None = None) -> Location:
    """Return where the store lies: what ``url``, else ``BENTO_ROLLOUT_STORE`` says, else ``$BENTOML_HOME``.

    Args:
        url: ``sqlite:///PATH``, where a path after three slashes is relative to the working directory, or
            ``postgresql://…``.
        environ: instead of this process's environment.

    Raises:
        InvalidValue: for a URL of another kind, or one that cannot be read.
    """
    environ = os.environ if environ is None else environ
    text = url or environ.get("BENTO_ROLLOUT_STORE") or ""
    if text.startswith(_SHARED):
        return _database(text, environ)
    path = _parsed(text) if text else _home(environ) / "rollouts.db"
    if environ.get("BENTO_ROLLOUT_SINGLE_REPLICA") == "1":
        return Location(path, durable=True)
    why = _fleeting(path, environ)
    return Location(path, durable=not why, why=why)


def _parsed(text: str) -> Path:
    path = text.removeprefix(_SCHEME)
    if path in (text, "", ":memory:") or "\0" in path:
        shown = f"{text.partition(':')[0]}://…" if "@" in text else repr(text)  # not a password
        raise InvalidValue(
            f"BENTO_ROLLOUT_STORE is {shown}: write sqlite:///PATH (four slashes begin an absolute path) "
            "or postgresql://USER@HOST/DATABASE"
        )
    return _absolute(path)


def _database(url: str, environ: Mapping[str, str]) -> Location:
    try:
        from .postgres.engine import engine_at
    except ImportError as error:
        raise InvalidValue(
            f"BENTO_ROLLOUT_STORE names PostgreSQL, and psycopg cannot be loaded ({error}): run "
            "pip install 'bento-rollout[postgres]'"
        ) from None
    engine = engine_at(url)
    folder = _home(environ) / f"rollouts.pg-{engine.digest}.d"
    return Location(
        folder, durable=True, kind="postgresql", binds="cluster", database=url, shown=engine.shown
    )


def _home(environ: Mapping[str, str]) -> Path:
    """Return BentoML's home, by its own rule."""
    home = environ.get("BENTOML_HOME")
    return _absolute(home) if home else _absolute(environ.get("HOME") or "~") / "bentoml"


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidValue(f"the path {path!r} of the store cannot be resolved: {error}") from None


def _fleeting(path: Path, environ: Mapping[str, str]) -> str:
    """Return why a local file does not bind: one pod of many, or it dies with its container."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "this is a pod (KUBERNETES_SERVICE_HOST is set) and the store is a local file"
    if _in_container(environ) and (kind := _file_system(path)) in _DIES_WITH_CONTAINER:
        return f"{path.parent} is on a file system ({kind}) that dies with its container"
    return ""


def _in_container(environ: Mapping[str, str]) -> bool:
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return bool(environ.get("container")) or any(mark.exists() for mark in marks)


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on, or an empty text when it is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind, real = "", "", os.path.realpath(path)
    for line in lines:
        left, _, right = line.partition(" - ")
        point = _unescaped((left.split() + [""] * 5)[4])
        inside = bool(point) and (real + "/").startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # what is mounted later on the same point hides the earlier
            best, kind = point, (right.split() or [""])[0]
    return kind


def _unescaped(field: str) -> str:
    """Return a mount point as it is: the kernel writes spaces and the like as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
