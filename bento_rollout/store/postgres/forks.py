"""Closes connections in forked children: a copy that stays open keeps a dead parent's session alive."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress

import psycopg

from .connection import Raw

__all__ = ["watch"]

_WATCHED: weakref.WeakSet[Raw] = weakref.WeakSet()


def watch(raw: Raw) -> Raw:
    """Close a connection in every child that is forked from now on; return it.

    Else the server sees no end of it when its process is killed, and goes on to hold its locks and its
    transaction for it, as long as a child lives.
    """
    _WATCHED.add(raw)
    return raw


def _close_all() -> None:
    """Close the descriptors; the server hears nothing, and the sessions are their parent's as before."""
    for raw in list(_WATCHED):
        with suppress(psycopg.Error, OSError):
            os.close(raw.fileno())
    _WATCHED.clear()


os.register_at_fork(after_in_child=_close_all)
