"""A document that all workers of a rollout keep together, in a file or in a database."""

from __future__ import annotations

from bento_rollout.store.keepsake import Keepsake
from bento_rollout.store.place import Place


def test_a_document_is_kept_whole(place: Place) -> None:
    """What was written last is read; its mark is another one after each writing."""
    kept = Keepsake(place, "drift-reference")
    assert (kept.mark(), kept.read()) == (None, None)
    marks = []
    for document in ({"a": [1, "ü"]}, {"b": None, "long": "x" * 100}):
        kept.write(document)
        assert Keepsake(place, "drift-reference").read() == document
        marks.append(kept.mark())
    assert len({None, *marks}) == 3
    assert Keepsake(place, "another").read() is None
    assert place.name in kept.where


def test_one_makes_it_at_a_time(place: Place) -> None:
    """While somebody makes it nobody else does, and afterwards anybody may."""
    kept = Keepsake(place, "drift-reference")
    for _ in range(2):
        with kept.turn() as mine, Keepsake(place, "drift-reference").turn() as theirs:
            assert (mine, theirs) == (True, False)
