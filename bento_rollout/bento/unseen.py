"""`Unseen`: lets a model run for a case that a person decides, and which nobody waits for or sees."""

from __future__ import annotations

import contextvars
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..calls import Call, within
from ..keeping import Kept
from ..records import Observation, Plan
from ..router import Router
from .cases import Cases
from .context import isolate_shadow
from .people import People

__all__ = ["Unseen"]

LONGEST = 300.0
"""Seconds that a model has where nobody waits for it."""


class Unseen:
    """Runs the model at degree shadow: what it says goes to the case, and nowhere else before its answer.

    It begins when the case is kept, so that the answer to the caller depends neither on what it says nor on
    how long it takes. Its code has a request and a response of its own, as a shadow has.

    Args:
        cases: makes suggestions.
        people: keeps them, and says whose turn it is.
        router: lets variants run.
        tell: tells of a call.
    """

    def __init__(self, cases: Cases, people: People, router: Router, tell: Callable[[Call], None]) -> None:
        self._cases, self._people, self._router, self._tell = cases, people, router, tell

    def after(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Callable[[str], None]:
        """Return what lets the model run once a case is kept, whose id it is told."""

        def begin(task: str) -> None:
            try:
                kept = Kept(args, kwargs)
            except OSError:  # no room for a second name of a file: the person decides without the model
                return
            context = contextvars.copy_context()
            if call.deciding is not None:
                call.deciding.running = True
            self._people.behind(
                lambda: self._run(call, plan, kept, task, context), lambda: self._is_over(call, kept)
            )

        return begin

    async def _run(self, call: Call, plan: Plan, kept: Kept, task: str, context: contextvars.Context) -> None:
        """Let the model run for a case; what it says goes to the case, and what it does or raises nowhere."""
        outputs: list[Any] = []
        facts: list[Observation] = []

        async def noting(value: Any, _: str) -> Any:
            outputs[:] = [value]
            return value

        try:
            own = Call(call.endpoint, call.prediction_id, plans=(plan,))
            work = self._router.runs.run(own, plan, kept.args, kept.kwargs, noting, offer=facts.append)
            running, end = context.run(isolate_shadow, work)
            try:
                await within(running, LONGEST)
            except Exception:  # noqa: BLE001 - what it raises may hold what it thinks
                outputs.clear()
            finally:
                end()
            for fact in facts:  # what its code measures, or raises, is what it says
                context.run(self._router.runs.tell, call, fact._replace(measures=(), error=None))
            if outputs:
                says = functools.partial(self._cases.suggestion, outputs[0], plan.variant, time.time())
                await self._people.run(lambda: self._people.suggest(task, says()))
        finally:
            self._is_over(call, kept)

    def _is_over(self, call: Call, kept: Kept) -> None:
        kept.drop()
        if (deciding := call.deciding) is not None:
            deciding.running = False
            if deciding.owed:
                self._tell(call)
