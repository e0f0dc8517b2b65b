"""`Node`: where the paths of `log.drop`, `log.mask` and `log.hash` lead, as a tree; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pydantic import BaseModel

__all__ = ["ITEM", "Does", "Node", "Nodes", "Way", "after", "hides", "steps_of", "ways_to"]

ITEM = "[]"
"""The step to each item of a list, or row of a table."""

_EACH = "*"
"""The step to each field."""

Way = tuple[str, ...]
"""Steps that lead somewhere."""


class Does(Enum):
    """What a path does to what it leads to; the first one wins where several lead to the same."""

    DROP = 0
    MASK = 1
    HASH = 2


@dataclass(slots=True, eq=False)
class Node:
    """A place that paths lead to or through.

    Attributes:
        steps: where they go on: by the name of a field, ``*`` or ``[]``.
        does: what is done to what stands here.
        ends: the paths that end here.
        below: the paths that end here or further on.
    """

    steps: dict[str, Node] = field(default_factory=dict)
    does: Does | None = None
    ends: set[str] = field(default_factory=set)
    below: set[str] = field(default_factory=set)

    def add(self, path: str, does: Does) -> None:
        """Let a path begin here; of several with the same end the first one says what is done."""
        node = self
        for step in steps_of(path):
            node = node.steps.setdefault(step, Node())
            node.below.add(path)
        node.ends.add(path)
        node.does = node.does or does


Nodes = Sequence[Node]


def steps_of(path: str) -> Way:
    """Return the steps of a path.

    >>> steps_of("rows[].name")
    ('rows', '[]', 'name')
    """
    return tuple(re.findall(r"\[\]|[^.\[\]]+", path))


def after(nodes: Nodes, *ways: Way) -> Nodes:
    """Return where paths lead that go one of some ways from a place, or end before that."""
    found: list[Node] = []
    for way in ways if nodes else ():
        here = list(nodes)
        for step in way:
            wanted = {step} if step == ITEM else {step, _EACH}
            ended = [node for node in here if node.does is not None]
            here = ended + [node.steps[one] for node in here for one in wanted & node.steps.keys()]
        found += here
    return tuple(found)


def hides(paths: Iterable[str], way: Way) -> bool:
    """Whether one of some paths hides what stands where a way leads, or something above it.

    >>> hides(["patient.*"], ("patient", "id")), hides(["patient.id"], ("patient", "age"))
    (True, False)
    """
    root = Node()
    for path in paths:
        root.add(path, Does.DROP)
    return any(node.does is not None for node in after([root], way))


def ways_to(cls: type, name: str) -> list[Way]:
    """Return how paths may lead to a field: by its own name, and by what callers know it by.

    A name that has a dot in it (a column ``patient.name``) may be a path itself.

    >>> ways_to(dict, "patient.name")
    [('patient.name',), ('patient', 'name')]
    """
    names, ways = [name], list[Way]()
    declared = cls.model_fields if issubclass(cls, BaseModel) else getattr(cls, "__pydantic_fields__", {})
    if (known := declared.get(name)) is not None:
        given = (known.alias, known.serialization_alias, known.validation_alias)
        for alias in (*given, *getattr(known.validation_alias, "choices", ())):
            if isinstance(alias, str):
                names.append(alias)
            elif path := getattr(alias, "path", ()):  # it is taken from deeper within what callers send
                ways.append(tuple(part if isinstance(part, str) else ITEM for part in path))
    for one in names:
        ways += [(one,)] if (steps := steps_of(one)) == (one,) else [(one,), steps]
    return ways
