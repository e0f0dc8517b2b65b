"""Somebody who visits the console without a script: links and plain forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

from httpx import Response
from starlette.testclient import TestClient

from tests.console.site import ADMIN, TOKENS, Site

OURS = {"Sec-Fetch-Site": "same-origin"}
BASE = "/rollout/console"


class Visitor:
    """A browser that knows cookies, links and forms.

    Args:
        site: the console.
        who: whose token is shown; empty: nobody logs in.
        app: instead of the site's own.
    """

    def __init__(self, site: Site, who: str = "", app: Any = None) -> None:
        self.client = TestClient(
            app or site.app(), base_url="https://console.example", follow_redirects=False
        )
        self.page = ""
        self.status = 0
        if who:
            assert self.login(ADMIN if who == "admin" else TOKENS[who]).status_code == 303

    def login(self, token: str) -> Any:
        """Show a token."""
        return self.client.post(f"{BASE}/login", data={"token": token}, headers=OURS)

    def get(self, path: str = "", **headers: str) -> str:
        """Open a page; redirects are followed."""
        return self._seen(self.client.get(f"{BASE}{path}", headers=headers, follow_redirects=True))

    def post(self, path: str, data: Mapping[str, str], **headers: str) -> str:
        """Send a form as it is."""
        return self._seen(
            self.client.post(f"{BASE}{path}", data=data, headers={**OURS, **headers}, follow_redirects=True)
        )

    def press(
        self, verb: str, fields: Mapping[str, str] | None = None, *, part: bool = False, **more: str
    ) -> str:
        """Press a button of the form on the page that leads to this verb, with these fields filled in."""
        forms = re.findall(r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>', self.page, re.DOTALL)
        path, form = next((path, form) for path, form in forms if path.endswith(f"/{verb}"))
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form))
        data = {name: unescape(value) for name, value in hidden.items()}
        data |= {**(fields or {}), **more}
        headers = {"HX-Request": "true"} if part else {}
        return self.post(path.removeprefix(BASE), data, **headers)

    def take(self, path: str = "/review") -> str:
        """Open the page, and take a case."""
        self.get(path)
        return self.press("next")

    def _seen(self, response: Response) -> str:
        self.page, self.status = response.text, response.status_code
        return self.page
