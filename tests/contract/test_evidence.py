"""What a served rollout counts: who was drawn, what shadows said, and whose it was; only with a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
import pytest

from bento_rollout import RolloutSpec, rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.evidence import Evidence, Place
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.location import locate
from bento_rollout.strategy import Strategy
from tests.contract.serving import Served

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
    for flush in EvidenceLog(locate().path.with_name(locate().path.name + ".d") / "counted").read(0):
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
