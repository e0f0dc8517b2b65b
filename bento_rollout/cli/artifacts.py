"""``artifacts``: makes keys, seals models, verifies and opens them, changes who opens them and who signed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..errors import Refused
from .options import printing
from .output import emit_json, show

__all__ = ["artifacts"]


@click.group("artifacts", no_args_is_help=True)
def artifacts() -> None:
    """Seal models, and verify and open what is sealed."""


@artifacts.command("keygen")
@click.option("--output", required=True, metavar="DIR", help="The folder for the four files.")
@printing
def keygen(output: str, as_json: bool) -> int:
    """Make an identity, which opens models, and a signing key.

    In DIR: identity.txt and sign.pem, which are secret, recipient.txt and sign.pub.pem, which are not.
    Nothing is overwritten.
    """
    from ..artifacts import keys
    from . import artifact_views as views

    folder = Path(output)
    with _writing(folder):
        files = keys.keygen(folder)
        recipient = (folder / "recipient.txt").read_text(encoding="ascii").strip()
    fingerprint = keys.read_public_key(folder / "sign.pub.pem").hint
    if as_json:
        emit_json(
            {"recipient": recipient, "fingerprint": fingerprint, "files": [str(file) for file in files]}
        )
    else:
        show(views.keygen(folder, recipient, fingerprint))
    return 0


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell a full disk, or a folder that is not ours, in a sentence: nothing is left of what was begun."""
    try:
        yield
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror or error}") from None
