"""Where artifacts lie: folders under a name and a version, in one place or another."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ..errors import ArtifactError, ArtifactNotFound, InvalidValue, Refused
from .canonical import shown
from .files import Unusable, read_small, sync_folder, write_new
from .manifest import TAG_PART
from .scratch import scratch

__all__ = [
    "LATEST",
    "FolderShelf",
    "PlainFolder",
    "Shelf",
    "Shelved",
    "check_tag_part",
    "default_shelf",
    "find",
    "refuse_existing",
    "settle",
    "split_tag",
]

LATEST = "latest"
"""What stands for the newest version, and the file that says which one that is."""


@dataclass(frozen=True)
class Shelved:
    """An artifact's folder, which is not trusted.

    Args:
        name: the model's name that was asked for; None if a folder was.
        version: the version that was asked for, or that ``latest`` stands for; None if a folder was.
        folder: holds ``sealed/``, ``sealed.sig`` and the keys.
    """

    name: str | None
    version: str | None
    folder: Path

    def __str__(self) -> str:
        return str(self.folder) if self.name is None else f"{self.name}:{self.version}"


class Shelf(Protocol):
    """A place for artifacts by name and version, such as BentoML's model store."""

    def find(self, tag: str) -> Shelved:
        """Return where an artifact lies.

        Args:
            tag: ``name:version``; ``name:latest`` and ``name`` are the newest one.

        Raises:
            InvalidValue: it is no tag.
            ArtifactNotFound: there is none.
        """

    def publish(self, name: str, version: str | None) -> AbstractContextManager[Shelved]:
        """Give a new, empty folder, which becomes the artifact when the block ends without an exception.

        Else it is removed, and nothing can be found under this name and version.

        Args:
            name: the model's name.
            version: the version, or None: a new one is chosen, and known before the block begins.

        Raises:
            Refused: this version is there already.
        """


@dataclass(frozen=True)
class FolderShelf:
    """Artifacts in a folder of one's own: ``ROOT/NAME/VERSION``, and the newest version in ``NAME/latest``.

    BentoML's model store lies in the same way, so this reads it too. To publish there, take BentoML's own.

    Args:
        root: the folder; made when something is published.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # text is taken, too, as for every other path

    def find(self, tag: str) -> Shelved:
        """Return where an artifact lies; see `Shelf.find`."""
        name, version = split_tag(tag)
        if version is None:
            version = self._latest(name)
        folder = self.root / name / version
        if not _is_folder(folder):
            raise ArtifactNotFound(f"{name}:{version} is not in {self.root}")
        return Shelved(name, version, folder)

    @contextmanager
    def publish(self, name: str, version: str | None) -> Iterator[Shelved]:
        """Give a folder for a new artifact; see `Shelf.publish`."""
        check_tag_part("name", name)
        version = _new_version() if version is None else check_tag_part("version", version)
        target = self.root / name / version
        refuse_existing(target, f"{name}:{version}")
        self.root.mkdir(parents=True, exist_ok=True)
        with scratch(self.root, ".draft-") as draft:
            made = draft / version
            made.mkdir()
            yield Shelved(name, version, made)
            settle(made, target, newest=True)

    def _latest(self, name: str) -> str:
        path = self.root / name / LATEST
        try:
            version = read_small(path).decode("ascii", "replace").strip()
        except Unusable:
            raise ArtifactNotFound(f"{name} has no newest version in {self.root}: name one") from None
        if not TAG_PART.fullmatch(version) or version == LATEST:
            raise ArtifactNotFound(f"{path} names no version")
        return version


@dataclass(frozen=True)
class PlainFolder:
    """One folder that holds one artifact, whatever the folder's name.

    Args:
        path: the folder; it must not be there to publish.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def find(self, tag: str) -> Shelved:
        """Return the folder; what lies there must be the model that the tag names (`Shelf.find`).

        ``name`` and ``name:latest`` take any version: a folder alone does not know which is the newest.
        """
        name, version = split_tag(tag)
        if not _is_folder(self.path):
            raise ArtifactNotFound(f"there is no folder {self.path}")
        return Shelved(name, version, self.path)

    @contextmanager
    def publish(self, name: str, version: str | None) -> Iterator[Shelved]:
        """Give a folder for a new artifact; see `Shelf.publish`."""
        check_tag_part("name", name)
        version = _new_version() if version is None else check_tag_part("version", version)
        target = Path(os.path.abspath(self.path))  # noqa: PTH100 - `resolve` would follow a link in its place
        refuse_existing(target, str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent, f".{target.name}.draft-") as draft:
            made = draft / target.name
            made.mkdir()
            yield Shelved(name, version, made)
            settle(made, target)


def find(tag: str | os.PathLike[str], shelf: Shelf | None = None) -> Shelved:
    """Return where an artifact lies.

    Args:
        tag: ``name:version``, ``name:latest`` or ``name``; or a folder that holds ``sealed/``: a `Path`, or
            text with a ``/`` in it.
        shelf: where tags are looked up; BentoML's model store if None.

    Raises:
        InvalidValue: it is no tag.
        ArtifactNotFound: there is none.
        ArtifactError: a folder on the way to it is closed to this user.
    """
    text = os.fspath(tag)
    try:
        return _find(text, shelf, folder="/" in text or not isinstance(tag, str))
    except PermissionError as error:
        raise ArtifactError(f"{error.filename or text} cannot be opened: {error.strerror}") from None


def _find(text: str, shelf: Shelf | None, *, folder: bool) -> Shelved:
    if folder:
        path = Path(text)
        if not _is_folder(path):
            what = f"{path} is a file" if path.exists() else f"there is no folder {path}"
            raise ArtifactNotFound(f"{what}; an artifact is a folder that holds sealed/")
        return Shelved(None, None, path)
    try:
        return (default_shelf() if shelf is None else shelf).find(text)
    except ArtifactNotFound as error:
        if not _is_folder(Path(text)):
            raise
        raise ArtifactNotFound(f"{error}; for the folder {text} write ./{text}") from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ArtifactError(f"{shown(str(path))} cannot be looked at: {error.strerror}") from None


def default_shelf() -> Shelf:
    """Return BentoML's model store; by its name only, for nothing here knows BentoML."""
    return cast("Shelf", import_module("bento_rollout.bento.model_shelf").ModelShelf())


def split_tag(tag: str) -> tuple[str, str | None]:
    """Return a tag's name, and its version unless that is the newest.

    >>> split_tag("screening:v3"), split_tag("screening:latest")
    (('screening', 'v3'), ('screening', None))

    Raises:
        InvalidValue: it is no tag.
    """
    name, colon, version = tag.partition(":")
    check_tag_part("name", name)
    if not colon or version == LATEST:
        return name, None
    return name, check_tag_part("version", version)


def check_tag_part(what: str, text: str) -> str:
    """Return a name or version that can be one.

    Raises:
        InvalidValue: it cannot.
    """
    if not TAG_PART.fullmatch(text) or (what == "version" and text == LATEST):
        raise InvalidValue(
            f"the {what} {shown(text)} is not 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit"
            " at both ends; and no version is 'latest'"
        )
    return text


def refuse_existing(target: Path, tag: str) -> None:
    """Refuse a place that is taken.

    Raises:
        Refused: something lies there.
    """
    if os.path.lexists(target):
        raise Refused(
            f"{tag} is there already, and a version is never overwritten: choose another or delete it"
        )


def settle(made: Path, target: Path, *, newest: bool = False) -> None:
    """Move a finished folder to its place in one step that survives a crash; what fails leaves nothing there.

    Args:
        made: the folder.
        target: its place.
        newest: whether it becomes the newest version of its model.

    Raises:
        Refused: somebody else published there meanwhile.
        OSError: it cannot be moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    refuse_existing(target, str(target))
    with _naming(target) if newest else nullcontext() as latest:
        try:
            made.rename(target)
        except OSError:
            refuse_existing(target, str(target))
            raise
        sync_folder(target.parent)
        if latest is not None:
            try:
                latest.replace(target.parent / LATEST)
            except OSError:
                target.rename(made)
                raise
            sync_folder(target.parent)


@contextmanager
def _naming(target: Path) -> Iterator[Path]:
    """Give a file that says this version, written beforehand: a full disk has no room for it afterwards."""
    draft = target.parent / f".{LATEST}-{secrets.token_hex(8)}"
    try:
        write_new(draft, target.name.encode(), 0o666)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _new_version() -> str:
    return f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"
