"""What the decorator refuses when a service is defined, and what it joins."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from _bentoml_impl.server.serving import server_on_deployment
from bentoml.models import BentoModel
from bentoml.validators import DataframeSchema
from starlette.applications import Starlette

from bento_rollout import Hook, RolloutSpec, Variant, Webhook, rollout
from bento_rollout.bento.cards import state_fields
from bento_rollout.bento.decorator import site_of
from bento_rollout.bento.judges import judges_of
from bento_rollout.errors import Incompatible, InvalidSpec, InvalidValue
from bento_rollout.strategy import Strategy
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


def service(cls: type, **config: Any) -> Any:
    """Make a class a service."""
    return bentoml.service(name=config.pop("name", cls.__name__.lower()), **config)(cls)


class One:
    """The champion."""

    factor = 1
    label = "one"
    main = BentoModel("screening:v1")

    @bentoml.api
    def predict(self, x: int) -> int:
        return x * self.factor

    @bentoml.api
    def explain(self, x: int) -> str:
        return f"{self.label} explains {x}"


class NoModel:
    """A champion without a model."""

    @bentoml.api
    def predict(self, x: int) -> int:
        return x


def wrap(candidate: Any, spec: dict[str, Any] | None = None, cls: type = NoModel, name: str = "two") -> Any:
    """Decorate a fresh service of a class with one candidate."""
    parsed = RolloutSpec.parse({"name": "defined", **(spec or {})})
    return rollout(champion="one", candidates={name: candidate}, spec=parsed)(service(cls))


# -- candidates that cannot stand in ------------------------------------------------


class Renamed:
    """Has another argument."""

    @bentoml.api
    def predict(self, y: int) -> int:
        return y


class OtherInput:
    """Takes text."""

    @bentoml.api
    def predict(self, x: str) -> int:
        return 1


class OtherOutput:
    """Returns text."""

    @bentoml.api
    def predict(self, x: int) -> str:
        return ""


class Optional:
    """Its argument may be left out."""

    @bentoml.api
    def predict(self, x: int = 3) -> int:
        return x


class Streaming:
    """Streams."""

    @bentoml.api
    def predict(self, x: int) -> Generator[int, None, None]:
        yield x


class Tasking:
    """Is a task."""

    @bentoml.task
    def predict(self, x: int) -> int:
        return x


class Elsewhere:
    """Has another endpoint."""

    @bentoml.api
    def guess(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("cls", "difference"),
    [
        (Renamed, "the input differs at properties.x: the champion has"),
        (
            OtherInput,
            "the input differs at properties.x.type: the champion has 'integer', the candidate 'string'",
        ),
        (OtherOutput, "the output differs at type: the champion has 'integer', the candidate 'string'"),
        (Optional, "the input differs at properties.x.default: the champion has 'nothing', the candidate 3"),
        (Streaming, "the champion's is no stream, the candidate's is one"),
        (Tasking, "the champion's is no task, the candidate's is one"),
    ],
)
def test_a_candidate_that_differs_is_refused_naming_endpoint_and_difference(
    cls: type, difference: str
) -> None:
    """Every incompatibility is found when the service is defined, and said in words."""
    with pytest.raises(Incompatible) as caught:
        wrap(service(cls))
    assert str(caught.value).startswith("candidate 'two', endpoint 'predict': ")
    assert difference in str(caught.value)


def test_a_candidate_without_a_routed_endpoint_is_refused() -> None:
    """The message says which endpoint is missing and which there are."""
    with pytest.raises(Incompatible, match="candidate 'two' has no endpoint 'predict'; it has: guess"):
        wrap(service(Elsewhere))


class Quicker:
    """The same endpoint: async, batchable, on another route, with a context and other docs."""

    @bentoml.api(route="/quick", batchable=True)
    async def predict(self, x: list[int], ctx: bentoml.Context) -> list[int]:
        """Quickly."""
        return x


class Slower:
    """Takes lists."""

    @bentoml.api
    def predict(self, x: list[int]) -> list[int]:
        return x


def test_kind_batching_route_and_context_may_differ() -> None:
    """What a caller cannot see is the candidate's own affair."""
    wrapped = wrap(service(Quicker), cls=Slower)
    assert wrapped.apis["predict"].route == "/predict"


def test_a_candidate_needs_only_the_routed_endpoints(serve: Serve) -> None:
    """An endpoint that is not routed stays with the champion, and is answered even after a flip."""

    class Part:
        @bentoml.api
        def predict(self, x: int) -> int:
            return -x

    spec = {"endpoints": ["predict"], "weights": {"two": 100}}
    app = serve(wrap(service(Part), spec, cls=One))
    assert (app.post("/predict", {"x": 3}).text, app.post("/explain", {"x": 3}).text) == (
        "-3",
        "one explains 3",
    )
    from bento_rollout import open_rollout

    open_rollout("defined").flip(to="two")
    answer = app.post("/explain", {"x": 3})
    assert (answer.text, marks(answer)["variant"], marks(answer)["reason"]) == (
        "one explains 3",
        "one",
        "default",
    )


# -- names, and what is no candidate at all ------------------------------------------------


@pytest.mark.parametrize(
    "name", ["champion", "candidate", "shadow", "standby", "none", "Champion", "a b", "", "../x"]
)
def test_reserved_and_impossible_names_are_refused(name: str) -> None:
    """Names of roles, and what cannot be a header value or file name, are no variants' names."""
    with pytest.raises(InvalidValue, match="variant name"):
        wrap(service(Elsewhere), name=name)
    with pytest.raises(InvalidValue, match="variant name"):
        rollout(champion=name)(service(NoModel))


def test_two_variants_of_one_name_are_refused() -> None:
    """The champion's name is taken."""
    with pytest.raises(InvalidValue, match="two variants are called 'one'"):
        wrap(service(Elsewhere), name="one")


def test_candidates_need_the_champions_name() -> None:
    """Without candidates the service's own name does."""
    with pytest.raises(InvalidValue, match="champion= is required"):
        rollout(candidates={"two": service(Slower)})(service(NoModel))
    alone = site_of(rollout()(service(NoModel)))
    assert alone is not None
    assert alone.champion == "nomodel"


@pytest.mark.parametrize("given", [None, 3, "two", NoModel, Variant(NoModel)], ids=repr)
def test_what_is_no_service_is_no_candidate(given: Any) -> None:
    """A plain class, text or nothing is refused by name."""
    with pytest.raises(Incompatible, match=r"candidate 'two' must be a @bentoml\.service class or a Variant"):
        wrap(given)


def test_who_is_told_is_kept_and_what_cannot_be_told_is_refused() -> None:
    """Callables and webhooks stand on the site; anything else is refused by its value, before it serves."""
    hook = Webhook("https://hooks.example.com/x", secret="env:ROLLOUT_WEBHOOK_SECRET")

    def told(notify: Any) -> tuple[Any, ...]:
        @rollout(notify=notify)
        @bentoml.service
        class Told:
            @bentoml.api
            def predict(self, x: int) -> int:
                return x

        site = site_of(Told)
        assert site is not None
        return site.notify

    assert told(None) == ()
    assert told(hook) == (hook,)
    called, kept = told([print, hook])
    assert isinstance(called, Hook)
    assert (called.func, kept) == (print, hook)
    with pytest.raises(InvalidValue, match="5 is neither"):
        told([print, 5])


def test_the_decorator_stands_above_a_service_once() -> None:
    """A class that is no service, and a second @rollout, are refused; so is a candidate with its own."""
    with pytest.raises(Incompatible, match=r"stands above @bentoml\.service"):
        rollout()(NoModel)
    with pytest.raises(Incompatible, match="has a @rollout already"):
        rollout()(rollout()(service(NoModel)))
    with pytest.raises(Incompatible, match="candidate 'two' has a @rollout of its own"):
        wrap(rollout()(service(type("Other", (NoModel,), {}))))


def test_a_service_without_endpoints_is_refused() -> None:
    """There would be nothing to route."""
    with pytest.raises(Incompatible, match="has no endpoint to route"):
        rollout()(service(type("Empty", (), {})))


def test_the_decorated_service_is_no_candidate_of_itself() -> None:
    """It would be compared with itself."""
    one = service(NoModel)
    with pytest.raises(Incompatible, match="is the decorated service itself"):
        rollout(champion="one", candidates={"two": one})(one)


# -- Variant(...) ------------------------------------------------


class TwoModels(One):
    """Has two references."""

    other = BentoModel("other:v1")


@pytest.mark.parametrize(
    ("variant", "cls", "message"),
    [
        (Variant(model="m:v2"), NoModel, "exactly one model reference; NoModel has: none"),
        (Variant(model="m:v2"), TwoModels, "exactly one model reference; TwoModels has: main, other"),
        (
            Variant(attributes={"nothing": 1}),
            One,
            "'nothing', which One does not have; it has: factor (a value), label (a value), main (a model",
        ),
        (Variant(attributes={"nothing": 1}), NoModel, "it has: nothing that could be replaced"),
        (Variant(attributes={"main": 3}), One, "'main', a model reference, by a value"),
        (Variant(attributes={"factor": BentoModel("m:v2")}), One, "'factor', a value, by a model reference"),
        (Variant(attributes={"label": len}), One, "'label', a value, by a function"),
        (Variant(attributes={"predict": 3}), One, "'predict', an endpoint, by a value"),
    ],
)
def test_attributes_must_exist_and_keep_their_kind(variant: Variant, cls: type, message: str) -> None:
    """A model for a model, a value for a value; anything else is refused, naming what the class has."""
    with pytest.raises(Incompatible) as caught:
        wrap(variant, cls=cls)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of service, url, model and attributes; got none"),
        ({"model": "a:b", "attributes": {"x": 1}}, "got model, attributes"),
        ({"model": "a:b", "url": "http://x"}, "got url, model"),
        ({"url": "http://x", "runner": "process"}, "leave out runner='process'"),
        ({"url": "ftp://x"}, "needs to be like https://host/path"),
        ({"url": "http:///x"}, "needs to be like https://host/path"),
        ({"url": "http://x:port"}, "Port could not be cast"),
        ({"url": "https://user:secret@x"}, "has a name or a password in it"),
        ({"url": "http://x?a=1"}, "has a query or a fragment"),
        ({"url": "http://x y"}, "a character that no address has"),
        ({"url": 7}, "url=7 is not text"),
        ({"url": "http://x", "forward_headers": "x-ring"}, "'x-ring' is not a list of names"),
        ({"url": "http://x", "forward_headers": ["x ring"]}, "'x ring' is not the name of a header"),
        ({"url": "http://x", "forward_headers": ["Host"]}, "belongs to the connection"),
        ({"url": "http://x", "headers": {"a": "b\r\nc: d"}}, "is not text of one line"),
        ({"url": "http://x", "headers": {"a": None}}, "header 'a' is None, and not text: is it set"),
        ({"model": "a:b", "forward_headers": ["x-ring"]}, "go with url"),
        ({"model": "a:b", "runner": "thread"}, "is not known; there are: worker, process, service"),
    ],
)
def test_a_variant_says_one_thing(arguments: dict[str, Any], message: str) -> None:
    """Several differences at once, or runners that this version does not have, are refused."""
    with pytest.raises(InvalidValue, match=message):
        Variant(**arguments)


def test_twins_are_refused_unless_they_are_meant() -> None:
    """Two variants with one digest: nothing to compare; `twin=True` is an A/A test."""
    with pytest.raises(Incompatible, match="'one' and 'two': both are screening:v1: nothing to compare"):
        wrap(Variant(model="screening:v1"), cls=One)
    with pytest.raises(Incompatible, match="nothing to compare"):
        wrap(Variant(attributes={"factor": 1}), cls=One)
    wrap(Variant(model="screening:v1", twin=True), cls=One)
    wrap(Variant(attributes={"factor": 2}), cls=One)


def test_replaced_attributes_answer(serve: Serve) -> None:
    """The same code with another value: one line, no second class."""
    app = serve(wrap(Variant(attributes={"factor": 10}), {"weights": {"two": 100}}, cls=NoReference))
    assert app.post("/predict", {"x": 3}).text == "30"


class NoReference:
    """Multiplies."""

    factor = 1

    @bentoml.api
    def predict(self, x: int) -> int:
        return x * self.factor


class Stored:
    """Answers with its model's number."""

    main = BentoModel("numbers:v1")

    def __init__(self) -> None:
        self.number = json.loads(Path(self.main.path_of("number.json")).read_text())

    @bentoml.api
    def predict(self) -> int:
        return self.number  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def numbers() -> Callable[[str, int], None]:
    """Store models that hold a number."""

    def store(version: str, number: int) -> None:
        with bentoml.models.create(f"numbers:{version}") as model:
            Path(model.path_of("number.json")).write_text(json.dumps(number))

    store("v1", 1)
    store("v2", 2)
    return store


def test_the_same_code_with_another_model_answers(numbers: Any, serve: Serve) -> None:
    """`Variant(model=…)`: each variant loads its own model, and the service lists both."""
    wrapped = wrap(Variant(model="numbers:v2"), {"routing": {"override_header": True}}, cls=Stored)
    assert sorted(str(model.tag) for model in wrapped.models) == ["numbers:v1", "numbers:v2"]
    app = serve(wrapped)
    pins = {
        name: app.post("/predict", {}, headers={"x-rollout-variant": name}).text for name in ("one", "two")
    }
    assert pins == {"one": "1", "two": "2"}


def test_latest_is_resolved_once_for_all_workers(
    numbers: Callable[[str, int], None], serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that starts the workers resolves `:latest`; a model that comes later changes nothing."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/s.db")
    monkeypatch.setenv("BENTO_ROLLOUT_PINS", "{}")
    monkeypatch.setenv("BENTO_ROLLOUT_BROKEN", "{}")
    spec: dict[str, Any] = {"weights": {"two": 100}}
    numbers("v3", 3)
    arbiter = site_of(wrap(Variant(model="numbers:latest"), spec, cls=Stored))
    assert arbiter is not None
    arbiter.deploy()
    numbers("v4", 4)
    worker = wrap(Variant(model="numbers:latest"), spec, cls=Stored)
    site = site_of(worker)
    assert site is not None
    assert site.digests() == arbiter.digests()
    assert serve(worker).post("/predict", {}).text == "3"


def test_twins_by_latest_are_refused_when_the_service_starts(
    numbers: Callable[[str, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`:latest` may turn out to be the champion's own model; the message names it."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/s.db")
    monkeypatch.setenv("BENTO_ROLLOUT_PINS", "{}")
    monkeypatch.setenv("BENTO_ROLLOUT_BROKEN", "{}")
    numbers("v9", 9)

    class Newest(Stored):
        main = BentoModel("numbers:v9")

    site = site_of(wrap(Variant(model="numbers:latest"), cls=Newest))
    assert site is not None
    with pytest.raises(Incompatible, match="both are numbers:v9: nothing to compare"):
        site.deploy()


def test_a_digest_follows_source_attributes_and_models_and_nothing_else() -> None:
    """The same definition has the same digest each time; another value, model or class has another."""

    def digest(variant: Any, cls: type = One) -> str:
        site = site_of(wrap(variant, cls=cls))
        assert site is not None
        return site.digests()["two"]

    class Thing:
        pass

    seen = [
        digest(Variant(attributes={"factor": 2})),
        digest(Variant(attributes={"factor": 3})),
        digest(Variant(model="screening:v2")),
        digest(Variant(attributes={"factor": np.arange(2000)})),
        digest(Variant(attributes={"factor": np.arange(2000) * (np.arange(2000) != 1000)})),
    ]
    assert len(set(seen)) == len(seen)
    assert digest(Variant(attributes={"factor": 2})) == seen[0]
    assert digest(Variant(attributes={"factor": Thing()})) == digest(Variant(attributes={"factor": Thing()}))


WRITTEN = """
import bentoml
from bento_rollout import Variant, rollout


@rollout(champion="one", candidates={"two": Variant(attributes={"factor": 2})})
@bentoml.service(name="written")
class Written:
    factor = 1
    colour = "#fff"

    @bentoml.api
    def predict(self, x: int) -> int:
        return x * self.factor
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("factor = 1", "# how much\n    factor = 1  # once", True),
        ("    @bentoml.api", "\n\n    @bentoml.api   ", True),
        ("self.factor\n", "self.factor\n        # that is all\n\n\n", True),
        ("#fff", "#ffe", False),
        ("x * self", "x + self", False),
        ('colour = "#fff"', 'colour = """#\nfff"""', False),
    ],
)
def test_comments_and_blanks_are_not_what_a_variant_is(
    old: str, new: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment that changes holds no candidate's weight; code and strings do, for all made of the class."""
    monkeypatch.syspath_prepend(tmp_path)

    def digests(name: str, text: str) -> dict[str, str]:
        (tmp_path / f"{name}.py").write_text(text)
        site = site_of(importlib.import_module(name).Written)
        assert site is not None
        return dict(site.digests())

    # of a name of its own each, which no import has cached
    names = [f"written_{tmp_path.name}_{which}" for which in ("before", "after")]
    before, after = digests(names[0], WRITTEN), digests(names[1], WRITTEN.replace(old, new))
    assert WRITTEN.replace(old, new) != WRITTEN
    assert [before[name] == after[name] for name in ("one", "two")] == [same, same]


# -- the spec against the service ------------------------------------------------


class Rows:
    """Takes rows."""

    @bentoml.api
    def predict(self, rows: list[int], ids: list[str]) -> list[int]:
        return rows

    @bentoml.api
    def stream(self, rows: list[int]) -> Generator[int, None, None]:
        yield from rows

    @bentoml.api
    def framed(self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=["a"])]) -> int:
        return 1


class RowsToo(Rows):
    """Takes rows, too."""


def tried(guardrails: dict[str, Any] | None = None, candidate: str = "two") -> dict[str, Any]:
    """A strategy in one step."""
    canary = {"candidate": candidate, "steps": [{"weight": 5, "bake": "30m"}]}
    return {"canary": canary, "guardrails": guardrails or {"error_rate": {"margin": "1pp"}}}


def test_a_strategy_that_fits_is_on_the_workers_card() -> None:
    """`start` reads it there; it is no state, which the card tells as ever."""
    strategy = tried({"latency@stream": {"of": "per_item"}, "label.cost": {"margin": "1pp", "matures": "1d"}})
    labels = {"cost": {"loss": "operator:sub", "range": [-1, 1]}}
    fields = {"strategy": strategy, "labels": labels, "targets": {"two": {"keys": ["u1"]}}}
    site = site_of(wrap(service(RowsToo), fields, cls=Rows))
    assert site is not None
    spec = site.spec
    told = state_fields(spec)
    assert told["targets"] == {"two": {"keys": ["u1"], "header": {}}}
    assert Strategy.parse(json.loads(json.dumps(told))["strategy"]) == spec.strategy
    assert state_fields(RolloutSpec()) == {}
    judges = judges_of(spec)
    assert judges["cost"].bad_of(0.5, 0.5) == 0.5
    assert judges["correct"].bad_of("cat", "cat") == 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"weights": {"three": 1}}, "weights: no variant is called 'three'; this service has: one, two"),
        ({"weights": {"one": 1}}, "weights: 'one' is the champion and has no weight"),
        ({"variants": {"three": {}}}, "variants: no variant is called 'three'"),
        ({"targets": {"three": {}}}, "targets: no variant is called 'three'"),
        ({"shadow": {"three": {}}}, "shadow: no variant is called 'three'"),
        ({"blue_green": {"standby": "three"}}, r"blue_green\.standby: no variant is called 'three'"),
        (
            {"endpoints": ["guess"]},
            "endpoints: the service has no endpoint 'guess'; it has: framed, predict, stream",
        ),
        ({"routing": {"key": {"guess": "header:x"}}}, "routing: the service has no endpoint 'guess'"),
        (
            {"routing": {"key": {"predict": "field:user"}}},
            "field:user: endpoint 'predict' has no argument 'user'; it has: rows, ids",
        ),
        (
            {"routing": {"key": {"predict": "rows:batch"}}},
            "rows:batch: endpoint 'predict' has no argument 'batch'",
        ),
        (
            {"routing": {"inference_id": {"predict": "field:tx"}}},
            "routing.inference_id: field:tx: endpoint 'predict'",
        ),
        (
            {"routing": {"key": {"predict": "rows:ids"}}},
            r"variants\.two\.timeout is required with a rows: key",
        ),
        (
            {"routing": {"key": {"framed": "rows:frame"}}},
            "'framed' needs the column's name, like rows:frame.user_id",
        ),
        (
            {"routing": {"key": {"stream": "rows:rows"}}},
            "endpoint 'stream' is a stream; its rows cannot be split",
        ),
        ({"routing": {"key": "tests.contract.nowhere:f"}}, "tests.contract.nowhere:f: No module named"),
        ({"routing": {"key": "os:nothing"}}, "os:nothing: module 'os' has no attribute 'nothing'"),
        ({"routing": {"key": "os:sep"}}, "os:sep is not callable"),
        ({"labels": {"cost": {"loss": "os:sep"}}}, r"labels\.cost\.loss: os:sep is not callable"),
        ({"labels": {"cost": {"loss": "os:nothing"}}}, r"labels\.cost\.loss: os:nothing: module 'os' has no"),
        ({"labels": {"cost": {"loss": "nowhere:of"}}}, r"labels\.cost\.loss: nowhere:of: No module named"),
        (
            {"strategy": tried(candidate="three")},
            r"strategy\.canary\.candidate: no variant is called 'three'; this rollout has: one, two",
        ),
        ({"strategy": tried(candidate="one")}, r"strategy\.canary\.candidate: 'one' is the champion"),
        (
            {"strategy": tried({"error_rate@guess": {"margin": "1pp"}})},
            r"strategy\.guardrails\.error_rate@guess: no routed endpoint is called 'guess'; there are: frame",
        ),
        (
            {"strategy": tried({"latency@predict": {"of": "per_item"}})},
            r"strategy\.guardrails\.latency@predict\.of: per_item needs an endpoint that streams; .*: stream",
        ),
        (
            {"endpoints": ["predict"], "strategy": tried({"latency": {"of": "per_item"}})},
            r"strategy\.guardrails\.latency\.of: per_item needs an endpoint that streams; there are: none",
        ),
    ],
)
def test_a_spec_that_does_not_fit_the_service_is_refused(spec: dict[str, Any], message: str) -> None:
    """Each mistake names its field and what the service has."""
    with pytest.raises(InvalidSpec, match=message):
        wrap(service(RowsToo), spec, cls=Rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {three: {}}", "variants: no variant is called 'three'; this service has: one"),
        (
            "routing: {key: 'field:user'}",
            "routing.key: field:user: endpoint 'predict' has no argument 'user'",
        ),
        ("weights: {three: 200}", "weights.three: percentage 200 is not valid"),
    ],
)
def test_an_error_of_the_spec_names_its_file(text: str, message: str, tmp_path: Path) -> None:
    """Also what only the code can know to be wrong: who has many services sees which spec is meant."""
    (tmp_path / "rollout.yaml").write_text(f"name: defined\n{text}\n")
    with pytest.raises(InvalidSpec) as caught:
        rollout(champion="one", spec=tmp_path / "rollout.yaml")(service(NoModel))
    assert str(caught.value).startswith(f"{tmp_path / 'rollout.yaml'}: ")
    assert message in str(caught.value)


def test_a_spec_that_is_nowhere_is_refused() -> None:
    """The error says which file there is none of: a relative path is beside the file that decorates."""
    with pytest.raises(InvalidSpec) as caught:
        rollout(champion="one", spec="nowhere.yaml")(service(NoModel))
    assert str(caught.value) == f"{Path(__file__).with_name('nowhere.yaml')}: there is no such spec file"


# -- what joins ------------------------------------------------


def test_envs_join_and_a_conflict_is_refused() -> None:
    """One worker has one environment: new names join, the same value is fine, another value is refused."""
    one = [{"name": "A", "value": "1"}]
    good = service(
        type("Two", (NoModel,), {}), envs=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    )
    wrapped = rollout(champion="one", candidates={"two": good})(service(NoModel, envs=one))
    assert {env.name: env.value for env in wrapped.envs} == {"A": "1", "B": "2"}
    bad = service(type("Two", (NoModel,), {}), envs=[{"name": "A", "value": "9"}])
    with pytest.raises(Incompatible, match="candidate 'two' wants env A='9', and the champion has '1'"):
        rollout(champion="one", candidates={"two": bad})(service(NoModel, envs=one))
    pair = {"two": good, "three": service(type("Three", (Slower,), {}), envs=[{"name": "B", "value": "9"}])}
    with pytest.raises(Incompatible):
        rollout(champion="one", candidates=pair)(service(NoModel, envs=one))


class Llm:
    """A service to depend on."""

    @bentoml.api
    def ask(self, text: str) -> str:
        return f"llm: {text}"


class Qwen:
    """Another one."""

    @bentoml.api
    def ask(self, text: str) -> str:
        return f"qwen: {text}"


LLM, QWEN = service(Llm), service(Qwen)


class Asking:
    """Depends on an LLM."""

    llm = bentoml.depends(LLM)

    @bentoml.api
    def predict(self, text: str) -> str:
        return self.llm.ask(text)  # type: ignore[no-any-return]


def test_a_dependency_is_replaced_and_registered_beside_the_champions(serve: Serve) -> None:
    """`bentoml.depends(Qwen)` in place of the champion's is `llm@two`; each variant calls its own."""
    candidate = Variant(attributes={"llm": bentoml.depends(QWEN)})
    wrapped = wrap(candidate, {"routing": {"override_header": True}}, cls=Asking)
    assert {name: dep.on.name for name, dep in wrapped.dependencies.items()} == {
        "llm": "llm",
        "llm@two": "qwen",
    }
    assert set(wrapped.all_services()) == {"asking", "llm", "qwen"}
    app = serve(wrapped)
    for name, said in (("one", '"llm: hi"'), ("two", '"qwen: hi"')):
        answer = app.post("/predict", {"text": "hi"}, headers={"x-rollout-variant": name})
        assert answer.text == said.strip('"')


def test_a_dependency_of_one_name_on_two_services_is_refused() -> None:
    """In a class of its own the candidate's dependency must have another name."""

    class Other:
        llm = bentoml.depends(QWEN)

        @bentoml.api
        def predict(self, text: str) -> str:
            return ""

    with pytest.raises(
        Incompatible, match="depends on qwen as 'llm', and the champion on llm under the same name"
    ):
        wrap(service(Other), cls=Asking)


def test_a_candidate_brings_its_models_and_dependencies_along() -> None:
    """`bentoml build` and `serve` see everything that any variant needs."""

    class Two:
        second = BentoModel("screening:v2")
        helper = bentoml.depends(QWEN)

        @bentoml.api
        def predict(self, x: int) -> int:
            return x

        @bentoml.api
        def explain(self, x: int) -> str:
            return ""

    wrapped = wrap(service(Two), cls=One)
    assert [str(model.tag) for model in wrapped.models] == ["screening:v1", "screening:v2"]
    assert list(wrapped.dependencies) == ["helper"]


def test_mounted_apps_and_middlewares_of_a_candidate_are_warned_of() -> None:
    """They are not served in the champion's worker, and the warning names them."""
    candidate = service(type("Two", (NoModel,), {}))
    candidate.mount_asgi_app(Starlette(), "/extra")
    candidate.add_asgi_middleware(Starlette)
    with pytest.warns(UserWarning, match="candidate 'two': its mounted apps and middlewares are not served"):
        wrap(candidate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap(service(type("Three", (NoModel,), {"extra": 1})), name="three")


def test_hooks_of_champion_and_candidate_run(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Startup, shutdown and deployment hooks of every variant run, each on its own instance."""
    said: list[str] = []

    class Hooked:
        who = "one"

        @bentoml.on_deployment
        @staticmethod
        def deployed() -> None:
            said.append("deployed")

        @bentoml.on_startup
        def started(self) -> None:
            said.append(f"{self.who} started")

        @bentoml.on_shutdown
        async def ended(self) -> None:
            said.append(f"{self.who} ended")

        @bentoml.api
        def predict(self, x: int) -> int:
            return x

    class Two(Hooked):
        who = "two"

        @bentoml.on_deployment
        @staticmethod
        def deployed_too() -> None:
            said.append("two deployed")

    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/s.db")
    monkeypatch.setenv("BENTO_ROLLOUT_BROKEN", "{}")
    wrapped = wrap(service(Two), cls=Hooked)
    site = site_of(wrapped)
    assert site is not None
    site.deploy()
    assert said == ["two deployed"]  # BentoML itself runs the champion's own
    app = Served(wrapped).start()
    app.stop()
    assert sorted(said[1:]) == ["one ended", "one started", "two ended", "two started"]


def test_a_failing_deployment_hook_costs_the_candidate_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate is `failed` with the hook's error; the service starts."""

    class Broken(NoModel):
        @bentoml.on_deployment
        @staticmethod
        def deployed() -> None:
            raise RuntimeError("no disk")

    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/s.db")
    monkeypatch.setenv("BENTO_ROLLOUT_BROKEN", "{}")
    wrapped = wrap(service(Broken), {"weights": {"two": 100}})
    site = site_of(wrapped)
    assert site is not None
    site.deploy()
    app = Served(wrapped).start()
    try:
        assert marks(app.post("/predict", {"x": 1}))["reason"] == "unavailable"
        assert app.site.serving._card().variants["two"].state == "failed"
        assert "no disk" in app.site.serving._card().variants["two"].error
    finally:
        app.stop()


# -- candidates in services of their own --------------------------------------------


def test_a_service_of_its_own_has_a_name_of_its_own() -> None:
    """`SERVICE_VARIANT` for the champion's code; a name that another service has is refused."""
    kept = type("Kept", (NoModel,), {"factor": 1})
    ours = wrap(Variant(attributes={"factor": 2}, runner="service"), cls=kept)
    assert list(ours.all_services()) == ["kept", "kept_two"]
    for taken in ("needing", "llm"):
        candidate = Variant(service(type("Other", (NoModel,), {"factor": 2}), name=taken), runner="service")
        with pytest.raises(Incompatible, match=f"served as the service '{taken}', and another"):
            wrap(candidate, cls=type("Needing", (NoModel,), {"llm": bentoml.depends(LLM)}), name="two")


def test_a_service_of_its_own_brings_nothing_to_the_champion() -> None:
    """Its models, envs and dependencies are its own service's; those may contradict the champion's."""

    class Own(NoModel):
        factor = 2
        main = BentoModel("screening:v9")
        llm = bentoml.depends(QWEN)

    envs = [{"name": "MODE", "value": "own"}]
    champion = bentoml.service(name="bare", envs=[{"name": "MODE", "value": "main"}])(NoModel)
    candidate = Variant(bentoml.service(name="own", envs=envs, workers=3)(Own), runner="service")
    decorated = rollout(champion="one", candidates={"two": candidate})(champion)
    assert not decorated.models
    assert [env.value for env in decorated.envs] == ["main"]
    assert list(decorated.dependencies) == ["rollout:two"]
    apart = decorated.all_services()["own"]
    assert (apart.config["workers"], [str(model.tag) for model in apart.models]) == (3, ["screening:v9"])
    assert [env.value for env in apart.envs] == ["own"]
    assert "qwen" in decorated.all_services()


def test_a_missing_model_of_a_service_of_its_own_does_not_stop_the_start(tmp_path: Any) -> None:
    """The server resolves every service's models before it starts; this one's trouble is its own."""
    ours = wrap(
        Variant(service(type("Lacking", (NoModel,), {"main": BentoModel("no:such")})), runner="service")
    )
    server_on_deployment(ours.all_services()["lacking"], result_file=str(tmp_path / "results.db"))


@pytest.mark.parametrize("runner", ["worker", "process", "service"])
def test_the_champions_code_in_another_place_has_its_envs(runner: str) -> None:
    """A candidate that is the champion's code with other attributes needs what the champion needs."""
    champion = service(type("Told", (NoModel,), {"factor": 1}), envs=[{"name": "MODE", "value": "main"}])
    other = Variant(attributes={"factor": 2}, runner=runner)
    ours = rollout(champion="one", candidates={"two": other})(champion)
    assert [env.name for env in ours.envs] == ["MODE"]
    site = site_of(ours)
    assert site is not None
    assert [env.value for env in site.definitions["two"].service.envs] == ["main"]


def test_the_champions_own_dependency_can_be_a_candidate() -> None:
    """One service in both parts: it is started once."""
    shared = service(type("Shared", (NoModel,), {"factor": 2}))
    ours = wrap(
        Variant(shared, runner="service"), cls=type("User", (NoModel,), {"it": bentoml.depends(shared)})
    )
    assert ours.all_services()["shared"] is shared
