"""On which terms a variant watches: its limits, its comparator, what its comparisons count with; pure."""

from __future__ import annotations

from collections.abc import Mapping

from .comparing import Comparing
from .eras import Era, Series
from .spec import RolloutSpec, Shadow

__all__ = ["Terms"]


class Terms:
    """The terms of all shadows of one rollout.

    A flip exchanges two shadows, and with them their limits: the spec was written for one champion, and holds
    for every other one with the two names exchanged.

    Args:
        rollout: its name.
        spec: the limits of shadows.
        home: the variant whose service is decorated: the champion that the spec was written for.
        digests: what each variant is here.
    """

    def __init__(self, rollout: str, spec: RolloutSpec, home: str, digests: Mapping[str, str]) -> None:
        self.rollout = rollout
        self._spec, self._home, self._digests = spec, home, digests
        self._series: dict[tuple[str, str, int, str], Series] = {}

    def applies(self, name: str, champion: str, endpoint: str) -> bool:
        """Whether a shadow is one that this service has, and is meant for an endpoint."""
        if name not in self._digests:
            return False
        limits = self.limits(name, champion)
        return limits.endpoints is None or endpoint in limits.endpoints

    def limits(self, name: str, champion: str) -> Shadow:
        """Return a shadow's limits beside a champion."""
        if champion != self._home and name in (champion, self._home):
            name = self._home if name == champion else champion
        return self._spec.shadow.get(name) or _DEFAULT

    def comparing(self, name: str, champion: str, endpoint: str) -> Comparing:
        """Return how a shadow is compared; the champion's own as the candidates are, unless it says how."""
        own = self.limits(name, champion)
        if name == champion and "compare" not in own.model_fields_set:
            others = [self.limits(other, champion) for other in self._digests if other != champion]
            named = {one.comparing(endpoint) for one in others if "compare" in one.model_fields_set}
            if len(named) == 1:
                return named.pop()
        return own.comparing(endpoint)

    def series(self, name: str, champion: str, revision: int, endpoint: str) -> Series:
        """Return what comparisons are counted with."""
        key = (name, champion, revision, endpoint)
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= _MOST:
                self._series.clear()
            settings = str(self.comparing(name, champion, endpoint))
            digests = self._digests
            era = Era(champion, digests.get(champion, ""), name, digests.get(name, ""), settings)
            found = self._series[key] = Series(era, revision, endpoint)
        return found


_DEFAULT = Shadow()
_MOST = 1000
"""Series that are remembered: there is one for each revision."""
