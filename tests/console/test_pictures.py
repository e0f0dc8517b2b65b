"""The pictures of the guide page; `BENTO_ROLLOUT_TEST_PICTURES=1` writes them anew."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bento_rollout.reviewing import Role, Status
from tests.browsing import chromium
from tests.console.site import CHOICES, Site, picture
from tests.console.test_in_browser import Tab, tab
from tests.pictures import shoot


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a console of people who have answered for a while."""
    site = Site(tmp_path_factory.mktemp("worked"))
    rollout, chance = site.rollout().acting_as("dora"), random.Random(1)
    for percent, why in (
        (5, "a first look"),
        (10, "it holds"),
        (25, "evidence is good"),
        (12.5, "slow on Fridays"),
    ):
        rollout.set_weights({"boosted": percent}, reason=why)
    site.describe()
    for number in range(160):
        truth = chance.choice(CHOICES)
        said = truth if chance.random() < 0.97 else CHOICES[0]
        two = number % 4 == 0
        score = round(0.7 + 0.3 * chance.random(), 3)
        site.ask_suggested(said, score=score, reviewers=1 + two, adjudicate=two)
        site.answer("ada", truth)
        if two:
            site.answer("ben", truth if chance.random() < 0.9 else CHOICES[0])
    for _ in range(site.reviews.stats().adjudicating):
        site.answer("cleo", "malignant", role=Role.ADJUDICATOR)
    yield site
    site.presence.leave()
    site.reviews.close()


def reviewing(site: Site, one: Tab) -> None:
    """Take a case with a picture."""
    site.ask_suggested("malignant", shown=picture())
    one.login("ada").take()


def revealing(site: Site, one: Tab) -> None:
    """See that the model says otherwise."""
    reviewing(site, one)
    one.answer("1")


def looking(_: Site, one: Tab) -> None:
    """See the overview; the store lies elsewhere on every machine."""
    one.login("admin").page.get_by_text("sqlite:///").evaluate(
        "place => { place.textContent = 'sqlite:////srv/rollouts/rollouts.db'; }"
    )


VIEWS: dict[str, tuple[Callable[[Site, Tab], object], str, int, int]] = {
    "console-overview": (looking, "light", 1100, 800),
    "console-agreement": (lambda _, one: one.login("admin").open("/agreement"), "light", 1100, 800),
    "console-automation": (lambda _, one: one.login("admin").open("/automation"), "light", 1100, 1180),
    "console-review": (reviewing, "light", 1100, 560),
    "console-revealed": (revealing, "dark", 390, 900),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_the_guide_shows_what_there_is(browser: Any, worked: Site, name: str) -> None:
    """Each picture has the words of the page that it shows, looks like it, and is small."""
    act, scheme, width, height = VIEWS[name]
    worked.reviews.withdraw([one.id for one in worked.reviews.list(status=Status.OPEN)])
    with tab(browser, worked, color_scheme=scheme, viewport={"width": width, "height": height}) as one:
        act(worked, one)
        shoot(one.page, name)
        assert one.is_quiet()
