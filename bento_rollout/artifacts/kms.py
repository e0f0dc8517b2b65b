"""Data keys that a key management service keeps: two calls of the user's, guarded and bounded.

``keys.json`` lists what such services wrapped, and the recipients of ``keys.age`` for people to read. It lies
outside the signature, so nothing in it is trusted: a recipient that it names is never given a key for that,
and a blob that somebody put there unwraps to a key that opens nothing.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import ArtifactCorrupt, InvalidValue, KeyUnavailable
from .age_header import DATA_KEY_SIZE
from .canonical import (
    Malformed,
    as_base64,
    as_constant,
    as_list,
    as_object,
    as_text,
    canonical,
    parse,
    shown,
)

__all__ = ["KMS_TIMEOUT", "MAX_KEYS_JSON", "KeyList", "Kms", "unwrap", "wrap"]

KEYS_FORMAT = "bento-rollout/keys/v1"
KMS_TIMEOUT = 10.0
"""Seconds that one call may take."""

MAX_HANGING = 8
"""So many calls may hang in this process at a time; then no more are made."""

MAX_KEYS_JSON = 256 * 2**10
MAX_SERVICES = 16
MAX_BLOB = 8 * 2**10
MAX_LISTED = 128
_NAME = re.compile(r"[A-Za-z0-9](?:[-._A-Za-z0-9]{0,61}[A-Za-z0-9])?", re.ASCII)
_RECIPIENT = re.compile(r"age1[a-z0-9]{1,4000}", re.ASCII)
_places = threading.BoundedSemaphore(MAX_HANGING)


class Kms(Protocol):
    """A key management service. Both calls may raise anything; each is made in a thread of its own.

    The context is what the service must bind the key to (as AAD or encryption context): the same must be
    given again, or unwrapping must fail. It is not secret, and services may log it.
    """

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Return the wrapped form, at most 8 KiB, of a data key of 32 bytes."""

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Return the data key of 32 bytes that was wrapped with this context."""


@dataclass(frozen=True)
class KeyList:
    """What ``keys.json`` says; untrusted.

    Args:
        recipients: of ``keys.age``, sorted: for people, and never a reason to give anybody a key.
        wrapped: the data key as each service wrapped it, by the name that the user gave the service.

    >>> KeyList.parse(KeyList(("age1x",), {"eu": b"blob"}).to_bytes()).wrapped
    {'eu': b'blob'}
    """

    recipients: tuple[str, ...] = ()
    wrapped: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipients", tuple(sorted(set(self.recipients))))
        object.__setattr__(self, "wrapped", dict(sorted(self.wrapped.items())))

    def to_bytes(self) -> bytes:
        """Return the canonical JSON."""
        services = [
            {"blob": base64.b64encode(blob).decode(), "name": name} for name, blob in self.wrapped.items()
        ]
        return canonical({"format": KEYS_FORMAT, "kms": services, "recipients": list(self.recipients)})

    @classmethod
    def parse(cls, raw: bytes) -> KeyList:
        """Read it.

        Raises:
            ArtifactCorrupt: it is not exactly what `to_bytes` writes.
        """
        try:
            found = as_object(
                parse(raw, limit=MAX_KEYS_JSON, containers=MAX_SERVICES + 3),
                {"format", "kms", "recipients"},
                "it",
            )
            as_constant(found["format"], KEYS_FORMAT, "format")
            recipients = tuple(
                as_text(item, "a recipient", _RECIPIENT, "a recipient of age (age1…)")
                for item in as_list(found["recipients"], "recipients")[: MAX_LISTED + 1]
            )
            services = dict(_service(item) for item in as_list(found["kms"], "kms"))
            keys = cls(recipients, services)
            if len(recipients) > MAX_LISTED or keys.to_bytes() != raw:
                raise Malformed("it is too long, not sorted, or not in canonical form")  # noqa: TRY301 - one way out
        except Malformed as error:
            raise ArtifactCorrupt(f"keys.json is not valid: {error}") from None
        return keys


def _service(item: Any) -> tuple[str, bytes]:
    found = as_object(item, {"blob", "name"}, "a service in kms")
    blob = as_base64(found["blob"], "the blob of a service in kms")
    if not 0 < len(blob) <= MAX_BLOB:
        raise Malformed(f"a blob in kms has {len(blob)} bytes, not 1 to {MAX_BLOB}")
    return as_text(
        found["name"], "the name of a service in kms", _NAME, "1 to 63 letters, digits, '.-_'"
    ), blob


def wrap(
    key: bytes,
    services: Mapping[str, Kms],
    context: Mapping[str, str],
    *,
    timeout: float = KMS_TIMEOUT,
) -> dict[str, bytes]:
    """Return a data key as each service wraps it.

    Args:
        key: 32 bytes.
        services: by a name of the user's, which `unwrap` is told again.
        context: see `Kms`.
        timeout: seconds for each.

    Raises:
        InvalidValue: a name cannot be, or there are more than 16.
        KeyUnavailable: a service raised, took too long, or returned no blob.
    """
    if len(services) > MAX_SERVICES:
        raise InvalidValue(f"{len(services)} services are too many; at most {MAX_SERVICES} wrap one key")
    wrapped = {}
    for name, service in services.items():
        if not _NAME.fullmatch(name):
            raise InvalidValue(
                f"the service's name {shown(name)} is not 1 to 63 letters, digits, '.', '-', '_'"
            )
        blob = _bounded(f"wrap of the KMS {name!r}", timeout, service.wrap, key, dict(context))
        if not isinstance(blob, bytes) or not 0 < len(blob) <= MAX_BLOB:
            raise KeyUnavailable(
                f"wrap of the KMS {name!r} returned {_measure(blob)}, not 1 to {MAX_BLOB} bytes"
            )
        wrapped[name] = blob
    return wrapped


def unwrap(
    keys: KeyList,
    services: Mapping[str, Kms],
    context: Mapping[str, str],
    *,
    timeout: float = KMS_TIMEOUT,
) -> bytes:
    """Return the data key from the first service that gives one.

    Args:
        keys: what ``keys.json`` says.
        services: by the names under which they wrapped.
        context: the same as when it was wrapped.
        timeout: seconds for each.

    Raises:
        KeyUnavailable: none gives a key of 32 bytes; the message says of each why.
    """
    problems = []
    for name, service in services.items():
        blob = keys.wrapped.get(name)
        if blob is None:
            problems.append(f"keys.json has no key that the KMS {name!r} wrapped")
            continue
        try:
            key = _bounded(f"unwrap of the KMS {name!r}", timeout, service.unwrap, blob, dict(context))
        except KeyUnavailable as error:
            problems.append(str(error))
            continue
        if isinstance(key, bytes) and len(key) == DATA_KEY_SIZE:
            return key
        problems.append(
            f"unwrap of the KMS {name!r} returned {_measure(key)}, not a key of {DATA_KEY_SIZE} bytes"
        )
    raise KeyUnavailable("; ".join(problems) or "no KMS was given")


def _measure(value: object) -> str:
    """What came, without showing it."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__


def _bounded(what: str, timeout: float, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a daemon thread, and wait so long and no longer.

    Neither its exception's text nor its answer is shown: both may hold the key.
    """
    if not _places.acquire(blocking=False):
        raise KeyUnavailable(f"{what} was not tried: {MAX_HANGING} such calls hang in this process already")
    done = threading.Event()
    outcome: list[Any] = [None, None]

    def run() -> None:
        try:
            outcome[0] = call(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever a user's code raises
            outcome[1] = error
        finally:
            _places.release()
            done.set()

    try:
        threading.Thread(target=run, name="bento-rollout-kms", daemon=True).start()
    except RuntimeError:
        _places.release()
        raise KeyUnavailable(f"{what} was not tried: this process can start no more threads") from None
    if not done.wait(timeout):
        raise KeyUnavailable(f"{what} took longer than {timeout:g} s")
    if outcome[1] is not None:
        raise KeyUnavailable(f"{what} raised {type(outcome[1]).__name__}")  # alone: a traceback shows causes
    return outcome[0]
