"""What a service follows: a store, or a file that governs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..contact import Contact
from ..errors import InvalidSpec
from ..feed import Feed
from ..governor import GovernedFeed, Governor, file_commit
from ..opening import check_champion, open_state, open_store
from ..spec import RolloutSpec
from ..state import RolloutState
from ..store import RolloutStore
from ..store.governed import GovernedStore, Note, forget_note
from ..store.location import locate
from ..store.sqlite import SQLiteStore
from ..telemetry import log
from .fitting import check_spec
from .spec_file import hand_down

if TYPE_CHECKING:
    from .site import Site

__all__ = ["begin_governed", "followed", "newest_spec"]

PATIENCE = 2.0
"""Seconds that a verb over HTTP waits for another one's lock."""


def followed(
    site: Site, digests: Mapping[str, str], ready: Callable[[str], bool]
) -> tuple[RolloutStore, Feed]:
    """Return what a worker follows, and what it serves by.

    Args:
        site: the rollout as it was defined.
        digests: what each variant is.
        ready: whether a variant can answer in this worker.
    """
    location, name = locate(), site.name
    if site.spec.authority == "spec" and site.file is not None:
        return _governed(site, site.file, location.path, digests, ready)
    store = open_store(location)
    forget_note(GovernedStore(location.path).place(name))
    feed = Feed(store, open_state(store, name, site.champion, site.spec, digests))
    if (signal := store.beacon(name)).contacted is not None:
        feed.contact = Contact(name, signal, site.spec.lease, site.spec.on_stale)
    return store, feed


def _governed(
    site: Site, file: Path, path: Path, digests: Mapping[str, str], ready: Callable[[str], bool]
) -> tuple[GovernedStore, GovernedFeed]:
    def fits(spec: RolloutSpec, state: RolloutState) -> None:
        try:
            check_spec(spec, site.methods, tuple(site.definitions))
        except InvalidSpec as error:
            raise InvalidSpec(f"{file}: {error}") from None
        if not ready(state.champion):
            raise InvalidSpec(f"{file}: champion: {state.champion!r} is not ready in this worker")

    place = SQLiteStore(path).place(site.name)
    governor = Governor(file, site.name, site.champion, digests, site.spec, fits, site.text, place)

    def noted(_: str) -> Note:
        return governor.note

    store = GovernedStore(path, noted, patience=PATIENCE)
    return store, GovernedFeed(store, governor, site.name)


def newest_spec(site: Site, feed: Feed | None) -> RolloutSpec:
    """Return what a service is asked for now: by its code, or by the file that governs."""
    return feed.spec if isinstance(feed, GovernedFeed) else site.spec


def begin_governed(name: str, spec: RolloutSpec, digests: Mapping[str, str], file: Path, text: bytes) -> None:
    """Let the workers begin with one content of the file, and say what governs.

    Raises:
        InvalidSpec: the file does not fit the service.
    """
    hand_down(file, text)
    state = file_commit(file, name, next(iter(digests)), digests, spec, text).state
    check_champion(state, digests)
    facts = {"rollout": name, "store": f"file://{file}", "binds": "every replica that reads it"}
    log.event("rollout.store", **facts, revision=state.revision, champion=state.champion)
