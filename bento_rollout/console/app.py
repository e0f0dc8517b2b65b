"""`console_app`: the console as an ASGI app, mounted in the service beside the operators' routes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ..admin.people import People
from ..admin.rooted import Rooted
from ..operations import Rollout
from ..reviewing import Case, Given
from ..store.reviews import Reviews
from ..telemetry.log import event
from .adjudication import Adjudication
from .assets import Assets
from .doorway import HEADERS, SECURITY, Tries, is_ours
from .ladder import Ladder
from .overview import overview
from .quality import Quality
from .rendering import Pages
from .review import LEASE, Review
from .sessions import COOKIE, Sessions
from .trail import TrailPage
from .visiting import Door, Endpoint, Work

__all__ = ["console_app"]

NOT_KEPT = (
    "The browser did not keep the session, because this address is not secure. Open the console over https, "
    "or on the machine itself as http://localhost or http://127.0.0.1."
)


def console_app(
    opened: Callable[[], Rollout],
    reviews: Callable[[], Reviews | None],
    people: People,
    prefix: str,
    make: Callable[[Case, Given], tuple[str, bytes]],
    *,
    key: Callable[[], bytes] | None = None,
    lease: float = LEASE,
) -> Starlette:
    """Return the ASGI app that serves everything below ``prefix/console``; closed until there is a token.

    Args:
        opened: opens the rollout; called once, in a worker thread, when the first person comes.
        reviews: the queue of cases; None where nothing is automated.
        people: who may come in, and what they may do.
        prefix: what the paths begin with, like ``/rollout``.
        make: makes the answer that a caller gets of a choice; what it raises is told to the reviewer.
        key: returns the secret that signs sessions, the same in every worker (`sessions.key_in`); None: a
            random one, which other workers do not know.
        lease: seconds that a case stays in somebody's hands without a sign of life.
    """
    assets, base, secret = Assets(), f"{prefix}/console", secrets.token_bytes(32)
    door = Door(
        people,
        Sessions(key or (lambda: secret)),
        Pages(base, assets),
        _Opened(opened),
    )
    routes: list[BaseRoute] = [
        *_Login(door, base).routes(),
        Route(f"{base}/static/{{version}}/{{name}}", _static(door, assets)),
    ]
    reads: dict[str, Work] = {"": overview}
    acts: dict[str, Work] = {}
    for part in (
        Review(reviews, make, lease=lease),
        Adjudication(reviews, make, lease=lease),
        Quality(reviews),
        Ladder(reviews, people),
        TrailPage(reviews),
    ):
        reads |= part.reads
        acts |= part.acts
    routes += [Route(f"{base}{path}", door.page(work)) for path, work in reads.items()]
    routes += [
        Route(f"{base}{path}", door.page(work, unsafe=True), methods=["POST"]) for path, work in acts.items()
    ]
    rooted = [Middleware(Rooted)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unknown(door)}, middleware=rooted)
    app.router.redirect_slashes = False
    return app


class _Opened:
    """The rollout, opened at its first use; safe to use from several threads."""

    def __init__(self, opened: Callable[[], Rollout]) -> None:
        self._open = opened
        self._rollout: Rollout | None = None
        self._lock = threading.Lock()

    def __call__(self, author: str) -> Rollout:
        with self._lock:
            if self._rollout is None:
                self._rollout = self._open()
            return self._rollout.acting_as(author)


class _Login:
    """Tokens are shown once here, for a cookie."""

    def __init__(self, door: Door, base: str) -> None:
        self._door, self._base, self._tries = door, base, Tries()
        self._said: str | None = None

    def routes(self) -> list[BaseRoute]:
        base = self._base
        return [
            Route(f"{base}/login", self._ask),
            Route(f"{base}/login", self._enter, methods=["POST"]),
            Route(f"{base}/entered", self._entered),
            Route(f"{base}/logout", self._leave, methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        if (closed := self._door.closed()) is not None:
            return closed
        if self._door.known(request) is not None:
            return RedirectResponse(self._door.base, 303, HEADERS)
        return self._form()

    async def _enter(self, request: Request) -> Response:
        door = self._door
        if (closed := door.closed()) is not None:
            return closed
        address = request.client.host if request.client else ""
        if wait := self._tries.wait(address):
            answer = self._form(f"Too many attempts. Try again in {wait} seconds.", 429)
            answer.headers["Retry-After"] = str(wait)
            return answer
        form = await door.form_of(request)
        if isinstance(form, Response):
            return form
        token = form.get("token", "").strip().encode()
        person = await door.run(lambda: door.people.by_token(token))
        self._tell(door.people.problem)
        if person is None:
            self._tries.failed(address)
            event("console.login_refused", "warning", address=address)
            return self._form("This token is not known here. Each person has one of their own.", 401)
        response = RedirectResponse(f"{door.base}/entered", 303, HEADERS)
        door.keep(response, door.sessions.open(person.name, door.people.mark_of(token)))
        return response

    async def _entered(self, request: Request) -> Response:
        """Lead on who has the cookie now, and say why to others."""
        if (closed := self._door.closed()) is not None:
            return closed
        if self._door.known(request) is None:
            return self._door.said(400, "Logged in, but not for long", NOT_KEPT)
        return RedirectResponse(self._door.base, 303, HEADERS)

    async def _leave(self, request: Request) -> Response:
        """Forget the cookie; needs no form token: whoever comes from our own page may leave."""
        if not is_ours(request):
            return self._door.said(
                403, "This did not come from the console", "Open the console, and do it there."
            )
        response = RedirectResponse(f"{self._door.base}/login", 303, HEADERS)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return response

    def _form(self, error: str = "", status: int = 200) -> Response:
        context = {"error": error, "person": None, "session": None, "here": "login"}
        return HTMLResponse(self._door.pages("login.html", context), status, HEADERS)

    def _tell(self, problem: str | None) -> None:
        if problem is not None and problem != self._said:
            event("console.closed", "error", problem=problem)
        self._said = problem


def _static(door: Door, assets: Assets) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if (closed := door.closed()) is not None:
            return closed
        answer = assets.answer(request)
        answer.headers.update(SECURITY)
        return answer

    return endpoint


def _unknown(door: Door) -> Callable[[Request, Exception], Response]:
    def answer(_: Request, error: Exception) -> Response:
        if (closed := door.closed()) is not None:
            return closed
        status = error.status_code if isinstance(error, HTTPException) else 500
        return door.said(
            status, "There is no such page", "The address may be mistyped, or the page has moved."
        )

    return answer
