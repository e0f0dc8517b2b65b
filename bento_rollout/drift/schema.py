"""Rows that are not built as those of the reference: told apart from rows whose values drift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["SchemaAlarm", "SchemaKind", "together"]

SchemaKind = Literal["lost", "new", "type", "category", "infinite"]


@dataclass(frozen=True, slots=True)
class SchemaAlarm:
    """One way in which rows are built otherwise; it never holds a value of a row.

    Attributes:
        kind: ``lost`` (a feature is not there), ``new`` (one that the reference has not), ``type`` (values of
            another type), ``category`` (categories that the reference has not), ``infinite`` (such numbers).
        feature: the name of the feature.
        count: in how many rows.
        detail: what was found and what is needed, in words.
    """

    kind: SchemaKind
    feature: str
    count: int
    detail: str


def together(alarms: Iterable[SchemaAlarm]) -> tuple[SchemaAlarm, ...]:
    """Return one alarm of each kind and feature, with the rows of all; in the order of their first.

    >>> one = SchemaAlarm("lost", "age", 3, "the rows have no such feature")
    >>> together([one, one])[0].count
    6
    """
    found: dict[tuple[str, str], SchemaAlarm] = {}
    for alarm in alarms:
        key = (alarm.kind, alarm.feature)
        before = found[key].count if key in found else 0
        found[key] = SchemaAlarm(alarm.kind, alarm.feature, before + alarm.count, alarm.detail)
    return tuple(found.values())
