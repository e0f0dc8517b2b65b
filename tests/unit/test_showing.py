"""What reviewers are shown: whatever an input is, it is plain data, bounded, and raises nothing."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from bento_rollout.showing import (
    CUT,
    LONGEST,
    MOST_CHARACTERS,
    MOST_PARTS,
    MOST_ROWS,
    link_or_text,
    named,
    plain_of,
    show,
    take,
)
from bento_rollout.suggesting import choice_in


class Patient(BaseModel):
    """Somebody."""

    name: str
    ages: list[int]


@dataclass
class Study:
    """Something."""

    id: str
    patient: Patient


class Evil:
    """Raises whatever is done to it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("secret")

    def __repr__(self) -> str:
        raise RuntimeError("secret")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers())
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.text(min_size=1), ANYTHING, max_size=3))
def test_everything_becomes_json(arguments: dict[str, Any]) -> None:
    """Whatever arguments are, what is shown of them is JSON that any parser reads."""
    shown = show(arguments)
    text = json.dumps(shown.content, allow_nan=False)
    assert json.loads(text) == json.loads(text)


def test_kinds_of_inputs_are_shown_as_what_they_are() -> None:
    """Text, tables, images, models and several arguments each in their own way."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert show({"text": "two nodules"}).kind == "text"
    table = show({"frame": frame}).content
    missing = table["rows"][1].pop()
    assert table == {"columns": ["a", "b"], "rows": [[1, "x"], [2]]}
    assert missing in (None, "nan"), "which of the two pandas makes of it depends on its version"
    assert show({"rows": np.eye(2)}).content == {"columns": ["0", "1"], "rows": [[1.0, 0.0], [0.0, 1.0]]}
    assert show({"row": np.arange(3)}).content == [0, 1, 2]
    study = Study("s1", Patient(name="ann", ages=[1]))
    assert show({"study": study}).content == {"id": "s1", "patient": {"name": "ann", "ages": [1]}}
    image = Image.new("CMYK", (9000, 3))
    shown = show({"image": image})
    assert (shown.kind, shown.media_type) == ("image", "image/png")
    assert Image.open(io.BytesIO(base64.b64decode(shown.content))).size[0] == 4096
    both = show({"image": Image.new("L", (2, 2)), "age": 3})
    assert (both.kind, both.content["age"], both.content["image"]["media_type"]) == ("json", 3, "image/png")


def test_large_inputs_are_cut() -> None:
    """A large table, a long text, an endless nest: the beginning is shown, and that there is more."""
    table = show({"rows": np.zeros((100_000, 50))}).content
    assert len(table["rows"]) == MOST_ROWS
    assert table["of"] == {"rows": 100_000, "columns": 50}
    assert len(show({"text": "x" * 10**7}).content) == LONGEST
    plain = plain_of(list(range(10**6)))
    assert len(plain) <= MOST_PARTS + 1
    assert plain[-1] == CUT
    nest: list[Any] = []
    nest.append(nest)
    assert CUT in json.dumps(plain_of(nest), ensure_ascii=False)


def test_inputs_that_raise_cost_their_own_place() -> None:
    """An object that raises whatever is done to it is told by its class, never by its text."""
    for shown in (show({"x": Evil()}), show({"x": Evil(), "y": 1})):
        assert "secret" not in json.dumps(shown.content)
    assert plain_of(math.nan) == "nan"


def test_files_outlive_their_folder(tmp_path: Path) -> None:
    """An uploaded file is shown though its request is over; by what is in it, not by its name."""
    image, text, odd = (tmp_path / name for name in ("a.txt", "b.png", "c.bin"))
    Image.new("RGB", (2, 2)).save(image, "PNG")
    text.write_text("two nodules")
    odd.write_bytes(bytes(range(256)))
    taken = [take(["file"], [path], {}) for path in (image, text, odd)]
    for path in (image, text, odd):
        path.unlink()
    shown = [show(one) for one in taken]
    assert [one.kind for one in shown] == ["image", "text", "json"]
    assert (shown[1].content, shown[2].content) == ("two nodules", {"file": "c.bin", "bytes": 256})


def test_what_a_model_does_to_its_input_is_not_shown() -> None:
    """Arguments are taken as they came."""
    rows = np.ones(2)
    taken = take(["rows"], [rows], {"more": {"a": 1}})
    rows[:] = 7
    assert show(taken).content == {"rows": [1.0, 1.0], "more": {"a": 1}}


@given(ANYTHING, st.lists(st.text(min_size=1), unique=True))
def test_a_choice_is_one_of_the_choices(output: Any, choices: list[str]) -> None:
    """Whatever a model says, it is one of the choices, or none; without choices it is text."""
    found = choice_in(output, choices)
    assert found is None or (found in choices if choices else isinstance(found, str))


HALF = "\ud83d"


def test_half_a_character_is_shown_as_it_is_written() -> None:
    """JSON can say it, no file can hold it: such an input could never be asked about."""
    shown = [
        show({"text": f"a {HALF}"}),
        show({"text": HALF, "more": 1}),
        show({"data": {HALF: [HALF]}}),
        show({"frame": pd.DataFrame([[HALF]], columns=pd.Index([HALF], dtype=object), dtype=object)}),
        link_or_text(HALF),
        named("p", HALF),
    ]
    for one in shown:
        text = json.dumps(one.content, ensure_ascii=False)
        assert "ud83d" in text.encode().decode()


def test_all_that_is_shown_is_bounded_together() -> None:
    """Many long texts, in a list or a table, weigh no more than a few images."""
    long = "x" * LONGEST
    for value in ([long] * 1000, {str(at): long for at in range(1000)}, pd.DataFrame({"a": [long] * 1000})):
        text = json.dumps(show({"value": value}).content)
        assert MOST_CHARACTERS / 2 < len(text) < MOST_CHARACTERS * 1.1
    nested = pd.DataFrame({"a": [[0] * MOST_PARTS] * MOST_ROWS})
    assert len(json.dumps(show({"value": nested}).content)) < 10 * MOST_PARTS


def test_numbers_without_a_plain_twin_are_shown_as_text() -> None:
    """A long double is one of numpy's also when it is asked for its value."""
    assert plain_of(np.array([1.5], dtype=np.longdouble)) == ["1.5"]
    assert plain_of(np.longdouble("nan")) == "nan"


def test_an_input_that_ends_things_ends_nothing() -> None:
    """Whatever it raises, a case is asked about."""

    class Ends(list[int]):
        def __iter__(self) -> Any:
            raise SystemExit(CUT)

    assert show({"value": Ends([1])}).content == "(Ends: SystemExit)"
