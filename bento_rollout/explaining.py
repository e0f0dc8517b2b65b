"""What is wrong with data that a person wrote, in words: where it stands, what is wrong, what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from .values import shown

__all__ = ["Problem", "Problems", "Where", "listed", "problems_of", "told"]

Where = str | Callable[[Sequence[object]], str]
"""Names the data in errors; or returns such a name for a path of fields, as with its line."""

_PLAINER = {
    "bool_type": "true or false is expected",
    "dict_type": "a mapping is expected",
    "int_from_float": "a whole number is expected",
    "int_type": "a whole number is expected",
    "missing": "this field is needed",
    "model_type": "a mapping of fields is expected",
    "string_type": "text is expected (write it in quotes)",
    "tuple_type": "a list is expected",
}
"""What is said instead of pydantic's words, which are about Python."""

_MOST_PROBLEMS = 20
"""Problems that one error tells of; the rest is counted."""

_MOST = 80
"""Letters of a wrong value that a message shows."""

_KEY = "[key]"
"""What pydantic calls the key of a mapping in a path."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: the fields that lead to it, outermost first; empty: the whole.
        words: what is wrong, and what to write instead.
        unknown: whether the field itself is not known; the words then list those that are, if anything.
    """

    path: tuple[object, ...]
    words: str
    unknown: bool = False

    def below(self, *path: object) -> Problem:
        """Return the same problem as it is told from further out."""
        return replace(self, path=(*path, *self.path))

    def __str__(self) -> str:
        place = ".".join(map(str, self.path[:-2] if self.path[-1:] == (_KEY,) else self.path))
        if self.unknown:
            return f"unknown field {place!r}{self.words}"
        return f"{place}: {self.words}" if place else self.words


class Problems(ValueError):
    """Several things that are wrong; a validator raises it, and each is told with its own place.

    Args:
        found: what is wrong, at least one thing; paths begin at the value that was validated.
    """

    def __init__(self, found: Sequence[Problem]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(map(str, self.found)))


def problems_of(
    error: ValidationError, model_at: Callable[[Sequence[str]], type[BaseModel] | None]
) -> list[Problem]:
    """Return what a model found wrong.

    Args:
        error: what the model raised.
        model_at: what a field that is not known stands in, by its path; None: its neighbours are not told.
    """
    return [problem for item in error.errors(include_url=False) for problem in _problems_in(item, model_at)]


def told(problems: Sequence[Problem], where: Where) -> str:
    """Return problems in words, one a line, each with its place; many are cut short and counted."""
    lines = [f"{_named(where, problem.path)}: {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if more := len(problems) - len(lines):
        lines.append(f"{_named(where, ())}: and {more} more")
    return "\n".join(lines)


def _problems_in(item: Any, model_at: Callable[[Sequence[str]], type[BaseModel] | None]) -> list[Problem]:
    path = item["loc"]
    if isinstance(several := item.get("ctx", {}).get("error"), Problems):
        return [problem.below(*path) for problem in several.found]
    if item["type"] == "extra_forbidden":
        model = model_at([str(part) for part in path])
        return [Problem(path, f"; known here: {listed(model)}" if model else "", unknown=True)]
    words = _PLAINER.get(item["type"]) or item["msg"].removeprefix("Value error, ")
    words = words[:1].lower() + words[1:] if words.startswith("Input ") else words
    found = shown(item["input"])[:_MOST]
    if item["type"] != "missing" and found not in words:
        words = f"{words} (got {found})"
    return [Problem(path, words)]


def _named(where: Where, path: Sequence[object]) -> str:
    return where if isinstance(where, str) else where(path)


def listed(model: type[BaseModel]) -> str:
    """Return the fields of a model as they are written, in alphabetical order."""
    return ", ".join(sorted(field.alias or name for name, field in model.model_fields.items()))
