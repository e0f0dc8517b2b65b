"""`Making`: the answer that a caller gets for what a person chose, made as the endpoint makes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from _bentoml_impl.serde import ALL_SERDE
from _bentoml_sdk.io_models import IORootModel
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from ..calls import Late
from ..errors import InvalidValue
from ..limited import limited
from ..reviewing import Case, Given
from ..showing import plain_of
from ..values import shown

__all__ = ["Made", "Making", "plain_output"]

PATIENCE = 10.0
"""Seconds that the user's ``answer:`` has, and the response that is made of what it returns."""

MOST_BYTES = 1 << 26
"""Bytes of a response that is kept."""

Made = tuple[str, bytes]
"""Media type and body of what a caller gets."""


class Making:
    """Makes answers of choices for one endpoint. Used from threads, never on an event loop.

    Args:
        endpoint: its name.
        spec: what makes its responses; validates what they are made of.
        outputs: its outputs by choice, where the output's type is one; empty: any text; None: it is none.
        answer: the user's own, called with the choice and what the model says; None: there is none.
    """

    def __init__(
        self,
        endpoint: str,
        spec: Any,
        outputs: Mapping[str, Any] | None,
        answer: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self._endpoint, self._spec, self._outputs, self._answer = endpoint, spec, outputs, answer

    def make(self, case: Case, given: Given) -> Made:
        """Return media type and body of what the caller gets for an answer.

        ``answer:`` is given what the model says where the reviewer could see it, too: at degrees at which
        that is hidden it is None, so that the answer does not depend on it.

        Raises:
            InvalidValue: the choice, or what ``answer:`` made of it, is no output of the endpoint.
        """
        if case.choices and self._outputs and set(case.choices).isdisjoint(self._outputs):
            raise InvalidValue(
                f"this case was asked when the choices were {', '.join(case.choices)}; the service has "
                f"{', '.join(self._outputs)} now, so none of them can be its answer: skip it, and let an "
                f"operator end it: rollout.reviews.withdraw([{case.id!r}])"
            )
        says = None if case.degree.blind or case.suggestion is None else case.suggestion.output
        return self.of(given.choice, says)

    def of(self, choice: Any, says: Any = None) -> Made:
        """Return them for a choice.

        Args:
            choice: what was chosen, or what the form holds.
            says: what the model says, as plain data; None: it says nothing, or it is hidden.

        Raises:
            InvalidValue: as `make` does.
        """
        return self._in_time(lambda: self._made(self._output(choice, says)))

    def settle(self, case: Case) -> Made:
        """Return them for a case whose ``on_timeout`` is ``model`` or ``default``.

        Raises:
            InvalidValue: there is nothing of which the endpoint's output could be made.
        """
        if case.on_timeout != "model":
            return self.make(case, Given(case.default))
        if case.suggestion is None:
            raise InvalidValue(f"the model has said nothing about case {case.id}")
        output = case.suggestion.output
        return self._in_time(lambda: self._made(output))

    def _in_time(self, make: Callable[[], Made]) -> Made:
        """Return what ``make`` does, unless that takes too long: an output may have no end either."""
        try:
            return limited(PATIENCE, make)
        except Late:
            raise InvalidValue(
                f"automation.{self._endpoint}.review.answer: no output within {PATIENCE:g} s"
            ) from None

    def _output(self, choice: Any, says: Any) -> Any:
        if self._answer is not None:
            try:
                return self._answer(choice, says)
            except Exception as error:  # noqa: BLE001 - the user's own; its text may hold payload
                raise InvalidValue(
                    f"automation.{self._endpoint}.review.answer raised {type(error).__name__} for this choice"
                ) from None
        if not self._outputs:
            return choice
        if (text := str(choice)) not in self._outputs:
            raise InvalidValue(f"{shown(choice)} is none of the choices: {', '.join(self._outputs)}")
        return self._outputs[text]

    def _made(self, output: Any) -> Made:
        try:
            return asyncio.run(_told(self._spec, self._valid(output)))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the whole of it"
            raise InvalidValue(
                f"this is no output of endpoint {self._endpoint!r}: {error.error_count()} places are wrong, "
                f"the first is {where}"
            ) from None
        except InvalidValue:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an output does when it is looked at
            raise InvalidValue(
                f"this is no output of endpoint {self._endpoint!r}: {type(error).__name__}"
            ) from None

    def _valid(self, output: Any) -> Any:
        """Return an output as the endpoint's spec takes it, or raise what that raises."""
        spec = self._spec
        if issubclass(spec, IORootModel) or isinstance(output, (Response, spec)):
            return output  # a root is validated when its response is made
        fields = output.model_dump() if isinstance(output, BaseModel) else output
        return spec.model_validate(fields)


async def _told(spec: Any, output: Any) -> Made:
    """Return the media type and the body of the response that BentoML makes."""
    serde = ALL_SERDE["application/json"]()
    response = output if isinstance(output, Response) else await spec.to_http_response(output, serde)
    media_type, body = "", bytearray()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal media_type
        if message["type"] == "http.response.start":
            pairs = dict(message.get("headers", ()))
            media_type = bytes(pairs.get(b"content-type", b"")).decode("latin-1")
        else:
            body.extend(message.get("body", b""))
            if len(body) > MOST_BYTES:
                raise InvalidValue(f"the response has more than {MOST_BYTES >> 20} MiB, which is not kept")

    # By this version nobody listens for a caller that leaves, who would cut a stream short.
    asgi = {"version": "3.0", "spec_version": "2.4"}
    await response({"type": "http", "asgi": asgi, "method": "POST", "headers": []}, receive, send)
    return media_type, bytes(body)


def plain_output(output: Any) -> Any:
    """Return what a model answered as plain data: of a response its body; never raises."""
    if isinstance(output, Response):
        body = bytes(getattr(output, "body", b""))
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return {"media_type": output.media_type, "bytes": len(body)}
    return {"file": output.name} if isinstance(output, Path) else plain_of(output)
