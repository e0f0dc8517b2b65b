"""The ways back, and operators who meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bento_rollout.errors import (
    Conflict,
    InvalidValue,
    NotFound,
    NotReady,
    Refused,
)
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.state import Commit
from bento_rollout.store import RolloutStore
from bento_rollout.store.location import locate
from bento_rollout.store.opened import open_at
from tests.unit.workers import Join, spec, with_state

STORES = ("sqlite", "postgresql")


def test_a_rollback_ends_a_ramp(screening: Rollout, join: Join) -> None:
    """While candidates have weight a rollback gives all traffic to the champion; shadows stay."""
    join()
    screening.set_weights({"boosted": 5})
    screening.set_weights({"boosted": 50})
    screening.set_shadow({"forest": 10})
    change = screening.rollback(reason="500s")
    assert (change.state.champion, change.state.percents) == ("logistic", {})
    assert change.state.shadow_percents == {"forest": 10}


def test_a_rollback_undoes_a_flip(screening: Rollout, join: Join) -> None:
    """A rollback after a flip gives all traffic back to the champion before it."""
    join()
    screening.flip("boosted")
    assert screening.status()["rollback"] == {"revision": 1, "champion": "logistic"}
    assert screening.rollback().state.champion == "logistic"


def test_a_rollback_after_flip_and_ramp_goes_to_the_last_settled_champion(
    screening: Rollout, join: Join
) -> None:
    """A ramp begun after a flip is rolled back to the flip's champion, not past it."""
    join()
    screening.flip("boosted")
    screening.set_weights({"forest": 10})
    assert screening.rollback().state.champion == "boosted"


def test_rolling_back_twice_does_it_once(screening: Rollout, join: Join) -> None:
    """The second rollback finds nothing to roll back and makes no revision."""
    join()
    screening.flip("boosted")
    screening.flip("forest")
    assert screening.rollback().state.champion == "boosted"
    again = screening.rollback()
    assert (again.changed, again.notes[0], again.state.champion) == (False, "nothing to roll back", "boosted")


def test_two_operators_who_both_roll_back_do_it_once(screening: Rollout, join: Join) -> None:
    """Eight at once: one revision, one champion, nobody is told of an error."""
    join()
    screening.flip("boosted")
    screening.flip("forest")
    with ThreadPoolExecutor(8) as pool:
        changes = list(pool.map(lambda i: open_rollout("screening", author=f"op{i}").rollback(), range(8)))
    assert sum(change.changed for change in changes) == 1
    assert {change.state.champion for change in changes} == {"boosted"}
    assert screening.state.revision == 4


def test_further_back_is_said_with_again(screening: Rollout, join: Join) -> None:
    """`--again` goes to the settled champion before."""
    join()
    screening.flip("boosted")
    screening.flip("forest")
    screening.rollback()
    assert screening.rollback(again=True).state.champion == "logistic"
    assert screening.rollback(again=True).changed is False


def test_a_rollback_to_a_revision(screening: Rollout, join: Join) -> None:
    """`--to-revision` goes to a settled state of the history, and to no other."""
    join()
    screening.flip("boosted")
    screening.set_weights({"forest": 20})
    screening.flip("forest")
    assert screening.rollback(to_revision=1).state.champion == "logistic"
    with pytest.raises(InvalidValue, match="was not settled"):
        screening.rollback(to_revision=3)
    with pytest.raises(NotFound, match="no revision 99"):
        screening.rollback(to_revision=99)
    with pytest.raises(NotFound, match="no revision"):
        screening.rollback(to_revision=1 << 80)
    with pytest.raises(InvalidValue):
        screening.rollback(again=True, to_revision=1)


def test_a_new_rollout_has_nothing_to_roll_back(screening: Rollout, join: Join) -> None:
    """On the first revision there is nowhere to go, and that is no error."""
    join()
    assert screening.rollback().notes == ("nothing to roll back",)
    assert screening.status()["rollback"] is None


def test_a_rollback_is_refused_only_when_its_champion_is_not_ready(screening: Rollout, join: Join) -> None:
    """Rolling back to a variant that cannot answer would be worse than staying."""
    first = join()
    screening.flip("boosted")
    first.leave()
    join(variants=with_state("failed", "logistic", error="file gone"))
    with pytest.raises(NotReady, match="'logistic' is failed in worker 4001: file gone"):
        screening.rollback()


def test_a_rollback_of_weights_asks_for_no_readiness(screening: Rollout, join: Join) -> None:
    """Taking all traffic from candidates is possible whatever state anybody is in."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants=with_state("failed", "logistic"))
    assert screening.rollback().changed


def test_a_rollback_waits_for_no_worker(screening: Rollout, join: Join) -> None:
    """A rollback is done although a live worker with hooks says nothing."""
    join(before_flip=1)
    open_rollout("screening").set_weights({"boosted": 50})
    assert screening.rollback().changed


def test_undo_takes_back_the_newest_change_of_traffic(screening: Rollout, join: Join) -> None:
    """`undo` restores the weights before, and what is not traffic stays."""
    join()
    screening.set_weights({"boosted": 5})
    screening.set_weights({"boosted": 50, "forest": 10})
    screening.pause()
    screening.target("forest", keys=["u1"])
    change = screening.undo()
    assert change.state.percents == {"boosted": 5}
    assert change.state.paused
    assert "forest" in change.state.targets


def test_undo_of_a_flip_brings_weights_and_shadow_back(screening: Rollout, join: Join) -> None:
    """After an undone flip the candidates have the weight and the shadow that they had."""
    join()
    screening.set_weights({"boosted": 5})
    screening.set_shadow({"boosted": 40})
    screening.flip("boosted")
    state = screening.undo().state
    assert (state.champion, state.percents, state.shadow_percents) == (
        "logistic",
        {"boosted": 5},
        {"boosted": 40},
    )


def test_undo_gives_every_key_its_variant_back(screening: Rollout, join: Join) -> None:
    """Keys are where they were before the change that is undone."""
    join()
    screening.set_weights({"boosted": 30, "forest": 20})
    keys = [f"u{i}" for i in range(2000)]
    before = screening.assign(keys)
    screening.set_weights({"boosted": 5})
    screening.undo()
    assert np.array_equal(screening.assign(keys), before)


def test_undo_of_an_undo_is_the_change_again(screening: Rollout, join: Join) -> None:
    """The newest change of traffic is then the undo."""
    join()
    screening.set_weights({"boosted": 5})
    screening.undo()
    assert screening.undo().state.percents == {"boosted": 5}


def test_undo_with_nothing_to_undo(screening: Rollout) -> None:
    """On a rollout whose traffic nobody ever changed undo is refused with a reason."""
    with pytest.raises(Refused, match="nothing to undo"):
        screening.undo()


def test_two_operators_who_both_undo_do_not_redo(screening: Rollout, join: Join) -> None:
    """Of operators who undo at the same moment one does it; the others are told of him."""
    join()
    screening.set_weights({"boosted": 5})
    screening.set_weights({"boosted": 50})
    revision = screening.state.revision

    def undo(i: int) -> object:
        try:
            return open_rollout("screening", author=f"op{i}").undo(if_revision=revision)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(undo, range(4)))
    assert sum(not isinstance(result, Conflict) for result in results) == 1
    assert all(result.current == 4 for result in results if isinstance(result, Conflict))
    assert screening.state.percents == {"boosted": 5}


@pytest.mark.parametrize(
    "verb",
    [
        lambda r, n: r.set_weights({"boosted": 9}, if_revision=n),
        lambda r, n: r.set_shadow({"boosted": 9}, if_revision=n),
        lambda r, n: r.flip("boosted", if_revision=n),
        lambda r, n: r.promote(reason="why", if_revision=n),
        lambda r, n: r.rollback(if_revision=n),
        lambda r, n: r.undo(if_revision=n),
        lambda r, n: r.target("boosted", keys=["k"], if_revision=n),
        lambda r, n: r.retire("forest", if_revision=n),
        lambda r, n: r.pause(if_revision=n),
        lambda r, n: r.resume(if_revision=n),
        lambda r, n: r.apply(spec(weights={"boosted": 9}), if_revision=n),
    ],
)
def test_every_verb_takes_the_revision_that_it_was_decided_on(
    screening: Rollout, join: Join, verb: Callable[[Rollout, int], Any]
) -> None:
    """With another revision current a verb is refused, and told which one that is."""
    join()
    screening.set_weights({"boosted": 5})
    with pytest.raises(Conflict, match="is at revision 2, not 1") as raised:
        verb(screening, 1)
    assert raised.value.current == 2
    assert screening.state.revision == 2


def test_weights_of_different_candidates_at_once_are_all_set(screening: Rollout, join: Join) -> None:
    """Operators who set different candidates at the same moment do not undo each other."""
    join()
    with ThreadPoolExecutor(2) as pool:
        wanted = [{"boosted": 5}, {"forest": 7}]
        list(pool.map(lambda weights: open_rollout("screening").set_weights(weights), wanted))
    assert screening.state.percents == {"boosted": 5, "forest": 7}
    assert [row["revision"] for row in screening.history_rows()] == [3, 2, 1]


class Overtaken:
    """A store before which somebody else is quicker, a number of times."""

    overtaking = 20

    def __init__(self, store: RolloutStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, commit: Commit, *, after: int) -> Sequence[str]:
        """Let the other one commit first."""
        if self.overtaking:
            self.overtaking -= 1
            other = open_rollout(commit.state.name, author="bob")
            (other.resume if other.state.paused else other.pause)()
        return self._store.commit(commit, after=after)


def test_a_rollback_gets_through_however_often_others_are_quicker(screening: Rollout, join: Join) -> None:
    """It is refused only when its champion is not ready; `--again` says what is there now instead."""
    join()
    screening.set_weights({"boosted": 5})
    store: Any = Overtaken(open_at(locate()))
    assert Rollout("screening", store, locate(), "ann").rollback().state.is_settled
    assert store.overtaking == 0
    screening.flip("boosted")
    screening.flip("forest")
    store.overtaking = 1
    with pytest.raises(Conflict):
        Rollout("screening", store, locate(), "ann").rollback(again=True)


def test_a_long_history_is_told_whole(screening: Rollout, join: Join) -> None:
    """Every revision once, newest first, or as many as were asked for."""
    join()
    for _ in range(60):
        screening.pause()
        screening.resume()
    assert [row["revision"] for row in screening.history_rows()] == list(range(121, 0, -1))
    assert [row["revision"] for row in screening.history_rows(101)] == list(range(121, 20, -1))
