"""Makes a variant's threads what BentoML's are: `anyio.from_thread` leads back to the server's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from anyio._core._eventloop import claim_worker_thread, get_async_backend, threadlocals

__all__ = ["anyio_worker"]


def anyio_worker() -> Callable[[], AbstractContextManager[None]]:
    """Return what a thread enters to be an AnyIO worker thread of the running loop.

    A sync endpoint that calls another service (``bentoml.depends``) or ``to_sync`` needs it. AnyIO's own
    worker threads are no daemons: one that hangs holds the exit of the process, so a candidate cannot have
    them.
    """
    loop = asyncio.get_running_loop()

    @contextmanager
    def claimed() -> Generator[None, None, None]:
        backend = get_async_backend("asyncio")  # imported by the first thread: not every service has one
        with claim_worker_thread(backend, loop):
            scope = backend.create_cancel_scope()  # never cancelled: a call that is late is abandoned
            threadlocals.current_cancel_scope = scope
            try:
                yield
            finally:
                del threadlocals.current_cancel_scope

    return claimed
