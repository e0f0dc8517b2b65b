"""The page of degrees where thresholds are by segment."""

from __future__ import annotations

from bento_rollout.applying import ladders_of
from bento_rollout.spec import RolloutSpec
from tests.console.site import ENDPOINT, SPEC, Site
from tests.console.visitor import Visitor


def test_each_segment_has_its_line(site: Site) -> None:
    """How many cases it has, and who decides: people, until it is certified."""
    written = {**SPEC["automation"][ENDPOINT], "segments": {"ward": ["icu", "er"]}, "target_error": "10%"}
    site.ladders = ladders_of(RolloutSpec.parse({**SPEC, "automation": {ENDPOINT: written}}))
    site.describe()
    for number in range(45):
        site.ask_suggested("benign", score=0.9, segment="ward=icu" if number < 40 else "")
        site.answer("ada", "benign")
    visitor = Visitor(site, "admin")
    page = visitor.get("/automation")
    assert "Segment ward=icu</dt><dd>40 cases; people decide" in page
    assert "Segment ward=er</dt><dd>0 cases; people decide" in page
    page = visitor.press("calibrate")
    assert "certified for 88.9% of the traffic" in page
    assert "Segment ward=icu</dt><dd>40 cases; the model decides from 0.9" in page
    assert "Segment ward=er</dt><dd>0 cases; people decide" in page
