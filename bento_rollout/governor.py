"""`Governor`: reads the file that governs, and says what is served by it; `GovernedFeed`: serves by that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from .errors import InvalidSpec, RolloutError
from .feed import Feed
from .governing import code_differs, governed_state, overridden
from .revisions import digest_in, shown_revision
from .spec import RolloutSpec
from .specfile import digest_of, read_spec, spec_in
from .state import Commit, RolloutState
from .store.governed import GovernedStore, Note
from .telemetry import log

__all__ = ["GovernedFeed", "Governor", "file_commit"]

LOOK = 0.5
"""Seconds between two looks at the file. Its content is read each time: a few kilobytes cost less than to
find out for certain, over every kind of mount and link, that they are the same."""

PATIENCE = 1.0
"""Seconds to wait for another worker's lock."""


def file_commit(
    file: Path, name: str, champion: str, digests: Mapping[str, str], spec: RolloutSpec, text: bytes
) -> Commit:
    """Return what a file's content says, as a commit that nobody made.

    Raises:
        InvalidValue: it gives something to a variant that the service does not have.
    """
    state = governed_state(name, champion, spec, digests, digest_of(text))
    since = time.time()
    with suppress(OSError):
        since = file.stat().st_mtime
    return Commit(state=state, parent=0, time=since, author="file", action="file", reason=str(file))


class Governor:
    """Follows the file in one worker.

    Args:
        file: where it lies; read through whatever links lead there.
        name: the rollout.
        champion: the decorated service's own variant.
        digests: what each variant is.
        running: what the service was defined by: its code's part holds until a restart.
        fits: raises `InvalidSpec` when the service cannot serve by a content.
        text: the content that the service was started with.
        place: where other workers of this host left what they serve.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        champion: str,
        digests: Mapping[str, str],
        running: RolloutSpec,
        fits: Callable[[RolloutSpec, RolloutState], None],
        text: bytes,
        place: Path,
    ) -> None:
        self._file, self._name, self._champion, self._digests = file, name, champion, digests
        self._running, self._fits, self._place = running, fits, place
        self._once = log.Once()
        self._left: Note | None = None
        self._parsed: tuple[str, RolloutSpec | str] | None = None
        self.spec = running
        self.note = self._noted(running, text)
        left = Note.read(place)
        if not self.look() and left is not None and left.file == str(file):
            self._go_on(left)

    def look(self) -> bool:
        """Follow the file; False when what lies there cannot be served by."""
        try:
            text = read_spec(self._file)
            if digest_of(text) != digest_in(self.note.commit.revision):
                self._follow(text)
            elif self.note.refused:
                self._replace(Note(self.note.file, self.note.commit, self.note.text, None, self.note.waits))
        except RolloutError as error:
            self._refuse(str(error))
            return False
        if self._once.over("refused"):
            log.event("rollout.spec_read", rollout=self._name, file=self.note.file, revision=self._revision)
        return True

    def leave_word(self) -> None:
        """Write what is served where a command line finds it, if it can be written."""
        note = self.note
        if self._left is not note or not note.lies_in(self._place):
            with suppress(OSError):
                note.write(self._place)
                self._left = note

    @property
    def _revision(self) -> int:
        return self.note.commit.revision

    def _follow(self, text: bytes) -> None:
        spec = self._spec_in(text)
        self._check(spec)
        note = self._noted(spec, text)
        self._fits(spec, note.commit.state)
        self.spec = spec
        self._replace(note)
        self._say_waiting()

    def _spec_in(self, text: bytes) -> RolloutSpec:
        """Return what a content says; one that is refused comes at each look, and is parsed once."""
        digest = digest_of(text)
        if self._parsed is None or self._parsed[0] != digest:
            try:
                self._parsed = digest, spec_in(text, self._file, gently=True)
            except InvalidSpec as error:
                self._parsed = digest, str(error)
        found = self._parsed[1]
        if isinstance(found, str):
            raise InvalidSpec(found)
        return found

    def _go_on(self, left: Note) -> None:
        """Serve as this host's other workers do, whose newest content came before the one that is broken."""
        with suppress(RolloutError):
            refused = self.note.refused
            self._follow(left.text.encode(errors="surrogateescape"))
            self._replace(Note(self.note.file, self.note.commit, self.note.text, refused, self.note.waits))

    def _check(self, spec: RolloutSpec) -> None:
        """Refuse what only a restart may change."""
        running = self._running
        if spec.authority != running.authority:
            words = "takes a restart of the service; without the field it is store"
            raise InvalidSpec(f"{self._file}: authority: {spec.authority} {words}")
        if spec.name != running.name:
            raise InvalidSpec(f"{self._file}: name: {spec.name or 'none'} takes a restart of the service")
        if set(spec.automation) != set(running.automation):
            raise InvalidSpec(f"{self._file}: automation: other endpoints take a restart of the service")

    def _noted(self, spec: RolloutSpec, text: bytes) -> Note:
        try:
            commit = file_commit(self._file, self._name, self._champion, self._digests, spec, text)
        except RolloutError as error:
            raise InvalidSpec(f"{self._file}: {error}") from None
        waits = tuple(code_differs(self._running, spec))
        return Note(str(self._file), commit, text.decode(errors="surrogateescape"), None, waits)

    def _replace(self, note: Note) -> None:
        self.note = note
        self.leave_word()

    def _refuse(self, problem: str) -> None:
        if self.note.refused != problem:
            note = self.note
            self._replace(Note(note.file, note.commit, note.text, problem, note.waits))
            self._once.over("refused")
        facts = {"rollout": self._name, "file": self.note.file, "problem": problem}
        self._once.say(
            "refused", "rollout.spec_refused", "error", **facts, serving=shown_revision(self._revision)
        )

    def _say_waiting(self) -> None:
        if waits := self.note.waits:
            hint = "these fields are code: they hold from the service's next start on; the state holds now"
            facts = {"rollout": self._name, "file": self.note.file, "fields": list(waits)}
            log.event("rollout.spec_waits", "warning", **facts, hint=hint)


class GovernedFeed(Feed):
    """What one worker serves by where a file governs: the file's newest content that can be served by.

    Args:
        store: where this host's files lie.
        governor: follows the file.
        name: the rollout.

    Attributes:
        store: as it was given.
    """

    def __init__(self, store: GovernedStore, governor: Governor, name: str) -> None:
        super().__init__(store, governor.note.commit)
        self.store, self._governor = store, governor
        self._held = store.override(name)
        self._install(overridden(governor.note.commit, self._held))
        self._following = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-file", daemon=True)

    @property
    def refused(self) -> bool:
        """Whether a newer content lies there that cannot be served by."""
        return self._governor.note.refused is not None

    @property
    def spec(self) -> RolloutSpec:
        """What the file says."""
        return self._governor.spec

    def start(self) -> None:
        """Follow the file from now on."""
        self.store.announce(self.name)
        self._thread.start()

    def stop(self) -> None:
        """End; the thread ends by itself."""
        self._stop.set()

    def check(self) -> None:
        """Look whether everybody else can still find what is served; the file has a thread of its own."""
        self.store.beacon(self.name).reopen()
        self._governor.leave_word()

    def refuse(self, problem: str) -> None:
        """Say nothing more: whoever asked was told."""

    def follow(self) -> None:
        """Look at the file, and serve by it."""
        with self._following:
            self._governor.look()
            refused = self._governor.note.refused
            self.trouble = (
                None if refused is None else f"refused, so the earlier content is served: {refused}"
            )
            self.store.supersede(self.name)
            self._read_at = time.monotonic()
            with self._lock:
                self._seek(None)

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                self.store.beacon(self.name).reopen()
                self.follow()
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                self._complain(log.described(error))

    def _seek(self, wanted: int | None) -> bool:  # noqa: ARG002 - whatever is signalled, all there is is looked at
        """Serve by what the file says and this host holds against it."""
        held = self.store.override(self.name)
        self._install(overridden(self._governor.note.commit, held))
        if held != self._held:
            self._say_override(held)
            self._held = held
        return True

    def _install(self, commit: Commit) -> None:
        if commit is not self._commit and commit != self._commit:
            self._table = commit.state.compile()
            self._commit = commit

    def _say_override(self, held: object) -> None:
        commit = self._commit
        facts = {"rollout": self.name, "revision": commit.revision}
        if held is None:
            log.event("rollout.override_ended", "warning", **facts)
            return
        who = {"action": commit.action, "author": commit.author, "reason": commit.reason}
        hint = "it holds on this host, until the file changes or `bento-rollout resume`"
        log.event("rollout.overridden", "warning", **facts, **who, hint=hint)
