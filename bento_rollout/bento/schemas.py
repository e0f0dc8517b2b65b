"""Whether what a deployment says of its endpoints is what the champion's endpoints are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .compat import difference_of_schemas
from .method import Method

__all__ = ["openapi_problem", "routes_of", "schema_problem"]

KINDS = {"tensor": "array", "dataframe": "array", "file": "string"}
"""BentoML's own types in its JSON schemas, as OpenAPI of others would call them."""


def schema_problem(found: Any, methods: Mapping[str, Method], endpoints: Iterable[str]) -> str | None:
    """Return in words what differs between BentoML's ``/schema.json`` and the endpoints; None: nothing."""
    routes = found.get("routes") if isinstance(found, dict) else None
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        return "its /schema.json is not a BentoML service's"
    theirs = {route.get("name"): route for route in routes}
    for endpoint in endpoints:
        route = theirs.get(endpoint)
        if route is None:
            has = ", ".join(str(name) for name in list(theirs)[:20]) or "none"
            return f"it has no endpoint {endpoint!r}; it has: {has}"
        if not PATH.match(path := str(route.get("route"))) or path.startswith("//"):
            return f"endpoint {endpoint!r}: its route {_cut(path)} is no path there"
        if (problem := _difference(methods[endpoint], route)) is not None:
            return f"endpoint {endpoint!r}: {problem}"
    return None


PATH = re.compile(r"(/(?!\.\.?(/|\Z))[A-Za-z0-9._~!$&'()*+,;=:%@{}-]*)+\Z")
"""A path that begins at the deployment's address, and stays there."""


def routes_of(found: Any, endpoints: Iterable[str]) -> dict[str, str]:
    """Return the paths of endpoints in BentoML's ``/schema.json``."""
    wanted = set(endpoints)
    return {route["name"]: str(route["route"]) for route in found["routes"] if route.get("name") in wanted}


def _difference(method: Method, route: Mapping[str, Any]) -> str | None:
    ours = json.loads(json.dumps(method.schema(), default=str))
    for what, mine, other in (
        ("stream", _has(ours, "output", "is_stream"), _has(route, "output", "is_stream")),
        ("task", bool(ours.get("is_task")), bool(route.get("is_task"))),
    ):
        if mine != other:
            return (
                f"the champion's is {'a' if mine else 'no'} {what}, this one is {'one' if other else 'none'}"
            )
    for side in ("input", "output"):
        mine_, other_ = ours.get(side, {}), route.get(side)
        if not isinstance(other_, dict):
            return f"its {side} has no schema"
        drop = ("is_stream", "media_type", "root_input")
        place = difference_of_schemas(
            {key: value for key, value in mine_.items() if key not in drop},
            {key: value for key, value in other_.items() if key not in drop},
        )
        if place is not None:
            at, have, got = place[0] or "(whole)", _cut(place[1]), _cut(place[2])
            return f"the {side} differs at {at}: the champion has {have}, this one {got}"
    return None


def openapi_problem(found: Any, methods: Mapping[str, Method], endpoints: Iterable[str]) -> str | None:
    """Return in words what an OpenAPI document lacks of the endpoints; None: they could be the same.

    Frameworks write the same type in many ways: names of properties, what is required, and plain types are
    compared, and no more.
    """
    paths = found.get("paths") if isinstance(found, dict) else None
    if not isinstance(paths, dict):
        return "its OpenAPI document has no paths"
    for endpoint in endpoints:
        route = methods[endpoint].route
        operation = paths.get(route, {}).get("post") if isinstance(paths.get(route, {}), dict) else None
        if not isinstance(operation, dict):
            return f"endpoint {endpoint!r}: its OpenAPI document has no POST {route}"
        ours = methods[endpoint].schema()
        body = _content(_resolved(operation.get("requestBody"), found), found)
        responses = operation.get("responses", {})
        answer = responses.get("200", responses.get("default")) if isinstance(responses, dict) else None
        output = _content(_resolved(answer, found), found)
        for side, mine, other in (("input", ours["input"], body), ("output", ours["output"], output)):
            if other and (problem := _loose(mine, other, found)) is not None:
                return f"endpoint {endpoint!r}: the {side} {problem}"
    return None


def _loose(mine: Mapping[str, Any], other: Mapping[str, Any], document: Any) -> str | None:
    ours, theirs = KINDS.get(mine.get("type", ""), mine.get("type")), other.get("type")
    if ours is not None and theirs is not None and ours != theirs:
        return f"is {theirs!r}, the champion's is {ours!r}"
    have, want = mine.get("properties"), other.get("properties")
    if not isinstance(have, dict) or not isinstance(want, dict):
        return None
    required = other.get("required", [])
    if missing := sorted(name for name in required if name not in have):
        return f"needs {', '.join(missing)}, which the champion's has not"
    if lost := sorted(set(have) - set(want)):
        return f"has no {', '.join(lost)}"
    for name, mine_ in have.items():
        deeper = _resolved(want[name], document)
        if isinstance(deeper, dict) and (problem := _loose(mine_, deeper, document)) is not None:
            return f"at {name!r} {problem}"
    return None


def _content(node: Any, document: Any) -> dict[str, Any]:
    """Return the schema of a request's or an answer's JSON body, as far as the document has one."""
    content = node.get("content") if isinstance(node, dict) else None
    media = content.get("application/json") if isinstance(content, dict) else None
    schema = _resolved(media.get("schema"), document) if isinstance(media, dict) else None
    return schema if isinstance(schema, dict) else {}


def _resolved(node: Any, document: Any, depth: int = 8) -> Any:
    while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str) and depth:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        node, depth = found, depth - 1
    return node


def _has(node: Mapping[str, Any], side: str, what: str) -> bool:
    inner = node.get(side)
    return bool(inner.get(what)) if isinstance(inner, dict) else False


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}…"  # noqa: PLR2004 - of a line
