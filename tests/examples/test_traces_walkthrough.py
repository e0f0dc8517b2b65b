"""The walk-through of examples/observability/traces.md: its commands run, and show what it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import free_port, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_the_walk_through(tmp_path: Path) -> None:
    """Collector, service, call: the request, the variant and the shadow are where the page says."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    ports = {"4318": str(free_port()), "3000": str(free_port())}

    def moved(text: str) -> str:
        return re.sub("4318|3000", lambda found: ports[found[0]], text)

    config = tmp_path / "examples/observability/tracing.yaml"
    config.write_text(moved(config.read_text(encoding="utf-8")), encoding="utf-8")
    page = (ROOT / "examples/observability/traces.md").read_text(encoding="utf-8")
    collect, serve, shadow, call, look = re.findall(r"```sh\n(.*?)\n```", moved(page), re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BENTO")},
        "PATH": path,
        "BENTOML_HOME": str(tmp_path),
        "BENTOML_DO_NOT_TRACK": "1",
        "BENTO_ROLLOUT_SINGLE_REPLICA": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> None:
        with (tmp_path / f"log{len(started)}").open("wb") as log:
            options: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True}
            started.append(subprocess.Popen(["bash", "-c", command], cwd=tmp_path, env=environ, **options))

    def run(command: str) -> str:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60}
        shell = ["bash", "-c", command]
        return str(subprocess.run(shell, cwd=tmp_path, env=environ, check=False, **options).stdout)

    ready = f"curl -s http://127.0.0.1:{ports['3000']}/readyz && echo ready"
    try:
        start(collect)
        start(serve)
        until(lambda: run(ready), "it is served", 90)
        assert "discount" in run(shadow)
        assert run(call).endswith("95.0")

        def shown() -> dict[str, dict[str, Any]] | None:
            spans = [json.loads(line) for line in run(look).splitlines()]
            found = {span["name"]: span for span in spans}
            return found if len(found) == 3 else None

        spans = until(shown, "all three spans", 30)
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
    request = spans["POST /quote"]
    told = {one["key"]: next(iter(one["value"].values())) for one in request["attributes"]}
    assert (request["traceId"], request["parentSpanId"]) == (TRACE, CALLER)
    assert (told["feature_flag.key"], told["feature_flag.result.variant"]) == ("prices", "plain")
    assert (told["feature_flag.result.reason"], told["feature_flag.version"]) == ("default", "2")
    assert spans["variant plain"]["parentSpanId"] == request["spanId"]
    assert [link["spanId"] for link in spans["shadow discount"]["links"]] == [request["spanId"]]
