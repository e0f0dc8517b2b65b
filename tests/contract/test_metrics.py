"""``GET /metrics``: the numbers are there right after the requests, and say what the callers saw."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from bento_rollout import RolloutSpec, Variant, open_rollout, rollout
from bento_rollout.measuring import REFUSED
from bento_rollout.telemetry.measures import MEASURES
from tests.contract.serving import DEADLINE, Served, forget_metrics
from tests.scrapes import Scrape

NAME = "metered"
"""No other file's rollout is called so: prometheus_client's counters are the whole process's."""

SPEC = {
    "name": NAME,
    "routing": {"key": {"*": "header:x-user", "rows": "rows:rows.user"}, "override_header": True},
    "weights": {"two": 25},
    "variants": {"two": {"timeout": 5, "fallback": "champion"}},
    "shadow": {"two": {"percent": 50, "endpoints": ["watched"]}},
}


class Measured:
    """Answers with its word."""

    word = "one"

    @bentoml.api
    def sync(self, how: str) -> str:
        if how in (self.word, "breaks"):
            raise RuntimeError("a bug")
        return self.word

    @bentoml.api
    def watched(self, how: str) -> str:
        return self.word

    @bentoml.api
    async def stream(self, how: str) -> AsyncGenerator[str, None]:
        yield self.word
        if how == self.word:
            raise RuntimeError("a bug")
        yield "!"

    @bentoml.api
    def rows(self, rows: list[dict[str, str]]) -> list[str]:
        return [f"{self.word} {row['user']}" for row in rows]

    @bentoml.task
    def job(self, how: str) -> str:
        return f"{self.word} did it"


def service(name: str = NAME, **options: Any) -> Any:
    """Return the service under a name."""
    spec = RolloutSpec.parse({**SPEC, "name": name})
    made = bentoml.service(name=name, **options)(Measured)
    return rollout(champion="one", candidates={"two": Variant(attributes={"word": "two"})}, spec=spec)(made)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('measured') / 'store.db'}")
        served = Served(service()).start()
        yield served
        served.stop()


def whole_scrape(app: Served, path: str = "/metrics") -> Scrape:
    """Return what a scrape finds now, of whatever counts in this process."""
    answer = app.get(path)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def scraped(app: Served, path: str = "/metrics") -> Scrape:
    """Return what a scrape finds now of the service's rollout."""
    return whole_scrape(app, path).of(app.site.name)


def test_an_answer_is_counted_when_it_is_out(app: Served) -> None:
    """A scrape right after requests has them all, by who answered, why and how."""
    before = scraped(app)
    for pin, count in (("one", 3), ("two", 2)):
        for _ in range(count):
            app.post("/sync", {"how": "well"}, headers={"x-rollout-variant": pin})
    grown = scraped(app) - before
    labels = {"rollout": NAME, "endpoint": "sync"}
    pinned = {"reason": "pinned", "outcome": "ok"}
    assert grown("predictions_total", **labels) == 5
    assert grown("predictions_total", variant="one", **pinned) == 3
    assert grown("predictions_total", variant="two", **pinned) == 2
    assert grown("runs_total", variant="two", outcome="ok") == 2
    assert (
        grown("run_seconds_count", variant="two")
        == grown("run_seconds_bucket", variant="two", le="+Inf")
        == 2
    )
    assert 0 < grown("run_seconds_sum", variant="two") < 2


def test_a_fallback_is_counted_to_both(app: Served) -> None:
    """The candidate has the failed run, the champion the run and the prediction."""
    before = scraped(app)
    app.post("/sync", {"how": "two"}, headers={"x-rollout-variant": "two"})
    grown = scraped(app) - before
    assert grown("runs_total", variant="two", outcome="error") == 1
    assert grown("runs_total", variant="one", outcome="ok") == 1
    assert grown("runs_total") == 2
    assert grown("predictions_total", variant="one", reason="fallback", outcome="ok") == 1
    assert grown("predictions_total") == 1


def test_the_champions_own_error(app: Served) -> None:
    """One run, one prediction, both failed."""
    before = scraped(app)
    assert app.post("/sync", {"how": "breaks"}, headers={"x-rollout-variant": "one"}).status_code == 500
    grown = scraped(app) - before
    assert grown("runs_total", variant="one", outcome="error") == grown("runs_total") == 1
    assert grown("predictions_total", variant="one", outcome="error") == grown("predictions_total") == 1


def test_what_bentoml_refuses_is_not_counted(app: Served) -> None:
    """No variant was chosen."""
    before = scraped(app)
    assert app.post("/sync", {"what": 1}).status_code == 400
    assert (scraped(app) - before)("predictions_total") == 0


def test_rows(app: Served) -> None:
    """Each row is a prediction; each variant ran once."""
    before = scraped(app)
    app.post("/rows", {"rows": [{"user": f"u{number}"} for number in range(40)]})
    grown = scraped(app) - before
    one, two = (grown("predictions_total", endpoint="rows", variant=name) for name in ("one", "two"))
    assert one + two == 40
    assert min(one, two) > 0
    assert grown("runs_total", endpoint="rows", outcome="ok") == 2


def test_a_stream(app: Served) -> None:
    """It is one prediction and one run."""
    before = scraped(app)
    app.post("/stream", {"how": "well"}, headers={"x-rollout-variant": "two"})
    grown = scraped(app) - before
    assert grown("predictions_total", endpoint="stream", variant="two", outcome="ok") == 1
    assert grown("runs_total", endpoint="stream", variant="two", outcome="ok") == 1


def test_a_task(app: Served) -> None:
    """It is counted when it is done."""
    before = scraped(app)
    app.post("/job/submit", {"how": "well"}, headers={"x-rollout-variant": "two"})
    grown = eventually(lambda: (scraped(app) - before)("predictions_total", endpoint="job", variant="two"))
    assert grown == 1


def eventually(number: Callable[[], float]) -> float:
    """Return a number when it is not 0 any more."""
    until = time.monotonic() + 20
    while not number() and time.monotonic() < until:
        time.sleep(0.02)
    return number()


def test_a_shadow(app: Served) -> None:
    """What it said, and how long it took; it is no run that anybody waited for."""
    before = scraped(app)
    for number in range(20):
        app.post("/watched", {"how": "well"}, headers={"x-rollout-variant": "one", "x-user": f"u{number}"})
    labels = {"endpoint": "watched", "variant": "two"}
    eventually(lambda: (scraped(app) - before)("shadow_compared_total", **labels))
    time.sleep(0.5)
    grown = scraped(app) - before
    seen = grown("shadow_compared_total", relation="differ", **labels)
    assert 0 < seen < 20
    assert grown("shadow_compared_total") == grown("shadow_run_seconds_count", **labels) == seen
    assert grown("runs_total", **labels) == 0


def test_the_state(app: Served) -> None:
    """Champion, shares, revision and readiness, as they are when the scrape comes."""
    now = scraped(app)
    assert now("champion", rollout=NAME, variant="one") == 1
    assert now("champion", rollout=NAME, variant="two") == 0
    assert now("weight_ratio", rollout=NAME, variant="one") == 0.75
    assert now("weight_ratio", rollout=NAME, variant="two") == 0.25
    assert now("shadow_ratio", rollout=NAME, variant="two") == 0.5
    assert now("variant_ready", rollout=NAME, variant="two", runner="worker") == 1
    assert now("variant_restarts", rollout=NAME, variant="two") == 0
    assert now("workers", rollout=NAME) == 1
    assert now("flips_total", rollout=NAME, outcome="vetoed") == 0
    assert now.has("flips_total", rollout=NAME, outcome="vetoed")
    assert 0 <= now("store_age_seconds", rollout=NAME) < 60
    assert now("telemetry_lost_total", rollout=NAME) == 0
    assert now.has("telemetry_lost_total", rollout=NAME, channel="metrics")
    revision = now("revision", rollout=NAME)
    operator = open_rollout(NAME)
    operator.set_weights({"two": 10})
    then = scraped(app)
    assert then("weight_ratio", rollout=NAME, variant="one") == 0.9
    assert then("revision", rollout=NAME) == revision + 1
    operator.set_weights({"two": 25})


def test_a_flip_is_counted(app: Served) -> None:
    """With another champion in the gauges at once; the way back is another change of the champion."""
    before = scraped(app)
    operator = open_rollout(NAME)
    operator.flip(to="two", reason="a test")
    now = scraped(app)
    assert now("champion", rollout=NAME, variant="two") == 1
    assert now("champion", rollout=NAME, variant="one") == 0
    assert now("weight_ratio", rollout=NAME, variant="two") == 1
    eventually(lambda: (scraped(app) - before)("flips_total", outcome="committed"))
    operator.undo(reason="a test")
    until = time.monotonic() + 10
    while (scraped(app) - before)("flips_total", outcome="committed") < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert (scraped(app) - before)("flips_total") == 2


def test_every_metric_is_scraped(app: Served) -> None:
    """What the table promises has its type and its help, and nothing else is ours."""
    names = (
        "shadow_dropped_total",
        "decisions_total",
        "reviews_open",
        "reviews_adjudicating",
        "letters_waiting",
        "letters_lost",
        "drift_latched",
        "drift_log_evidence",
        "drift_rows_total",
        "stale_answers_total",
    )  # no shadow has, people decide nothing, nothing is watched, and one host is never stale
    others = {f"bento_rollout_{name}" for name in names}
    found = {name: one for name, one in whole_scrape(app).families().items() if name not in others}
    assert found == {one.name: (one.kind, one.help) for one in MEASURES if one.name not in others}


def test_labels_are_never_a_callers(app: Served) -> None:
    """Whatever is asked for, labels hold names of the definition and words of ours."""
    secret = "s3cret-text"
    app.post("/sync", {"how": secret}, headers={"x-user": secret, "x-rollout-inference-id": secret})
    app.post("/sync", {"how": secret}, headers={"x-rollout-variant": secret})
    app.post(f"/{secret}", {"how": secret})
    ours = [line for line in app.get("/metrics").text.splitlines() if "bento_rollout" in line]
    assert ours
    assert not any(secret in line for line in ours)


def test_under_a_path_prefix(serve: Callable[..., Served]) -> None:
    """BentoML's route is where the prefix says."""
    app = serve(service("metered-prefixed", path_prefix="/deep"))
    before = scraped(app, "/deep/metrics")
    app.post("/deep/sync", {"how": "well"}, headers={"x-rollout-variant": "two"})
    grown = scraped(app, "/deep/metrics") - before
    assert grown("predictions_total", rollout="metered-prefixed", variant="two") == 1


def test_two_rollouts_in_one_process(serve: Callable[..., Served]) -> None:
    """Both count, each under its name."""
    first, second = serve(service("metered-first")), serve(service("metered-second"))
    for app, count in ((first, 2), (second, 3)):
        for _ in range(count):
            app.post("/sync", {"how": "well"})
    whole_scrape(first)
    now = whole_scrape(second)
    assert now("predictions_total", rollout="metered-first") == 2
    assert now("predictions_total", rollout="metered-second") == 3


def test_what_was_refused_before_is_no_loss_of_a_new_rollout(serve: Callable[..., Served]) -> None:
    """A process may have served another rollout; what is refused from now on counts."""
    REFUSED.note("score", "a test", "nothing to do")
    app = serve(service("metered-later"))
    asked = {"rollout": "metered-later", "channel": "measures"}
    now = scraped(app)
    assert now.has("telemetry_lost_total", **asked)
    assert now("telemetry_lost_total", **asked) == 0
    REFUSED.note("score", "a test", "nothing to do")
    assert scraped(app)("telemetry_lost_total", **asked) == 1


def test_without_bentomls_metrics(serve: Callable[..., Served]) -> None:
    """Nothing is made, and requests are answered."""
    app = serve(service("metered-unmeasured", metrics={"enabled": False}))
    assert app.post("/sync", {"how": "well"}).status_code == 200
    assert app.get("/metrics").status_code == 404
    assert app.site.serving._recording.metrics is None


def test_what_prometheus_client_does_not_take(
    serve: Callable[..., Served], capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric of the user's that has our name: it costs that metric, is counted and said once; no answer."""
    app = serve(service("metered-spoilt"))
    forget_metrics()
    BentoMLContainer.metrics_client.get().Counter("bento_rollout_runs_total", "the user's own")
    assert [app.post("/sync", {"how": "well"}).status_code for _ in range(3)] == [200] * 3
    scraped(app)
    now = scraped(app)
    assert now("predictions_total", rollout="metered-spoilt") == 3
    assert now("telemetry_lost_total", rollout="metered-spoilt", channel="metrics") >= 1
    said = [line for line in capsys.readouterr().err.splitlines() if '"metrics.failed"' in line]
    assert len(said) == 1


def test_a_scrape_does_not_wait_for_a_channel_that_hangs(serve: Callable[..., Served]) -> None:
    """It takes the numbers that are there; requests are answered meanwhile."""
    app, leave = serve(service("metered-hanging")), threading.Event()
    app.post("/sync", {"how": "well"})
    assert scraped(app)("predictions_total", rollout="metered-hanging") == 1
    app.site.serving._recording.metrics._channel._work = lambda _: leave.wait(DEADLINE)
    try:
        app.post("/sync", {"how": "well"})
        scrape = {"method": "GET", "path": "/metrics"}
        answers = app.together([scrape, {"method": "POST", "path": "/sync", "json": {"how": "well"}}])
    finally:
        leave.set()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert Scrape(answers[0].text)("predictions_total", rollout="metered-hanging") == 1
