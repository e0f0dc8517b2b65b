"""Raises ``min_serial`` in a ``trust.toml``: the rest of the file stays as people wrote it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import PolicyViolated
from .canonical import Malformed
from .files import Unusable, alone, read_small, replace_file
from .manifest import Manifest
from .policy import ModelTrust, TrustFile, parse_trust

__all__ = ["bump"]

_HEADER = re.compile(r"^[ \t]*\[[^\[\]\n]+\][ \t]*(?:#[^\r\n]*)?(?=\r?$)", re.MULTILINE)


def bump(path: Path | str, manifest: Manifest) -> bool:
    """Raise a model's ``min_serial`` to that of an artifact, which was verified, and note which one that is.

    It is never lowered. The file is replaced in one step; comments, order and mode stay. Two that do it at a
    time do it one after another, and the greater serial wins.

    Args:
        path: the ``trust.toml``.
        manifest: the artifact's.

    Returns:
        Whether the file has changed.

    Raises:
        PolicyViolated: the file is not valid, knows another artifact of the same serial, is written in a way
            that cannot be edited without changing more, or cannot be written. It is as it was.
    """
    path = Path(path)
    try:
        path = Path(os.path.realpath(path))  # the file behind a link; a loop of links fails below, in one way
        with alone(path.parent):
            text = read_small(path).decode()
            before = parse_trust(text.encode())
            asked = before.models.get(manifest.name, ModelTrust())
            if manifest.serial < asked.min_serial:
                return False
            if manifest.serial == asked.min_serial and asked.artifact_id is not None:
                _check_same(asked, manifest, path)
                return False
            edited = _edited(text, before, manifest)
            replace_file(path, edited.encode())
    except (Unusable, ValueError) as error:
        raise PolicyViolated(f"the trust policy {path} is not valid: {error}") from None
    except OSError as error:
        raise PolicyViolated(f"the trust policy {path} cannot be replaced: {error.strerror}") from None
    return True


def _check_same(asked: ModelTrust, manifest: Manifest, path: Path) -> None:
    if asked.artifact_id != manifest.artifact_id:
        raise PolicyViolated(
            f"{path} knows another artifact with the serial {manifest.serial} of {manifest.name},"
            f" {asked.artifact_id}; this one is {manifest.artifact_id}"
        )


def _edited(text: str, before: TrustFile, manifest: Manifest) -> str:
    """The text with both values set, one after the other."""
    name = manifest.name
    asked = before.models.get(name, ModelTrust())
    serial = replace(asked, min_serial=manifest.serial)
    both = replace(serial, artifact_id=manifest.artifact_id)
    for member, written, told in (
        ("min_serial", f"{manifest.serial}", serial),
        ("artifact_id", f'"{manifest.artifact_id}"', both),
    ):
        wanted = replace(before, models={**before.models, name: told})
        if wanted == before:
            continue
        text = next((new for new in _proposals(text, name, member, written) if _reads(new, wanted)), "")
        if not text:
            raise PolicyViolated(
                f"{member} of {name} cannot be set and nothing else: write {member} = {written}"
                f' under [models."{name}"] by hand'
            )
        before = wanted
    return text


def _reads(text: str, wanted: TrustFile) -> bool:
    """Whether TOML itself reads the text as exactly this."""
    try:
        return parse_trust(text.encode()) == wanted
    except Malformed:
        return False


def _proposals(text: str, name: str, member: str, written: str) -> Iterator[str]:
    """Ways to set a member of a model; `_reads` finds the one that is right, whatever TOML's many forms."""
    newline = "\r\n" if "\r\n" in text else "\n"
    end = "" if not text or text.endswith("\n") else newline
    added = f'{text}{end}{newline}[models."{name}"]{newline}{member} = {written}{newline}'
    if name not in text:
        yield added
    values = re.finditer(rf"""\b{member}["']?[ \t]*=[ \t]*("[^"\n]*"|'[^'\n]*'|[+\w]+)""", text)
    places = [(*found.span(1), written) for found in values]
    places += [
        (found.end(), found.end(), f"{newline}{member} = {written}") for found in _HEADER.finditer(text)
    ]
    near = text.find(
        name
    )  # what lies behind its name first: each proposal is read, and there may be thousands
    for start, stop, new in sorted(places, key=lambda place: (place[0] < near, place)):
        yield text[:start] + new + text[stop:]
    yield added
