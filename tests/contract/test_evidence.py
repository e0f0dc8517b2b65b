"""What a served rollout counts: who was drawn, what shadows said, and whose it was; only with a strategy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import bentoml
import pytest

from bento_rollout import RolloutSpec, rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.errors import StoreUnreachable
from bento_rollout.evidence import Evidence, Place
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.leadership import leadership_at
from bento_rollout.store.location import locate
from bento_rollout.store.opened import open_at
from bento_rollout.store.postgres.engine import engine_at
from bento_rollout.store.tallies import Tallies
from bento_rollout.strategy import Strategy
from bento_rollout.tally import Kind
from tests.contract.serving import Served
from tests.places import cut_off
from tests.postgres import Database
from tests.states import wait_until

STRATEGY = {
    "canary": {"candidate": "two", "steps": [{"weight": 5, "bake": "30m"}]},
    "guardrails": {"error_rate": {"margin": "1pp"}},
}
SPEC = {
    "name": "counted",
    "routing": {"key": {"keyed": "header:x-user"}},
    "weights": {"two": 100},
    "shadow": {"two": {"percent": 100}},
    "variants": {"two": {"fallback": "champion"}},
}


class Counted:
    """Answers with its word."""

    word = "one"

    @bentoml.api
    def keyed(self, how: str) -> str:
        if how == "breaks" and self.word == "two":
            raise RuntimeError("a bug")
        return self.word

    @bentoml.api
    def loose(self, how: str) -> str:
        return self.word


def service(**spec: Any) -> Any:
    """The service, decorated."""
    two = bentoml.service(name="counted_two")(type("Two", (Counted,), {"word": "two"}))
    champion = bentoml.service(name="counted")(Counted)
    parsed = RolloutSpec.parse({**SPEC, **spec})
    return rollout(champion="one", candidates={"two": two}, spec=parsed)(champion)


def counted() -> Evidence:
    """All that was written."""
    evidence = Evidence()
    for flush in EvidenceLog(open_at(locate()).place("counted")).read(0):
        assert flush.evidence is not None
        evidence.add(flush.evidence)
    return evidence


def served(decorated: Any, strategy: Strategy | None, *asked: tuple[str, str, str | None]) -> Served:
    """Serve it, ask, and end; return what was served."""
    site = site_of(decorated)
    assert site is not None
    object.__setattr__(site.spec, "strategy", strategy)
    app = Served(decorated).start()
    try:
        for path, how, user in asked:
            headers = {} if user is None else {"x-user": user}
            assert app.request("POST", path, json={"how": how}, headers=headers).status_code == 200
    finally:
        app.stop()
    return app


def test_a_rollout_with_a_strategy_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of keys where routing is sticky, and only sums where it is not."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/rollouts.db")
    asked = (
        ("/keyed", "well", "u1"),
        ("/keyed", "breaks", "u1"),
        ("/keyed", "well", None),
        ("/loose", "well", None),
    )
    served(service(), Strategy.parse(STRATEGY), *asked)
    found = counted()
    keyed, loose = found.arms[Place(1, "keyed")]["two"], found.arms[Place(1, "loose")]["two"]
    assert (keyed.calls, keyed.errors, sorted(sums.calls for sums in keyed.keys.values())) == (3, 1, [1, 2])
    assert (loose.calls, loose.errors, loose.keys) == (1, 0, {})
    assert b"u1" not in b"".join(path.read_bytes() for path in tmp_path.rglob("evidence.db*"))


def test_shadows_are_counted_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the candidate made of a call, and whose the call was."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/rollouts.db")
    asked = ("/keyed", "well", "u1"), ("/keyed", "breaks", "u2")
    app = served(service(weights={}), Strategy.parse(STRATEGY), *asked)
    pair = counted().pairs[Place(1, "keyed")]["two"]
    assert (pair.compared, pair.disagreed, pair.failed, len(pair.keys)) == (2, 2, 1, 2)
    told = {fact.keys for fact in app.recorder.shadows if hasattr(fact, "keys")}
    assert told == {("u1",), ("u2",)}
    assert counted().arms[Place(1, "keyed")]["one"].history["first_item"]


def test_without_a_strategy_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no thread."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/rollouts.db")
    served(service(), None, ("/keyed", "well", "u1"))
    assert list(tmp_path.rglob("evidence.db*")) == []


def test_what_is_counted_without_the_database_arrives_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls and shadows of the time without it, by a worker that ends before it is back, among all others."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", database.url)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    decorated = service(weights={"two": 0})
    site = site_of(decorated)
    assert site is not None
    object.__setattr__(site.spec, "strategy", Strategy.parse(STRATEGY))

    def ask(app: Served, times: int) -> None:
        for _ in range(times):
            answer = app.request("POST", "/loose", json={"how": "well"})
            assert (answer.status_code, answer.text) == (200, "one")

    def arrived(times: int) -> bool:
        numbers = sum(things[Kind.DIFFERED][""] for things in Tallies(place).read().counts.values())
        pairs = counted().pairs
        return where in pairs and pairs[where]["two"].compared == numbers == times

    def leads() -> bool:
        with suppress(StoreUnreachable):
            return right.hold()
        return False

    place, where = open_at(locate()).place("counted"), Place(1, "loose")
    right = leadership_at(place)
    assert right.hold()  # else whoever decides would use what the test looks for
    app = Served(decorated).start()
    ask(app, 3)
    wait_until(lambda: arrived(3))
    with cut_off(database):
        ask(app, 4)
        app.stop()
    wait_until(leads)
    app = Served(decorated).start()
    ask(app, 5)
    wait_until(lambda: arrived(12))
    app.stop()
    assert arrived(12)
    assert counted().arms[where]["one"].alone == (12, 0)
    right.resign()
    engine_at(database.url).close()
