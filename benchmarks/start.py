"""How long a wrapped service takes to its first answer, and the memory of its worker, over the bare one.

Run ``python -m benchmarks.start``: starts of the same service, bare and wrapped in turn. Bars: at most 1.1
times the bare one's time, and at most 15 MB more for each worker.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

import psutil

from benchmarks._ab import ratio

TIME_BAR = 1.1
MEMORY_BAR = 15.0


def start_once(*, wrapped: bool) -> tuple[float, float]:
    """Start the service and ask it once; return seconds to the answer and the worker's own MB."""
    with tempfile.TemporaryDirectory() as home, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        environ = {
            **os.environ,
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "1",
            "BENCH_BARE": "" if wrapped else "1",
        }
        environ.pop("BENTO_ROLLOUT_STORE", None)
        command = [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            "benchmarks.start_service:Starting",
            "--port",
            str(port),
        ]
        with Path(home, "log").open("wb") as log:
            began = time.monotonic()
            server = subprocess.Popen(
                command, env=environ, cwd=Path(__file__).parents[1], stdout=log, stderr=log
            )
        try:
            seconds = _first_answer(port, server, began)
            time.sleep(1.0)
            worker = max(
                psutil.Process(server.pid).children(recursive=True), key=lambda p: p.memory_full_info().uss
            )
            return seconds, worker.memory_full_info().uss / 1e6
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _first_answer(port: int, server: subprocess.Popen[bytes], began: float) -> float:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/times", b'{"number": 21}', {"content-type": "application/json"}
    )
    while server.poll() is None and time.monotonic() - began < 60:
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310 - our own address
                if answer.read() == b"42":
                    return time.monotonic() - began
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("the service did not start")


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for folder in ("bento_rollout", "benchmarks"):
        compileall.compile_dir(Path(__file__).parents[1] / folder, quiet=1)  # as pip does when it installs
    times: dict[bool, list[float]] = {False: [], True: []}
    memory: dict[bool, list[float]] = {False: [], True: []}
    for number in range(options.rounds):
        for wrapped in (False, True) if number % 2 else (True, False):
            seconds, megabytes = start_once(wrapped=wrapped)
            times[wrapped].append(seconds)
            memory[wrapped].append(megabytes)
        print(f"\r{number + 1}/{options.rounds} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    slower = ratio(times[True], times[False])
    more = statistics.median(memory[True]) - statistics.median(memory[False])
    met = slower.value <= TIME_BAR and more <= MEMORY_BAR
    if options.json:
        print(json.dumps({"time_ratio": asdict(slower), "more_mb": more, "met": met}))
    else:
        print(f"start, bare {statistics.median(times[False]):.2f} s; wrapped {slower}, bar {TIME_BAR}x")
        print(
            f"worker, bare {statistics.median(memory[False]):.1f} MB; {more:+.1f} MB, bar +{MEMORY_BAR:.0f}"
        )
        print("met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
