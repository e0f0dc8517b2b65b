"""A ledger's rows for other programs: JSON lines, CloudEvents 1.0, Parquet."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import InvalidValue, Refused, StoreUnreachable
from .ledger_json import compact
from .making import open_or_make

__all__ = ["FORMATS", "cloudevent", "export_file", "lines"]

EVENT_TYPE = "bento_rollout.prediction.v1"
"""The ``type`` of a CloudEvent of one prediction."""

FORMATS = ("jsonl", "parquet", "cloudevents")

_GROUP_ROWS, _GROUP_BYTES = 10_000, 1 << 24
"""What a row group of Parquet holds, at most."""

Row = Mapping[str, Any]


def lines(rows: Iterable[Row], form: str, rollout: str) -> Iterator[str]:
    """Return rows as lines without their ends.

    Args:
        rows: of `Ledger.export`.
        form: ``jsonl`` or ``cloudevents``.
        rollout: whose they are.

    Raises:
        InvalidValue: for another format.
    """
    if form not in ("jsonl", "cloudevents"):
        raise InvalidValue(
            f"format {form!r} has no lines: write jsonl or cloudevents, or name a file for parquet"
        )
    if form == "jsonl":
        return map(compact, rows)
    return (compact(cloudevent(row, rollout)) for row in rows)


def cloudevent(row: Row, rollout: str) -> dict[str, Any]:
    """Return a row as a CloudEvent 1.0 in structured JSON mode (https://cloudevents.io)."""
    event = {
        "specversion": "1.0",
        "id": row["prediction_id"],
        "source": f"/rollouts/{rollout}",
        "type": EVENT_TYPE,
        "time": datetime.fromtimestamp(row["time"], timezone.utc).isoformat().replace("+00:00", "Z"),
        "subject": row["endpoint"],
        "datacontenttype": "application/json",
        "data": dict(row),
    }
    if row["trace_id"] and row["span_id"]:
        event["traceparent"] = (
            f"00-{row['trace_id']}-{row['span_id']}-01"  # the distributed tracing extension
        )
    return event


def export_file(path: Path, rows: Iterable[Row], form: str, rollout: str) -> int:
    """Write rows to a file, whole or not at all, and return how many; only its owner may read it.

    Args:
        path: a file that is there is replaced.
        rows: of `Ledger.export`; read as they are written.
        form: ``jsonl``, ``cloudevents`` or ``parquet``.
        rollout: whose they are.

    Raises:
        InvalidValue: for another format.
        Refused: for Parquet without pyarrow.
        StoreUnreachable: the file cannot be written; what was there before is as it was.
    """
    if form not in FORMATS:
        raise InvalidValue(f"format {form!r} is not known: write {', '.join(FORMATS)}")
    write = _parquet_writer() if form == "parquet" else _line_writer(form, rollout)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(open_or_make(draft, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - a descriptor
            count = write(file, rows)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StoreUnreachable(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            draft.unlink()
    return count


Write = Callable[[Any, Iterable[Row]], int]


def _line_writer(form: str, rollout: str) -> Write:
    def write(file: Any, rows: Iterable[Row]) -> int:
        count = 0
        for count, line in enumerate(lines(rows, form, rollout), 1):  # noqa: B007 - the last one is returned
            file.write(line.encode() + b"\n")
        return count

    return write


# -- Parquet ------------------------------------------------------------------------------------------------

_TEXTS = ("prediction_id", "key_hash", "inference_id", "endpoint", "variant")
_JSON = ("labels", "runs", "shadows", "inputs", "output")


def _parquet_writer() -> Write:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        hint = "run `pip install 'bento_rollout[parquet]'`, or export jsonl"
        raise Refused(f"Parquet is written by pyarrow, which is not installed: {hint}") from None
    text, number = pa.string(), pa.float64()
    stamp = pa.timestamp("us", tz="UTC")
    schema = pa.schema(
        [
            *((name, text) for name in _TEXTS),
            ("revision", pa.int64()), ("reason", text), ("outcome", text), ("error", text),
            ("seconds", number), ("time", stamp), ("label", text), ("label_number", number),
            ("label_source", text), ("label_time", stamp), ("label_selection", text),
            ("label_probability", number), ("task_id", text), ("trace_id", text), ("span_id", text),
            ("status", pa.int32()), ("media_type", text), ("size", pa.int64()), ("seq", pa.int64()),
            *((name, text) for name in _JSON),
        ]
    )  # fmt: skip

    def write(file: Any, rows: Iterable[Row]) -> int:
        count = 0
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in _groups(map(_flat, rows)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                count += len(group)
        return count

    return write


def _flat(row: Row) -> dict[str, Any]:
    """Return a row for columns: nested values as JSON; a label as text, and as a number if it is one."""
    flat = dict(row)
    for name in _JSON:
        flat[name] = None if row[name] is None else compact(row[name])
    label = row["label"]
    flat["label"] = label if label is None or isinstance(label, str) else json.dumps(label)
    flat["label_number"] = _number(label)
    for name in ("time", "label_time"):
        flat[name] = None if row[name] is None else datetime.fromtimestamp(row[name], timezone.utc)
    return flat


def _number(label: Any) -> float | None:
    try:
        return float(label) if isinstance(label, (bool, int, float)) else None
    except OverflowError:
        return None


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(row[name] or "") for name in _JSON)
        if len(group) >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
