"""Runs a candidate in a BentoML service of its own, which the server starts beside the champion's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from bentoml._internal.configuration.containers import BentoMLContainer
from multidict import CIMultiDict
from opentelemetry import propagate

from .remote import IDLE, OF_THE_CONNECTION, PROBE, Remote, described

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
        self._cut = True

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
            return aiohttp.UnixConnector(unquote(place.path), **options)
        return aiohttp.TCPConnector(**options)

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
                headers.add(key, value.decode("latin-1"))
        propagate.inject(headers)
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
        self._cut = False
        asking = asyncio.ensure_future(self._readyz())
        done, _ = await asyncio.wait({asking}, timeout=SUSPICION)
        if not done and self.ready and not self._cut:
            done, _ = await asyncio.wait({asking}, timeout=SILENCE - SUSPICION)
        if done:
            problem = asking.result()
        else:
            asking.cancel()
            problem = (
                f"service {service.name!r} does not answer: it is starting, busy or dead; its log says more"
            )
        if problem is not None and self.ready:
            await self._hang_up()  # whoever waits for it waits in vain
        return problem

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
                await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            return f"service {service.name!r} cannot be reached: {described(error)}"
        if answer.status != HTTPStatus.OK:
            return f"service {service.name!r} says that it is not ready ({answer.status})"
        return None

    async def _say_cut(self, *_: Any) -> None:
        self._cut = True
