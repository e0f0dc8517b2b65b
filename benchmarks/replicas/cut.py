"""One replica loses its connection to the database, without a word, while somebody flips."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .database import AWAY, Topology
from .findings import Finding, Outcome
from .load import Load, loaded

__all__ = ["cut", "cut_off"]

LEASE = 10.0
IPTABLES = "/usr/sbin/iptables"


@contextmanager
def cut_off(address: str) -> Iterator[None]:
    """Drop every packet from and to an address of this machine until the block ends."""
    rules = [("-s", address), ("-d", address)]
    for rule in rules:
        subprocess.run([IPTABLES, "-I", "INPUT", *rule, "-j", "DROP"], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run([IPTABLES, "-D", "INPUT", *rule, "-j", "DROP"], check=True)


def cut(topology: Topology) -> Outcome:
    """Cut the last one off, flip, and look at what it answers meanwhile, and when it is back."""
    operator = topology.database.operator()
    new = "green" if operator.state.champion == "blue" else "blue"
    alone = topology.members[-1].port
    with loaded(topology.balancer.port) as load, loaded(alone, 2) as lone:
        time.sleep(1.0)
        with cut_off(AWAY):
            began = time.monotonic()
            change = operator.flip(new, reason="while one is cut off")
            took = time.monotonic() - began
            flipped = time.monotonic()
            time.sleep(3.0)
            others = [one for one in load.since(flipped) if not one.stale]
            marked = [one for one in lone.since(flipped + 0.5) if one.stale]
        healed = time.monotonic()
        back = _back(lone, healed, new)
    wrong = sum(one.variant != new for one in others)
    notes = "; ".join(change.notes) or "nothing"
    asked = lone.since(flipped + 0.5)
    failed = len(load.failed) + len(lone.failed)
    waits = f"at most its lease ({LEASE:g} s) and a little"
    return [
        Finding("the flip waits for it", f"{took:.1f} s", waits, took < LEASE + 3),
        Finding("what the command says", notes, "which worker it could not reach", "reach" in notes),
        Finding("answers of the old champion elsewhere", f"{wrong} of {len(others)}", "none", not wrong),
        Finding(
            "its answers are marked stale", f"{len(marked)} of {len(asked)}", "until it is back", bool(marked)
        ),
        Finding("it follows when it is back", f"{back:.1f} s", "under 6 s", back < 6),
        Finding("requests that failed", f"{load.told_failed}; {lone.told_failed} alone", "none", not failed),
    ]


def _back(load: Load, moment: float, new: str) -> float:
    """Return the seconds from a moment to the first answer of the new champion that is not stale."""
    deadline = moment + 30
    while time.monotonic() < deadline:
        fresh = [one for one in load.since(moment) if one.variant == new and not one.stale]
        if fresh:
            return fresh[0].began - moment
        time.sleep(0.05)
    return float("inf")
