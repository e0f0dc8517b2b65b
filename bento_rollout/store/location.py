"""Where the environment says that the store lies, and whom it binds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidValue

__all__ = ["Location", "locate"]


@dataclass(frozen=True)
class Location:
    """Where a store lies.

    Attributes:
        path: the SQLite file.
        durable: whether what is written there outlives this container and binds every replica.
        why: when it is not durable, the reason.
    """

    path: Path
    durable: bool
    why: str = ""
    kind: str = "sqlite"
    binds: str = "host"

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


def locate(url: str | None = None, environ: Mapping[str, str] | None = None) -> Location:
    """Return where the store lies: from ``url``, else ``BENTO_ROLLOUT_STORE``, else ``$BENTOML_HOME/rollouts.db``.

    Raises:
        InvalidValue: for a URL of another kind.
    """
    environ = os.environ if environ is None else environ
    text = url or environ.get("BENTO_ROLLOUT_STORE") or ""
    if not text:
        home = Path(environ.get("BENTOML_HOME") or Path(environ.get("HOME", "~")) / "bentoml").expanduser()
        path = home / "rollouts.db"
    elif text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        path = Path(text.removeprefix("sqlite:///")).expanduser()
    elif text.startswith(("postgresql://", "postgres://")):
        raise InvalidValue(
            "BENTO_ROLLOUT_STORE names PostgreSQL, which this version cannot use yet: use sqlite:///PATH"
        )
    else:
        raise InvalidValue(
            f"BENTO_ROLLOUT_STORE is {text!r}: write sqlite:///PATH (four slashes begin an absolute path)"
        )
    path = path.absolute()
    if environ.get("BENTO_ROLLOUT_SINGLE_REPLICA") == "1":
        return Location(path, durable=True)
    why = _fleeting(path, environ)
    return Location(path, durable=not why, why=why)


def _fleeting(path: Path, environ: Mapping[str, str]) -> str:
    """Return why a local file does not bind: one pod of many, or a file system that dies with its container."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "this is a pod, and a local store would bind one pod of unknown many"
    if _in_container() and (kind := _file_system(path)) in ("overlay", "tmpfs", "aufs", "ramfs"):
        return f"{path.parent} is on a file system ({kind}) that dies with its container"
    return ""


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on, or an empty text when it is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    best, kind, real = "", "", os.path.realpath(path)
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        if (
            len(fields) > 4
            and rest
            and (real + "/").startswith(fields[4].rstrip("/") + "/")
            and len(fields[4]) >= len(best)
        ):
            best, kind = fields[4], rest[0]
    return kind
