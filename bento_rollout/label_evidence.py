"""What labels that come late say of the variants: sums that are added in any order; pure.

A prediction counts when it reaches its maturity age, labelled or not. Were it to count when its label comes,
what is found out soon (a fraud that was noticed, a patient who came back) would count before what is found
out late, and a variant would look worse, or better, by the speed of its labels alone.

What a mature prediction without a label says: that its label is missing, and nothing about how good it was.
It is left out of the rate (to call it bad would punish whoever's labels get lost, to call it good would hide
harm), and counts among those whose label should be there: the part of predictions that found their label must
be alike in both arms. Where it is not, labels of one of them are lost, and what is left is no fair sample:
that is `unmeasurable`, and no verdict about the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mmh3

from .arms import Arm
from .errors import InvalidValue
from .evidence import Evidence, Place
from .sums import GRAIN, MISSING, MeasureSums

__all__ = ["BadOf", "KeyLabel", "LabelArm", "LabelSums", "Mature", "judged", "measured", "sums_of", "unit_of"]

_WHOLE = 1 << 64
_FAR = 1e12

BadOf = Callable[[Any, Any], float | None]
"""Takes the label and the answer, as the ledger has them; gives how bad that is, 0 to 1; None: no number."""


@dataclass(frozen=True, slots=True)
class Mature:
    """A prediction that has reached its maturity age. Immutable.

    Attributes:
        prediction_id: ``ID``, or ``ID.i`` for row i.
        time: when the request came, in seconds since 1970.
        revision, endpoint, variant: where, and who answered; it was drawn for it, and answered by itself.
        keyed: whether the request had a routing key.
        key_hash: the key's hash; None: it had none, or it could not be hashed.
        inference_id: the caller's own id.
        labelled: whether a label was there in time.
        label: the newest one.
        output: what was answered, where it is kept; only read where there is a label.
    """

    prediction_id: str
    time: float
    revision: int
    endpoint: str
    variant: str
    keyed: bool = False
    key_hash: str | None = None
    inference_id: str | None = None
    labelled: bool = False
    label: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)

    @property
    def unit(self) -> int | None:
        """The 64-bit hash of what counts once where routing is sticky; None: its key has no hash.

        That is the key; without one the caller's own id, so that a client's retries count once; or the
        prediction.
        """
        if self.keyed and self.key_hash is None:
            return None
        return unit_of(self.key_hash, self.inference_id, self.prediction_id)


def unit_of(key_hash: str | None, inference_id: str | None, prediction_id: str) -> int:
    """Return the 64-bit hash of whose a prediction is: a key's, the caller's own id's, or its own."""
    who = f"key:{key_hash}" if key_hash is not None else f"call:{inference_id or prediction_id}"
    return mmh3.hash64(who, 0, signed=False)[0]


class KeyLabel(NamedTuple):
    """What the first mature prediction of a key says; one that gives a number comes before others.

    Attributes:
        bad: from 0 to 1; None: no number.
        labelled: whether it had a label.
        time: when the request came, in seconds since 1970.
    """

    bad: float | None
    labelled: bool
    time: float

    def plus(self, other: KeyLabel) -> KeyLabel:
        """Return which of both counts."""
        return min(self, other, key=_before)


def _before(one: KeyLabel) -> tuple[bool, bool, float, float]:
    return one.bad is None, not one.labelled, one.time, one.bad or 0.0


@dataclass(slots=True)
class LabelArm:
    """What the mature predictions of one variant in one place came to.

    Attributes:
        predictions: how many there are.
        labelled: how many of these had a label; the others say only that it is missing.
        judged: how many of these gave a number: the rate is ``bad / judged``.
        bad: the sum of these numbers, each from 0 to 1.
        keys: what each key's first one says, by its 64-bit hash; empty where routing is not sticky.
        unhashed: how many had a key that has no hash: where routing is sticky these are of no use.
    """

    predictions: int = 0
    labelled: int = 0
    judged: int = 0
    bad: float = 0.0
    keys: dict[int, KeyLabel] = field(default_factory=dict)
    unhashed: int = 0

    def add(self, other: LabelArm) -> None:
        """Add what was counted at another time."""
        self.predictions += other.predictions
        self.labelled += other.labelled
        self.judged += other.judged
        self.bad += other.bad
        self.unhashed += other.unhashed
        for key, said in other.keys.items():
            self.add_key(key, said)

    def add_key(self, key: int, said: KeyLabel) -> None:
        """Note what a prediction of a key says."""
        known = self.keys.get(key)
        self.keys[key] = said if known is None else known.plus(said)


@dataclass(slots=True)
class LabelSums:
    """The sums of one name's labels; as large as what was put in: a read of the ledger is bounded.

    Attributes:
        arms: what each variant's predictions came to, by place and variant.

    >>> row = Mature("id", 0.0, 7, "predict", "boosted", labelled=True, label="fraud", output="fine")
    >>> sums = sums_of([row], lambda label, output: float(label != output))
    >>> arm = sums.arms[Place(7, "predict")]["boosted"]
    >>> arm.predictions, arm.labelled, arm.bad
    (1, 1, 1.0)
    """

    arms: dict[Place, dict[str, LabelArm]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self.arms)

    def arm(self, place: Place, variant: str) -> LabelArm:
        """Return the sums of one variant in one place, which are made if need be."""
        return self.arms.setdefault(place, {}).setdefault(variant, LabelArm())

    def add(self, other: LabelSums) -> None:
        """Add what was counted at another time, in any order."""
        for place, arms in other.arms.items():
            for variant, arm in arms.items():
                self.arm(place, variant).add(arm)

    def to_plain(self) -> list[dict[str, Any]]:
        """Return it as what JSON can say, one object for each variant of each place."""
        return [
            {
                "revision": place.revision, "endpoint": place.endpoint, "variant": variant,
                "predictions": arm.predictions, "labelled": arm.labelled, "judged": arm.judged,
                "bad": arm.bad, "keys": [[key, *said] for key, said in sorted(arm.keys.items())],
                "unhashed": arm.unhashed,
            }
            for place, arms in sorted(self.arms.items())
            for variant, arm in sorted(arms.items())
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, rows: object) -> LabelSums:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it is something else, or says what cannot be: more labels than predictions.
        """
        if not isinstance(rows, list):
            raise InvalidValue(f"these are no sums of labels: a {type(rows).__name__}, no list")
        sums = cls()
        try:
            for row in rows:
                place = Place(_number(row["revision"]), str(row["endpoint"]))
                sums.arm(place, str(row["variant"])).add(_arm_of(row))
        except InvalidValue:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"these are no sums of labels: {error!r}") from error
        return sums


def sums_of(rows: Iterable[Mature], bad_of: BadOf, *, sticky: Collection[str] = ()) -> LabelSums:
    """Return the sums of mature predictions.

    Args:
        rows: the predictions.
        bad_of: how bad an answer was by its label (see `judged`).
        sticky: the endpoints whose routing is sticky: there the keys are told apart.
    """
    sums = LabelSums()
    for row in rows:
        arm = sums.arm(Place(row.revision, row.endpoint), row.variant)
        bad = judged(bad_of, row.label, row.output) if row.labelled else None
        arm.predictions += 1
        arm.labelled += row.labelled
        if bad is not None:
            arm.judged += 1
            arm.bad += bad
        if row.endpoint not in sticky:
            continue
        if (unit := row.unit) is None:
            arm.unhashed += 1
        else:
            arm.add_key(unit, KeyLabel(bad, row.labelled, row.time))
    return sums


def measured(sums: LabelSums, guardrail: str) -> Evidence:
    """Return the numbers of late labels as those of a measure, which is tested alike.

    How many predictions had no label is beside it, under the name with `MISSING`. Where routing is sticky, an
    arm of which no key was hashed is left out: its calls are no units.

    Args:
        sums: the sums.
        guardrail: whose they are, like ``label.correct``.
    """
    evidence = Evidence()
    for place, arms in sums.arms.items():
        for variant, arm in arms.items():
            if arm.unhashed and not arm.keys:
                continue
            keys = {key: (said.bad, said.time) for key, said in arm.keys.items() if said.bad is not None}
            gone = {key: (float(not said.labelled), said.time) for key, said in arm.keys.items()}
            lost = MeasureSums(arm.predictions, float(arm.predictions - arm.labelled), 0, gone)
            sums_ = {guardrail: MeasureSums(arm.judged, arm.bad, 0, keys), guardrail + MISSING: lost}
            found = Arm(measures=sums_)
            evidence.arms.setdefault(place, {})[variant] = found
    return evidence


def judged(bad_of: BadOf, label: Any, output: Any) -> float | None:
    """Return how bad an answer was, from 0 to 1; None: no number.

    When ``bad_of`` raises, or gives NaN, that is none: the user's function must not cost the evidence of the
    others. What is outside 0 to 1 is clipped; it is rounded to a millionth, so that sums are exact.
    """
    try:
        bad = bad_of(label, output)
        bad = None if bad is None else float(bad)
    except Exception:  # noqa: BLE001 - a user's function
        return None
    if bad is None or math.isnan(bad):
        return None
    return round(min(max(bad, 0.0), 1.0) * GRAIN) / GRAIN


def _arm_of(row: Mapping[str, Any]) -> LabelArm:
    """Return an arm of what `LabelSums.to_plain` told.

    Raises:
        InvalidValue: it cannot be.
    """
    predictions, labelled, judged, unhashed = (
        _number(row[name]) for name in ("predictions", "labelled", "judged", "unhashed")
    )
    bad = float(row["bad"])
    if (
        not predictions >= labelled >= judged
        or unhashed > predictions
        or not 0 <= bad <= judged + 1e-6 * judged
    ):
        raise InvalidValue(
            f"{judged} numbers (their sum is {bad}) of {labelled} labels of {predictions} predictions: "
            "that cannot be"
        )
    keys = {}
    for key, said, has_label, time in row["keys"]:
        if not 0 <= _number(key) < _WHOLE or not abs(time) < _FAR or not (said is None or 0 <= said <= 1):
            raise InvalidValue(f"no key can be like this: {[key, said, time]}")
        keys[key] = KeyLabel(None if said is None else float(said), bool(has_label), float(time))
    return LabelArm(predictions, labelled, judged, bad, keys, unhashed)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise InvalidValue(f"{value!r} is no count: it is a whole number from 0")
    return value
