"""What of a rollout is code: the spec's fields that are no state, and what each variant is; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel

from .references import name_of
from .spec import RolloutSpec, Shadow

__all__ = ["code_digest", "code_fields"]

LETTERS = 16
"""Hexadecimal digits of a digest, as of a variant's."""


def code_digest(spec: RolloutSpec, digests: Mapping[str, str]) -> str:
    """Return what names a code among all: 16 hex digits, the same in every process that has this code.

    Args:
        spec: the service's.
        digests: what each variant is, in any order.

    >>> early, late = RolloutSpec(weights={"b": 5}), RolloutSpec(weights={"b": 50})
    >>> code_digest(early, {"a": "1", "b": "2"}) == code_digest(late, {"b": "2", "a": "1"})
    True
    >>> code_digest(early, {"a": "1"}) == code_digest(RolloutSpec(variants={"b": {"timeout": 1}}), {"a": "1"})
    False
    """
    told = {"variants": dict(digests), "spec": _plain(code_fields(spec))}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LETTERS]


def code_fields(spec: RolloutSpec) -> dict[str, Any]:
    """Return what a spec says that is not state, by field."""
    found = {name: getattr(spec, name) for name in type(spec).model_fields}
    for name in ("name", "authority", "champion", "targets", "weights", "blue_green"):
        del found[name]
    found["routing"] = spec.routing.model_copy(update={"salt": None})
    unwatched = Shadow()
    found["shadow"] = {
        name: without
        for name, one in spec.shadow.items()
        if (without := one.model_copy(update={"percent": 0})) != unwatched
    }
    found["automation"] = {
        name: one.model_copy(update={"degree": one.max_degree}) for name, one in spec.automation.items()
    }
    return found


def _plain(value: Any) -> Any:
    """Return a value of a spec as JSON that does not depend on order, addresses or the process."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        found = [_plain(one) for one in value]
        return found if isinstance(value, (list, tuple)) else sorted(found, key=json.dumps)
    if names := _names(value):
        return {"": type(value).__name__, **{name: _plain(getattr(value, name)) for name in names}}
    return name_of(value) if callable(value) else f"{type(value).__qualname__} {value}"


def _names(value: Any) -> list[str]:
    """Return the fields of what has fields."""
    if isinstance(value, type):
        return []
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    return [one.name for one in fields(value)] if is_dataclass(value) else []
