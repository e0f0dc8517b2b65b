"""`Metrics`: what a worker tells Prometheus, beside BentoML's own metrics and on its own route."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from bentoml._internal.configuration.containers import BentoMLContainer

from ..feed import Feed
from ..records import Fact
from ..telemetry import log
from ..telemetry.channel import Channel
from ..telemetry.measures import (
    BUCKETS,
    LOST,
    SPEC_REFUSED,
    STALE,
    STORE_AGE,
    WAITING,
    WORKERS,
    Gathered,
    Measure,
    Sample,
    Series,
    gathered,
)
from ..telemetry.state_samples import known, state_samples

__all__ = ["Lossy", "Metrics", "metrics_are_on"]

FLUSH = 1.0
"""Seconds for which a scrape waits for what was told before it."""


class Lossy(Protocol):
    """What takes facts, and may lose some."""

    @property
    def lost(self) -> int:
        """How many were lost since the worker began."""

    @property
    def waiting(self) -> int:
        """How many wait now."""


class Metrics:
    """The metrics of one rollout in one worker.

    Facts are added up away from requests, in batches; gauges are set each second, and when somebody looks.

    Args:
        feed: what this worker serves by.
        endpoints, variants: what the service has, by name.
        channels: who may lose facts, by name; read at each look, so others may join later.
    """

    def __init__(
        self, feed: Feed, endpoints: Sequence[str], variants: Sequence[str], channels: Mapping[str, Lossy]
    ) -> None:
        self._feed, self._endpoints, self._variants, self._channels = feed, endpoints, variants, channels
        self._channel: Channel[Fact] = Channel("rollout-metrics", self._take)
        self._looking = threading.Lock()
        self._lost: dict[str, int] = {}
        self._stale: dict[str, int] = {}
        self._spoilt = 0
        self._once = log.Once()

    @property
    def lost(self) -> int:
        """How many facts found no room, and how many numbers could not be told."""
        return self._channel.lost + self._spoilt

    @property
    def waiting(self) -> int:
        """How many facts are not added up yet."""
        return self._channel.waiting

    def offer(self, fact: Fact) -> None:
        """Take a fact; never blocks, never raises."""
        self._channel.offer(fact)

    def scraped(self) -> None:
        """Bring all numbers up to now: somebody is about to read them. Not on a loop; never raises."""
        with suppress(Exception):
            self._channel.flush(FLUSH)
            _forget_dead()
            self.refresh()

    def refresh(self) -> None:
        """Set the gauges, and count what was lost; called each second. Not on a loop; never raises."""
        with self._looking, suppress(Exception):
            self._put(self._standing())

    def close(self, timeout: float) -> None:
        """Add up what waits; called when the worker ends."""
        self._channel.close(timeout)

    def count_lost(self) -> None:
        """Count what was lost, and nothing else: a worker that ends does so last. Never raises."""
        with self._looking, suppress(Exception):
            now = Gathered()
            now.take(self._newly_lost())
            now.take(self._newly_stale())
            self._put(now)

    def _standing(self) -> Gathered:
        """Return how things stand in this worker."""
        feed, name, now = self._feed, self._feed.name, Gathered()
        if not self._lost:
            _make_room_for_bentoml()
            now.take((series, 0) for series in known(name, self._endpoints, self._variants, self._channels))
        feed.table()  # fresh, for the price of a look at the counter
        now.take(state_samples(feed.commit.state, self._variants))
        now.take([(Series(WORKERS, (name,)), 1), (Series(STORE_AGE, (name,)), feed.age)])
        now.take([(Series(SPEC_REFUSED, (name,)), float(feed.refused))])
        for channel, one in list(self._channels.items()):
            now.take([(Series(WAITING, (name, channel)), one.waiting)])
        now.take(self._newly_lost())
        now.take(self._newly_stale())
        return now

    def _newly_stale(self) -> Iterator[Sample]:
        """Yield what was answered without a connection since the last time."""
        if (contact := self._feed.contact) is None:
            return
        for obeyed, count in list(contact.answers.items()):
            before, self._stale[obeyed] = self._stale.get(obeyed, 0), count
            yield Series(STALE, (self._feed.name, obeyed)), count - before

    def _newly_lost(self) -> Iterator[Sample]:
        """Yield what was lost since the last time."""
        for channel, one in list(self._channels.items()):
            lost, before = one.lost, self._lost.get(channel, 0)
            self._lost[channel] = lost
            yield Series(LOST, (self._feed.name, channel)), max(0, lost - before)

    def _take(self, facts: Iterable[Fact]) -> None:
        self._put(gathered(facts))

    def _put(self, what: Gathered) -> None:
        """Give numbers to prometheus_client; one that it does not take is counted, and costs no other."""
        bound = _bound
        for series, amount in what.added.items():
            with self._guard():
                bound(series).inc(amount)
        for series, values in what.observed.items():
            with self._guard():
                observe = bound(series).observe
                for value in values:
                    observe(value)
        for series, value in what.now.items():
            with self._guard():
                bound(series).set(value)

    def _guard(self) -> _Guard:
        return _Guard(self)

    def spoil(self, error: BaseException) -> None:
        """Count a number that could not be told, and say so once for each kind of failure."""
        self._spoilt += 1
        kind = type(error).__name__
        facts = {"rollout": self._feed.name, "error": log.described(error)}
        self._once.say(kind, "metrics.failed", "error", **facts, hint="further ones are only counted")


class _Guard:
    """Keeps what prometheus_client raises for one number from all others."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, Exception):
            self._metrics.spoil(error)
            return True
        return False


def metrics_are_on() -> bool:
    """Whether BentoML serves metrics."""
    return bool(BentoMLContainer.api_server_config.metrics.enabled.get())


# -- prometheus_client, once for each process -------------------------------------------------------------

_parents: dict[Measure, Any] = {}
_children: dict[Series, Any] = {}
"""Bound once; what labels say comes from definitions, so there are not many."""
_making = threading.Lock()


def _bound(series: Series) -> Any:
    """Return what takes a series' numbers."""
    child = _children.get(series)
    if child is None:
        with _making:
            child = _children.get(series)
            if child is None:
                parent = _parents.get(series.measure) or _parents.setdefault(
                    series.measure, _made(series.measure)
                )
                _make_room(_file_of(series.measure))
                child = parent.labels(*(getattr(label, "value", label) for label in series.labels))
                _children[series] = child
    return child


def _made(measure: Measure) -> Any:
    """Return a new metric. Through BentoML's client: prometheus_client itself must not be imported before."""
    client = BentoMLContainer.metrics_client.get()
    more: dict[str, Any] = {}
    make = {"counter": client.Counter, "gauge": client.Gauge, "histogram": client.Histogram}[measure.kind]
    if measure.merge:
        more["multiprocess_mode"] = measure.merge
    if measure.kind == "histogram":
        more["buckets"] = BUCKETS
    return make(name=measure.name, documentation=measure.help, labelnames=measure.labels, **more)


FIRST, ROOM = 1 << 16, 1 << 14
"""Bytes of a process's file at first, and how much of it one more child may need."""


def _file_of(measure: Measure) -> str:
    """Return what the file that a metric is kept in is called, without its process."""
    return f"{measure.kind}_{measure.merge}" if measure.merge else measure.kind


def _make_room_for_bentoml() -> None:
    """Make it for BentoML's own metrics, too, before the first request: its write would end the worker."""
    for kind in ("counter", "histogram", "gauge_all", "gauge_livesum"):
        with suppress(OSError):  # it may be that there is none: nobody can help it
            _make_room(kind)


def _make_room(kind: str) -> None:
    """Give a file that metrics are kept in the blocks that it is about to need, or raise `OSError`.

    prometheus_client maps files with holes: a write to one on a full disk would end the worker (SIGBUS).
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    if not folder or not hasattr(os, "posix_fallocate"):
        return
    path = Path(folder, f"{kind}_{os.getpid()}.db")
    if not path.exists():  # whoever scrapes now must not find an empty one
        draft = path.with_suffix(".draft")
        _allocate(draft, FIRST)
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    with path.open("rb") as file:
        used, size = int.from_bytes(file.read(4), sys.byteorder), FIRST
    while size < used + ROOM:  # it grows like this, too
        size *= 2
    _allocate(path, size)


def _allocate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)


def forget() -> None:
    """Make everything anew when it is needed: for tests, which empty the registry between services."""
    _parents.clear()
    _children.clear()


def _forget_dead() -> None:
    """Remove what dead workers say of themselves as if they lived: one that was killed could not do it."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            client = BentoMLContainer.metrics_client.get().prometheus_client
            client.multiprocess.mark_process_dead(int(pid), folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True
