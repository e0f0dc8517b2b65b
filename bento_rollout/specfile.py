"""Reads a rollout's YAML file; everything wrong with it is an `InvalidSpec` that names the place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from .errors import InvalidSpec
from .spec import RolloutSpec

__all__ = ["content_digest", "load_spec"]

MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a field written twice: one of the two would be silently lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float, bool)) or key is None:
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the field {key!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_spec(path: str | Path) -> RolloutSpec:
    """Return the spec in a YAML file.

    Raises:
        InvalidSpec: when the file is missing, unreadable, over 1 MiB, not YAML, or not a valid spec.
    """
    return parse_spec(_read(Path(path)), str(path))


def parse_spec(text: bytes, where: str) -> RolloutSpec:
    """Return the spec that YAML text describes; ``where`` names it in errors."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidSpec(f"{where}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    return RolloutSpec.parse({} if data is None else data, where)


def content_digest(path: str | Path) -> str:
    """Return 12 hex digits of a file's SHA-256."""
    return hashlib.sha256(_read(Path(path))).hexdigest()[:12]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidSpec(f"{path}: there is no such spec file") from None
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise InvalidSpec(f"{path}: over {MAX_BYTES} bytes; this is no rollout spec")
    return text
