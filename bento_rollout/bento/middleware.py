"""The ASGI middleware around the service: its begin, its end, and the way in for requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .site import Site

__all__ = ["App", "Message", "Receive", "RolloutMiddleware", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RolloutMiddleware:
    """Wraps the service's app; BentoML makes one for each worker.

    Args:
        app: the app within.
        site: the decorated service's definition.
    """

    def __init__(self, app: App, site: Site) -> None:
        self._app = self._serve = app
        self._site = site

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            return self._serve(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._lifespan(scope, receive, send)
        return self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start this worker's part after the service has started, and end it before the service ends."""

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._site.stop()
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._serve = await self._site.start(self._app, scope.get("app"))
            await send(message)

        await self._app(scope, receiving, sending)
