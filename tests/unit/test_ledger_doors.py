"""Labels over HTTP, at the terminal and in Python; predictions looked at, exported, forgotten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.admin import admin_app
from bento_rollout.admin.labels import MOST_BYTES
from bento_rollout.admin.tokens import Tokens
from bento_rollout.errors import NotDurable, NotFound
from bento_rollout.ids import uuid7
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.records import (
    Compared,
    Comparison,
    Observation,
    Outcome,
    Plan,
    Prediction,
    Reason,
    Relation,
    Reply,
)
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import TOKEN, Door, Say, opened, problem

LABELLER = "only-for-labels-3141592653"
NOW = time.time()


def id_of(number: int) -> str:
    """Return the id of a prediction."""
    return uuid7(int(NOW * 1000) + number, number.to_bytes(10, "big"))


def prediction(number: int, key: str = "ann", variant: str = "logistic") -> Prediction:
    """Return a prediction that a candidate failed at before the champion answered."""
    plan = Plan(variant, 3, Reason.FALLBACK)
    seen = [("boosted", Outcome.ERROR, "ValueError"), (variant, Outcome.OK, None)]
    runs = tuple(
        Observation("screening", "predict", name, 3, Reason.SPLIT, id_of(number), how, 0.01, (), error)
        for name, how, error in seen
    )
    body = json.dumps({"score": number / 10}).encode()
    return Prediction(
        "screening", "predict", id_of(number), NOW + number / 1000, (plan,), runs, Outcome.OK, 0.0125,
        (key,), (f"tx-{number}",), "a" * 32, "b" * 16, reply=Reply(200, "application/json", body, len(body)),
    )  # fmt: skip


@pytest.fixture
def kept(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three predictions, the second shadowed; their ids."""
    monkeypatch.setenv("BENTO_ROLLOUT_HASH_KEY", "a secret of this test, and long enough")
    writer = LedgerWriter(store.place("screening"), Settings(), rollout="screening")
    for number in range(3):
        writer.offer(prediction(number, "ann" if number < 2 else "bob"))
    differs = Comparison(Relation.DIFFER)
    writer.offer(
        Compared("screening", "predict", "forest", "logistic", 3, id_of(1), NOW, (differs,), None, 0.02, 0.01)
    )
    writer.close(10)
    return [id_of(number) for number in range(3)]


@pytest.fixture
def labeller(store: SQLiteStore, door: Door) -> Door:
    """The door with a token for operators, and one for labels."""
    door.app = admin_app(opened, tokens=Tokens(TOKEN), labellers=Tokens(LABELLER, name="labels"))
    return door


def post(door: Door, body: Any, token: str | None = LABELLER) -> Any:
    """Post labels."""
    return door.ask("POST", "/rollout/labels", token, json=body)


# -- over HTTP -----------------------------------------------------------------------------------------------


def test_one_and_many(labeller: Door, kept: list[str], screening: Rollout) -> None:
    """An object or an array, by either id; who is not known yet waits; what is wrong costs no other."""
    answer = post(labeller, {"prediction_id": kept[0], "label": 1})
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "orphaned": 0, "refused": []})
    many = [
        {"inference_id": "tx-1", "label": {"truth": "benign"}, "source": "lab"},
        {"prediction_id": kept[2], "label": 2, "time": time.time() + 86400},
        {"prediction_id": id_of(99), "label": 0},
        7,
    ]
    found = post(labeller, many).json()
    assert (found["accepted"], found["orphaned"]) == (2, 1)
    assert [one["index"] for one in found["refused"]] == [1, 3]
    assert all(len(one["error"]) > 10 for one in found["refused"])
    rows = {row["prediction_id"]: row for row in screening.ledger.export()}
    assert (rows[kept[0]]["label"], rows[kept[1]]["label"], rows[kept[2]]["label"]) == (
        1,
        {"truth": "benign"},
        None,
    )


def test_who_may_tell_labels(labeller: Door, kept: list[str]) -> None:
    """Operators and labellers; a labeller may do nothing else."""
    body = {"prediction_id": kept[0], "label": 1}
    assert post(labeller, body, TOKEN).status_code == 200
    assert problem(post(labeller, body, None), 401)
    assert problem(post(labeller, body, "a-stranger"), 401)
    assert problem(labeller.ask("GET", "/rollout/admin/state", LABELLER), 401)
    assert problem(labeller.ask("POST", "/rollout/admin/rollback", LABELLER, json={}), 401)
    closed = Door(Tokens(None))
    assert "BENTO_ROLLOUT_LABEL_TOKEN" in problem(post(closed, body, None), 403)["detail"]


@pytest.mark.parametrize("content", [b"{", b'[{"label": NaN}]', b"\xff", b"[" * 100_000])
def test_what_is_no_json(labeller: Door, kept: list[str], content: bytes) -> None:
    """Nothing of it is taken, and why is said."""
    problem(labeller.ask("POST", "/rollout/labels", LABELLER, content=content), 400)


def test_what_no_label_may_hold_costs_itself_only(labeller: Door, kept: list[str]) -> None:
    """NaN, a lone surrogate or endless nesting in one of many."""
    good = f'{{"prediction_id": "{kept[0]}", "label": 1}}'
    deep = "[" * 500 + "]" * 500
    for bad in ("NaN", '"\\ud800"', "1e999", deep):
        content = f'[{good}, {{"prediction_id": "{kept[1]}", "label": {bad}}}]'.encode()
        answer = labeller.ask("POST", "/rollout/labels", LABELLER, content=content)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["accepted"], [one["index"] for one in answer.json()["refused"]]) == (1, [1])


def test_told_back(screening: Rollout, kept: list[str]) -> None:
    """Whoever takes a correction back is heard."""
    for label in ("A", "B", "A"):
        screening.label({"prediction_id": kept[0], "label": label})
    assert [one.value for one in screening.ledger.story(kept[0]).labels if one.valid] == ["A"]


def test_nothing_that_could_be_taken(labeller: Door, kept: list[str]) -> None:
    """A problem with each label's own reason; an empty array is nothing wrong."""
    document = problem(post(labeller, [{"label": 1}, {"prediction_id": kept[0]}]), 400)
    assert [one["index"] for one in document["refused"]] == [0, 1]
    assert post(labeller, []).json() == {"accepted": 0, "orphaned": 0, "refused": []}


def test_a_body_that_is_too_large(labeller: Door, kept: list[str]) -> None:
    """413, and what to do."""
    text = b'{"label": "' + b"x" * MOST_BYTES + b'"}'
    answer = labeller.ask("POST", "/rollout/labels", LABELLER, content=text)
    assert "fewer" in problem(answer, 413)["detail"]


def test_a_store_that_binds_one_pod(
    labeller: Door, kept: list[str], monkeypatch: pytest.MonkeyPatch, screening: Rollout
) -> None:
    """Labels are refused as changes are: they would be seen by one pod of many."""
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    fresh = Door(Tokens(TOKEN))
    assert "one pod" in problem(post(fresh, {"prediction_id": kept[0], "label": 1}, TOKEN), 409)["detail"]
    with pytest.raises(NotDurable):
        open_rollout("screening").label({"prediction_id": kept[0], "label": 1})


# -- at the terminal -----------------------------------------------------------------------------------------


def test_labels_at_the_terminal(say: Say, ask: Callable[..., Any], kept: list[str], tmp_path: Path) -> None:
    """One by options, many by a file of lines or of one array; what is wrong is told, the good is kept."""
    done = ask("label", "screening", "--prediction", kept[0], "--label", "0.25", "--reason", "seen")
    assert (done["accepted"], done["refused"]) == (1, [])
    file = tmp_path / "labels.jsonl"
    good = {"inference_id": "tx-1", "label": "benign"}, {"prediction_id": kept[2], "label": 1}
    file.write_text("\nnonsense\n".join(map(json.dumps, good)))
    code, out, err = say("label", "screening", str(file))
    assert (code, out.strip()) == (2, "2 accepted; 1 refused")
    assert err.startswith("line 2: this line is no JSON")
    file.write_text("[]")
    assert say("label", "screening", str(file))[0] == 0
    file.write_text("[{]")
    assert say("label", "screening", str(file))[0] == 2
    assert say("label", "screening", str(tmp_path / "none"))[0] == 2
    assert say("label", "screening")[0] == 2
    assert say("label", "screening", "--label", "1")[0] == 1
    assert say("label", "nobody", "--prediction", kept[0], "--label", "1")[0] == 3


def test_tail(say: Say, ask: Callable[..., Any], kept: list[str]) -> None:
    """The newest, in the order in which they came."""
    assert [one["prediction_id"] for one in ask("ledger", "screening", "tail", "-n", "2")] == kept[1:]
    _, out, _ = say("ledger", "screening", "tail")
    assert [line for line in out.splitlines() if all(w in line for w in ("logistic", "fallback", "12.50 ms"))]


def test_the_whole_story(say: Say, ask: Callable[..., Any], kept: list[str], screening: Rollout) -> None:
    """Who, why, when, what failed before, what the shadow said, what the truth is and was."""
    screening.label(
        {"prediction_id": kept[1], "label": "malign", "source": "lab", "time": NOW},
        {
            "prediction_id": kept[1],
            "label": "benign",
            "source": "lab",
            "time": NOW + 1,
            "reason": "again",
        },
    )
    for name in (kept[1], "tx-1"):
        code, out, _ = say("ledger", "screening", "show", name)
        assert code == 0
        words = ["by logistic", "fallback", "revision 3", "boosted: error", "ValueError", "forest", "differ"]
        words += ["a" * 32, '{"score": 0.1}', '"malign"', "corrected", '"benign"', "valid", "again"]
        assert [word for word in words if word not in out] == []
        assert "ann" not in out
    told = ask("ledger", "screening", "show", kept[1])
    assert [label["value"] for label in told["labels"] if label["valid"]] == ["benign"]
    assert say("ledger", "screening", "show", id_of(77))[0] == 3


def test_found_by_key_or_by_the_callers_own_id(say: Say, ask: Callable[..., Any], kept: list[str]) -> None:
    """A list, the newest last; nothing is an error that says so, and does not repeat the key."""
    found = ask("ledger", "screening", "show", "--key", "ann")
    assert [one["prediction_id"] for one in found] == kept[:2]
    assert [one["seq"] for one in ask("ledger", "screening", "show", "--key", "ann", "-n", "1")] == [2]
    found = ask("ledger", "screening", "show", "--inference-id", "tx-2")
    assert [one["prediction_id"] for one in found] == kept[2:]
    both = ("--inference-id", "tx-2", "--key", "ann")
    assert say("ledger", "screening", "show", *both)[0] == 3
    code, out, err = say("ledger", "screening", "show", "--key", "carol")
    assert (code, out, "carol" in err) == (3, "", False)
    assert kept[0] in say("ledger", "screening", "show", "--key", "ann")[1]
    assert say("ledger", "screening", "show")[0] == 2
    assert say("ledger", "screening", "show", kept[0], "--key", "ann")[0] == 2


HARMFUL = "a\x1b[2J\x9b31m\x7f\u202e\u2028b é 😀"


@pytest.fixture
def harmful(store: SQLiteStore, kept: list[str]) -> str:
    """A prediction whose answer would turn a terminal around; its id."""
    body = json.dumps({"said": HARMFUL}, ensure_ascii=False).encode()
    fact = prediction(7)._replace(reply=Reply(200, "application/json", body, len(body)))
    writer = LedgerWriter(store.place("screening"), Settings(), rollout="screening")
    writer.offer(fact)
    assert writer.close(10)
    return fact.prediction_id


@pytest.mark.parametrize(
    "what", [["tail"], ["show", "ID"], ["export"], ["tail", "--json"], ["show", "ID", "--json"]]
)
def test_no_answer_moves_the_cursor(say: Say, harmful: str, what: list[str]) -> None:
    """Control characters of an answer are written out, C1 and those that turn text around, too."""
    code, out, _ = say("ledger", "screening", *(harmful if word == "ID" else word for word in what))
    assert code == 0
    assert [letter for letter in out if not letter.isprintable() and letter != "\n"] == []
    assert "é 😀" in out
    if "--json" in what or what == ["export"]:
        found = json.loads(out.splitlines()[-1]) if what == ["export"] else json.loads(out)
        one = found[-1] if isinstance(found, list) else found
        assert one.get("prediction", one)["output"] == {"said": HARMFUL}


@pytest.mark.parametrize("what", [["export"], ["tail", "--json"], ["show", "tx-7", "--json"]])
def test_json_where_the_terminal_is_not_utf8(harmful: str, store: SQLiteStore, what: list[str]) -> None:
    """It is ASCII, and still says the same."""
    assert harmful
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "bento_rollout.cli", "ledger", "screening", *what]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    text = done.stdout.decode("ascii")
    found = json.loads(text.splitlines()[-1] if what == ["export"] else text)
    one = found[-1] if isinstance(found, list) else found
    assert one.get("prediction", one)["output"] == {"said": HARMFUL}


def test_a_label_that_is_nested_too_deeply(say: Say, kept: list[str]) -> None:
    """It is refused in words."""
    for depth in (70, 100_000):
        code, _, err = say(
            "label", "screening", "--prediction", kept[0], "--label", "[" * depth + "]" * depth
        )
        assert (code in (1, 2), "more levels than can be kept" in err, len(err) < 500) == (True, True, True)


def test_the_size_has_the_log_in_it(screening: Rollout, kept: list[str]) -> None:
    """What was written last is in the log."""
    assert kept
    ledger = screening.ledger
    least = Path(ledger.where).stat().st_size
    with ledger._file.writing():
        screening.label(*({"inference_id": f"x-{n}", "label": "y" * 5000} for n in range(50)))
        assert ledger.counts().size >= least + 50 * 5000


def test_doctor_tells_of_the_ledger(say: Say, kept: list[str], screening: Rollout) -> None:
    """Where it is, how much it holds; one that cannot be read is a problem."""
    assert kept
    path = Path(screening.ledger.where)
    facts = json.loads(say("doctor", "--json")[1])["rollouts"][0]["ledger"]
    assert (
        facts.items()
        >= {"path": str(path), "predictions": 3, "labels": 0, "lost": 0, "problem": None}.items()
    )
    assert "the ledger has 3 predictions and 0 labels" in " ".join(say("doctor")[1].split())
    with screening.ledger._file.writing() as db:
        db.execute("INSERT INTO counters VALUES ('unwritten', 7)")
    assert "7 were lost" in " ".join(say("doctor")[1].split())
    path.write_bytes(b"x" * 5000)
    code, out, _ = say("doctor")
    assert (code, "is damaged" in out) == (1, True)


def test_exports(say: Say, kept: list[str], screening: Rollout, tmp_path: Path) -> None:
    """Lines, events of CloudEvents and columns, each with the labels; only the owner may read the file."""
    screening.label({"prediction_id": kept[0], "label": 1})
    code, out, _ = say("ledger", "screening", "export")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, [row["prediction_id"] for row in rows]) == (0, kept)
    wanted = {"prediction_id", "key_hash", "variant", "revision", "endpoint", "outcome", "seconds", "label"}
    assert wanted <= rows[0].keys()
    assert (rows[0]["label"], rows[1]["label"], rows[0]["key_hash"]) == (1, None, rows[1]["key_hash"])
    _, out, _ = say("ledger", "screening", "export", "--format", "cloudevents", "--until", "2000-01-01")
    assert out == ""
    _, out, _ = say("ledger", "screening", "export", "--format", "cloudevents", "--since", "1h")
    event = json.loads(out.splitlines()[0])
    assert {"specversion", "id", "source", "type", "time", "data"} <= event.keys()
    file = tmp_path / "out.parquet"
    import pyarrow.parquet as pq

    assert say("ledger", "screening", "export", "--format", "parquet")[0] == 2
    assert say("ledger", "screening", "export", "--format", "parquet", "--output", str(file))[0] == 0
    assert pq.read_table(file).column("prediction_id").to_pylist() == kept
    assert file.stat().st_mode & 0o077 == 0
    assert say("ledger", "screening", "export", "--since", "yesterday-ish")[0] == 2


def test_forget_and_prune(say: Say, ask: Callable[..., Any], kept: list[str], store: SQLiteStore) -> None:
    """What belongs to a key is gone, byte for byte; the others stay."""
    gone = ask("ledger", "screening", "forget", "--key", "ann")
    assert (gone["predictions"], gone["shadows"]) == (2, 1)
    assert [one["prediction_id"] for one in ask("ledger", "screening", "tail")] == kept[2:]
    for file in store.place("screening").glob("ledger.db*"):
        assert kept[0].encode() not in file.read_bytes()
    assert ask("ledger", "screening", "prune", "--keep", "1ms")["predictions"] == 1
    assert say("ledger", "screening", "prune", "--max-size", "lots")[0] == 2
    assert say("ledger", "screening", "tail")[1].strip() == "no prediction is kept yet"


def test_forgetting_a_target_names_the_next_command(say: Say, screening: Rollout, kept: list[str]) -> None:
    """The key stays in the store until it is no target any more."""
    assert len(kept) == 3
    screening.target("boosted", keys=["ann", "it's me"])
    code, _, told = say("ledger", "screening", "forget", "--key", "ann")
    command = "bento-rollout target screening boosted --key ann --remove"
    assert (code, command in told, "history" in told) == (0, True, True)
    assert """--key 'it'"'"'s me' --remove""" in say("ledger", "screening", "forget", "--key", "it's me")[2]
    assert say(*command.split()[1:])[0] == 0
    assert "target" not in say("ledger", "screening", "forget", "--key", "ann")[2]


def test_in_python(screening: Rollout, kept: list[str]) -> None:
    """The same by code."""
    kept_now = screening.label({"prediction_id": kept[0], "label": [1, 2]}, {"label": 1}, source="script")
    assert (kept_now.accepted, len(kept_now.refused)) == (1, 1)
    assert screening.ledger.story(kept[0]).labels[0].source == "script"
    with pytest.raises(NotFound):
        open_rollout("nobody").label({"prediction_id": kept[0], "label": 1})
