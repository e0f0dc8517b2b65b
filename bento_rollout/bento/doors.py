"""`Doors`: what a worker serves under ``/rollout``: operators', reviewers', callers' routes, the console."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..admin.binding import Binding
from ..admin.rooted import inner_path
from ..errors import InvalidValue
from ..feed import Feed
from ..governor import GovernedFeed
from ..reviewing import Case, Given
from ..telemetry import log
from .middleware import App

if TYPE_CHECKING:
    from ..admin.app import Operators
    from ..admin.people import People as Named
    from ..operations import Rollout
    from .people import People
    from .site import Site

__all__ = ["Doors"]


class Doors:
    """Serves them; each is made when somebody first comes to it.

    Args:
        site: the rollout as it was defined.
        feed: is told of changes that the store did not take.
        people: who asks people in this worker; None: nothing is automated.
    """

    def __init__(self, site: Site, feed: Feed, people: People | None) -> None:
        self._site, self._feed, self._people = site, feed, people
        self._prefix = site.prefix.rstrip("/")
        self._console = f"{self._prefix}/console"
        self._admin_app: App | None = None
        self._operators_app: App | None = None
        self._who: Named | None = None
        self._console_app: App | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        path = inner_path(scope)
        if path == self._console or path.startswith(f"{self._console}/"):
            if self._console_app is None:
                self._console_app = self._made_console()
            await self._console_app(scope, receive, send)
            return
        if self._admin_app is None:
            self._admin_app = self._made_admin()
        await self._admin_app(scope, receive, send)

    async def operators(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request of an operator who has an address of their own to come to."""
        if self._operators_app is None:
            from ..admin.app import operators_app

            needs = self._needs()
            self._operators_app = operators_app(self._opened, prefix=self._prefix, operators=needs)
        await self._operators_app(scope, receive, send)

    def _needs(self) -> Operators:
        from ..admin.app import Operators

        def examined() -> dict[str, Any]:
            from ..examine import examine

            found = examine(served=self._opened() if isinstance(self._feed, GovernedFeed) else None)
            mine = [row for row in found["rollouts"] if row["name"] == self._site.name]
            return {**found, "rollouts": mine}

        return Operators(self._feed.refuse, examined)

    def _made_admin(self) -> App:
        from ..admin import admin_app

        people = self._people
        return admin_app(
            self._opened,
            prefix=self._prefix,
            operators=self._needs() if Binding.from_environment(os.environ) is None else None,
            deciding=None if people is None else people.deciding,
            reviewing=None if people is None else people.reviewing,
            people=None if people is None else self._named(),
        )

    def _made_console(self) -> App:
        from ..console import console_app
        from ..console.review import LEASE
        from ..console.sessions import key_in
        from ..store.location import locate
        from ..store.opened import open_at

        name, people = self._site.name, self._people

        def make(case: Case, given: Given) -> tuple[str, bytes]:
            if people is None or case.endpoint not in people.makers:
                raise InvalidValue(f"endpoint {case.endpoint!r} is not automated any more")
            return people.makers[case.endpoint].make(case, given)

        return console_app(
            self._opened,
            lambda: None if people is None else people.reviews,
            self._named(),
            self._prefix,
            make,
            key=lambda: key_in(open_at(locate()).place(name)),
            lease=min((one.review.lease for one in self._site.spec.automation.values()), default=LEASE),
        )

    def _opened(self) -> Rollout:
        """Open the rollout; one that a file governs by what this worker serves, written down or not."""
        from ..operations import Rollout, default_author, open_rollout
        from ..store.location import locate

        if isinstance(self._feed, GovernedFeed):
            return Rollout(self._site.name, self._feed.store, locate(), default_author())
        return open_rollout(self._site.name)

    def _named(self) -> Named:
        """Return who may come in; proxies that are written wrongly are not believed, and the log says so."""
        from ..admin.people import TRUSTED, People

        roles = {endpoint: one.roles for endpoint, one in self._site.spec.automation.items()}
        if self._who is None:
            try:
                self._who = People.from_environment(os.environ, roles)
            except InvalidValue as error:
                log.event("console.proxies_unusable", "error", rollout=self._site.name, problem=str(error))
                environ = {name: value for name, value in os.environ.items() if name != TRUSTED}
                self._who = People.from_environment(environ, roles)
        return self._who
