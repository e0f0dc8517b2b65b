"""How long a caller wants to be kept waiting: the header ``Prefer`` of RFC 7240; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Preference", "preference"]

_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?")


@dataclass(frozen=True, slots=True)
class Preference:
    """What a caller prefers.

    Attributes:
        at_once: whether an answer that only names the decision's place is welcome (``respond-async``).
        wait: seconds that the caller waits at most; None: as long as the server holds it.
    """

    at_once: bool = False
    wait: float | None = None

    def seconds(self, most: float) -> float:
        """Return how long the call is held, of so many seconds that it can be.

        >>> [preference(text).seconds(60.0) for text in ("", "respond-async", "wait=5", "wait=90")]
        [60.0, 0.0, 5.0, 60.0]
        """
        if self.wait is None:
            return 0.0 if self.at_once else most
        return min(self.wait, most)


def preference(header: str | None) -> Preference:
    """Return what a ``Prefer`` header says; what is not known in it is passed over.

    >>> preference("respond-async, wait=10")
    Preference(at_once=True, wait=10.0)
    >>> preference("handling=lenient")
    Preference(at_once=False, wait=None)
    """
    if not header:
        return _NONE
    at_once, wait = False, None
    for part in header.lower().split(","):
        name = part.split(";")[0].strip()
        if name == "respond-async":
            at_once = True
        elif wait is None and (found := _WAIT.fullmatch(name)):
            wait = float(found[1])
    return Preference(at_once, wait)


_NONE = Preference()
