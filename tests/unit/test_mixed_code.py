"""Workers of different code: who is the newest, who leads, and what a try waits for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bento_rollout.assessment import Assessments
from bento_rollout.code_part import code_digest
from bento_rollout.committing import Desk
from bento_rollout.controller import Controller
from bento_rollout.deciding import EVIDENCE
from bento_rollout.decision import Action
from bento_rollout.examine import LONG, examine
from bento_rollout.mixing import entered, newest, outranked, waits_for
from bento_rollout.operations import open_rollout
from bento_rollout.policy import decide
from bento_rollout.position import Position, Stage
from bento_rollout.precedence import LOOK, TRY, Precedence
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.codes import Codes
from bento_rollout.store.keepsake import Keepsake
from bento_rollout.store.location import locate
from bento_rollout.store.place import Place
from bento_rollout.store.presence import Card, Workers
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.crew import LONG as LONG_STEPS
from tests.unit.crew import QUICK, Crew
from tests.unit.door import Say
from tests.unit.trying import CANARY, parsed
from tests.unit.workers import Join

STORES = ("sqlite", "postgresql")
OLD, NEW = "a" * 16, "b" * 16
DIGESTS = {"logistic": "1" * 12, "boosted": "2" * 12}
SPEC: dict[str, dict[str, Any]] = {
    "routing": {"key": {"predict": "header:x-user", "*": "field:user"}},
    "variants": {"boosted": {"timeout": "2s"}, "forest": {"max_pending": 5}},
    "shadow": {"boosted": {"percent": 5, "compare": {"predict": "label", "*": "json"}}},
    "labels": {"fraud": {"positive": ["yes"], "prediction": "field:fraud"}},
    "log": {"sample": {"prediction.served": "10%"}},
}


# -- what is one code -------------------------------------------------------------------------------------


def test_order_does_not_count() -> None:
    """The same fields and variants in another order are the same code."""
    turned = {name: dict(reversed(list(one.items()))) for name, one in reversed(list(SPEC.items()))}
    other = code_digest(RolloutSpec.parse(turned), dict(reversed(list(DIGESTS.items()))))
    assert other == code_digest(RolloutSpec.parse(SPEC), DIGESTS)


def test_another_process_finds_the_same() -> None:
    """Whatever the process hashes by: on another host it is the same digest, too."""
    script = (
        "from tests.unit.test_mixed_code import DIGESTS, SPEC, RolloutSpec, code_digest;"
        "print(code_digest(RolloutSpec.parse(SPEC), DIGESTS))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == code_digest(RolloutSpec.parse(SPEC), DIGESTS)


@pytest.mark.parametrize(
    "state",
    [
        {"weights": {"boosted": 5}},
        {"shadow": {"boosted": {"percent": 50, "compare": {"predict": "label", "*": "json"}}}},
        {"routing": {"key": SPEC["routing"]["key"], "salt": "other"}},
        {"blue_green": {"standby": "boosted"}},
        {"targets": {"boosted": {"keys": ["u1"]}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_state_does_not_count(state: dict[str, object]) -> None:
    """What only seeds a rollout is no code."""
    assert code_digest(RolloutSpec.parse({**SPEC, **state}), DIGESTS) == code_digest(
        RolloutSpec.parse(SPEC), DIGESTS
    )


@pytest.mark.parametrize(
    "code",
    [
        {"variants": {"boosted": {"timeout": "3s"}}},
        {"routing": {"key": "header:x-user"}},
        {"endpoints": ["predict"]},
        {"labels": {"fraud": {"positive": ["no"]}}},
        {"strategy": parsed(QUICK).plain},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_code_counts(code: dict[str, object]) -> None:
    """Every field that is code makes another digest; so does a variant that is another one."""
    before = code_digest(RolloutSpec.parse(SPEC), DIGESTS)
    assert code_digest(RolloutSpec.parse({**SPEC, **code}), DIGESTS) != before
    assert code_digest(RolloutSpec.parse(SPEC), {**DIGESTS, "boosted": "9" * 12}) != before


# -- which one is the newest ------------------------------------------------------------------------------


def test_the_order_of_codes() -> None:
    """A restart beside others of its code changes nothing; a code that had gone is the newest again."""
    assert entered((), OLD, ()) == (OLD,)
    assert entered((OLD,), NEW, {OLD}) == (OLD, NEW)
    assert entered((OLD, NEW), OLD, {OLD, NEW}) == (OLD, NEW)
    assert entered((OLD, NEW), OLD, {NEW}) == (NEW, OLD)
    assert newest((OLD, NEW), {OLD}) == OLD
    assert newest((OLD, NEW), ()) == NEW
    assert newest((), {OLD}) is None


def test_who_gives_way() -> None:
    """Older code to newer code that is able to; nobody to its own, and whoever is in no order to all."""
    assert outranked((OLD, NEW), OLD, {OLD, NEW})
    assert not outranked((OLD, NEW), OLD, {OLD})
    assert not outranked((OLD, NEW), NEW, {OLD, NEW})
    assert outranked((NEW,), OLD, {NEW})
    assert not outranked((), OLD, {NEW})


def test_what_is_kept(place: Place) -> None:
    """Over both stores: the order and when each came; a damaged document is begun anew."""
    codes = Codes(place)
    assert codes.known().order == ()
    codes.enter(OLD, lambda: ())
    codes.enter(NEW, lambda: {OLD})
    Codes(place).enter(OLD, lambda: {OLD, NEW})
    known = codes.known()
    assert known.order == (OLD, NEW)
    assert known.came({OLD}) == known.since[0]
    assert known.came({OLD, NEW}) == known.since[1]
    codes.enter(OLD, lambda: {NEW})
    assert codes.known().order == (NEW, OLD)
    Keepsake(place, "codes").write([{"code": OLD}])
    assert codes.known().order == ()
    codes.enter(NEW, lambda: ())
    assert codes.known().order == (NEW,)


def test_words() -> None:
    """How many of all, and what they run."""
    workers = {OLD: ["worker 1"], NEW: ["worker 2", "worker 3"]}
    assert waits_for(NEW, workers) == f"1 of 3 workers still runs other code ({OLD})"
    assert waits_for(OLD, workers) == f"2 of 3 workers still run other code ({NEW})"
    assert waits_for(NEW, {NEW: ["worker 1"]}) == waits_for("", {"unknown": ["worker 1"]}) == ""


# -- what is decided meanwhile ----------------------------------------------------------------------------


def test_a_stretch_stands_still() -> None:
    """Its seconds do not count while code is mixed, nor those without a decision; those of the watch do."""
    bakes = Position(control="logistic", stage=Stage.BAKE, looked=0.0)
    for mixed, counted in (("1 of 2 workers still runs other code (a)", 0.0), ("", 5.0)):
        found = decide(parsed(CANARY), bakes, Assessments(mixed=mixed), 5.0)
        assert (found.action, found.position.counted, found.position.promoted) == (Action.HOLD, counted, 5.0)
        assert (f"one code: {mixed}" in found.missing) == bool(mixed)


# -- who leads, and what it does --------------------------------------------------------------------------


@pytest.fixture
def worker(store: SQLiteStore, join: Join) -> Callable[..., tuple[Workers, Controller]]:
    """Let a worker of a code live, which may lead."""

    def worker(crew: Crew, code: str, *, able: bool = True) -> tuple[Workers, Controller]:
        codes = Codes(store.place("screening"))
        codes.enter(code, lambda: {card.code for card in crew.host.living()})
        spec = {"strategy": parsed(LONG_STEPS).plain}
        host = join(spec=spec, code=code, duties=(TRY,) if able else ())
        desk = Desk("screening", store, locate(), EVIDENCE)
        made = Controller(desk, crew._decided, sticky=False, code=code)
        impatient(made._precedence)
        return host, made

    return worker


def impatient(precedence: Precedence) -> None:
    """Let it look each time."""
    real = precedence.yields

    def yields() -> bool:
        precedence._looked = -LOOK
        return real()

    precedence.yields = yields  # type: ignore[method-assign]


def begun(store: SQLiteStore, join: Join, text: str) -> Crew:
    """A try that has begun, and whose first worker is gone."""
    host = join(spec={"strategy": parsed(text).plain})
    crew = Crew(store, host)
    crew.person.start()
    host.leave()
    return crew


Worker = Callable[..., tuple[Workers, Controller]]


def test_the_newest_leads(store: SQLiteStore, join: Join, worker: Worker) -> None:
    """Older code leads until newer code is able to, hands over, and leads again when that has gone."""
    crew = begun(store, join, LONG_STEPS)
    _, old = worker(crew, OLD)
    crew.second(old)
    assert old.leads
    unable, _ = worker(crew, NEW, able=False)
    crew.second(old)
    assert old.leads
    unable.leave()
    new_host, new = worker(crew, NEW)
    led, other = crew.second(new, old)
    assert (led, other, new.leads, old.leads) == (None, None, False, False)
    crew.second(old, new)
    assert (old.leads, new.leads) == (False, True)
    new.resign(crew.now)
    assert crew.heard == crew.sent
    crew.second(old)
    assert not old.leads
    new_host.leave()
    crew.second(old)
    assert old.leads
    old.resign(crew.now)


def test_a_try_waits_for_one_code(store: SQLiteStore, join: Join, worker: Worker) -> None:
    """It holds and says for whom, and its bake does not pass; it goes on when the other code has gone."""
    crew = begun(store, join, QUICK)
    old_host, _ = worker(crew, OLD)
    _, new = worker(crew, NEW)
    for _ in range(20):
        crew.second(new)
    assert crew.decisions == []
    assert crew.counted() == 0.0
    tried = crew.person.status()["try"]
    assert f"one code: 1 of 2 workers still runs other code ({OLD})" in tried["missing"]
    assert tried["may_end"] is None
    old_host.leave()
    crew.second(new)
    assert crew.decisions == []
    crew.until(lambda: "advance" in crew.decisions, new)
    new.resign(crew.now)


def test_harm_rolls_back_while_code_is_mixed(store: SQLiteStore, join: Join, worker: Worker) -> None:
    """What harms is seen and ended, whoever runs what."""
    crew = begun(store, join, QUICK)
    worker(crew, OLD)
    _, new = worker(crew, NEW)
    crew.until(lambda: crew.stage == "rolled_back", new, trial=0.5)
    assert len(crew.person.status()["code"]["workers"]) == 2
    new.resign(crew.now)


# -- what people see --------------------------------------------------------------------------------------


def test_status_and_doctor(store: SQLiteStore, join: Join, say: Say) -> None:
    """By code who runs it: a note while it differs, and a problem when that lasts."""
    place = store.place("screening")
    codes = Codes(place)
    codes.enter(OLD, lambda: ())
    join(code=OLD)
    status = open_rollout("screening").status
    code = status()["code"]
    assert (code["newest"], code["differs_for"], list(code["workers"])) == (OLD, None, [OLD])
    assert code["workers"][OLD][0].startswith("worker 4000")
    codes.enter(NEW, lambda: {OLD})
    join(code=NEW)
    code = status()["code"]
    assert (code["newest"], sorted(code["workers"])) == (NEW, [OLD, NEW])
    assert 0 <= code["differs_for"] < LONG
    (row,) = examine()["rollouts"]
    assert row["problems"] == []
    assert any(note.startswith("workers run different code, so no try goes on") for note in row["notes"])
    assert "(newest)" in say("status", "screening")[1]
    rows = Keepsake(place, "codes").read()
    assert isinstance(rows, list)
    Keepsake(place, "codes").write([{**one, "since": one["since"] - LONG - 1} for one in rows])
    (row,) = examine()["rollouts"]
    assert [text.partition(" for ")[0] for text in row["problems"]] == ["workers have run different code"]
    assert row["code"]["newest"] == NEW


def test_a_card_of_a_worker_that_tells_no_code() -> None:
    """Cards of before are read, and count as code that nobody knows."""
    told = {"token": "1-a", "pid": 1, "worker": 1, "service": "S", "revision": 1, "variants": {}}
    card = Card.load(told)
    assert card is not None
    assert (card.code, card.duties) == ("", ())
    assert replace(card, host="north").words == "worker 1 on north"
