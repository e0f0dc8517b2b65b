"""What weights, targets and pauses do, and what is told of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bento_rollout.errors import (
    InvalidValue,
    NotDurable,
    NotFound,
    NotReady,
)
from bento_rollout.operations import Rollout, list_rollouts, open_rollout
from bento_rollout.store import RolloutStore
from bento_rollout.store.ballot import After, ballot_at
from tests.unit.workers import READY, Join, with_digest, with_state

STORES = ("sqlite", "postgresql")


def test_weights_are_set_for_those_named_and_stay_for_the_others(screening: Rollout, join: Join) -> None:
    """`weight` touches only the candidates that it names; the champion gets the rest."""
    join()
    screening.set_weights({"boosted": 5, "forest": 10})
    change = screening.set_weights({"boosted": 12.5})
    assert change.changed
    assert change.state.percents == {"boosted": 12.5, "forest": 10}
    assert (change.state.champion, change.state.revision) == ("logistic", 3)


def test_the_same_weights_make_no_revision(screening: Rollout, join: Join) -> None:
    """Saying again what is so already is done without a new revision."""
    join()
    screening.set_weights({"boosted": 5})
    change = screening.set_weights({"boosted": 5})
    assert (change.changed, change.state.revision) == (False, 2)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"boosted": -1}, "boosted"),
        ({"boosted": 101}, "boosted"),
        ({"boosted": float("nan")}, "boosted"),
        ({"boosted": 1.2345}, "three decimals"),
        ({"boosted": 60, "forest": 50}, "add up to 110"),
        ({"logistic": 5}, "is the champion"),
        ({"unheard": 5}, "no variant is called 'unheard'"),
        ({}, "at least one candidate"),
    ],
)
def test_weights_that_cannot_be_change_nothing(
    screening: Rollout, join: Join, weights: dict[str, float], told: str
) -> None:
    """A weight that cannot be is told by name, and the state is untouched."""
    join()
    with pytest.raises(InvalidValue, match=told):
        screening.set_weights(weights)
    assert screening.state.revision == 1


def test_a_weight_over_what_is_left_names_the_parts(screening: Rollout, join: Join) -> None:
    """The sum counts the candidates that are not named in the command as well."""
    join()
    screening.set_weights({"boosted": 60})
    with pytest.raises(InvalidValue, match="boosted 60 \\+ forest 41"):
        screening.set_weights({"forest": 41})


@pytest.mark.parametrize("state", ["starting", "unready", "failed"])
def test_a_weight_is_not_raised_for_a_variant_that_is_not_ready(
    screening: Rollout, join: Join, state: str
) -> None:
    """Raising a weight needs the variant ready in every live worker; the message says where it is not."""
    join()
    join(variants=with_state(state, error="no such file"))
    with pytest.raises(NotReady, match=f"'boosted' is {state} in worker 4001: no such file"):
        screening.set_weights({"boosted": 5})
    assert screening.state.revision == 1


def test_a_weight_is_lowered_whatever_the_variants_state(screening: Rollout, join: Join) -> None:
    """Taking traffic away from a variant that failed is never refused."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants=with_state("failed"))
    assert screening.set_weights({"boosted": 10}).state.percents == {"boosted": 10}
    with pytest.raises(NotReady):
        screening.set_weights({"boosted": 11})


def test_a_variant_that_one_worker_lacks_is_not_ready(screening: Rollout, join: Join) -> None:
    """Ready is ready in every live worker: one with older code is enough to refuse."""
    join()
    join(variants={"logistic": READY["logistic"]})
    with pytest.raises(NotReady, match="missing in worker 4001"):
        screening.set_weights({"boosted": 5})


def test_two_digests_at_once_are_a_deployment_under_way(screening: Rollout, join: Join) -> None:
    """While workers run different code under one name nobody can say what would get the traffic."""
    join()
    join(variants=with_digest("other"))
    with pytest.raises(NotReady, match="a deployment is under way"):
        screening.set_weights({"boosted": 5})


def test_without_a_worker_weights_are_set_and_the_note_says_so(screening: Rollout) -> None:
    """With nobody alive a weight is committed, and the command says that nobody confirmed readiness."""
    change = screening.set_weights({"boosted": 5})
    assert change.changed
    assert change.notes == ("no worker is live: nobody confirmed that the variants are ready",)


def test_shadow_percents_are_recorded(screening: Rollout, join: Join) -> None:
    """`shadow` sets percents by variant, the champion's own too, and takes them away with 0."""
    join()
    change = screening.set_shadow({"boosted": 100})
    assert change.state.shadow_percents == {"boosted": 100}
    assert change.notes == ()
    assert screening.set_shadow({"logistic": 5}).state.shadow_percents == {"boosted": 100, "logistic": 5}
    assert screening.set_shadow({"boosted": 0, "logistic": 0}).state.shadow_percents == {}


def test_targets_come_and_go(screening: Rollout, join: Join) -> None:
    """A target key gets its variant before the split; taking it back leaves the others."""
    join()
    screening.target("boosted", keys=["u1", 7], header={"X-Ring": "dogfood"})
    assert screening.state.targets["boosted"].model_dump() == {
        "keys": ("u1", "7"),
        "header": {"x-ring": "dogfood"},
    }
    assert list(screening.assign(["u1", "7", "u2"])) == ["boosted", "boosted", "logistic"]
    screening.target("boosted", keys=["u1"], remove=True)
    assert screening.state.targets["boosted"].keys == ("7",)
    assert screening.set_weights({"boosted": 0}).changed is False


def test_a_key_has_one_target(screening: Rollout, join: Join) -> None:
    """Giving a key to another variant takes it from the first."""
    join()
    screening.target("boosted", keys=["u1"])
    screening.target("forest", keys=["u1"])
    assert list(screening.assign(["u1"])) == ["forest"]


@pytest.mark.parametrize("keys", [[""], [float("nan")], ["x" * 9000], [None], []])
def test_a_target_key_that_cannot_be_is_refused(screening: Rollout, join: Join, keys: list[Any]) -> None:
    """A key that no request could be routed by is an error here, not a silent nothing."""
    join()
    with pytest.raises(InvalidValue):
        screening.target("boosted", keys=keys)
    assert screening.state.revision == 1


def test_a_target_needs_a_variant_that_is_ready(screening: Rollout, join: Join) -> None:
    """Keys are not given to a variant that cannot answer; taking them back is always possible."""
    first = join()
    screening.target("boosted", keys=["u1"])
    first.leave()
    join(variants=with_state("failed"))
    with pytest.raises(NotReady):
        screening.target("boosted", keys=["u2"])
    assert screening.target("boosted", keys=["u1"], remove=True).state.targets == {}


def test_pause_and_resume(screening: Rollout) -> None:
    """`pause` is kept until `resume`; saying it twice makes no revision."""
    assert screening.pause(reason="night").state.paused
    assert screening.pause().changed is False
    assert screening.resume().state.paused is False
    assert screening.resume().changed is False


def test_a_pause_stops_no_person(screening: Rollout, join: Join) -> None:
    """Under a pause people's verbs still work."""
    join()
    screening.pause()
    screening.set_weights({"boosted": 5})
    assert screening.flip("boosted").state.champion == "boosted"
    assert screening.rollback().state.champion == "logistic"
    assert screening.state.paused


def test_the_history_tells_who_did_what_and_why(screening: Rollout, join: Join) -> None:
    """Every change has a revision, its parent, a time, an author, an action and a reason, newest first."""
    join()
    open_rollout("screening", author="bob").set_weights({"boosted": 5}, reason="first traffic")
    row, seeded = screening.history_rows()
    assert {
        key: row[key] for key in ("revision", "parent", "author", "reason", "action", "champion", "weights")
    } == {
        "revision": 2,
        "parent": 1,
        "author": "bob",
        "reason": "first traffic",
        "action": "weight",
        "champion": "logistic",
        "weights": {"boosted": 5},
    }
    assert (seeded["author"], seeded["parent"]) == ("spec", 0)
    assert screening.history_rows(1) == [row]


def test_a_worker_that_died_in_after_flip_is_named(
    screening: Rollout, store: RolloutStore, join: Join
) -> None:
    """An after_flip that never ended, in a worker that is gone, is told as such."""
    worker = join()
    screening.flip("boosted")
    ballot = ballot_at(store.place("screening"))
    assert ballot.claim_after(2, worker.token)
    assert not ballot.claim_after(2, "another")
    assert screening.history_rows(1)[0]["after_flip"]["state"] == "running"
    worker.leave()
    assert screening.history_rows(1)[0]["after_flip"]["state"] == "died"
    ballot.report_after(After(2, worker.token, 77, "failed", "boom"))
    assert screening.history_rows(1)[0]["after_flip"] == {"worker": 77, "state": "failed", "error": "boom"}


def test_status_has_what_the_contract_promises(screening: Rollout, store: RolloutStore, join: Join) -> None:
    """`status --json` has the promised fields, and every variant its state, runner, digest and error."""
    join(variants=with_state("failed", error="boom"))
    status = screening.status()
    assert {"name", "revision", "champion", "variants", "weights", "shadow", "paused", "store"} <= set(status)
    assert status["variants"]["boosted"] == {
        "state": "failed",
        "runner": "worker",
        "digest": "2" * 12,
        "error": "boom",
        "models": [],
    }
    binds = {"sqlite": "host", "postgresql": "cluster"}[store.kind]
    assert (status["store"]["kind"], status["store"]["binds"]) == (store.kind, binds)
    assert status["store"]["durable"] is True
    assert [worker["pid"] for worker in status["workers"]] == [4000]


def test_the_worst_worker_tells_a_variants_state(screening: Rollout, join: Join) -> None:
    """A variant is as ready as in the worker where it is least so; one that a worker lacks is missing."""
    join()
    join(variants={name: card for name, card in with_state("starting").items() if name != "forest"})
    variants = screening.status()["variants"]
    assert (variants["boosted"]["state"], variants["forest"]["state"]) == ("starting", "missing")


def test_a_name_that_the_service_lost_is_missing(screening: Rollout, join: Join) -> None:
    """A variant with weight that no worker has is told as missing, and its keys go to the champion."""
    screening.set_weights({"boosted": 50})
    join(variants={"logistic": READY["logistic"]})
    assert screening.status()["variants"]["boosted"]["state"] == "missing"
    rows = screening.assignments([f"u{i}" for i in range(40)])
    assert {(row["variant"], row["reason"]) for row in rows} == {
        ("logistic", "unavailable"),
        ("logistic", "split"),
    }


def test_assign_and_assignments_agree(screening: Rollout, join: Join) -> None:
    """The vectorised answer for keys is the one that is told key by key."""
    join()
    screening.set_weights({"boosted": 30, "forest": 20})
    keys = [f"u{i}" for i in range(500)]
    assert list(screening.assign(keys)) == [row["variant"] for row in screening.assignments(keys)]


def test_an_unknown_rollout_is_not_found(store: RolloutStore) -> None:
    """Every use of a rollout that the store does not have says so."""
    stranger = open_rollout("stranger")
    for use in (lambda: stranger.state, stranger.history, stranger.status, stranger.pause, stranger.flip):
        with pytest.raises(NotFound, match="no rollout 'stranger'"):
            use()


@pytest.mark.parametrize("name", ["../etc", "", "a/b", ".hidden", "x" * 101, "a b"])
def test_a_rollouts_name_is_no_path(store: RolloutStore, name: str) -> None:
    """A name that could leave the store's folder is refused before anything is touched."""
    with pytest.raises(InvalidValue):
        open_rollout(name)


def test_list_shows_every_rollout(screening: Rollout) -> None:
    """`list` has name, revision and champion of each."""
    assert list_rollouts() == [{"name": "screening", "revision": 1, "champion": "logistic"}]


def test_a_store_that_binds_one_pod_takes_no_changes(
    screening: Rollout, store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod reading works and changing a file is refused, whatever the verb; a database binds all pods."""
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    pod = open_rollout("screening")
    assert pod.status()["store"]["durable"] is (store.kind == "postgresql")
    if store.kind == "postgresql":
        assert pod.pause().changed
        return
    verbs: list[Callable[[], object]] = [
        pod.rollback,
        pod.pause,
        lambda: pod.set_weights({"boosted": 5}),
        lambda: pod.flip("boosted"),
    ]
    for verb in verbs:
        with pytest.raises(NotDurable, match="one pod of unknown many"):
            verb()
