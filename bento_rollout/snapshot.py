"""`Snapshot`: all that is decided about a rollout, as it is stored and looked at; pure, it changes nothing.

*Traffic* is what decides who answers: champion, weights and what salts the split. What else operators set
(targets, shadows, pause) is not undone with it. Where a rollback leads is told in `settling`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from .assignment import Range, Table, check_ranges
from .attempt import Try
from .errors import InvalidValue, StoreCorrupt, StoreUnreachable
from .settling import Settled, Stack, back_from_settled, newest_of
from .standing import Standing
from .targets import Target
from .values import Strict, in_words

__all__ = ["FORMAT", "Snapshot"]

FORMAT = 3
"""What a stored state looks like; a version that adds a field raises it: 2 ``attempt``, 3 ``automation``."""

S = TypeVar("S", bound="Snapshot")


def _as_written_now(_: int) -> int:
    """What an older version wrote is a state like any other here, and is written as this version does."""
    return FORMAT


class Snapshot(Strict):
    """Everything about a rollout that operators may change, as it is stored and looked at; immutable.

    Attributes:
        name: the rollout.
        revision: the number of this state; 0 before the first commit.
        champion: who answers by default.
        weights: thousandths of a percent by candidate; candidates without weight may be absent.
        ranges: the buckets that candidates own.
        standby: the variant that the next flip without a name goes to.
        shadow: thousandths of a percent by shadowed variant.
        targets: keys and headers that get a variant before the split.
        paused: whether automation may raise and promote.
        salt: what the hash of keys is salted with.
        granted: the digest that each variant's traffic was granted to.
        settled: the settled states that led here, oldest first.
        rolled_back: whether the newest change of traffic was a rollback.
        moved: the revision of the newest change of traffic.
        attempt: the running try, else the last one; None: there was none yet.
        automation: who decides, by automated endpoint.
        applied: digest of the spec content that `apply` set last, and the revision at which it did.
        format: what the stored state looks like.
    """

    name: str
    revision: int = Field(0, ge=0)
    champion: str
    weights: dict[str, int] = Field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    standby: str | None = None
    shadow: dict[str, int] = Field(default_factory=dict)
    targets: dict[str, Target] = Field(default_factory=dict)
    paused: bool = False
    salt: str
    granted: dict[str, str] = Field(default_factory=dict)
    settled: Stack = ()
    rolled_back: bool = False
    moved: int = 0
    attempt: Try | None = None
    automation: dict[str, Standing] = Field(default_factory=dict)
    applied: tuple[str, int] | None = None
    format: Annotated[int, AfterValidator(_as_written_now)] = Field(FORMAT, le=FORMAT)

    @model_validator(mode="after")
    def _whole(self) -> Snapshot:
        check_ranges(self.ranges, self.weights)
        if self.weights.get(self.champion):
            raise InvalidValue(f"the champion {self.champion!r} has a weight")
        return self

    @classmethod
    def load(cls: type[S], data: object) -> S:  # noqa: PYI019 - Self came with Python 3.11
        """Return the state that stored data describes.

        Raises:
            StoreUnreachable: a newer version wrote it.
            StoreCorrupt: it is not a state.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            found = data.get("format", FORMAT) if isinstance(data, Mapping) else FORMAT
            if isinstance(found, int) and found > FORMAT:
                raise StoreUnreachable(
                    f"a newer bento-rollout wrote this state (format {found}), and this version is too old: "
                    f"it knows up to format {FORMAT}; use a newer bento-rollout"
                ) from None
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"])) or "the whole"
            raise StoreCorrupt(f"the stored state is not readable: {place}: {item['msg']}") from None

    @property
    def is_settled(self) -> bool:
        """Whether all traffic goes to the champion, and no try runs."""
        return not any(self.weights.values()) and self.running is None

    @property
    def running(self) -> Try | None:
        """The try that runs."""
        return self.attempt if self.attempt is not None and self.attempt.runs else None

    @property
    def point(self) -> Settled:
        """This state as one that a rollback may go to.

        Raises:
            InvalidValue: when candidates have weight.
        """
        if any(self.weights.values()):
            raise InvalidValue(
                f"revision {self.revision} was not settled (weights {in_words(self.weights)}); "
                "a rollback goes to a state in which the champion had all traffic"
            )
        return Settled(revision=self.revision, champion=self.champion)

    @property
    def named(self) -> frozenset[str]:
        """Every variant that this state gives something to."""
        mentioned = {self.champion, *self.weights, *self.shadow, *self.targets}
        return frozenset(mentioned | ({self.standby} if self.standby else set()))

    @property
    def percents(self) -> dict[str, float]:
        """Weights in percent, by candidate."""
        return _percents(self.weights)

    @property
    def shadow_percents(self) -> dict[str, float]:
        """Shadow percents, by variant."""
        return _percents(self.shadow)

    def rollback_target(self, *, again: bool = False) -> Settled | None:
        """Return the settled state that a rollback would go to, or None: there is nothing to roll back.

        While a try runs it is the newest state of its control. While candidates have weight it is the state
        before they got any; ``again`` makes a difference only when the state is settled.
        """
        if self.running is not None:
            return newest_of(self.settled, self.running.control, self.running.started)
        if self.is_settled:
            return back_from_settled(self.settled, rolled_back=self.rolled_back, again=again)
        return self.settled[-1] if self.settled else Settled(revision=self.revision, champion=self.champion)

    def flip_target(self, known: Sequence[str]) -> str:
        """Return who a flip without a name goes to: the standby, else the only candidate."""
        if self.standby is not None and self.standby != self.champion:
            return self.standby
        candidates = [name for name in known if name != self.champion]
        if len(candidates) == 1:
            return candidates[0]
        listed = ", ".join(candidates) or "none"
        raise InvalidValue(f"no standby is set and the candidates are: {listed}; name one with --to VARIANT")

    def compile(self) -> Table:
        """Return the look-up table of this state."""
        keys = {key: variant for variant, target in self.targets.items() for key in target.keys}
        headers = tuple((n, v, to) for to, target in self.targets.items() for n, v in target.header.items())
        backups = tuple(dict.fromkeys(point.champion for point in reversed(self.settled)))
        routed = (self.revision, self.champion, self.salt, self.ranges, keys, headers, backups)
        return Table(*routed, tuple(self.shadow.items()))


def _percents(weights: Mapping[str, int]) -> dict[str, float]:
    return {name: milli / 1000 for name, milli in sorted(weights.items())}
