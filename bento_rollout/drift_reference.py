"""Finds what traffic is compared with: in a file, in a sealed model, in the ledger, or kept by this host."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .amounts import in_time
from .call_rows import columns_in
from .drift import Reference
from .drift_source import Source
from .drifting import Drift
from .errors import InvalidValue, StoreUnreachable
from .featuring import hour_of_week
from .reference_file import MOST_BYTES, MOST_ROWS, fitted, load_reference, sealed_reference
from .store.keepsake import DRIFT_REFERENCE, Keepsake
from .store.ledger_file import LedgerFile
from .store.place import Place

__all__ = ["find_reference", "keep_reference", "kept_reference", "ledger_reference"]

"""In the rollout's folder: the reference that holds instead of the spec's, or that was made of the ledger."""

_VERSION = 1
_FITTED_FROM = 200_000
"""Rows of the ledger that a reference is made of: the newest ones of its time."""


def find_reference(drift: Drift, place: Place, endpoint: str, *, now: float | None = None) -> Reference:
    """Return the reference that holds: the one that this host keeps, else what the spec says.

    A reference of the ledger is made once, by whoever is first, and kept: all workers have the same.

    Args:
        drift: the spec's settings.
        place: the rollout's folder in the store.
        endpoint: whose inputs are watched.
        now: instead of this moment, in seconds since 1970.

    Raises:
        InvalidValue: it is missing, damaged, or too little so far; the message says what to do.
        ArtifactError: it is sealed, and does not pass.
        StoreUnreachable: the ledger cannot be read, or the folder not be written.
    """
    source = drift.reference
    if source is None:
        raise InvalidValue("drift.reference is not written: there is nothing to compare inputs with")
    data = drift.data
    features = None if data is None else data.features
    segments = () if data is None else data.segments.by
    if (kept := kept_reference(place, source, segments)) is not None:
        return kept
    if source.sealed is not None:
        return sealed_reference(source, features, segments)
    if source.file is not None:
        return load_reference(Path(source.file), features, segments)
    with Keepsake(place, DRIFT_REFERENCE).turn() as mine:
        if not mine:
            raise InvalidValue("another worker is making the reference out of the ledger")
        if (kept := kept_reference(place, source, segments)) is not None:  # somebody else was faster
            return kept
        stratify = data is not None and data.stratify_by is not None
        made = ledger_reference(place, source, endpoint, features, segments, stratify=stratify, now=now)
        keep_reference(place, source, made, segments)
        return made


def keep_reference(place: Place, source: Source, reference: Reference, segments: Sequence[str] = ()) -> None:
    """Let a reference hold from now on, for all workers of the host, instead of what the spec says.

    It holds as long as the spec names the same source, with the same content, and the same segments.

    Raises:
        InvalidValue: it cannot be written.
    """
    told = {"version": _VERSION, "of": _key_of(source, segments), "reference": reference.to_json()}
    try:
        Keepsake(place, DRIFT_REFERENCE).write(told)
    except StoreUnreachable as error:
        raise InvalidValue(str(error)) from None


def kept_reference(place: Place, source: Source, segments: Sequence[str] = ()) -> Reference | None:
    """Return the reference that this host keeps for a source; None: it keeps none.

    Raises:
        InvalidValue: what it keeps is damaged, or of another version.
    """
    keepsake = Keepsake(place, DRIFT_REFERENCE)
    path = keepsake.where
    if keepsake.mark() is None:
        return None
    told = keepsake.read()
    remedy = "move it away, and the spec's reference holds again"
    if not isinstance(told, Mapping) or not isinstance(told.get("reference"), str):
        raise InvalidValue(f"{path}: it is damaged: {remedy}")
    if told.get("version") != _VERSION:
        raise InvalidValue(f"{path}: it was written by another version of bento_rollout: {remedy}")
    if told.get("of") != _key_of(source, segments):
        return None  # the spec has another reference since
    try:
        return Reference.from_json(told["reference"])
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}; or {remedy}") from None


def ledger_reference(
    place: Place,
    source: Source,
    endpoint: str,
    features: Mapping[str, str | None] | None = None,
    segments: Sequence[str] = (),
    *,
    stratify: bool = False,
    now: float | None = None,
) -> Reference:
    """Return a reference of the inputs that the ledger kept.

    Args:
        place: the rollout's folder in the store.
        source: of how long, and how many rows it takes at least.
        endpoint: whose inputs.
        features: those that are wanted, with their kinds where they are given; None: all.
        segments: the columns whose values are told apart; not with ``stratify``.
        stratify: whether rows are told apart by their hour of the week.
        now: instead of this moment, in seconds since 1970.

    Raises:
        InvalidValue: there are too few rows so far, or what there is cannot be compared with.
        StoreUnreachable: the ledger cannot be read.
    """
    span = source.ledger or 0.0
    since = (time.time() if now is None else now) - span
    times: list[float] = []

    def calls() -> Iterator[Mapping[str, Any]]:
        for moment, arguments in reversed(_kept_inputs(place, endpoint, since)):
            times.append(moment)
            yield arguments

    ledger = LedgerFile(place)
    columns = columns_in(calls()) if ledger.exists() else {}
    count = max(map(len, columns.values()), default=0)
    if count < source.min_rows:
        words = f"the ledger has {count} rows of {endpoint}'s inputs from the last {in_time(span)}"
        raise InvalidValue(
            f"{words}, and a reference is made of {source.min_rows} or more: it comes by itself"
        )
    strata = np.array([hour_of_week(moment) for moment in times]) if stratify else None
    if strata is not None and len(strata) != count:
        raise InvalidValue("stratify_by needs calls of one row each, and the ledger has some of several")
    if strata is None:
        return fitted(columns, features, segments)
    if features is None:
        return Reference.fit(columns, strata=strata)
    if missing := [name for name in features if name not in columns]:
        raise InvalidValue(f"features names {missing[0]!r}, and the inputs have: {', '.join(columns)}")
    kinds: Any = {name: kind for name, kind in features.items() if kind is not None}
    return Reference.fit({name: columns[name] for name in features}, kinds=kinds, strata=strata)


def _kept_inputs(place: Place, endpoint: str, since: float) -> list[tuple[float, Mapping[str, Any]]]:
    """Return the newest inputs that the ledger kept, each with its time, newest first."""
    query = (
        "SELECT time, inputs FROM predictions WHERE endpoint = ? AND time >= ? AND inputs IS NOT NULL "
        "ORDER BY seq DESC LIMIT ?"
    )
    size = 0
    found: list[tuple[float, Mapping[str, Any]]] = []
    with LedgerFile(place).reading() as db:
        for moment, text in db.execute(query, (endpoint, since, min(_FITTED_FROM, MOST_ROWS))):
            if (size := size + len(text)) > MOST_BYTES:
                break
            try:
                arguments = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(arguments, dict):
                found.append((float(moment), arguments))
    return found


def _key_of(source: Source, segments: Sequence[str]) -> str:
    """Return what a source is known by, with the segments that it is parted by."""
    return json.dumps([_name_of(source), *segments]) if segments else _name_of(source)


def _name_of(source: Source) -> str:
    """Return what a source is known by: a file by its content, wherever it lies."""
    if source.ledger is not None:
        return f"ledger:{source.ledger:g}"
    if source.sealed is not None:
        return f"sealed:{source.sealed}:{source.name}"
    try:
        with open(str(source.file), "rb") as file:  # noqa: PTH123
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
    except (OSError, ValueError):
        return "file:"  # it is not there: so is no kept one of it
    return f"file:{digest.hexdigest()[:32]}"
