"""The trail's entries in words: each act that is written anywhere has some, and nothing makes them fail."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import bento_rollout
from bento_rollout.console.acts import ACTS, acted
from bento_rollout.reviewing import Status

FOLDER = Path(bento_rollout.__file__).parent


def acts() -> Iterator[str]:
    """Each act that the code writes down by its word, and the ends of cases."""
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            place = {("trail", "append"): 3, ("chain", "append"): 3, ("reviews", "note"): 1}
            of = node.func.value
            name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
            at = place.get((name, node.func.attr))
            if at is not None:
                yield from (
                    one.value
                    for one in ast.walk(node.args[at])
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                )
    yield from (one.value for one in Status if one not in (Status.OPEN, Status.ANSWERED))
    yield from ("decided", "skipped", "released", "escalated")


def test_each_act_that_is_written_has_words() -> None:
    """Whoever adds an act adds its words."""
    written = set(acts())
    assert {"claimed", "degree", "lapsed"} <= written
    assert written <= set(ACTS)


JSON = st.sampled_from([None, True, 3, 0.5, "", "x", "due", [], ["a", None], [[1]], {"a": 1}])
FACTS = ("endpoint", "selection", "told", "why", "by", "first", "adjudicates", "revision", "errors", "x")


@given(st.sampled_from([*ACTS, "odd", ""]), st.dictionaries(st.sampled_from(FACTS), JSON))
def test_whatever_an_entry_holds_there_are_words(what: str, facts: dict[str, object]) -> None:
    """An older or newer version wrote other facts: they are shown all the same."""
    assert isinstance(acted(what, facts), str)
    assert acted(what, facts) or not what


def test_words() -> None:
    """As they go on after a name."""
    assert acted("defaulted", {"by": "model", "why": "due"}) == (
        "let the model's answer stand, as its time was over"
    )
    assert acted("withdrawn", {"why": "its input was kept long enough"}) == (
        "withdrew it: its input was kept long enough"
    )
    assert acted("decided", {"by": "human", "adjudicated": True}) == "decided it, between two answers"
    assert acted("degree", {"revision": 4, "told": ["read: partial"]}) == (
        "changed who decides, in revision 4: read: partial"
    )
