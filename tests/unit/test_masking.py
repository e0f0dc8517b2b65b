"""What a line tells of arguments: plain, bounded, and nothing of what a path hides."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass

from bento_rollout.telemetry.masking import MOST_BYTES, Masking, Told

SECRET = "hunter2"


class Patient(BaseModel):
    """A patient as a service declares one."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    name: str = SECRET
    age: int = 7
    mail: str = Field(default=SECRET, alias="eMail")
    phone: str = Field(default=SECRET, validation_alias=AliasChoices("tel", "telephone"))


class Patients(RootModel[list[Patient]]):
    """Many of them."""


@dataclass
class Record:
    """The same as a dataclass."""

    name: str = SECRET
    age: int = 7


class Pair(NamedTuple):
    """A tuple with names."""

    name: str = SECRET
    age: int = 7


class Colour(Enum):
    """A member."""

    RED = "red"


class Opaque:
    """An object that nobody can look into."""

    def __init__(self) -> None:
        self.name = SECRET

    def __repr__(self) -> str:
        return SECRET


def digest(text: str) -> str:
    """A hash that a test can read: not one that hides."""
    return f"<{len(text)}>"


def tell(inputs: dict[str, Any], **paths: list[str]) -> Told:
    """What is told, which must be JSON and bounded."""
    told = Masking(**paths, hashed=digest).tell(inputs)
    assert len(json.dumps(told.inputs, allow_nan=False)) <= MOST_BYTES * 1.2
    return told


PATIENT = {"name": "***", "age": 7, "mail": SECRET, "phone": SECRET}
FRAME = pd.DataFrame({"name": [SECRET, SECRET], "age": [7, None]})


@pytest.mark.parametrize(
    ("path", "value", "plain"),
    [
        ("a", SECRET, "***"),
        ("a.name", {"name": SECRET, "age": 7}, {"name": "***", "age": 7}),
        ("a.name", Record(), {"name": "***", "age": 7}),
        ("a.name", FRAME, [{"name": "***", "age": 7.0}, {"name": "***", "age": "nan"}]),
        ("a[].name", FRAME, [{"name": "***", "age": 7.0}, {"name": "***", "age": "nan"}]),
        ("a[]", pd.Series([SECRET]), ["***"]),
        ("a[]", np.array([SECRET]), ["***"]),
        ("a[]", {SECRET}, ["***"]),
        ("a[].name", [{"name": SECRET}, {"age": 7}, None], [{"name": "***"}, {"age": 7}, None]),
        ("a[].name", (Record(),), [{"name": "***", "age": 7}]),
        ("a.*", {"name": SECRET, "more": {"deep": SECRET}}, {"name": "***", "more": "***"}),
        ("a.*.name", {"x": Patient(), "y": None}, {"x": PATIENT | {"name": "***"}, "y": None}),
        ("a[][]", [[SECRET], [SECRET, SECRET]], [["***"], ["***", "***"]]),
        ("a.7", {7: SECRET, "8": 8}, {"7": "***", "8": 8}),
        ("a.b.name", {"b.name": SECRET, "b": {"name": SECRET}}, {"b.name": "***", "b": {"name": "***"}}),
        ("a.b", {"b.name": SECRET}, {"b.name": "***"}),
        ("a.*.name", {"b.name": SECRET}, {"b.name": "***"}),
        ("a.b[]", {"b[]": [SECRET]}, {"b[]": "***"}),
        ("a.b.name", pd.DataFrame({"b.name": [SECRET]}), [{"b.name": "***"}]),
        ("a[].b.name", pd.DataFrame({"b.name": [SECRET]}), [{"b.name": "***"}]),
        ("a.name", None, None),
    ],
)  # fmt: skip
def test_a_path_hides_what_it_leads_to(path: str, value: Any, plain: Any) -> None:
    """In mappings, models, dataclasses, lists, arrays and tables."""
    told = tell({"a": value, "b": 1}, mask=[path])
    assert (told.inputs, told.left_out) == ({"a": plain, "b": 1}, ())
    dropped, hashed = (tell({"a": value}, **{does: [path]}).inputs for does in ("drop", "hashes"))
    assert (
        json.dumps(dropped).count(SECRET)
        == json.dumps(hashed).count(SECRET)
        == json.dumps(plain).count(SECRET)
    )


@pytest.mark.parametrize("names", [("name", "mail", "phone"), ("name", "eMail", "telephone"), ("*",)])
def test_a_model_by_any_of_its_names(names: tuple[str, ...]) -> None:
    """A field is found by its own name, and by those that callers write; extra fields are fields, too."""
    for prefix, value in (("a", Patient()), ("a[]", Patients([Patient()])), ("a[]", [Patient()])):
        told = tell({"a": value}, mask=[f"{prefix}.{name}" for name in names])
        assert SECRET not in json.dumps(told.inputs)
        assert not told.missing
    extra = Patient.model_validate({"ssn": SECRET})
    told = tell({"a": extra}, mask=["a.ssn"], drop=["a.name", "a.mail", "a.phone"])
    assert told.inputs == {"a": {"age": 7, "ssn": "***"}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.name", json.dumps({"name": SECRET})),
        ("a.name", SECRET.encode()),
        ("a.name", Opaque()),
        ("a.name", [{"name": SECRET}]),
        ("a.name", Pair()),
        ("a.name", 7),
        ("a[].name", {"name": SECRET}),
        ("a[].name", [SECRET]),
        ("a[].name", [{"name": "x"}, Opaque()]),
        ("a[].name", np.zeros(2, dtype=[("name", "U8")])),
        ("a.*", [SECRET]),
        ("a[]", SECRET),
        ("a.name", {("b", "name"): SECRET}),
        ("a.name", {b"name": SECRET}),
        ("a.name", pd.DataFrame({("b", "name"): [SECRET]})),
        ("a[].name", pd.DataFrame({("b", "name"): [SECRET]})),
    ],
)
def test_a_path_that_cannot_be_followed_takes_the_argument_with_it(path: str, value: Any) -> None:
    """Nothing is shown rather than what was to be hidden."""
    for does in ("mask", "drop", "hashes"):
        told = tell({"a": value, "b": 1}, **{does: [path]})
        assert (told.inputs, told.left_out) == ({"b": 1}, ("a",))


@pytest.mark.parametrize("path", ["nested.name", "nested", "nested.*", "*.name", "list[]", "told", "name"])
def test_a_field_that_is_taken_from_deeper_within(path: str) -> None:
    """As callers send it, and as it is sent on; dataclasses of pydantic's, too."""

    class Taken(BaseModel):
        name: str = Field(
            validation_alias=AliasChoices(AliasPath("nested", "name"), AliasPath("list", 0)),
            serialization_alias="told",
        )

    @pydantic_dataclass
    class TakenToo:
        name: str = Field(
            validation_alias=AliasChoices(AliasPath("nested", "name"), AliasPath("list", 0)),
            serialization_alias="told",
        )

    nested: dict[str, Any] = {"nested": {"name": SECRET}}
    for value in (Taken(**nested), TypeAdapter(TakenToo).validate_python(nested)):
        told = tell({"a": value}, mask=[f"a.{path}"])
        assert (told.inputs, told.missing) == ({"a": {"name": "***"}}, frozenset())


def test_a_plain_values_own_text_is_not_asked_for() -> None:
    """A class of the user's that is a time, or the like, is told as the time."""

    class Moment(datetime):
        def __str__(self) -> str:
            return SECRET

    assert tell({"a": Moment(2020, 1, 2)}).inputs == {"a": "2020-01-02 00:00:00"}


def test_what_is_hashed() -> None:
    """A text and a number by what they are as keys; a structure by all of it, if all of it is known."""
    values = ["u7", 7, 7.0, None, b"abc", {"x": [1, b"ab"]}, {"x": [1, b"cd"]}, Opaque(), {"x": Opaque()}]
    seen: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return digest(text)

    inputs = {f"a{number}": value for number, value in enumerate(values)}
    masking = Masking(hashes=list(inputs), hashed=note)
    told = masking.tell(inputs)
    assert seen == ["u7", "7", "7", "abc", "{'x': [1, 'ab']}", "{'x': [1, 'cd']}"]
    assert told.inputs["a3"] is None
    assert told.left_out == ("a7", "a8")


def test_which_path_wins() -> None:
    """Of several for one place: out, masked, hashed; the one that ends further out covers those within."""
    inputs = {"a": {"x": 1, "y": 2, "z": {"deep": 3}}}
    told = tell(inputs, drop=["a.x"], mask=["a.*", "a.x"], hashes=["a.y", "a.z.deep"])
    assert told.inputs == {"a": {"y": "***", "z": "***"}}
    assert told.missing == set()


def test_what_is_missing() -> None:
    """A path that finds no field where it looks for one; not where there is nothing to look into."""
    masking = Masking(mask=["a.nam", "a.x.y", "b[].name", "c[].name", "d.name", "e.name"])
    inputs = {"a": {"name": 1, "x": {"z": 1}}, "b": [{"name": 1}, {}], "c": [], "d": None}
    told = masking.tell(inputs)
    assert told.missing == {"a.nam", "a.x.y"}
    assert told.matched == {"b[].name"}
    wide = pd.DataFrame([range(2000)])
    assert Masking(mask=["a.1999"]).tell({"a": wide}).missing == set()


def test_what_is_long_is_cut_and_its_length_told() -> None:
    """Texts, lists, arrays, tables, depth and numbers; all arguments have their share."""
    deep: list[Any] = []
    deep.append(deep)
    inputs = {
        "text": "x" * 100_000,
        "list": list(range(1000)),
        "array": np.zeros((1000, 30)),
        "wide": {f"k{number}": number for number in range(100_000)},
        "frame": pd.DataFrame(np.zeros((500, 500))),
        "deep": deep,
        "faces": "\U0001f600\x00" * 9000,
        "odd": [float("nan"), 10**5000, -(10**45), float("inf"), 2j],
        "last": 1,
    }
    told = tell(inputs).inputs
    assert told["text"].endswith("… (100000 characters)")
    assert told["list"][-1] == "… 980 more"
    assert told["array"][-1].endswith("more")
    assert told["frame"][-1].endswith("more")
    assert "more" in told["wide"]["…"]
    assert told["odd"] == ["nan", "an integer of 16610 bits", "an integer of 150 bits", "inf", "2j"]
    assert told["faces"].endswith("… (18000 characters)")
    assert told["last"] == 1


def test_what_is_plain() -> None:
    """What is known to be plain is told as text; of files the name, of bytes the size, else the class."""
    inputs = {
        "path": Path("/tmp/upload/scan.png"),
        "bytes": b"123",
        "day": datetime(2026, 1, 2, tzinfo=timezone.utc),
        "stamp": pd.Timestamp("2026-01-02"),
        "money": Decimal("1.50"),
        "id": uuid.UUID(int=0),
        "red": Colour.RED,
        "odd": Opaque(),
        "scalar": np.float32(0.5),
        "point": np.array(3),
        "yes": np.bool_(True),
        "keys": {None: 1, (1, 2): 2, Colour.RED: 3},
    }
    assert tell(inputs).inputs == {
        "path": "scan.png",
        "bytes": "3 bytes",
        "day": "2026-01-02 00:00:00+00:00",
        "stamp": "2026-01-02 00:00:00",
        "money": "1.50",
        "id": str(uuid.UUID(int=0)),
        "red": "red",
        "odd": "<Opaque>",
        "scalar": 0.5,
        "point": 3,
        "yes": True,
        "keys": {"null": 1, "(tuple)": 2, "red": 3},
    }


def test_an_argument_that_raises_is_left_out() -> None:
    """Whatever it does when it is looked at."""

    class Angry(dict[str, Any]):
        def __iter__(self) -> Any:
            raise RuntimeError(SECRET)

    told = tell({"a": Angry(x=1), "b": 1})
    assert (told.inputs, told.left_out) == ({"b": 1}, ("a",))


# -- whatever the structure -------------------------------------------------------------------------------

NAMES = st.sampled_from(["name", "age", "x", "y"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=9)
)


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Containers of all kinds around some values."""
    mappings = st.dictionaries(NAMES, children, max_size=4)
    return st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=4).map(tuple),
        mappings,
        mappings.map(lambda fields: Patient(name="", eMail="", tel="", ssn=fields)),
        st.builds(Record, name=children, age=children),
        st.lists(mappings, max_size=3).map(lambda rows: pd.DataFrame(rows, dtype=object)),
        st.lists(children, max_size=3).map(lambda items: pd.Series(items, dtype=object)),
    )


STRUCTURES = st.recursive(LEAVES, branches, max_leaves=12)
STEPS = st.lists(st.one_of(st.just("[]"), st.just(".*"), NAMES.map(lambda name: f".{name}")), max_size=4)


def hidden(value: Any, steps: list[str]) -> Any:
    """Put a secret wherever steps lead to in a structure, as far as they can be followed."""
    if not steps:
        return SECRET
    first, rest = steps[0], steps[1:]
    if isinstance(value, pd.DataFrame):
        return hidden_in_table(value, steps)
    if isinstance(value, (list, tuple, pd.Series)):
        items = [hidden(item, rest) for item in value]
        kind: Any = type(value)
        return kind(items) if first == "[]" else value
    if first == "[]" or not isinstance(value, (dict, Patient, Record)):
        return value
    fields = value if isinstance(value, dict) else dict(value) if isinstance(value, Patient) else vars(value)
    wanted = fields if first == ".*" else [first[1:]]
    changed = {key: hidden(one, rest) if key in wanted else one for key, one in fields.items()}
    if isinstance(value, Patient):
        return Patient.model_construct(**changed)
    return Record(**changed) if isinstance(value, Record) else changed


def hidden_in_table(frame: pd.DataFrame, steps: list[str]) -> Any:
    """Put a secret into a table's cells; its rows may be named, or not."""
    steps = steps[1:] if steps[0] == "[]" else steps
    if not steps:
        return pd.DataFrame({name: [SECRET] * len(frame) for name in frame.columns}, dtype=object)
    found = frame.copy()
    for name in frame.columns if steps[0] == ".*" else [steps[0][1:]]:
        if name in found:
            found[name] = pd.Series([hidden(cell, steps[1:]) for cell in found[name]], dtype=object)
    return found


@settings(max_examples=400, deadline=None)
@given(structure=STRUCTURES, steps=STEPS, does=st.sampled_from(["mask", "drop", "hashes"]), more=STRUCTURES)
def test_what_is_hidden_is_never_told(structure: Any, steps: list[str], does: str, more: Any) -> None:
    """Wherever a path leads, and whatever else is there: what stands at its end is in no line."""
    secret = hidden(structure, steps)
    told = tell({"a": secret, "b": more}, **{does: ["a" + "".join(steps)]})
    assert SECRET not in json.dumps(told.inputs)
