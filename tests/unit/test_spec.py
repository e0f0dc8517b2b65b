"""Specs: what is valid, and how what is not is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.comparing import Comparing
from bento_rollout.errors import InvalidSpec, InvalidValue
from bento_rollout.keys import KeySource
from bento_rollout.spec import RESPONSE_HEADERS, RolloutSpec
from bento_rollout.specfile import MAX_BYTES, content_digest, load_spec, parse_spec
from bento_rollout.values import check_name, parse_duration, parse_milli

FULL_EXAMPLE = """
name: screening
routing:
  key: header:x-patient-id       # header: | cookie: | query: | baggage:NAME (W3C, crosses services) | …
  inference_id: field:tx.id      # optional: the caller's own id (header:, field:, rows:)
  salt: screening-1              # optional; default: the rollout's name
  override_header: true          # may a caller pin a variant with X-Rollout-Variant? default false
expose_headers: true             # or a list of them, or false: hidden from callers
targets: {boosted: {keys: [u1], header: {x-ring: dogfood}}}   # these get the variant before the split
endpoints: [predict]             # optional; the others always go to the champion
weights: {boosted: 5}            # percent, up to three decimals; the champion gets the rest
variants:
  boosted: {timeout: 2s, fallback: champion}    # optional; without them the variant's error is the caller's
shadow:
  boosted: {percent: 100, max_pending: 64, timeout: 2s, compare: close}
blue_green: {standby: boosted}
"""


def parsed(text: str) -> RolloutSpec:
    """The spec of a file with this text."""
    return parse_spec(text.encode(), "rollout.yaml")


def test_every_field() -> None:
    """A spec with every field is read as it is meant: percent in thousandths, durations in seconds."""
    spec = parsed(FULL_EXAMPLE)
    assert spec.name == "screening"
    assert spec.routing.sources("predict") == (KeySource("header", "x-patient-id"),)
    assert spec.routing.inference_id == {"*": (KeySource("field", "tx", ("id",)),)}
    assert (spec.routing.salt, spec.routing.override_header, spec.routing.rows_atomic) == (
        "screening-1",
        True,
        False,
    )
    assert (spec.expose_headers, spec.endpoints) == (True, ("predict",))
    assert spec.targets["boosted"].keys == ("u1",)
    assert spec.targets["boosted"].header == {"x-ring": "dogfood"}
    assert spec.weights == {"boosted": 5000}
    assert (spec.limits("boosted").timeout, spec.limits("boosted").fallback) == (2.0, "champion")
    assert spec.limits("other").timeout is None
    shadow = spec.shadow["boosted"]
    assert (shadow.percent, shadow.max_pending, shadow.timeout, shadow.compare) == (
        100_000,
        64,
        2.0,
        {"*": Comparing("close")},
    )
    assert spec.blue_green.standby == "boosted"
    assert spec.state_fields == {"weights", "shadow", "targets", "standby", "salt"}


def test_nothing_is_a_spec() -> None:
    """An empty file asks for nothing: all traffic to the champion, keys at random."""
    spec = parsed("# nothing yet\n")
    assert (spec.state_fields, spec.weights, spec.routing.sources("predict")) == (frozenset(), {}, ())


def test_only_written_fields_are_state() -> None:
    """Code fields are never state; an empty field is one that was written."""
    assert parsed("variants: {b: {timeout: 2s}}\nendpoints: [predict]").state_fields == frozenset()
    assert parsed("weights: {}").state_fields == {"weights"}
    assert parsed("blue_green: {}").state_fields == frozenset()
    assert parsed("routing: {key: 'header:x'}").state_fields == frozenset()


def test_a_spec_in_python() -> None:
    """A spec can be written in Python, with the same fields and the same errors."""
    spec = RolloutSpec(name="s", weights={"b": np.int64(5)}, variants={"b": {"timeout": 2}})
    assert spec.weights == {"b": 5000}
    with pytest.raises(InvalidSpec, match=r"RolloutSpec: weights\.b: percentage 'x' is not a number"):
        RolloutSpec(weights={"b": "x"})
    with pytest.raises(InvalidSpec, match="unknown field 'wieghts'"):
        RolloutSpec(wieghts={})  # type: ignore[call-arg]  # it must be refused
    with pytest.raises(Exception, match="frozen"):
        spec.name = "other"  # type: ignore[misc]  # it must be refused


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # unknown fields, at each level, with those that are known
        ("wieghts: {b: 5}", "unknown field 'wieghts'; known here: authority, automation, blue_green, "),
        ("routing: {kee: x}", "unknown field 'routing.kee'; known here: inference_id, key, "),
        ("variants: {b: {timeot: 1}}", "unknown field 'variants.b.timeot'; known here: fallback, "),
        ("shadow: {b: {pct: 1}}", "unknown field 'shadow.b.pct'; known here: compare, "),
        ("targets: {b: {key: u1}}", "unknown field 'targets.b.key'; known here: header, keys"),
        ("blue_green: {stand_by: b}", "unknown field 'blue_green.stand_by'; known here: standby"),
        ("strategy: {canary: {}}", "line 1: strategy.canary.candidate: this field is needed"),
        ("1: 2", "unknown field 1"),
        ("yes: 2", "unknown field True"),
        # names
        ("weights: {yes: 5}", "weights: variant name True is not text: YAML reads yes, on or true as a trut"),
        ("name: no", "name: name False is not text: YAML reads no, off or false as a truth value"),
        ("weights: {2024: 5}", "weights: variant name 2024 is not text: write it in quotes"),
        ("weights: {'': 5}", "variant name '' is not valid"),
        ("name: ../etc", "name: name '../etc' is not valid: use 1 to 100 letters"),
        ("name: .hidden", "name '.hidden' is not valid"),
        ("weights: {Champion: 5}", "variant name 'Champion' is reserved for a role"),
        ("blue_green: {standby: none}", "blue_green.standby: variant name 'none' is reserved for a role"),
        ("variants: {shadow: {}}", "variants: variant name 'shadow' is reserved"),
        ("endpoints: [1]", "endpoints.0: endpoint name 1 is not text"),
        ("endpoints: predict", "endpoints: a list is expected (got 'predict')"),
        # percentages
        ("weights: {b: '5'}", "weights.b: percentage '5' is not a number"),
        ("weights: {b: 5%}", "weights.b: percentage '5%' is not a number"),
        ("weights: {b: yes}", "weights.b: percentage True is not a number"),
        ("weights: {b: null}", "weights.b: percentage None is not a number"),
        ("weights: {b: .nan}", "weights.b: percentage nan is not valid"),
        ("weights: {b: .inf}", "weights.b: percentage inf is not valid"),
        ("weights: {b: -1}", "weights.b: percentage -1 is not valid: it must lie between 0 and 100"),
        ("weights: {b: 100.001}", "weights.b: percentage 100.001 is not valid"),
        ("weights: {b: 1.0005}", "weights.b: percentage 1.0005 has more than three decimals"),
        ("weights: {b: " + "9" * 400 + "}", "weights.b: percentage 999999"),
        ("weights: {a: 60, b: 40.001}", "weights: weights add up to 100.001 percent (a 60 + b 40.001)"),
        ("weights: [b]", "weights: a mapping is expected (got ['b'])"),
        ("weights: 5", "weights: a mapping is expected (got 5)"),
        ("shadow: {b: {percent: 101}}", "shadow.b.percent: percentage 101 is not valid"),
        # durations and counts
        ("variants: {b: {timeout: 2x}}", "variants.b.timeout: duration '2x' is not valid: write a number wi"),
        ("variants: {b: {timeout: '2'}}", "variants.b.timeout: duration '2' is not valid"),
        ("variants: {b: {timeout: 0}}", "variants.b.timeout: duration 0 is not valid: it must be finite and"),
        ("variants: {b: {timeout: -2s}}", "variants.b.timeout: duration '-2s' is not valid"),
        ("variants: {b: {timeout: .inf}}", "variants.b.timeout: duration inf is not valid"),
        ("variants: {b: {idle_timeout: on}}", "variants.b.idle_timeout: duration True is not valid"),
        ("variants: {b: {fallback: boosted}}", "variants.b.fallback: input should be 'champion' or 'none'"),
        ("variants: {b: fast}", "variants.b: a mapping of fields is expected (got 'fast')"),
        ("shadow: {b: {max_pending: 0}}", "shadow.b.max_pending: "),
        ("shadow: {b: {max_pending: '5'}}", "shadow.b.max_pending: a whole number is expected (got '5')"),
        ("shadow: {b: {max_pending: true}}", "shadow.b.max_pending: a whole number is expected (got True)"),
        # key sources
        ("routing: {key: x-user}", "routing.key: key source 'x-user' is not valid: write header:NAME, "),
        ("routing: {key: 5}", "routing.key: key source 5 is not valid"),
        ("routing: {key: 'header:'}", "routing.key: key source 'header:' names nothing after the colon"),
        ("routing: {key: 'header: x'}", "routing.key: key source 'header: x' names nothing after the colon,"),
        ("routing: {key: 'header:a b'}", "'a b' is not the name of a header"),
        ("routing: {key: 'field:a..b'}", "write field:ARGUMENT or field:ARGUMENT.attribute"),
        ("routing: {key: 'rows:1'}", "write rows:ARGUMENT or rows:ARGUMENT.attribute"),
        ("routing: {key: 'heder:x-user'}", "is neither of a known kind (header, cookie, "),
        ("routing: {key: []}", "routing.key: an empty list names no key source"),
        ("routing: {key: ['rows:a', 'header:x']}", "routing.key: a rows: key stands alone"),
        ("routing: {key: {predict: nothing}}", "routing.key: key source 'nothing' is not valid"),
        ("routing: {key: {yes: 'header:x'}}", "routing.key: endpoint name True is not text"),
        ("routing: {inference_id: nothing}", "routing.inference_id: key source 'nothing' is not valid"),
        # the rest
        ("routing: {salt: ''}", "routing.salt: "),
        ("routing: {salt: 5}", "routing.salt: text is expected (write it in quotes) (got 5)"),
        ("routing: {override_header: 1}", "routing.override_header: true or false is expected (got 1)"),
        ("routing: {override_header: 'yes'}", "routing.override_header: true or false is expected (got 'yes"),
        ("routing: header:x", "routing: a mapping of fields is expected (got 'header:x')"),
        ("expose_headers: [X-Rollout-Colour]", "expose_headers: 'X-Rollout-Colour' is none of our headers ("),
        ("expose_headers: some", "expose_headers: true, false or a list of headers is expected (got 'some')"),
        ("targets: {b: {keys: u1}}", "targets.b.keys: a list is expected (got 'u1')"),
        ("targets: {b: {keys: [null]}}", "targets.b.keys.0: a key must be text or a whole number, not nothi"),
        ("targets: {b: {keys: [1.5]}}", "targets.b.keys.0: a key must be text or a whole number, not 1.5"),
        ("targets: {b: {header: {x: 1}}}", "targets.b.header.x: text is expected (write it in quotes) (got"),
        ("targets: {b: {keys: [u]}, c: {keys: [u]}}", "targets: key 'u' is to get both 'b' and 'c'"),
        ("targets: {b: {header: {X: v}}, c: {header: {x: v}}}", "targets: header x: v is to get both 'b' an"),
        # no mapping at all
        ("- weights", "a mapping of fields is expected, not list"),
        ("hello", "a mapping of fields is expected, not str"),
    ],
)  # fmt: skip
def test_wrong_specs(text: str, told: str) -> None:
    """Whatever is wrong is told with the file, the place and the value, and what would be right."""
    with pytest.raises(InvalidSpec) as error:
        parsed(text)
    assert str(error.value).startswith("rollout.yaml: ")
    assert told in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"weights: {b: 5}\nweights: {b: 6}", "the field 'weights' stands twice at line 2, column 1"),
        (b"weights: {b: 5, b: 6}", "the field 'b' stands twice at line 1, column 17"),
        (b"weights: {b: 5", "not valid YAML"),
        (b"weights: *anchor", "*anchor: aliases are not supported; write the value out at line 1"),
        (b"weights: &w {b: 5}\nshadow: *w", "aliases are not supported"),
        (b"a: &a [*a]", "aliases are not supported"),
        (b"[1, 2]: 3", "a field's name is text, not a list or a mapping"),
        (b"? {a: b}\n: c", "a field's name is text"),
        (b"weights: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"name: \x00", "not valid YAML"),
        (b"---\nname: a\n---\nname: b", "not valid YAML"),
        (b"[" * 20_000, "nested too deep"),
        (b"{a: " * 20_000, "nested too deep"),
        (b"- " * 20_000, "nested too deep"),
        (b"weights: {b: " + b"9" * 5_000 + b"}", "not valid YAML"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_yaml(text: bytes, told: str) -> None:
    """Fields written twice, aliases, tags, broken and endlessly nested text are refused, with place."""
    with pytest.raises(InvalidSpec) as error:
        parse_spec(text, "rollout.yaml")
    assert str(error.value).startswith("rollout.yaml: ")
    assert told in str(error.value)
    assert len(str(error.value)) < 400


def test_all_problems_are_told_at_once() -> None:
    """Each problem has its line; beyond twenty they are counted."""
    with pytest.raises(InvalidSpec) as error:
        parsed("weights: {b: -1, c: x}\nnaem: x")
    assert len(str(error.value).splitlines()) == 3
    with pytest.raises(InvalidSpec, match="and 80 more"):
        parsed("\n".join(f"field{i}: 1" for i in range(100)))


def test_key_sources() -> None:
    """Every kind of source is read, alone, in a list, and by endpoint; it is told as it was written."""
    for text in ("header:x-user", "cookie:sid", "query:user", "baggage:user", "field:tx.id",
                 "rows:batch.user", "field:frame.0", "my.module:keys.of_user"):  # fmt: skip
        assert str(KeySource.parse(text)) == text
    assert KeySource.parse("header:X-User").name == "x-user"
    assert KeySource.parse("my.module:keys.of_user") == KeySource("call", "my.module", ("keys", "of_user"))
    routing = parsed("routing: {key: {predict: [cookie:sid, header:x], '*': query:u}}").routing
    assert [str(source) for source in routing.sources("predict")] == ["cookie:sid", "header:x"]
    assert [str(source) for source in routing.sources("other")] == ["query:u"]


def test_target_keys_are_normal() -> None:
    """A target's keys are those that callers send: 7, 7.0 and "7" are one."""
    spec = parsed("targets: {b: {keys: [7, 7.0, '7', u1], header: {X-Ring: a}}}")
    assert spec.targets["b"].keys == ("7", "u1")
    assert spec.targets["b"].header == {"x-ring": "a"}


def test_headers_can_be_chosen() -> None:
    """`expose_headers` takes true, false, or our header names in any case."""
    assert parsed("expose_headers: false").expose_headers is False
    assert parsed("expose_headers: []").expose_headers == ()
    assert parsed("expose_headers: [x-rollout-variant]").expose_headers == ("X-Rollout-Variant",)
    assert parsed(f"expose_headers: [{', '.join(RESPONSE_HEADERS)}]").expose_headers == RESPONSE_HEADERS


# -- files ------------------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    """A spec is read from a file; its content has a digest."""
    file = tmp_path / "rollout.yaml"
    file.write_text(FULL_EXAMPLE, encoding="utf-8")
    assert load_spec(file) == load_spec(str(file)) == parsed(FULL_EXAMPLE)
    before = content_digest(file)
    file.write_text(FULL_EXAMPLE + "\n", encoding="utf-8")
    assert len(before) == 12
    assert content_digest(file) != before


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, a file over 1 MiB and an impossible path are refused, naming the path."""
    with pytest.raises(InvalidSpec, match=r"rollout\.yaml: there is no such spec file"):
        load_spec(tmp_path / "rollout.yaml")
    with pytest.raises(InvalidSpec, match="cannot be read: Is a directory"):
        load_spec(tmp_path)
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidSpec, match=r"large\.yaml: over 1048576 bytes"):
        load_spec(tmp_path / "large.yaml")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_spec("a\0b")


# -- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "milli"),
    [(0, 0), (100, 100_000), (12.5, 12_500), (0.001, 1), (99.999, 99_999), (0.1 + 0.2, 300),
     (np.float64(5), 5_000), (np.int32(7), 7_000), (33.333, 33_333)],
)  # fmt: skip
def test_percentages(value: Any, milli: int) -> None:
    """Percentages of any kind of number, with up to three decimals, are exact."""
    assert parse_milli(value) == milli


def test_every_thousandth_is_exact() -> None:
    """Each of the 100 001 percentages that can be written is read as itself."""
    assert all(parse_milli(milli / 1000) == milli for milli in range(0, 100_001, 7))


@pytest.mark.parametrize(
    "value", [1e-10, 0.0005, 10**400, -(10**5000), float("nan"), 5j, "5", True], ids=lambda _: ""
)
def test_odd_percentages(value: object) -> None:
    """Anything else is refused: nothing is rounded to zero, no size of number breaks it."""
    with pytest.raises(InvalidValue, match="percentage"):
        parse_milli(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), (" 5m ", 300), ("1.5h", 5400), ("2d", 172_800), (3, 3), (0.5, 0.5)],
)  # fmt: skip
def test_durations(text: object, seconds: float) -> None:
    """Durations are numbers of seconds, or text with a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["5", "s", "", "1e3s", "5 s m", "٣s", 10**400, float("inf"), 0, -1, None, [1], True]
)
def test_odd_durations(value: object) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidValue, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "9", "_x", "x" * 100])
def test_names(name: str) -> None:
    """Letters, digits, underscores, dots and dashes make a name."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../a", "a\\b", "-a", "a b", "a\n", "é", "x" * 101, "a\0", "a:b", 5, None, b"a"],
)
def test_odd_names(name: object) -> None:
    """What could leave a folder, or break a header, is no name."""
    with pytest.raises(InvalidValue):
        check_name(name)
