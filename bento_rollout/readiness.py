"""Which variants may answer here and now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from .calls import Runner

__all__ = ["Ready"]


class Ready(Collection[str]):
    """The variants that may answer here and now; asked about one at a time, so nothing is listed."""

    __slots__ = ("_held", "_runners")

    def __init__(self, runners: Mapping[str, Runner], held: frozenset[str]) -> None:
        self._runners, self._held = runners, held

    def __contains__(self, name: object) -> bool:
        runner = self._runners.get(name)  # type: ignore[call-overload]  # whatever is asked, it is a name
        return runner is not None and runner.ready and name not in self._held

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._runners if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
