"""Which choices an endpoint's own output type has, and which output each of them is; pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

__all__ = ["outputs_in"]


def outputs_in(annotation: Any) -> Mapping[str, Any] | None:
    """Return the outputs of a type that is a choice, by the choice's text; None: the type is no choice.

    Empty for plain text, where each choice is itself the output. The texts are the labels that `label_in`
    finds in the outputs, so that people and model are compared alike.

    >>> dict(outputs_in(Literal["benign", "malignant"]))
    {'benign': 'benign', 'malignant': 'malignant'}
    >>> dict(outputs_in(bool)), dict(outputs_in(str)), outputs_in(float)
    ({'false': False, 'true': True}, {}, None)
    """
    if annotation is str:
        return {}
    if annotation is bool:
        values: list[Any] = [False, True]
    elif get_origin(annotation) is Literal:
        values = list(get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        values = list(annotation)
    else:
        return None
    texts = [_text(value) for value in values]
    if not texts or None in texts:
        return None
    return {text: value for text, value in zip(texts, values, strict=True) if text is not None}


def _text(value: Any) -> str | None:
    value = value.value if isinstance(value, Enum) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) else None
