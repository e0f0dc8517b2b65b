"""`Visit`: a request of somebody who came in; `Page`: what is answered; `Door`: lets in, and answers."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from ..admin.people import People, Person
from ..admin.reading import BodyTooLarge, read_body
from ..admin.rooted import ROOT, inner_path
from ..errors import RolloutError
from ..operations import Rollout
from ..telemetry.log import event
from .doorway import HEADERS, is_ours, shows_form_token
from .rendering import Pages
from .sessions import COOKIE, LIFE, Session, Sessions

__all__ = ["CLOSED", "Door", "Endpoint", "Goto", "Page", "Visit", "Work"]

CLOSED = (
    "The console is closed: no usable token is configured (BENTO_ROLLOUT_REVIEW_TOKEN, "
    "BENTO_ROLLOUT_REVIEW_TOKEN_FILE, BENTO_ROLLOUT_ADMIN_TOKEN or BENTO_ROLLOUT_ADMIN_TOKEN_FILE).\n"
)
REPEAT = "Open the page again, and repeat what you did."
MAX_FORM, MAX_FIELDS = 1 << 18, 500
AT_ONCE = 8
"""Requests that wait for a store at the same time."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, after the door.

    Attributes:
        person, session: who it is.
        form: the fields of a form, each once; of a GET its query.
        part: whether only the changed part of the page is wanted.
        opened: opens the rollout in this person's name.
        path: what the address holds.
        fresh: the cookie of a session that a proxy's word opened just now; empty: the browser has it already.
        cookies: what else the browser keeps for us.
    """

    person: Person
    session: Session
    form: Mapping[str, str] = field(repr=False)
    part: bool
    opened: Callable[[], Rollout]
    path: Mapping[str, str] = field(default_factory=dict)
    fresh: str = field(default="", repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is rendered.

    Attributes:
        template: of the whole page.
        context: its values.
        part: the template of the part that changes; empty: there is none.
        status: of HTTP.
        cookies: what the browser is to keep until its session ends; an empty value: nothing any more.
    """

    template: str
    context: Mapping[str, Any]
    part: str = ""
    status: int = 200
    cookies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Goto:
    """An answer that leads to another page of the console.

    Attributes:
        path: its address below the base, like ``/review``.
        cookies: as of a page.
    """

    path: str
    cookies: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[Visit], "Page | Goto"]
Endpoint = Callable[[Request], Awaitable[Response]]


class Door:
    """Lets people in, runs what they ask for in a thread, and renders what came of it.

    Args:
        people: who may come in.
        sessions: reads cookies.
        pages: renders.
        opened: opens the rollout for an author.
    """

    def __init__(
        self,
        people: People,
        sessions: Sessions,
        pages: Pages,
        opened: Callable[[str], Rollout],
    ) -> None:
        self.people, self.sessions, self.pages = people, sessions, pages
        self._opened = opened
        self._limiter: CapacityLimiter | None = None

    @property
    def base(self) -> str:
        """The address of the console as the person has it who is answered."""
        return self.pages.base

    def closed(self) -> Response | None:
        """Return what is said while nobody can come in; None: somebody can."""
        return None if self.people.is_open else PlainTextResponse(CLOSED, 403, HEADERS)

    def known(self, request: Request) -> tuple[Person, Session, str] | None:
        """Return who this is, and the cookie of a session that begins; None: nobody we know."""
        session = self.sessions.read(request.cookies.get(COOKIE, ""))
        named = self.people.by_proxy(request.scope)
        if session is not None:
            person = self.people.by_mark(session.mark) if session.mark else named
            if person is not None and person.name == session.name:
                return person, session, ""
        if named is None:
            return None
        cookie = self.sessions.open(named.name)
        session = self.sessions.read(cookie)
        assert session is not None  # it was made just now
        return named, session, cookie

    def page(self, work: Work, *, unsafe: bool = False) -> Endpoint:
        """Return an endpoint that does this work for whoever is let in."""

        async def endpoint(request: Request) -> Response:
            if (closed := self.closed()) is not None:
                return closed
            known = self.known(request)
            if known is None:
                return self._to_login(request)
            person, session, fresh = known
            form: Mapping[str, str] = request.query_params
            if unsafe:
                read = await self.form_of(request)
                if isinstance(read, Response):
                    return read
                if not shows_form_token(session, read.get("csrf")):
                    return self.said(403, "This form is too old", REPEAT)
                form = read
            part = request.headers.get("hx-request") == "true"
            path = dict(request.path_params)
            visit = Visit(
                person, session, form, part, lambda: self._opened(person.name), path, fresh, request.cookies
            )
            return await self._answer(visit, work)

        return endpoint

    async def form_of(self, request: Request) -> dict[str, str] | Response:
        """Return the fields of a form that comes from our own pages, or the refusal."""
        if not is_ours(request):
            return self.said(403, "This did not come from the console", "Open the console, and do it there.")
        try:
            raw = await read_body(request.headers.get("content-length"), request.stream(), MAX_FORM)
            text = raw.decode("ascii")
            return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
        except BodyTooLarge:
            return self.said(413, "This is too long", f"A form has at most {MAX_FORM // 1024} KiB.")
        except (ValueError, ClientDisconnect):
            return self.said(400, "This form could not be read", REPEAT)

    def said(self, status: int, title: str, text: str, **more: str) -> Response:
        """Return a page that only says something."""
        context = {"title": title, "text": text, "person": None, "session": None, "here": "", **more}
        return HTMLResponse(self.pages("said.html", context), status, HEADERS)

    def keep(self, response: Response, cookie: str) -> None:
        """Give a session to the browser."""
        response.set_cookie(
            COOKIE, cookie, max_age=int(LIFE), path="/", secure=True, httponly=True, samesite="strict"
        )

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run what may wait for a store in a thread."""
        if self._limiter is None:  # late: it belongs to the event loop that serves
            self._limiter = CapacityLimiter(AT_ONCE)
        return await to_thread.run_sync(call, limiter=self._limiter)

    def _to_login(self, request: Request) -> Response:
        headers = dict(HEADERS)
        if request.headers.get("hx-request") == "true":  # the whole page must go there, not a part of it
            headers["HX-Redirect"] = f"{self.base}/login"
            return PlainTextResponse("your session is over: log in again", 401, headers)
        if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
            # A strict cookie is not sent when a link from elsewhere was followed: the page asks anew, itself.
            return self.said(
                200, "One moment", "The console opens.", again=f"{ROOT.get()}{inner_path(request.scope)}"
            )
        return RedirectResponse(f"{self.base}/login", 303, headers)

    async def _answer(self, visit: Visit, work: Work) -> Response:
        try:
            found = await self.run(lambda: self._rendered(visit, work))
        except RolloutError as error:
            return self._failed(visit, error.http_status, "This cannot be done now", str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the worker
            event("console.failed", "error", error=type(error).__name__, traceback=_places(error))
            return self._failed(visit, 500, "The console failed", "The log of the service says more.")
        said, html = found
        response: Response
        if isinstance(said, Goto):
            response = RedirectResponse(f"{self.base}{said.path}", 303, HEADERS)
        else:
            response = HTMLResponse(html, said.status, HEADERS)
        for name, value in said.cookies.items():
            life = int(LIFE) if value else 0
            response.set_cookie(
                name, value, max_age=life, path="/", secure=True, httponly=True, samesite="strict"
            )
        if visit.fresh:
            self.keep(response, visit.fresh)
        return response

    def _rendered(self, visit: Visit, work: Work) -> tuple[Page | Goto, str]:
        found = work(visit)
        if isinstance(found, Goto):
            return found, ""
        template = found.part if visit.part and found.part else found.template
        context = {"person": visit.person, "session": visit.session, **found.context}
        return found, self.pages(template, context)

    def _failed(self, visit: Visit, status: int, title: str, text: str) -> Response:
        template = "_said.html" if visit.part else "said.html"
        context = {
            "title": title,
            "text": text,
            "person": visit.person,
            "session": visit.session,
            "here": "",
        }
        return HTMLResponse(self.pages(template, context), status, HEADERS)


def _places(error: BaseException) -> str:
    """Return where an error was raised, without its words: they may hold what a person wrote."""
    return "".join(traceback.format_tb(error.__traceback__))
