"""What operators may look at over HTTP: one function for each route, from a query string to plain data."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response

from ..errors import InvalidValue
from ..operations import Rollout
from ..store.ledger_rows import Entry
from ..values import shown
from .gate import NO_STORE
from .reading import parse_query

__all__ = ["MOST_PREDICTIONS", "READS", "Read", "in_pieces"]

Read = Callable[[Rollout, bytes], Any]

ROWS, MOST_ROWS = 100, 1000
"""How many revisions or cases one answer has, when nothing is said and at most."""

MOST_PREDICTIONS = 250
"""How many predictions one answer has at most: each may hold 128 KiB, and the worker serves callers, too."""

MOST_TEXT = 1 << 24
"""Characters of predictions that one answer holds."""

_WHOLE = re.compile(r"[1-9][0-9]{0,8}")
_SEQ = re.compile(r"[0-9]{1,18}")

_BREATH = 0.05
"""Seconds between two pages that are computed again, so that whoever serves has the processor in between."""


def _state(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.status()


def _history(rollout: Rollout, query: bytes) -> Response:
    """Answer one page; a link leads to the next, older one."""
    values = parse_query(query, ("limit", "before"))
    limit = _number("limit", values["limit"], MOST_ROWS, "; `before` leads to older ones") or ROWS
    rows = rollout.history_rows(limit, before=_number("before", values["before"]))
    headers = dict(NO_STORE)
    if len(rows) == limit and isinstance(rows[-1]["parent"], int) and rows[-1]["parent"]:
        headers["Link"] = f'<?limit={limit}&before={rows[-1]["revision"]}>; rel="next"'
    return JSONResponse(rows, headers=headers)


def _assign(rollout: Rollout, query: bytes) -> Any:
    keys = parse_query(query, ("key",))["key"]
    if not keys:
        raise InvalidValue("name at least one key: ?key=K")
    return rollout.assignments(keys)


def _explain(rollout: Rollout, query: bytes) -> Any:
    return rollout.explain(_number("revision", parse_query(query, ("revision",))["revision"]))


def _automation(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.automation()


def _automation_explain(rollout: Rollout, query: bytes) -> Any:
    return rollout.explain_automation(_endpoint(query))


def _audit_verify(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    found = rollout.verify_trail()
    return {
        "whole": found.broken_at is None,
        "entries": found.entries,
        "head": found.head,
        "broken_at": found.broken_at,
    }


def _drift(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.status()


def _drift_report(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.report()


def _drift_replay(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.replay(breath=_BREATH)


def _shadow_report(rollout: Rollout, query: bytes) -> Any:
    since = _number("since_revision", parse_query(query, ("since_revision",))["since_revision"])
    return rollout.shadow_report(since_revision=since or 0)


def _reviews(rollout: Rollout, query: bytes) -> Any:
    values = parse_query(query, ("endpoint", "status", "limit"))
    limit = _number("limit", values["limit"], MOST_ROWS) or ROWS
    status = _one("status", values["status"])
    return rollout.review_cases(_one("endpoint", values["endpoint"]), status=status, limit=limit)


def _review_stats(rollout: Rollout, query: bytes) -> Any:
    return rollout.review_stats(_endpoint(query))


def _review_agreement(rollout: Rollout, query: bytes) -> Any:
    return rollout.agreement(_endpoint(query))


def _ledger(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    found = rollout.ledger
    return {"path": found.where, **asdict(found.counts())}


def _ledger_tail(rollout: Rollout, query: bytes) -> Any:
    values = parse_query(query, ("limit", "after"))
    limit = _number("limit", values["limit"], MOST_PREDICTIONS) or ROWS
    after = _one("after", values["after"])
    if after is not None and not _SEQ.fullmatch(after):
        raise InvalidValue(f"after must be the seq of a prediction (got {shown(after)})")
    newest = after is None
    found = rollout.ledger.tail(limit, after=None if newest else int(str(after)))
    return in_pieces(found, newest=newest)


def _ledger_show(rollout: Rollout, query: bytes) -> Any:
    prediction = _one("prediction", parse_query(query, ("prediction",))["prediction"])
    if prediction is None:
        raise InvalidValue("name a prediction: ?prediction=ID")
    return asdict(rollout.ledger.story(prediction))


READS: dict[str, Read] = {
    "state": _state,
    "history": _history,
    "assign": _assign,
    "explain": _explain,
    "automation": _automation,
    "automation/explain": _automation_explain,
    "audit/verify": _audit_verify,
    "shadow-report": _shadow_report,
    "drift": _drift,
    "drift/report": _drift_report,
    "drift/replay": _drift_replay,
    "reviews": _reviews,
    "reviews/stats": _review_stats,
    "reviews/agreement": _review_agreement,
    "ledger": _ledger,
    "ledger/tail": _ledger_tail,
    "ledger/show": _ledger_show,
}
"""By path below ``/rollout/admin``."""


def in_pieces(entries: Sequence[Entry], *, newest: bool = True) -> Response:
    """Return predictions as an answer whose text is made one by one: whoever serves gets in between.

    Args:
        entries: the newest last.
        newest: of more than an answer holds the newest are told; else the oldest.
    """
    pieces, size = list[str](), 0
    for one in reversed(entries) if newest else entries:
        piece = json.dumps(asdict(one), ensure_ascii=False, allow_nan=False)
        size += len(piece)
        if pieces and size > MOST_TEXT:
            break
        pieces.append(piece)
        time.sleep(0)
    text = ", ".join(reversed(pieces) if newest else pieces)
    return Response(f"[{text}]", headers=NO_STORE, media_type="application/json")


def _number(name: str, values: list[str], most: int | None = None, hint: str = "") -> int | None:
    if not values:
        return None
    if len(values) > 1 or not _WHOLE.fullmatch(values[0]) or (most and int(values[0]) > most):
        bounds = f"from 1 to {most}{hint}" if most else "at least 1"
        got = ", ".join(shown(value) for value in values[:2])
        raise InvalidValue(f"{name} must be one whole number, {bounds} (got {got})")
    return int(values[0])


def _endpoint(query: bytes) -> str | None:
    return _one("endpoint", parse_query(query, ("endpoint",))["endpoint"])


def _one(name: str, values: list[str]) -> str | None:
    if len(values) > 1:
        raise InvalidValue(f"{name} stands {len(values)} times: write it once")
    return values[0] if values else None
