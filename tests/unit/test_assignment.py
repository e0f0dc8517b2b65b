"""Assignment: the same key, the same variant; and a change of weights moves as few keys as can be."""

from __future__ import annotations

import enum
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.assignment import (
    Range,
    Table,
    bucket_of,
    buckets_of,
    check_ranges,
    hash_of,
    normal_key,
    reallocate,
)
from bento_rollout.errors import InvalidKey, InvalidValue
from bento_rollout.keys import normal_keys
from bento_rollout.records import Reason
from bento_rollout.state import RolloutState
from bento_rollout.values import FULL

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "assignment.json").read_text(encoding="utf-8")
)
NAMES = [f"v{i}" for i in range(8)]

Weights = dict[str, int]


@st.composite
def weightings(draw: st.DrawFn, names: Sequence[str] = NAMES) -> Weights:
    """Weights of some candidates, in thousandths, that add up to at most 100 percent."""
    chosen = draw(st.lists(st.sampled_from(names), unique=True))
    weights, left = {}, FULL
    for name in chosen:
        weights[name] = draw(st.integers(0, left))
        left -= weights[name]
    return weights


def owners_of(ranges: Sequence[Range]) -> np.ndarray:
    """Who owns each of the 100 000 buckets; the champion's are empty."""
    owners = np.full(FULL, "", dtype="<U3")
    for start, stop, name in ranges:
        assert (owners[start:stop] == "").all(), "two candidates own a bucket"
        owners[start:stop] = name
    return owners


def sizes_of(ranges: Sequence[Range]) -> Weights:
    """How many buckets each candidate owns."""
    sizes: Counter[str] = Counter()
    for start, stop, name in ranges:
        sizes[name] += stop - start
    return dict(sizes)


def fewest_moves(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """What every change of the weights must move at least: the sum of what grows, the champion included."""
    champion = sum(before.values()) - sum(after.values())
    return sum(max(after.get(n, 0) - before.get(n, 0), 0) for n in {*before, *after}) + max(champion, 0)


def chi_square(probability: float, freedom: int) -> float:
    """Return the quantile of the chi-square distribution, by Wilson and Hilferty's approximation."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NormalDist().inv_cdf(probability) * part**0.5) ** 3)


def murmur3(data: bytes, seed: int = 0) -> int:
    """Return murmur3_x86_32, written from Austin Appleby's description."""
    mask = 0xFFFFFFFF

    def rotated(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & mask

    def mixed(block: bytes) -> int:
        return rotated(int.from_bytes(block, "little") * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask

    value, whole = seed, len(data) // 4 * 4
    for at in range(0, whole, 4):
        value = (rotated(value ^ mixed(data[at : at + 4]), 13) * 5 + 0xE6546B64) & mask
    value ^= mixed(data[whole:]) ^ len(data)
    value = (value ^ (value >> 16)) * 0x85EBCA6B & mask
    value = (value ^ (value >> 13)) * 0xC2B2AE35 & mask
    return value ^ (value >> 16)


# -- the hash ---------------------------------------------------------------------------------------------


def test_the_independent_murmur3_gives_published_values() -> None:
    """The murmur3 that checks the vectors agrees with values that others have published."""
    assert (murmur3(b""), murmur3(b"", 1), murmur3(b"", 0xFFFFFFFF)) == (0, 0x514E28B7, 0x81F16F39)
    assert murmur3(b"test", 0x9747B28C) == 0x704B81DC
    assert murmur3(b"Hello, world!", 0x9747B28C) == 0x24884CBA


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['salt']}:{v['key'][:20]}"[:40])
def test_known_answers(vector: dict[str, Any]) -> None:
    """Hash and bucket of each vector are what its file says, by our code and by an independent murmur3."""
    salt, key = vector["salt"], vector["key"]
    independent = murmur3(f"{salt}:{key}".encode())
    assert vector["hash"] == hash_of(salt, key) == independent
    assert vector["bucket"] == bucket_of(salt, key) == independent * 100_000 >> 32
    assert buckets_of(salt, [key]).tolist() == [vector["bucket"]]


def test_the_vectors_reach_both_ends() -> None:
    """The vectors hold the first and the last bucket."""
    assert {0, FULL - 1} <= {vector["bucket"] for vector in VECTORS}


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=60).filter(str.isprintable))
def test_any_key_hashes_as_murmur3_says(salt: str, key: str) -> None:
    """Salts and keys of any script are hashed as UTF-8."""
    if salt.isprintable():
        assert hash_of(salt, key) == murmur3(f"{salt}:{key}".encode())


# -- balance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u{}", "patient-{:07d}", "{:032x}"])
def test_a_million_keys_spread_evenly(kind: str) -> None:
    """A million keys in a row fill 1 000 slices of the buckets as evenly as chance would (chi-square)."""
    count, slices = 1_000_000, 1_000
    buckets = buckets_of("balance", [kind.format(i) for i in range(count)])
    assert buckets.min() >= 0
    assert buckets.max() < FULL
    found = np.bincount(buckets // (FULL // slices), minlength=slices)
    expected = count / slices
    statistic = float(((found - expected) ** 2 / expected).sum())
    assert chi_square(1e-6, slices - 1) < statistic < chi_square(1 - 1e-6, slices - 1)


def test_variants_get_their_share_of_a_million_keys() -> None:
    """With weights of 0.001, 5 and 33.333 percent a million keys are split so (chi-square, 1e-6)."""
    weights = {"tiny": 1, "small": 5_000, "third": 33_333}
    table = Table(1, "champion-1", "shares", reallocate((), weights))
    answers = table.assign([f"u{i}" for i in range(1_000_000)])
    names, counts = np.unique(answers, return_counts=True)
    shares = {**weights, "champion-1": FULL - sum(weights.values())}
    expected = np.array([shares[name] * 10 for name in names])
    assert set(names) == set(shares)
    assert float(((counts - expected) ** 2 / expected).sum()) < chi_square(1 - 1e-6, len(shares) - 1)


def test_another_salt_is_another_split() -> None:
    """The keys that one salt gives to a candidate are spread anew by another salt."""
    keys = [f"u{i}" for i in range(100_000)]
    first, second = (buckets_of(salt, keys) < 50_000 for salt in ("a", "b"))
    assert abs(float(np.mean(first & second)) - 0.25) < 0.01


# -- the fewest moves -------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(weightings(), min_size=1, max_size=8))
def test_any_change_of_weights_moves_the_fewest_buckets(steps: list[Weights]) -> None:
    """Through any changes among any candidates: sizes exact, ranges disjoint, no move without need."""
    ranges: tuple[Range, ...] = ()
    before: Weights = {}
    for after in steps:
        changed = reallocate(ranges, after)
        assert sizes_of(changed) == {name: milli for name, milli in after.items() if milli}
        check_ranges(changed, after)
        moved = int((owners_of(ranges) != owners_of(changed)).sum())
        assert moved == fewest_moves(before, after)
        ranges, before = changed, after


@settings(max_examples=100, deadline=None)
@given(weightings(), st.sampled_from(NAMES), st.data())
def test_a_growing_candidate_keeps_all_its_buckets(weights: Weights, name: str, data: st.DataObject) -> None:
    """Raising one candidate takes nothing from it, and nothing from another candidate."""
    ranges = reallocate((), weights)
    left = FULL - sum(weights.values())
    more = {**weights, name: weights.get(name, 0) + data.draw(st.integers(0, left))}
    before, after = owners_of(ranges), owners_of(reallocate(ranges, more))
    assert (after[before != ""] == before[before != ""]).all()


def test_keys_stay_while_a_candidate_grows_from_one_percent_to_all() -> None:
    """Along 1, 5, 25, 50, 100 percent no key ever leaves the candidate."""
    keys, had = [f"u{i}" for i in range(20_000)], np.zeros(20_000, dtype=bool)
    ranges: tuple[Range, ...] = ()
    for percent in (1, 5, 25, 50, 100):
        ranges = reallocate(ranges, {"boosted": percent * 1000})
        has = Table(1, "logistic", "grow", ranges).assign(keys) == "boosted"
        assert (has | ~had).all()
        had = has
    assert had.all()


def test_taking_weight_back_and_giving_it_again_gives_the_same_keys() -> None:
    """A candidate that goes from 20 to 5 and back to 20 percent has the keys that it had."""
    first = reallocate((), {"b": 20_000, "c": 10_000})
    assert reallocate(reallocate(first, {"b": 5_000, "c": 10_000}), {"b": 20_000, "c": 10_000}) == first


def test_who_is_not_named_gives_all() -> None:
    """A candidate that the new weights do not name owns nothing afterwards."""
    assert reallocate([(0, 5_000, "b"), (5_000, 6_000, "c")], {"c": 1_000}) == ((5_000, 6_000, "c"),)


def test_more_than_all_is_refused() -> None:
    """Weights of over 100 percent give an error that adds them up, and no endless search for buckets."""
    with pytest.raises(InvalidValue, match=r"add up to 100.001 percent \(b 60 \+ c 40.001\)"):
        reallocate((), {"b": 60_000, "c": 40_001})


@pytest.mark.parametrize(("candidates", "bound"), [(2, 20), (5, 60), (10, 150)])
def test_a_thousand_changes_do_not_crumble_the_ranges(candidates: int, bound: int) -> None:
    """After a thousand random changes the ranges are still few: look-ups stay short, states small."""
    rng, most = random.Random(1), 0
    ranges: tuple[Range, ...] = ()
    weights: Weights = {}
    for _ in range(1_000):
        name = f"v{rng.randrange(candidates)}"
        left = FULL - sum(milli for other, milli in weights.items() if other != name)
        weights = {**weights, name: rng.choice([rng.randint(0, left), min(left, rng.randint(0, 5) * 1000)])}
        ranges = reallocate(ranges, weights)
        most = max(most, len(ranges))
    assert most <= bound


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 10, "b"), (5, 15, "c")],
        [(-1, 10, "b")],
        [(0, FULL + 1, "b")],
        [(10, 10, "b")],
        [(10, 5, "b")],
    ],
)
def test_ranges_that_cannot_be_are_noticed(ranges: list[Range]) -> None:
    """Overlapping, empty, reversed and outlying ranges are refused."""
    with pytest.raises(InvalidValue):
        check_ranges(ranges, sizes_of(ranges))


# -- the same everywhere ----------------------------------------------------------------------------------


def ramped() -> RolloutState:
    """A state after a few changes among three candidates."""
    known = ("logistic", "b", "c", "d")
    state = RolloutState(name="r", champion="logistic", salt="r")
    for weights in ({"b": 5_000}, {"c": 20_000}, {"b": 333, "d": 40_000}, {"c": 7}, {"b": 50_000}):
        state = state.set_weights(weights, known)
    return state


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_assigns_the_same(seed: str) -> None:
    """A process with another hash seed, given only the stored state, gives every key the same variant."""
    keys = [f"u{i}" for i in range(5_000)]
    code = (
        "import json, sys; from bento_rollout.state import RolloutState as S; data = json.load(sys.stdin);"
        "print(json.dumps(S.load(data['state']).compile().assign(data['keys']).tolist()))"
    )
    told = json.dumps({"state": ramped().model_dump(mode="json"), "keys": keys})
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=told,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ramped().compile().assign(keys).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(weightings(), min_size=1, max_size=6))
def test_the_history_tells_every_past_assignment(steps: list[Weights]) -> None:
    """A state that went through JSON assigns as it did when it was made, whatever came after it."""
    known = ("logistic", *NAMES)
    state, keys, past = (
        RolloutState(name="r", champion="logistic", salt="r"),
        [f"u{i}" for i in range(300)],
        [],
    )
    for weights in steps:
        state = state.set_weights({**dict.fromkeys(state.weights, 0), **weights}, known)
        past.append((state.model_dump_json(), state.compile().assign(keys)))
    for stored, answers in past:
        assert (RolloutState.load(json.loads(stored)).compile().assign(keys) == answers).all()


@settings(max_examples=60, deadline=None)
@given(
    weightings(),
    st.lists(st.one_of(st.text(min_size=1), st.integers(), st.sampled_from(["t1", 7, 7.0])), max_size=40),
)
def test_many_keys_at_once_are_assigned_as_one_by_one(weights: Weights, keys: list[object]) -> None:
    """`assign` gives each key what `plan` gives it: targets, stand-ins for who is not ready, odd scripts."""
    table = Table(3, "logistic", "s", reallocate((), weights), {"t1": "v0", "7": "v1"}, (), ("logistic",))
    good = [key for key in keys if hashable(key)]
    for ready in (("logistic", *NAMES), ("logistic", "v1", "v3")):
        one_by_one = [table.plan(normal_key(k), draw=lambda: 0, ready=ready).variant for k in good]
        assert table.assign(good, ready=ready).tolist() == one_by_one


def hashable(key: object) -> bool:
    """Whether a key is one that can be routed by."""
    try:
        normal_key(key)
    except InvalidKey:
        return False
    return True


# -- keys -------------------------------------------------------------------------------------------------


class Colour(str, enum.Enum):
    """Text in disguise."""

    RED = "red"


class Text(str):
    """Text that prints itself as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "changed"

    def __format__(self, spec: str) -> str:
        return "changed"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("u1", "u1"),
        (" u1 ", " u1 "),
        ("007", "007"),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (1e300, str(int(1e300))),
        (-12, "-12"),
        (10**40, "1" + "0" * 40),
        (np.int64(7), "7"),
        (np.float32(7), "7"),
        (np.str_("u1"), "u1"),
        (Colour.RED, "red"),
        (Text("u1"), "u1"),
        ("é" * 4096, "é" * 4096),
        ("x" * 8192, "x" * 8192),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_keys_become_text(key: object, text: str) -> None:
    """Text stays as given, whole numbers are digits: 7, 7.0 and "7" are one key; `assign` agrees."""
    assert normal_key(key) == text
    assert type(normal_key(key)) is str
    assert normal_keys([key]) == [text]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, r"nothing \(null\)"),
        ("", "empty"),
        (np.str_(""), "empty"),
        (True, "bool"),
        (np.bool_(True), "bool"),
        (7.5, "7.5"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (np.float64("nan"), "nan"),
        (Decimal(7), "Decimal"),
        (b"u1", "bytes"),
        (["u1"], "list"),
        (np.array(["u1", "u2"]), "ndarray"),
        ("\ud800", "surrogate"),
        ("x" * 8193, "8193 bytes"),
        ("é" * 4097, "8194 bytes"),
        (10**5000, "4000 digits"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_odd_keys_are_refused(key: object, told: str) -> None:
    """What cannot be a key is refused in words that say why; among many keys with its position."""
    with pytest.raises(InvalidKey, match=told):
        normal_key(key)
    with pytest.raises(InvalidKey, match=f"key 1: .*{told}"):
        Table(1, "a", "s").assign(["u1", key])


@pytest.mark.parametrize("keys", ["u1", b"u1"])
def test_one_text_is_no_list_of_keys(keys: object) -> None:
    """`assign("u1")` is refused: taken for a list it would answer for the keys "u" and "1"."""
    with pytest.raises(InvalidKey, match="a list of keys is expected"):
        Table(1, "a", "s").assign(keys)


def test_keys_come_in_many_containers() -> None:
    """Lists, tuples, generators, numpy arrays and pandas series of the same keys are assigned alike."""
    pandas = pytest.importorskip("pandas")
    table = Table(1, "logistic", "s", reallocate((), {"b": 50_000}))
    expected = table.assign([str(i) for i in range(100)]).tolist()
    numbers = np.arange(100)
    alike = (
        list(range(100)),
        tuple(map(float, range(100))),
        numbers,
        numbers.astype(float),
        numbers.astype(str),
        numbers.astype(object),
        pandas.Series(numbers),
        pandas.Series(numbers.astype(str)),
        (i for i in range(100)),
        [i if i % 2 else str(i) for i in range(100)],
    )
    for keys in alike:
        assert table.assign(keys).tolist() == expected
    assert table.assign([]).tolist() == table.assign(np.array([])).tolist() == []
    with pytest.raises(InvalidKey, match="one dimension"):
        table.assign(np.array([["u1"]]))


# -- plans ------------------------------------------------------------------------------------------------


def table(**changes: Any) -> Table:
    """Half of the keys go to b; t1 is targeted to c, and so is the ring of dogfood."""
    parts: dict[str, Any] = {
        "ranges": ((0, 50_000, "b"),),
        "keys": {"t1": "c"},
        "headers": (("x-ring", "dogfood", "c"),),
        "backups": ("a", "b"),
    }
    return Table(9, "a", "s", **{**parts, **changes})


def never() -> int:
    """No draw is needed."""
    raise AssertionError("a bucket was drawn")


ALL = ("a", "b", "c")


def test_reasons() -> None:
    """Each way to a variant has its reason; a bucket is drawn only for a call without key."""
    key = next(f"u{i}" for i in range(100) if bucket_of("s", f"u{i}") < 50_000)
    split = table().plan(key, draw=never, ready=ALL)
    assert (split.variant, split.reason, split.bucket, split.revision) == (
        "b",
        Reason.SPLIT,
        bucket_of("s", key),
        9,
    )
    assert table().plan(None, draw=lambda: 49_999, ready=ALL).variant == "b"
    random_one = table().plan(None, draw=lambda: 50_000, ready=ALL)
    assert (random_one.variant, random_one.reason, random_one.bucket) == ("a", Reason.NO_KEY, 50_000)
    assert table().plan("t1", draw=never, ready=ALL).reason is Reason.TARGETED
    ringed = table().plan(key, draw=never, ready=ALL, header={"x-ring": "dogfood"}.get)
    assert (ringed.variant, ringed.reason) == ("c", Reason.TARGETED)
    pinned = table().plan("t1", draw=never, ready=ALL, pinned="b")
    assert (pinned.variant, pinned.reason) == ("b", Reason.PINNED)
    assert table(ranges=()).plan(key, draw=never, ready=ALL).reason is Reason.DEFAULT
    assert table(ranges=()).plan(None, draw=never, ready=ALL).reason is Reason.DEFAULT


@pytest.mark.parametrize("asked", [{"key": "t1"}, {"key": None, "pinned": "c"}])
def test_who_is_not_ready_is_stood_in_for(asked: dict[str, Any]) -> None:
    """The champion answers for a variant that cannot; when it cannot either, the champion before it."""
    for ready, variant in ((("a", "b"), "a"), (("b",), "b"), ((), "a")):
        plan = table().plan(**asked, draw=never, ready=ready)
        assert (plan.variant, plan.reason) == (variant, Reason.UNAVAILABLE)


@pytest.mark.parametrize("ranges", [(), ((0, FULL, "b"),), ((0, 1, "b"), (1, 2, "c"), (FULL - 1, FULL, "b"))])
def test_the_edges_of_ranges(ranges: tuple[Range, ...]) -> None:
    """Every bucket belongs to whom the ranges say, the first and the last included."""
    lookup, owners = table(ranges=ranges), owners_of(ranges)
    for bucket in (0, 1, 2, 3, 50_000, FULL - 2, FULL - 1):
        assert lookup.owner(bucket) == (owners[bucket] or "a")
