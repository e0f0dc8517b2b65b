"""What differs between two strategies, field by field, in the words of a spec; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .amounts import in_time
from .strategy import Strategy
from .values import shown

__all__ = ["Amendment", "amendments"]

NONE = "none"
"""What stands for a field that one of them does not have."""

_PERCENT = ("weight", "shadow", "holdback")
_TIMES = ("bake", "for", "give_up_after", "key_window", "interval", "matures", "watch")


class Amendment(NamedTuple):
    """One field that two strategies have otherwise.

    Attributes:
        field: the path that leads to it; steps are counted from 1, as everywhere where people read.
        before, after: what each of them has, as a spec writes it; ``none``: nothing.
    """

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field} {self.after} (was {self.before})"


def amendments(before: Strategy, after: Strategy) -> list[Amendment]:
    """Return the fields that differ, in the order of the spec.

    >>> def canary(weight):
    ...     way = {"candidate": "boosted", "steps": [{"weight": weight, "bake": "30m"}]}
    ...     return Strategy.parse({"canary": way, "guardrails": {"error_rate": {"margin": "1pp"}}})
    >>> [str(one) for one in amendments(canary(5), canary(10))]
    ['canary.step 1.weight 10% (was 5%)']
    """
    return list(_between((), before.plain, after.plain))


def _between(path: tuple[str, ...], old: Any, new: Any) -> Iterator[Amendment]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from _between((*path, name), old.get(name), new.get(name))
    elif _steps(old) and _steps(new):
        for number in range(max(len(old), len(new))):
            at = (*path[:-1], f"step {number + 1}")
            yield from _between(at, _at(old, number), _at(new, number))
    else:
        yield Amendment(".".join(path), _written(path, old), _written(path, new))


def _steps(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _at(steps: Sequence[Any], number: int) -> Any:
    return steps[number] if number < len(steps) else None


def _written(path: Sequence[str], value: Any) -> str:
    """Return a value as a spec has it; of a mapping the fields that are given."""
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_written((*path, name), one)}' for name, one in value.items())}}}"
    if type(value) in (int, float):
        if path[-1] in _TIMES and value > 0:
            return in_time(value)
        return f"{value:g}%" if _is_percent(path) else f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else shown(value)


def _is_percent(path: Sequence[str]) -> bool:
    """Whether a number is percent: of traffic; the weight of a guardrail is not."""
    return path[-1] in _PERCENT and path[0] != "guardrails"
