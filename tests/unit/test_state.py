"""States and verbs: what each verb does, and what no sequence of verbs can do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bento_rollout.applying import apply_spec, differences, seed
from bento_rollout.assignment import check_ranges
from bento_rollout.errors import (
    InvalidValue,
    NotReady,
    Refused,
    StoreCorrupt,
    StoreUnreachable,
    UnknownVariant,
)
from bento_rollout.settling import MAX_SETTLED, Settled, pushed
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import FORMAT, RolloutState
from bento_rollout.targets import MAX_TARGET_KEYS

KNOWN = ("a", "b", "c", "d")
DIGESTS = {name: name * 12 for name in KNOWN}


def first(**fields: Any) -> RolloutState:
    """The first revision of a rollout whose champion is a, as its spec asks for."""
    return seed("r", "a", RolloutSpec.parse(fields), DIGESTS).model_copy(update={"revision": 1})


class Line:
    """Commits states one after the other, as a store does; verbs are called on it by name."""

    def __init__(self, **fields: Any) -> None:
        self.states = [first(**fields)]

    @property
    def now(self) -> RolloutState:
        """The newest state."""
        return self.states[-1]

    def at(self, revision: int) -> RolloutState:
        """The state of a revision."""
        return next(state for state in self.states if state.revision == revision)

    def commit(self, state: RolloutState) -> bool:
        """Commit a state unless it is the present one; whether it was committed."""
        if state is self.now:
            return False
        self.states.append(state.model_copy(update={"revision": self.now.revision + 1}))
        return True

    def weigh(self, **percents: float) -> bool:
        """Set weights in percent."""
        return self.commit(self.now.set_weights({n: round(p * 1000) for n, p in percents.items()}, KNOWN))

    def flip(self, to: str) -> bool:
        """Make another variant champion."""
        return self.commit(self.now.flip(to, KNOWN))

    def rollback(self, *, again: bool = False, to: int | None = None) -> bool:
        """Roll back."""
        point = None if to is None else self.at(to).point
        return self.commit(self.now.roll_back(again=again, to=point, known=KNOWN))

    def undo(self) -> bool:
        """Take back the newest change of traffic."""
        after = self.at(self.now.moved)
        return self.commit(self.now.undo(before=self.at(after.revision - 1), after=after, known=KNOWN))

    def retire(self, variant: str, heir: str | None = None) -> bool:
        """Remove a variant."""
        return self.commit(self.now.retire(variant, heir, KNOWN))

    def apply(self, **fields: Any) -> bool:
        """Apply a spec."""
        return self.commit(apply_spec(self.now, RolloutSpec.parse(fields), KNOWN))


# -- weights ----------------------------------------------------------------------------------------------


def test_weights_that_are_not_named_stay() -> None:
    """`weight` sets the candidates named; the others stay; the champion gets the rest."""
    line = Line(weights={"b": 5, "c": 20})
    line.weigh(b=10)
    assert line.now.percents == {"b": 10, "c": 20}
    assert not line.weigh(b=10, c=20), "the same weights again are no revision"
    assert not line.weigh(d=0)


@pytest.mark.parametrize(
    ("weights", "error", "told"),
    [
        ({"b": 60, "c": 41}, InvalidValue, "add up to 101 percent"),
        ({"a": 5}, InvalidValue, "'a' is the champion and has no weight"),
        ({"x": 5}, UnknownVariant, "no variant is called 'x'; this rollout has: a, b, c, d"),
        ({"x": 0}, UnknownVariant, "no variant is called 'x'"),
    ],
)
def test_weights_that_cannot_be(weights: dict[str, float], error: type[Exception], told: str) -> None:
    """Sums over 100, the champion and unknown names are refused, and the state is what it was."""
    line = Line()
    with pytest.raises(error, match=told):
        line.weigh(**weights)
    assert len(line.states) == 1


def test_what_a_missing_variant_has_may_be_lowered() -> None:
    """A variant that the service lacks can lose weight and shadow, and cannot get any."""
    state = first(weights={"b": 5}, shadow={"c": {"percent": 10}})
    known = ("a", "d")
    assert state.set_weights({"b": 0}, known).weights == {}
    assert state.set_weights({"b": 1000}, known).percents == {"b": 1}
    assert state.set_shadow({"c": 0}, known).shadow == {}
    assert apply_spec(state, RolloutSpec.parse({"weights": {"d": 1}}), known).percents == {"d": 1}
    with pytest.raises(UnknownVariant):
        state.set_weights({"b": 6000}, known)
    with pytest.raises(UnknownVariant):
        state.set_shadow({"c": 11_000}, known)


# -- flip -------------------------------------------------------------------------------------------------


def test_a_flip_exchanges_champion_standby_and_shadow() -> None:
    """The target gets all traffic, its shadow becomes the old champion's, and that waits as standby."""
    line = Line(weights={"b": 50, "c": 10}, shadow={"b": {"percent": 25}, "d": {"percent": 1}})
    line.flip("b")
    now = line.now
    assert (now.champion, now.standby, now.is_settled, now.ranges) == ("b", "a", True, ())
    assert now.shadow_percents == {"a": 25, "d": 1}
    assert not line.flip("b"), "a flip to the champion is done already"
    line.flip("a")
    assert (line.now.standby, line.now.shadow_percents) == ("b", {"b": 25, "d": 1})


def test_the_noise_floor_goes_with_the_champion() -> None:
    """The champion's own shadow is that of whoever is champion."""
    line = Line(shadow={"a": {"percent": 5}, "b": {"percent": 25}})
    line.flip("b")
    assert line.now.shadow_percents == {"a": 25, "b": 5}


@pytest.mark.parametrize(
    ("standby", "known", "target"),
    [("c", KNOWN, "c"), (None, ("a", "b"), "b"), ("a", ("a", "b"), "b")],
)
def test_where_a_flip_without_a_name_goes(standby: str | None, known: tuple[str, ...], target: str) -> None:
    """To the standby, else to the only candidate."""
    state = first().model_copy(update={"standby": standby})
    assert state.flip_target(known) == target


def test_a_flip_without_a_name_must_know_where_to() -> None:
    """With several candidates and no standby the error names the candidates and the option."""
    with pytest.raises(InvalidValue, match=r"candidates are: b, c, d; name one with --to VARIANT"):
        first().flip_target(KNOWN)


# -- rollback and undo ------------------------------------------------------------------------------------

Verbs = list[tuple[Any, ...]]
WALKS: dict[str, tuple[Verbs, str]] = {
    "nothing happened": ([], "a"),
    "a ramp": ([("weigh", {"b": 5}), ("weigh", {"b": 50})], "a"),
    "a flip": ([("flip", "b")], "a"),
    "a ramp and a flip": ([("weigh", {"b": 50}), ("flip", "b")], "a"),
    "a flip and a ramp": ([("flip", "b"), ("weigh", {"c": 5})], "b"),
    "a flip, a ramp that ended": ([("flip", "b"), ("weigh", {"c": 5}), ("weigh", {"c": 0})], "b"),
    "two flips": ([("flip", "b"), ("flip", "c")], "b"),
    "a flip and back": ([("flip", "b"), ("flip", "a")], "b"),
    "a flip, rolled back": ([("flip", "b"), ("rollback",)], "a"),
    "two flips, rolled back": ([("flip", "b"), ("flip", "c"), ("rollback",)], "b"),
    "rolled back, a ramp": ([("flip", "b"), ("flip", "c"), ("rollback",), ("weigh", {"d": 5})], "b"),
    "rolled back, flipped again": ([("flip", "b"), ("rollback",), ("flip", "b")], "a"),
    "a flip, undone": ([("flip", "b"), ("undo",)], "a"),
    "two flips, undone": ([("flip", "b"), ("flip", "c"), ("undo",)], "a"),
    "rolled back, undone": ([("flip", "b"), ("rollback",), ("undo",)], "a"),
    "a flip, another salt": ([("flip", "b"), ("apply", {"routing": {"salt": "s2"}})], "a"),
    "a flip, targets": ([("flip", "b"), ("apply", {"targets": {"c": {"keys": ["u1"]}}})], "a"),
    "a flip, the old one retired": ([("flip", "b"), ("retire", "a")], "b"),
    "two flips, the middle retired": ([("flip", "b"), ("flip", "c"), ("retire", "b")], "a"),
    "the champion retired": ([("flip", "b"), ("retire", "b", "c")], "a"),
}


def walked(verbs: Verbs, **fields: Any) -> Line:
    """A line after some verbs."""
    line = Line(**fields)
    for verb, *arguments in verbs:
        mapped = arguments[0] if arguments and isinstance(arguments[0], dict) else None
        assert getattr(line, verb)(**mapped) if mapped is not None else getattr(line, verb)(*arguments)
    return line


@pytest.mark.parametrize(("verbs", "champion"), WALKS.values(), ids=WALKS.keys())
def test_where_a_rollback_leads(verbs: Verbs, champion: str) -> None:
    """All traffic to the last settled champion; twice does it once; what `status` says is what happens."""
    line = walked(verbs)
    target = line.now.rollback_target()
    changed = line.rollback()
    assert (line.now.champion, line.now.is_settled) == (champion, True)
    assert (target is not None) == changed
    assert target is None or target.champion == champion
    before = len(line.states)
    assert line.now.rollback_target() is None
    assert not line.rollback()
    assert len(line.states) == before


def test_a_rollback_keeps_shadows_targets_and_pause() -> None:
    """A rollback of a ramp changes weights and nothing else."""
    fields = {
        "shadow": {"c": {"percent": 10}},
        "targets": {"d": {"keys": ["u1"]}},
        "blue_green": {"standby": "c"},
    }
    line = Line(**fields)
    line.weigh(b=5)
    line.commit(line.now.pause(paused=True))
    ramp = line.now
    line.rollback()
    same = {"weights", "ranges", "revision", "moved", "rolled_back"}
    assert line.now.model_dump(exclude=same) == ramp.model_dump(exclude=same)


def test_further_back() -> None:
    """`--again` goes back to one champion after the other, and ends with nothing to roll back."""
    line = walked([("flip", "b"), ("flip", "c"), ("flip", "d")])
    seen = []
    while line.rollback(again=True):
        seen.append(line.now.champion)
    assert seen == ["c", "b", "a"]


def test_again_during_a_ramp_ends_the_ramp() -> None:
    """`--again` while candidates have weight never leaves their weight where it is."""
    line = walked([("flip", "b"), ("weigh", {"c": 5})])
    assert line.rollback(again=True)
    assert (line.now.champion, line.now.is_settled) == ("b", True)


def test_back_to_a_revision() -> None:
    """`--to-revision` goes to any settled revision, forward too; it is a revision of its own."""
    line = walked([("flip", "b"), ("flip", "c"), ("rollback",)])
    assert line.rollback(to=3)
    assert (line.now.champion, line.now.revision) == ("c", 5)
    assert not line.rollback(to=3), "all traffic is there already"
    assert not line.rollback(), "who rolls back beside it does nothing"
    assert line.rollback(again=True)
    assert line.now.champion == "b"
    line.weigh(d=5)
    with pytest.raises(InvalidValue, match=r"revision 7 was not settled \(weights d 5 %\)"):
        line.rollback(to=7)


@pytest.mark.parametrize("way", ["roll_back", "undo"])
def test_nobody_goes_back_to_a_variant_that_is_gone(way: str) -> None:
    """A rollback or undo that would crown a variant which the service has not is refused."""
    line = walked([("flip", "b")])
    arguments: dict[str, Any] = {} if way == "roll_back" else {"before": line.at(1), "after": line.at(2)}
    with pytest.raises(NotReady, match="'a' would become champion, and the service does not have it"):
        getattr(line.now, way)(**arguments, known=("b", "c"))


def test_undo_takes_back_the_newest_change_of_traffic_only() -> None:
    """What was changed after it, and is not traffic, stays: pause, shadow, targets, standby."""
    line = Line(weights={"b": 5}, shadow={"b": {"percent": 10}})
    before = line.now
    line.flip("b")
    line.apply(shadow={"a": {"percent": 10}, "c": {"percent": 50}}, targets={"d": {"keys": ["u1"]}})
    line.commit(line.now.pause(paused=True))
    line.commit(line.now.set_standby("d", KNOWN))
    line.undo()
    now = line.now
    assert (now.champion, now.percents, now.ranges) == (before.champion, before.percents, before.ranges)
    assert now.shadow_percents == {"b": 10, "c": 50}
    assert (now.paused, tuple(now.targets["d"].keys)) == (True, ("u1",))
    assert now.settled == before.settled


def test_undo_gives_the_same_keys_back() -> None:
    """After undo each key has the variant that it had, although weights could be laid out otherwise."""
    line = walked([("weigh", {"b": 5, "c": 5}), ("weigh", {"b": 2}), ("weigh", {"b": 5})])
    before = line.now
    line.weigh(b=0, c=30)
    line.undo()
    assert line.now.ranges == before.ranges


def test_undo_of_an_undo_does_it_again() -> None:
    """An undo is itself the newest change of traffic."""
    line = walked([("weigh", {"b": 5}), ("undo",)])
    assert line.now.percents == {}
    line.undo()
    assert line.now.percents == {"b": 5}


def test_undo_takes_back_another_salt_with_its_weights() -> None:
    """A spec that set salt and weights at once is taken back at once."""
    line = Line(weights={"b": 5})
    line.apply(routing={"salt": "s2"}, weights={"b": 7})
    line.undo()
    assert (line.now.salt, line.now.percents) == ("r", {"b": 5})


def test_another_salt_without_weights_is_no_change_of_traffic() -> None:
    """While the champion has all traffic a new salt moves nobody: undo takes back what came before it."""
    line = walked([("weigh", {"b": 5}), ("weigh", {"b": 0}), ("apply", {"routing": {"salt": "s2"}})])
    line.undo()
    assert (line.now.percents, line.now.salt) == ({"b": 5}, "s2")


def test_the_remembered_states_are_bounded() -> None:
    """After hundreds of flips a rollback still goes one back, and the state has not grown beyond a bound."""
    stack: tuple[Settled, ...] = ()
    for revision in range(1, 500):
        stack = pushed(stack, Settled(revision=revision, champion=KNOWN[revision % 4]))
    assert len(stack) == MAX_SETTLED
    assert stack[-1].revision == 499


# -- targets ----------------------------------------------------------------------------------------------


def aimed(state: RolloutState, variant: str, *keys: object, **options: Any) -> RolloutState:
    """A state after `target`."""
    return state.target(variant, KNOWN, keys=keys, **options)


def test_targets() -> None:
    """A key goes to one variant; 7, 7.0 and "7" are one key; headers ignore case of their name."""
    state = aimed(first(), "b", 7, "u1", header={"X-Ring": "dogfood"})
    assert aimed(state, "b", 7.0, "7") is state
    moved = aimed(state, "c", "7")
    assert {name: target.keys for name, target in moved.targets.items()} == {"b": ("u1",), "c": ("7",)}
    assert moved.compile().keys == {"u1": "b", "7": "c"}
    assert moved.compile().headers == (("x-ring", "dogfood", "b"),)
    assert aimed(moved, "c", header={"x-ring": "dogfood"}).compile().headers == (("x-ring", "dogfood", "c"),)


def test_targets_are_taken_from_the_variant_that_is_named() -> None:
    """`--remove` takes a key from that variant, and from no other that may have it."""
    state = aimed(aimed(first(), "b", "u1"), "c", "u2")
    assert aimed(state, "b", "u2", remove=True) is state
    assert set(aimed(state, "b", "u1", remove=True).targets) == {"c"}


def test_targets_that_cannot_be() -> None:
    """No key, a bad key, an unknown variant and too many keys are refused."""
    with pytest.raises(InvalidValue, match="name at least one key"):
        aimed(first(), "b")
    with pytest.raises(InvalidValue, match="empty"):
        aimed(first(), "b", "")
    with pytest.raises(UnknownVariant):
        aimed(first(), "x", "u1")
    with pytest.raises(InvalidValue, match="10001 target keys are too many") as error:
        aimed(first(), "b", *range(MAX_TARGET_KEYS + 1))
    assert "pydantic" not in str(error.value)


# -- retire -----------------------------------------------------------------------------------------------


def test_a_retired_variant_is_nowhere_in_the_state() -> None:
    """After `retire` nothing names the variant: no weight, shadow, target, standby, digest, way back."""
    line = Line(shadow={"a": {"percent": 1}}, targets={"a": {"keys": ["u1"]}})
    line.flip("b")
    line.retire("a")
    assert "a" not in line.now.model_dump_json(exclude={"name", "salt"}).replace('"a', '"').split('"')
    assert "a" not in {*line.now.named, *line.now.granted, *(point.champion for point in line.now.settled)}
    with pytest.raises(UnknownVariant):
        line.now.retire("a", None, ("b", "c", "d"))


def test_who_has_traffic_needs_an_heir() -> None:
    """A champion, or a candidate with weight, is retired in favour of somebody, who gets exactly its keys."""
    line = Line(weights={"b": 20, "c": 5})
    with pytest.raises(Refused, match="'b' has a weight of 20 percent"):
        line.retire("b")
    with pytest.raises(Refused, match="'a' is the champion"):
        line.retire("a")
    with pytest.raises(InvalidValue, match="in favour of itself"):
        line.retire("b", "b")
    with pytest.raises(UnknownVariant):
        line.retire("b", "x")
    before = line.now.compile()
    line.retire("b", "c")
    after = line.now.compile()
    assert line.now.percents == {"c": 25}
    for bucket in range(0, 100_000, 97):
        assert after.owner(bucket) == {"b": "c"}.get(before.owner(bucket), before.owner(bucket))
    line.retire("c", "a")
    assert (line.now.percents, line.now.ranges, line.now.is_settled) == ({}, (), True)
    line.retire("a", "d")
    assert (line.now.champion, line.now.standby) == ("d", None)


def test_retiring_twice_is_done_already() -> None:
    """A variant that the service has and the state has nothing for is retired already."""
    line = Line()
    assert line.retire("b")
    assert not line.retire("b")


# -- spec and state ---------------------------------------------------------------------------------------


def test_apply_sets_what_is_named_and_nothing_else() -> None:
    """Absent fields are untouched; a field that is named is set whole; the same again is no change."""
    line = Line(weights={"b": 5, "c": 5}, shadow={"d": {"percent": 1}}, targets={"d": {"keys": ["u1"]}})
    line.apply(weights={"b": 7})
    assert (line.now.percents["b"], line.now.percents.get("c", 0)) == (7, 0)
    assert (line.now.shadow_percents, set(line.now.targets)) == ({"d": 1}, {"d"})
    assert not line.apply(weights={"b": 7})
    assert not line.apply(endpoints=["predict"], variants={"b": {"timeout": "2s"}})
    line.apply(shadow={}, targets={})
    assert (line.now.shadow, line.now.targets) == ({}, {})


def test_differences_are_what_apply_would_change() -> None:
    """Each difference is told with both sides; after `apply` there is none."""
    state = first(weights={"b": 5})
    asked = RolloutSpec.parse(
        {
            "weights": {"b": 7},
            "shadow": {"c": {"percent": 1}},
            "routing": {"salt": "s2"},
            "blue_green": {"standby": "d"},
            "targets": {"b": {"keys": ["u1"]}},
        }
    )
    told = differences(state, asked)
    assert told == [
        "weights: the spec asks for b 7 %, the state has b 5 %",
        "shadow: the spec asks for c 1 %, the state has none",
        "targets: the spec asks for other ones than the state has: target b + key u1",
        "standby: the spec asks for d, the state has none",
        "salt: the spec asks for s2, the state has r",
    ]
    assert differences(apply_spec(state, asked, KNOWN), asked) == []


def test_a_standby_that_was_flipped_to_is_no_difference() -> None:
    """A spec that names the present champion as standby asks for nothing; the standby is not lost."""
    line = Line(blue_green={"standby": "b"})
    line.flip("b")
    assert differences(line.now, RolloutSpec.parse({"blue_green": {"standby": "b"}})) == []
    assert not line.apply(blue_green={"standby": "b"})
    assert line.now.standby == "a"


@pytest.mark.parametrize("field", ["weights", "shadow", "targets", "blue_green"])
def test_apply_refuses_unknown_variants(field: str) -> None:
    """A spec that gives something to a variant which the service has not is refused, by its name."""
    entry: Any = {
        "weights": {"x": 1},
        "shadow": {"x": {"percent": 1}},
        "targets": {"x": {"keys": ["u"]}},
    }.get(field)
    with pytest.raises(UnknownVariant, match="'x'"):
        Line().apply(**{field: entry or {"standby": "x"}})


# -- stored states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"degree": "full"}, "degree: Extra inputs"),
        ({"weights": {"b": 5000}, "ranges": [[0, 4000, "b"]]}, "the ranges hold"),
        ({"weights": {"b": 10, "c": 10}, "ranges": [[0, 10, "b"], [5, 15, "c"]]}, "overlaps"),
        ({"weights": {"a": 10}, "ranges": [[0, 10, "a"]]}, "champion 'a' has a weight"),
        ({"revision": -1}, "revision"),
        ({"champion": None}, "champion"),
    ],
)
def test_stored_states_that_cannot_be(change: dict[str, Any], told: str) -> None:
    """A state that no verb could have made is refused and never served."""
    stored = {**first().model_dump(mode="json"), **change}
    with pytest.raises(StoreCorrupt, match=told):
        RolloutState.load(stored)


def test_a_state_of_a_newer_version_is_not_called_damaged() -> None:
    """Who meets a newer version's state is told of both versions; nothing is to be repaired there."""
    stored = {**first().model_dump(mode="json"), "format": FORMAT + 1, "degree": "full"}
    told = rf"a newer bento-rollout wrote this state \(format {FORMAT + 1}\).*up to format {FORMAT}"
    with pytest.raises(StoreUnreachable, match=told) as raised:
        RolloutState.load(stored)
    assert not isinstance(raised.value, StoreCorrupt)


@pytest.mark.parametrize("stored", [None, [], "state", 5, {}])
def test_stored_rubbish(stored: object) -> None:
    """What is no state at all is refused in the same way."""
    with pytest.raises(StoreCorrupt):
        RolloutState.load(stored)


# -- any sequence of verbs --------------------------------------------------------------------------------

variants = st.sampled_from(KNOWN)
percents = st.sampled_from([0, 0.001, 5, 12.5, 33.333, 50, 100])


class AnyVerbs(RuleBasedStateMachine):
    """Drives a line with any verbs, beside a model in plain words.

    The model: ``trail`` holds the champions of the settled states that led here; ``fresh`` is false when the
    newest change of traffic was a rollback; ``past`` is what `undo` must bring back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.champion = "a"
        self.weights: dict[str, float] = {}
        self.standby: str | None = None
        self.shadow: dict[str, float] = {}
        self.trail, self.fresh = ["a"], True
        self.granted = dict(self.line.now.granted)
        self.past: Any = None

    def moved(
        self, *, champion: str, weights: dict[str, float], trail: list[str], fresh: bool = True
    ) -> None:
        """Note a change of traffic."""
        self.past = (self.champion, self.weights, self.standby, self.trail, self.fresh, self.granted)
        if champion != self.champion:
            pair = {champion: self.champion, self.champion: champion}
            self.shadow = {pair.get(name, name): percent for name, percent in self.shadow.items()}
            self.standby = self.champion
        self.champion, self.weights, self.trail, self.fresh = champion, weights, trail, fresh

    @rule(name=variants, percent=percents)
    def weigh(self, name: str, percent: float) -> None:
        """Set a weight."""
        asked = {n: p for n, p in {**self.weights, name: percent}.items() if p}
        if name == self.champion or sum(asked.values()) > 100.0001:
            with pytest.raises(InvalidValue):
                self.line.weigh(**{name: percent})
            return
        changes = asked != self.weights
        assert self.line.weigh(**{name: percent}) == changes
        if changes:
            trail = self.trail if asked else [*self.trail, self.champion]
            self.moved(champion=self.champion, weights=asked, trail=trail)

    @rule(name=variants)
    def flip(self, name: str) -> None:
        """Flip."""
        assert self.line.flip(name) == (name != self.champion)
        if name != self.champion:
            self.moved(champion=name, weights={}, trail=[*self.trail, name])

    @rule()
    def rollback(self) -> None:
        """Roll back to the last settled champion; nothing when that is the present one, or led here."""
        earlier = self.trail[-2] if len(self.trail) > 1 else self.champion
        if self.weights:
            goal, trail = self.trail[-1], self.trail
        elif self.fresh and earlier != self.champion:
            goal, trail = earlier, self.trail[:-1]
        else:
            assert self.line.now.rollback_target() is None
            assert not self.line.rollback()
            return
        target = self.line.now.rollback_target()
        assert target is not None
        assert target.champion == goal
        assert self.line.rollback()
        self.moved(champion=goal, weights={}, trail=trail, fresh=False)
        assert not self.line.rollback()

    @precondition(lambda self: self.past is not None)
    @rule()
    def undo(self) -> None:
        """Undo, twice: there and back."""
        champion, weights, standby, trail, fresh, granted = self.past
        assert self.line.undo()
        self.moved(champion=champion, weights=weights, trail=trail, fresh=fresh)
        self.standby, self.granted = standby, granted

    @rule(name=variants, digest=st.sampled_from(["old", "new", "newer"]))
    def trust(self, name: str, digest: str) -> None:
        """Grant what a variant has to other code: a change of traffic that moves no key by itself."""
        changes = self.granted.get(name) != digest
        assert self.line.commit(self.line.now.trust({name: digest})) == changes
        if changes:
            self.moved(champion=self.champion, weights=self.weights, trail=self.trail, fresh=self.fresh)
            self.granted = {**self.granted, name: digest}

    @rule(name=variants, percent=percents)
    def watch(self, name: str, percent: float) -> None:
        """Set a shadow."""
        self.line.commit(self.line.now.set_shadow({name: round(percent * 1000)}, KNOWN))
        self.shadow = {n: p for n, p in {**self.shadow, name: percent}.items() if p}

    @rule(name=variants, key=st.sampled_from(["u1", "u2"]), remove=st.booleans())
    def target(self, name: str, key: str, remove: bool) -> None:
        """Aim at a variant."""
        self.line.commit(self.line.now.target(name, KNOWN, keys=[key], remove=remove))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        """Pause or resume."""
        self.line.commit(self.line.now.pause(paused=paused))

    @invariant()
    def agrees(self) -> None:
        """State and model agree."""
        now = self.line.now
        assert (now.champion, now.standby, now.granted) == (self.champion, self.standby, self.granted)
        assert {name: percent for name, percent in now.percents.items() if percent} == self.weights
        assert now.shadow_percents == self.shadow

    @invariant()
    def is_whole(self) -> None:
        """Ranges fit weights, the champion has none, a settled state is on its own stack, JSON keeps all."""
        now = self.line.now
        check_ranges(now.ranges, now.weights)
        assert not now.weights.get(now.champion)
        assert sum(now.weights.values()) <= 100_000
        assert now.settled[-1].champion == now.champion or not now.is_settled
        assert [point.revision for point in now.settled] == sorted({point.revision for point in now.settled})
        assert now.moved <= now.revision
        assert RolloutState.load(json.loads(now.model_dump_json())) == now


AnyVerbs.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyVerbs = AnyVerbs.TestCase
