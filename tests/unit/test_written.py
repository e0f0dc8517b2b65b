"""What people write into the history, and what another version wrote into the store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bento_rollout.admin.tokens import Tokens
from bento_rollout.errors import InvalidValue, StoreCorrupt, StoreUnreachable
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.state import FORMAT
from bento_rollout.store.database import sketch_of
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import TOKEN, Door, Say, problem, revision

# -- stored states that this version cannot read -------------------------------------------------------------


def forge(store: SQLiteStore, **fields: Any) -> None:
    """Append a revision whose stored state has other fields, as another version would write it."""
    state = open_rollout("screening").state.model_dump(mode="json")
    stored = json.dumps({**state, "revision": state["revision"] + 1, **fields})
    with store._database.open() as db:
        row = ("screening", state["revision"] + 1, state["revision"], 1.0, "ann", "weight", "", stored)
        db.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def test_a_newer_versions_state_is_not_damaged(say: Say, store: SQLiteStore) -> None:
    """A state that a newer version wrote is named as such, by both numbers, and no repair touches it."""
    forge(store, format=FORMAT + 1, degree="full")
    told = f"a newer bento-rollout wrote this state (format {FORMAT + 1})"
    with pytest.raises(StoreUnreachable) as raised:
        store.read("screening")
    assert told in str(raised.value)
    assert f"knows up to format {FORMAT}" in str(raised.value)
    for verb in ("weight screening boosted=5", "history screening", "doctor --repair"):
        code, out, err = say(*verb.split())
        assert code == 4, verb
        assert told in out + err
        assert "damaged" not in out + err
    assert len(list(store.path.parent.glob("*.damaged*"))) == 0


@pytest.mark.parametrize(
    "fields", [{"targets": {"boosted": 5}}, {"targets": []}, {"weights": {"b": "x"}}, {"champion": None}]
)
def test_a_damaged_row_is_named_in_the_history(screening: Rollout, store: SQLiteStore, fields: Any) -> None:
    """A revision that cannot be shown is told as damage, and never as a bug of ours."""
    forge(store, **fields)
    with pytest.raises(StoreCorrupt, match="a stored revision is damaged"):
        sketch_of(store_row(store))


def store_row(store: SQLiteStore) -> Any:
    """Return the newest row."""
    with store._database.open() as db:
        return db.execute(
            "SELECT name, revision, parent, time, author, action, reason, state FROM revisions "
            "ORDER BY revision DESC LIMIT 1"
        ).fetchone()


# -- what people write ---------------------------------------------------------------------------------------

ODD = ["two\nlines", "a\x1b[2J", "turned \u202e round", "bell\x07", "\u2028", "x" * 4001]


@pytest.mark.parametrize("text", ODD)
def test_text_that_cannot_be_shown_is_refused_at_every_door(say: Say, screening: Rollout, text: str) -> None:
    """Control characters, line ends and over 4000 characters in a reason: 2, 400, InvalidValue; no change."""
    code, _, err = say("pause", "screening", "--reason", text)
    assert (code, "reason" in err) == (2, True)
    assert "reason" in problem(Door(Tokens(TOKEN)).post("pause", {"reason": text}), 400)["detail"]
    for verb in (screening.pause, screening.promote, lambda reason: screening.flip("boosted", reason=reason)):
        with pytest.raises(InvalidValue, match="the reason has"):
            verb(reason=text)
    assert revision() == 1


@pytest.mark.parametrize("text", ODD)
def test_authors_that_cannot_be_shown_are_refused_at_every_door(
    say: Say, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The same for who asks; reading needs no author."""
    assert say("pause", "screening", "--author", text)[0] == 2
    assert "on_behalf_of" in problem(Door(Tokens(TOKEN)).post("pause", {"on_behalf_of": text}), 400)["detail"]
    monkeypatch.setenv("BENTO_ROLLOUT_AUTHOR", text)
    with pytest.raises(InvalidValue, match="the author has"):
        open_rollout("screening").pause()
    assert revision() == 1
    assert say("status", "screening")[0] == 0


@pytest.mark.parametrize("text", ["für Ärzte", "第 一\u3000回", "10\u202f% — d'accord", "x" * 4000])
def test_text_of_any_language_is_kept(say: Say, screening: Rollout, text: str) -> None:
    """Letters, and the spaces that some languages use, are kept as they are."""
    assert say("pause", "screening", "--reason", text)[0] == 0
    assert Door(Tokens(TOKEN)).post("resume", {"reason": text}).status_code == 200
    screening.pause(reason=text)
    assert [row["reason"] for row in screening.history_rows(3)] == [text] * 3


@pytest.mark.parametrize("number", ["1.0", "1", "1e0"])
def test_an_integral_number_is_an_integer(door: Door, number: str) -> None:
    """JSON Schema calls 1.0 an integer, and so does the door."""
    body = f'{{"weights": {{"boosted": 5}}, "if_revision": {number}}}'
    assert door.send("weights", body.encode()).status_code == 200


@pytest.mark.parametrize("number", ["1.5", "true", '"1"', "1e400", "-1.0"])
def test_what_is_no_revision(door: Door, number: str) -> None:
    """Other numbers are refused, and name the field."""
    answer = door.send("rollback", f'{{"if_revision": {number}}}'.encode())
    assert "if_revision" in problem(answer, 400)["detail"] or number == "1e400"
