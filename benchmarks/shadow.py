"""What a shadow does to its champion: throughput, request path, memory, failures; and what others' do.

Run ``python -m benchmarks.shadow``; ``--part`` chooses. Servers share one core, callers have the other.

- ``sleep``: throughput with a shadow of all calls that sleeps 200 ms, over no shadow. Bar 0.95x.
- ``burn``: the same with one that burns 50 ms of CPU a call. Bars 0.8x in a process, 0.5x in the worker.
- ``handover``: CPU that a shadow adds to a call's own turn, nothing copied. Bar 5 us.
- ``memory``: what a minute at 10 times what a shadow can take adds to the worker. Bar 20 MB.
- ``faults``: 10 000 requests while candidates leak, are killed and hang. Bar: none fails.
- ``peers``: in the rounds of ``sleep`` and ``burn`` nginx `mirror` and a thread by hand are measured, too.

Each round measures every set-up with and without its shadow, one right after the other, on the same running
server; a ratio is the median over the rounds. Rates are for each second of the servers' core that other
programs on the machine left, and slices that those disturbed are measured again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks._ab import Ratio, ratio
from benchmarks.shadow_peers import INSTALL, free_port, mirroring, nginx_here
from bento_rollout import RolloutSpec, open_rollout
from bento_rollout.calls import Call
from bento_rollout.comparing import Comparing
from bento_rollout.comparison import comparator
from bento_rollout.errors import RolloutError
from bento_rollout.feed import Feed
from bento_rollout.opening import open_state, open_store
from bento_rollout.operations import Rollout
from bento_rollout.router import Router
from bento_rollout.shadow import Shadows
from bento_rollout.spec import Shadow
from bento_rollout.store.location import locate
from bento_rollout.store.tallies import Tallies
from bento_rollout.terms import Terms
from bento_rollout.watching import Shadowed
from bento_rollout.witness import Witness

PARTS = ("sleep", "burn", "handover", "memory", "faults", "peers")
NAME = "shadow_bench"
SLEEP_BAR, PROCESS_BAR, WORKER_BAR = 0.95, 0.8, 0.5
HANDOVER_BAR = 5.0
MEMORY_BAR = 20.0
WARM = 0.8
"""Seconds of each slice that are not counted: a budget that has rested is spent first."""

QUIET, TRIES = 0.1, 4
"""A slice in which strangers took a larger share of the core is measured again, so many times in all;
the one that they disturbed least counts, whatever it came to."""

PEERS_EVERY = 3
"""Peers are measured in every third round: they are so far away that it shows."""

RATE = 50.0
"""Requests a second: ten times what one call of 200 ms at a time can take."""

COLD = 50
"""Calls before each slice of ``handover`` that are not counted: caches are warm after them."""

REQUESTS = 10_000
LONG = {"leak": 3.0, "exit": 20.0, "hang": 6.0}
"""Seconds that each fault lasts at least: a process that was killed needs some to be there again."""

CORES = sorted(os.sched_getaffinity(0))
THEIRS, OURS = {CORES[-1]}, {CORES[0]}
"""The servers' core and this process's."""


def say(label: str, told: str, met: bool | None) -> bool:
    """Print one line, and return whether its bar is met (None: it has none)."""
    print(f"{label}: {told}" + ("" if met is None else f": {'met' if met else 'MISSED'}"), flush=True)
    return met is not False


def progress(told: str) -> None:
    """Say how far it is, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{told}\033[K", end="", file=sys.stderr, flush=True)


# -- servers and load ----------------------------------------------------------------------------------------


@dataclass
class Server:
    """One `bentoml serve`."""

    port: int
    store: str
    arbiter: psutil.Popen

    @property
    def rollout(self) -> Rollout:
        """The rollout that it serves."""
        return open_rollout(NAME, store=self.store)

    def worker(self) -> psutil.Process:
        """Return the process that answers."""
        return psutil.Process(self.rollout.status()["workers"][0]["pid"])

    def state(self, name: str) -> str:
        """Return what a variant is."""
        return str(self.rollout.status()["variants"][name]["state"])

    def report(self, name: str) -> dict[str, Any]:
        """Return what the report says of a candidate."""
        found: dict[str, Any] = self.rollout.shadow_report()["candidates"].get(name, {})
        return found

    def idle(self, *names: str) -> None:
        """Stop all shadows, and wait until nothing of them waits or runs."""
        self.rollout.set_shadow(dict.fromkeys(names, 0))
        until(lambda: not any(map(self._busy, names)), "shadows are done", 10)

    def _busy(self, name: str) -> bool:
        now = self.report(name).get("now", {})
        return bool(now.get("pending") or now.get("running"))

    def ready(self) -> bool:
        """Whether it answers, with all its variants."""
        if self.arbiter.poll() is not None:
            raise RuntimeError("the service did not start")
        with contextlib.suppress(OSError, RolloutError, IndexError):
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).close()
            return not self.store or {self.state(name) for name in ("near", "beside")} == {"ready"}
        return False


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def on_core(cores: set[int]) -> Iterator[None]:
    """Let what begins inside the block stay on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def served(folder: Path, service: str = "Ours") -> Iterator[Server]:
    """Serve on the servers' core until the block ends; then nothing that was started is left."""
    folder.mkdir(parents=True)
    port, store = free_port(), f"sqlite:///{folder}/store.db"
    environ = {**os.environ, "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "1"}
    environ |= {"BENTO_ROLLOUT_STORE": store, "BENTO_ROLLOUT_SINGLE_REPLICA": "1"}
    command = [sys.executable, "-m", "bentoml", "serve", f"benchmarks.shadow_service:{service}"]
    with (folder / "server.log").open("wb") as log, on_core(THEIRS):
        arbiter = psutil.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environ,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[1],
        )
    server = Server(port, store if service == "Ours" else "", arbiter)
    children: list[psutil.Process] = []
    try:
        until(server.ready, f"{service} is ready; see its log", 90)
        yield server
    except RuntimeError:
        print((folder / "server.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        with contextlib.suppress(psutil.Error):
            children = arbiter.children(recursive=True)
        arbiter.send_signal(signal.SIGTERM)
        with contextlib.suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
            arbiter.wait(30)
        for process in (arbiter, *children):
            with contextlib.suppress(psutil.Error):
                process.kill()


def request(how: str = "", path: str = "predict", rows: int = 10) -> bytes:
    """Return a request as it goes over the wire; ``how`` is what a shadow does with it."""
    body = json.dumps({"rows": [[0.5] * 30] * rows, "how": how}).encode()
    head = f"POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Load:
    """Callers on keep-alive connections who ask one thing after the other."""

    port: int
    message: bytes
    connections: int
    pause: float = 0.0
    done: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    over: bool = False

    async def run(self, seconds: float | None = None) -> None:
        """Ask for some time; None: until it is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        await asyncio.gather(*(self._caller(number, deadline) for number in range(self.connections)))

    async def _caller(self, number: int, deadline: float | None) -> None:
        await asyncio.sleep(self.pause * number / self.connections)
        ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.over and (deadline is None or time.monotonic() < deadline):
            began = time.monotonic()
            try:
                ends = ends or await asyncio.open_connection("127.0.0.1", self.port)
                status = await asyncio.wait_for(self._asked(*ends), 60)
                if status != "200":
                    self.failures.append(status)
            except (OSError, EOFError, TimeoutError, asyncio.TimeoutError) as error:
                self.failures.append(repr(error))
                if ends is not None:
                    ends[1].close()
                ends = None
            self.done.append(time.monotonic())
            if self.pause:
                await asyncio.sleep(max(0.0, began + self.pause - time.monotonic()))
        if ends is not None:
            ends[1].close()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(self.message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        return head.split(" ", 2)[1]


# -- throughput ----------------------------------------------------------------------------------------------


class Core:
    """The servers' core, and what other programs on the machine take of it.

    A shadow's budget is a share of the wall time: beside a stranger that takes half of the core, it is twice
    the share of what the champion has, and the measurement is of the stranger.
    """

    def __init__(self) -> None:
        self._own = psutil.Process().children(recursive=True)

    def left(self) -> float:
        """Return the seconds so far in which it was idle, or ran what this benchmark has started."""
        times = psutil.cpu_times(percpu=True)[max(THEIRS)]
        used = 0.0
        for process in self._own:
            with contextlib.suppress(psutil.Error):
                spent = process.cpu_times()
                used += spent.user + spent.system
        return float(times.idle + times.iowait) + used


@dataclass(frozen=True)
class Door:
    """Where a set-up is asked, with or without its shadow.

    Attributes:
        port, message: what is asked.
        open: called before.
        shut: called afterwards, so that nothing of it burdens the next one.
    """

    port: int
    message: bytes
    open: Callable[[], object] = lambda: None
    shut: Callable[[], object] = lambda: None


@dataclass
class Contest:
    """One set-up with and without its shadow; ``bar`` None: a peer."""

    label: str
    connections: int
    alone: Door
    shadowed: Door
    bar: float | None = None
    rates: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    strangers: list[float] = field(default_factory=list)
    failures: int = 0

    def round(self, seconds: float) -> None:
        """Measure both, in an order that is drawn anew."""
        for shadowed in random.sample((False, True), 2):
            door = self.shadowed if shadowed else self.alone
            tried: list[tuple[float, float]] = []
            while len(tried) < TRIES and (not tried or tried[-1][0] > QUIET):
                door.open()
                load, core = Load(door.port, door.message, self.connections), Core()
                tried.append(asyncio.run(_slice(load, core, seconds)))
                door.shut()
                self.failures += len(load.failures)
            strangers, rate = min(tried)
            self.strangers.append(strangers)
            self.rates[shadowed].append(rate)

    def told(self) -> bool:
        """Print what came of it, and return whether the bar is met."""
        found = ratio(self.rates[True], self.rates[False])
        alone, shadowed = (statistics.median(self.rates[which]) for which in (False, True))
        told = f"{alone:6.1f} requests/s alone, {shadowed:6.1f} shadowed: {found}, failed {self.failures}"
        told += f", strangers {statistics.median(self.strangers):.0%}"
        label = f"{self.label}, {self.connections} connection" + "s" * (self.connections > 1)
        if self.bar is None:
            return say(label, told, None)
        return say(label, f"{told}, bar {self.bar}x", found.value >= self.bar and not self.failures)


async def _slice(load: Load, core: Core, seconds: float) -> tuple[float, float]:
    """Return what share of the servers' core strangers took, and the answers a second of what they left."""
    running = asyncio.ensure_future(load.run(WARM + seconds))
    await asyncio.sleep(WARM)
    began, counted, left = time.monotonic(), len(load.done), core.left()
    await asyncio.sleep(seconds)
    counted, left = len(load.done) - counted, core.left() - left
    share = max(0.0, 1 - left / (time.monotonic() - began))
    await running
    return share, max(counted, 0.5) / max(left, 0.05)


def by_us(server: Server, how: str, place: str, label: str, connections: int, bar: float) -> Contest:
    """Return a contest of ours: the shadow is turned on and off on the running server."""
    message = request(how, "on_loop" if label.endswith("loop") else "predict")
    watching = Door(
        server.port, message, lambda: server.rollout.set_shadow({place: 100}), lambda: server.idle(place)
    )
    return Contest(f"{how}: {label}", connections, Door(server.port, message), watching, bar)


def by_others(server: Server, how: str, connections: int, stack: contextlib.ExitStack) -> list[Contest]:
    """Return the peers: a thread written by hand, and nginx where it is installed."""

    def forget() -> None:
        urllib.request.urlopen(
            urllib.request.Request(
                f"http://127.0.0.1:{server.port}/forget",
                b"{}",
                {"content-type": "application/json"},
            ),
            timeout=60,
        ).close()

    bare = request()
    hand = Door(server.port, request(how), shut=forget)
    found = [Contest(f"{how}: by hand, a thread", connections, Door(server.port, bare), hand)]
    if (nginx := nginx_here()) is not None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "nginx")
        with on_core(THEIRS):
            doors = stack.enter_context(mirroring(nginx, server.port, how, folder))
        mirrored = Door(doors.mirrored, bare)
        found.append(Contest(f"{how}: nginx mirror", connections, Door(doors.alone, bare), mirrored))
    return found


def throughput(hows: Sequence[str], rounds: int, seconds: float, *, peers: bool) -> list[bool]:
    """Measure the set-ups of ``sleep`` and ``burn`` in interleaved rounds; return which bars are met."""
    met = []
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(served(home / "ours"))
        hand = stack.enter_context(served(home / "hand", "ByHand")) if peers else None
        for path in ("predict", "on_loop"):
            asyncio.run(Load(ours.port, request(path=path), 8).run(3))
        for how in hows:
            contests = [by_us(ours, how, *those) for those in _ours(how)]
            others = [] if hand is None else [c for n in (1, 8) for c in by_others(hand, how, n, stack)]
            for number in range(rounds):
                now = [*contests, *(others if number % PEERS_EVERY == 0 else [])]
                for contest in random.sample(now, len(now)):
                    progress(f"{how}: {number + 1}/{rounds} rounds, {contest.label}")
                    contest.round(seconds)
            progress("")
            met += [contest.told() for contest in (*contests, *others)]
        if peers and nginx_here() is None:
            print(f"nginx mirror: left out, nginx is not installed: {INSTALL}")
    return met


def _ours(how: str) -> list[tuple[str, str, int, float]]:
    if how == "sleep":
        return [("near", "in the worker", n, SLEEP_BAR) for n in (1, 8)]
    return [
        *(("beside", "in a process", n, PROCESS_BAR) for n in (1, 8)),
        *(("near", "in the worker", n, WORKER_BAR) for n in (1, 8)),
        ("near", "in the worker, on its loop", 8, WORKER_BAR),
    ]


# -- the request's own turn ----------------------------------------------------------------------------------


class Here:
    """Runs any endpoint in this process, at once: champion and shadow."""

    limit, ready = None, True

    def offers(self, endpoint: str) -> bool:
        """Return whether it has an endpoint: it has all."""
        return bool(endpoint)

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Answer."""
        del endpoint, args
        return kwargs["rows"]

    watch = call

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Answer in one item."""
        yield await self.call(endpoint, args, kwargs)

    # What shadows need of their surroundings.

    def runner(self, name: str) -> Shadowed | None:
        """Return where a shadow's code runs: here."""
        return self if name else None

    def refusal(self, error: BaseException) -> str | None:
        """Return what the caller did wrong: nothing."""
        return None if isinstance(error, Exception) else str(error)

    def plain(self, answer: Any) -> Any:
        """Return an answer as it is."""
        return answer

    def merged(self, endpoint: str, witnesses: Sequence[Witness], *, copy: bool) -> tuple[Any, Any, Any]:
        """Return the arguments of a batch: there are none here."""
        raise NotImplementedError(endpoint, witnesses, copy)

    def parted(self, endpoint: str, answer: Any, cuts: Any) -> Sequence[Any]:
        """Return the answers of a batch: there are none here."""
        raise NotImplementedError(endpoint, answer, cuts)


def isolate(work: Any) -> tuple[asyncio.Task[Any], Callable[[], None]]:
    """Start a shadow's work, which has no response to hold back."""
    return asyncio.ensure_future(work), lambda: None


def isolate_candidate(work: Any, *, apart: bool = False) -> tuple[asyncio.Task[Any], Callable[[bool], None]]:
    """Start a candidate's work: there is none here."""
    raise NotImplementedError(work, apart)


async def as_it_is(value: Any, _: str) -> Any:
    """Change nothing."""
    return value


class Turns:
    """A router whose calls never wait: what one costs is what it takes of the request's own turn.

    Args:
        folder: for its store.
        name: the rollout's.
        percent: of calls that are shadowed.
        pending: how many of them may wait; the others are dropped and counted.
    """

    def __init__(self, folder: Path, name: str, percent: int, pending: int) -> None:
        limits = {"percent": percent, "max_pending": pending}
        spec = RolloutSpec.parse({"name": name, "shadow": {"other": limits}})
        store, here = open_store(locate(f"sqlite:///{folder / 'store.db'}")), Here()
        digests = {"champion": "a", "other": "b"}
        commit = open_state(store, name, "champion", spec, digests)
        self.router = Router(
            Feed(store, commit),
            dict.fromkeys(digests, here),
            spec,
            None,
            lambda _: False,
            isolate_candidate,
            digests,
        )
        comparing = Shadow().comparing("predict")
        self.shadows = self.router.shadows = Shadows(
            Terms(name, spec, "champion", digests),
            champion=lambda: self.router.champion,
            comparators={comparing.key: _comparator(comparing)},
            isolate=isolate,
            surroundings=here,
            tallies=Tallies(folder),
            whoami=lambda: (name, os.getpid()),
        )

    def slice(self, calls: int) -> float:
        """Return the CPU seconds of some calls, hot; what the shadow does waits for the loop."""
        kwargs = {"rows": np.full((10, 30), 0.5)}
        self._turns([f"user-{number}" for number in range(COLD)], kwargs)
        keys = [f"user-{number}" for number in range(calls)]
        began = time.process_time()
        self._turns(keys, kwargs)
        return time.process_time() - began

    def _turns(self, keys: Sequence[str], kwargs: Mapping[str, Any]) -> None:
        router = self.router
        for key in keys:
            call = Call("predict", "id")
            work = router.call(call, router.plan(call, key), (), kwargs, as_it_is)
            try:
                work.send(None)
            except StopIteration:
                router.hand_over(call)

    @property
    def waiting(self) -> int:
        """How many calls wait for their shadow."""
        return sum(lane.pending for lane in self.shadows._lanes.values())  # noqa: SLF001 - nobody tells

    async def rest(self) -> None:
        """Let what the shadow was given be done."""
        while self.waiting:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


def _comparator(comparing: Comparing) -> Any:
    return comparator(comparing)


async def turns(folder: Path, rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each slice, interleaved."""
    contestants = {
        "without": Turns(folder, "without", 0, COLD + calls),
        "again": Turns(folder, "again", 0, COLD + calls),
        "taken": Turns(folder, "taken", 100, COLD + calls),
        "dropped": Turns(folder, "dropped", 100, 1),
    }
    for contestant in contestants.values():
        for _ in range(3):
            contestant.slice(calls)
            await contestant.rest()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    gc.freeze()
    for number in range(rounds):
        progress(f"handover: {number + 1}/{rounds} rounds")
        for name in random.sample(list(contestants), len(contestants)):
            gc.collect()
            gc.disable()
            times[name].append(contestants[name].slice(calls))
            gc.enable()
            if contestants[name].waiting != {"taken": COLD + calls, "dropped": 1}.get(name, 0):
                raise RuntimeError("the shadow did not take what it should")
            await contestants[name].rest()
    progress("")
    for contestant in contestants.values():
        await contestant.shadows.close(1)
    return times


def handover(rounds: int, calls: int = 200) -> list[bool]:
    """Measure what a shadow adds to a request's own turn."""
    with tempfile.TemporaryDirectory() as folder, on_core(THEIRS):
        times = asyncio.run(turns(Path(folder), rounds, calls))
    base = statistics.median(times["without"]) / calls * 1e6
    noise = _added(times["again"], times["without"], calls)
    say("handover: A/A", f"a call without a shadow {base:.1f} us; again {_us(noise)}", None)
    met = []
    for name, label in (("taken", "taken into the queue"), ("dropped", "dropped, the queue is full")):
        added = _added(times[name], times["without"], calls)
        met.append(
            say(f"handover: {label}", f"{_us(added)}, bar {HANDOVER_BAR:+g}", added.value <= HANDOVER_BAR)
        )
    return met


def _added(more: Sequence[float], less: Sequence[float], calls: int) -> Ratio:
    """Return the microseconds that a call costs more: the median of the rounds, with its interval."""
    return ratio([(a - b) / calls * 1e6 for a, b in zip(more, less, strict=True)], [1.0] * len(more))


def _us(added: Ratio) -> str:
    return f"{added.value:+.2f} us  [{added.low:+.2f}, {added.high:+.2f}]"


# -- memory --------------------------------------------------------------------------------------------------


def memory(seconds: float) -> list[bool]:
    """Overload a shadow in the worker and one in a process for a minute, beside a server that has none."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {name: stack.enter_context(served(home / name)) for name in ("without", "near", "beside")}
        loads = [Load(s.port, request("sleep", rows=100), 8, 8 / RATE) for s in servers.values()]
        asyncio.run(_together(loads, 10))
        before = {name: server.worker().memory_info().rss for name, server in servers.items()}
        for name in ("near", "beside"):
            servers[name].rollout.set_shadow({name: 100})
        for load in loads:
            load.done.clear()
        asyncio.run(_together(loads, seconds))
        grown = {name: (s.worker().memory_info().rss - before[name]) / 1e6 for name, s in servers.items()}
        met = []
        for load, (name, server) in zip(loads, servers.items(), strict=True):
            if name == "without":
                continue
            time.sleep(1.1)
            row, more = server.report(name), grown[name] - grown["without"]
            told = (
                f"{len(load.done)} calls in {seconds:.0f} s, {row['compared']} shadowed, "
                f"dropped {row['dropped']}; grown {grown[name]:+.1f} MB, "
                f"without a shadow {grown['without']:+.1f}: {more:+.1f} MB, bar {MEMORY_BAR:+g}"
            )
            place = "in the worker" if name == "near" else "in a process"
            met.append(say(f"memory: {place}", told, more <= MEMORY_BAR and not load.failures))
    return met


async def _together(loads: Sequence[Load], seconds: float) -> None:
    await asyncio.gather(*(load.run(seconds) for load in loads))


# -- faults --------------------------------------------------------------------------------------------------


def faults(count: int) -> list[bool]:
    """Ask the champion while candidates in the worker and in a process leak, are killed and hang."""
    done = 0
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as home, served(Path(home, "faults")) as server:
        server.rollout.set_shadow({"near": 100, "beside": 100})
        for how in ("leak", "exit", "hang"):
            if how == "hang":
                until(lambda: server.state("beside") == "ready", "the process is back", 90)
            load = asyncio.run(_faulty(server, how, count // 3 + 1))
            done, failures = done + len(load.done), failures + load.failures
        until(lambda: server.report("near")["now"]["stuck"] > 0, "the call in the worker hangs", 30)
        row = server.rollout.status()["variants"]["beside"]
        deaths = row["processes"][0].get("restarts", 0)
        drops = {name: server.report(name)["dropped"] for name in ("near", "beside")}
        errors = {name: server.report(name)["not_comparable"] for name in ("near", "beside")}
        told = (
            f"{done} requests, failed {len(failures)}; the process was started again {deaths} times; "
            f"errors {errors}; dropped {drops}"
        )
    for failure in sorted(set(failures))[:5]:
        print(f"  {failures.count(failure)} times {failure}")
    return [say("faults: leak, killed, hang", told, not failures and done >= count and deaths > 0)]


async def _faulty(server: Server, how: str, count: int) -> Load:
    """Ask often enough, and until the fault has had time to happen."""
    load, began = Load(server.port, request(how), 8), time.monotonic()
    running = asyncio.ensure_future(load.run())
    while len(load.done) < count or time.monotonic() < began + LONG[how]:
        await asyncio.sleep(0.1)
        progress(f"faults: {how}, {len(load.done)}/{count}")
    load.over = True
    await running
    progress("")
    return load


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--rounds", type=int, default=9, help="of throughput; handover makes 20 times as many"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each slice of throughput")
    parser.add_argument("--overload", type=float, default=60.0, help="seconds of memory's overload")
    options = parser.parse_args()
    parts = set(options.part)
    os.sched_setaffinity(0, OURS)
    met: list[bool] = []
    if "handover" in parts:
        met += handover(options.rounds * 20)
    if parts & {"sleep", "burn", "peers"}:
        hows = [how for how in ("sleep", "burn") if how in parts] or ["sleep", "burn"]
        met += throughput(hows, options.rounds, options.seconds, peers="peers" in parts)
    if "memory" in parts:
        met += memory(options.overload)
    if "faults" in parts:
        met += faults(REQUESTS)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
