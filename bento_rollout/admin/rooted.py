"""Where a service is as its callers see it: below a path that a proxy, or an app around it, took away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

__all__ = ["ROOT", "Rooted", "inner_path", "root_of"]

ROOT: ContextVar[str] = ContextVar("rollout-root", default="")
"""What the addresses of the request that is being answered begin with for its caller."""

LONGEST = 512
"""Characters of a prefix that is believed."""

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
"""A path below this very host: what begins with two slashes would be another one."""


def root_of(scope: Mapping[str, Any]) -> str:
    """Return what the paths that callers know begin with, before what this service has: like ``/ml``.

    That is what a proxy says that it took away (``X-Forwarded-Prefix``), and then ASGI's ``root_path``. A
    prefix can be no other host, so whoever makes one up leads only themselves astray; one that is no path is
    as none at all.

    Args:
        scope: of an ASGI request.

    >>> root_of({"headers": [(b"x-forwarded-prefix", b"/ml/")], "root_path": "/v1"})
    '/ml/v1'
    >>> root_of({"headers": [(b"x-forwarded-prefix", b"//elsewhere.example")]})
    ''
    """
    told = [value for name, value in scope.get("headers", ()) if name.lower() == b"x-forwarded-prefix"]
    taken = told[0].decode("latin-1").strip().rstrip("/") if len(told) == 1 else ""
    root = str(scope.get("root_path") or "").rstrip("/")
    if taken == root:  # somebody within made the one from the other
        taken = ""
    return "".join(part for part in (taken, root) if len(part) <= LONGEST and _PREFIX.fullmatch(part))


def inner_path(scope: Mapping[str, Any]) -> str:
    """Return a request's path as this service's own routes have it: without ASGI's ``root_path``.

    >>> inner_path({"path": "/v1/rollout/labels", "root_path": "/v1"})
    '/rollout/labels'
    >>> inner_path({"path": "/rollout/labels", "root_path": "/v1"})
    '/rollout/labels'
    """
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class Rooted:
    """ASGI middleware that keeps `root_of` each request in `ROOT`, for whatever writes addresses within.

    Args:
        app: the app within.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        token = ROOT.set(root_of(scope))
        try:
            await self._app(scope, receive, send)
        finally:
            ROOT.reset(token)
