"""A request's state for code that may outlive the request: its folder for files is nobody else's."""

from __future__ import annotations

import contextlib
import queue
import shutil
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import State

__all__ = ["CandidateState", "Folder", "ShadowState"]


class Folder:
    """A folder for files; it goes when nothing refers to it any more, wherever that happens.

    Attributes:
        path: the folder; None until it is asked for.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        if path is not None:
            _SWEEPER.begin()

    def get(self) -> str:
        """Return the path of the folder, which there is from now on."""
        if self.path is None:
            self.path = tempfile.mkdtemp(prefix="bento-rollout-apart-")
            _SWEEPER.begin()
        return self.path

    def end(self) -> None:
        """Take the folder away; there may be another one later."""
        path, self.path = self.path, None
        if path is not None:
            _SWEEPER.take(path)

    def __del__(self) -> None:
        self.end()


class _Sweeper:
    """Takes folders away, in a thread of its own: they may be large, and whoever lets go may be the loop."""

    def __init__(self) -> None:
        # The one queue that may be used wherever an object may end: in the middle of a lock, too.
        self._paths: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._begun = False

    def begin(self) -> None:
        """Begin, if it has not: not every place where an object ends is one to start a thread in."""
        if not self._begun:
            with contextlib.suppress(RuntimeError):  # no more threads; the next folder begins it
                threading.Thread(target=self._run, name="bento-rollout-sweeper", daemon=True).start()
                self._begun = True

    def take(self, path: str) -> None:
        """Take a folder away, some time."""
        self._paths.put(path)

    def _run(self) -> None:
        while True:
            shutil.rmtree(self._paths.get(), ignore_errors=True)


_SWEEPER = _Sweeper()


class CandidateState(State):
    """The request's state, for a candidate: the same, but for the folder once nobody waits for it.

    What has been given up may go on in a thread for as long as it likes. Meanwhile the champion writes its
    own files, and BentoML gives the request's folder to another request.

    Args:
        state: the request's.
        apart: whether the folder is its own from the beginning.
    """

    _folder: Folder | None

    def __init__(self, state: dict[str, Any], *, apart: bool) -> None:
        super().__init__(state)
        object.__setattr__(self, "_folder", Folder() if apart else None)

    def __getattr__(self, name: Any) -> Any:
        if name == "temp_dir" and (folder := self._folder) is not None:
            return folder.get()
        return super().__getattr__(name)

    def __setattr__(self, name: Any, value: Any) -> None:
        with _PARTING:
            if name == "temp_dir" and self._folder is not None:
                self._folder.path = value
            else:
                super().__setattr__(name, value)

    def part(self) -> Folder:
        """Keep the folder that the request had so far, and leave it none; return what holds it."""
        with _PARTING:
            folder = Folder(self._state.pop("temp_dir", None))
            object.__setattr__(self, "_folder", folder)
        return folder


_PARTING = threading.Lock()
"""Held for a moment, while a state's folder changes hands."""


class ShadowState(State):
    """The state of a shadow's request: what the request's was, and a folder of its own.

    The request's own folder is another request's by then.

    Args:
        state: the request's.
    """

    _folder: Folder

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in state.items() if name != "temp_dir"})
        object.__setattr__(self, "_folder", Folder())

    def __getattr__(self, name: Any) -> Any:
        return self._folder.get() if name == "temp_dir" else super().__getattr__(name)

    def end(self) -> None:
        """Take the folder away."""
        self._folder.end()
