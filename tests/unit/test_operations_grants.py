"""What a new deployment may take over: retiring, digests, applied specs."""

from __future__ import annotations

import pytest

from bento_rollout.errors import (
    InvalidValue,
    NotReady,
    Refused,
    UnknownVariant,
)
from bento_rollout.operations import Rollout
from bento_rollout.store.presence import VariantCard
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
    assert {row["variant"] for row in screening.explain([f"u{i}" for i in range(50)])} == {"logistic"}
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
