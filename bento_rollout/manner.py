"""`Manner`: how people are asked about an endpoint, as a worker's card tells whoever has no spec; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from .automating import Automation
from .errors import InvalidValue
from .reviewing import Visibility
from .values import Strict

__all__ = ["Manner", "manner_of"]


class Manner(Strict):
    """How people are asked about the predictions of one endpoint.

    Attributes:
        choices: what they choose from; empty: they fill in a form.
        form: the JSON schema of what they fill in; None: they choose.
        inputs: what of the input is kept: ``reference``, ``sealed`` or ``plain``.
        keep, decisions: seconds until the input, and the decision, are deleted.
        suggestion: when reviewers see what the model says.
        blind_rate: the part of the cases in which it is hidden all the same.
        share: the part of the cases that two people answer.
        adjudicate: whether a third decides where the two differ.
        due: seconds in which an answer is wanted; None: whenever.
        max_open: how many cases may be open.
    """

    choices: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    inputs: Literal["reference", "sealed", "plain"]
    keep: float
    decisions: float
    suggestion: Visibility
    blind_rate: float = 0.0
    share: float = 0.0
    adjudicate: bool = False
    due: float | None = None
    max_open: int = Field(gt=0)

    @classmethod
    def parse(cls, data: object) -> Manner:
        """Return what a worker's card tells; fields that a newer worker wrote are passed over.

        Raises:
            InvalidValue: it is none.
        """
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if name in cls.model_fields}
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            raise InvalidValue(
                f"what a worker says of how people are asked is not readable: {place}"
            ) from None

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain data, for a worker's card."""
        return self.model_dump(mode="json")


def manner_of(automation: Automation, choices: tuple[str, ...], form: Mapping[str, Any] | None) -> Manner:
    """Return how people are asked by a spec.

    Args:
        automation: the endpoint's settings.
        choices: what people choose from; empty: they fill in a form.
        form: its JSON schema, where they do.
    """
    review = automation.review
    return Manner(
        choices=choices,
        form=None if choices or form is None else dict(form),
        inputs=review.inputs,
        keep=review.keep,
        decisions=automation.decisions.keep,
        suggestion=review.suggestion,
        blind_rate=review.blind_rate,
        share=review.overlap.share,
        adjudicate=review.overlap.adjudicate,
        due=review.due,
        max_open=review.overflow.max_open,
    )
