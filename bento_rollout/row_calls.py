"""One request whose rows go to several variants: groups side by side, only failed rows answered again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .calls import Call
from .copying import copied
from .records import Observation, Outcome, Plan, Reason
from .router import Router
from .rows import Misfit, check_rows, gather, groups_of, index_of, row_count, take

__all__ = ["Batch", "RowCall"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of a request whose rows are split: ``split`` names those that are cut row by row.

    Attributes:
        args, kwargs: as the endpoint got them.
        split: keyword names, or positions in ``args``.
        index: of the frame that holds the keys, if it is one.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    split: frozenset[str | int]
    index: Any = None

    def of(self, rows: tuple[int, ...]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments with only these rows; what is cut is a new list, array or frame."""
        args = [take(value, rows) if at in self.split else value for at, value in enumerate(self.args)]
        kwargs = {name: take(v, rows) if name in self.split else v for name, v in self.kwargs.items()}
        return args, kwargs

    @classmethod
    def around(
        cls, args: Sequence[Any], kwargs: Mapping[str, Any], owner: str | int, *, parallel: bool
    ) -> Batch:
        """Return the batch whose rows are those of ``owner``; ``parallel``: of all that is as long."""
        split: set[str | int] = {owner}
        keyed = args[owner] if isinstance(owner, int) else kwargs[owner]
        if parallel:
            count = row_count(keyed)
            split |= {name for name, value in kwargs.items() if row_count(value) == count}
            split |= {index for index, value in enumerate(args) if row_count(value) == count}
        return cls(args, kwargs, frozenset(split), index_of(keyed))


@dataclass(slots=True)
class _Part:
    """What one group of rows came to; its observation waits until it is known whether the rows fit."""

    plan: Plan
    rows: tuple[int, ...]
    answer: Any = None
    error: BaseException | None = None
    fact: Observation | None = None


@dataclass(slots=True)
class RowCall:
    """One request on its way to several variants, row by row.

    Attributes:
        router: runs the groups.
        call: the request.
        plans: who serves each row; at least one.
        batch: what the endpoint was called with.
        valid: raises when a candidate's answer is not what the endpoint promises.
    """

    router: Router
    call: Call
    plans: list[Plan]
    batch: Batch
    valid: Callable[[Any], Any]
    _champion: str = field(init=False)
    _later: list[Observation] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._champion = self.router.champion

    async def answer(self) -> Any:
        """Return the whole answer, rows in the order of the request.

        Rows whose candidate failed, or answered what cannot stand beside the champion's rows, are answered by
        the champion, unless the spec says ``fallback: none``.
        """
        self.call.plans = tuple(self.plans)
        groups = groups_of(self.plans)
        parts = [_Part(self.plans[group.rows[0]], group.rows) for group in groups]
        try:
            await asyncio.gather(*(self._run(part) for part in parts))
            for part in parts:
                if part.error is None:
                    continue
                if self._is_final(part) or not isinstance(part.error, Exception):
                    raise part.error
                self.router.say_fallback(self.call, part.plan, part.error)
            self._watch(parts)
            return await self._together(parts)
        finally:
            for part in parts:
                if part.fact is not None:
                    self.router.runs.tell(self.call, part.fact)
            for fact in self._later:  # what was answered again comes after what had failed
                self.router.runs.tell(self.call, fact)

    def _watch(self, parts: Sequence[_Part]) -> None:
        """Let those who shadow rows see what the champion made of them."""
        shadows = self.router.shadows
        if shadows is None or self.call.row_watch is None:
            return
        champion = "" if self.call.watch is None else self.call.watch[0]
        ours = next((part for part in parts if part.plan.variant == champion and part.error is None), None)
        if ours is None:
            shadows.watch_rows(self.call, parts[0].plan, self.batch.of, (), None, 0.0)
            return
        whole = row_count(ours.answer) == len(ours.rows)
        seconds = 0.0 if ours.fact is None else ours.fact.seconds
        shadows.watch_rows(
            self.call, ours.plan, self.batch.of, ours.rows if whole else (), ours.answer, seconds
        )

    async def _run(self, part: _Part) -> None:
        def held(fact: Observation) -> None:
            part.fact = fact

        args, kwargs = self.batch.of(part.rows)
        candidate = part.plan.variant != self._champion
        finish = self._fitting(len(part.rows)) if candidate else None
        if candidate:  # what it does to the rows (or to what all groups share) is its own affair
            args, kwargs = copied(args, kwargs)
        try:
            part.answer = await self.router.runs.run(
                self.call, part.plan, args, kwargs, finish, isolated=candidate, rows=part.rows, offer=held
            )
        except Exception as error:  # noqa: BLE001 - `answer` decides whether it is the caller's
            part.error = error

    def _fitting(self, count: int) -> Callable[[Any, str], Any]:
        async def fits(answer: Any, _: str) -> Any:
            check_rows(answer, count)
            self.valid(answer)
            return answer

        return fits

    def _is_final(self, part: _Part) -> bool:
        if (
            part.plan.variant == self._champion
            or self.router.spec.limits(part.plan.variant).fallback == "none"
        ):
            return True
        return part.error is not None and self.router.is_client_error(part.error)

    async def _together(self, parts: Sequence[_Part]) -> Any:
        """Join what came; the champion's rows decide kind and dtype, and who does not fit gives way."""
        good = [part for part in parts if part.error is None]
        if len(good) == 1 and len(parts) == 1:
            return good[0].answer
        failed = tuple(sorted(row for part in parts if part.error is not None for row in part.rows))
        ours = next((part for part in good if part.plan.variant == self._champion), None)
        if ours is not None and row_count(ours.answer) != len(ours.rows):
            return await self._whole(
                [part for part in good if part is not ours]
            )  # it does not answer by rows
        if failed:
            good.append(await self._again(failed))
        reference = ours or (good[-1] if failed else good[0])
        whole, misfits = gather([(p.rows, p.answer) for p in good], good.index(reference), self.batch.index)
        if not misfits:
            return whole
        for index in misfits:
            self._misfit(good[index])
        rows = tuple(sorted(row for index in misfits for row in good[index].rows))
        kept = [part for index, part in enumerate(good) if index not in misfits]
        return await self._refitted(kept, await self._again(rows))

    async def _refitted(self, kept: list[_Part], last: _Part) -> Any:
        """Join again with the champion's rows as the measure; if even those do not fit it answers all."""
        parts = [(part.rows, part.answer) for part in (*kept, last)]
        whole, misfits = gather(parts, len(kept), self.batch.index)
        return await self._whole(kept) if misfits else whole

    async def _whole(self, given_up: Sequence[_Part]) -> Any:
        for part in given_up:
            self._misfit(part)
        return (await self._again(tuple(range(len(self.plans))))).answer

    def _misfit(self, part: _Part) -> None:
        if part.fact is not None and part.plan.variant != self._champion:
            part.fact = part.fact._replace(outcome=Outcome.ERROR, error=Misfit.__name__)
            if self.router.spec.limits(part.plan.variant).fallback == "none":
                raise Misfit(f"the rows of variant {part.plan.variant!r} do not fit beside the champion's")

    async def _again(self, rows: tuple[int, ...]) -> _Part:
        """Let the champion answer rows; those that it was asked for anyway keep their reason."""
        plan = self.router.stand_in(Reason.FALLBACK)
        for row in rows:
            if self.plans[row].variant != plan.variant:
                self.plans[row] = plan
        self.call.plans = tuple(self.plans)
        args, kwargs = self.batch.of(rows)
        answer = await self.router.runs.run(
            self.call, plan, args, kwargs, None, rows=rows, offer=self._later.append
        )
        return _Part(plan, rows, answer)
