"""What the champion did, read from the ledger as arrays: for the replay of a rollout that tries it against itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..label_evidence import BadOf

__all__ = ["MOST", "Replayable", "replayable"]

MOST = 1_000_000
"""Calls that are read at most: about 40 bytes are held of each."""


@dataclass(frozen=True, slots=True)
class Replayable:
    """Calls of one variant, oldest first; all arrays are as long as there are calls, and cannot be written.

    A row of a request with a key for each row is a call of its own.

    Attributes:
        times: when each came, in seconds since 1970 (float64); never falling.
        units: 64-bit hashes (uint64): of the routing key; of a call without one the caller's own id, or the call.
        keyed: whether each had a routing key that was hashed (bool).
        endpoints: the names that ``endpoint`` counts from 0, in the order of the alphabet.
        endpoint: which one was asked (int16).
        failed: whether it was the variant's error (bool): an error, a timeout, not being there; no client's 4xx.
            What a service's own ``is_error`` says of an answer is not in the ledger.
        seconds: how long the variant ran; of a stream to its first item (float64).
        bad: how bad the answer was by its label, 0 to 1 (float64); NaN: no label, or none was asked for.
    """

    times: NDArray[Any]
    units: NDArray[Any]
    keyed: NDArray[Any]
    endpoints: tuple[str, ...]
    endpoint: NDArray[Any]
    failed: NDArray[Any]
    seconds: NDArray[Any]
    bad: NDArray[Any]

    def __len__(self) -> int:
        """How many calls there are."""
        return len(self.times)


def replayable(
    place: Path,
    champion: str,
    *,
    last: int = 100_000,
    label: str | None = None,
    bad_of: BadOf | None = None,
    matures: float | None = None,
    patience: float = 5.0,
) -> Replayable:
    """Return the last calls of a champion that chance, or nothing but the default, gave it, in the order of time.

    Left out is what somebody pinned or targeted, and where it stood in for another variant: in a trial these
    would be no evidence.

    Args:
        place: where the rollout's shared files lie; where nothing was kept, there are no calls.
        champion: the variant.
        last: how many; at most `MOST`.
        label, bad_of: the name of labels, and how bad an answer is by them; both or none.
        matures: only labels that were told within so many seconds of their prediction; None: all.
        patience: seconds to wait for another process's lock.

    Raises:
        InvalidValue: ``last`` is below 1 or above `MOST`.
        StoreUnreachable: the ledger cannot be read.
        StoreCorrupt: it is damaged.
    """
    raise NotImplementedError
