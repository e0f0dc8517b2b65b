"""Which of the choices an output is: what a model says of a case, in the words that its reviewers have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .labels import label_in
from .showing import plain_of

__all__ = ["choice_in"]

_TRUTHS = ("true", "false")


def choice_in(
    output: Any, choices: Sequence[str], function: Callable[[Any], Any] | None = None
) -> str | None:
    """Return which choice an output is; None: none of them. Never raises.

    A label that is no choice and is the index of one is that one. Without choices it is its label.

    Args:
        output: what a model answered.
        choices: those that there are.
        function: the user's own ``choice_of``, called with the output; None: the one label in it.

    >>> choice_in([0.1, 0.9], ["benign", "malignant"]), choice_in({"label": "cat"}, ["cat", "dog"])
    ('malignant', 'cat')
    >>> choice_in("odd", ["benign", "malignant"]) is None, choice_in(True, ["true", "false"])
    (True, 'true')
    """
    try:
        found = plain_of(label_in(output) if function is None else function(output))
    except Exception:  # noqa: BLE001 - whoever cannot say which choice it is has not said it
        return None
    if found is None:
        return None
    label = str(found)
    if not choices or label in choices:
        return label
    if label.lower() in _TRUTHS:
        return next((choice for choice in choices if choice.lower() == label.lower()), None)
    index = int(label) if label.isascii() and label.isdigit() and len(label) < _DIGITS else len(choices)
    return choices[index] if index < len(choices) else None


_DIGITS = 10
"""A label of more digits is no index."""
