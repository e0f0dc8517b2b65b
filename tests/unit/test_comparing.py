"""How answers are compared, as a spec says it: every form, and how what is wrong is told."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.comparing import Comparing, as_path, parse_compare, parse_path
from bento_rollout.errors import InvalidSpec, InvalidValue
from bento_rollout.spec import RolloutSpec


def parsed(text: str) -> dict[str, str]:
    """The comparators of a spec's ``compare``, in words."""
    return {endpoint: str(found) for endpoint, found in parse_compare(yaml.safe_load(text)).items()}


def agrees(champion: Any, candidate: Any) -> bool:
    """A user's comparator."""
    return bool(champion == candidate)


CLOSE = "close rtol=1e-05 atol=1e-08"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("exact", {"*": "exact"}),
        ("close", {"*": CLOSE}),
        ("label", {"*": "label"}),
        ("set", {"*": "set"}),
        ("json", {"*": "json rtol=1e-05 atol=1e-08"}),
        ("my.checks:alike", {"*": "function my.checks:alike"}),
        ("my.checks:Rules.alike", {"*": "function my.checks:Rules.alike"}),
        ("{kind: exact}", {"*": "exact"}),
        ("{kind: label}", {"*": "label"}),
        ("{kind: my.checks:alike}", {"*": "function my.checks:alike"}),
        ("{kind: function, function: 'my.checks:alike'}", {"*": "function my.checks:alike"}),
        # PyYAML reads 1e-3 as text, and 1.0e-3 as a number
        ("{kind: close, rtol: 1e-3, atol: 0}", {"*": "close rtol=0.001 atol=0.0"}),
        ("{kind: close, rtol: 1.0e-3, atol: 0.0}", {"*": "close rtol=0.001 atol=0.0"}),
        ("{kind: close, atol: -0.0}", {"*": "close rtol=1e-05 atol=0.0"}),
        (
            '{kind: json, ignore: [$.time, "$.items[*].id", $.items.*.id, "$[\'b\']", $.a-b], rtol: 0}',
            {"*": "json rtol=0.0 atol=1e-08 ignore=$.a-b ignore=$.b ignore=$.items[*].id ignore=$.time"},
        ),
        ("{predict: label, '*': close}", {"predict": "label", "*": CLOSE}),
        ("{predict: {kind: close, rtol: 1}}", {"predict": "close rtol=1.0 atol=1e-08"}),
    ],
)
def test_every_form(text: str, found: dict[str, str]) -> None:
    """A kind, a function, a mapping with options, and any of them by endpoint."""
    assert parsed(text) == found


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("clsoe", "comparator 'clsoe' is not known: write exact, close, label, set, json or module:function"),
        ("", "comparator '' is not known: write exact, close"),
        ("function", "comparator function None is not valid: write module:function"),
        ("a b:c", "comparator 'a b:c' is neither a kind nor module:function: write exact"),
        (":f", "comparator ':f' is neither a kind nor module:function"),
        ("m:", "comparator 'm:' is neither a kind nor module:function"),
        ("m:f:g", "comparator 'm:f:g' is neither a kind nor module:function"),
        (None, "comparator None is not valid: write exact"),
        (True, "comparator True is not valid: write exact"),
        (3, "comparator 3 is not valid: write exact"),
        (["close"], r"comparator \['close'\] is not valid: write exact"),
        ({}, "comparator {} is empty: write exact"),
        ({"rtol": 1e-3}, "has options and no kind: add one, like kind: close"),
        ({"predict": {"rtol": 1e-3}}, "endpoint 'predict': comparator .* has no kind: write exact"),
        ({"predict": "clsoe"}, "endpoint 'predict': comparator 'clsoe' is not known"),
        ({"predict": {}}, "endpoint 'predict': comparator {} has no kind"),
        ({1: "close"}, "endpoint name 1 is not text"),
        ({"kind": "clsoe"}, "comparator 'clsoe' is not known"),
        ({"kind": None}, "comparator None is not valid"),
        ({"kind": {"kind": "close"}}, "is not known: write exact"),
        ({"kind": ["close"]}, "is not valid: write exact"),
        ({"kind": "close", "tol": 1}, "comparator close has no option 'tol'; its options: rtol, atol"),
        ({"kind": "close", 1: 1}, "comparator close has no option 1; its options: rtol, atol"),
        ({"kind": "exact", "tol": 1}, "comparator exact has no option 'tol'; it has no options"),
        ({"kind": "exact", "rtol": 1}, "option rtol does not belong to comparator exact; it has no options"),
        ({"kind": "exact", "rtol": 1e-5}, "option rtol does not belong to comparator exact"),
        ({"kind": "label", "ignore": []}, "option ignore does not belong to comparator label"),
        (
            {"kind": "close", "ignore": ["$.a"]},
            "option ignore does not belong to comparator close; it",
        ),
        ({"kind": "close", "function": "m:f"}, "option function does not belong to comparator close"),
        ({"kind": "m:f", "rtol": 1}, "option rtol does not belong to comparator function"),
        ({"kind": "m:f", "function": "m:g"}, "names two functions"),
        ({"kind": "close", "rtol": -1}, "rtol -1 is not valid: write a finite number from 0 up, like 0.001"),
        ({"kind": "close", "atol": math.nan}, "atol nan is not valid"),
        ({"kind": "close", "atol": math.inf}, "atol inf is not valid"),
        ({"kind": "close", "atol": True}, "atol True is not valid"),
        ({"kind": "close", "atol": "much"}, "atol 'much' is not valid"),
        ({"kind": "close", "atol": None}, "atol None is not valid"),
        ({"kind": "close", "atol": 10**400}, "atol 1000.* is not valid"),
        ({"kind": "json", "ignore": "$.time"}, r"ignore '\$.time' is not valid: write a list of paths"),
        ({"kind": "json", "ignore": None}, "ignore None is not valid: write a list of paths"),
        ({"kind": "json", "ignore": ["$.a"] * 101}, "ignore has 101 paths; at most 100"),
        ({"kind": "json", "ignore": ["time"]}, r"ignored path 'time' is not valid: begin with \$"),
        ({"kind": "json", "ignore": [3]}, r"ignored path 3 is not valid: begin with \$"),
        ({"kind": "json", "ignore": ["$"]}, "names the whole answer, and nothing would be compared"),
        ({"kind": "json", "ignore": ["$.a\n"]}, r"is not valid: begin with \$"),
        ({"kind": "json", "ignore": ["$.a[x]"]}, r"from '\[x\]' on: a step is .name, .\*, \[3\]"),
        ({"kind": "json", "ignore": ["$.a[-1]"]}, r"from '\[-1\]' on"),
        ({"kind": "json", "ignore": ["$..a"]}, r"from '..a' on"),
        ({"kind": "json", "ignore": ["$.a."]}, r"from '.' on"),
        ({"kind": "json", "ignore": ["$a"]}, r"from 'a' on"),
        (functools.partial(agrees, 1), "a comparator of type partial has no name: give a function"),
    ],
)
def test_what_is_wrong_is_named(value: object, told: str) -> None:
    """The message names the value, what is wrong with it, and what is possible."""
    with pytest.raises(InvalidValue, match=told):
        parse_compare(value)


@pytest.mark.parametrize("kind", [["close"], {}, None, 1, "x", np.array(["close", "exact"])])
def test_an_invalid_one_is_not_constructed(kind: Any) -> None:
    """A comparator made in Python is checked as one of a file is."""
    with pytest.raises(InvalidValue, match="is not known: write exact"):
        Comparing(kind)


def test_options_of_other_kinds_are_refused_in_python_too() -> None:
    """What would be ignored is no option."""
    with pytest.raises(InvalidValue, match="option rtol does not belong to comparator exact"):
        Comparing("exact", rtol=1)
    with pytest.raises(InvalidValue, match="option function does not belong to comparator close"):
        Comparing(function=agrees)


def test_a_specs_error_names_the_field() -> None:
    """In a spec the field stands before the message."""
    with pytest.raises(InvalidSpec, match=r"shadow\.b\.compare: comparator 'clsoe' is not known"):
        RolloutSpec(shadow={"b": {"compare": "clsoe"}})
    spec = RolloutSpec(shadow={"b": {"compare": {"rank": agrees}}})
    assert str(spec.shadow["b"].comparing("rank")) == f"function {__name__}:agrees"
    assert str(spec.shadow["b"].comparing("predict")) == CLOSE


def within(tolerance: float) -> Callable[[float, float], bool]:
    """Return a comparator that has no name of its own."""
    return lambda champion, candidate: abs(champion - candidate) <= tolerance


def test_functions_are_told_by_name() -> None:
    """A callable's words are its module and name; of a nameless one also what it depends on."""
    assert str(Comparing("function", function=np.array_equal)).endswith(":array_equal")
    near, far = (Comparing("function", function=within(size)) for size in (0.1, 0.2))
    assert "within.<locals>.<lambda>(line=" in str(near)
    assert str(near).endswith("tolerance=0.1)")
    assert str(near) != str(far)
    assert str(near) == str(Comparing("function", function=within(0.1)))
    assert len({near, far, Comparing(), Comparing("close")}) == 3
    assert parse_compare({"a": near, "b": far}) == {"a": near, "b": far}


def test_two_functions_of_one_name_are_refused() -> None:
    """What they count could not be told apart."""
    checks = []
    for size in ([1], [2]):

        def check(champion: Any, candidate: Any, size: list[int] = size) -> bool:
            return len(champion) - len(candidate) in size

        checks.append(check)
    with pytest.raises(InvalidValue, match=r"two comparators are called .*check.*: give each its own name"):
        parse_compare({"a": checks[0], "b": checks[1]})


KINDS = st.one_of(
    st.sampled_from([Comparing(kind) for kind in ("exact", "label", "set")]),
    st.builds(Comparing, st.just("close"), st.floats(0, 1), st.floats(0, 1)),
    st.builds(
        Comparing,
        st.just("json"),
        st.floats(0, 1),
        st.floats(0, 1),
        st.lists(st.sampled_from(["$.a", "$.b[*]", "$['a b']", '$["a"]', "$[3]", "$.b.*"])).map(tuple),
    ),
    st.sampled_from(["m:f", "m.n:f"]).map(lambda where: Comparing("function", function=where)),
)


@given(KINDS, KINDS)
def test_equal_settings_have_equal_words_and_others_have_others(one: Comparing, other: Comparing) -> None:
    """The words are what comparisons are counted by: one line, and as equal as what they tell."""
    assert (str(one) == str(other)) == (one == other)
    assert hash(one) == hash(other) or one != other
    assert str(one).isprintable()


NAMES = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1)
STEPS = st.lists(
    st.one_of(
        st.none(),
        st.integers(0, 10**9 - 1),
        st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1),
    ),
    min_size=1,
    max_size=5,
).filter(lambda steps: not any(isinstance(step, str) and '"' in step and "'" in step for step in steps))


@given(STEPS)
def test_a_path_is_read_as_it_is_written(steps: list[str | int | None]) -> None:
    """What a report shows as the place of a difference can be written into the spec as it is."""
    assert parse_path(as_path(tuple(steps), None)) == tuple(steps)


def test_shown_names_are_bounded_and_on_one_line() -> None:
    """A field's name is what the answer says it is: long ones are cut, hidden letters replaced."""
    assert len(as_path(("x" * 10**6,))) == 102
    assert as_path(("a\nb", "")) == '$.a?b[""]'
