"""What tests of candidates outside the worker share: services that are started once, one comparison."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bentoml
import pytest

from tests.contract import kinds
from tests.contract.serving import Served, bare_part, forget_metrics, marks

__all__ = ["CASES", "Service", "compare", "settled", "started"]

Service = Callable[[str], Served]
"""Gives a service by its name; ``bare-`` before it: without a rollout."""

EVERY = int(os.environ.get("TESTS_EVERY", "1"))
"""Where places and kinds are crossed each n-th case is run: all of them, unless a run is to be short."""

CASES = [*(("plain", case) for case in kinds.PLAIN), *(("context", case) for case in kinds.CONTEXT)][::EVERY]
"""Every kind of endpoint, without and with the context."""

BARE = {"bare-plain": kinds.Kinds, "bare-context": kinds.KindsInContext}


@contextmanager
def started(folder: Path, make: Callable[[str], Any]) -> Iterator[Service]:
    """Start each service once, when it is first asked for, and wait until its candidate is ready."""
    running: dict[str, Served] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{folder / 'store.db'}")

        def get(which: str) -> Served:
            if which not in running:
                bare = BARE.get(which)
                made = make(which) if bare is None else bentoml.service(name="kinds")(bare)
                running[which] = Served(made).start()
                if bare is None:
                    settled(running[which])
                forget_metrics()
            return running[which]

        yield get
        for one in running.values():
            one.stop()


def settled(app: Served, wanted: str = "ready") -> Any:
    """Wait until the candidate is as it should be; return its card."""
    until = time.monotonic() + 60
    while True:
        card = app.site.serving._card().variants["two"]
        if card.state == wanted:
            return card
        assert time.monotonic() < until, card
        time.sleep(0.05)


def compare(which: str, case: str, service: Service, same: Callable[[Any], Any] = bare_part) -> None:
    """Ask a service and its bare form the same: the answers must be, and ours the candidate's."""
    request: dict[str, Any] = {"method": "POST", **(kinds.PLAIN if which == "plain" else kinds.CONTEXT)[case]}
    headers: dict[str, str] = request.get("headers", {})
    request["headers"] = {"x-say": "hello", **headers}
    expected = service(f"bare-{which}").request(**request)
    forget_metrics()
    answer = service(which).request(**request)
    assert same(answer) == same(expected)
    assert marks(answer).get("variant", "two") == "two"
