"""What tests of degrees need: what a spec allows, certificates, and answered cases."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bento_rollout.degrees import Degree
from bento_rollout.ladder import Certificate, Ladder
from bento_rollout.opening import first_commit
from bento_rollout.reviewing import Case, Given, Role, Selection, Shown, Suggestion
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import RolloutState
from bento_rollout.store.reviews import Reviews

KNOWN = ("logistic", "boosted")
DIGESTS = {"logistic": "1" * 12, "boosted": "2" * 12}
REVIEW = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 100, "action": "reject"}}


def automation(degree: object = "shadow", **changes: Any) -> dict[str, Any]:
    """The ``automation:`` of one endpoint, ``read``, as its file has it."""
    return {"automation": {"read": {"degree": degree, "target_error": "2%", "review": REVIEW, **changes}}}


def ladder(**changes: Any) -> Ladder:
    """What a spec allows."""
    return Ladder.model_validate({"degree": 2, "target_error": 0.02, **changes})


def certificate(digest: str = "1" * 12, **changes: Any) -> Certificate:
    """A certificate for degree partial."""
    fields: dict[str, Any] = {
        "digest": digest,
        "variant": "logistic",
        "threshold": 0.9,
        "target_error": 0.02,
        "confidence": 0.95,
        "labels": 400,
        "accepted": 300,
        "errors": 1,
        "coverage": 0.75,
        "at": 100.0,
        "author": "ann",
    }
    return Certificate(**{**fields, **changes})


def first(degree: object = "shadow", **changes: Any) -> RolloutState:
    """The first state of a rollout whose endpoint ``read`` is automated."""
    spec = RolloutSpec.parse(automation(degree, **changes))
    return first_commit("screening", "logistic", spec, DIGESTS).state


def certified(state: RolloutState, degree: Degree = Degree.PARTIAL, **changes: Any) -> RolloutState:
    """The state with a certificate for its champion, at a degree."""
    kept = state.certify("read", certificate(state.champions_digest, **changes))
    return kept.set_degree("read", degree, "ann", ladder()).numbered(state.revision + 1)


@dataclass(frozen=True)
class Seen:
    """A case that a person answered."""

    prediction_id: str
    score: float | None = 0.99
    wrong: bool = False
    selection: Selection = Selection.ALL
    probability: float = 1.0
    label: str | None = "benign"
    at: float = 1000.0
    independent: bool = True
    segment: str | None = None


def answer(
    reviews: Reviews,
    number: int,
    *,
    score: float = 0.99,
    right: bool = True,
    digest: str = "1" * 12,
    selection: Selection = Selection.ALL,
    probability: float = 1.0,
    segment: str | None = None,
) -> None:
    """Let a person answer one case of which the model says ``benign``."""
    now = time.time()
    said = Suggestion("benign", "benign", score, "logistic", digest, now)
    case = Case(
        f"{number:032x}", f"case-{number}", "read", 1, Degree.SHADOW, selection, probability,
        Shown("json", {"x": number}), ("benign", "malignant"), now, suggestion=said, segment=segment,
    )  # fmt: skip
    reviews.submit(case)
    claim = reviews.claim("chen", roles=frozenset({Role.REVIEWER}))
    assert claim is not None
    choice = "benign" if right else "malignant"
    reviews.answer(claim.case.id, "chen", claim.token, Given(choice), make=lambda *_: ("text/plain", b"x"))
