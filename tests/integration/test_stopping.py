"""How a service ends, and how it runs while it is being developed."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bento_rollout.errors import Refused
from tests.integration.callers import Line, line_to_each
from tests.integration.running import Server, fresh, serving, until

pytestmark = pytest.mark.server

RELOADED = """
import bentoml
from bento_rollout import rollout


@rollout(champion="one")
@bentoml.service(name="reloaded")
class Reloaded:
    @bentoml.api
    def who(self) -> dict[str, str]:
        return {"said": "first"}
"""


def test_a_graceful_end(tmp_path: Path) -> None:
    """SIGTERM: what is under way is answered, then nothing is left: no process, no living worker, no lock."""
    environment = {"PAIR_HOOKS": str(tmp_path)}
    target = "tests.integration.apps.pair:Pair"
    with serving(target, tmp_path, rollout="pair", workers=3, environment=environment) as server:
        server.ready()
        processes = server.processes()
        assert len(processes) >= 4
        with line_to_each(server.port, server.living()) as lines, ThreadPoolExecutor() as pool:
            waiting = [pool.submit(line.ask, "/who", {"wait": 2}) for line in lines.values()]
            time.sleep(0.5)
            server.arbiter.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert [one.result(30).status for one in waiting] == [200, 200, 200]
        assert server.arbiter.wait(30) == 0
        assert time.monotonic() - began < 30
        until(lambda: not server.processes(), "no process is left", 10)
        assert server.living() == []
        assert list((server.store.with_name("rollouts.db.d") / "pair" / "workers").iterdir()) == []
        # Nobody serves: hooks that cannot run stop a flip, and a weight is set with a note.
        with pytest.raises(Refused, match="--no-workers"):
            server.operator().flip("green")
        assert "no worker is live" in server.operator().set_weights({"green": 5}).notes[0]


@pytest.mark.slow
def test_development_and_reload(tmp_path: Path) -> None:
    """With --development --reload changed code is served after a moment, as on the bare service."""
    folder = fresh(tmp_path / "code")
    (folder / "service.py").write_text(RELOADED)
    options = {"rollout": "reloaded", "workers": 1, "arguments": ("--development", "--reload"), "cwd": folder}
    with serving("service:Reloaded", fresh(tmp_path / "home"), **options) as server:
        server.ready()
        assert ask(server) == ("first", "one")
        first = server.operator().state
        (folder / "service.py").write_text(RELOADED.replace('"first"', '"second"'))
        until(lambda: ask(server) == ("second", "one"), "the new code answers", 60, 0.3)
        until(lambda: len(server.living()) == 1, "one worker lives")
        deployed = server.operator().history()[0]
        assert (deployed.author, deployed.parent) == ("deploy", first.revision)


def ask(server: Server) -> tuple[str, str] | None:
    """Return what is answered and by whom, or None while nobody does."""
    line = Line(server.port)
    try:
        answer = line.ask()
    except (OSError, ValueError):
        return None
    else:
        return answer.body["said"], answer.variant
    finally:
        line.close()
