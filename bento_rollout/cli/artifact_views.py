"""What people see of sealed artifacts in a terminal: facts in, blocks out; pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from .output import Block, Cell, Line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["keygen"]


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
