"""Keeps a request's files for those who look at it after the request: a second name for each, no copy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .copying import UPLOADS

__all__ = ["Kept"]


class Kept:
    """A call's arguments whose files outlive the request.

    BentoML clears a request's files when its answer is out. Here each gets a second name in a folder of our
    own (a hard link; a copy where the file system has none), which goes when `drop` is called.

    Args:
        args, kwargs: what the endpoint was called with.

    Raises:
        OSError: a file cannot be kept; then none is.

    Attributes:
        args, kwargs: the same, with the paths of files that stay; the given ones where there is no file.
    """

    __slots__ = ("_folder", "args", "kwargs")

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._folder: str | None = None
        self.args, self.kwargs = args, kwargs
        if any(map(_has_file, args)) or any(map(_has_file, kwargs.values())):
            try:
                self.args = [self._kept(value) for value in args]
                self.kwargs = {name: self._kept(value) for name, value in kwargs.items()}
            except BaseException:  # the disk is full: nobody has what would drop the rest
                self.drop()
                raise

    def drop(self) -> None:
        """Let go of the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _kept(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and _has_file(value):
            return [self._kept(item) for item in value]
        if not _is_upload(value):
            return value
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="bento-rollout-", dir=value.parent.parent)
        target = Path(tempfile.mkdtemp(dir=self._folder), value.name)
        try:
            os.link(value, target)
        except OSError:
            shutil.copy2(value, target)
        return target


def _has_file(value: Any) -> bool:
    """Whether a value is a file that was sent, or a list of them; the first item tells."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return _is_upload(value)


def _is_upload(value: Any) -> bool:
    return isinstance(value, Path) and value.parent.name.startswith(UPLOADS)
