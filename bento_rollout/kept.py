"""What is written of predictions, and what is kept of them: log lines and the ledger, as a spec says it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from .amounts import DAY
from .errors import InvalidValue
from .values import Fraction, Seconds, Size, Strict, shown

__all__ = ["Ledger", "Logging", "parse_ledger"]

SAMPLED = ("prediction.served", "shadow.compared", "shadow.dropped")
"""The events of which a part of the lines may be written; of the others, and of failures, all are."""

_PATH = re.compile(r"[^\W\d]\w*(?:\[\]|\.(?:\*|[^.\[\]*]+))*")


def _event(value: object) -> str:
    if value not in SAMPLED:
        raise InvalidValue(f"{shown(value)} is no event that is sampled; those are: {', '.join(SAMPLED)}")
    return str(value)


def _input_path(value: object) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise InvalidValue(
            f"path {shown(value)} is not valid: write argument.field, rows[].name or patient.* "
            "([] stands for each item, * for each field)"
        )
    return value


Flag = Annotated[bool, Field(strict=True)]
EventName = Annotated[str, BeforeValidator(_event)]
InputPath = Annotated[str, BeforeValidator(_input_path)]


class Logging(Strict):
    """Which lines are written, and what they tell of a prediction beside who answered it.

    Attributes:
        sample: by event, the fraction of its lines that is written; all lines of failures are.
        inputs: whether lines of predictions hold the endpoint's arguments.
        drop, hash, mask: paths in the arguments (``rows[].name``, ``patient.*``) that are left out, replaced
            by a keyed hash, or replaced by ``***``.
    """

    sample: dict[EventName, Fraction] = Field(default_factory=dict)
    inputs: Flag = False
    drop: tuple[InputPath, ...] = ()
    hash: tuple[InputPath, ...] = ()
    mask: tuple[InputPath, ...] = ()


class Ledger(Strict):
    """What is kept of each prediction, and for how long.

    Attributes:
        enabled: whether predictions are kept at all.
        outputs: whether answers are kept, as far as they are not long.
        inputs: whether the endpoint's arguments are.
        keep: seconds until a prediction is forgotten, its labels with it; it may be written ``retention``.
        max_size: bytes of the file; the oldest predictions go; it may be written ``size``.
    """

    enabled: Flag = True
    outputs: Flag = True
    inputs: Flag = False
    keep: Seconds = Field(default=30 * DAY, validation_alias=AliasChoices("keep", "retention"))
    max_size: Size = Field(default=1_000_000_000, validation_alias=AliasChoices("max_size", "size"))


def parse_ledger(value: object) -> object:
    """Return the fields of a ledger; ``true`` and ``false`` are short for the one that says whether."""
    return {"enabled": value} if isinstance(value, bool) else value
