"""Stands in for an endpoint whose requests are split row by row; loaded only where one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _bentoml_sdk.io_models import IORootModel

from ..calls import Call
from ..keys import KeySource, quiet_key
from ..records import Plan, Reason
from ..row_calls import Batch, RowCall
from ..rows import keys_in, row_count
from .endpoints import Facade, Noting
from .method import named

__all__ = ["RowsFacade"]


class RowsFacade(Facade):
    """One endpoint of one served instance, with a key for each row.

    Args:
        source: where the rows and their keys are.
        atomic: whether the first row's key decides for all.
        parts, noting: what every endpoint is made of.
    """

    def __init__(self, *parts: Any, source: KeySource, atomic: bool, noting: Noting) -> None:
        super().__init__(*parts, sources=(), noting=noting)
        self._source, self._atomic = source, atomic
        self._row_ids = next((one for one in noting.ids if one.kind == "rows"), None)

    def plan_from_head(self, *_: object) -> tuple[Plan | None, object]:
        """Return nothing: the rows are in the body."""
        return None, None

    async def _answer(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        ctx, source = self._pop_context(kwargs), self._source
        owner: str | int = source.name if source.name in kwargs else self._names.index(source.name)
        batch = named(source.name, self._names, args, kwargs)
        keys = keys_in(batch, source.path) if row_count(batch) else []
        if self._atomic or not keys:
            plan = self._router.plan(call, keys[0] if keys else None)
            if not keys and call.pinned is None:
                plan = self._router.stand_in(Reason.DEFAULT)  # no row, no draw
            self._note(call, args, kwargs, ctx)
            return await self._router.call(call, plan, args, kwargs, self._finish)
        plans = self._router.plan_rows(call, keys)
        self._note_rows(call, args, kwargs, len(keys))
        cut = Batch.around(args, kwargs, owner, parallel=not source.path)
        return await RowCall(self._router, call, plans, cut, self._check).answer()

    def _note_rows(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any], count: int) -> None:
        """Note each row's own id where rows have one; the request's is of no single row."""
        call.inference_ids = (None,) * count
        if (source := self._row_ids) is not None:
            found = keys_in(named(source.name, self._names, args, kwargs), source.path)
            if len(found) == count:
                call.inference_ids = tuple(map(quiet_key, found))
        self._note_inputs(call, args, kwargs)

    def _check(self, value: Any) -> None:
        """Raise when rows are not what the endpoint promises."""
        spec = self.method.output_spec
        if issubclass(spec, IORootModel):
            spec(value)
