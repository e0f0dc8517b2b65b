"""Keys per row: one request's rows go to several variants and come back as if one had answered them all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import InvalidArgument
from bentoml.validators import DataframeSchema
from pydantic import BaseModel

from bento_rollout import RolloutSpec, rollout
from bento_rollout.assignment import bucket_of
from bento_rollout.records import Outcome
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]
KEYS = [f"k{i}" for i in range(12)]
IS_TWO = [bucket_of("rows", key) < 50_000 for key in KEYS]
CALLS: list[tuple[str, Any]] = []


class Row(BaseModel):
    """A row with its key."""

    user: str
    x: int


class One:
    """The champion."""

    who = "one"

    @bentoml.api
    def items(self, rows: list[Row], how: str = "") -> list[str]:
        CALLS.append((self.who, [row.x for row in rows]))
        return [f"{self.who}:{row.x}" for row in rows]

    @bentoml.api
    def array(self, ids: list[str], values: np.ndarray, scale: float = 1.0) -> np.ndarray:
        CALLS.append((self.who, list(ids)))
        return values * scale

    @bentoml.api
    def keyed(self, values: np.ndarray) -> np.ndarray:
        return values.astype("int64") + 1

    @bentoml.api
    def frame(self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=["user", "x"])]) -> pd.DataFrame:
        CALLS.append((self.who, list(frame["x"])))
        answer: pd.DataFrame = pd.DataFrame({"x": frame["x"] * 2, "who": self.who}, index=frame.index)
        return answer

    @bentoml.api
    async def total(self, rows: list[Row]) -> int:
        CALLS.append((self.who, len(rows)))
        return len(rows)


class Two(One):
    """The candidate: the same, or what `how` asks for."""

    who = "two"

    @bentoml.api
    def items(self, rows: list[Row], how: str = "") -> list[str]:
        CALLS.append((self.who, [row.x for row in rows]))
        for row in rows:
            row.x += 0 if how == "" else 100
        answer: Any = [f"two:{row.x}" for row in rows]
        if how == "raise":
            raise RuntimeError("a bug")
        if how == "client":
            raise InvalidArgument("your fault")
        if how == "sleep":
            time.sleep(3)
        wrong = {"few": answer[1:], "none": None, "numbers": [1] * len(rows), "dict": {"a": 1}}
        return wrong.get(how, answer)  # type: ignore[no-any-return]  # on purpose

    @bentoml.api
    def array(self, ids: list[str], values: np.ndarray, scale: float = 1.0) -> np.ndarray:
        CALLS.append((self.who, list(ids)))
        return {
            0.0: values.astype("float32"),  # fits into float64
            -1.0: values.reshape(len(ids), -1, 1),
            -2.0: np.array([f"x{v}" for v in values.ravel()]).reshape(values.shape),
            -3.0: (values + 0.5j),
        }.get(scale, values * scale)

    @bentoml.api
    def keyed(self, values: np.ndarray) -> np.ndarray:
        return values + 1.0  # whole floats fit into the champion's int64

    @bentoml.api
    def frame(self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=["user", "x"])]) -> pd.DataFrame:
        CALLS.append((self.who, list(frame["x"])))
        answer: pd.DataFrame = pd.DataFrame({"who": self.who, "x": frame["x"] * 2.0}, index=frame.index)
        return answer


def start(serve: Serve, key: dict[str, str], **more: Any) -> Served:
    """Start a service with half of the keys on the candidate."""
    CALLS.clear()
    one: Any = bentoml.service(name="rowing", threads=4)(One)
    two = bentoml.service(name="rowing_two", threads=4)(Two)
    routing = {"key": key, **more.pop("routing", {})}
    limits = {"two": {"timeout": 1, **more.pop("limits", {})}}
    spec = {"name": "rows", "weights": {"two": 50}, "variants": limits, "routing": routing, **more}
    return serve(rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(spec))(one))


ITEMS = [{"user": key, "x": i} for i, key in enumerate(KEYS)]
SPLIT = [f"{'two' if two else 'one'}:{i}" for i, two in enumerate(IS_TWO)]
CHAMPION = [f"one:{i}" for i in range(len(KEYS))]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One app for the tests that split a list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('rows')}/s.db")
        app = start(
            lambda service: Served(service).start(), {"items": "rows:rows.user", "total": "rows:rows.user"}
        )
        yield app
        app.stop()


def test_rows_go_to_their_variants_and_come_back_in_order(items: Served) -> None:
    """Each row is answered by its key's variant; the headers name all; one fact for each group."""
    assert 3 < sum(IS_TWO) < 9
    CALLS.clear()
    before = len(items.facts)
    answer = items.post("/items", {"rows": ITEMS})
    assert answer.json() == SPLIT
    said = marks(answer)
    assert (said["variant"], said["reason"], said["revision"]) == ("one,two", "split", "1")
    wanted = {who: [i for i, two in enumerate(IS_TWO) if two == (who == "two")] for who in ("one", "two")}
    assert dict(CALLS) == wanted
    facts = items.facts[before:]
    assert {fact.variant: list(fact.rows) for fact in facts} == wanted
    assert {fact.prediction_id for fact in facts} == {said["prediction-id"]}


def test_rows_of_one_variant_are_one_call(items: Served) -> None:
    """All rows on one side: no split, one name in the header."""
    for who in ("one", "two"):
        rows = [row for row, two in zip(ITEMS, IS_TWO, strict=True) if two == (who == "two")]
        answer = items.post("/items", {"rows": rows})
        assert answer.json() == [f"{who}:{row['x']}" for row in rows]
        assert marks(answer)["variant"] == who


@pytest.mark.parametrize("how", ["raise", "sleep", "few", "none", "numbers", "dict"])
def test_only_failed_rows_are_answered_again(how: str, items: Served) -> None:
    """Errors, time-outs, wrong counts and invalid rows: the champion answers the rows as sent."""
    CALLS.clear()
    before = len(items.facts)
    answer = items.post("/items", {"rows": ITEMS, "how": how})
    assert (answer.status_code, answer.json()) == (200, CHAMPION)
    assert (marks(answer)["variant"], marks(answer)["reason"]) == ("one", "fallback,split")
    two_rows = [i for i, two in enumerate(IS_TWO) if two]
    one_rows = [i for i, two in enumerate(IS_TWO) if not two]
    assert [rows for who, rows in CALLS if who == "one"] == [one_rows, two_rows]
    outcomes = {fact.variant: fact.outcome for fact in items.facts[before:]}
    assert outcomes == {"one": Outcome.OK, "two": Outcome.TIMEOUT if how == "sleep" else Outcome.ERROR}


def test_a_client_error_of_one_group_is_the_answer(items: Served) -> None:
    """4xx: the input is at fault."""
    answer = items.post("/items", {"rows": ITEMS, "how": "client"})
    assert (answer.status_code, marks(answer)["variant"]) == (400, "one,two")


def test_no_rows_are_the_champions(items: Served) -> None:
    """An empty batch: no draw was made."""
    answer = items.post("/items", {"rows": []})
    assert (answer.json(), marks(answer)["variant"], marks(answer)["reason"]) == ([], "one", "default")


def test_an_answer_that_is_not_by_rows_is_the_champions_alone(items: Served) -> None:
    """A total over a split request would be wrong: the champion answers everything, once more."""
    CALLS.clear()
    answer = items.post("/total", {"rows": ITEMS})
    assert (answer.json(), marks(answer)["variant"]) == (len(ITEMS), "one")
    only_one = [row for row, two in zip(ITEMS, IS_TWO, strict=True) if not two]
    CALLS.clear()
    assert items.post("/total", {"rows": only_one}).json() == len(only_one)
    assert [*CALLS] == [("one", len(only_one))]


def test_odd_keys_in_rows_cost_no_answer(items: Served) -> None:
    """An empty key or one of 10 kB is drawn at random, its row answered."""
    rows = [{"user": "", "x": 0}, {"user": "x" * 10_240, "x": 1}, ITEMS[2]]
    answer = items.post("/items", {"rows": rows})
    assert [text.split(":")[1] for text in answer.json()] == ["0", "1", "2"]
    assert marks(answer)["reason"] == "no_key,split"


def test_fallback_none_makes_the_groups_error_the_answer(serve: Serve) -> None:
    """Rows fall back unless the spec says `fallback: none`."""
    app = start(serve, {"items": "rows:rows.user"}, limits={"fallback": "none"})
    for how, status in (("raise", 500), ("few", 500), ("sleep", 504)):
        answer = app.post("/items", {"rows": ITEMS, "how": how})
        assert (answer.status_code, marks(answer)["variant"]) == (status, "one,two")


def test_rows_atomic_lets_the_first_key_decide(serve: Serve) -> None:
    """For features that are computed per batch: the whole request goes to one variant."""
    app = start(serve, {"items": "rows:rows.user"}, routing={"rows_atomic": True})
    for first in (IS_TWO.index(True), IS_TWO.index(False)):
        who = "two" if IS_TWO[first] else "one"
        answer = app.post("/items", {"rows": ITEMS[first:]})
        assert answer.json() == [f"{who}:{i}" for i in range(first, len(ITEMS))]
        assert (marks(answer)["variant"], marks(answer)["reason"]) == (who, "split")


def test_pinned_and_targeted_rows(serve: Serve) -> None:
    """A pin holds for all rows; a targeted key for its row."""
    targets = {"two": {"keys": ["vip"]}}
    app = start(serve, {"items": "rows:rows.user"}, targets=targets, routing={"override_header": True})
    answer = app.post("/items", {"rows": ITEMS}, headers={"x-rollout-variant": "two"})
    assert (marks(answer)["variant"], marks(answer)["reason"]) == ("two", "pinned")
    answer = app.post("/items", {"rows": [{"user": "vip", "x": 0}, ITEMS[1]]})
    assert answer.json()[0] == "two:0"
    assert marks(answer)["reason"] == "split,targeted"


VALUES = np.arange(len(KEYS) * 2, dtype="float64").reshape(-1, 2)


@pytest.mark.parametrize("scale", [2.0, 0.0])
def test_parallel_arguments_are_cut_alike(scale: float, serve: Serve) -> None:
    """`rows:ids`: what is as long as the ids is cut with them; the champion's dtype holds."""
    app = start(serve, {"array": "rows:ids"})
    answer = app.post("/array", {"ids": KEYS, "values": VALUES.tolist(), "scale": scale})
    wanted = [
        (row * (1 if two and not scale else scale)).tolist() for row, two in zip(VALUES, IS_TWO, strict=True)
    ]
    assert answer.json() == wanted
    assert marks(answer)["variant"] == "one,two"
    assert dict(CALLS) == {
        who: [key for key, two in zip(KEYS, IS_TWO, strict=True) if two == (who == "two")]
        for who in ("one", "two")
    }


@pytest.mark.parametrize("scale", [-1.0, -2.0, -3.0])
def test_rows_that_do_not_fit_beside_the_champions_fall_back(scale: float, serve: Serve) -> None:
    """Another shape, text beside numbers, complex beside real: never an error, never a silent change."""
    app = start(serve, {"array": "rows:ids"})
    answer = app.post("/array", {"ids": KEYS, "values": VALUES.tolist(), "scale": scale})
    assert answer.json() == (VALUES * scale).tolist()
    assert marks(answer)["reason"] == "fallback,split"
    assert {fact.outcome for fact in app.facts if fact.variant == "two"} == {Outcome.ERROR}


def test_keys_may_be_the_rows_themselves_and_lossless_dtypes_are_the_champions(serve: Serve) -> None:
    """Numbers as keys; whole floats of the candidate become the champion's integers."""
    app = start(serve, {"keyed": "rows:values"})
    answer = app.post("/keyed", {"values": list(range(20))})
    assert answer.text.replace(" ", "") == str(list(range(1, 21))).replace(" ", "")
    assert marks(answer)["variant"] == "one,two"


def test_frames_keep_their_order_columns_and_types(serve: Serve) -> None:
    """The candidate's columns in another order and dtype come back as the champion's."""
    app = start(serve, {"frame": "rows:frame.user"})
    records = [{"user": key, "x": i} for i, key in enumerate(KEYS)]
    answer = app.post("/frame", {"frame": records})
    assert answer.json() == [{"x": i * 2, "who": "two" if two else "one"} for i, two in enumerate(IS_TWO)]
    assert '"x":0,' in answer.text.replace(" ", "")
    assert marks(answer)["variant"] == "one,two"
