"""Makes of a call that is over the `Prediction` that is told of it."""

from __future__ import annotations

from http import HTTPStatus

from .calls import Call
from .records import Outcome, Prediction

__all__ = ["prediction_of"]


def prediction_of(rollout: str, call: Call) -> Prediction | None:
    """Return what is told of a call whose answer is out; None when no variant was chosen, or none ran."""
    plans, runs = call.plans, call.runs
    if not plans or not runs:
        return None
    last, count = runs[-1], len(plans)
    seconds = last.seconds if count == 1 else max(run.seconds for run in runs)
    return Prediction(
        rollout,
        call.endpoint,
        call.prediction_id,
        call.began,
        plans,
        tuple(runs),
        _outcome(call, last.outcome),
        seconds,
        call.keys if len(call.keys) == count else (None,) * count,
        call.inference_ids if len(call.inference_ids) == count else (None,) * count,
        *call.trace,
        call.span is not None,
        call.watch[1] if call.watch is not None else (),
        call.reply,
        call.inputs,
        call.task_id,
        call.bound,
    )


def _outcome(call: Call, last: Outcome) -> Outcome:
    """Return how a call ended for its caller: what was sent tells more than what the variant did."""
    status = call.reply.status
    if last is not Outcome.OK and (len(call.plans) == 1 or status >= _WRONG):
        return last
    if status < _WRONG:
        return Outcome.OK
    if status == _LATE:
        return Outcome.TIMEOUT
    return Outcome.CLIENT_ERROR if status < _BROKEN else Outcome.ERROR


_WRONG, _BROKEN = HTTPStatus.BAD_REQUEST.value, HTTPStatus.INTERNAL_SERVER_ERROR.value
_LATE = HTTPStatus.GATEWAY_TIMEOUT.value
