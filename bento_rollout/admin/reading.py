"""Reads what a caller sent, within bounds: a body of at most 1 MiB, strict JSON, a query string in UTF-8."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from ..errors import InvalidValue

__all__ = ["MAX_BODY", "BodyTooLarge", "parse_json", "parse_query", "read_body"]

MAX_BODY = 1 << 20
MAX_FIELDS = 1000


class BodyTooLarge(Exception):
    """The body has more bytes than are read."""


async def read_body(length: str | None, chunks: AsyncIterator[bytes], limit: int = MAX_BODY) -> bytes:
    """Return a body; at most ``limit`` bytes of it are ever held.

    Args:
        length: the header ``Content-Length``, if there was one.
        chunks: the body as it arrives.
        limit: in bytes.

    Raises:
        BodyTooLarge: as soon as the length is known to be over the limit.
    """
    digits = (length or "").strip().lstrip("0")
    if digits.isdecimal() and (len(digits) > len(str(limit)) or int(digits) > limit):
        raise BodyTooLarge
    received = bytearray()
    async for chunk in chunks:
        if len(received) + len(chunk) > limit:
            raise BodyTooLarge
        received += chunk
    return bytes(received)


def parse_json(raw: bytes) -> Any:
    """Return what JSON text says; stricter than `json.loads`, where two readers could differ.

    Raises:
        InvalidValue: not UTF-8, not JSON, nested too deeply, NaN or Infinity, a field that stands twice, or
            text with a lone surrogate (which no store can keep).
    """
    try:
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InvalidValue("the body is nested too deeply") from None
    except InvalidValue:
        raise
    except UnicodeError:
        raise InvalidValue("the body is not valid UTF-8 text") from None
    except ValueError as error:
        raise InvalidValue(f"the body is not JSON: {str(error)[:120]}") from None
    return document


def parse_query(raw: bytes, known: Iterable[str]) -> dict[str, list[str]]:
    """Return the values of each known field of a query string, in order.

    Raises:
        InvalidValue: for a field that is not known, or text that is not UTF-8 (replaced, it is another key).
    """
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except UnicodeError:
        raise InvalidValue("the query string is not percent-encoded UTF-8") from None
    except ValueError:
        raise InvalidValue(f"the query string has over {MAX_FIELDS} fields") from None
    values: dict[str, list[str]] = {name: [] for name in known}
    for name, value in pairs:
        if name not in values:
            raise InvalidValue(
                f"unknown query field {name[:80]!r}; known here: {', '.join(values) or 'none'}"
            )
        values[name].append(value)
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidValue(f"the body is not JSON: {name} is no number there")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidValue(f"the field {ascii(name)[:80]} stands twice")
        found[name] = value
    return found
