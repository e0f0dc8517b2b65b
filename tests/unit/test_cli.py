"""The command line over a real store: what it does, and what it says to people and to programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.cli.commands import commands
from bento_rollout.cli.drifting import drift
from bento_rollout.examine import examine
from bento_rollout.store.ballot import Ballot, Vote
from bento_rollout.store.presence import Presence, VariantCard
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import Say, revision

# -- the verbs -----------------------------------------------------------------------------------------------


def test_every_verb_of_the_contract_is_there_and_explains_itself(say: Say) -> None:
    """Each verb has a help page that says more than its usage."""
    verbs = "list status weight shadow flip start abort retry promote rollback undo target retire pause"
    more = "resume automation audit drift reviews shadow-report ledger label history explain assign apply "
    more += "validate simulate artifacts doctor migrate openapi"
    assert list(commands.commands) == [*verbs.split(), *more.split()]
    for name in commands.commands:
        groups = {
            "reviews": ("reviews", "screening", "list"),
            "ledger": ("ledger", "screening", "tail"),
            "artifacts": ("artifacts", "keygen"),
            "drift": ("drift", "screening", "status"),
        }
        groups |= {
            one: (one, "screening", verb) for one, verb in (("automation", "set"), ("audit", "verify"))
        }
        code, out, _ = say(*groups.get(name, (name,)), "--help")
        assert code == 0
        assert len(out.splitlines()[2].strip()) > 10
        assert "--json" in out
    pages = [
        say("drift", "screening", *verb, "--help")[1] for verb in ([], *([one] for one in drift.commands))
    ]
    assert not [page for page in pages if "\\b" in page]


def test_help_is_in_words(say: Say) -> None:
    """No help page shows a range in signs; and times have an example."""
    pages = {name: " ".join(say(name, "--help")[1].split()) for name in commands.commands}
    assert not [name for name, page in pages.items() if re.search(r"[<>]=|x>", page)]
    assert "30s or 5m" in pages["flip"]


def test_a_walk_through_the_verbs(ask: Callable[..., Any], join: Callable[..., Presence]) -> None:
    """Each verb answers with the new state, as ``status`` has it, and with what it did."""
    join()
    steps: list[tuple[tuple[str, ...], str, dict[str, float]]] = [
        (("weight", "boosted=5", "forest=2.5%"), "logistic", {"boosted": 5, "forest": 2.5}),
        (("shadow", "boosted=100"), "logistic", {"boosted": 5, "forest": 2.5}),
        (("flip", "--to", "boosted", "--timeout", "5s"), "boosted", {}),
        (("rollback",), "logistic", {}),
        (("undo",), "boosted", {}),
        (("target", "forest", "--key", "u1", "--key", "7", "--header", "X-Ring=dogfood"), "boosted", {}),
        (("target", "forest", "--key", "7", "--remove"), "boosted", {}),
        (("pause",), "boosted", {}),
        (("resume",), "boosted", {}),
        (("retire", "forest"), "boosted", {}),
        (("retire", "boosted", "--in-favour-of", "logistic"), "logistic", {}),
    ]
    for number, ((verb, *rest), champion, weights) in enumerate(steps, 2):
        done = ask(verb, "screening", *rest)
        assert (done["revision"], done["champion"], done["changed"]) == (number, champion, True), verb
        assert {name: w for name, w in done["weights"].items() if w} == weights, verb
        status = ask("status", "screening")
        assert {
            k: v for k, v in done.items() if k not in ("changed", "notes", "detail")
        }.items() <= status.items()


def test_reason_and_author(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The history keeps why and who: ``--author``, else the environment's, else user@host."""
    ask("weight", "screening", "boosted=5", "--reason", "first traffic", "--author", "ada")
    monkeypatch.setenv("BENTO_ROLLOUT_AUTHOR", "grace")
    ask("weight", "screening", "boosted=6")
    monkeypatch.delenv("BENTO_ROLLOUT_AUTHOR")
    ask("weight", "screening", "boosted=7")
    rows = ask("history", "screening")
    assert [row["author"] for row in rows[1:3]] == ["grace", "ada"]
    assert "@" in rows[0]["author"]
    assert rows[2]["reason"] == "first traffic"
    assert [row["revision"] for row in ask("history", "screening", "--limit", "2")] == [4, 3]


def test_rollback_twice_does_it_once(say: Say) -> None:
    """The second of two rollbacks says that there is nothing to roll back, and makes no revision."""
    say("weight", "screening", "boosted=5")
    assert say("rollback", "screening")[0] == 0
    code, out, _ = say("rollback", "screening")
    assert (code, revision()) == (0, 3)
    assert "nothing to roll back" in out


def test_rollback_further(say: Say, ask: Callable[..., Any]) -> None:
    """``--again`` and ``--to-revision`` go further back, one of them at a time."""
    for variant in ("boosted", "forest"):
        say("flip", "screening", "--to", variant)
    assert ask("rollback", "screening")["champion"] == "boosted"
    assert ask("rollback", "screening", "--again")["champion"] == "logistic"
    assert ask("rollback", "screening", "--to-revision", "3")["champion"] == "forest"
    assert say("rollback", "screening", "--to-revision", "99")[0] == 3
    assert say("rollback", "screening", "--again", "--to-revision", "1")[0] == 2


def test_list_and_assign(ask: Callable[..., Any]) -> None:
    """``list`` names the rollouts, ``assign`` says who answers each key and why."""
    assert ask("list") == [{"name": "screening", "revision": 1, "champion": "logistic"}]
    ask("weight", "screening", "boosted=100")
    rows = ask("assign", "screening", "--key", "u1", "--key", "ü 2")
    assert [(row["key"], row["revision"]) for row in rows] == [("u1", 2), ("ü 2", 2)]
    assert all(0 <= row["bucket"] < 100_000 for row in rows)


def test_veto(say: Say, store: SQLiteStore, join: Callable[..., Presence]) -> None:
    """A hook's veto is shown to whoever asked, and nothing changes."""
    worker, ballot = join(before_flip=1), Ballot(store.place("screening"))

    def veto() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (proposal := ballot.pending()) is not None:
                ballot.vote(proposal, Vote(worker.token, 4000, "accuracy is 0.71", 0.0))
                return
            time.sleep(0.005)

    thread = threading.Thread(target=veto)
    thread.start()
    code, _, err = say("flip", "screening", "--to", "boosted", "--timeout", "20s")
    thread.join()
    assert (code, revision()) == (1, 1)
    assert "accuracy is 0.71" in err


def test_no_workers(say: Say, join: Callable[..., Presence]) -> None:
    """Hooks that no worker can run stop a flip, unless ``--no-workers`` says to go on."""
    join(before_flip=1).leave()
    code, _, err = say("flip", "screening", "--to", "boosted")
    assert (code, revision()) == (1, 1)
    assert "--no-workers" in err
    code, out, _ = say("flip", "screening", "--to", "boosted", "--no-workers")
    assert (code, revision()) == (0, 2)
    assert "nobody ran" in out


# -- bad input -----------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ("weight screening nobody=5", "nobody"),
    ("weight screening boosted=101", "100"),
    ("weight screening boosted=60 forest=41", "101"),
    ("weight screening boosted=-1", "-1"),
    ("weight screening boosted=nan", "nan"),
    ("weight screening boosted=inf", "inf"),
    ("weight screening boosted=five", "five"),
    ("weight screening boosted=1_0", "1_0"),
    ("weight screening boosted=0.0001", "decimals"),
    ("weight screening boosted=5 boosted=6", "twice"),
    ("weight screening boosted", "VARIANT=PERCENT"),
    ("weight screening =5", "VARIANT=PERCENT"),
    ("weight screening boosted=", "VARIANT=PERCENT"),
    ("weight screening logistic=5", "champion"),
    ("weight screening ../x=5", "../x"),
    ("weight screening", "Missing argument"),
    ("weight ../../etc/passwd boosted=5", "passwd"),
    ("status ..", ".."),
    ("status a/b", "a/b"),
    ("shadow screening nobody=5", "nobody"),
    ("flip screening", "--to"),  # two candidates, no standby: which?
    ("flip screening --to nobody", "nobody"),
    ("flip screening --to boosted --timeout soon", "soon"),
    ("flip screening --to boosted --timeout 0s", "0s"),
    ("rollback screening --to-revision -1", "-1"),
    ("rollback screening --to-revision 99999999999999999999", "whole number from 0 on"),
    ("weight screening boosted=5 --if-revision 1.5", "'1.5' is not a whole number"),
    ("flip screening --to boosted --timeout 5parsecs", "--timeout: duration '5parsecs'"),
    ("target screening boosted", "--key"),
    ("target screening boosted --header x-ring", "NAME=VALUE"),
    ("target screening nobody --key u1", "nobody"),
    ("retire screening nobody", "nobody"),
    ("assign screening", "--key"),
    ("history screening --limit x", "'x'"),
    ("weight screening boosted=5 --if-revision x", "x"),
    ("weigth screening boosted=5", "weigth"),
    ("rollback screening --force", "--force"),
    ("rollback", "NAME"),
]


@pytest.mark.parametrize(("line", "named"), WRONG)
def test_bad_value(say: Say, line: str, named: str) -> None:
    """A bad value is exit code 2 and a sentence that names it; nothing changes."""
    code, out, err = say(*line.split())
    assert (code, out, revision()) == (2, "", 1)
    assert err.startswith("Error: ")
    assert named in err


@pytest.mark.parametrize("key", ["", "x" * 10_000, "\udcff"])
def test_bad_key(say: Say, key: str) -> None:
    """``assign`` refuses a key that a request could not be routed by."""
    assert say("assign", "screening", "--key", key)[0] == 2


def test_text_that_is_not_utf8(say: Say) -> None:
    """What no store could keep is refused before anything is done."""
    code, _, err = say("weight", "screening", "boosted=5", "--reason", "caf\udce9")
    assert (code, revision()) == (2, 1)
    assert "UTF-8" in err


def test_conflict(say: Say) -> None:
    """Of two operators who saw the same revision the second is told which one is current."""
    assert say("weight", "screening", "boosted=5", "--if-revision", "1")[0] == 0
    code, out, err = say("weight", "screening", "boosted=6", "--if-revision", "1", "--json")
    assert (code, revision()) == (1, 2)
    error = json.loads(out)["error"]
    assert (error["type"], error["exit_code"], error["current_revision"]) == ("conflict", 1, 2)
    assert error["message"] in err


def test_promote(say: Say) -> None:
    """Without a running strategy ``promote`` says so, and ``flip``, before it asks for a reason."""
    for reason in ((), ("--reason", "looks good")):
        code, _, err = say("promote", "screening", *reason)
        assert code == 1
        assert "no strategy is running" in err
        assert "use `flip`" in err


def test_not_found(say: Say) -> None:
    """A rollout that the store does not know is exit code 3."""
    for verb in ("status", "rollback", "history", "undo"):
        assert say(verb, "other")[0] == 3
    code, out, _ = say("status", "other", "--json")
    assert json.loads(out)["error"] == {**json.loads(out)["error"], "type": "not_found", "exit_code": code}


def test_usage_as_json(say: Say) -> None:
    """A usage error is JSON as well, when JSON was asked for."""
    code, out, _ = say("rollback", "--json")
    assert (code, json.loads(out)["error"]["type"]) == (2, "usage")


def test_not_ready(say: Say, join: Callable[..., Presence]) -> None:
    """A variant that is not ready gets no traffic, and the error says why it is not."""
    failed = VariantCard("failed", "worker", "2", "no file")
    join(variants={"logistic": VariantCard("ready", "worker", "1"), "boosted": failed})
    for line in ("weight screening boosted=5", "flip screening --to boosted"):
        code, _, err = say(*line.split())
        assert (code, revision()) == (1, 1)
        assert "no file" in err


def test_what_a_process_costs(say: Say, join: Callable[..., Presence]) -> None:
    """Of a variant in processes of its own: their memory together, and how often they were begun again."""
    ready = VariantCard("ready", "worker", "1")
    for memory, restarts in ((120, 0), (130, 2)):
        process = {"pid": 7, "memory_mb": memory, "restarts": restarts}
        beside = VariantCard("ready", "process", "2", process=process)
        join(variants={"logistic": ready, "boosted": beside})
    assert "process (250 MB, 2 restarts)" in say("status", "screening")[1]
    row = json.loads(say("status", "screening", "--json")[1])["variants"]["boosted"]
    assert sorted(one["memory_mb"] for one in row["processes"]) == [120, 130]


def test_not_durable(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that binds one pod of unknown many refuses changes."""
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    code, _, err = say("weight", "screening", "boosted=5")
    assert code == 1
    assert "one pod of unknown many" in err
    assert "not durable" in say("status", "screening")[1]


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage"])
def test_store_unreachable(say: Say, store: SQLiteStore, damage: str) -> None:
    """A store that cannot be used is exit code 4; what was last known is still shown."""
    if damage == "gone":
        store.path.unlink()
    else:
        store.path.write_bytes(b"" if damage == "empty" else b"garbage" * 5000)
    for line in ("list", "rollback screening", "weight screening boosted=5", "doctor"):
        assert say(*line.split())[0] == 4, line
    code, out, _ = say("status", "screening")
    assert code == 4
    assert "logistic" in out
    assert "problem" in out


def test_no_store(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A place without a store is exit code 4, another kind of store exit code 2; no file is made."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/nowhere/x.db")
    assert say("list")[0] == 4
    assert not (tmp_path / "nowhere").exists()
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", "mysql://host/db")
    code, _, err = say("list")
    assert code == 2
    assert "postgresql://" in err


# -- doctor --------------------------------------------------------------------------------------------------


def test_doctor(say: Say, join: Callable[..., Presence], monkeypatch: pytest.MonkeyPatch) -> None:
    """``doctor`` shows store, token, workers and problems; its exit code says whether all is well."""
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN", "very-secret")
    join(spec={"weights": {"boosted": 5}})
    code, out, _ = say("doctor")
    assert code == 0
    for text in (
        "rollouts.db",
        "durable",
        "known names: admin",
        "started from this shell",
        "4000 at 1",
        "the spec asks for",
    ):
        assert text in out
    assert "very-secret" not in out
    join(trouble="the store is locked")
    code, out, _ = say("doctor")
    assert code == 1
    assert "the store is locked" in out


def test_repair(say: Say, ask: Callable[..., Any], store: SQLiteStore) -> None:
    """``doctor --repair`` restores the last good state and says what it did."""
    say("weight", "screening", "boosted=5")
    store.path.write_bytes(b"garbage" * 5000)
    code, out, _ = say("doctor", "--repair", "--json")
    assert code == 0
    assert any("aside" in text for text in json.loads(out)["repaired"])
    assert ask("status", "screening")["weights"] == {"boosted": 5.0, "forest": 0.0}
    assert examine()["store"]["problem"] is None


# -- alone ---------------------------------------------------------------------------------------------------


def test_it_starts_light(store: SQLiteStore) -> None:
    """A rollback loads neither BentoML nor a web framework nor what draws tables."""
    code = (
        "import sys; from bento_rollout.cli import main; code = main(['rollback', 'screening']);"
        "print(code, sorted({'bentoml', 'starlette', 'rich', 'fastapi', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_openapi(ask: Callable[..., Any]) -> None:
    """``openapi`` prints the document that the service serves."""
    from bento_rollout.admin.openapi import openapi

    assert ask("openapi") == openapi()
    assert "/r/admin/flip" in ask("openapi", "--prefix", "/r")["paths"]
