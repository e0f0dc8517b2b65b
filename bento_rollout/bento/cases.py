"""`Cases`: makes the cases of one automated endpoint: what reviewers see, and what the model says."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..automating import Automation
from ..calls import Call, Late
from ..degrees import Degree
from ..disposing import hides, overlaps
from ..limited import limited
from ..proof import proof_of
from ..reviewing import Case, Selection, Shown, Suggestion, Visibility
from ..scoring import score_of
from ..showing import link_or_text, named, show
from ..suggesting import choice_in
from ..telemetry import log
from .making import plain_output

__all__ = ["Asked", "Cases", "Settings"]

DISPLAY = 5.0
"""Seconds that the user's ``display:`` has."""

REST = 30.0
"""Seconds for which it is not called after it has not returned in time: other cases wait behind it."""

MARGIN = 0.5
"""Seconds before the server's own time limit at which a held call is let go."""

UNLIMITED = 60.0
"""Seconds that a call is held where the server gives requests no limit."""


@dataclass(frozen=True)
class Settings:
    """What is known of an automated endpoint when the service starts.

    Attributes:
        endpoint: its name.
        automation: the spec's settings.
        functions: the user's, by the place of their field.
        names: the endpoint's parameters, in their order.
        choices: what people choose from; empty: they fill in a form.
        schema: of the output, where they do.
        proofs: the headers beside Authorization that tell who calls.
        digests: what each variant is in this worker.
        prefix: what the paths of decisions begin with.
        limit: the seconds that the server gives a request; None: no limit.
    """

    endpoint: str
    automation: Automation
    functions: Mapping[str, Callable[..., Any]]
    names: Sequence[str]
    choices: tuple[str, ...]
    schema: Mapping[str, Any] | None
    proofs: Sequence[str]
    digests: Mapping[str, str]
    prefix: str
    limit: float | None

    @property
    def held(self) -> float:
        """How many seconds a call is held at most."""
        limit = self.limit or UNLIMITED
        return max(limit - MARGIN, limit * 0.8)


@dataclass(frozen=True, slots=True)
class Asked:
    """Why people are asked about a call.

    Attributes:
        degree: of its endpoint.
        selection, probability, why: as in `Case`.
        held: whether the caller waits for it.
    """

    degree: Degree
    selection: Selection = Selection.ALL
    probability: float = 1.0
    why: tuple[str, ...] = ()
    held: bool = True


class Cases:
    """Makes cases.

    Args:
        settings: what is known of the endpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._once = log.Once()
        self._rests_until = 0.0

    def case(
        self, call: Call, asked: Asked, arguments: Mapping[str, Any], outputs: Sequence[Any] = ()
    ) -> Callable[[], Case]:
        """Return what makes the case of a call; to be called in a thread, once: files can be read once.

        Args:
            call: the request.
            asked: why people are asked.
            arguments: what the endpoint was called with.
            outputs: what the model answered; empty: it did not.
        """
        settings, automation, now = self._settings, self._settings.automation, time.time()
        review, audit = automation.review, asked.selection is Selection.AUDIT
        same = automation.decisions.require == "same"
        headers = call.scope.get("headers", ()) if same else ()
        plan, said = call.plans[-1], tuple(outputs)

        def make() -> Case:
            return Case(
                secrets.token_hex(16),
                call.prediction_id,
                settings.endpoint,
                plan.revision,
                asked.degree,
                asked.selection,
                asked.probability,
                self._shown(call, arguments),
                settings.choices,
                now,
                schema=settings.schema,
                why=asked.why,
                held=asked.held,
                suggestion=self.suggestion(said[0], plan.variant, now) if said else None,
                # An audit that shows what the model said would find it right too often.
                visibility=Visibility.HIDDEN if audit else automation.visibility(asked.degree),
                blind=hides(call.prediction_id, review.blind_rate),
                reviewers=2 if overlaps(call.prediction_id, review.overlap.share) else 1,
                adjudicate=review.overlap.adjudicate,
                due=None if review.due is None else now + review.due,
                on_timeout=_on_timeout(review.on_timeout, asked),
                default=review.default,
                segment=automation.segment_of(arguments),
                secret=proof_of(headers, settings.proofs),
            )

        return make

    def suggestion(self, output: Any, variant: str, at: float) -> Suggestion:
        """Return what the model says as it is kept; in a thread."""
        settings, functions = self._settings, self._settings.functions
        return Suggestion(
            plain_output(output),
            choice_in(output, settings.choices, functions.get("review.choice_of")),
            score_of(settings.automation.score, output, functions.get("score")),
            variant,
            settings.digests.get(variant, ""),
            at,
        )

    def _shown(self, call: Call, arguments: Mapping[str, Any]) -> Shown:
        """Return what reviewers are shown; with ``inputs: reference`` what ``display:`` returns, or an id."""
        if self._settings.automation.review.inputs != "reference":
            return show(arguments)
        display = self._settings.functions.get("review.display")
        if display is None:
            return named(call.prediction_id, next(iter(call.inference_ids), None))
        if time.monotonic() < self._rests_until:
            return _UNANSWERED
        try:
            return link_or_text(limited(DISPLAY, display, dict(arguments)))
        except Exception as error:  # noqa: BLE001 - the user's own; its text may hold payload
            kind, endpoint = type(error).__name__, self._settings.endpoint
            facts = {"endpoint": endpoint, "error": kind, "where": log.place_of(error)}
            self._once.say(f"display {kind}", "reviews.display_failed", "error", **facts)
            if not isinstance(error, Late):
                return Shown("text", f"(display: raised {kind})")
            self._rests_until = time.monotonic() + REST
            return _UNANSWERED


_UNANSWERED = Shown("text", "(display: no answer in time)")


def _on_timeout(action: str, asked: Asked) -> str:
    """Return what becomes of a case that nobody answers in time.

    The model answers for nobody where what it says stays hidden, whatever the spec says: a degree that fell
    to shadow by itself, by a flip or by audits, may stand beside ``on_timeout: model``.
    """
    hidden = asked.degree.blind and action == "model"
    return "wait" if hidden or asked.selection is Selection.AUDIT else action
