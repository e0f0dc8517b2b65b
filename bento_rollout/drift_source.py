"""`Source`: where the reference comes from that traffic is compared with, as a spec says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, model_validator

from .amounts import in_time, whole_number
from .errors import InvalidValue
from .explaining import Problem, Problems
from .values import Seconds, Strict, check_name, shown

__all__ = ["FORMATS", "LEAST_ROWS", "Source"]

FORMATS = (".json", ".csv", ".jsonl", ".npy", ".npz", ".parquet")
"""What a reference's file may end with; ``.json`` is one that ``bento-rollout drift NAME fit`` wrote."""

LEAST_ROWS = 200
"""Fewer rows are no reference: a quarter of them only says where the bins lie."""

FEWEST = 1000
"""Rows of the ledger that make a reference, where nothing else is written."""

LONGEST_PATH = 4096
"""Letters of a file's path."""


def _file(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > LONGEST_PATH:
        raise InvalidValue(f"file {shown(value)} is not the path of a file: write like training.parquet")
    if not value.lower().endswith(FORMATS):
        raise InvalidValue(
            f"file {shown(value)} is of no known format: its name ends with one of {', '.join(FORMATS)}"
        )
    return value


def _tag(value: object) -> str:
    name, _, version = value.partition(":") if isinstance(value, str) else ("", "", "")
    try:
        check_name(name, "model")
        check_name(version or "latest", "version")
    except InvalidValue:
        raise InvalidValue(
            f"sealed {shown(value)} is not the tag of a model: write like screening:champion"
        ) from None
    return str(value)


class Source(Strict):
    """Where the reference comes from: one of ``file``, ``ledger`` and ``sealed``.

    Attributes:
        file: the path of a file, a relative one beside the spec's; with ``sealed`` its name in the artifact.
        sealed: the tag of a sealed model that the file is part of.
        ledger: seconds: the inputs of that time before the watch began, as the ledger kept them.
        min_rows: how many of them there must be, with ``ledger``.
    """

    file: Annotated[str, BeforeValidator(_file)] | None = None
    sealed: Annotated[str, BeforeValidator(_tag)] | None = None
    ledger: Seconds | None = None
    min_rows: Annotated[int, BeforeValidator(whole_number("min_rows", LEAST_ROWS, 10_000_000))] = FEWEST

    @model_validator(mode="after")
    def _one(self) -> Source:
        if self.ledger is not None and (self.file or self.sealed):
            other = "sealed" if self.sealed else "file"
            words = f"ledger and {other} are two references: write one of them"
            raise Problems([Problem(("ledger",), words)])
        if self.ledger is None and self.file is None and self.sealed is None:
            words = "it says nothing: write {file: training.parquet}, {ledger: 14d} or "
            raise Problems([Problem((), f"{words}{{sealed: TAG, file: drift.json}}")])
        if self.ledger is None and self.min_rows != FEWEST:
            words = "it counts the rows of the ledger, and the reference is a file: leave it out"
            raise Problems([Problem(("min_rows",), words)])
        return self

    @property
    def name(self) -> str:
        """The file's name in the artifact, with ``sealed``."""
        return self.file or "drift.json"

    def __str__(self) -> str:
        if self.ledger is not None:
            return f"the ledger's last {in_time(self.ledger)}"
        return f"{self.name} in {self.sealed}" if self.sealed else str(self.file)
