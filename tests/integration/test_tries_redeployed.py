"""A deployment in the midst of a try: whose spec has no strategy any more, and whose candidate is broken."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration.callers import Load
from tests.integration.running import ROOT, Server, fresh, serving, until

pytestmark = pytest.mark.fault
APPS = ROOT / "tests" / "integration" / "apps"
KEYS = [f"user-{number}" for number in range(100_000)]


def served(folder: Path) -> AbstractContextManager[Server]:
    """The service, by the spec in the folder."""
    place = {"TRIED_PLACE": str(folder), "TRIED_SPEC": str(folder / "spec.yaml"), "TRIED_WORKERS": "1"}
    return serving(
        "tests.integration.apps.tried:Tried", folder, rollout="tried", workers=1, environment=place
    )


def test_a_try_is_watched_without_its_strategy_in_the_spec(tmp_path: Path) -> None:
    """The candidate has traffic, so its harm is seen and rolled back by itself."""
    folder = fresh(tmp_path / "tried")
    written = (APPS / "tried.yaml").read_text()
    (folder / "spec.yaml").write_text(written.replace("weight: 1, bake: 2s", "weight: 4, bake: 2s"))
    with served(folder) as server:
        server.ready()
        until(lambda: variants(server) == {"ready"}, "the candidate is ready")
        server.operator().start("trying", reason="a test")
    (folder / "spec.yaml").write_text(written[: written.index("strategy:")])
    (folder / "behaviour.json").write_text(json.dumps({"fails": 0.9}))
    with served(folder) as server:
        server.ready()
        with Load(server.port, 4, "/score", keys=KEYS):
            until(lambda: not server.operator().status()["try"]["runs"], "harm is found", 120)
        assert server.operator().status()["try"]["stage"] == "rolled_back"


def variants(server: Server) -> set[str]:
    """What the variants are."""
    return {row["state"] for row in server.operator().status()["variants"].values()}
