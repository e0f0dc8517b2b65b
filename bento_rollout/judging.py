"""How the label of a prediction and what was answered give a number: bad, from 0 to 1; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from .amounts import Number
from .errors import InvalidValue
from .keys import follow
from .values import Fraction, Strict, check_name, shown

__all__ = ["CORRECT", "UNNAMED", "Judge", "Judged", "Judging", "class_in", "judging_of"]

CORRECT = "correct"
"""What is built in: whether prediction and label are of the same class."""

UNNAMED = "label"
"""The name of labels that were told without one."""

Loss = Callable[[Any, Any], float]
"""Takes the prediction and the label; more is worse."""

_TRUTH = {"true": "1", "false": "0"}


def _path(value: object) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    kind, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    path = tuple(rest.split("."))
    if kind != "field" or not colon or not all(path) or rest != rest.strip():
        raise InvalidValue(
            f"prediction {shown(value)} is not valid: write where it is in the answer, like field:score, "
            "field:result.score, or field:0 for the first of a list"
        )
    return path


def _loss(value: object) -> str | Loss:
    if callable(value):
        return value
    module, colon, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InvalidValue(
            f"loss {shown(value)} is not valid: write module:function; it is called with the prediction "
            "and the label"
        )
    return f"{module}:{path}"


def _classes(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidValue(f"a list of labels is expected, like [1] or [fraud], not {shown(value)}")
    found = tuple(class_in(item) for item in value)
    if None in found:
        wrong = shown(value[found.index(None)])
        raise InvalidValue(f"{wrong} is no class: a label is text, a whole number, true or false")
    return tuple(dict.fromkeys(one for one in found if one is not None))


class Judging(Strict):
    """How the labels of one kind are judged; without fields: prediction and label must be of one class.

    Attributes:
        name: the name that the labels are told with; None: that of the entry, of ``correct`` ``label``.
        prediction: where the prediction is in the answer, as ``field:score``; None: the whole answer.
        positive: the labels of the positive class. Without a loss, what counts is that prediction and label
            are both positive, or both are not.
        loss: ``module:function`` or a function, called as ``loss(prediction, label)``; more is worse.
        range: the least and the largest loss; what is outside is clipped and counted.
        base_rate: which part of the predictions is positive, if it is known.

    >>> Judging(positive=[1], prediction="field:fraud").prediction
    ('fraud',)
    """

    name: Annotated[str, BeforeValidator(lambda name: check_name(name, "label name"))] | None = None
    prediction: (
        Annotated[
            tuple[str, ...],
            PlainValidator(_path),
            PlainSerializer(lambda path: f"field:{'.'.join(path)}", return_type=str),
        ]
        | None
    ) = None
    positive: Annotated[tuple[str, ...], PlainValidator(_classes)] | None = None
    loss: Annotated[str | Loss, PlainValidator(_loss)] | None = None
    range: tuple[Number, Number] = Field(default=(0.0, 1.0))
    base_rate: Fraction | None = None

    @model_validator(mode="after")
    def _whole(self) -> Judging:
        low, high = self.range
        if not low < high or not math.isfinite(high - low):
            raise InvalidValue(f"range [{low:g}, {high:g}] is not valid: the first must be below the second")
        if self.loss is None and "range" in self.model_fields_set:
            raise InvalidValue("a range is that of a loss, and there is none: write loss: module:function")
        return self

    def told_as(self, entry: str) -> str:
        """Return the name that labels have in the ledger, for the entry of this name in ``labels:``."""
        return self.name or (UNNAMED if entry == CORRECT else entry)


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one prediction and its label. Immutable.

    Attributes:
        bad: 0 is the best and 1 the worst; None: they give no number.
        clipped: whether the loss was outside its range.
        error: why there is no number: ``prediction`` (the answer has none, or no single class), ``label`` (it
            has no single class), ``loss`` (the function raised, or gave no finite number); else empty.
    """

    bad: float | None
    clipped: bool = False
    error: str = ""


class Judge:
    """Judges predictions by their labels, as an entry of ``labels:`` says.

    Made once, at the start; `bad_of` never raises, whatever the ledger holds and whatever the loss does.

    Args:
        judging: the entry.
        loss: the imported function of ``judging.loss``; needed where that is text.

    >>> judge = Judge(Judging(positive=["fraud"]))
    >>> judge.bad_of("fraud", {"label": "fine", "score": 0.1}), judge.bad_of("fine", "unsure")
    (1.0, 0.0)
    >>> Judge(Judging(), None).bad_of(1, [[0.2, 0.8]])
    0.0
    >>> Judge(Judging(loss=lambda score, label: abs(score - label), prediction="field:score")).bad_of(
    ...     1, {"score": 0.75}
    ... )
    0.25
    """

    def __init__(self, judging: Judging, loss: Loss | None = None) -> None:
        self._judging = judging
        self._loss = loss or (judging.loss if callable(judging.loss) else None)
        if judging.loss is not None and self._loss is None:
            raise InvalidValue(f"loss {judging.loss} is not imported: give the function")

    def bad_of(self, label: object, output: object) -> float | None:
        """Return how bad a prediction was: 0 is the best, 1 the worst; None: no number can be given.

        Args:
            label: the truth, as the ledger has it (plain JSON data).
            output: what was answered, likewise; of a request with rows, the row's.
        """
        return self.judged(label, output).bad

    def judged(self, label: object, output: object) -> Judged:
        """Return the same, with why there is no number, and whether the loss was clipped."""
        prediction = output if self._judging.prediction is None else follow(output, self._judging.prediction)
        if prediction is None:
            return Judged(None, error="prediction")
        if self._loss is not None:
            return self._lost(self._loss, prediction, label)
        want, have = class_in(label), class_in(prediction)
        if want is None or have is None:
            return Judged(None, error="label" if want is None else "prediction")
        if (positive := self._judging.positive) is not None:
            return Judged(float((want in positive) != (have in positive)))
        return Judged(float(want != have))

    def is_positive(self, label: object) -> bool | None:
        """Return whether a label is of the positive class; None: that is not said."""
        positive = self._judging.positive
        return None if positive is None else class_in(label) in positive

    def _lost(self, loss: Loss, prediction: object, label: object) -> Judged:
        low, high = self._judging.range
        try:
            value = float(loss(prediction, label))
        except Exception:  # noqa: BLE001 - the user's function must not cost the evidence of the others
            return Judged(None, error="loss")
        if not math.isfinite(value):
            return Judged(None, error="loss")
        return Judged((min(max(value, low), high) - low) / (high - low), not low <= value <= high)


def judging_of(labels: Mapping[str, Judging], entry: str) -> Judging | None:
    """Return how the labels of a guardrail ``label.ENTRY`` are judged; None: nothing says it.

    >>> judging_of({}, "correct").told_as("correct")
    'label'
    """
    return labels.get(entry) or (Judging() if entry == CORRECT else None)


def class_in(value: object) -> str | None:
    """Return the one class that a label or a prediction is of, as text; None: none, or several.

    ``1``, ``1.0``, ``"1"``, ``true`` and ``"true"`` are alike, and so are ``0`` and ``false``. A list of one
    item is that item. Else as for shadows: ``{"label": …}``, or the greatest of several scores.

    >>> class_in(True), class_in([1.0]), class_in({"label": "cat"}), class_in([0.2, 0.8]), class_in(0.8)
    ('1', '1', 'cat', '1', None)
    """
    from .labels import label_in  # it brings what compares answers, and few services have labels

    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = label_in(value)
    return None if found is None else _TRUTH.get(found, found)
