"""Two servers of one store with different code, as in a rolling update: the newest leads, the try waits."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.integration.callers import Load
from tests.integration.running import ROOT, Server, fresh, serving, until

SPEC = (ROOT / "tests" / "integration" / "apps" / "tried.yaml").read_text()
KEYS = [f"user-{number}" for number in range(10_000)]


def served(folder: Path, spec: str, store: Path, living: int) -> Any:
    """A server with one worker of its own, beside which others live."""
    fresh(folder)
    (folder / "spec.yaml").write_text(spec)
    place = {"TRIED_PLACE": str(folder), "TRIED_SPEC": str(folder / "spec.yaml"), "TRIED_WORKERS": "1"}
    target = "tests.integration.apps.tried:Tried"
    return serving(target, folder, rollout="tried", workers=living, environment=place, store=store)


def test_a_rolling_update_in_the_midst_of_a_try(tmp_path: Path) -> None:
    """The new server takes the lead in seconds; the try stands still, and goes on when the old one left."""
    with ExitStack() as stack:
        store = tmp_path / "rollouts.db"
        old: Server = stack.enter_context(served(tmp_path / "old", SPEC, store, 1))
        old.ready()
        until(lambda: old.operator().status()["variants"]["trying"]["state"] == "ready", "it is ready")
        old.operator().start("trying", reason="a test")
        until(lambda: old.events("controller.leads"), "the only worker leads")
        (before,) = old.operator().status()["code"]["workers"]

        changed = SPEC.replace("timeout: 5s", "timeout: 6s")
        new: Server = stack.enter_context(served(tmp_path / "new", changed, store, 2))
        new.ready()
        until(lambda: new.events("controller.leads"), "the newer code leads", 10)
        code = new.operator().status()["code"]
        assert len(code["workers"]) == 2
        assert code["newest"] != before

        def waits() -> bool:
            missing = new.operator().status()["try"]["missing"]
            data = any(one.startswith("data:") for one in missing)
            return not data and f"one code: 1 of 2 workers still runs other code ({before})" in missing

        with Load(new.port, 4, "/score", keys=KEYS):
            until(waits, "it waits for one code only")
            assert new.operator().status()["try"]["step"] == 1
            old.stop()
            until(lambda: new.operator().status()["try"]["step"] > 1, "it goes on")
        assert list(new.operator().status()["code"]["workers"]) == [code["newest"]]
