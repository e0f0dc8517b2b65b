"""Rows of the ledger as the watch for drift reads them: bin numbers, in the order of arrival, each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from .ledger_file import LedgerFile
from .ledger_matured import Watermark, sound, start_of
from .place import Place

__all__ = ["AT_ONCE", "Page", "Watched", "built", "pages", "watched"]

AT_ONCE = 2000
"""Predictions that are looked at in one read."""

HEAVIEST = 1 << 16
"""Bytes of one read: it ends after the prediction that goes beyond."""

PATIENCE = 0.5
"""Seconds that a read waits for another process's lock: the owner looks again soon."""

_NEXT = "SELECT seq, id, time, key_hash, endpoint, drift FROM predictions WHERE seq > ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Watched:
    """One prediction whose arguments were looked at. Immutable.

    Attributes:
        seq: its place in the order of arrival.
        time: when it came, in seconds since 1970.
        key_hash: of its routing key; None: it has none.
        content: its rows, as `packing` packs them: bin numbers, and no value.
    """

    seq: int
    time: float
    key_hash: str | None
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """What one read found. Immutable.

    Attributes:
        rows: the predictions of the endpoint that were looked at.
        after: where the next read goes on; to be kept in one step with what is made of the rows.
        more: whether there may be more at once.
        missing: predictions that went before they were read, at most: they were pruned or forgotten.
        replaced: whether another file lies there than the one that the mark was made in.
    """

    rows: tuple[Watched, ...]
    after: Watermark
    more: bool = False
    missing: int = 0
    replaced: bool = False


def watched(
    place: Place, endpoint: str, after: Watermark, *, most: int = AT_ONCE, until: int | None = None
) -> Page:
    """Return the predictions of an endpoint that came since the last read.

    The order is that in which they were written, whatever a clock says. One read looks at a bounded number of
    rows, by the primary key.

    Args:
        place: where the rollout's shared files lie; where there is no ledger, nothing is found.
        endpoint: whose predictions.
        after: where the last read ended.
        most: rows that are looked at, at most.
        until: the last place that is looked at; None: the end.

    Raises:
        StoreUnreachable: the file cannot be read now; the same mark finds the same later.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=PATIENCE)
    if not file.exists():
        return Page((), after)
    found: list[Watched] = []
    with sound(file), file.reading() as db:
        start = start_of(file, db, after)
        seq, newest, seen, weight = start.seq, start.newest, 0, 0
        with closing(db.execute(_NEXT, (start.seq, most))) as cursor:
            for number, request, time, key_hash, of, content in cursor:
                if until is not None and number > until:
                    break
                seq, newest, seen = number, max(newest, request), seen + 1
                if content is not None and of == endpoint:
                    found.append(Watched(number, time, key_hash, bytes(content)))
                    weight += len(content)
                if weight > HEAVIEST:
                    break
    counted = bool(seen) and (start.seq > 0 or until is not None)
    missing = seq - start.seq - seen if counted else 0
    more = seen == most or weight > HEAVIEST
    return Page(tuple(found), Watermark(seq, newest), more, missing, start is not after)


def built(place: Place, digest: str) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Return in how many rows what was built otherwise than a reference, and what was counted beside.

    Args:
        place: where the rollout's shared files lie; where there is no ledger, nothing is found.
        digest: of the reference.

    Returns:
        By kind and feature, and by name: ``rows`` that were looked at, calls that were ``refused``, and rows
        that were ``left_out``; of all workers, since the ledger was made.

    Raises:
        StoreUnreachable: the file cannot be read now.
        StoreCorrupt: it is damaged.
    """
    file = LedgerFile(place, patience=PATIENCE)
    if not file.exists():
        return {}, {}
    with sound(file), file.reading() as db:
        query = "SELECT kind, feature, count FROM drift_schema WHERE reference = ?"
        changes = {(str(kind), str(name)): int(count) for kind, name, count in db.execute(query, (digest,))}
        counters = db.execute(
            "SELECT substr(name, 7), number FROM counters WHERE name LIKE 'drift!_%' ESCAPE '!'"
        )
        counts = {str(name): int(number) for name, number in counters}
    return changes, counts


def pages(place: Place, endpoint: str, after: Watermark, until: int | None = None) -> Iterator[Page]:
    """Yield all that came since a mark, a page at a time, up to a place.

    Raises:
        StoreUnreachable, StoreCorrupt: as `watched`.
    """
    while True:
        page = watched(place, endpoint, after, until=until)
        yield page
        after = page.after
        if not page.more or (until is not None and after.seq >= until):
            return
