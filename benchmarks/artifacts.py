"""What sealing costs: payloads of sealed artifacts beside plain files, and beside what others have.

Run ``python -m benchmarks.artifacts``; ``--size`` says how many MiB, ``--quick`` tries whether all of it
runs. A contest is one run in interleaved rounds, of files in memory (a disk that is written to has moods of
its own; ``--folder`` chooses one):

- **open**: decrypt into fresh memory, against reading the file into fresh memory and hashing it (SHA-256);
- **seal**: encrypt to a new file, against copying and hashing it;
- **small**: open a model of 50 KB, against reading and hashing it; the bar is in milliseconds above. With
  *the API* it is `artifacts.load` with a policy's file: signature, manifest, data key, payload;
- **memory**: what a fresh process needs above the plaintext, for each thread.

*The API* is what users call: `artifacts.open` and `artifacts.create`, whose signature also covers each file
as a whole: a second SHA-256 of all that is sealed. The peers hash nothing. One thread is judged by its CPU
seconds, in which others on the machine do not count; two threads are judged by the clock on the wall, and
need two free cores. `CONTESTS` is where contestants are added.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import artifacts_peers as peers
from benchmarks._ab import interleaved, ratio
from benchmarks.artifacts_peers import Run
from bento_rollout import artifacts
from bento_rollout.artifacts.memory import private_memory
from bento_rollout.artifacts.payload import Payload
from bento_rollout.artifacts.sealer import Sealer

PART = 1 << 20
SMALL = 50_000
KEY, AAD = bytes(range(32)), b"artifact"


@dataclass(frozen=True)
class Place:
    """The files of a run.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    @property
    def plain(self) -> Path:
        """The large file."""
        return self.folder / "plain"

    @property
    def small(self) -> Path:
        """The small file."""
        return self.folder / "small"

    @property
    def keys(self) -> Path:
        """Keys and a policy that trusts them."""
        return self.folder / "keys"

    @property
    def shelf(self) -> artifacts.FolderShelf:
        """Where the API's artifacts are."""
        return artifacts.FolderShelf(self.folder / "shelf")

    def prepare(self) -> None:
        """Make the keys, and seal both files with the API."""
        artifacts.keygen(self.keys)
        (self.keys / "trust.toml").write_text('keys = ["sign.pub.pem"]\nidentity = "identity.txt"\n')
        for name in ("plain", "small"):
            self.create(f"{name}:v1", self.folder / name, 1)

    def create(self, tag: str, source: Path, threads: int) -> None:
        """Seal a file with the API."""
        recipients = (self.keys / "recipient.txt").read_text().split()
        signer = self.keys / "sign.pem"
        with artifacts.create(
            tag, recipients=recipients, signer=signer, serial=1, shelf=self.shelf, threads=threads
        ) as art:
            art.add("model", source)

    def create_again(self, threads: int) -> None:
        """Seal the large file, in the place of the one before."""
        shutil.rmtree(self.shelf.root / "again", ignore_errors=True)
        self.create("again:v1", self.plain, threads)

    def load(self, tag: str, threads: int) -> int:
        """Open an artifact with the API and load the file in it, which tells its size."""
        policy = self.keys / "trust.toml"
        artifact = artifacts.open(tag, policy=policy, shelf=self.shelf, threads=threads)
        return len(artifact.read("model"))


@dataclass(frozen=True)
class Contest:
    """Who is compared with what.

    Attributes:
        name: what is compared.
        plain: what it is compared with; its second try, "the same again", says how noisy the run is.
        contestants: by name.
        bars: what a contestant must reach: times ``plain``, or milliseconds above it.
        on_the_wall: whose bar is one of the clock on the wall, and not of CPU seconds.
        above: the bars are milliseconds above ``plain``.
        more: so many times the rounds.
    """

    name: str
    plain: Run
    contestants: Mapping[str, Run]
    bars: Mapping[str, float] = field(default_factory=dict)
    on_the_wall: frozenset[str] = frozenset()
    above: bool = False
    more: int = 1


def opening(place: Place) -> Contest:
    """Open a large payload."""
    sealed, payload = place.folder / "sealed", seal(place.plain, place.folder / "sealed")
    for run in peers.sealers(place.plain, place.folder).values():
        run()
    return Contest(
        "open",
        lambda: read(place.plain),
        {
            "FLOE, one thread": lambda: unseal(sealed, payload, 1),
            "FLOE, two threads": lambda: unseal(sealed, payload, 2),
            "the API, one": lambda: place.load("plain:v1", 1),
            "the API, two": lambda: place.load("plain:v1", 2),
            **peers.openers(place.folder),
        },
        {"FLOE, one thread": 1.3, "FLOE, two threads": 0.8, "the API, one": 1.3, "the API, two": 0.8},
        frozenset({"FLOE, two threads", "the API, two"}),
    )


def sealing(place: Place) -> Contest:
    """Seal a large file."""
    out = place.folder / "out"
    return Contest(
        "seal",
        lambda: copy(place.plain, out),
        {
            "FLOE, one thread": lambda: seal(place.plain, out, 1),
            "FLOE, two threads": lambda: seal(place.plain, out, 2),
            "the API, one": lambda: place.create_again(1),
            "the API, two": lambda: place.create_again(2),
            **peers.sealers(place.plain, place.folder),
        },
        {"FLOE, one thread": 1.4, "the API, two": 1.4},
        frozenset({"the API, two"}),
    )


def opening_small(place: Place) -> Contest:
    """Open a payload of 50 KB."""
    sealed, payload = place.folder / "small.sealed", seal(place.small, place.folder / "small.sealed")
    return Contest(
        "small",
        lambda: read(place.small),
        {"FLOE": lambda: unseal(sealed, payload, 1), "the API": lambda: place.load("small:v1", 2)},
        {"FLOE": 1.0, "the API": 1.0},
        above=True,
        more=20,
    )


CONTESTS: list[Callable[[Place], Contest]] = [opening, sealing, opening_small]
MEMORY_BAR = 2.0
"""MiB for each thread."""


def folder_for(wanted: Path | None, size: int) -> Path:
    """Make a folder for the files, of which the large one has so many bytes."""
    memory = Path("/dev/shm")  # noqa: S108 - the name of the file system that lies in memory
    room = memory.is_dir() and shutil.disk_usage(memory).free > 8 * size
    return Path(tempfile.mkdtemp(prefix="artifacts-", dir=wanted or (memory if room else Path.cwd())))


def read(path: Path) -> memoryview:
    """Read a file into fresh memory and hash it: what loading a model with a known hash costs at least."""
    with path.open("rb", buffering=0) as file:
        out, hashed, done = private_memory(os.fstat(file.fileno()).st_size), hashlib.sha256(), 0
        while got := file.readinto(out[done : done + PART]):
            hashed.update(out[done : done + got])
            done += got
    hashed.digest()
    return out


def unseal(path: Path, payload: Payload, threads: int) -> memoryview:
    """Open a payload into fresh memory."""
    with path.open("rb", buffering=0) as file:
        return payload.read(file.fileno(), KEY, AAD, threads=threads)


def copy(path: Path, out: Path) -> None:
    """Copy a file and hash it."""
    part, hashed = memoryview(bytearray(PART)), hashlib.sha256()
    with path.open("rb", buffering=0) as source, out.open("wb", buffering=0) as sink:
        while got := source.readinto(part):
            hashed.update(part[:got])
            sink.write(part[:got])
    hashed.digest()


def seal(path: Path, out: Path, threads: int = 1) -> Payload:
    """Seal a file."""
    part = memoryview(bytearray(PART))
    with path.open("rb", buffering=0) as source, out.open("wb", buffering=0) as sink:
        sealer = Sealer(KEY, AAD, sink, threads=threads)
        while got := source.readinto(part):
            sealer.write(part[:got])
        return sealer.finish()


def peak(threads: int, small: tuple[Path, Payload], large: tuple[Path, Payload]) -> float:
    """Return how many MiB a process needs above the plaintext; for a process that does nothing else."""
    unseal(*small, threads)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = int(_status("VmRSS"))
    out = unseal(*large, threads)
    return (int(_status("VmHWM")) - before) / 1024 - len(out) / 2**20


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def memory(place: Place) -> dict[str, float]:
    """Return MiB above the plaintext for each thread, in fresh processes."""
    pair = place.folder / "small.sealed", place.folder / "sealed"
    small, large = (
        (out, seal(plain, out)) for plain, out in zip((place.small, place.plain), pair, strict=True)
    )
    found = {}
    for threads in (1, 2):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[f"{threads} thread{'s' * (threads > 1)}"] = (
                pool.apply(peak, (threads, small, large)) / threads
            )
    return found


def judge(contest: Contest, rounds: int) -> dict[str, dict[str, float | bool]]:
    """Run a contest, print it, and return what was found of each contestant."""
    runs = {"plain": contest.plain, "the same again": contest.plain, **contest.contestants}
    used: dict[str, list[float]] = {name: [] for name in runs}

    def counted(name: str) -> None:
        began = time.process_time()
        runs[name]()
        used[name].append(time.process_time() - began)

    walls = interleaved(
        {name: partial(counted, name) for name in runs}, rounds * contest.more, time.perf_counter
    )
    usual = statistics.median(walls["plain"]) * 1e3
    print(f"\n{contest.name}: plain {usual:.2f} ms, median of {len(walls['plain'])}")
    found: dict[str, dict[str, float | bool]] = {}
    for name in list(runs)[1:]:
        wall = ratio(walls[name], walls["plain"])
        cpu = ratio(used[name][1:], used["plain"][1:])
        above = statistics.median(a - b for a, b in zip(walls[name], walls["plain"], strict=True)) * 1e3
        line = f"  {name:18} {wall!s:25} CPU {cpu!s:25} {above:+9.2f} ms"
        found[name] = {"wall": wall.value, "cpu": cpu.value, "above_ms": above}
        if name in contest.bars:
            bar = contest.bars[name]
            reached = above if contest.above else (wall if name in contest.on_the_wall else cpu).value
            found[name] |= {"bar": bar, "met": reached <= bar}
            line += f"   bar {bar}{' ms' if contest.above else 'x'}: {'met' if reached <= bar else 'MISSED'}"
        print(line)
    return found


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, metavar="MiB")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where the files lie (in memory, if there is room)")
    parser.add_argument("--quick", action="store_true", help="32 MiB, three rounds, and no bar fails")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there, too")
    options = parser.parse_args()
    size, rounds = (32, 3) if options.quick else (options.size, options.rounds)
    place = Place(folder_for(options.folder, size * PART))
    print(f"{size} MiB in {place.folder.parent}, {rounds} rounds", end="; ")
    try:
        with place.plain.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(PART))
        place.small.write_bytes(os.urandom(SMALL))
        place.prepare()
        print("times of plain, its 95 % interval, and milliseconds above it")
        found = {contest.name: judge(contest, rounds) for contest in (make(place) for make in CONTESTS)}
        extra = memory(place)
    finally:
        shutil.rmtree(place.folder)
    print("\nmemory above the plaintext, for each thread")
    for name, mib in extra.items():
        print(
            f"  {name:18} {mib:6.2f} MiB   bar {MEMORY_BAR} MiB: {'met' if mib <= MEMORY_BAR else 'MISSED'}"
        )
    for package in ("pyrage", "tink"):
        if not peers.here(package):
            print(f"{package} is not installed: {peers.INSTALL}")
    missed = [entry for contest in found.values() for entry in contest.values() if not entry.get("met", True)]
    met = not missed and all(mib <= MEMORY_BAR for mib in extra.values())
    if options.json:
        options.json.write_text(
            json.dumps({"contests": found, "memory": extra, "met": met}), encoding="utf-8"
        )
    return 0 if met or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
