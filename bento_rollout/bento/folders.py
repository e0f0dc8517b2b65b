"""A request's folder for files in a candidate's process, where BentoML's middleware does not clear it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import Any

from bentoml._internal.context import _request_var, request_tempdir_pool

__all__ = ["release_folder"]

KEPT = 60.0
"""Seconds that a folder stays after an answer that may name a file in it: the worker reads that."""


def release_folder(loop: asyncio.AbstractEventLoop, answer: Any = None, *, ended: bool = True) -> None:
    """Let go of the folder of this context's request, if one was asked for; from any thread.

    Args:
        loop: the process's.
        answer: what was answered; None: nothing that may name a file.
        ended: whether the call is over; a thread of one that was cancelled may still write.
    """
    request = _request_var.get(None)
    folder = None if request is None else (request.scope.get("state") or {}).pop("temp_dir", None)
    if folder is None:
        return
    if ended and (type(answer) in _PLAIN or type(answer).__module__ == "numpy"):
        with contextlib.suppress(OSError):
            request_tempdir_pool.release(folder)
        return
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(loop.call_later, KEPT, _remove, folder)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
