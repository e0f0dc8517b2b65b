"""Which spec a decorator goes by: the environment's file, else the one that it names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bentoml._internal.context import server_context

from ..errors import InvalidSpec
from ..spec import RolloutSpec
from ..specfile import read_spec, spec_in

__all__ = ["VARIABLE", "Found", "find", "hand_down"]

VARIABLE = "BENTO_ROLLOUT_SPEC"
"""Names a file to go by instead of the decorator's, relative to the working directory."""

CONTENTS = "BENTO_ROLLOUT_CONTENTS"
"""Set by the process that starts the workers: what files that govern held then, for all to begin with."""

MOST = 100_000
"""Bytes that an environment variable may surely have; a larger content is read again by each worker."""


@dataclass(frozen=True)
class Found:
    """A spec, and where it is from.

    Attributes:
        spec: valid.
        path: its file; None: it is not from one.
        text: the file's content.
        by_environment: whether the environment names the file.
    """

    spec: RolloutSpec
    path: Path | None = None
    text: bytes = b""
    by_environment: bool = False

    def blame(self, error: InvalidSpec) -> InvalidSpec:
        """Return an error about it that says where the file's name is from, if that is the environment."""
        return _blamed(error) if self.by_environment else error


def find(spec: str | Path | RolloutSpec | None, base: Path) -> Found:
    """Return the spec that a decorator goes by.

    Args:
        spec: what it was given.
        base: the folder of the file that decorates.

    Raises:
        InvalidSpec: the file is missing or not valid, or what is to govern is no file.
    """
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return _read(Path(named).expanduser().absolute(), by_environment=True)
        except InvalidSpec as error:
            raise _blamed(error) from None
    if isinstance(spec, (str, Path)):
        return _read(base / spec, by_environment=False)
    found = RolloutSpec() if spec is None else spec
    if found.authority == "spec":
        raise InvalidSpec(
            "authority: spec: this spec is not from a file, and it is the file that governs: "
            f'give its path (spec="rollout.yaml", or {VARIABLE})'
        )
    return Found(found)


def _blamed(error: InvalidSpec) -> InvalidSpec:
    return InvalidSpec(f"{VARIABLE}: {error}")


def _read(path: Path, *, by_environment: bool) -> Found:
    """Read a file. A worker goes by what the service was started with, whatever has become of it since."""
    handed = _handed_down().get(str(path))
    text = b"" if handed is None else handed.encode(errors="surrogateescape")
    if handed is None or server_context.worker_index is None:
        try:
            text = read_spec(path)
            return Found(spec_in(text, path), path, text, by_environment)
        except InvalidSpec:
            if handed is None:
                raise
            text = handed.encode(errors="surrogateescape")
    return Found(spec_in(text, path), path, text, by_environment)


def hand_down(path: Path, text: bytes) -> None:
    """Let the workers begin with a content: one that is started later must not fail on what a file became."""
    kept = {**_handed_down(), str(path): text.decode(errors="surrogateescape")}
    told = json.dumps(kept)
    if len(told) <= MOST:
        os.environ[CONTENTS] = told
    if os.environ.get(VARIABLE):
        os.environ[VARIABLE] = str(path)  # workers may have another working directory


def _handed_down() -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(os.environ.get(CONTENTS, "{}"))
    return found
