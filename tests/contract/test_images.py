"""Images go in and come out as they are, whoever answers, and whatever a candidate does to them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import bentoml
import pytest
from PIL import Image
from PIL.Image import Image as PILImage

from bento_rollout import RolloutSpec, rollout
from tests.contract.kinds import image_file
from tests.contract.serving import Served, marks


def first_pixel(image: PILImage) -> list[int]:
    """Its red, green and blue."""
    return list(image.convert("RGB").tobytes()[:3])


class Reading:
    """Says what the first pixel is, and turns the picture."""

    @bentoml.api
    def pixel(self, image: PILImage) -> list[int]:
        return first_pixel(image)

    @bentoml.api
    def turned(self, image: PILImage) -> PILImage:
        return image.rotate(90, expand=True)


class Spoiling(Reading):
    """Paints over the picture, or closes it, and fails then."""

    @bentoml.api
    def pixel(self, image: PILImage) -> list[int]:
        image.paste((255, 255, 255), (0, 0, 3, 2))
        raise RuntimeError

    @bentoml.api
    def turned(self, image: PILImage) -> PILImage:
        image.load()
        image.close()
        raise RuntimeError


def both(candidate: type, **limits: Any) -> Any:
    """A service whose every request goes to the candidate first."""
    one: Any = bentoml.service(name="pictures")(Reading)
    two = bentoml.service(name="pictures_two")(candidate)
    spec = RolloutSpec.parse({"weights": {"two": 100}, "variants": {"two": limits}})
    return rollout(champion="one", candidates={"two": two}, spec=spec)(one)


class Negative(Reading):
    """Another answer to the same picture."""

    @bentoml.api
    def pixel(self, image: PILImage) -> list[int]:
        return [255 - band for band in first_pixel(image)]


@pytest.mark.parametrize("limits", [{}, {"fallback": "champion", "timeout": "20s"}], ids=["plain", "guarded"])
def test_a_candidate_sees_the_picture(limits: dict[str, Any], serve: Callable[..., Served]) -> None:
    """Every pixel arrives, and what comes back is the picture in the format in which it was sent."""
    app = serve(both(Negative, **limits))
    answer = app.request("POST", "/pixel", **image_file())
    assert (answer.status_code, answer.json(), marks(answer)["variant"]) == (200, [255, 0, 255], "two")
    answer = app.request("POST", "/turned", **image_file())
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("image/")
    assert Image.open(io.BytesIO(answer.content)).size == (2, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_champion_answers_the_picture_that_was_sent(kind: str, serve: Callable[..., Served]) -> None:
    """A candidate that paints over the picture, or closes it, has its own: the champion's is whole."""
    app = serve(both(Spoiling, fallback="champion"))
    answer = app.request("POST", "/pixel", **image_file(kind))
    assert (answer.status_code, marks(answer)["reason"]) == (200, "fallback")
    assert answer.json() != [255, 255, 255]
    answer = app.request("POST", "/turned", **image_file(kind))
    assert (answer.status_code, marks(answer)["reason"]) == (200, "fallback")
    assert Image.open(io.BytesIO(answer.content)).size == (2, 3)
