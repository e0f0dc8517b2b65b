"""The spec of the guide, letter by letter, and what reviewers see of a call whose input lies elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import bentoml
import pytest

from bento_rollout import rollout
from bento_rollout.specfile import parse_spec
from tests.contract import readers
from tests.contract.reading import answered, asking, claimed, people_of, service
from tests.contract.serving import Served

AS_WRITTEN = """\
automation:
  read:                            # the endpoint
    degree: shadow                 # human | shadow | assist | partial | full, or 1 to 5
    max_degree: partial
    score: max_probability         # or field:NAME, or a callable
    target_error: 2%               # or per class: {malignant: 0.5%, benign: 5%}
    confidence: 95%
    ask_when: [{score_below: threshold}, {drift: true}, {missing: [amount]}, {above: {amount: 10000}}]
    audit: {rate: 2%}
    review:
      choices: [benign, malignant] # or taken from the output type; else a form from its JSON schema
      answer: readers:to_finding   # (choice, suggestion) -> output
      inputs: reference            # reference | sealed | plain: no default; reference calls display
      keep: 30d
      suggestion: after_answer     # hidden | after_answer | shown; degrees human and shadow force hidden
      blind_rate: 10%
      overlap: {share: 5%, adjudicate: true}
      lease: 10m
      due: 4h
      on_timeout: wait             # model | default | reject | wait: no default
      overflow: {max_open: 5000, action: reject}
"""


class Screening:
    """An endpoint as the spec speaks of."""

    @bentoml.api
    def read(self, amount: float) -> dict[str, Any]:
        return {"label": "malignant", "score": 0.97}


def test_the_spec_of_the_guide_is_valid_as_it_is(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no ``display:``: a reviewer sees the id of the call, and looks the case up elsewhere."""
    monkeypatch.setitem(sys.modules, "readers", readers)
    spec = parse_spec(AS_WRITTEN.encode(), "rollout.yaml")
    served = serve(rollout(spec=spec)(bentoml.service(name="screening", traffic={"timeout": 30})(Screening)))
    people = people_of(served)
    response = served.post(
        "/read",
        {"amount": 5.0},
        headers={"Prefer": "respond-async", "X-Rollout-Inference-Id": "scan-7"},
    )
    assert response.status_code == 202
    claim = answered(people, "benign")
    assert (claim.case.input.kind, claim.case.input.content) == ("text", "inference id scan-7")
    if claim.case.reviewers > 1:
        answered(people, "benign", "ben")
    place = served.get(response.headers["location"]).json()
    assert place["answer"] == {"label": "benign", "score": 1.0}


def test_a_call_without_an_id_of_its_own_is_named_by_its_predictions(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the input is kept, not even copied."""
    copied: list[Any] = []
    monkeypatch.setattr("bento_rollout.showing.duplicate", copied.append)
    served = serve(service("assist", "plain", limit=60.0, review={"inputs": "reference"}))
    people, waiting = people_of(served), asking(served, "plain")
    claim = claimed(people)
    assert claim.case.input.content == f"prediction id {claim.case.prediction_id}"
    assert (claim.case.input.kind, copied) == ("text", [])
    waiting.cancel()
