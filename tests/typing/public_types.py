"""The public types as users write them; never run: `mypy --strict` reads it; an error breaks a promise."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from bento_rollout import (
    Change,
    Flip,
    Hook,
    Notice,
    Rollout,
    RolloutError,
    RolloutSpec,
    Variant,
    Veto,
    Webhook,
    open_rollout,
    rollout,
)
from bento_rollout.assignment import Table
from bento_rollout.errors import Conflict, UnknownVariant
from bento_rollout.state import Commit, RolloutState


def warm_up(flip: Flip) -> None:
    """A sync hook."""
    assert_type(flip.source, str)
    flip.instance.predict([1.0])
    raise Veto("too slow")


async def tell(flip: Flip) -> None:
    """An async hook."""
    assert_type(flip.reason, str)


def announce(notice: Notice) -> None:
    """Who is told of decisions."""
    assert_type(notice.revision, int)
    assert_type(notice.words, str)
    assert_type(notice.causes, tuple[str, ...])
    assert_type(notice.plain, dict[str, Any])


async def announce_later(notice: Notice) -> None:
    """The same, async."""
    assert_type(notice.by_evidence, bool)


@bentoml.service(name="boosted")
class Boosted:
    """A candidate."""

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return a score for each row."""
        return rows.sum(axis=1)  # type: ignore[no-any-return]  # numpy's own typing


spec = RolloutSpec(name="screening", endpoints=("predict",))
assert_type(RolloutSpec.parse({"weights": {"boosted": 5}}), RolloutSpec)
assert_type(spec.weights, dict[str, int])


@rollout(
    champion="logistic",
    candidates={
        "boosted": Boosted,
        "v2": Variant(model="screening:v2"),
        "again": Variant(attributes={"x": 1}),
    },
    spec=spec,
    before_flip=[Hook(warm_up, timeout="5m"), warm_up],
    after_flip=tell,
    notify=[
        announce,
        announce_later,
        Hook(announce, timeout="1m"),
        Webhook("https://hooks.example.com/x", secret="env:ROLLOUT_WEBHOOK_SECRET", timeout="5s"),
    ],
)
@bentoml.service(name="screening", workers=2)
class Screening:
    """A champion."""

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return a score for each row."""
        return rows.mean(axis=1)  # type: ignore[no-any-return]  # numpy's own typing


def operate() -> None:
    """Every verb."""
    screening = open_rollout("screening", author="ann", store="sqlite:///rollouts.db")
    assert_type(screening, Rollout)
    changes: list[Change] = [
        screening.set_weights({"boosted": 5}, reason="first real traffic", if_revision=1),
        screening.set_weights({"boosted": 12.5}),
        screening.set_shadow({"boosted": 100}),
        screening.flip(),
        screening.flip(to="boosted", timeout=5, no_workers=True),
        screening.rollback(),
        screening.rollback(again=True),
        screening.rollback(to_revision=3),
        screening.undo(),
        screening.target("boosted", keys=["u1", 7], header={"x-ring": "dogfood"}),
        screening.target("boosted", keys=["u1"], remove=True),
        screening.retire("boosted", in_favour_of="logistic"),
        screening.pause(),
        screening.resume(),
        screening.promote(reason="we know"),
        screening.apply(spec),
    ]
    assert_type(changes[0].state, RolloutState)
    assert_type(changes[0].changed, bool)
    assert_type(changes[0].notes, tuple[str, ...])


def look(screening: Rollout) -> None:
    """Everything that can be read."""
    state = screening.state
    assert_type(state.champion, str)
    assert_type(state.percents, dict[str, float])
    assert_type(state.revision, int)
    assert_type(state.compile(), Table)
    assert_type(screening.history(), list[Commit])
    assert_type(screening.history(limit=5)[0].author, str)
    answers: NDArray[np.str_] = screening.assign(["u1", "u2"])
    assert_type(answers.tolist(), Any)
    assert_type(screening.status(), dict[str, Any])
    assert_type(screening.differences(spec), list[str])


def refuse(screening: Rollout) -> int:
    """Errors carry data."""
    try:
        screening.flip(to="boosted")
    except Conflict as error:
        assert_type(error.current, int)
        return error.current
    except UnknownVariant as error:
        assert_type(error.known, tuple[str, ...])
        raise
    except RolloutError as error:
        assert_type(error.http_status, int)
        return error.exit_code
    return 0


def wrong(screening: Rollout) -> None:
    """What a type checker must refuse: each line would be an unused ignore if it did not."""
    screening.flip("boosted", 5)  # type: ignore[call-arg]  # options are named
    screening.set_weights("boosted=5")  # type: ignore[arg-type]  # a mapping is expected
    screening.rollback(to_revision="3")  # type: ignore[arg-type]  # a number is expected
    rollout(champion=5)  # type: ignore[arg-type]  # a name is expected
    Hook("warm_up")  # type: ignore[arg-type]  # a callable is expected
    spec.weights = {}  # type: ignore[misc]  # specs are frozen
