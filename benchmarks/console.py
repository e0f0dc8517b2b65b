"""How fast people get through cases in the console: a real browser and server, and a long queue.

``python -m benchmarks.console [--open 100000]`` prints how long ten answers by keyboard take, and how long
the server takes from an answer to the next case. It fails above 2 s, or above 100 ms in the 95th percentile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx

from bento_rollout.reviewing import Shown
from bento_rollout.store.reviews_file import ReviewsFile
from bento_rollout.store.reviews_rows import Submission
from bento_rollout.store.reviews_submitting import insert
from tests.browsing import chromium
from tests.console.site import TOKENS, Site, picture, served
from tests.console.visitor import Visitor

ANSWERS, SECONDS = 10, 2.0
REQUESTS, MILLISECONDS = 300, 100.0


def fill(site: Site, cases: int) -> None:
    """Put so many cases into the queue, in one transaction."""
    first = site.ask(Shown("json", {"radius": 14.1, "texture": 20.3}))
    file = ReviewsFile(site.place)
    with file.writing() as db:
        for number in range(cases - 1):
            case = first.__class__(
                **{name: getattr(first, name) for name in first.__slots__}
                | {"id": f"{number + (1 << 64):032x}", "created": first.created + number / 1e6}
            )
            insert(db, Submission(case), first.created, seal=_no_seal)
    file.close()


def _no_seal() -> Any:
    raise AssertionError("nothing is sealed here")


def by_keyboard(site: Site) -> float:
    """Return the seconds that ten answers take whose reader needs no time to think."""
    for _ in range(ANSWERS + 1):
        site.ask(picture())
    with served(site.app()) as url, chromium() as browser:
        page = browser.new_page()
        page.goto(f"{url}/rollout/console/login")
        page.fill("#token", TOKENS["ada"])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/console")
        page.goto(f"{url}/rollout/console/review")
        page.keyboard.press("n")
        page.wait_for_selector("#answer")
        begin = time.perf_counter()
        for number in range(ANSWERS):
            task = page.locator("#work").get_attribute("data-task")
            page.keyboard.press("1" if number % 2 else "2")
            page.wait_for_function("old => document.querySelector('#work').dataset.task !== old", arg=task)
        return time.perf_counter() - begin


def at_the_server(site: Site) -> list[float]:
    """Return the milliseconds from each answer to the next case, over HTTP on one connection."""
    found = []
    with served(site.app()) as url:
        visitor = Visitor(site, "ben")
        client: Any = httpx.Client(base_url=url)  # it has the same verbs
        visitor.client = client
        answer = visitor.login(TOKENS["ben"])
        cookie = answer.headers["set-cookie"].partition(";")[0]
        visitor.client.headers.update({"Cookie": cookie, "Host": urlsplit(url).netloc})
        visitor.get("/review")
        visitor.press("next", part=True)
        for _ in range(REQUESTS):
            begin = time.perf_counter()
            visitor.press("answer", part=True, choice="benign")
            found.append((time.perf_counter() - begin) * 1e3)
            assert 'id="answer"' in visitor.page
    return sorted(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both, and say by the exit code whether they are fast enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=100_000, help="cases in the queue (100000)")
    cases = parser.parse_args(arguments).open
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        seconds = by_keyboard(site)
        print(f"{ANSWERS} answers by keyboard: {seconds:.2f} s (at most {SECONDS:g})")
        fill(site, cases)
        times = at_the_server(site)
        p95 = times[int(len(times) * 0.95)]
        print(
            f"answer to next case with {cases} open, at the server: median {median(times):.1f} ms, "
            f"p95 {p95:.1f} ms (at most {MILLISECONDS:g})"
        )
        site.presence.leave()
        site.reviews.close()
    return int(seconds > SECONDS or p95 > MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
