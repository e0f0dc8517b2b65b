"""What crosses from a worker to a process beside it and back: a request's head, a response's, an error."""

from __future__ import annotations

import contextlib
import pickle
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bentoml._internal.context import ServiceContext, _response_var
from bentoml._internal.utils.http import Cookie
from pydantic import BaseModel
from starlette.requests import Request

from ..telemetry.log import described, place_of
from .context import request_scope

__all__ = [
    "Effects",
    "RemoteError",
    "apply_effects",
    "effects_of",
    "error_from",
    "error_to",
    "head",
    "packed",
    "request_of",
    "unpacked",
]

CARRIED = (
    "type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server", "path_params", "request_id", "trace_id",
)  # fmt: skip
"""What a candidate elsewhere sees of a request's ASGI scope; and of its state what can be pickled."""

Effects = tuple[int, list[tuple[bytes, bytes]], list[Cookie]]
"""Status, headers and cookies that a candidate set through its context."""


class RemoteError(Exception):
    """A candidate in a process of its own raised what cannot be brought here: told in words."""


def head() -> dict[str, Any] | None:
    """Return what another process must know of the request that is being served; None outside of requests."""
    scope = request_scope()
    if scope is None:
        return None
    found = {name: scope[name] for name in CARRIED if name in scope}
    found["headers"] = [(bytes(name), bytes(value)) for name, value in scope.get("headers", ())]
    found["state"] = {
        name: value
        for name, value in dict(scope.get("state") or {}).items()
        if name != "temp_dir" and _crosses(value)  # it is the worker's, who clears it when the answer is out
    }
    return found


@dataclass(frozen=True)
class Dumped:
    """The one input of an endpoint with a root model: BentoML's class of it cannot be imported anywhere."""

    fields: dict[str, Any]


def packed(args: Sequence[Any], spec: Any) -> list[Any]:
    """Return positional arguments in a form that crosses; ``spec`` is the endpoint's input spec."""
    return [
        Dumped(arg.model_dump(by_alias=True, round_trip=True))
        if isinstance(arg, spec) and isinstance(arg, BaseModel)
        else arg
        for arg in args
    ]


def unpacked(args: Sequence[Any], spec: Any) -> list[Any]:
    """Return the arguments that `packed` made fit to cross."""
    return [spec.model_validate(arg.fields) if isinstance(arg, Dumped) else arg for arg in args]


def request_of(carried: Mapping[str, Any]) -> Request:
    """Return the request that `head` described; its body stays where it was read."""
    request = Request(dict(carried))
    request.metadata = request.headers  # type: ignore[attr-defined]  # as BentoML's own have it
    return request


def effects_of(response: ServiceContext.ResponseContext) -> Effects | None:
    """Return what was set on a response's context; None when nothing was."""
    headers = list(response.metadata.raw)  # type: ignore[attr-defined]  # it is starlette's MutableHeaders
    if response.status_code == 200 and not headers and not response.cookies:  # noqa: PLR2004 - the default
        return None
    return response.status_code, headers, list(response.cookies)


def apply_effects(effects: Effects | None, response: ServiceContext.ResponseContext | None = None) -> None:
    """Set here, or on another response, what a candidate elsewhere set on its response's context."""
    response = _response_var.get(None) if response is None else response
    if effects is None or response is None:
        return
    response.status_code, headers, cookies = effects
    for name, value in headers:
        response.metadata.append(name.decode("latin-1"), value.decode("latin-1"))
    response.cookies.extend(cookies)


def error_to(error: BaseException) -> tuple[bytes | None, str, str, str]:
    """Return an error in a form that crosses: itself, if it can be copied, its words, trace and place."""
    told, place = described(error), place_of(error)
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-20_000:]
    try:
        copied = pickle.dumps(error, 5)
        pickle.loads(copied)  # noqa: S301 - made in the line above
    except Exception:  # noqa: BLE001 - many exceptions cannot be copied: then they are told in words
        return None, told, trace, place
    return copied, told, trace, place


def error_from(copied: bytes | None, told: str, trace: str, place: str) -> BaseException:
    """Return the error that `error_to` described, its origin as its cause."""
    error: BaseException = RemoteError(told)
    if copied is not None:
        try:
            loaded = pickle.loads(copied)  # noqa: S301 - from our own child
            error = loaded if isinstance(loaded, BaseException) else error
        except Exception:  # noqa: BLE001 - its class may not be known here
            error = RemoteError(told)
    with contextlib.suppress(Exception):
        error.place = place  # type: ignore[attr-defined]  # for whoever says where it was raised
    error.__cause__ = RemoteError(f"in the candidate's process:\n{trace}")
    return error


def _crosses(value: Any) -> bool:
    try:
        pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - a lock, a connection, a temporary folder's handle
        return False
    return True
