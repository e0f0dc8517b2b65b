"""A person sends an answered call to people by hand, in a service whose workers say how people are asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bento_rollout.errors import NotFound
from bento_rollout.operations import Rollout
from bento_rollout.reviewing import Given, Selection
from bento_rollout.store.feedback import Feedback
from tests.contract.reading import CANARY, certify, claimed, operator, people_of, reading, spec_of
from tests.contract.serving import Served
from tests.contract.test_automation import eventually


def kept(rolled: Rollout, prediction: str) -> bool:
    """Whether the ledger has a prediction: it is written a moment after the answer."""
    try:
        return bool(rolled.ledger.story(prediction))
    except NotFound:
        return False


@pytest.mark.parametrize("endpoint", ["read", "plain", "rows"])
def test_an_answered_call_is_looked_at(serve: Callable[..., Served], endpoint: str) -> None:
    """A person sees its input, and decides by the endpoint's own choices; the answer was given long ago."""
    spec = spec_of("assist", endpoint, audit={"rate": 0}, score=lambda _: 0.97)
    served = serve(
        reading(spec.model_copy(update={"ledger": spec.ledger.model_copy(update={"inputs": True})}))
    )
    certify(served, endpoint, "partial")
    bodies = {"read": {"text": "x"}, "plain": {"age": 61}, "rows": {"rows": [[1.0, 2.0]]}}
    response = served.post(f"/{endpoint}", bodies[endpoint])
    assert response.headers["x-rollout-decided-by"] == "model"
    name, rolled, people = response.headers["x-rollout-prediction-id"], operator(served), people_of(served)
    eventually(lambda: kept(rolled, name))
    found = rolled.ask_review(name, reason="a second look")
    assert (found["endpoint"], found["new"], found["selection"]) == (endpoint, True, "manual")
    claim = claimed(people)
    assert claim.case.input.kind in ("text", "json", "table")
    assert claim.case.choices == ("benign", "malignant")
    path = f"/rollout/decisions/{found['case']}"
    assert served.request("GET", path).status_code == 404  # it is nobody's call
    given = claim.case.id, "ann", claim.token, Given("benign")
    first = people.reviews.answer(*given, make=people.make)
    assert first.suggestion is not None
    assert (CANARY in str(first.suggestion.output)) is (endpoint == "read")
    assert first.suggestion.digest == rolled.state.champions_digest
    people.reviews.answer(*given, make=people.make)
    eventually(lambda: rolled.ledger.story(name).labels or Feedback(people.reviews.path.parent).tell())
    (label,) = eventually(lambda: rolled.ledger.story(name).labels)
    assert (label.value, label.selection) == ("benign", Selection.MANUAL)
    assert served.request("GET", path).status_code == 404
    assert not rolled.ask_review(name)["new"]
