"""The console of a real server: a person answers in a browser what a caller asked."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.browsing import chromium
from tests.integration.running import serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.readings:Readings"


def test_a_person_answers_in_a_browser(tmp_path: Path) -> None:
    """The caller gets the choice when it can be taken back no more; every worker knows the session."""
    (tmp_path / "reviewers").write_text("ada:token-of-ada\n")
    environment = {"BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(tmp_path / "reviewers")}
    with serving(TARGET, tmp_path, rollout="readings", workers=2, environment=environment) as server:
        url = f"http://127.0.0.1:{server.ready().port}"
        asked = httpx.post(
            f"{url}/read", json={"study": "s1"}, headers={"Prefer": "respond-async"}, timeout=60
        )
        assert asked.status_code == 202
        with chromium() as browser:
            page = browser.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"{url}/rollout/console")
            page.fill("#token", "token-of-ada")
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{url}/rollout/console")
            assert page.get_by_role("heading", name="readings").is_visible()
            for _ in range(10):  # whichever worker answers
                page.goto(f"{url}/rollout/console/review")
                assert page.get_by_role("heading", name="Review").is_visible()
            page.keyboard.press("n")
            page.wait_for_selector("#answer")
            assert "s1" in page.inner_text("#work")
            page.get_by_role("button", name="malignant").click()
            page.wait_for_selector("#keep, #next")
            if page.locator("#keep").is_visible():
                page.keyboard.press("n")
                page.wait_for_selector("#next")
            assert complaints == []

        def decided() -> dict[str, str] | None:
            found = httpx.get(f"{url}{asked.headers['location']}", timeout=60).json()
            return found if found["status"] == "answered" else None

        found = until(decided, "the answer is final", 60)
        assert found == {"status": "answered", "answer": "malignant", "decided_by": "human"}


def test_a_server_without_tokens_has_no_console(tmp_path: Path) -> None:
    """It says only that."""
    with serving(TARGET, tmp_path, rollout="readings", workers=2) as server:
        url = f"http://127.0.0.1:{server.ready().port}/rollout/console"
        for path in ("", "/login", "/review", "/static/x/console.css"):
            answer = httpx.get(url + path, timeout=60)
            assert answer.status_code == 403
            assert answer.text.startswith("The console is closed: no usable token is configured")
