"""Reads a rollout's YAML file; everything wrong with it is an `InvalidSpec` that names the place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from .errors import InvalidSpec
from .spec import RolloutSpec
from .values import shown

__all__ = ["MAX_BYTES", "content_digest", "load_spec", "load_with_digest", "parse_spec"]

MAX_BYTES = 1 << 20
"""A larger file is no spec."""

_LONGEST = 300
"""Letters of the parser's own words that a message shows."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what would be lost (a field written twice) or might never end (aliases)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
            raise yaml.composer.ComposerError(
                None,
                None,
                f"*{event.anchor}: aliases are not supported; write the value out",
                event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a field's name is text, not a list or a mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"the field {shown(key)} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_spec(path: str | Path) -> RolloutSpec:
    """Return the spec in a YAML file.

    Raises:
        InvalidSpec: when the file is missing, unreadable, over 1 MiB, not YAML, or not a valid spec.
    """
    return parse_spec(_read(Path(path)), str(path))


def parse_spec(text: bytes, where: str) -> RolloutSpec:
    """Return the spec that YAML text describes; ``where`` names it in errors.

    >>> parse_spec(b"weights: {boosted: 5}", "rollout.yaml").weights
    {'boosted': 5000}
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except RecursionError:
        raise InvalidSpec(f"{where}: not valid YAML: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).replace('in "<byte string>", ', "at ").split())
        raise InvalidSpec(f"{where}: not valid YAML: {problem[:_LONGEST]}") from None
    return RolloutSpec.parse({} if data is None else data, where)


def content_digest(path: str | Path) -> str:
    """Return 12 hex digits of a file's SHA-256."""
    return _digest(_read(Path(path)))


def load_with_digest(path: str | Path) -> tuple[RolloutSpec, str]:
    """Return a file's spec and its `content_digest`, read once: a pipe has its content only once.

    Raises:
        InvalidSpec: as `load_spec`.
    """
    text = _read(Path(path))
    return parse_spec(text, str(path)), _digest(text)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidSpec(f"{path}: there is no such spec file") from None
    except ValueError as error:  # a NUL in the path
        raise InvalidSpec(f"{shown(str(path))}: cannot be read: {error}") from None
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise InvalidSpec(f"{path}: over {MAX_BYTES} bytes; this is no rollout spec")
    return text
