"""What a new deployment may take over: retiring, digests, applied specs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bento_rollout.errors import (
    InvalidValue,
    NotReady,
    Refused,
    UnknownVariant,
)
from bento_rollout.operations import Rollout
from bento_rollout.state import Commit
from bento_rollout.store.location import locate
from bento_rollout.store.presence import VariantCard
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.workers import READY, Join, spec, with_digest


def test_a_variant_without_traffic_is_retired(screening: Rollout, join: Join) -> None:
    """`retire` takes a variant out of targets, shadow and standby."""
    join()
    screening.target("forest", keys=["u1"])
    screening.set_shadow({"forest": 5})
    state = screening.retire("forest").state
    assert "forest" not in state.named
    assert "forest" not in state.granted


def test_a_variant_with_weight_needs_an_heir(screening: Rollout, join: Join) -> None:
    """A candidate with weight, and the champion, are retired only in somebody's favour."""
    join()
    screening.set_weights({"boosted": 20})
    with pytest.raises(Refused, match="--in-favour-of"):
        screening.retire("boosted")
    assert screening.retire("boosted", in_favour_of="forest").state.percents == {"forest": 20}
    with pytest.raises(Refused, match="is the champion"):
        screening.retire("logistic")
    assert screening.retire("logistic", in_favour_of="forest").state.champion == "forest"


def test_retiring_a_stranger_is_refused(screening: Rollout, join: Join) -> None:
    """A name that the state does not have is an error."""
    join()
    with pytest.raises(UnknownVariant):
        screening.retire("unheard")


def test_a_lost_champion_is_retired_in_favour_of_one_that_the_next_start_brings(
    screening: Rollout, join: Join
) -> None:
    """With nobody alive the heir may be a name that only the next start brings: the way out."""
    join().leave()
    state = screening.retire("logistic", in_favour_of="transformer").state
    assert state.champion == "transformer"
    assert "logistic" not in state.named
    with pytest.raises(InvalidValue, match="is not valid"):
        screening.retire("transformer", in_favour_of="../etc")


def test_a_rollback_does_not_go_to_a_retired_variant(screening: Rollout, join: Join) -> None:
    """What was retired is no champion of any settled state that a rollback goes to."""
    join()
    screening.flip("boosted")
    screening.retire("logistic")
    assert screening.rollback().notes == ("nothing to roll back",)


def test_a_new_digest_is_held_until_weight_grants_it(screening: Rollout, join: Join) -> None:
    """A candidate that comes with other code keeps its weight on paper; the same `weight` again grants it."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants=with_digest("new"))
    assert screening.status()["variants"]["boosted"]["held"] == "new digest, weight 50 held"
    assert {row["variant"] for row in screening.assignments([f"u{i}" for i in range(50)])} == {"logistic"}
    change = screening.set_weights({"boosted": 50})
    assert change.changed
    assert change.state.granted["boosted"] == "new"
    assert "held" not in screening.status()["variants"]["boosted"]


def test_apply_grants_a_new_digest_too(screening: Rollout, join: Join) -> None:
    """`apply` of weights that are in force already still grants them to the code that is there now."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants=with_digest("new"))
    asked = spec(weights={"boosted": 50})
    assert screening.differences(asked) != []
    assert screening.apply(asked).state.granted["boosted"] == "new"
    assert screening.differences(asked) == []


def test_other_verbs_grant_nothing(screening: Rollout, join: Join) -> None:
    """A target, a shadow or another candidate's weight does not let a held weight loose."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants=with_digest("new"))
    screening.target("boosted", keys=["u1"])
    screening.set_weights({"forest": 5})
    screening.set_shadow({"boosted": 5})
    screening.undo()
    assert screening.status()["variants"]["boosted"]["held"] == "new digest, weight 50 held"


def test_a_held_weight_is_not_granted_to_a_variant_that_is_not_ready(screening: Rollout, join: Join) -> None:
    """Granting anew is raising a weight: the variant must be ready."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    join(variants={**READY, "boosted": VariantCard("failed", "worker", "new")})
    with pytest.raises(NotReady):
        screening.set_weights({"boosted": 50})


def test_a_flip_grants_the_champion_its_digest(screening: Rollout, join: Join) -> None:
    """What becomes champion is trusted with its code as it is."""
    join(variants=with_digest("new"))
    assert screening.flip("boosted").state.granted["boosted"] == "new"


def test_apply_sets_exactly_what_is_named(screening: Rollout, join: Join) -> None:
    """Fields that the file names are set whole, others are untouched; the second time nothing differs."""
    join()
    screening.set_weights({"forest": 20})
    screening.set_shadow({"forest": 3})
    asked = spec(weights={"boosted": 5}, blue_green={"standby": "boosted"})
    assert len(screening.differences(asked)) == 2
    state = screening.apply(asked).state
    assert (state.percents, state.standby) == ({"boosted": 5, "forest": 0}, "boosted")
    assert state.shadow_percents == {"forest": 3}
    assert screening.differences(asked) == []
    assert screening.apply(asked).changed is False


def test_apply_of_an_unknown_variant_changes_nothing(screening: Rollout, join: Join) -> None:
    """A file that names nobody is refused whole."""
    join()
    with pytest.raises(UnknownVariant):
        screening.apply(spec(weights={"boosted": 5, "unheard": 1}))
    assert screening.state.revision == 1


def test_a_script_does_not_redeploy_what_a_person_rolled_back(screening: Rollout, join: Join) -> None:
    """The same content again is refused after a rollback; changed content is a decision and is taken."""
    join()
    asked = spec(weights={"boosted": 50})
    screening.apply(asked)
    screening.rollback(reason="500s")
    with pytest.raises(Refused, match="ann rolled back \\(revision 3\\)"):
        screening.apply(asked)
    assert screening.state.percents == {}
    assert screening.apply(spec(weights={"boosted": 1})).changed


def test_a_content_that_was_in_force_without_apply_is_known_too(screening: Rollout, join: Join) -> None:
    """A file that says what a person rolled back is refused although nobody had applied it before."""
    join()
    screening.set_weights({"boosted": 50})
    screening.rollback()
    with pytest.raises(Refused):
        screening.apply(spec(weights={"boosted": 50}))


def test_after_a_rollback_apply_may_still_lower_and_aim(screening: Rollout, join: Join) -> None:
    """Only raising weights would undo a rollback; other fields of the same content are set."""
    join()
    asked = spec(weights={}, targets={"boosted": {"keys": ["u1"]}})
    screening.apply(asked)
    screening.target("boosted", keys=["u1"], remove=True)
    screening.set_weights({"forest": 5})
    screening.rollback()
    assert screening.apply(asked).changed


# -- taking a grant back -------------------------------------------------------------------------------------


def redeployed(screening: Rollout, join: Join, percent: float = 50, digest: str = "new") -> None:
    """Give boosted a weight, then let its code be another one: the weight is held."""
    first = join()
    screening.set_weights({"boosted": percent})
    first.leave()
    join(variants=with_digest(digest))


def answers(screening: Rollout) -> tuple[float, bool]:
    """Return what boosted truly answers, and whether its code is held."""
    status = screening.status()
    return status["served"].get("boosted", 0), "held" in status["variants"]["boosted"]


def test_undo_of_a_grant_holds_the_weight_again(screening: Rollout, join: Join) -> None:
    """After a `weight` that only granted new code, `undo` takes back that and not the change before it."""
    redeployed(screening, join)
    screening.set_weights({"boosted": 50})
    assert answers(screening) == (50, False)
    change = screening.undo()
    assert (change.state.percents, change.state.granted["boosted"]) == ({"boosted": 50}, "2" * 12)
    assert change.detail == (
        "undid revision 3: weight boosted granted to digest new (was 222222222222)",
        "boosted granted to digest 222222222222 (was new)",
    )
    assert answers(screening) == (0, True)


def test_undo_of_that_undo_grants_again(screening: Rollout, join: Join) -> None:
    """The undo of a grant is the newest change then, and is taken back in its turn."""
    redeployed(screening, join)
    screening.set_weights({"boosted": 50})
    screening.undo()
    assert screening.undo().state.granted["boosted"] == "new"
    assert answers(screening) == (50, False)
    screening.undo()
    assert answers(screening) == (0, True)


def test_undo_of_an_apply_that_only_granted(screening: Rollout, join: Join) -> None:
    """`apply` of weights that are in force is a grant and nothing else; so is what `undo` takes back."""
    redeployed(screening, join)
    screening.apply(spec(weights={"boosted": 50}))
    state = screening.undo().state
    assert (state.percents, state.granted["boosted"]) == ({"boosted": 50}, "2" * 12)


def test_undo_of_a_weight_that_moved_and_granted(screening: Rollout, join: Join) -> None:
    """One change, taken back whole: the old weight, for the old code."""
    redeployed(screening, join)
    screening.set_weights({"boosted": 60})
    state = screening.undo().state
    assert (state.percents, state.granted["boosted"]) == ({"boosted": 50}, "2" * 12)
    assert answers(screening) == (0, True)


def test_undo_of_a_grant_without_traffic(screening: Rollout, join: Join) -> None:
    """`weight NAME=0` grants new code without traffic, and `undo` takes it back."""
    redeployed(screening, join, percent=0)
    assert screening.set_weights({"boosted": 0}).state.granted["boosted"] == "new"
    assert screening.undo().state.granted["boosted"] == "2" * 12


def test_undo_of_a_flip_holds_the_candidates_new_code(screening: Rollout, join: Join) -> None:
    """A flip trusts the new champion's code; taken back, the candidate's weight is held as it was before."""
    redeployed(screening, join)
    screening.flip("boosted")
    state = screening.undo().state
    assert (state.champion, state.percents, state.granted["boosted"]) == (
        "logistic",
        {"boosted": 50},
        "2" * 12,
    )
    assert answers(screening) == (0, True)


def test_undo_after_a_target_takes_back_no_grant(screening: Rollout, join: Join) -> None:
    """A target is no change of traffic: `undo` takes back the grant before it, and the target stays."""
    redeployed(screening, join)
    screening.set_weights({"boosted": 50})
    screening.target("boosted", keys=["u1"])
    state = screening.undo().state
    assert (state.granted["boosted"], set(state.targets)) == ("2" * 12, {"boosted"})


def test_undo_of_a_retirement_gives_nothing_to_new_code(screening: Rollout, join: Join) -> None:
    """Who was retired with weight gets it back for the code that had it, not for what came since."""
    redeployed(screening, join)
    screening.retire("boosted", in_favour_of="logistic")
    state = screening.undo().state
    assert (state.percents, state.granted["boosted"]) == ({"boosted": 50}, "2" * 12)
    assert answers(screening) == (0, True)


def test_a_grant_is_not_given_back_to_code_that_is_not_ready(screening: Rollout, join: Join) -> None:
    """Undoing the undo of a grant moves traffic: the variant must be ready. Withdrawing asks nothing."""
    first = join()
    screening.set_weights({"boosted": 50})
    first.leave()
    second = join(variants=with_digest("new"))
    screening.set_weights({"boosted": 50})
    second.leave()
    join(variants={**READY, "boosted": VariantCard("failed", "worker", "new")})
    assert screening.undo().state.granted["boosted"] == "2" * 12
    with pytest.raises(NotReady):
        screening.undo()


def test_nothing_is_granted_while_workers_differ(screening: Rollout, join: Join) -> None:
    """In the middle of a deployment weights can be lowered, and grant neither the old code nor the new."""
    join()
    screening.set_weights({"boosted": 50})
    join(variants=with_digest("new"))
    with pytest.raises(NotReady, match="a deployment is under way"):
        screening.set_weights({"boosted": 50})
    state = screening.set_weights({"boosted": 0}).state
    assert (state.percents, state.granted["boosted"]) == ({"boosted": 0}, "2" * 12)


# -- what is truly served ------------------------------------------------------------------------------------


def test_what_is_held_is_not_shown_as_served(screening: Rollout, join: Join) -> None:
    """`status` says who truly answers, who does not, why, and what to do about it."""
    first = join()
    screening.set_weights({"boosted": 10, "forest": 50})
    first.leave()
    join(variants=with_digest("new", "forest"))
    status = screening.status()
    assert status["served"] == {"logistic": 90, "boosted": 10}
    command = "bento-rollout weight screening forest=50"
    why = f"new digest: grant it with {command}"
    assert status["idle"] == {"forest": {"percent": 50, "state": "held", "why": why, "command": command}}
    assert status["variants"]["forest"]["grant"] == command
    assert status["weights"] == {"boosted": 10, "forest": 50}


@pytest.mark.parametrize(
    ("card", "state", "why"),
    [
        (VariantCard("failed", "worker", "2" * 12, "no file"), "failed", "no file"),
        (VariantCard("starting", "worker", "2" * 12), "starting", "a worker says so"),
        (None, "missing", "bento-rollout retire screening boosted --in-favour-of logistic"),
    ],
)
def test_who_cannot_answer_is_not_shown_as_served(
    screening: Rollout, join: Join, card: VariantCard | None, state: str, why: str
) -> None:
    """The share of a variant that is missing, failed or still starting is the champion's."""
    first = join()
    screening.set_weights({"boosted": 10})
    first.leave()
    others = {name: found for name, found in READY.items() if name != "boosted"}
    join(variants=others if card is None else {**others, "boosted": card})
    status = screening.status()
    assert status["served"] == {"logistic": 100}
    assert (status["idle"]["boosted"]["percent"], status["idle"]["boosted"]["state"]) == (10, state)
    assert why in status["idle"]["boosted"]["why"]
    assert {row["variant"] for row in screening.assignments([f"u{i}" for i in range(50)])} == {"logistic"}


def test_who_stands_in_for_a_champion_that_cannot_answer_is_told(screening: Rollout, join: Join) -> None:
    """After a flip to one that dies its forerunner answers: `status` and `assign` say so, and a way back."""
    first, second = join(), join()
    screening.flip(to="boosted")
    first.leave()
    second.leave()
    down = VariantCard("unready", "service", "2" * 12, "it does not answer")
    join(variants={**READY, "boosted": down})
    status = screening.status()
    assert (status["champion"], status["served"]) == ("boosted", {"logistic": 100})
    why = {"percent": 100, "state": "unready", "why": "it does not answer"}
    assert status["idle"] == {"boosted": {**why, "command": "bento-rollout rollback screening"}}
    assert screening.assignments(["u1"])[0]["variant"] == "logistic"
    join()
    assert screening.status()["idle"]["boosted"]["why"] == "it does not answer, in 1 of 2 workers"


def test_held_targets_are_told(screening: Rollout, join: Join) -> None:
    """A variant without weight whose keys are held is idle too; one without anything is not."""
    first = join()
    screening.target("boosted", keys=["u1"])
    first.leave()
    join(variants={**with_digest("new"), "forest": VariantCard("ready", "worker", "newer")})
    status = screening.status()
    assert set(status["idle"]) == {"boosted"}
    assert status["variants"]["boosted"]["held"] == "new digest, targets held"
    assert status["variants"]["forest"]["held"] == "new digest"
    assert screening.assignments(["u1"])[0]["reason"] == "unavailable"


# -- what is read of a long history --------------------------------------------------------------------------


class Counting(SQLiteStore):
    """A store that counts the revisions that were read from its history."""

    read_rows = 0

    def history(self, *args: Any, **options: Any) -> Sequence[Commit]:
        """Count."""
        found = super().history(*args, **options)
        self.read_rows += len(found)
        return found

    def sketches(self, *args: Any, **options: Any) -> Sequence[Commit]:
        """Count."""
        found = super().sketches(*args, **options)
        self.read_rows += len(found)
        return found


def test_apply_reads_only_what_tells_of_rollbacks(screening: Rollout, join: Join) -> None:
    """However long the history is: without raising a weight nothing is read, else up to the rollback."""
    join()
    screening.set_weights({"boosted": 50})
    screening.rollback()
    for number in range(80):
        screening.set_weights({"boosted": number % 2})
    store = Counting(locate().path)
    rollout = Rollout("screening", store, locate(), "ann")
    rollout.apply(spec(weights={"boosted": 0}))
    assert store.read_rows == 0
    with pytest.raises(Refused):
        rollout.apply(spec(weights={"boosted": 50}))
    assert store.read_rows <= 4
    assert rollout.apply(spec(weights={"boosted": 3})).changed
