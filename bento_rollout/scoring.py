"""How sure a model is of an answer: read from the answer, in the sense in which `labels` reads its class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from .arrays import is_array, is_scalar
from .automating import Score
from .keys import follow
from .kinds import Kind, read

__all__ = ["max_probability", "score_of"]

DEEPEST = 8
"""Levels of an answer in which probabilities are looked for."""

_ROUNDING = 1e-6
"""How far above 1 a probability may be: what float32 costs, and no more."""


def score_of(score: Score, output: Any, function: Callable[[Any], Any] | None = None) -> float | None:
    """Return how sure the model is of an output; None: it has no score. Never raises.

    Args:
        score: where it stands.
        output: what the model answered.
        function: the imported function of a score that is called; needed where ``score.function`` is text.

    >>> score_of(Score.parse("field:result.score"), {"result": {"score": 0.9}})
    0.9
    >>> score_of(Score.parse("field:result.score"), "benign") is None
    True
    """
    try:
        if score.kind == "max_probability":
            return max_probability(output)
        if score.kind == "field":
            return _finite(follow(output, score.path))
        call = function or score.function
        return _finite(call(output)) if callable(call) else None
    except Exception:  # noqa: BLE001 - the user's function, or a property of the output, must not cost an answer
        return None


def max_probability(output: Any) -> float | None:
    """Return the largest class probability in an output; None: there is none, or there are several rows.

    ======================================================  ====================================
    an output                                               its score
    ======================================================  ====================================
    floats in a list or an array, also as a single row      the greatest
    a mapping of labels to scores                           the greatest
    a mapping or a model with ``label`` and ``score``       the score
    a mapping or a model with ``probabilities``             as of these
    a list of ``{label: …, score: …}``                      that of the first, as its label is
    anything else, one number among it; logits, NaN         none
    ======================================================  ====================================

    >>> max_probability([[0.2, 0.8]]), max_probability({"cat": 0.4, "dog": 0.6}), max_probability("cat")
    (0.8, 0.6, None)
    """
    return _largest(output, 0)


def _largest(value: Any, depth: int) -> float | None:
    if depth > DEEPEST:
        return None
    kind, contents = read(value)
    if kind in (Kind.MAPPING, Kind.MODEL):
        return _in_fields(contents, depth + 1)
    if kind in (Kind.LIST, Kind.TUPLE):
        return _in_list(list(contents), depth + 1)
    if kind in (Kind.SERIES, Kind.FRAME):
        contents = contents.to_numpy()
    if kind in (Kind.ARRAY, Kind.SERIES, Kind.FRAME):
        return _in_array(contents)
    return None


def _in_fields(fields: Mapping[Any, Any], depth: int) -> float | None:
    if "probabilities" in fields:
        return _largest(fields["probabilities"], depth)
    if "label" in fields:
        return _greatest([fields.get("score")])
    return _greatest(list(fields.values())) if len(fields) > 1 else None


def _in_list(items: list[Any], depth: int) -> float | None:
    if not items:
        return None
    if len(items) > 1 and any(isinstance(item, float) or is_scalar(item) for item in items):
        return _greatest(items)
    kind, first = read(items[0])
    if len(items) == 1 or (kind in (Kind.MAPPING, Kind.MODEL) and "label" in first):
        return _largest(items[0], depth)
    return None


def _in_array(array: Any) -> float | None:
    """Return the greatest of a single row of floats."""
    if not is_array(array) or array.ndim == 0 or array.dtype.kind != "f" or array.shape[-1] < 2:  # noqa: PLR2004
        return None
    return _greatest(array.ravel().tolist()) if array.size == array.shape[-1] else None


def _greatest(values: list[Any]) -> float | None:
    """Return the greatest probability; None where one of them is none."""
    found = [_finite(value) for value in values]
    if any(one is None or not 0 <= one <= 1 + _ROUNDING for one in found):
        return None
    return min(1.0, max(one for one in found if one is not None))


def _finite(value: Any) -> float | None:
    """Return a finite number as a float; None for anything else, truth values among it."""
    if is_array(value) and value.size == 1:
        value = value.item()
    if is_scalar(value):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
