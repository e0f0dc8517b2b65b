"""Refuses, while ``bentoml build`` imports the service, a bento that lacks files or holds secret keys."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bentoml._internal.bento.build_config import BentoPathSpec

from ..drifting import Drift
from ..errors import InvalidSpec, InvalidValue

__all__ = ["check_included", "check_no_keys", "check_reference"]

BUILDER = "bentoml._internal.bento.bento"
MAX_KEY_FILE = 256 * 2**10
"""Bytes up to which a file is searched for keys; larger ones are read as keys by nobody."""

_NEVER_PACKED = {".git", ".venv", "venv", "__pycache__"}
_IDENTITY = re.compile(rb"^AGE-SECRET-KEY-1[0-9A-Z]{58}\s*$", re.MULTILINE)


def check_included(spec: Path, *, anywhere: bool = False) -> None:
    """Raise `InvalidSpec` when a build is going on whose files leave the spec out; outside builds do nothing.

    BentoML has no hook at build time, so the build that is importing us is looked up on the stack, and only
    read.

    Args:
        spec: the file.
        anywhere: whether it may lie outside what is built: it is the host's to have, as a ConfigMap is.
    """
    build = _running_build()
    if build is None:
        return
    config, context = build
    place = os.path.relpath(spec.resolve(), Path(context).resolve())
    if place.startswith(os.pardir):
        if anywhere:
            return
        raise InvalidSpec(
            f"{spec} lies outside the build context {context}, so the bento would lack it: "
            "move it beside the service"
        )
    _check_packed(place, config, context)


def check_reference(drift: Drift | None) -> None:
    """Raise `InvalidSpec` when a build is going on that would leave out the reference of drift.

    Such a bento serves, and watches nothing. A file outside the build's folder is the host's to have.
    """
    source = None if drift is None else drift.reference
    build = _running_build()
    if build is None or source is None or source.file is None or source.sealed is not None:
        return
    config, context = build
    file = Path(source.file).resolve()
    place = os.path.relpath(file, Path(context).resolve())
    if place.startswith(os.pardir):
        return
    if not file.is_file():
        raise InvalidSpec(
            f"drift.reference.file: {place} is not there: make it with `bento-rollout drift NAME fit` "
            "before the build"
        )
    _check_packed(place, config, context)


def _check_packed(place: str, config: Any, context: str) -> None:
    filled = config.with_defaults()
    if not BentoPathSpec(filled.include, filled.exclude, context).includes(place):
        raise InvalidSpec(
            f"the bento would lack {place}: add it to `include:` in bentofile.yaml "
            f'(or [tool.bentoml.build]), like  include: ["*.py", "{place}"]'
        )


def check_no_keys() -> None:
    """Raise `InvalidValue` when a build is going on that would pack what `keygen` keeps secret.

    Without ``include`` BentoML packs the whole folder, and a bento with its identity is no longer sealed to
    anybody. Found are identities of age, whatever the file's name, and a ``sign.pem`` with a private key.
    """
    build = _running_build()
    if build is None:
        return
    config, context = build
    filled = config.with_defaults()
    packed = BentoPathSpec(filled.include, filled.exclude, context)
    found = sorted(
        place
        for place in _files(Path(context).resolve())
        if packed.includes(place) and _is_secret(Path(context, place))
    )
    if found:
        raise InvalidValue(
            f"the bento would hold secret keys, {', '.join(found[:5])}: move them elsewhere, or leave"
            f" them out in bentofile.yaml (or [tool.bentoml.build]), like  exclude: {json.dumps(found[:5])}"
        )


def _files(context: Path) -> Iterator[str]:
    """The files of a build's folder, as BentoML matches them."""
    for root, folders, files in os.walk(context):
        folders[:] = [name for name in folders if name not in _NEVER_PACKED]
        for name in files:
            yield Path(root, name).relative_to(context).as_posix()


def _is_secret(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > MAX_KEY_FILE:
            return False
        content = path.read_bytes()
    except OSError:
        return False  # the build itself says what cannot be read
    return bool(_IDENTITY.search(content)) or (path.name == "sign.pem" and b"PRIVATE KEY-----" in content)


def _running_build() -> tuple[Any, str] | None:
    """Return the configuration and the folder of the build that is importing this module, or None."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the stack
    while frame is not None:
        if frame.f_code.co_name == "create" and frame.f_globals.get("__name__") == BUILDER:
            config, context = frame.f_locals.get("build_config"), frame.f_locals.get("build_ctx")
            return None if config is None or context is None else (config, str(context))
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom of the stack
    return None
