"""The ids of predictions: the request's, and which row of it."""

from __future__ import annotations

__all__ = ["WHOLE", "Bound", "id_at", "id_of", "split_id"]

WHOLE = -1
"""The row number of a prediction that answers a request as a whole."""

Bound = tuple[str, int]
"""A prediction's place in the order of ids: the request's id, and the row."""


def id_of(request: str, row: int) -> str:
    """Return the id of a prediction: the request's, or ``ID.i`` for row i.

    >>> id_of("0190-a", WHOLE), id_of("0190-a", 3)
    ('0190-a', '0190-a.3')
    """
    return request if row == WHOLE else f"{request}.{row}"


def split_id(text: str) -> tuple[str, int]:
    """Return the request's id and the row that a prediction's id names.

    >>> split_id("0190-a"), split_id("0190-a.3")
    (('0190-a', -1), ('0190-a', 3))
    """
    request, dot, row = text.rpartition(".")
    if dot and request and row.isascii() and row.isdecimal() and len(row) < _MOST_DIGITS:
        return request.lower(), int(row)
    return text.lower(), WHOLE


_MOST_DIGITS = 10


def id_at(time: float) -> str:
    """Return an id that no prediction of that time, or later, is below: ids begin with their time.

    >>> id_at(1_645_557_742.0)
    '017f22e2-79b0'
    """
    digits = f"{min(max(int(time * 1000), 0), 0xFFFF_FFFF_FFFF):012x}"
    return f"{digits[:8]}-{digits[8:]}"
