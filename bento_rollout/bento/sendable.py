"""Whether an answer can be sent: one that only breaks on its way out would be nobody's failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bentoml._internal.utils.http import set_cookies
from starlette.responses import FileResponse, Response

__all__ = ["check_sendable"]

FORBIDDEN = (b"\r", b"\n", b"\0")
"""What no header's value may hold."""


def check_sendable(response: Response, context: Any) -> None:
    """Raise for a candidate's answer that would only break while it is being sent.

    Args:
        response: the answer.
        context: the status, headers and cookies that the candidate set through its context.

    Raises:
        FileNotFoundError: for a file that is not there, or is none.
        ValueError: for a status, a header or a cookie that HTTP does not know.
    """
    if isinstance(response, FileResponse) and not Path(response.path).is_file():
        raise FileNotFoundError(f"the candidate answered with {response.path!r}, which is no file")
    _check(response)
    if context.status_code == 200 and not context.metadata and not context.cookies:  # noqa: PLR2004 - the default
        return
    trial = Response()
    trial.status_code = context.status_code
    trial.headers.update(context.metadata)
    set_cookies(trial, context.cookies)
    _check(trial)


def _check(response: Response) -> None:
    status: object = response.status_code
    if not isinstance(status, int) or not 200 <= status <= 999:  # noqa: PLR2004 - three digits
        raise ValueError(f"the candidate's status is {status!r}")
    for name, value in response.raw_headers:
        if any(letter in value for letter in FORBIDDEN):
            raise ValueError(f"the candidate's header {name!r} holds a line break")
