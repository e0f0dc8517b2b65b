"""Runs a candidate in a BentoML service of its own, which the server starts beside the champion's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from bentoml._internal.configuration.containers import BentoMLContainer
from multidict import CIMultiDict
from opentelemetry import propagate

from .remote import IDLE, PROBE, Remote
from .replies import OF_THE_CONNECTION, described, in_text

__all__ = ["ServiceRunner", "where"]

SILENCE = 10.0
"""Seconds that a service which answered before may be silent: it may be busy."""

SUSPICION = 1.0
"""Seconds that it may be silent when it has hung up, or was not ready before: it may be dead."""

LATE = 60.0
"""Seconds after which a service that has not answered yet is `unready`, and no longer `starting`."""


def where(service: Any) -> str | None:
    """Return the address of a service that is served beside this one; None: there is none in this process."""
    return BentoMLContainer.remote_runner_mapping.get().get(service.name)


class ServiceRunner(Remote):
    """One variant in a service of its own.

    The whole head of a request reaches it, credentials included: it is a part of this service. Inputs and
    answers are pickled, as ``bentoml.depends`` does it.
    """

    kind = "service"
    pickled = True
    most = 1 << 28

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began = time.monotonic()
        self._asker: aiohttp.ClientSession | None = None
        self._cut, self._gone, self._heard, self._well = True, False, False, False
        self._good_at = self._began
        self._young: list[tuple[float, Any]] = []

    @property
    def late(self) -> bool:
        """Whether it has had its time to load its model: it was started by the same server as this worker."""
        return time.monotonic() - self._began > LATE

    @property
    def _place(self) -> Any:
        return urlsplit(where(self.definition.service) or "")

    def connector(self) -> aiohttp.BaseConnector:
        """Return what connects to it: over the socket that the server made, or to another host."""
        return self._connector(limit=0, keepalive_timeout=IDLE)

    def _connector(self, **options: Any) -> aiohttp.BaseConnector:
        place = self._place
        if place.scheme == "file":
            return _Socket(self._note, unquote(place.path), **options)
        return _Host(self._note, **options)

    def _note(self, connection: Any) -> None:
        """Remember a connection until the next good answer: nobody may have taken it on the other side."""
        self._young.append((time.monotonic(), connection))

    def address(self, path: str) -> str:
        """Return the URL of a path there."""
        place = self._place
        if place.scheme == "file":
            base = "http://localhost"
        else:
            scheme = "http" if place.scheme == "tcp" else place.scheme
            base = f"{scheme}://{place.netloc}{place.path.rstrip('/')}"
        return f"{base}{path}"

    def heads(self, scope: Mapping[str, Any] | None) -> CIMultiDict[str]:
        """Return the request's own headers, and where this call stands in the trace."""
        headers: CIMultiDict[str] = CIMultiDict()
        here = self._place.scheme == "file"
        for name, value in () if scope is None else scope["headers"]:
            key = name.decode("latin-1")
            if key not in OF_THE_CONNECTION or (here and key == "host"):
                headers.add(key, in_text(value))
        trace: dict[str, str] = {}
        propagate.inject(trace)
        headers.update(
            {name: value for name, value in trace.items() if name != "baggage" or name not in headers}
        )
        headers["runner-name"] = self.definition.service.name  # BentoCloud's load balancer looks for it
        return headers

    async def close(self) -> None:
        """Ask no more, and let go of the connections."""
        await super().close()
        if self._asker is not None:
            await self._asker.close()

    async def probe(self) -> str | None:
        """Ask for its ``/readyz``, over a connection that nothing else uses: that it was cut is a first sign.

        The server's arbiter keeps the socket open while a worker is dead or starting: connecting works then,
        and nobody answers. So one that has hung up since the last question is given less time.
        """
        service = self.definition.service
        if where(service) is None:
            return f"no service {service.name!r} is served"
        self._cut, self._heard, began = False, False, time.monotonic()
        asking = asyncio.ensure_future(self._readyz())
        done, _ = await asyncio.wait({asking}, timeout=SUSPICION)
        if not done and self.ready and not self._cut:
            done, _ = await asyncio.wait({asking}, timeout=SILENCE - SUSPICION)
        if done:
            problem = asking.result()
        else:
            asking.cancel()
            problem = (
                f"service {service.name!r} does not answer: it is starting, busy or dead; "
                f"the server's log says more in the lines of [service:{service.name}:…]"
            )
        self._well = problem is None
        if self._well:
            self._good_at, self._gone = began, False
            self._young = [(at, connection) for at, connection in self._young if at >= began]
        elif not self._heard:
            await self._give_up()
        return problem

    async def _give_up(self) -> None:
        """Let calls fail that wait in vain.

        Where it has hung up (it died, or is ending) they are those that came since the last good answer;
        earlier ones have failed when it died, or are still being answered. Where it is silent: all of them.
        """
        young, self._young = self._young, []
        if not self._gone and time.monotonic() - self._good_at > SILENCE - PROBE:
            await self._hang_up()
        for _, connection in young:
            connection.close()

    async def _readyz(self) -> str | None:
        service = self.definition.service
        if self._asker is None:
            cuts = aiohttp.TraceConfig()
            cuts.on_connection_create_start.append(self._say_cut)
            connector = self._connector(limit=1, keepalive_timeout=10 * PROBE)
            self._asker = aiohttp.ClientSession(connector=connector, trace_configs=[cuts])
        path = service.config.get("endpoints", {}).get("readyz", "/readyz")
        try:
            async with self._asker.get(self.address(path), allow_redirects=False) as answer:
                self._heard = True
                await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            return f"service {service.name!r} cannot be reached: {described(error)}"
        if answer.status != HTTPStatus.OK:
            return f"service {service.name!r} says that it is not ready ({answer.status})"
        return None

    async def _say_cut(self, *_: Any) -> None:
        self._cut = True
        self._gone = self._gone or self._well


class _Noting(aiohttp.BaseConnector):
    """A connector that tells of each connection that it makes."""

    def __init__(self, note: Callable[[Any], None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._note = note

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super()._create_connection(*args, **kwargs)
        self._note(connection)
        return connection


class _Socket(_Noting, aiohttp.UnixConnector):
    """Connects to a socket on this host."""


class _Host(_Noting, aiohttp.TCPConnector):
    """Connects to another host."""
