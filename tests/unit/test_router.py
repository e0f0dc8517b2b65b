"""The router over runners that are no services: who is asked, who answers, and what is observed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.calls import Call, Cancelled, Late, Unavailable
from bento_rollout.feed import Feed
from bento_rollout.opening import open_state
from bento_rollout.records import Fact, Observation, Outcome, Plan, Reason
from bento_rollout.router import Router
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.sqlite import SQLiteStore

ENDPOINTS = ("predict", "explain")


class Local:
    """A runner that calls a function in this process."""

    limit = None

    def __init__(
        self, name: str, answer: Any = None, *, ready: bool = True, offers: Sequence[str] = ENDPOINTS
    ) -> None:
        self.name, self.answer, self.ready, self._offers = name, answer, ready, offers
        self.calls = 0

    def offers(self, endpoint: str) -> bool:
        """Whether it has the endpoint."""
        return endpoint in self._offers

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Answer, or do what the test asks for."""
        self.calls += 1
        return await self.answer(*args) if callable(self.answer) else self.name

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Stream the answer's items."""
        self.calls += 1
        if callable(self.answer):
            async for item in self.answer(*args):
                yield item
        else:
            yield self.name


class Facts:
    """Keeps observations."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def offer(self, fact: Fact) -> None:
        """Keep one."""
        assert isinstance(fact, Observation)
        self.seen.append(fact)


class ClientError(Exception):
    """The caller's fault."""


def plainly(
    work: Coroutine[Any, Any, Any], *, apart: bool = False
) -> tuple[asyncio.Task[Any], Callable[[bool], None]]:
    """Start work that has no response to hold back."""
    assert not apart
    return asyncio.ensure_future(work), lambda _: None


async def as_it_is(value: Any, variant: str) -> Any:
    """Change nothing."""
    return value


class Bench:
    """A router with its runners and facts."""

    def __init__(self, folder: Path, one: Local, *others: Local, granted: Any = None, **spec: Any) -> None:
        self.runners = {runner.name: runner for runner in (one, *others)}
        digests = dict.fromkeys(self.runners, "d")
        store = SQLiteStore(folder / "s.db", create=True)
        parsed = RolloutSpec.parse({"name": "bench", **spec})
        commit = open_state(store, "bench", one.name, parsed, digests)
        self.facts = Facts()
        now = {**digests, **(granted or {})}
        self.router = Router(
            Feed(store, commit),
            self.runners,
            parsed,
            self.facts,
            lambda error: isinstance(error, ClientError),
            plainly,
            now,
        )

    def ask(self, *args: Any, endpoint: str = "predict", key: object = None) -> tuple[Any, Plan]:
        """Plan and run one call; return the answer and who gave it."""
        call = Call(endpoint, "id")

        async def work() -> Any:
            return await self.router.call(call, self.router.plan(call, key), args, {}, as_it_is)

        return asyncio.run(work()), call.plans[0]

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Return what was observed."""
        return [(fact.variant, fact.outcome) for fact in self.facts.seen]


ALL_TWO: dict[str, Any] = {"weights": {"two": 100}}
GUARDED: dict[str, Any] = {**ALL_TWO, "variants": {"two": {"timeout": 0.05, "fallback": "champion"}}}


async def bug(*args: Any) -> Any:
    """Fail."""
    raise RuntimeError


async def hang(*args: Any) -> Any:
    """Never answer."""
    await asyncio.sleep(20)


async def cancel(*args: Any) -> Any:
    """Cancel oneself."""
    raise asyncio.CancelledError


async def refuse(*args: Any) -> Any:
    """Blame the caller."""
    raise ClientError


@pytest.mark.parametrize(
    ("answer", "outcome"), [(bug, Outcome.ERROR), (hang, Outcome.TIMEOUT), (cancel, Outcome.ERROR)]
)
def test_the_champion_answers_for_a_candidate_that_fails(
    answer: Any, outcome: Outcome, tmp_path: Path
) -> None:
    """One observation each: the failure is the candidate's, the answer the champion's."""
    bench = Bench(tmp_path, Local("one"), Local("two", answer), **GUARDED)
    assert bench.ask() == ("one", Plan("one", 1, Reason.FALLBACK))
    assert bench.outcomes() == [("two", outcome), ("one", Outcome.OK)]


def test_a_slow_candidate_has_a_limit_and_a_bounded_queue(tmp_path: Path) -> None:
    """Two run, one waits, the others are answered by the champion at once; afterwards there is room again."""
    limits = {"fallback": "champion", "max_concurrency": 2, "max_pending": 1}
    most = running = 0

    async def slow(*_: Any) -> str:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return "two"

    bench = Bench(tmp_path, Local("one"), Local("two", slow), **ALL_TWO, variants={"two": limits})

    async def many(count: int) -> list[str]:
        calls = [Call("predict", str(number)) for number in range(count)]
        work = (bench.router.call(c, bench.router.plan(c), (), {}, as_it_is) for c in calls)
        return sorted(await asyncio.gather(*work))

    async def story() -> None:
        assert await many(8) == ["one"] * 5 + ["two"] * 3
        assert await many(3) == ["two"] * 3

    asyncio.run(story())
    assert most == 2
    assert bench.outcomes().count(("two", Outcome.UNAVAILABLE)) == 5


def test_the_limit_of_a_champion_does_not_hold(tmp_path: Path) -> None:
    """It is a candidate's: a variant that was made champion answers everybody."""
    limits = {"max_concurrency": 1, "max_pending": 1}

    async def slow(*_: Any) -> str:
        await asyncio.sleep(0.01)
        return "one"

    bench = Bench(tmp_path, Local("one", slow), Local("two"), variants={"one": limits})

    async def many() -> list[str]:
        calls = [Call("predict", str(number)) for number in range(8)]
        work = (bench.router.call(c, bench.router.plan(c), (), {}, as_it_is) for c in calls)
        return list(await asyncio.gather(*work))

    assert asyncio.run(many()) == ["one"] * 8


def test_a_client_error_is_an_answer(tmp_path: Path) -> None:
    """No fallback for what is the caller's fault."""
    bench = Bench(tmp_path, Local("one"), Local("two", refuse), **GUARDED)
    with pytest.raises(ClientError):
        bench.ask()
    assert bench.outcomes() == [("two", Outcome.CLIENT_ERROR)]


@pytest.mark.parametrize(("answer", "error"), [(bug, RuntimeError), (hang, Late), (cancel, Cancelled)])
def test_without_fallback_the_error_is_the_callers(
    answer: Any, error: type[Exception], tmp_path: Path
) -> None:
    """As the variant raised it; a late one is `Late`."""
    bench = Bench(
        tmp_path, Local("one"), Local("two", answer), **ALL_TWO, variants={"two": {"timeout": 0.05}}
    )
    with pytest.raises(error):
        bench.ask()


def test_the_champions_input_is_not_what_the_candidate_made_of_it(tmp_path: Path) -> None:
    """The candidate spoils a list before it fails."""

    async def spoil(rows: list[int]) -> None:
        rows.clear()
        raise RuntimeError

    async def count(rows: list[int]) -> int:
        return len(rows)

    bench = Bench(tmp_path, Local("one", count), Local("two", spoil), **GUARDED)
    assert bench.ask([1, 2])[0] == 2


def test_who_stands_in_when_the_champion_cannot(tmp_path: Path) -> None:
    """A candidate that is not ready is `unavailable`; with nobody ready the caller is told."""
    bench = Bench(tmp_path, Local("one"), Local("two", ready=False), **ALL_TWO)
    assert bench.ask()[1].reason is Reason.UNAVAILABLE
    bench.runners["one"].ready = False
    with pytest.raises(Unavailable):
        bench.ask()
    assert bench.outcomes()[-1] == ("one", Outcome.UNAVAILABLE)


def test_traffic_is_granted_to_a_digest(tmp_path: Path) -> None:
    """A candidate whose code is another one than the state's is not trusted with its weight."""
    bench = Bench(tmp_path, Local("one"), Local("two"), granted={"two": "another"}, **ALL_TWO)
    answer, plan = bench.ask()
    assert (answer, plan.variant, plan.reason) == ("one", "one", Reason.UNAVAILABLE)
    assert bench.runners["two"].calls == 0


def test_an_endpoint_that_is_not_routed_is_answered_by_who_offers_it(tmp_path: Path) -> None:
    """The champion, or the decorated service where a new champion does not have the endpoint."""
    two = Local("two", offers=["predict"])
    bench = Bench(tmp_path, Local("one"), two, **ALL_TWO, endpoints=["predict"])
    assert bench.ask()[1].variant == "two"
    assert bench.ask(endpoint="explain")[1] == Plan("one", 1, Reason.DEFAULT)


def test_keys_stick_and_odd_ones_are_drawn(tmp_path: Path) -> None:
    """The same key gets the same variant; one that cannot be hashed gets any."""
    bench = Bench(tmp_path, Local("one"), Local("two"), weights={"two": 50})
    for key in ("a", "b", "c", 7):
        assert len({bench.ask(key=key)[1].variant for _ in range(5)}) == 1
    assert {bench.ask(key=[])[1].variant for _ in range(60)} == {"one", "two"}
    assert bench.ask(key=float("nan"))[1].reason is Reason.NO_KEY


def items_of(bench: Bench, *args: Any) -> tuple[list[Any], Plan]:
    """Stream one call to its end."""
    call = Call("predict", "id")

    async def work() -> list[Any]:
        return [item async for item in bench.router.stream(call, bench.router.plan(call), args, {})]

    return asyncio.run(work()), call.plans[0]


def streaming(*steps: Any) -> Callable[..., AsyncGenerator[Any, None]]:
    """Return a stream of values; a function among them is awaited."""

    async def stream(*args: Any) -> AsyncGenerator[Any, None]:
        for step in steps:
            if callable(step):
                await step()
            else:
                yield step

    return stream


@pytest.mark.parametrize(
    ("steps", "items", "outcomes"),
    [
        ([1, 2], [1, 2], [("two", Outcome.OK)]),
        ([], [], [("two", Outcome.OK)]),
        ([bug], ["one"], [("two", Outcome.ERROR), ("one", Outcome.OK)]),
        ([hang], ["one"], [("two", Outcome.TIMEOUT), ("one", Outcome.OK)]),
        ([cancel], ["one"], [("two", Outcome.ERROR), ("one", Outcome.OK)]),
    ],
)
def test_a_stream_falls_back_before_its_first_item(
    steps: Any, items: list[Any], outcomes: Any, tmp_path: Path
) -> None:
    """One observation for each run, whatever its length."""
    bench = Bench(tmp_path, Local("one"), Local("two", streaming(*steps)), **GUARDED)
    assert items_of(bench)[0] == items
    assert bench.outcomes() == outcomes


def test_a_stream_that_fails_later_is_observed_once(tmp_path: Path) -> None:
    """Its error is the caller's; the fact is the stream's end, with the time to its first item."""
    bench = Bench(tmp_path, Local("one"), Local("two", streaming(1, bug)), **GUARDED)
    with pytest.raises(RuntimeError):
        items_of(bench)
    assert bench.outcomes() == [("two", Outcome.ERROR)]


def test_a_stream_that_is_closed_early_is_disconnected(tmp_path: Path) -> None:
    """Whether it was closed or its reader was cancelled."""
    bench = Bench(tmp_path, Local("one", streaming(1, hang)))

    async def leave(*, cancelling: bool) -> None:
        call = Call("predict", "id")
        items = bench.router.stream(call, bench.router.plan(call), (), {})
        await items.__anext__()
        if cancelling:
            waiting = asyncio.ensure_future(items.__anext__())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait({waiting})
        await items.aclose()

    asyncio.run(leave(cancelling=False))
    asyncio.run(leave(cancelling=True))
    assert bench.outcomes() == [("one", Outcome.DISCONNECTED)] * 2


def test_a_guarded_variant_has_all_the_time_once_it_is_champion(tmp_path: Path) -> None:
    """Its fallback would be itself, so its time limit could only turn an answer into an error."""

    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "late"

    bench = Bench(tmp_path, Local("one", slow), variants={"one": {"timeout": 0.05, "fallback": "champion"}})
    assert bench.ask()[0] == "late"


def test_a_candidate_that_raises_generator_exit_only_fails(tmp_path: Path) -> None:
    """The champion answers, and nobody waits for ever."""

    async def leave() -> None:
        raise GeneratorExit

    bench = Bench(tmp_path, Local("one"), Local("two", leave), **GUARDED)
    answer, plan = bench.ask()
    assert (answer, plan.variant) == (bench.ask()[0], "one")


# -- who was lost ----------------------------------------------------------------------------------------


def test_a_candidate_that_was_lost_is_named(tmp_path: Path) -> None:
    """Chance meant it, and it had been ready here: its error, whoever answers."""
    two = Local("two")
    bench = Bench(tmp_path, Local("one"), two, **ALL_TWO)
    two.ready = False
    plan = bench.ask(key="u1")[1]
    assert (plan.variant, plan.reason, plan.missed) == ("one", Reason.UNAVAILABLE, "two")
    rows = bench.router.plan_rows(Call("predict", "id"), ["u1", None])
    assert [row.missed for row in rows] == ["two", "two"]
    two.ready = True
    assert bench.ask(key="u1")[1].missed is None


def test_a_candidate_that_never_was_there_is_not(tmp_path: Path) -> None:
    """Before it is ready it has not begun; from then on it may be lost."""
    two = Local("two", ready=False)
    bench = Bench(tmp_path, Local("one"), two, **ALL_TWO)
    assert bench.ask()[1].missed is None
    bench.router.been_ready.add("two")
    assert bench.ask()[1].missed == "two"


@pytest.mark.parametrize("how", ["held", "missing", "pinned"])
def test_what_is_nobody_s_fault_is_not(how: str, tmp_path: Path) -> None:
    """A candidate whose code is another, one that the code has not, and a caller's own wish."""
    two = Local("two")
    bench = Bench(tmp_path, Local("one"), two, **ALL_TWO, granted={"two": "new"} if how == "held" else {})
    call = Call("predict", "id", pinned="two" if how == "pinned" else None)
    if how == "missing":
        del bench.runners["two"]
        bench.router.been_ready.discard("two")
    two.ready = how == "held"
    plan = bench.router.plan(call, "u1")
    assert (plan.variant, plan.reason, plan.missed) == ("one", Reason.UNAVAILABLE, None)


def test_without_a_store_only_the_champion_answers(tmp_path: Path) -> None:
    """Once its lease has run out a worker obeys no weights, targets and pins, and watches nothing."""
    more = {"targets": {"b": {"keys": ["vip"]}}, "weights": {"b": 90}, "shadow": {"b": {"percent": 100}}}
    bench = Bench(tmp_path, Local("a"), Local("b"), **more)
    for key in ("vip", "p-1", "p-2", "p-3", None):
        call = Call("predict", "id", obeys="champion", stale=12, pinned="b")
        plan = bench.router.plan(call, key)
        assert (plan.variant, plan.revision, plan.reason, plan.bucket) == ("a", 1, Reason.UNAVAILABLE, None)
        assert (call.keys, call.watch) == ((key,), None)
    rows = Call("predict", "id", obeys="champion", stale=12)
    plans = bench.router.plan_rows(rows, ["vip", "p-1", None])
    assert [(plan.variant, plan.reason) for plan in plans] == [("a", Reason.UNAVAILABLE)] * 3
    assert (rows.keys, rows.row_watch, rows.watch) == (("vip", "p-1", None), None, None)
    assert bench.router.plan(Call("predict", "id", stale=5), "vip").variant == "b"


def test_without_a_store_nobody_may_answer(tmp_path: Path) -> None:
    """A worker that refuses refuses every endpoint and each of its rows, before any variant runs."""
    bench = Bench(tmp_path, Local("a"), Local("b"), endpoints=["predict"])
    for endpoint in ENDPOINTS:
        with pytest.raises(Unavailable, match="12 s"):
            bench.router.plan(Call(endpoint, "id", obeys="refuse", stale=12), "p-1")
    with pytest.raises(Unavailable):
        bench.router.plan_rows(Call("predict", "id", obeys="refuse", stale=12), ["p-1"])
    assert [runner.calls for runner in bench.runners.values()] == [0, 0]
