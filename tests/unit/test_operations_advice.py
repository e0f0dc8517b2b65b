"""What operators are told of retirements, undos and rollbacks, and how a retirement prepares an heir."""

from __future__ import annotations

import threading

import pytest

from bento_rollout.errors import FlipTimeout, Refused, Vetoed
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.ballot import Ballot, Vote
from bento_rollout.store.presence import Workers
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.conftest import DIGESTS
from tests.unit.door import Door, Say
from tests.unit.workers import READY, Join, with_digest


def vote(store: SQLiteStore, worker: Workers, veto: str | None = None) -> None:
    """Let a worker vote on the next proposal, as a service's worker does."""
    ballot = Ballot(store.place("screening"))

    def wait() -> None:
        for _ in range(2000):
            if (proposal := ballot.pending()) is not None:
                ballot.vote(proposal, Vote(worker.token, 1, veto, 0.0))
                return
            threading.Event().wait(0.005)

    threading.Thread(target=wait, daemon=True).start()


# -- retire --------------------------------------------------------------------------------------------------


def test_who_takes_over_from_a_retired_champion_is_prepared(
    screening: Rollout, store: SQLiteStore, join: Join
) -> None:
    """`retire` of a champion runs the hooks of every live worker before its heir is champion."""
    for worker in (join(before_flip=1), join(before_flip=1)):
        vote(store, worker)
    state = screening.retire("logistic", in_favour_of="forest", timeout=20).state
    assert (state.champion, "logistic" in state.named) == ("forest", False)


def test_a_hook_vetoes_a_retirement(screening: Rollout, store: SQLiteStore, join: Join) -> None:
    """One worker's veto leaves the champion where it was, and its words reach the operator."""
    vote(store, join(before_flip=1), veto="too slow when cold")
    with pytest.raises(Vetoed, match="too slow when cold"):
        screening.retire("logistic", in_favour_of="forest", timeout=20)
    assert (screening.state.champion, screening.state.revision) == ("logistic", 1)


def test_a_silent_worker_refuses_a_retirement(screening: Rollout, join: Join) -> None:
    """A live worker that says nothing until the timeout is named; nothing changed."""
    join(before_flip=1)
    with pytest.raises(FlipTimeout, match=r"within 0\.2 s from worker 4000"):
        screening.retire("logistic", in_favour_of="forest", timeout="200ms")
    assert screening.state.revision == 1


def test_the_command_bounds_the_wait(say: Say, join: Join) -> None:
    """``retire --timeout`` says how long to wait for the hooks."""
    join(before_flip=1)
    code, _, err = say("retire", "screening", "logistic", "--in-favour-of", "forest", "--timeout", "100ms")
    assert (code, "no answer within 0.1 s" in err) == (1, True)


def test_the_route_bounds_the_wait(door: Door, join: Join) -> None:
    """``timeout`` in the body of ``retire`` says how long to wait for the hooks."""
    join(before_flip=1)
    body = {"variant": "logistic", "in_favour_of": "forest", "timeout": 0.2}
    answer = door.post("retire", body)
    assert (answer.status_code, "no answer within 0.2 s" in answer.json()["detail"]) == (409, True)


def test_a_retirement_that_leaves_the_champion_asks_nobody(screening: Rollout, join: Join) -> None:
    """Hooks are for a new champion: who only has weight is retired without them."""
    join(before_flip=1)
    screening.set_weights({"boosted": 5})
    assert screening.retire("boosted", in_favour_of="forest", timeout=0.1).state.percents == {"forest": 5}


def test_with_nobody_alive_a_retirement_goes_through(screening: Rollout, join: Join) -> None:
    """When no worker lives to run the hooks a lost champion is retired all the same, and the note says so."""
    join(before_flip=1).leave()
    change = screening.retire("logistic", in_favour_of="forest")
    assert change.state.champion == "forest"
    assert "nobody ran the before_flip hooks" in change.notes
    assert not any("forest" in note for note in change.notes)


def test_an_heir_that_nobody_has_heard_of_is_told(screening: Rollout, join: Join) -> None:
    """A name that the service did not have when it last ran goes through, and the note names those it had."""
    join().leave()
    change = screening.retire("logistic", in_favour_of="forrest")
    assert change.state.champion == "forrest"
    (note,) = [note for note in change.notes if "forrest" in note]
    assert "no variant 'forrest' when it last ran; it had: logistic, boosted, forest" in note
    assert "A start is refused" in note
    assert screening.undo().state.champion == "logistic"


def test_an_heir_is_told_of_when_no_worker_ever_ran(screening: Rollout) -> None:
    """Without any worker ever, the note names what the state knows."""
    change = screening.retire("logistic", in_favour_of="forrest")
    assert any("no worker has ever run here" in note and "boosted" in note for note in change.notes)


def test_a_retired_variant_that_is_still_there_is_told(screening: Rollout, join: Join) -> None:
    """Live workers go on having who was retired: the note says so, also the second time."""
    join()
    screening.set_shadow({"forest": 5})
    told = "the service still has 'forest': it is ready and has no traffic"
    assert screening.retire("forest").notes == (told,)
    again = screening.retire("forest")
    assert (again.changed, again.notes) == (False, (told,))


def test_the_way_back_from_a_retired_champion(screening: Rollout, join: Join) -> None:
    """No rollback leads to who was retired, and says that `undo` does; `undo` does."""
    join()
    told = screening.retire("logistic", in_favour_of="forest").notes
    assert (
        "a rollback does not lead back to 'logistic'; to take this back: bento-rollout undo screening" in told
    )
    nothing, note = screening.rollback().notes
    assert nothing == "nothing to roll back"
    assert "revision 2 retired the champion logistic" in note
    assert "bento-rollout undo screening" in note
    assert screening.undo().state.champion == "logistic"


def test_nothing_leads_back_to_who_is_not_in_the_code(screening: Rollout, join: Join) -> None:
    """Where the service does not have the retired champion, there is no way back, and the note says so."""
    join(variants={name: READY[name] for name in ("boosted", "forest")})
    notes = screening.retire("logistic", in_favour_of="forest").notes
    assert "nothing leads back to 'logistic': the service does not have it" in notes
    with pytest.raises(Refused, match="the service does not have it"):
        screening.undo()


# -- undo ----------------------------------------------------------------------------------------------------


def test_undo_says_what_it_took_back(screening: Rollout, join: Join) -> None:
    """The answer and the history name revision and action; later revisions are said to stay."""
    join()
    screening.set_weights({"boosted": 5})
    screening.flip("forest")
    screening.target("boosted", keys=["u1"])
    screening.pause()
    change = screening.undo()
    assert change.detail[0] == "undid revision 3: flip to forest"
    assert change.notes == ("revisions 4 to 5 stay: they changed no traffic",)
    assert screening.history_rows(1)[0]["detail"][0] == "undid revision 3: flip to forest"
    assert screening.history_rows()[0]["detail"][0] == "undid revision 3: flip to forest"


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (lambda r: r.set_weights({"boosted": 12.5}), "weight boosted 12.5 % (was 5 %)"),
        (lambda r: r.rollback(), "rollback boosted 0 % (was 5 %)"),
        (lambda r: r.undo(), "undo boosted 0 % (was 5 %)"),
        (lambda r: r.retire("logistic", in_favour_of="forest"), "retire in favour of forest"),
        (lambda r: r.retire("boosted", in_favour_of="logistic"), "retire boosted 0 % (was 5 %)"),
        (
            lambda r: r.apply(RolloutSpec.parse({"routing": {"key": "header:x", "salt": "two"}})),
            "apply salt two (was screening)",
        ),
    ],
    ids=["weight", "rollback", "undo", "retire the champion", "retire", "salt"],
)
def test_undo_of_each_verb(screening: Rollout, join: Join, verb: object, told: str) -> None:
    """Whatever changed the traffic is named, with what it did."""
    join()
    screening.set_weights({"boosted": 5})
    assert callable(verb)
    verb(screening)
    assert screening.undo().detail[0] == f"undid revision 3: {told}"


def test_undo_of_a_flip_says_that_no_hook_ran(screening: Rollout, join: Join) -> None:
    """Where hooks exist an undo that changes the champion says that it prepared nobody; others do not."""
    worker = join()
    screening.flip("boosted")
    worker.leave()
    join(before_flip=1)
    told = "no before_flip hook ran: like a rollback, an undo waits for nobody"
    assert told in screening.undo().notes
    screening.set_weights({"boosted": 5})
    assert told not in screening.undo().notes


# -- rollback ------------------------------------------------------------------------------------------------


def test_nothing_to_roll_back_says_how_to_go_further(screening: Rollout, join: Join) -> None:
    """With an older champion in the history the second rollback names ``--again`` and who it leads to."""
    join()
    screening.flip("boosted")
    screening.flip("forest")
    screening.rollback()
    further = "rollback --again would give all traffic to logistic"
    assert screening.rollback().notes == ("nothing to roll back", further)
    assert screening.status()["rollback_again"] == {"revision": 1, "champion": "logistic"}
    screening.rollback(again=True)
    assert screening.rollback().notes == ("nothing to roll back",)
    assert screening.status()["rollback_again"] is None


def test_status_shows_how_to_go_further(screening: Rollout, join: Join, say: Say) -> None:
    """The line of ``status`` about the way back names ``--again`` too."""
    join()
    for name in ("boosted", "forest"):
        screening.flip(name)
    screening.rollback()
    further = "nothing to roll back; rollback --again would give all traffic to logistic"
    assert further in say("status", "screening")[1]


def test_a_rollback_says_which_targets_stay(screening: Rollout, join: Join) -> None:
    """Targets that lead to a candidate outlast a rollback; the note names who gets them."""
    join()
    screening.target("boosted", keys=["u1"])
    screening.target("logistic", keys=["u2"])
    screening.set_weights({"forest": 5})
    told = "targets stay, and lead to boosted; `target … --remove` ends them"
    assert screening.rollback().notes == (told,)


def test_targets_of_who_cannot_answer_are_the_champions(screening: Rollout, join: Join) -> None:
    """Where a target's variant is held the note says that the champion answers."""
    worker = join()
    screening.target("boosted", keys=["u1"])
    screening.set_weights({"forest": 5})
    worker.leave()
    join(variants=with_digest("new"))
    told = "targets of boosted (held) stay, and the champion answers them; `target … --remove` ends them"
    assert screening.rollback().notes == (told,)


# -- history -------------------------------------------------------------------------------------------------


def test_a_deployment_names_its_digests_once(screening: Rollout, store: SQLiteStore) -> None:
    """The row of a deployment has the digests in its reason and nowhere else."""
    open_state(store, "screening", "logistic", RolloutSpec.parse({}), {**DIGESTS, "logistic": "f" * 16})
    row = screening.history_rows(1)[0]
    assert (row["action"], row["detail"]) == ("deploy", [])
    assert row["reason"] == f"champion logistic: digest {'1' * 12} -> {'f' * 16}"


# -- where a change binds nobody -----------------------------------------------------------------------------


def test_a_pod_is_named_once(monkeypatch: pytest.MonkeyPatch, screening: Rollout) -> None:
    """In a pod the refusal says once that one of unknown many would be bound."""
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(Refused) as caught:
        open_rollout("screening").pause()
    assert str(caught.value).count("one pod of unknown many") == 1
    assert "this would bind one pod of unknown many" in str(caught.value)
