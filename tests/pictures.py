"""Pictures of the console for the guide: drawn anew on request, else compared with what the pages show.

``BENTO_ROLLOUT_TEST_PICTURES=1`` writes them. Beside its pixels a picture holds the words that stood on the
page; a page with other words, or one that looks clearly different, has to be drawn anew.
"""

from __future__ import annotations

import json
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageStat
from PIL.PngImagePlugin import PngInfo

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MOST = 120_000
"""Bytes of a picture."""
BLOCK = 20
"""Pixels: looks are compared as means of squares of this size, so that letters and digits do not count."""
OTHERWISE = 3.0
"""Of 255: the greatest mean difference of two pictures of the same page."""
AGAIN = "the picture is not what the page shows; draw it anew (CONTRIBUTING.md), and look at it"


def words(page: Any) -> set[str]:
    """Return the words of a page, without numbers, times, hashes and random ids, which differ each time."""
    return {
        word
        for word in re.findall(r"[^\W_]+", page.inner_text("body"))
        if word.isalpha() and not re.fullmatch(r"[0-9a-f]{6,}", word)
    }


def shoot(page: Any, name: str, of: str | None = None) -> None:
    """Take a picture of what a browser shows; fails if the one in the guide shows something else.

    Args:
        page: of the browser.
        name: of the file, without its ending.
        of: a selector of the part that is shown; None: what fits the window.
    """
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    shot = page.locator(of).screenshot() if of else page.screenshot()
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(256, kmeans=2)
    file, here = FOLDER / f"{name}.png", words(page)
    if os.environ.get("BENTO_ROLLOUT_TEST_PICTURES"):
        notes = PngInfo()
        notes.add_text("Words", json.dumps(sorted(here)), zip=True)
        picture.save(file, optimize=True, pnginfo=notes)
    with Image.open(file) as kept:
        kept.load()
        there = set(json.loads(kept.info["Words"]))
        assert here == there, f"{name}: {AGAIN}; new: {here - there}, gone: {there - here}"
        assert far(kept, picture) < OTHERWISE, f"{name}: {AGAIN}"
    assert file.stat().st_size < MOST


def far(one: Image.Image, other: Image.Image) -> float:
    """Return how differently two pictures look, from 0 to 255."""
    size = one.width // BLOCK, max(one.height, other.height) // BLOCK
    small = [
        picture.convert("RGB").crop((0, 0, one.width, size[1] * BLOCK)).resize(size, Image.Resampling.BOX)
        for picture in (one, other)
    ]
    return max(ImageStat.Stat(ImageChops.difference(*small)).mean)
