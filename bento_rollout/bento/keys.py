"""Reads routing keys and inference ids from a request's head and arguments; it never raises."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, unquote

from ..errors import InvalidSpec
from ..keys import KeySource, follow
from ..telemetry import log
from .method import named

__all__ = ["KeyReader", "header_of"]

Scope = Mapping[str, Any]
_once = log.Once()


def header_of(scope: Scope, name: str) -> str | None:
    """Return a request header as text, or None when it is absent or not UTF-8."""
    wanted = _on_the_wire(name)
    for key, value in scope.get("headers", ()):
        if key == wanted:
            try:
                return str(bytes(value).decode("utf-8"))
            except UnicodeDecodeError:
                return None
    return None


@lru_cache(maxsize=1024)
def _on_the_wire(name: str) -> bytes:
    """Return a header's name as ASGI has it: in lower case."""
    return name.lower().encode("latin-1", "ignore")


class KeyReader:
    """Tries sources in their order until one gives something.

    Args:
        sources: where to look; none of them is ``rows``.
        arguments: the names of the endpoint's parameters, in order.

    Raises:
        InvalidSpec: for a function that cannot be imported.
    """

    def __init__(self, sources: Sequence[KeySource], arguments: Sequence[str]) -> None:
        self._sources = tuple(sources)
        self._arguments = tuple(arguments)
        self._functions = {source: _imported(source) for source in sources if source.kind == "call"}
        self.needs_body = any(source.kind in ("field", "call") for source in sources)

    def from_head(self, scope: Scope) -> object:
        """Return the key when the request's head has it, else None."""
        for source in self._sources:
            if source.kind not in _HEAD:
                return None
            if (found := _HEAD[source.kind](scope, source.name)) is not None:
                return found
        return None

    def read(self, scope: Scope, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any) -> object:
        """Return the first key that there is, or None."""
        for source in self._sources:
            found: object
            if source.kind in _HEAD:
                found = _HEAD[source.kind](scope, source.name)
            elif source.kind == "field":
                found = self._field(source, args, kwargs)
            else:
                found = self._called(source, args, kwargs, ctx)
            if found is not None:
                return found
        return None

    def _field(self, source: KeySource, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        try:
            return follow(named(source.name, self._arguments, args, kwargs), source.path)
        except Exception:  # noqa: BLE001 - a property of the caller's input may raise anything; then there is no key
            return None

    def _called(self, source: KeySource, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any) -> object:
        arguments = {**dict(zip(self._arguments, args, strict=False)), **kwargs}
        try:
            return self._functions[source](arguments, ctx)
        except Exception as error:  # noqa: BLE001 - the user's function must not cost an answer
            _once.say(
                str(source), "routing.key_failed", "error", source=str(source), error=type(error).__name__
            )
            return None


def _imported(source: KeySource) -> Callable[..., object]:
    try:
        found: Any = importlib.import_module(source.name)
        for part in source.path:
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidSpec(f"routing.key: {source}: {error}") from None
    if not callable(found):
        raise InvalidSpec(f"routing.key: {source} is not callable")
    return found  # type: ignore[no-any-return]  # whatever it returns is a key, or is not


def _cookie(scope: Scope, name: str) -> str | None:
    text = header_of(scope, "cookie")
    if not text:
        return None
    for part in text.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            try:
                morsel = SimpleCookie(f"k={value}").get("k")
            except CookieError:
                return value
            return value if morsel is None else morsel.value
    return None


def _query(scope: Scope, name: str) -> str | None:
    text = scope.get("query_string", b"")
    if not text:
        return None
    try:
        values = parse_qs(
            text.decode("ascii", "strict"), keep_blank_values=True, errors="strict", max_num_fields=1000
        )
    except ValueError:
        return None
    return next(iter(values.get(name, ())), None)


def _baggage(scope: Scope, name: str) -> str | None:
    for member in (header_of(scope, "baggage") or "").split(","):
        pair = member.split(";", 1)[0]
        key, _, value = pair.partition("=")
        if unquote(key.strip()) == name:
            return unquote(value.strip())
    return None


_HEAD: Mapping[str, Callable[[Scope, str], str | None]] = {
    "header": header_of,
    "cookie": _cookie,
    "query": _query,
    "baggage": _baggage,
}
