"""What people see of sealed artifacts in a terminal: facts in, blocks out; pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .output import Block, Cell, Grid, Line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["inspected", "keygen", "resigned", "rewrapped", "sealed", "verified"]

Facts = Mapping[str, Any]

SHOWN = 30
"""Files that one screen shows; the JSON has all of them."""


def keygen(folder: Path, recipient: str, fingerprint: str) -> list[Block]:
    """Return what was made, who gets which of it, and what to do next; no secret."""
    return [
        Line("recipient", (Cell(recipient, "bold cyan"),)),
        Line("fingerprint", (Cell(fingerprint, "cyan"), Cell("  SHA-256 of sign.pub.pem", "dim"))),
        Line("secret", (Cell(str(folder / "identity.txt"), "yellow"), Cell("  for hosts that open models"))),
        Line("secret", (Cell(str(folder / "sign.pem"), "yellow"), Cell("  for whoever releases models"))),
        Line("public", (Cell(str(folder / "recipient.txt")), Cell("  seal to it"))),
        Line("public", (Cell(str(folder / "sign.pub.pem")), Cell("  pin it where models are opened"))),
        Line("", (Cell("Keep a copy of identity.txt: without it nothing sealed to it ever opens."),)),
        Line("", (Cell("Keep sign.pem away from hosts that only open models. Then:"),)),
        *_next(folder),
    ]


def _next(folder: Path) -> list[Block]:
    recipient, signer = (shlex.quote(str(folder / name)) for name in ("recipient.txt", "sign.pem"))
    command = f"bento-rollout artifacts seal FILE --name MODEL:VERSION --serial 1 --recipient {recipient}"
    return [Line("", (Cell(f"  {command} --signer {signer}"),))]


def sealed(facts: Facts) -> list[Block]:
    """Return what was sealed, and where it lies."""
    return [
        Line("sealed", (Cell(facts["tag"], "bold green"), Cell(f"  serial {facts['serial']}"))),
        *_rest(facts),
    ]


def verified(facts: Facts, policy: Path | None) -> list[Block]:
    """Return what was verified, and what became of the policy's serial."""
    blocks = [
        Line("verified", (Cell(facts["tag"], "bold green"), Cell(f"  serial {facts['serial']}"))),
        *_rest(facts),
    ]
    if "bumped" in facts:
        told = (
            "raised to this serial; older ones no longer open here"
            if facts["bumped"]
            else "asked for this serial or a later one before"
        )
        blocks.insert(
            -1, Line("policy", (Cell(f"{policy}: "), Cell(told, "bold" if facts["bumped"] else "")))
        )
    return blocks


def resigned(facts: Facts) -> list[Block]:
    """Return who signed it now."""
    return [
        Line("resigned", (Cell(facts["tag"], "bold green"), Cell(f"  serial {facts['serial']}"))),
        *_rest(facts),
    ]


def rewrapped(facts: Facts) -> list[Block]:
    """Return who can open it now, and who still can."""
    blocks: list[Block] = [Line("rewrapped", (Cell(facts["tag"], "bold green"),)), *_openers(facts)]
    told = "Whoever could open it before, and kept a copy, still can: seal the next release without them."
    return [*blocks, Line("", (Cell(told, "yellow"),))]


def inspected(facts: Facts) -> list[Block]:
    """Return what an artifact says of itself, under a warning."""
    warning = (
        "NOTHING HERE IS VERIFIED: anybody may have written it. `artifacts verify` says whether it is good."
    )
    blocks: list[Block] = [Line("", (Cell(warning, "bold yellow"),))]
    blocks.append(Line("lies at", (Cell(facts["tag"], "bold"), Cell(f"  {facts['folder']}", "dim"))))
    blocks += [Line("problem", (Cell(problem, "red"),)) for problem in facts["problems"]]
    blocks.append(Line("signer", (Cell(facts["signer"] or "none is named"),)))
    blocks += _openers(facts)
    said = facts["manifest"]
    if said is not None:
        blocks.append(Line("says it is", (Cell(said["tag"], "bold"), Cell(f"  serial {said['serial']}"))))
        blocks.append(Line("id", (Cell(said["artifact_id"]),)))
        blocks += _files(said["files"])
    return blocks


def _rest(facts: Facts) -> list[Block]:
    return [
        Line("id", (Cell(facts["artifact_id"]),)),
        Line("signed by", (Cell(facts["signed_by"], "cyan"),)),
        Line("lies in", (Cell(facts["folder"]),)),
        *_files(facts["files"]),
    ]


def _openers(facts: Facts) -> list[Block]:
    blocks: list[Block] = [Line("opened by", (Cell(one, "cyan"),)) for one in facts["recipients"]]
    blocks += [Line("opened by", (Cell(f"the key service {name}"),)) for name in facts.get("services", ())]
    if facts["passphrase"]:
        blocks.append(Line("opened by", (Cell("a passphrase"),)))
    return blocks


def _files(files: Sequence[Facts]) -> list[Block]:
    rows = [(Cell(file["path"], "bold"), Cell(_bytes(file["size"]))) for file in files[:SHOWN]]
    if more := len(files) - SHOWN:
        rows += [(Cell(f"and {more} more"), Cell(""))] if more > 0 else []
    return [Grid(("path", "size"), tuple(rows), frozenset({"path"}))]


def _bytes(count: int) -> str:
    """A number of bytes for people.

    >>> _bytes(999), _bytes(1_234_567), _bytes(4 * 2**30)
    ('999 B', '1.2 MB', '4.3 GB')
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":  # noqa: PLR2004 - a thousand of one are one of the next
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(count)
