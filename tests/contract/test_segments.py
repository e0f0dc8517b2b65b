"""Segments of the traffic in a service: who answers in which, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bento_rollout.errors import InvalidSpec
from tests.contract.reading import answered, asking, certify, claimed, people_of, service
from tests.contract.serving import Served

TWO, ODD = "text=two nodules", "text=odd"
SEGMENTS = {"text": ["two nodules", "odd"]}


def test_each_segment_is_answered_by_its_own_threshold(serve: Callable[..., Served]) -> None:
    """The model where its segment is certified; a person in another one, and in none."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": 0}, segments=SEGMENTS))
    certify(served, "read", "partial", threshold=None, by_segment={TWO: 0.9})
    people = people_of(served)
    sure = served.post("/read", {"text": "two nodules"})
    assert sure.headers["x-rollout-decided-by"] == "model"
    for text in ("odd", "zq-elsewhere"):
        waiting = asking(served, "read", json={"text": text})
        answered(people)
        assert waiting.result(20).headers["x-rollout-decided-by"] == "human"
        assert people.reviews.list("read")[0].why == ("no threshold is certified",)
    type(served.site.instance).says = {"label": "malignant", "score": 0.89}
    waiting = asking(served, "read", json={"text": "two nodules"})
    answered(people)
    waiting.result(20)
    assert people.reviews.list("read")[0].why == ("score 0.89 below 0.9",)
    assert [one.segment for one in people.reviews.judged("read")] == [ODD, "", TWO]


@pytest.mark.parametrize("inputs", ["plain", "reference"])
@pytest.mark.parametrize("degree", ["human", "shadow", "assist"])
def test_a_case_knows_its_segment_at_every_degree(
    serve: Callable[..., Served], degree: str, inputs: str
) -> None:
    """Also where the input itself is not kept."""
    review = {"inputs": inputs}
    served = serve(service(degree, "read", limit=30.0, segments=SEGMENTS, review=review))
    waiting, people = asking(served, "read"), people_of(served)
    claim = claimed(people)
    assert claim.case.segment == TWO
    people.reviews.withdraw([claim.case.id])
    waiting.result(20)


def test_audits_are_of_segments(serve: Callable[..., Served]) -> None:
    """What watches the model has a test for each segment that is certified."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": "100%"}, segments=SEGMENTS))
    certify(served, "read", "partial", threshold=None, by_segment={TWO: 0.9})
    assert served.post("/read", {"text": "two nodules"}).headers["x-rollout-decided-by"] == "model"
    people = people_of(served)
    assert claimed(people).case.segment == TWO
    people._watch()
    digest = served.site.serving._digests["reading"]
    assert set(people.reviews.audits("read", digest)) == {TWO}


def test_segments_of_an_argument_that_is_not_there(serve: Callable[..., Served]) -> None:
    """It is refused with its name when the service is defined."""
    with pytest.raises(InvalidSpec, match=r"automation\.read\.segments: the endpoint has no argument 'ward'"):
        serve(service("assist", "read", segments={"ward": ["icu"]}))
