"""Loads a model from an artifact with a loader that the caller names; the artifact names none."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ..errors import InvalidValue
from .keys import Identities
from .kms import Kms
from .opening import Artifact, open_artifact
from .policy import TrustPolicy
from .shelf import Shelf
from .verifying import THREADS, Pinned

__all__ = ["As", "check_loading", "load", "load_from"]

Loaded = TypeVar("Loaded")

As = Literal["file", "bytes", "path", "folder"]
"""What the loader is given."""


def load(  # noqa: PLR0913 - those of `open`, and what to load
    tag: str | os.PathLike[str],
    path: str | None,
    *,
    loader: Callable[[Any], Loaded],
    as_: As = "file",
    links: bool = True,
    policy: TrustPolicy | Path | str | None = None,
    public_keys: Pinned | None = None,
    identity: Identities | Path | str | None = None,
    passphrase: str | None = None,
    kms: Mapping[str, Kms] | None = None,
    shelf: Shelf | None = None,
    threads: int = THREADS,
    now: datetime | None = None,
) -> Loaded:
    """Open an artifact and load a model from it; the other arguments and errors are those of `open_artifact`.

    The loader runs when signature, policy and every byte that it can see have passed, and it is the
    caller's: nothing in the artifact has a say in which code runs.

    Args:
        tag: ``name:version``, ``name:latest``, ``name``, or a folder that holds ``sealed/``.
        path: the file in the artifact; None for all of them, with ``as_="folder"``.
        loader: called with one argument, which ``as_`` says; its exceptions pass through.
        as_: ``file``: a seekable binary file in memory. ``bytes``: `bytes`, a second copy while the loader
            runs. ``path``: the name of a file in memory (``/proc/self/fd/N``) that cannot be changed.
            ``folder``: the path of the file in a private folder that holds all files, or of the folder; see
            `Artifact.folder`.
        links: whether files in the folder are links to files in memory; False for loaders that resolve them.

    Returns:
        What the loader returns.
    """
    artifact = open_artifact(
        tag,
        policy=policy,
        public_keys=public_keys,
        identity=identity,
        passphrase=passphrase,
        kms=kms,
        shelf=shelf,
        threads=threads,
        now=now,
    )
    return load_from(artifact, path, loader=loader, as_=as_, links=links)


def load_from(
    artifact: Artifact,
    path: str | None,
    *,
    loader: Callable[[Any], Loaded],
    as_: As = "file",
    links: bool = True,
) -> Loaded:
    """Load a model from an artifact that is open; see `load`.

    Raises:
        InvalidValue: ``as_`` is none of the four, no path is given for one that needs it, or the loader is
            nothing to call.
        ArtifactNotFound: there is no such file.
        ArtifactCorrupt: it is not what was signed.
    """
    check_loading(loader, as_)
    if as_ == "folder":
        if path is not None:
            artifact.manifest.find(path)
        with artifact.folder(links=links) as folder:
            return loader(str(folder if path is None else folder / path))
    if path is None:
        raise InvalidValue(
            f"path=None is for as_='folder' alone; the artifact has {', '.join(artifact.paths[:10])}"
        )
    if as_ == "file":
        return loader(artifact.open(path))  # not closed here: some read more of it later
    if as_ == "bytes":
        return loader(bytes(artifact.read(path)))
    with artifact.memfd(path) as memory:
        return loader(memory.path)


def check_loading(loader: object, as_: str) -> None:
    """Check how something is to be loaded, before anything is.

    Raises:
        InvalidValue: the loader is nothing to call, or ``as_`` is none of the four.
    """
    if not callable(loader):
        raise InvalidValue(f"loader={loader!r} is nothing to call; write for example loader=joblib.load")
    if as_ not in get_args(As):
        raise InvalidValue(f"as_={as_!r}: it is 'file', 'bytes', 'path' or 'folder'")
