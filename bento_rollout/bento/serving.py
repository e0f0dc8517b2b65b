"""`Serving`: the rollout of one service in one worker: its runners, its router, and who follows the state."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from _bentoml_sdk.service import set_current_service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from ..calls import Call
from ..code_part import code_digest
from ..contact import Contact
from ..errors import InvalidSpec
from ..feed import Feed
from ..opening import check_champion
from ..precedence import DRIFT, TRY
from ..records import Flipped, Plan, Readiness
from ..router import Router
from ..spec import KeySource
from ..state import RolloutState
from ..store.presence import Card
from ..telemetry import log
from ..telemetry.spans import Spans
from ..worker import Worker
from . import batch_metric
from .answered import Answered
from .calling import CurrentService, Inside
from .cards import card_of
from .context import ACTIVE, isolate, left
from .converting import converter_between
from .deploying import broken_candidates, is_deployed
from .endpoints import Facade, Noting
from .followed import followed, newest_spec
from .method import RUNTIME
from .quieting import quieten
from .recording import FAREWELL, Recording, strategy_of
from .shadows import BentoShadows
from .tasks import Tasks
from .tracing import spans_of
from .variants import Definition
from .worker_runner import WorkerRunner

if TYPE_CHECKING:
    from ..reviewing import Decision
    from .doors import Doors
    from .leading import Leading
    from .people import People
    from .process_runner import ProcessRunner
    from .remote import Remote
    from .site import Site
    from .watching_drift import WatchingDrift

__all__ = ["Serving", "runner_for"]

AnyRunner = Union[WorkerRunner, "ProcessRunner", "Remote"]

PATIENCE = 10.0
"""Seconds that a worker waits for its candidates before it serves without those that are still starting."""

SCRAPE = 1.0
"""Seconds that a scrape waits for the newest numbers before it takes those that are there."""


class Serving:
    """One worker's part.

    Args:
        site: the rollout as it was defined.

    Attributes:
        tasks: what is known of tasks beside their results.
        spans: makes this worker's spans, once it has begun.
    """

    def __init__(self, site: Site) -> None:
        self.tasks = Tasks(BentoMLContainer.result_store_file.get, self._replan)
        self.spans: Spans
        self._site = site
        self._digests, self._models = site.digests(), site.models()
        site.code = code_digest(site.spec, self._digests)
        self._runners: dict[str, AnyRunner] = {}
        self._facades: dict[str, Facade] = {}
        self._router: Router | None = None
        self._feed: Feed | None = None
        self._worker: Worker | None = None
        self._shadows: BentoShadows | None = None
        self._recording: Recording | None = None
        self._leading: Leading | None = None
        self._drift: WatchingDrift | None = None
        self._people: People | None = None
        self._doors: Doors | None = None
        self._starting: set[asyncio.Future[None]] = set()
        self._told: dict[str, Readiness] = {}

    # -- what the middleware asks ----------------------------------------------------------------------

    def plan_from_head(self, call: Call, scope: Mapping[str, Any]) -> tuple[Plan | None, object]:
        """Return a call's plan and key when the request's head is enough to know them."""
        facade = self._facades.get(call.endpoint)
        return (None, None) if facade is None else facade.plan_from_head(call, scope)

    @property
    def contact(self) -> Contact | None:
        """Whether the store is within reach; None: it always is."""
        return None if self._feed is None else self._feed.contact

    @property
    def doors(self) -> Doors:
        """What serves all that lies under ``/rollout``."""
        if self._doors is None:
            from .doors import Doors  # most workers are never asked

            assert self._feed is not None  # requests come after the start
            self._doors = Doors(self._site, self._feed, self._people)
        return self._doors

    # -- its life --------------------------------------------------------------------------------------

    async def start(self, outermost: Any = None) -> None:
        """Begin; called when the service has started, before it takes requests.

        Args:
            outermost: the application as the server calls it.
        """
        site = self._site
        store, feed = followed(site, self._digests, lambda name: not self._told or self._runners[name].ready)
        self._check_champion(feed.commit.state)
        await self._start_runners(feed.commit.state.champion)
        self._feed = feed
        recording = self._recording = Recording(site, feed, store.place(site.name))
        self.spans = spans_of(site.name)
        quieten(outermost, self.spans.is_own, self.spans.is_taken)
        self._router = Router(
            feed, self._runners, site.spec, recording.sink, is_client_error, isolate, self._digests
        )
        self._router.runs.spans, self._router.runs.is_error = self.spans, site.is_error
        recording.begin(self.spans)
        self._serve(self._router)
        if site.spec.automation:
            from .staffing import staffed  # most services ask nobody

            ways = self.tell, self.tasks.record
            facts = recording, self._digests, is_client_error
            self._people = staffed(site, self._facades, self._router, (feed, store), *facts, ways)
        self._tell()
        loop = asyncio.get_running_loop()
        self._worker = Worker(store, feed, site.before, site.after, self._card, self._lend, loop)
        self._shadows = BentoShadows(
            site, self._runners, self._router, self._digests, is_client_error, runner_for, recording.sink
        )
        self._worker.spans = self.spans
        if recording.sink.wants(Flipped):
            self._worker.flips.tell = recording.sink.offer
        self._worker.each_second = recording.look
        self._shadows.begin(store.place(site.name), self._worker.presence)
        await asyncio.to_thread(self._worker.start)
        if strategy_of(site, feed) is not None or (site.notify and site.spec.automation):
            from .leading import Leading  # most services have no use for it

            self._leading = Leading(site, store, loop)
            self._leading.start()
        if site.spec.drift is not None:
            from .watching_drift import WatchingDrift  # as above

            self._drift = WatchingDrift(site, store, feed, recording, loop)
            self._drift.start(self._facades)
            self.spans.drift = {self._drift.endpoint: self._drift.switch}

    def tell(self, call: Call) -> None:
        """Tell of a call whose answer is out, or whose task is done; never raises."""
        if call.deciding is not None and call.deciding.running:
            call.deciding.owed = True  # whoever lets the model run tells of it then
        elif self._recording is not None:
            self._recording.tell(call)

    async def scraped(self) -> None:
        """Bring the metrics up to now, because somebody is about to read them; takes a second at most."""
        if self._recording is not None and (metrics := self._recording.metrics) is not None:
            await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(metrics.scraped))}, timeout=SCRAPE)

    async def decision(self, case: str) -> Decision | None:
        """Return where the case that a task waits for stands; None: that is not known."""
        return None if self._people is None or not case else await self._people.decision(case)

    def hand_over(self, call: Call) -> None:
        """Give a call to those who shadow it, when its answer is out; never raises."""
        if self._router is not None:
            self._router.hand_over(call)

    async def stop(self) -> None:
        """End; called before the service's own shutdown hooks."""
        if self._people is not None:
            self._people.unhear()
            await asyncio.to_thread(self._people.close, FAREWELL)
        if self._shadows is not None:
            await self._shadows.close()
        if self._leading is not None:
            await asyncio.to_thread(self._leading.stop)
        if self._drift is not None:
            await asyncio.to_thread(self._drift.stop)
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)
        for task in self._starting:
            task.cancel()
        for name, runner in self._runners.items():
            try:
                await runner.close()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it must not cost the champion's
                facts = {"rollout": self._site.name, "variant": name, "error": log.described(error)}
                log.event("variant.shutdown_failed", "error", **facts)
        if self._recording is not None:
            await asyncio.to_thread(self._recording.close)

    def _check_champion(self, state: RolloutState) -> None:
        """Refuse to start with an unknown champion, unless this worker only takes another one's place."""
        try:
            check_champion(state, self._digests)
        except InvalidSpec as error:
            if not is_deployed():
                raise
            problem = f"{error}; until then whoever was champion before it answers"
            log.event("rollout.unknown_champion", "error", rollout=state.name, problem=problem)

    async def _start_runners(self, champion: str) -> None:
        site, broken = self._site, broken_candidates()
        self._runners = {name: self._runner(definition) for name, definition in site.definitions.items()}
        for runner in self._runners.values():
            runner.rollout = site.name
        self._own.adopt(site.instance, site.methods)
        waits = []
        for name, runner in list(self._runners.items())[1:]:
            if name in broken:
                runner.state, runner.error = "failed", broken[name]
                continue
            task = asyncio.ensure_future(self._start_runner(runner))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
            waits.append(task)
            if name == champion:
                await task  # the champion's start is the service's start
                await self._settled(runner)
        if waits:
            await asyncio.wait(waits, timeout=PATIENCE)

    def _runner(self, definition: Definition) -> AnyRunner:
        site = self._site
        if definition.runner == "worker":
            return runner_for(site, definition)
        if definition.runner == "process":
            from .process_runner import ProcessRunner

            digest = self._digests[definition.name]
            return ProcessRunner(definition, site.service, digest, self._changed)
        parts = definition, site.methods, site.service.context, self._changed
        if definition.runner == "url":
            from .url_runner import UrlRunner

            return UrlRunner(*parts, endpoints=site.spec.endpoints or tuple(site.methods))
        from .service_runner import ServiceRunner, where

        if where(definition.service) is not None:
            return ServiceRunner(*parts)
        facts = {"variant": definition.name, "service": definition.service.name}
        hint = "this server starts no other services (as in development); it runs in the worker"
        log.event("variant.not_apart", "warning", rollout=site.name, **facts, hint=hint)
        return runner_for(site, definition)

    async def _settled(self, runner: AnyRunner) -> None:
        """Wait a while for a champion that is served elsewhere, and starts when this worker does."""
        if not isinstance(runner, WorkerRunner) and hasattr(runner, "settled"):
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(runner.settled(), PATIENCE)

    def _tell(self) -> None:
        """Give the sink what is new about the variants' states."""
        if self._recording is None:
            return
        for name, runner in self._runners.items():
            if runner.ready and self._router is not None:
                self._router.been_ready.add(name)
            fact = Readiness(self._site.name, name, runner.kind, runner.state, runner.restarts)
            if self._told.get(name) != fact:
                self._told[name] = fact
                self._recording.sink.offer(fact)

    def _changed(self) -> None:
        """Tell what a variant has become, and write it on this worker's card."""
        self._tell()
        if self._worker is not None:
            work = asyncio.ensure_future(asyncio.to_thread(self._worker.refresh))
            self._starting.add(work)
            work.add_done_callback(self._starting.discard)

    async def _start_runner(self, runner: AnyRunner) -> None:
        await runner.start()
        if runner.state == "failed":
            facts = {"rollout": self._site.name, "variant": runner.name, "error": runner.error}
            log.event("variant.failed", "error", **facts)
        self._tell()
        if self._worker is not None:
            await asyncio.to_thread(self._worker.refresh)

    def _serve(self, router: Router) -> None:
        """Let the instance's endpoints route from now on."""
        site, spec = self._site, self._site.spec
        instance, champion = site.instance, self._own
        proxy = instance.__self_proxy__
        for endpoint, method in site.methods.items():
            routed = spec.endpoints is None or endpoint in spec.endpoints
            sources = spec.routing.sources(endpoint) if routed else ()
            outside = functools.partial(getattr, proxy, endpoint)
            parts = method, router, self._runners, champion, outside
            ids = spec.routing.id_sources(endpoint)
            facade = self._facades[endpoint] = self._facade(sources, ids, *parts)
            site.service.apis[endpoint].output_spec = facade.output_spec
        instance.to_async = Inside("to_async", champion.calls, instance.to_async)
        instance.to_sync = Inside("to_sync", champion.calls, instance.to_sync)
        instance.__dict__[RUNTIME] = self._facades
        set_current_service(CurrentService(instance))

    def _facade(self, sources: Sequence[KeySource], ids: Sequence[KeySource], *parts: Any) -> Facade:
        spec = self._site.spec
        wanted, watched = spec.log.inputs or spec.ledger.inputs, parts[0].name == self._site.watched
        noting = Noting(ids, wanted, watched, self.tasks.record, self.tell)
        if not any(source.kind == "rows" for source in sources):
            return Facade(*parts, sources=sources, noting=noting)
        from .row_endpoints import RowsFacade  # rows bring numpy, and code that most services never run

        return RowsFacade(*parts, source=sources[0], atomic=spec.routing.rows_atomic, noting=noting)

    @property
    def _own(self) -> WorkerRunner:
        """The decorated service's own runner."""
        own = self._runners[self._site.champion]
        assert isinstance(own, WorkerRunner)
        return own

    # -- what the worker says of itself ----------------------------------------------------------------

    def _card(self) -> Card:
        spec, parts = newest_spec(self._site, self._feed), (self._runners, self._digests, self._models)
        duties = [name for name, part in ((TRY, self._leading), (DRIFT, self._drift)) if part is not None]
        return card_of(self._site, spec, *parts, duties)

    @contextlib.contextmanager
    def _lend(self, variant: str) -> Iterator[Any]:
        """Give hooks a variant's instance, whose endpoints are its own meanwhile; None: it is not ready."""
        runner = self._runners.get(variant)
        if runner is None or not runner.ready:
            yield None
            return
        if not isinstance(runner, WorkerRunner):
            yield runner.instance
            return
        token = ACTIVE.set(runner)
        try:
            yield runner.instance
        finally:
            left(token)

    def _replan(self, call: Call, key: object) -> Plan:
        assert self._router is not None  # requests come after the start
        return self._router.plan(call, key)


def runner_for(site: Site, definition: Definition) -> WorkerRunner:
    """Return what runs a variant in this process."""
    threads = int(definition.service.config.get("threads", 1) or 1)
    converters = {}
    if definition.name != site.champion:
        for endpoint in definition.offers:
            found = converter_between(site.methods[endpoint], definition.service.apis[endpoint])
            converters.update({} if found is None else {endpoint: found})
    sizes = [method.max_batch_size for method in site.methods.values() if method.batchable]
    observe = functools.partial(batch_metric.observe, site.service.name, max(sizes, default=100))
    return WorkerRunner(definition, site.service.context, threads, observe, converters)


def is_client_error(error: BaseException) -> bool:
    """Whether an exception is the caller's fault: one that BentoML answers with 4xx.

    A validation error is not: it was raised by the variant's own code or for its own output, since the input
    had been valid before.
    """
    if isinstance(error, ValidationError):
        return False
    if isinstance(error, Answered) and error.failed:
        return False
    return isinstance(error, BentoMLException) and 400 <= error.error_code.value < 500  # noqa: PLR2004 - HTTP
