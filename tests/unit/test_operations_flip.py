"""When a flip is done and when it is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bento_rollout.errors import (
    Conflict,
    FlipTimeout,
    InvalidValue,
    NotReady,
    Refused,
    UnknownVariant,
    Vetoed,
)
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.store import RolloutStore
from bento_rollout.store.ballot import Vote, ballot_at
from bento_rollout.store.presence import Workers
from tests.unit.workers import READY, Join, with_state

STORES = ("sqlite", "postgresql")


def test_a_flip_gives_all_traffic_and_swaps_shadow_and_standby(screening: Rollout, join: Join) -> None:
    """After a flip weights are 0, the target's shadow is the old champion's, who is the standby."""
    join()
    screening.set_weights({"boosted": 5, "forest": 3})
    screening.set_shadow({"boosted": 40})
    state = screening.flip("boosted").state
    assert (state.champion, state.standby, state.percents) == ("boosted", "logistic", {})
    assert state.shadow_percents == {"logistic": 40}
    assert screening.flip().state.champion == "logistic"


def test_a_flip_to_the_champion_is_done_already(screening: Rollout, join: Join) -> None:
    """Flipping to whoever is champion makes no revision."""
    join()
    change = screening.flip("logistic")
    assert (change.changed, change.state.revision) == (False, 1)
    assert "champion already" in change.notes[0]


def test_a_flip_without_a_name_needs_one_that_is_meant(screening: Rollout, join: Join) -> None:
    """Without a standby and with several candidates the flip asks for a name."""
    join()
    with pytest.raises(InvalidValue, match="boosted, forest"):
        screening.flip()


def test_a_flip_without_a_name_goes_to_the_only_candidate(screening: Rollout, join: Join) -> None:
    """With one candidate a flip needs no name."""
    join(variants={name: READY[name] for name in ("logistic", "boosted")})
    assert screening.flip().state.champion == "boosted"


def test_a_flip_to_nobody_is_refused(screening: Rollout, join: Join) -> None:
    """A variant that the rollout does not have is named, with those that it has."""
    join()
    with pytest.raises(UnknownVariant, match="logistic, boosted, forest"):
        screening.flip("unheard")


def test_a_flip_needs_the_target_ready(screening: Rollout, join: Join) -> None:
    """A variant that failed in any live worker is not flipped to."""
    join()
    join(variants=with_state("failed", error="boom"))
    with pytest.raises(NotReady, match="boom"):
        screening.flip("boosted")


def test_without_a_worker_a_flip_with_hooks_is_refused(screening: Rollout, join: Join) -> None:
    """Hooks that nobody can run stop the flip, unless it is said that it should go without them."""
    join(before_flip=1).leave()
    with pytest.raises(Refused, match="--no-workers"):
        screening.flip("boosted")
    change = screening.flip("boosted", no_workers=True)
    assert change.state.champion == "boosted"
    assert "nobody ran the before_flip hooks" in change.notes


def test_without_a_worker_a_flip_without_hooks_is_done(screening: Rollout, join: Join) -> None:
    """Without hooks there is nothing to run: the flip is done, and the note says who confirmed it."""
    join().leave()
    change = screening.flip("boosted")
    assert change.state.champion == "boosted"
    assert "no worker is live" in change.notes[0]


def vote(
    screening: Rollout, store: RolloutStore, worker: Workers, veto: str | None = None
) -> threading.Thread:
    """Let a worker vote on the next proposal, as a service's worker does."""
    ballot = ballot_at(store.place("screening"))

    def wait() -> None:
        for _ in range(2000):
            if (proposal := ballot.pending()) is not None:
                ballot.vote(proposal, Vote(worker.token, 1, veto, 0.0))
                return
            threading.Event().wait(0.005)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_every_worker_must_acknowledge(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """A flip with hooks is committed when all live workers have said yes."""
    voters = [vote(screening, store, join(before_flip=1)) for _ in range(3)]
    assert screening.flip("boosted", timeout=20).state.champion == "boosted"
    for voter in voters:
        voter.join()


def test_one_veto_stops_the_flip(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """One worker's veto leaves everything as it was, and its words reach the operator."""
    vote(screening, store, join(before_flip=1))
    vote(screening, store, join(before_flip=1), veto="too slow when cold")
    with pytest.raises(Vetoed, match="too slow when cold"):
        screening.flip("boosted", timeout=20)
    assert (screening.state.champion, screening.state.revision) == ("logistic", 1)


def test_a_silent_worker_refuses_the_flip_by_pid(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """A worker that lives and says nothing until the timeout is named; nothing changed."""
    vote(screening, store, join(before_flip=1))
    join(before_flip=1)
    with pytest.raises(FlipTimeout, match=r"within 0\.3 s from worker 4001;"):
        screening.flip("boosted", timeout=0.3)
    assert screening.state.revision == 1


def test_a_worker_that_dies_while_it_prepares_is_dropped(
    screening: Rollout, store: RolloutStore, join: Join
) -> None:
    """Who is not alive any more need not agree."""
    vote(screening, store, join(before_flip=1))
    dying = join(before_flip=1)
    threading.Timer(0.3, dying.leave).start()
    assert screening.flip("boosted", timeout=20).state.champion == "boosted"


def test_a_worker_that_joins_is_asked_too(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """A worker that comes while others prepare has a say in the flip."""
    first = join(before_flip=1)

    def come() -> None:
        vote(screening, store, join(before_flip=1), veto="came late, says no")
        vote(screening, store, first)

    threading.Timer(0.2, come).start()
    with pytest.raises(Vetoed, match="came late"):
        screening.flip("boosted", timeout=20)


def test_a_rollback_during_the_preparation_wins(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """Who changes the rollout while a flip prepares is not overruled by it."""
    worker = join(before_flip=1)
    screening.set_weights({"boosted": 50})

    def meanwhile() -> None:
        open_rollout("screening", author="bob").rollback()
        vote(screening, store, worker)

    threading.Timer(0.2, meanwhile).start()
    with pytest.raises(Conflict) as raised:
        screening.flip("boosted", timeout=20)
    assert raised.value.current == 3
    assert screening.state.champion == "logistic"


def test_one_flip_is_prepared_at_a_time(screening: Rollout, join: Join) -> None:
    """A second flip is refused while one is being prepared, and told whose it is."""
    join(before_flip=1)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(screening.flip, "boosted", timeout=1.5)
        threading.Event().wait(0.4)
        with pytest.raises(Refused, match="another flip is being prepared: to 'boosted' by ann"):
            open_rollout("screening", author="bob").flip("forest")
        assert isinstance(first.exception(), FlipTimeout)


def test_promote_is_for_strategies(screening: Rollout, join: Join) -> None:
    """Without a running strategy `promote` says which verb is meant."""
    join()
    for reason in ("looks good", ""):
        with pytest.raises(Refused, match=r"no strategy is running .* use `flip`"):
            screening.promote(reason=reason)
