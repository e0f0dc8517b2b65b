"""A service with something to say to every verb that looks: candidate, shadow, people, drift, ledger."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout


def to_finding(choice: str, suggestion: object) -> dict[str, object]:
    """Return what a person's choice means to the caller."""
    return {"label": choice, "score": 1.0, "greeting": "a person"}


SPEC = RolloutSpec.parse(
    {
        "name": "afar",
        "routing": {"key": "header:x-user"},
        "shadow": {"second": {"percent": 100}},
        "automation": {
            "read": {
                "degree": "shadow",
                "max_degree": "full",
                "target_error": "5%",
                "score": "field:score",
                "review": {
                    "choices": ["benign", "malignant"],
                    "answer": "tests.integration.apps.asked_from_afar:to_finding",
                    "inputs": "reference",
                    "on_timeout": "wait",
                    "overflow": {"max_open": 5000, "action": "reject"},
                },
                "decisions": {"require": "none"},
            }
        },
        "drift": {
            "endpoint": "greet",
            "reference": {"file": os.environ.get("AFAR_REFERENCE", "reference.json")},
            "data": {},
        },
        "ledger": True,
    },
    "the spec of afar",
)


class Mounted:
    """Mounts what is within below the path that a request names, as an app around the service would."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        root = dict(scope.get("headers", ())).get(b"x-mounted", b"").decode()
        if root:
            scope = {**scope, "root_path": root, "path": f"{root}{scope['path']}"}
        await self._app(scope, receive, send)


def mountable(service: Any) -> Any:
    """Let requests mount a service."""
    service.add_asgi_middleware(Mounted)
    return service


@rollout(champion="first", candidates={"second": Variant(attributes={"greeting": "two"})}, spec=SPEC)
@mountable
@bentoml.service(name="afar", workers=2, threads=4)
class Afar:
    """Greets, and reads findings."""

    greeting = "one"

    @bentoml.api
    def read(self, text: str) -> dict[str, object]:
        return {"label": "benign", "score": 0.99, "greeting": self.greeting}

    @bentoml.api
    def greet(self, age: float) -> str:
        return f"{self.greeting} {age:g}"
