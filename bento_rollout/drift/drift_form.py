"""The stored form of a test of data drift; the reference is stored apart, and known by its digest."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .drift_test import DriftTest
from .engine import DATA_BETS
from .frames import opened, packed, wealth_arrays, wealth_of
from .reference import Reference
from .schema import SchemaAlarm

__all__ = ["bytes_of", "drift_test_of"]

_KIND = "test of data drift"


def bytes_of(test: DriftTest) -> bytes:
    """Return a test as bytes that `drift_test_of` reads; about 75 KiB at 30 features."""
    fields = {
        "reference": test.reference.digest,
        "alpha": test.alpha,
        "seed": test.seed,
        "epoch": test.epoch,
        "rows": test.rows,
        "schema": [asdict(alarm) for alarm in test.schema],
        "refused": test.refused,
    }
    own: dict[str, NDArray[Any]] = {
        "log_weights": test.log_weights,
        "base": test.base,
        "counts": test.counts,
        "recent": test.recent,
        "strata": _bytes_of(test.recent_strata),
    }
    return packed(_KIND, fields, own | wealth_arrays(test.wealth))


def drift_test_of(data: bytes, reference: Reference) -> DriftTest:
    """Return a stored test.

    Raises:
        InvalidValue: another version, another reference, or damaged bytes.
    """
    fields, arrays = opened(data, _KIND)
    if fields["reference"] != (digest := reference.digest):
        raise InvalidValue(
            f"this test was stored with the reference {fields['reference']!r}, and {digest!r} is given:"
            " give it its own, or start a new epoch"
        )
    start = DriftTest.of(reference, alpha=fields["alpha"], seed=fields["seed"], epoch=fields["epoch"])
    return replace(
        start,
        wealth=wealth_of(arrays, fields["rows"], DATA_BETS, reference.single),
        schema=tuple(SchemaAlarm(**alarm) for alarm in fields["schema"]),
        refused=fields["refused"],
        log_weights=arrays["log_weights"],
        base=arrays["base"].astype(np.int64),
        counts=arrays["counts"].astype(np.int64),
        recent=arrays["recent"],
        recent_strata=_strata_of(arrays["strata"], len(arrays["recent"])),
    )


def _bytes_of(strata: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return strata as two bytes each; nothing where there is only one."""
    return strata.astype("<u2").view(np.uint8) if strata.any() else np.empty(0, dtype=np.uint8)


def _strata_of(stored: NDArray[Any], rows: int) -> NDArray[np.uint16]:
    return stored.view("<u2").astype(np.uint16) if len(stored) else np.zeros(rows, dtype=np.uint16)
