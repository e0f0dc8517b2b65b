"""Reads a rollout's YAML file; everything wrong with it is an `InvalidSpec` that names the place."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from .errors import InvalidSpec
from .spec import RolloutSpec
from .values import shown

__all__ = [
    "MAX_BYTES",
    "content_digest",
    "digest_of",
    "load_spec",
    "load_whole",
    "load_with_digest",
    "parse_spec",
    "parse_whole",
    "read_spec",
    "spec_in",
]

MAX_BYTES = 1 << 20
"""A larger file is no spec."""

_LONGEST = 300
"""Letters of the parser's own words that a message shows."""

_HANDED_OVER = re.compile(r"/dev/stdin|/(?:dev|proc/self)/fd/[0-9]+")


_SLICE, _PAUSE = 0.001, 0.002
"""Seconds of work and of rest of whoever reads gently: a megabyte takes a core for seconds."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what would be lost (a field written twice) or might never end (aliases).

    Args:
        text: YAML.
        gently: whether other threads go first.
    """

    def __init__(self, text: bytes, *, gently: bool = False) -> None:
        super().__init__(text)
        self._rest_at = time.monotonic() + _SLICE if gently else math.inf

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        self._rest()
        return super().construct_object(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._rest()
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

    def _rest(self) -> None:
        if time.monotonic() > self._rest_at:
            time.sleep(_PAUSE)
            self._rest_at = time.monotonic() + _SLICE


def load_spec(path: str | Path) -> RolloutSpec:
    """Return the spec in a YAML file.

    Raises:
        InvalidSpec: when the file is missing, unreadable, no regular file, over 1 MiB, not YAML, or not a
            valid spec.

    A reference's file (``drift.reference.file``) that is relative lies beside the spec's.
    """
    return spec_in(read_spec(path), path)


def read_spec(path: str | Path) -> bytes:
    """Return the content of a spec's file.

    Raises:
        InvalidSpec: when it is missing, unreadable, no regular file, or over 1 MiB.
    """
    return _read(Path(path))


def spec_in(text: bytes, path: str | Path, *, gently: bool = False) -> RolloutSpec:
    """Return the spec that a file's content describes, as `load_spec` does.

    Args:
        text: the content.
        path: of the file.
        gently: whether other threads of this process go first, however long a large one takes.

    Raises:
        InvalidSpec: when it is not YAML, or not a valid spec.
    """
    return _beside(parse_spec(text, str(path), gently=gently), str(path))


def parse_spec(text: bytes, where: str, *, gently: bool = False) -> RolloutSpec:
    """Return the spec that YAML text describes; ``where`` names it in errors, which name the line, too.

    >>> parse_spec(b"weights: {boosted: 5}", "rollout.yaml").weights
    {'boosted': 5000}
    """
    try:
        root, data = _read_once(text, gently=gently)
    except RecursionError:
        raise InvalidSpec(f"{where}: not valid YAML: nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).replace('in "<byte string>", ', "at ").split())
        raise InvalidSpec(f"{where}: not valid YAML: {problem[:_LONGEST]}") from None

    def named(path: Sequence[object]) -> str:
        line = _line_of(root, path)
        return where if line is None else f"{where}: line {line}"

    return RolloutSpec.parse({} if data is None else data, named)


def content_digest(path: str | Path) -> str:
    """Return 12 hex digits of a file's SHA-256."""
    return digest_of(read_spec(path))


def load_with_digest(path: str | Path) -> tuple[RolloutSpec, str]:
    """Return the spec in a file, or (``-``) on standard input, and the content's digest; it is read once.

    Raises:
        InvalidSpec: as `load_spec`.
    """
    spec, digest, _ = load_whole(path)
    return spec, digest


def load_whole(path: str | Path) -> tuple[RolloutSpec, str, bytes]:
    """Return what `load_with_digest` does, and the content itself.

    Raises:
        InvalidSpec: as `load_spec`.
    """
    text, where = (_standard_input(), "<stdin>") if str(path) == "-" else (_read(Path(path)), str(path))
    spec = parse_spec(text, where)
    return spec if where == "<stdin>" else _beside(spec, where), digest_of(text), text


def parse_whole(text: bytes, where: str) -> tuple[RolloutSpec, str]:
    """Return the spec that YAML text describes, and the digest that a file of this content has.

    Raises:
        InvalidSpec: as `parse_spec`.
    """
    return parse_spec(text, where), digest_of(text)


def _beside(spec: RolloutSpec, path: str) -> RolloutSpec:
    """Return the spec with the file that it names found beside its own, wherever the process stands."""
    drift = spec.drift
    if drift is None or drift.reference is None or drift.reference.sealed or not drift.reference.file:
        return spec
    file = str(Path(path).absolute().parent / drift.reference.file)
    reference = drift.reference.model_copy(update={"file": file})
    return spec.model_copy(update={"drift": drift.model_copy(update={"reference": reference})})


def digest_of(text: bytes) -> str:
    """Return 12 hex digits of the SHA-256 of a file's content."""
    return hashlib.sha256(text).hexdigest()[:12]


def _read_once(text: bytes, *, gently: bool) -> tuple[yaml.Node | None, Any]:
    """Return what YAML text says, as nodes that know their lines and as plain data."""
    loader = _Loader(text, gently=gently)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _line_of(root: yaml.Node | None, path: Sequence[object]) -> int | None:
    """Return the line (from 1) of the innermost field on a path that a text has, or None."""
    node, line = root, None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            pairs = [(item, item) for item in node.value[part : part + 1]]
        else:
            break
        if not pairs:
            break
        (found, node), *_ = pairs
        line = found.start_mark.line + 1
    return line


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InvalidSpec("<stdin>: standard input is closed")
    try:
        return _bounded(sys.stdin.buffer, "<stdin>")
    except OSError as error:
        raise InvalidSpec(f"<stdin>: cannot be read: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        with open(_opened(path), "rb") as file:
            return _bounded(file, str(path))
    except FileNotFoundError:
        raise InvalidSpec(f"{path}: there is no such spec file") from None
    except ValueError as error:
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{shown(str(path))}: cannot be read: {error}") from None  # a NUL in the path
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None


def _opened(path: Path) -> int:
    """Return a descriptor of a regular file; a named pipe or a device might never answer.

    What the shell handed over (``<(…)``) is a descriptor of this process already, and is read as it is.
    """
    if _HANDED_OVER.fullmatch(str(path)):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise InvalidSpec(f"{path}: not a regular file; to read a spec from a pipe write - for standard input")


def _bounded(file: IO[bytes], where: str) -> bytes:
    text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise InvalidSpec(f"{where}: over {MAX_BYTES} bytes; this is no rollout spec")
    return text
