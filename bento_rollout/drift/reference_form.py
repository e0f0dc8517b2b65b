"""The stored form of a reference: one canonical line of JSON, so that equal references have equal digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from ..errors import InvalidValue
from .bins import CategoryBins, NumericBins
from .embedding import Embedding
from .encoding import Segments
from .features import KINDS, Feature
from .reference import Reference

__all__ = ["digest_of", "reference_of", "text_of"]

VERSION = 1

_KIND = "reference of drift"


def digest_of(reference: Reference) -> str:
    """Return sixteen hex digits that another reference does not have."""
    return _digest(_fields(reference))


def text_of(reference: Reference) -> str:
    """Return a reference as text that `reference_of` reads."""
    fields = _fields(reference)
    return _canonical(fields | {"digest": _digest(fields)})


def reference_of(text: str | bytes) -> Reference:
    """Return a stored reference.

    Raises:
        InvalidValue: no stored reference, one of another version, or a damaged one.
    """
    try:
        fields = json.loads(text)
    except ValueError:
        raise InvalidValue("this is no stored reference: it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("kind") != _KIND:
        raise InvalidValue("this is no stored reference: write one with `bento-rollout drift NAME fit FILE`")
    if fields.get("version") != VERSION:
        raise InvalidValue(
            f"this reference was stored in version {fields.get('version')!r} of its form;"
            f" this release reads {VERSION}: fit it again"
        )
    said = fields.pop("digest", None)
    if said != (found := _digest(fields)):
        raise InvalidValue(
            f"the stored reference is damaged: its digest is {found!r}, not {said!r}; fit it again"
        )
    try:
        return _built(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"the stored reference is damaged at {type(error).__name__}: fit it again"
        ) from None


def _fields(reference: Reference) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "version": VERSION,
        "features": [_feature_fields(feature) for feature in reference.features],
        "counts": reference.stratified.tolist(),
        "rows": reference.rows,
        "seed": reference.seed,
        "columns": list(reference.columns),
        "embeddings": {
            name: {"centroids": embedding.centroids.tolist(), "seed": embedding.seed}
            for name, embedding in reference.embeddings.items()
        },
        "dependence": dict(reference.dependence),
        "warnings": list(reference.warnings),
        "model": reference.model,
        "losses": list(reference.losses),
        "segments": [
            {"column": each.column, "counts": each.counts.tolist(), "rows": each.rows.tolist()}
            | _category_fields(each.bins)
            for each in reference.segments
        ],
    }


def _feature_fields(feature: Feature) -> dict[str, Any]:
    named = {"name": feature.name, "kind": feature.kind, "column": feature.column, "view": feature.view}
    if isinstance(feature.bins, NumericBins):
        return named | {"edges": list(feature.bins.edges), "missing": feature.bins.missing}
    if isinstance(feature.bins, CategoryBins):
        return named | _category_fields(feature.bins)
    return named | {"skipped": feature.skipped}


def _category_fields(bins: CategoryBins) -> dict[str, Any]:
    return {"values": list(bins.values), "known": list(bins.known), "open": bins.open}


def _category(fields: dict[str, Any]) -> CategoryBins:
    return CategoryBins(tuple(fields["values"]), tuple(fields["known"]), bool(fields["open"]))


def _built(fields: dict[str, Any]) -> Reference:
    features = tuple(_feature(each) for each in fields["features"])
    counts = np.array(fields["counts"], dtype=np.int64)
    sizes = [feature.bins.size for feature in features if feature.bins is not None]
    if counts.ndim != 3 or counts.shape[1:] != (len(sizes), max(sizes)) or counts.min() < 0:  # noqa: PLR2004
        raise ValueError("counts")
    return Reference(
        features=features,
        stratified=counts,
        rows=int(fields["rows"]),
        seed=int(fields["seed"]),
        columns=tuple(map(str, fields["columns"])),
        embeddings={
            name: Embedding(np.array(each["centroids"], dtype=np.float64), int(each["seed"]))
            for name, each in fields["embeddings"].items()
        },
        dependence={name: float(rank) for name, rank in fields["dependence"].items()},
        warnings=tuple(map(str, fields["warnings"])),
        model=str(fields["model"]),
        losses=tuple(map(float, fields["losses"])),
        segments=tuple(_segments(each) for each in fields["segments"]),
    )


def _segments(fields: dict[str, Any]) -> Segments:
    return Segments(
        column=str(fields["column"]),
        bins=_category(fields),
        counts=np.array(fields["counts"], dtype=np.int64),
        rows=np.array(fields["rows"], dtype=np.int64),
    )


def _feature(fields: dict[str, Any]) -> Feature:
    bins: NumericBins | CategoryBins | None = None
    if "edges" in fields:
        bins = NumericBins(tuple(map(float, fields["edges"])), bool(fields["missing"]))
    elif "values" in fields:
        bins = _category(fields)
    if fields["kind"] not in KINDS:
        raise ValueError("kind")
    return Feature(
        name=fields["name"],
        kind=fields["kind"],
        bins=bins,
        skipped=fields.get("skipped", ""),
        column=fields["column"],
        view=fields["view"],
    )


def _canonical(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()[:16]
