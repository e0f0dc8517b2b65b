"""Makes of a call that is over the `Prediction` that is told of it."""

from __future__ import annotations

from http import HTTPStatus

from .calls import Call
from .records import Observation, Outcome, Prediction

__all__ = ["prediction_of"]


def prediction_of(rollout: str, call: Call) -> Prediction | None:
    """Return what is told of a call whose answer is out; None when no variant was chosen, or none ran.

    Of a call that people decide it is told though none ran: who was chosen, and nothing of what went out: it
    is no variant's answer, and its place is secret.
    """
    plans, runs, deciding = call.plans, call.runs, call.deciding
    if not plans or (not runs and deciding is None):
        return None
    count, by_model = len(plans), deciding is None or deciding.by == "model"
    seconds = max((run.seconds for run in (runs[-1:] if count == 1 else runs)), default=0.0)
    ended = _outcome(call, runs[-1].outcome) if by_model and runs else _ran(runs)
    return Prediction(
        rollout,
        call.endpoint,
        call.prediction_id,
        call.began,
        plans,
        tuple(runs),
        ended,
        seconds,
        call.keys if len(call.keys) == count else (None,) * count,
        call.inference_ids if len(call.inference_ids) == count else (None,) * count,
        *call.trace,
        call.span is not None,
        call.watch[1] if call.watch is not None else (),
        call.reply if by_model else call.reply._replace(body=b"", value=None),
        call.inputs,
        call.task_id,
        call.bound,
        "" if deciding is None else deciding.degree.word,
        "" if deciding is None else deciding.by,
        call.watched,
    )


def _ran(runs: list[Observation]) -> Outcome:
    """Return how the last run ended, whatever its caller got; one that was not needed went well."""
    return runs[-1].outcome if runs else Outcome.OK


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
