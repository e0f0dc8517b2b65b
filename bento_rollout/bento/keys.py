"""Reads routing keys and inference ids from a request's head and arguments; it never raises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, unquote

from ..calls import header_of
from ..keys import KeySource, follow
from ..telemetry import log
from .functions import imported
from .method import named

__all__ = ["KeyReader"]

Scope = Mapping[str, Any]
Reader = Callable[[Scope, Sequence[Any], Mapping[str, Any], Any], object]
_once = log.Once()


class KeyReader:
    """Tries sources in their order until one gives something.

    Args:
        sources: where to look; none of them is ``rows``.
        arguments: the names of the endpoint's parameters, in order.

    Raises:
        InvalidSpec: for a function that cannot be imported.
    """

    def __init__(self, sources: Sequence[KeySource], arguments: Sequence[str]) -> None:
        self._arguments = tuple(arguments)
        self._readers = tuple(map(self._reader, sources))
        self._heads = [(_HEAD.get(source.kind), source.name) for source in sources]
        self.needs_body = any(source.kind not in _HEAD for source in sources)

    def from_head(self, scope: Scope) -> object:
        """Return the key when the request's head has it, else None."""
        for read, name in self._heads:
            if read is None:
                return None
            if (found := read(scope, name)) is not None:
                return found
        return None

    def read(self, scope: Scope, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any) -> object:
        """Return the first key that there is, or None."""
        for reader in self._readers:
            if (found := reader(scope, args, kwargs, ctx)) is not None:
                return found
        return None

    def _reader(self, source: KeySource) -> Reader:
        if source.kind in _HEAD:
            return functools.partial(_from_head, _HEAD[source.kind], source.name)
        if source.kind == "field":
            return functools.partial(self._field, source)
        return functools.partial(self._called, source, imported(str(source), "routing.key"))

    def _field(
        self, source: KeySource, _: Scope, args: Sequence[Any], kwargs: Mapping[str, Any], __: Any
    ) -> object:
        try:
            return follow(named(source.name, self._arguments, args, kwargs), source.path)
        except Exception:  # noqa: BLE001 - a property of the caller's input may raise anything; then there is no key
            return None

    def _called(
        self,
        source: KeySource,
        function: Callable[..., object],
        _: Scope,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        ctx: Any,
    ) -> object:
        arguments = {**dict(zip(self._arguments, args, strict=False)), **kwargs}
        try:
            return function(arguments, ctx)
        except Exception as error:  # noqa: BLE001 - the user's function must not cost an answer
            _once.say(
                str(source), "routing.key_failed", "error", source=str(source), error=type(error).__name__
            )
            return None


def _from_head(read: Callable[[Scope, str], object], name: str, scope: Scope, *_: object) -> object:
    return read(scope, name)


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
