"""What shadows need of BentoML: where a candidate runs for them, how batches and answers are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bentoml.exceptions import BentoMLException
from starlette.responses import Response

from ..telemetry import log
from ..watching import Shadowed
from ..witness import Witness
from .answered import Answered
from .method import Method
from .worker_runner import WorkerRunner

__all__ = ["BentoSurroundings"]

LARGEST = 1 << 26
"""Bytes of a file that is compared, at most."""


class _Elsewhere(Protocol):
    ready: bool
    call: Callable[..., Any]
    stream: Callable[..., AsyncGenerator[Any, None]]


class _Apart:
    """A shadow outside the worker: there it is called as for an answer."""

    def __init__(self, runner: _Elsewhere) -> None:
        self._runner = runner
        self.watch, self.stream = runner.call, runner.stream

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self._runner.ready


class _Twin:
    """The champion beside itself: an instance of its own, made when the first call comes."""

    def __init__(self, make: Callable[[], WorkerRunner]) -> None:
        self._runner = make()
        self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        await self._runner.start()
        if self._runner.state == "failed":
            facts = {"variant": self._runner.name, "error": self._runner.error}
            hint = "the champion cannot be made a second time, so its own noise is not measured"
            log.event("shadow.no_twin", "error", rollout=self._runner.rollout, **facts, hint=hint)

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self._runner.ready

    async def watch(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint."""
        return await self._runner.watch(endpoint, args, kwargs)

    def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint."""
        return self._runner.stream(endpoint, args, kwargs)

    async def close(self) -> None:
        """Let it end."""
        self._starting.cancel()
        await self._runner.close()


class BentoSurroundings:
    """What shadows ask of those who know BentoML.

    Args:
        methods: the decorated service's endpoints.
        runners: by variant.
        twin: makes what runs a variant once more in this worker.
        champion: returns the champion of this moment.
        is_client_error: whether an exception is the caller's fault.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        runners: Mapping[str, Any],
        twin: Callable[[str], WorkerRunner],
        champion: Callable[[], str],
        is_client_error: Callable[[BaseException], bool],
    ) -> None:
        self._methods, self._runners = methods, runners
        self._make_twin, self._champion, self._is_client_error = twin, champion, is_client_error
        self._twins: dict[str, _Twin] = {}
        self._once = log.Once()

    def runner(self, name: str) -> Shadowed | None:
        """Return where a shadow runs.

        The champion's own runs in an instance of its own when the champion is in the worker: its threads are
        for callers. Elsewhere there is one place for both, and then it does not run.
        """
        runner = self._runners.get(name)
        if runner is None:
            return None
        if not isinstance(runner, WorkerRunner):
            if name != self._champion():
                return _Apart(runner)
            self._say_no_place(runner)
            return None
        if name != self._champion():
            return runner
        if name not in self._twins:
            self._twins[name] = _Twin(lambda: self._make_twin(name))
        return self._twins[name]

    def _say_no_place(self, runner: Any) -> None:
        """Say that the champion has no place for its own shadow: there it would take its callers'."""
        facts = {"rollout": runner.rollout, "variant": runner.name, "runs": runner.kind}
        hint = (
            "the champion's own noise is measured where it runs in the worker: elsewhere a call that hangs "
            "would take what its callers need; the calls are counted as unavailable"
        )
        self._once.say(runner.name, "shadow.no_place", "warning", **facts, hint=hint)

    def refusal(self, error: BaseException) -> str | None:
        """Return in words what the caller did wrong, when that is what an error says."""
        if not self._is_client_error(error):
            return None
        if isinstance(error, Answered) and error.response is not None:
            return str(error.response.status_code)
        assert isinstance(error, BentoMLException)  # nothing else is the caller's
        return str(error.error_code.value)

    def plain(self, answer: Any) -> Any:
        """Return an answer as what can be compared: a response as its parts, a file as its bytes.

        Raises:
            OSError: the file is gone.
            ValueError: it is too large.
        """
        if isinstance(answer, Response):
            body = getattr(answer, "body", None)
            if body is None:
                raise ValueError("a streamed response has no body")
            return {"status": answer.status_code, "type": answer.media_type, "body": bytes(body)}
        if isinstance(answer, Path):
            if answer.stat().st_size > LARGEST:
                raise ValueError("a file that is too large")
            return answer.read_bytes()
        return answer

    def merged(
        self, endpoint: str, witnesses: Sequence[Witness], *, copy: bool
    ) -> tuple[Sequence[Any], Mapping[str, Any], Any]:
        """Return the arguments of a batch, and what tells how to take its answer apart."""
        from .batching import merge  # BentoML's containers are slow to import

        inputs = [witness.input(copy=copy) for witness in witnesses]
        values = [next(iter((*args, *kwargs.values()))) for args, kwargs in inputs]
        batch, cuts = merge(self._methods[endpoint], values)
        args, kwargs = inputs[0]
        return ([batch], {}, cuts) if args else ([], dict.fromkeys(kwargs, batch), cuts)

    def parted(self, endpoint: str, answer: Any, cuts: Any) -> Sequence[Any]:
        """Return the answers of a batch's requests."""
        from .batching import part

        return part(self._methods[endpoint], answer, cuts)

    async def close(self) -> None:
        """Let the twins end."""
        for twin in self._twins.values():
            await twin.close()
