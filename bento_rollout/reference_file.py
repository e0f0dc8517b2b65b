"""Loads what traffic is compared with: a reference that was fitted, or data that one is fitted from.

Nothing that is read is ever run: pickled data is refused.
"""

from __future__ import annotations

import csv
import io
import json
import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .call_rows import columns_in
from .drift import Reference
from .drift_source import FORMATS, Source
from .errors import ArtifactError, InvalidValue

__all__ = [
    "MOST_BYTES",
    "MOST_ROWS",
    "apart",
    "fitted",
    "load_reference",
    "only",
    "read_rows",
    "sealed_reference",
]

Rows = Mapping[str, Any] | NDArray[Any]
"""Columns by name, or an array of rows x features."""

MOST_BYTES = 1 << 29
"""Bytes of a file of data, and of what it unpacks to."""

MOST_FITTED = 1 << 26
"""Bytes of a reference that was fitted."""

MOST_ROWS = 1_000_000
"""Rows of a file; a hundred thousand at random tell the same."""

_SAMPLE = "give a sample of its rows (100 000 at random are plenty)"


def load_reference(
    file: Path, features: Mapping[str, str | None] | None = None, segments: Sequence[str] = ()
) -> Reference:
    """Return the reference in a file: one that was fitted (``.json``), or one that is fitted from its rows.

    Args:
        file: of one of `FORMATS`.
        features: those that are wanted, with their kinds where they are given; None: all.
        segments: the columns whose values are to be told apart.

    Raises:
        InvalidValue: it is missing, unreadable, damaged, too large, of another version, or too little to be
            compared with; the message names the file, and what to do.
    """
    try:
        if file.suffix.lower() != ".json":
            return fitted(read_rows(file), features, segments)
        return _stored(_bytes(file, MOST_FITTED), features, segments)
    except InvalidValue as error:
        raise InvalidValue(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None


def sealed_reference(
    source: Source, features: Mapping[str, str | None] | None = None, segments: Sequence[str] = ()
) -> Reference:
    """Return the reference in a sealed model, which is verified and opened as the environment says.

    Raises:
        ArtifactError: it does not pass, cannot be found, or has no such file.
        InvalidValue: the file is no reference.
    """
    from .artifacts.opening import open_artifact  # cryptography, which most services have no use for

    where = f"{source.name} in {source.sealed}"
    try:
        content = bytes(open_artifact(str(source.sealed)).read(source.name))
    except ArtifactError as error:
        raise type(error)(f"the reference {where}: {error}") from error.__cause__
    try:
        if not source.name.lower().endswith(".json"):
            return fitted(_parsed(io.BytesIO(content), source.name), features, segments)
        return _stored(content, features, segments)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from None


def fitted(
    rows: Rows, features: Mapping[str, str | None] | None = None, segments: Sequence[str] = ()
) -> Reference:
    """Return a reference of rows, with the features that are wanted.

    Raises:
        InvalidValue: there are none of the wanted ones, or too little to be compared with.
    """
    if features is None:
        return Reference.fit(rows, segments=segments)
    columns = rows if isinstance(rows, Mapping) else _by_place(rows)
    _check_there(features, columns)
    parts = {name: columns[name] for name in segments if name in columns}
    wanted = parts | {name: columns[name] for name in features}
    kinds: Any = {name: kind for name, kind in features.items() if kind is not None}
    found = Reference.fit(wanted, kinds=kinds, segments=segments)
    return only(found, features) if parts.keys() - features.keys() else found


def only(reference: Reference, features: Mapping[str, str | None]) -> Reference:
    """Return a reference that tests only some of its columns or features.

    Raises:
        InvalidValue: it has none of that name.
    """
    _check_there(features, {name: None for one in reference.features for name in (one.name, one.column)})
    wanted = [one.name in features or one.column in features for one in reference.tested]
    kept = {one.name for one, is_wanted in zip(reference.tested, wanted, strict=True) if is_wanted}
    if not kept:
        skipped = ", ".join(f"{one.name} ({one.skipped})" for one in reference.features if one.skipped)
        raise InvalidValue(f"none of these features can be tested: {skipped}")
    return replace(
        reference,
        features=tuple(
            one if one.skipped or one.name in kept else replace(one, bins=None, skipped="not asked for")
            for one in reference.features
        ),
        stratified=reference.stratified[:, wanted],
        segments=tuple(replace(one, counts=one.counts[:, wanted]) for one in reference.segments),
    )


def apart(reference: Reference, segments: Sequence[str]) -> Reference:
    """Return a reference that tells apart only some of the segments it was fitted with.

    Raises:
        InvalidValue: it was fitted without one of them.
    """
    known = {one.column: one for one in reference.segments}
    if missing := [name for name in segments if name not in known]:
        raise InvalidValue(
            f"segments names {missing[0]!r}, and the reference was fitted with {', '.join(known) or 'none'}: "
            f"fit it again (bento-rollout drift NAME fit FILE --segment {missing[0]})"
        )
    return replace(reference, segments=tuple(known[name] for name in segments))


def read_rows(file: Path) -> Rows:
    """Return the rows in a file of data, as columns or as an array.

    Raises:
        InvalidValue: as `load_reference`.
    """
    try:
        if file.suffix.lower() == ".parquet":
            _check_size(file, MOST_BYTES)
            return _of_parquet(str(file))
        return _parsed(io.BytesIO(_bytes(file, MOST_BYTES)), file.name)
    except InvalidValue as error:
        raise InvalidValue(f"{file}: {error}") from None


def _stored(content: bytes, features: Mapping[str, str | None] | None, segments: Sequence[str]) -> Reference:
    try:
        reference = apart(Reference.from_json(content), segments)
    except RecursionError:
        raise InvalidValue("this is no stored reference: it is nested too deeply") from None
    return reference if features is None else only(reference, features)


def _parsed(content: io.BytesIO, name: str) -> Rows:
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        return _of_csv(_text(content))
    if suffix == ".jsonl":
        return _of_jsonl(_text(content).splitlines())
    if suffix in (".npy", ".npz"):
        return _of_numpy(content, suffix)
    if suffix == ".parquet":
        return _of_parquet(content)
    if suffix == ".json":
        raise InvalidValue("a .json file is a fitted reference, and no data; give data as .jsonl")
    raise InvalidValue(f"it is of no known format: its name ends with one of {', '.join(FORMATS)}")


def _check_there(features: Iterable[str], there: Iterable[str]) -> None:
    known = list(there)
    if missing := [name for name in features if name not in known]:
        has = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")  # noqa: PLR2004
        raise InvalidValue(f"features names {missing[0]!r}, and the reference has: {has}")


def _by_place(rows: NDArray[Any]) -> Mapping[str, Any]:
    if rows.dtype.names:
        return {name: rows[name] for name in rows.dtype.names}
    return {f"feature_{place}": rows[:, place] for place in range(rows.shape[1])}


# -- files ------------------------------------------------------------------------------------------------


def _check_size(file: Path, most: int) -> None:
    try:
        there = file.stat()
    except FileNotFoundError:
        raise InvalidValue("there is no such file") from None
    except (OSError, ValueError) as error:
        raise InvalidValue(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(there.st_mode):
        raise InvalidValue("it is not a regular file")
    if there.st_size > most:
        raise InvalidValue(f"it has {there.st_size} bytes, and at most {most} are read: {_SAMPLE}")


def _bytes(file: Path, most: int) -> bytes:
    _check_size(file, most)
    try:
        with file.open("rb") as opened:
            content = opened.read(most + 1)
    except OSError as error:
        raise InvalidValue(f"it cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise InvalidValue(f"it grows while it is read, to more than {most} bytes")
    return content


def _text(content: io.BytesIO) -> str:
    try:
        return content.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"it is no text in UTF-8 (byte {error.start}): store it as UTF-8") from None


def _of_csv(text: str) -> Rows:
    """Return columns of numbers where all that is there are numbers, else of texts; empty is missing."""
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        names = [name.strip() for name in next(lines, [])]
        if not names:
            raise InvalidValue("it is empty: the first line names the columns")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidValue(f"two columns are called {twice[0]!r}: a feature is known by its name")
        columns: list[list[str]] = [[] for _ in names]
        for count, row in enumerate(lines, 1):
            if not row:
                continue
            if len(row) != len(names):
                words = f"line {lines.line_num} has {len(row)} values, and there are {len(names)} columns"
                raise InvalidValue(words)
            if count > MOST_ROWS:
                raise InvalidValue(f"it has more than {MOST_ROWS} rows: {_SAMPLE}")
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    except csv.Error as error:
        raise InvalidValue(f"line {lines.line_num} is no CSV: {error}") from None
    return {name: _typed(column) for name, column in zip(names, columns, strict=True)}


def _typed(values: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array([float(value) if value.strip() else np.nan for value in values], dtype=np.float64)
    except ValueError:
        column = np.empty(len(values), dtype=object)
        column[:] = [value if value.strip() else None for value in values]
        return column


def _of_jsonl(lines: Sequence[str]) -> Rows:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidValue(f"line {number} is no JSON") from None
        if not isinstance(row, dict):
            raise InvalidValue(f'line {number} is no object: each line is one row, like {{"age": 52}}')
        rows.append(row)
        if len(rows) > MOST_ROWS:
            raise InvalidValue(f"it has more than {MOST_ROWS} rows: {_SAMPLE}")
    return columns_in({"row": row} for row in rows)


def _of_numpy(content: io.BytesIO, suffix: str) -> Rows:
    try:
        if suffix == ".npz":
            return _of_archive(content)
        return _checked(np.load(content, allow_pickle=False), "")
    except InvalidValue:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower():
            words = "it holds pickled objects, which could run anything and are refused"
            raise InvalidValue(f"{words}: store numbers or texts (arr.astype(float))") from None
        raise InvalidValue("it is no array of numpy, or a damaged one") from None
    except (OSError, EOFError, KeyError, MemoryError, SyntaxError, zipfile.BadZipFile):
        raise InvalidValue("it is no array of numpy, or a damaged one") from None


def _of_archive(content: io.BytesIO) -> Rows:
    with zipfile.ZipFile(content) as packed:
        if (size := sum(entry.file_size for entry in packed.infolist())) > MOST_BYTES:
            raise InvalidValue(f"it unpacks to {size} bytes, and at most {MOST_BYTES} are read: {_SAMPLE}")
    content.seek(0)
    with np.load(content, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    if len(found) == 1:
        (array,) = found.values()
        if array.ndim == 2:  # noqa: PLR2004 - rows x features
            return _checked(array, "")
    for name, array in found.items():
        _checked(array, name)
    return found


def _checked(array: Any, name: str) -> NDArray[Any]:
    of = f" of {name!r}" if name else ""
    if not name and array.dtype.names is None and array.ndim != 2:  # noqa: PLR2004 - rows x features
        raise InvalidValue(f"its array has {array.ndim} dimensions: 2 are needed, rows and features")
    if array.ndim == 0:
        raise InvalidValue(f"the array{of} is a single value, and no rows")
    if len(array) > MOST_ROWS:
        raise InvalidValue(f"it has {len(array)} rows, and at most {MOST_ROWS} are read: {_SAMPLE}")
    return cast("NDArray[Any]", array)


def _of_parquet(file: Any) -> Rows:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidValue(
            "Parquet needs pyarrow: pip install 'bento_rollout[parquet]', or fit the reference elsewhere"
        ) from None
    try:
        with pq.ParquetFile(file) as opened:
            about = opened.metadata
            size = sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
            if about.num_rows > MOST_ROWS or size > MOST_BYTES:
                words = f"it has {about.num_rows} rows of {size} bytes"
                raise InvalidValue(f"{words}; at most {MOST_ROWS} and {MOST_BYTES} are read: {_SAMPLE}")
            table = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise InvalidValue(f"it is no Parquet, or damaged ({type(error).__name__})") from None
    if twice := [name for name in table.column_names if table.column_names.count(name) > 1]:
        raise InvalidValue(f"two columns are called {twice[0]!r}: a feature is known by its name")
    return {
        name: column
        for name in table.column_names
        if (column := _of_arrow(table.column(name), pa)) is not None
    }


def _of_arrow(column: Any, pa: Any) -> Any:
    """Return a column of Arrow's; what is neither numbers, texts nor vectors (times, objects) is left out."""
    kinds = pa.types
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind):
        values = column.cast(pa.float64()) if not kinds.is_boolean(kind) else column
        return np.array([np.nan if one is None else one for one in values.to_pylist()], dtype=np.float64)
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        found = np.empty(len(column), dtype=object)
        found[:] = column.to_pylist()
        return found
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return column.to_pylist()
    return None
