"""What one worker does to lead a rollout: it moves it by evidence, and tells whoever wants to know."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ..committing import Desk
from ..controller import Controller
from ..deciding import EVIDENCE
from ..decision import Decision
from ..errors import RolloutError
from ..late import Late
from ..notifier import Notifier
from ..operations import Rollout
from ..store import RolloutStore
from ..store.location import locate
from ..store.told import ToldFile
from .judges import judges_of

if TYPE_CHECKING:
    from .site import Site

__all__ = ["Leading"]


class Leading:
    """One worker's readiness to lead; one of all workers does.

    Args:
        site: the rollout as it was defined; its spec has a strategy, or a try runs.
        store: where its revisions are.
        loop: what async receivers of notices run on.
    """

    def __init__(self, site: Site, store: RolloutStore, loop: asyncio.AbstractEventLoop) -> None:
        self._desk = Desk(site.name, store, locate(), EVIDENCE)
        self._rollout = Rollout(site.name, store, locate(), EVIDENCE)
        place, spec = store.place(site.name), site.spec
        sticky = [name for name in site.methods if spec.routing.sources(name)]
        late = Late(place, spec.labels, judges_of(spec), sticky, site.name)
        self._file, self._receivers, self._loop = ToldFile(place), site.notify, loop
        self._notifier: Notifier | None = None
        self._controller = Controller(
            self._desk,
            self._decided,
            sticky=bool(sticky),
            sources=late,
            follow=self._follow,
            code=site.code,
        )

    def start(self) -> None:
        """Take part from now on."""
        self._controller.start()

    def stop(self) -> None:
        """Let another worker lead."""
        self._controller.stop()
        if self._notifier is not None:
            self._notifier.close()

    def _decided(self, decision: Decision, revision: int) -> None:
        self._rollout.decided(decision, after_revision=revision)

    def _follow(self) -> None:
        """Tell of what is new; a history that cannot be read is told of later."""
        if not self._receivers:
            return
        if self._notifier is None:  # only who leads needs one
            self._notifier = Notifier(self._receivers, self._file, self._loop)
        with suppress(RolloutError):
            revision = self._desk.read().revision
            if number := self._notifier.behind(revision):
                self._notifier.follow(self._desk.history(number))
