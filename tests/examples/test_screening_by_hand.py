"""The walk-through of docs/screening.md: commands are run, pictures are taken of the running service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.screening.readers import read_tokens
from tests.browsing import chromium
from tests.console.test_in_browser import Tab, tab_at
from tests.integration.running import Server
from tests.pictures import shoot
from tests.test_docs import ROOT, commands_in

pytestmark = [pytest.mark.server, pytest.mark.slow]

PAGE = ROOT / "docs" / "screening.md"
PART = re.compile(r"^```console\n(.*?)^```$|^!\[[^]]*\]\(pictures/([\w-]+)\.png\)", re.MULTILINE | re.DOTALL)
SERVE = "bentoml serve examples.screening.service:Screening"


def reviewing(one: Tab) -> None:
    """Take the case that waits."""
    one.take()


def revealed(one: Tab) -> None:
    """Answer, and see that the model says otherwise."""
    one.take().answer("1")


def page(path: str) -> Callable[[Tab], object]:
    """Return what opens a page."""
    return lambda one: one.open(path)


def verified(one: Tab) -> None:
    """Verify the trail."""
    one.open("/trail").page.get_by_role("button", name="Verify").click()
    one.page.wait_for_selector("text=whole")


Look = tuple[Callable[[Tab], object], str, tuple[int, int], str | None]
PICTURES: dict[str, Look] = {
    "screening-review": (reviewing, "light", (1100, 520), None),
    "screening-agreement": (page("/agreement"), "light", (1100, 800), None),
    "screening-revealed": (revealed, "dark", (390, 800), None),
    "screening-evidence": (page("/automation"), "light", (1100, 800), ".two.even"),
    "screening-demoted": (page("/automation"), "dark", (1100, 800), ".ladder"),
    "screening-trail": (verified, "light", (1100, 640), None),
}


class Walk:
    """Somebody who follows the page in two terminals and a browser."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.home = folder / ".demo" / "screening"
        self.home.mkdir(parents=True)
        self.exports: list[str] = []
        self.server: Server | None = None
        self.seen: list[str] = []

    def run(self, line: str) -> str:
        """Run a command; returns what it prints."""
        if line.startswith("export "):
            self.exports.append(line)
        if line == SERVE:
            self.server = Server(
                "examples.screening.service:Screening", self.home, rollout="screening", workers=1,
                environment={"BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(self.home / "readers")}, cwd=self.folder,
            ).ready()  # fmt: skip
            return ""
        command = line
        if self.server is not None:
            address = f"127.0.0.1:{self.server.port}"
            command = line.replace("localhost:3000", address)
            command = re.sub(r"(screening\.clinic) ", rf"\1 --url http://{address} ", command)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("BENTO")}
        found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", "\n".join([*self.exports, command])],
            cwd=self.folder,
            env={
                **environ,
                "PATH": found,
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "200",
                "BENTOML_DO_NOT_TRACK": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        return "" if line.startswith("export ") else done.stdout

    def look(self, name: str) -> None:
        """Do in the browser what a picture shows."""
        assert self.server is not None
        act, scheme, (width, height), part = PICTURES[name]
        size = {"width": width, "height": height}
        url = f"http://127.0.0.1:{self.server.port}"
        with tab_at(self.browser, url, color_scheme=scheme, viewport=size) as one:
            one.enter(read_tokens(self.home / "readers")["dora"])
            act(one)
            shoot(one.page, name, part)
            if name in ("screening-review", "screening-revealed"):
                one.page.keyboard.press("1" if name == "screening-review" else "n")
                one.page.wait_for_selector("text=last one for now")
            assert one.is_quiet(), (one.complaints, one.requests)
        self.seen.append(name)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """Yield somebody with a browser; the server is stopped at the end."""
    with chromium() as browser:
        made = Walk(browser, tmp_path)
        yield made
        if made.server is not None:
            made.server.stop()


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_the_walk_through(walk: Walk) -> None:
    """Who follows it sees what it shows, in the terminal and in the browser."""
    for block, picture in PART.findall(PAGE.read_text(encoding="utf-8")):
        if picture:
            walk.look(picture)
        for command in commands_in(block):
            command.check(walk.run(command.line))
    assert walk.seen == list(PICTURES)
