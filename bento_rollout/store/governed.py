"""What stands for a store where a file governs: the file's state, and what this host holds against it.

Nothing is committed and no database is made. Two small files lie in the rollout's folder, where they can be
written:

``governed.json``
    What the service serves by: which file, the state that it makes, what is wrong with a newer content. By
    this note a command line knows that a file governs, and a worker that starts while the file is broken goes
    on with what the others serve.
``override.json``
    What this host has set against its file. The counter beside it tells every worker at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from ..errors import Governed, StoreUnreachable
from ..governing import Mark, Override, overridden, overriding
from ..revisions import digest_in
from ..state import Commit
from . import RolloutStore
from .beacon import BLIND
from .files import read_json, write_json
from .location import Location
from .making import make_folder
from .opened import open_at
from .sqlite import SQLiteStore

__all__ = ["GovernedStore", "Note", "forget_note", "governed_at", "governed_names", "opened"]

NOTE, OVERRIDE = "governed.json", "override.json"


@dataclass(frozen=True)
class Note:
    """What a service tells of the file that governs it.

    Attributes:
        file: where it lies.
        commit: what it says, as a commit that nobody made.
        text: its content.
        refused: why a newer content is not followed; None: there is none, or it is.
        waits: the fields of it that are code, and wait for a restart.
    """

    file: str
    commit: Commit
    text: str
    refused: str | None = None
    waits: tuple[str, ...] = ()

    def write(self, place: Path) -> None:
        """Leave it for others.

        Raises:
            OSError: nothing can be written here.
        """
        make_folder(place)
        told = {"file": self.file, "text": self.text, "refused": self.refused, "waits": self.waits}
        write_json(place / NOTE, {**told, "commit": self.commit.model_dump(mode="json")})

    @staticmethod
    def lies_in(place: Path) -> bool:
        """Whether any note lies there."""
        try:
            return (place / NOTE).exists()
        except OSError:
            return False

    @classmethod
    def read(cls, place: Path) -> Note | None:
        """Return what a service left there, or None: it left nothing, or nothing readable."""
        data = read_json(place / NOTE)
        try:
            commit = Commit.model_validate(data["commit"])  # type: ignore[index]  # None: see below
            return cls(**{**data, "commit": commit, "waits": tuple(data["waits"])})  # type: ignore[dict-item,index]  # as above
        except (TypeError, KeyError, ValidationError):
            return None


class GovernedStore(SQLiteStore):
    """The one rollout of a file, read as a store is, and changed by nobody.

    Args:
        path: where the store would lie; beside it are this host's files as ever.
        noted: returns what is served, by the rollout's name; None: the note that a service left.
        patience: seconds to wait for another process's lock.
    """

    kind = "spec"

    def __init__(
        self, path: str | Path, noted: Callable[[str], Note | None] | None = None, *, patience: float = 5.0
    ) -> None:
        super().__init__(path, patience=patience)
        self._held_all_along: str | None = None
        self._noted = noted or (lambda name: Note.read(self.place(name)))

    def note(self, name: str) -> Note:
        """Return what is known of the file.

        Raises:
            StoreUnreachable: the note is damaged.
        """
        if (note := self._noted(name)) is None:
            note_at = self.place(name) / NOTE
            raise StoreUnreachable(f"{note_at} cannot be read; a service that runs writes it anew")
        return note

    def names(self) -> Sequence[str]:
        """Return the names of the rollouts that files govern."""
        return governed_names(self.folder)

    def read(self, name: str) -> Commit | None:
        """Return what is served: the file's state, less what this host holds against it."""
        commit = self.note(name).commit
        return overridden(commit, self.override(name))

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return what the file says, and before that what this host holds against it."""
        commit, newest = self.note(name).commit, self.read(name)
        found = [commit] if newest is None or newest == commit else [newest, commit]
        chosen = [one for one in found if before is None or one.revision < before]
        return chosen if limit is None else chosen[: max(0, limit)]

    def sketches(
        self, name: str, limit: int, *, before: int | None = None, actions: Sequence[str] = ()
    ) -> Sequence[Commit]:
        """Return the commits as `history` does, of these actions only."""
        return [
            one for one in self.history(name, limit, before=before) if not actions or one.action in actions
        ]

    def commit(self, commit: Commit, *, after: int) -> NoReturn:  # noqa: ARG002 - as every store's
        """Refuse it: the file is changed where it is kept.

        Raises:
            Governed: always.
        """
        raise self.refusal(commit.state.name)

    def refusal(self, name: str) -> Governed:
        """Return what whoever wants to change something is told."""
        return Governed(
            f"governed by {self.note(name).file}: change it there, and every replica that reads it follows "
            "(authority: spec; here only `pause` and `rollback` work, until the file changes); "
            "nothing changed"
        )

    def heal(self, name: str, *, at_least: int = 0) -> Commit | None:  # noqa: ARG002 - as every store's
        """Return what is served; open the counter again when it was replaced."""
        self.beacon(name).reopen()
        return self.read(name)

    def identity(self) -> str:
        """Return what this is; nothing was ever made that could have an id."""
        return self.kind

    def check(self) -> None:
        """Do nothing: there is no database."""

    # -- what this host holds against the file --------------------------------------------------------------

    def override(self, name: str) -> Override | None:
        """Return what this host holds against the file's present content; None: nothing.

        What was superseded holds on where this process has held it all along: others are ahead of it, and
        it would give back meanwhile what was taken away. Who comes to that content anew goes by the content.
        """
        held, digest = self._written(name), digest_in(self.note(name).commit.revision)
        if held is None or held.digest != digest or (held.superseded and self._held_all_along != digest):
            self._held_all_along = None
            return None
        self._held_all_along = digest
        return held

    def _written(self, name: str) -> Override | None:
        data = read_json(self.place(name) / OVERRIDE)
        with suppress(ValidationError):
            return None if data is None else Override.model_validate(data)
        return None

    def set_against(self, name: str, action: str, author: str, reason: str) -> bool:
        """Set something against the file, on this host, and tell every worker; False: it is so already.

        Raises:
            StoreUnreachable: nothing can be written here.
        """
        file, beacon = self.place(name) / OVERRIDE, self.beacon(name)
        with beacon.writing(self._patience) as turn:
            before = self.override(name)
            mark = Mark(author=author, reason=reason, time=time.time())
            after = overriding(before, self.note(name).commit, action, mark)
            if after == before:
                return False
            after = after and after.model_copy(update={"superseded": False})
            try:
                if after is None:
                    file.unlink(missing_ok=True)
                else:
                    write_json(file, after.model_dump(mode="json"))
                turn.signal(beacon.witness().revision)
            except OSError as error:
                problem = f"{file} cannot be written: {error.strerror}; nothing changed"
                raise StoreUnreachable(problem) from None
        if not turn.trusted:
            time.sleep(BLIND)  # by then every worker has looked by itself: what is acknowledged holds
        return True

    def supersede(self, name: str) -> None:
        """Let what is held against another content end with it: one that comes back is a new decision."""
        held = self._written(name)
        if held is None or held.superseded or held.digest == digest_in(self.note(name).commit.revision):
            return
        with suppress(StoreUnreachable, OSError), self.beacon(name).writing(self._patience):
            if self._written(name) == held:
                over = held.model_copy(update={"superseded": True})
                write_json(self.place(name) / OVERRIDE, over.model_dump(mode="json"))

    def announce(self, name: str) -> None:
        """Have a counter, so that a worker which looks at it is told at once; nothing where it cannot be."""
        with suppress(StoreUnreachable):
            self.beacon(name).poke(self._patience)

    def described(self, name: str) -> dict[str, Any]:
        """Return what stands for the store, as ``status --json`` shows it."""
        note = self.note(name)
        return {
            "kind": self.kind,
            "durable": True,
            "binds": "host",
            "url": f"file://{note.file}",
            "path": note.file,
            "why": "",
            "problem": None,
            "refused": note.refused,
        }


def opened(location: Location, name: str) -> RolloutStore:
    """Return the store of one rollout: its file's, where a service left word that one governs it."""
    governed = GovernedStore(location.path)
    return governed if Note.lies_in(governed.place(name)) else open_at(location)


def governed_names(folder: Path) -> list[str]:
    """Return the rollouts beside a store that files govern, sorted."""
    with suppress(OSError):
        return sorted(note.parent.name for note in folder.glob(f"*/{NOTE}"))
    return []


def governed_at(location: Location) -> list[str]:
    """Return the rollouts of this host that files govern, sorted."""
    return governed_names(GovernedStore(location.path).folder)


def forget_note(place: Path) -> None:
    """Take back that a file governs, because a store does."""
    with suppress(OSError):
        (place / NOTE).unlink(missing_ok=True)
