"""Whether a candidate can stand in for the champion: same endpoints, same schemas, same kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import Incompatible
from .method import Method

__all__ = ["check_candidate", "difference", "difference_of_schemas"]


def check_candidate(
    name: str, champion: Mapping[str, Method], candidate: Mapping[str, Method], endpoints: Iterable[str]
) -> None:
    """Raise `Incompatible`, naming endpoint and difference, unless a candidate has every routed endpoint."""
    for endpoint in endpoints:
        theirs = candidate.get(endpoint)
        if theirs is None:
            has = ", ".join(sorted(candidate)) or "none"
            raise Incompatible(f"candidate {name!r} has no endpoint {endpoint!r}; it has: {has}")
        if (found := difference(champion[endpoint], theirs)) is not None:
            raise Incompatible(f"candidate {name!r}, endpoint {endpoint!r}: {found}")


def difference(ours: Method, theirs: Method) -> str | None:
    """Return in words why one endpoint cannot stand in for another, or None when it can."""
    for what, is_, other_is in (
        ("stream", ours.is_stream, theirs.is_stream),
        ("task", ours.is_task, theirs.is_task),
    ):
        if is_ != other_is:
            ours_, theirs_ = ("a", "none") if is_ else ("no", "one")
            return f"the champion's is {ours_} {what}, the candidate's is {theirs_}"
    for side in ("input", "output"):
        mine, other = getattr(ours, f"{side}_spec"), getattr(theirs, f"{side}_spec")
        if mine is other:
            continue  # the same code with another model
        if (place := difference_of_schemas(mine.model_json_schema(), other.model_json_schema())) is not None:
            at, have, got = place
            return (
                f"the {side} differs at {at or '(whole)'}: the champion has {have!r}, the candidate {got!r}"
            )
    return None


def difference_of_schemas(ours: Any, theirs: Any) -> tuple[str, Any, Any] | None:
    """Return where two JSON schemas differ, and what stands there in both; None when they mean the same."""
    mine, other = (_plain(schema, schema.get("$defs", {}), ()) for schema in (ours, theirs))
    return _difference(mine, other)


def _plain(node: Any, defs: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    """Return a schema without titles and descriptions, its references resolved (recursive ones not)."""
    if isinstance(node, list):
        return [_plain(item, defs, seen) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = reference.rpartition("/")[2]
        if target in seen or target not in defs:
            return {"$ref": len(seen) - seen.index(target) if target in seen else target}
        return _plain(
            {**defs[target], **{k: v for k, v in node.items() if k != "$ref"}}, defs, (*seen, target)
        )
    return {
        key: _properties(value, defs, seen) if key == "properties" else _plain(value, defs, seen)
        for key, value in node.items()
        if key not in ("title", "description", "$defs")
    }


def _properties(node: Any, defs: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: _plain(value, defs, seen) for key, value in node.items()}


def _difference(ours: Any, theirs: Any, at: str = "") -> tuple[str, Any, Any] | None:
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return None if ours == theirs else (at, ours, theirs)
    for key in sorted({*ours, *theirs}):
        mine, other = ours.get(key, "nothing"), theirs.get(key, "nothing")
        if (
            key == "required"
            and isinstance(mine, list)
            and isinstance(other, list)
            and set(mine) == set(other)
        ):
            continue
        if found := _difference(mine, other, f"{at}.{key}" if at else key):
            return found
    return None
