"""Leases: how stale a request is, what it obeys, and what the log is told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bento_rollout.contact import Contact
from bento_rollout.errors import InvalidSpec
from bento_rollout.leases import OnStale
from bento_rollout.spec import RolloutSpec
from bento_rollout.telemetry import log


@dataclass
class Request:
    """A request, as far as a lease matters to it."""

    stale: int = 0
    obeys: str = ""


class Line:
    """The last sign of life, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now, self.contacted = 1000.0, 1000.0

    def __call__(self) -> float:
        return self.now


def contact(line: Line, lease: float = 10.0, on_stale: OnStale = "champion") -> Contact:
    """A contact over a line."""
    return Contact("screening", line, lease, on_stale, line)  # type: ignore[arg-type]  # of a signal's only this


@pytest.mark.parametrize("on_stale", ["serve", "champion", "refuse"])
@pytest.mark.parametrize(
    ("silence", "stale", "over"),
    [(0, 0, False), (2.4, 0, False), (2.5, 2, False), (9.9, 9, False), (10, 10, True), (3600.5, 3600, True)],
)
def test_what_a_request_obeys(on_stale: OnStale, silence: float, stale: int, *, over: bool) -> None:
    """Marked once the connection is lost; what the spec says holds once the lease has run out."""
    line = Line()
    made, request = contact(line, on_stale=on_stale), Request()
    line.now += silence
    made.mark(request)
    assert request == Request(stale, on_stale if over and on_stale != "serve" else "")
    assert made.seconds() == stale


def test_a_lease_shorter_than_the_notice() -> None:
    """A lease of a second holds a second, and no request goes by a state that it no longer covers."""
    line = Line()
    made, request = contact(line, lease=1.0), Request()
    line.now += 1.0
    made.mark(request)
    assert request == Request(1, "champion")


def test_a_worker_that_never_had_a_connection() -> None:
    """Its lease has run out from the start; how old its state is nobody knows, so since then is told."""
    line = Line()
    line.contacted = 0.0
    made, request = contact(line, on_stale="refuse"), Request()
    made.mark(request)
    assert request == Request(1, "refuse")
    line.now += 7
    assert made.seconds() == 7
    line.contacted, request = line.now, Request()
    made.mark(request)
    assert request == Request()


def test_the_log_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event when the connection is lost, one when it is back, with how many answers went out."""
    told: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(log, "event", lambda name, level="info", **facts: told.append((name, facts)))
    line = Line()
    made = contact(line)
    for _ in range(5):
        line.now += 1.0
        made.look()
    request = Request()
    made.mark(request)
    made.count(request)
    line.contacted = line.now
    made.look()
    made.look()
    assert [name for name, _ in told] == ["store.stale", "store.fresh"]
    assert told[0][1] | {"seconds": 0} == {
        "rollout": "screening",
        "seconds": 0,
        "lease": 10.0,
        "on_stale": "champion",
    }
    assert told[1][1] == {"rollout": "screening", "seconds": 5.0, "answers": 1}
    assert made.answers == {"serve": 1, "champion": 0, "refuse": 0}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lease": "0.5s"}, "lease: lease '0.5s' is not valid: it lies from 1s to 10m"),
        ({"lease": "11m"}, "it lies from 1s to 10m"),
        ({"lease": "soon"}, "lease"),
        ({"on_stale": "ignore"}, "on_stale"),
        (
            {"authority": "spec", "lease": "20s"},
            "lease: it says what holds without a connection to the store",
        ),
        ({"authority": "spec", "on_stale": "serve"}, "on_stale: it says what holds"),
    ],
)
def test_specs_that_are_refused(fields: dict[str, object], told: str) -> None:
    """A lease lies within bounds, and means nothing where no store has the state."""
    with pytest.raises(InvalidSpec) as caught:
        RolloutSpec.parse(fields)
    assert told in str(caught.value)


def test_what_a_spec_says() -> None:
    """Ten seconds, and then the last state goes on, unless the spec says otherwise."""
    assert (RolloutSpec().lease, RolloutSpec().on_stale) == (10.0, "serve")
    spec = RolloutSpec.parse({"lease": "1m", "on_stale": "refuse"})
    assert (spec.lease, spec.on_stale) == (60.0, "refuse")
