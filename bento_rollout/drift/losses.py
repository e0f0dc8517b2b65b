"""How wrong an answer was by its label, read from both as a ledger has them: plain JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from typing import Any

import mmh3

from ..errors import InvalidValue
from ..labels import label_in

__all__ = ["KINDS", "Sight", "auto_kind", "loss_of", "losses_of"]

KINDS = ("zero_one", "log", "absolute", "pinball")
"""The losses that there are."""

TINIEST = 1e-12
"""A probability is taken to be at least so large: one certain mistake costs 27.6, not infinity."""

ROUNDED = 0.02
"""How far from 1 the sum of probabilities may be: what rounding to two digits costs."""

DEEPEST = 8
"""Levels of an answer in which one value is looked for."""

MOST = 0.9
"""The part of the pairs that must have a loss of the kind that is chosen for them."""

FEW = 20
"""Whole numbers of more different values than these are amounts, and no classes."""

_TRUTHS = {"true": "1", "false": "0"}
_SCORES = ("score", "probability", "confidence")
_AMOUNTS = ("value", "prediction", "output")


def loss_of(kind: str, label: Any, output: Any) -> float | None:
    """Return how wrong an answer was; None: the two have no such loss. Never raises on odd ones.

    ============  =======================  ==============================================================
    kind          label                    the answer
    ============  =======================  ==============================================================
    ``zero_one``  a class                  a class, or scores of classes (the greatest counts); one number
                                           between 0 and 1 is the probability of class 1. 1 is wrong.
    ``log``       a class                  probabilities: a mapping of classes, a list by the class's
                                           number, one number (of class 1), or a ``label`` with its
                                           ``score`` (all other classes count as one)
    ``absolute``  a number                 a number
    ``pinball``   a number                 a mapping of quantiles (``{"0.1": 3, "0.9": 8}``): their mean;
                                           or a number, the median
    ============  =======================  ==============================================================

    ``True``, ``1``, ``1.0`` and ``"1"`` are the same class. One value in a list, or in a field ``value``,
    ``prediction`` or ``output``, is that value.

    Args:
        kind: one of `KINDS`.
        label: what was true.
        output: what was answered.

    Raises:
        InvalidValue: there is no such kind.

    >>> loss_of("zero_one", 1, [0.2, 0.8]), loss_of("zero_one", "cat", {"cat": 0.4, "dog": 0.6})
    (0.0, 1.0)
    >>> loss_of("log", True, 0.5), loss_of("absolute", 3, [5.5]), loss_of("absolute", 3, "five")
    (0.6931471805599453, 2.5, None)
    """
    if kind not in KINDS:
        raise InvalidValue(f"loss {kind!r} is none: choose one of {', '.join(KINDS)}")
    try:
        loss = _LOSSES[kind](label, output)
    except Exception:  # noqa: BLE001 - what callers and people wrote must not stop what looks at it
        return None
    return loss if loss is not None and math.isfinite(loss) else None


def losses_of(label: Any, output: Any) -> tuple[float | None, ...]:
    """Return the loss of each of `KINDS`."""
    return tuple(loss_of(kind, label, output) for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of labels and answers, by which the kind of loss is found. Frozen, and small.

    Attributes:
        pairs: how many were seen.
        usable: how many of these have a loss, for each of `KINDS`.
        graded: how many answers had a probability other than 0 and 1.
        quantiles: how many answers were mappings of quantiles.
        fractions: whether a number was not whole.
        classes: hashes of the different labels, as far as there are few.
    """

    pairs: int = 0
    usable: tuple[int, ...] = (0,) * len(KINDS)
    graded: int = 0
    quantiles: int = 0
    fractions: bool = False
    classes: frozenset[int] = frozenset()

    def plus(self, label: Any, output: Any) -> Sight:
        """Return it with one more pair."""
        losses = losses_of(label, output)
        log, name = losses[KINDS.index("log")], _class(label)
        numbers = [found for found in (_number(label), _number(output)) if found is not None]
        classes = self.classes
        if name is not None and len(classes) <= FEW:
            classes |= {mmh3.hash64(name, 0, signed=False)[0]}
        return Sight(
            self.pairs + 1,
            tuple(count + (loss is not None) for count, loss in zip(self.usable, losses, strict=True)),
            self.graded + (log is not None and 0 < log < -math.log(TINIEST)),
            self.quantiles + bool(_quantiles(output)),
            self.fractions or any(number != int(number) for number in numbers),
            classes,
        )

    @property
    def kind(self) -> str | None:
        """The loss that fits: of probabilities ``log``, of quantiles ``pinball``, of amounts ``absolute``.

        Else ``zero_one``. None: nine in ten pairs have no loss of one kind.
        """
        if not self.pairs:
            return None
        fits = {kind for kind, count in zip(KINDS, self.usable, strict=True) if count >= MOST * self.pairs}
        amounts = self.fractions or len(self.classes) > FEW
        if "pinball" in fits and self.quantiles >= MOST * self.pairs:
            return "pinball"
        if "log" in fits and self.graded:
            return "log"
        if "absolute" in fits and (amounts or "zero_one" not in fits):
            return "absolute"
        return "zero_one" if "zero_one" in fits else None


def auto_kind(labels: Sequence[Any], outputs: Sequence[Any]) -> str | None:
    """Return the kind of loss that fits labels and their answers; None: none fits nine in ten of them.

    >>> auto_kind([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), auto_kind(["a", "b"], ["a", "a"])
    ('log', 'zero_one')
    >>> auto_kind([3.5, 4.0], [3, 4.25]), auto_kind([3.5], [{"0.1": 3, "0.9": 8}]), auto_kind(["a"], [None])
    ('absolute', 'pinball', None)
    """
    pairs = zip(labels, outputs, strict=True)
    return reduce(lambda sight, pair: sight.plus(*pair), pairs, Sight()).kind


# -- the losses ---------------------------------------------------------------------------------------------


def _zero_one(label: Any, output: Any) -> float | None:
    true, said = _class(label), _answered(output)
    return None if true is None or said is None else float(true != said)


def _log(label: Any, output: Any) -> float | None:
    true = _class(label)
    found = None if true is None else _probability(true, output)
    return None if found is None else -math.log(min(max(found, TINIEST), 1.0)) + 0.0


def _absolute(label: Any, output: Any) -> float | None:
    true, said = _number(label), _number(output)
    return None if true is None or said is None else abs(true - said)


def _pinball(label: Any, output: Any) -> float | None:
    if (true := _number(label)) is None:
        return None
    if found := _quantiles(output):
        return math.fsum(_pinned(true, said, level) for level, said in found.items()) / len(found)
    said = _number(output)
    return None if said is None else _pinned(true, said, 0.5)


def _pinned(true: float, said: float, level: float) -> float:
    return max(level * (true - said), (level - 1) * (true - said))


_LOSSES = {"zero_one": _zero_one, "log": _log, "absolute": _absolute, "pinball": _pinball}


# -- what values say ----------------------------------------------------------------------------------------


def _single(value: Any) -> Any:
    """Return the one value that lies in lists of one."""
    for _ in range(DEEPEST):
        if not isinstance(value, (list, tuple)) or len(value) != 1:
            break
        value = value[0]
    return value


def _real(value: Any) -> float | None:
    """Return a finite number, as which a truth value does not count."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _number(value: Any) -> float | None:
    for _ in range(DEEPEST):
        value = _single(value)
        if not isinstance(value, Mapping):
            break
        value = next((value[name] for name in _AMOUNTS if name in value), None)
    return _real(value)


def _class(value: Any) -> str | None:
    """Return the name of a class: numbers that are equal, and truth values, have the same."""
    value = _single(value)
    if isinstance(value, bool):
        return str(int(value))
    if (number := _real(value)) is not None:
        return str(int(number)) if number == int(number) else None
    found = label_in(value)
    return None if found is None else _TRUTHS.get(found.lower(), found)


def _answered(output: Any) -> str | None:
    """Return the class of an answer; of one number between 0 and 1 the likelier of the classes 0 and 1."""
    output = _single(output)
    if isinstance(output, float) and 0 < output < 1:
        return str(int(output >= 0.5))  # noqa: PLR2004 - the likelier one
    return _class(output)


def _probability(true: str, output: Any, depth: int = 0) -> float | None:
    """Return the probability that an answer gave to a class; None: it gave none."""
    output = _single(output)
    if (number := _real(output)) is not None:
        return _of_one(true, "1", number) if true in ("0", "1") else None
    if isinstance(output, Mapping):
        return _of_fields(true, output, depth)
    return _of_list(true, output) if isinstance(output, (list, tuple)) else None


def _of_fields(true: str, fields: Mapping[Any, Any], depth: int) -> float | None:
    if fields.get("probabilities") is not None:
        return _probability(true, fields["probabilities"], depth + 1) if depth < DEEPEST else None
    if "label" not in fields:
        return _of_many(true, {_named(name): _real(score) for name, score in fields.items()})
    score = next((_real(fields[name]) for name in _SCORES if name in fields), None)
    said = _class(fields["label"])
    return None if said is None or score is None else _of_one(true, said, score)


def _of_list(true: str, items: Sequence[Any]) -> float | None:
    if items and all(isinstance(item, Mapping) for item in items):
        scored = {_class(item.get("label")): _real(item.get("score")) for item in items}
        return _of_many(true, scored) if len(scored) == len(items) and None not in scored else None
    found = _of_many(true, {str(place): _real(item) for place, item in enumerate(items)})
    return found if true.isdecimal() and int(true) < len(items) else None


def _named(name: Any) -> str:
    return _class(name) or str(name)


def _of_one(true: str, said: str, score: float) -> float | None:
    if not 0 <= score <= 1 + ROUNDED:
        return None
    score = min(score, 1.0)
    return score if true == said else 1 - score


def _of_many(true: str, scores: Mapping[Any, float | None]) -> float | None:
    found = [score for score in scores.values() if score is not None and 0 <= score <= 1 + ROUNDED]
    if len(found) < len(scores) or abs(math.fsum(found) - 1) > ROUNDED:
        return None
    return scores.get(true) or 0.0


def _quantiles(output: Any) -> dict[float, float]:
    """Return the quantiles of a mapping by their levels; empty: it is no such mapping."""
    output = _single(output)
    found: dict[float, float] = {}
    if isinstance(output, Mapping):
        for name, value in output.items():
            try:
                level = float(name)
            except (TypeError, ValueError):
                return {}
            number = _real(value)
            if not 0 < level < 1 or number is None:
                return {}
            found[level] = number
    return found
