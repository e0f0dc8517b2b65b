"""Copies a call's input, so that the champion gets what the caller sent, whatever a candidate did to it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .duplicates import duplicate

__all__ = ["UPLOADS", "copied"]

UPLOADS = "bentoml-request-"
"""What BentoML calls the folders that hold a request's files, and that it clears when the request is over."""


def copied(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the input as the champion must get it should the candidate fail, whatever that did to it.

    A file that was sent is copied beside itself. What cannot be copied (an open connection) is shared.
    """
    return [_copy(value) for value in args], {name: _copy(value) for name, value in kwargs.items()}


def _copy(value: Any) -> Any:
    try:
        if isinstance(value, Path):
            return _copied_file(value)
        return duplicate(value)
    except BaseException:  # noqa: BLE001 - not everything can be copied (an open file): then it is shared;
        # an input whose copy exits must not end the server, and no Ctrl-C is raised here
        return value


def _copied_file(path: Path) -> Path:
    if not path.parent.name.startswith(UPLOADS) or not path.is_file():
        return path
    folder = tempfile.mkdtemp(dir=path.parent)
    return Path(shutil.copy2(path, Path(folder, path.name)))
