"""Asks the operators' doors over a real store, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from bento_rollout.admin import admin_app
from bento_rollout.admin.tokens import Tokens
from bento_rollout.operations import Rollout, open_rollout

Say = Callable[..., tuple[int, str, str]]
"""Runs one command; returns exit code, standard output and standard error."""

TOKEN = "correct-horse-battery-staple"


def opened() -> Rollout:
    """Open the rollout as the service does."""
    return open_rollout("screening", author="nobody")


def client(app: Any, token: str | None = TOKEN) -> httpx.AsyncClient:
    """Return an HTTP client whose requests go straight to an app."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers, timeout=60)


class Door:
    """Asks the app one thing at a time, and keeps every answer's text."""

    def __init__(self, tokens: Tokens) -> None:
        self.app = admin_app(opened, tokens=tokens)
        self.seen: list[str] = []

    def ask(self, method: str, path: str, token: str | None = TOKEN, **more: Any) -> httpx.Response:
        """Send one request."""

        async def asking() -> httpx.Response:
            async with client(self.app, token) as http:
                return await http.request(method, path, **more)

        answer = asyncio.run(asking())
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def post(self, verb: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send a verb with a JSON body."""
        return self.ask("POST", f"/rollout/admin/{verb}", json=body, **more)

    def send(self, verb: str, content: Any) -> httpx.Response:
        """Send a verb with these bytes."""
        return self.ask("POST", f"/rollout/admin/{verb}", content=content)

    def state(self) -> dict[str, Any]:
        """Return the state, as any operator may read it."""
        answer = self.ask("GET", "/rollout/admin/state")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem document that an answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document.keys() >= {"type", "title", "detail"}
    return dict(document)


def revision() -> int:
    """Return the revision that is current."""
    return open_rollout("screening").state.revision
