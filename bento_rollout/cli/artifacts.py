"""``artifacts``: makes keys, seals models, verifies and opens them, changes who opens them and who signed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidValue, Refused
from .artifact_options import Opening, Trust, opening, read_passphrase, read_recipients, signing, trusting
from .artifact_options import recipients as recipients_option
from .options import Whole, printing
from .output import emit_json, in_terminal, pour, show
from .progress import progress_bar

if TYPE_CHECKING:
    from ..artifacts.manifest import Manifest
    from ..artifacts.signers import Signer

__all__ = ["artifacts"]

tag_argument = click.argument("tag")


@click.group("artifacts", no_args_is_help=True)
def artifacts() -> None:
    """Seal models, and verify and open what is sealed.

    TAG is name:version in BentoML's model store, name:latest, or a folder (with a / in it, like ./model).
    """


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


@artifacts.command("seal")
@click.argument("source", metavar="FILE_OR_DIR")
@click.option(
    "--name",
    "tag",
    required=True,
    metavar="TAG",
    help="name:version, or name alone for a version of its own.",
)
@recipients_option
@click.option("--passphrase-file", metavar="FILE", help="Instead of recipients: a file with a passphrase.")
@signing
@click.option(
    "--serial",
    type=Whole(0),
    required=True,
    metavar="N",
    help="Counts up with each release of this model; policies refuse those below their min_serial.",
)
@click.option("--output", metavar="DIR", help="A new folder for it, instead of BentoML's model store.")
@printing
def seal(
    source: str,
    tag: str,
    recipients: tuple[str, ...],
    passphrase_file: str | None,
    signer: Signer,
    serial: int,
    output: str | None,
    as_json: bool,
) -> int:
    """Encrypt a file, or all files in a folder, and sign them, into BentoML's model store.

    Until all of it is written nothing can be found under its tag. Links, devices and pipes are refused.
    """
    from ..artifacts.sealing import create
    from ..artifacts.shelf import PlainFolder, find
    from . import artifact_views as views

    path = Path(source)
    size = _size(path)
    creation = create(
        tag,
        signer=signer,
        serial=serial,
        recipients=read_recipients(recipients),
        passphrase=read_passphrase("--passphrase-file", passphrase_file),
        shelf=None if output is None else PlainFolder(Path(output)),
    )
    with (
        _writing(None, output or tag),
        progress_bar(f"sealing {tag}", lambda: size) as progress,
        creation as art,
    ):
        if path.is_dir():
            art.add_folder(path, progress=progress)
        else:
            art.add(path.name, path, progress=progress)
    assert creation.manifest is not None
    folder = output or str(find(creation.tag).folder)
    facts = {**_facts(creation.manifest), "folder": folder, "signed_by": signer.public.hint}
    if as_json:
        emit_json(facts)
    else:
        show(views.sealed(facts))
    return 0


@artifacts.command("verify")
@tag_argument
@trusting
@click.option("--bump", is_flag=True, help="Then raise the policy's min_serial to the serial of this one.")
@printing
def verify(tag: str, trust: Trust, bump: bool, as_json: bool) -> int:
    """Check that every byte is what a trusted key signed; nothing is decrypted.

    Exit codes: 10 signature, 12 damage, 13 policy.
    """
    from ..artifacts import bumping
    from ..artifacts.verifying import trusted
    from ..artifacts.verifying import verify as check
    from . import artifact_views as views

    policy = trusted(**trust)
    if bump and policy.source is None:
        raise click.UsageError("--bump raises min_serial in a trust policy: name one with --policy")
    with progress_bar(f"verifying {tag}", lambda: _plain_size(tag)) as progress:
        found = check(tag, policy=policy, progress=progress)
    facts = {
        **_facts(found.manifest),
        "folder": str(found.folder),
        "verified": True,
        "signed_by": found.key.hint,
    }
    if bump and policy.source is not None:
        facts["bumped"] = bumping.bump(policy.source, found.manifest)
    if as_json:
        emit_json(facts)
    else:
        show(views.verified(facts, policy.source))
    return 0


@artifacts.command("open")
@tag_argument
@click.argument("path")
@click.option(
    "--output", required=True, metavar="FILE|-", help="Where the plaintext goes: a new file, or - for a pipe."
)
@trusting
@opening
@printing
def open_(
    tag: str,
    path: str,
    output: str,
    trust: Trust,
    opener: Opening,
    as_json: bool,
) -> int:
    """Write the plaintext of one file, PATH, once all of it has passed.

    A new FILE is its owner's alone (mode 0600); nothing is overwritten. Exit codes: 3 no such file, 10
    signature, 11 key, 12 damage, 13 policy.
    """
    from ..artifacts.opening import open_artifact

    if output == "-" and (as_json or in_terminal()):
        what = "--json" if as_json else "a terminal"
        raise click.UsageError(f"--output - writes the plaintext where {what} is: name a file, or use a pipe")
    art = open_artifact(tag, **trust, **opener)
    size = art.manifest.find(path)[1].size
    with progress_bar(f"opening {path}", lambda: size) as progress:
        if output == "-":
            try:
                pour(art.read(path, progress=progress))
            except MemoryError as error:
                raise Refused(f"{error}; --output FILE takes 16 MiB, whatever the file's size") from None
            return 0
        with _writing(Path(output)):
            art.extract(path, Path(output), progress=progress)
    if as_json:
        emit_json({"tag": art.manifest.tag, "path": path, "size": size, "output": output})
    else:
        click.echo(f"{output} has {size} bytes, in the clear", err=True)
    return 0


@artifacts.command("inspect")
@tag_argument
@printing
def inspect(tag: str, as_json: bool) -> int:
    """Show what an artifact says of itself. Nothing of it is verified.

    Exit code 0 says only that something is there: `verify` says whether it is good.
    """
    from ..artifacts.inspecting import inspect as look
    from . import artifact_views as views

    found = look(tag)
    facts = {
        "tag": found.tag,
        "folder": str(found.folder),
        "verified": False,
        "manifest": None if found.manifest is None else _facts(found.manifest),
        "signer": found.signer,
        "recipients": list(found.recipients),
        "services": list(found.services),
        "passphrase": found.passphrase,
        "problems": list(found.problems),
    }
    if as_json:
        emit_json(facts)
    else:
        show(views.inspected(facts))
    return 0


@artifacts.command("rewrap")
@tag_argument
@recipients_option
@click.option(
    "--new-passphrase-file", metavar="FILE", help="Instead of recipients: a file with a passphrase."
)
@click.option("--drop-services", is_flag=True, help="Also shut out the key services that can open it now.")
@trusting
@opening
@printing
def rewrap(
    tag: str,
    recipients: tuple[str, ...],
    new_passphrase_file: str | None,
    drop_services: bool,
    trust: Trust,
    opener: Opening,
    as_json: bool,
) -> int:
    """Let these recipients open it from now on, and nobody else; the signature stays valid.

    Whoever could open it before, and has a copy of it, still can: seal the next release without him.
    """
    from ..artifacts.inspecting import inspect as look
    from ..artifacts.keeping import rewrap as wrap_again
    from . import artifact_views as views

    services = look(tag).services
    if services and not drop_services:
        raise Refused(
            f"the key services {', '.join(services)} can open it, and this command cannot wrap for them: use"
            " artifacts.rewrap(…, new_kms=…) in Python, or shut them out with --drop-services"
        )
    keys = wrap_again(
        tag,
        recipients=read_recipients(recipients),
        new_passphrase=read_passphrase("--new-passphrase-file", new_passphrase_file),
        **trust,
        **opener,
    )
    facts = {"tag": look(tag).tag, "recipients": list(keys.recipients), "passphrase": not keys.recipients}
    if as_json:
        emit_json(facts)
    else:
        show(views.rewrapped(facts))
    return 0


@artifacts.command("resign")
@tag_argument
@signing
@click.option("--serial", type=Whole(0), metavar="N", help="A new serial; the old one stays without it.")
@trusting
@printing
def resign(
    tag: str,
    signer: Signer,
    serial: int | None,
    trust: Trust,
    as_json: bool,
) -> int:
    """Replace the signature, after every byte has passed with the old one; nothing is decrypted."""
    from ..artifacts.keeping import resign as sign_again
    from . import artifact_views as views

    with progress_bar(f"verifying {tag}", lambda: _plain_size(tag)) as progress:
        found = sign_again(tag, signer=signer, serial=serial, **trust, progress=progress)
    facts = {**_facts(found.manifest), "folder": str(found.folder), "signed_by": found.key.hint}
    if as_json:
        emit_json(facts)
    else:
        show(views.resigned(facts))
    return 0


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says, for programs."""
    return {
        "tag": manifest.tag,
        "name": manifest.name,
        "version": manifest.version,
        "serial": manifest.serial,
        "artifact_id": manifest.artifact_id,
        "files": [{"path": file.path, "size": file.size} for file in manifest.files],
    }


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder, for the bar; what it is, sealing checks."""
    from ..artifacts.sources import walk

    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            return sum(file.lstat().st_size for _, file in walk(path))
        return path.lstat().st_size
    except OSError as error:
        raise InvalidValue(f"{error.filename or path} cannot be read: {error.strerror}") from None


def _plain_size(tag: str) -> int:
    """Return the bytes that an artifact says it has, for the bar alone."""
    from ..artifacts.inspecting import inspect as look

    manifest = look(tag).manifest
    return 0 if manifest is None else sum(file.size for file in manifest.files)


@contextmanager
def _writing(path: Path | None, what: str = "it") -> Iterator[None]:
    """Tell a full disk, or a folder that is not ours, in a sentence: nothing is left of what was begun.

    Args:
        path: the file or folder that the user named, or None.
        what: without a path, what is being written, where the system names no file.
    """
    try:
        yield
    except FileExistsError as error:
        raise Refused(f"{path or error.filename} is there already, and nothing is overwritten") from None
    except OSError as error:
        raise Refused(
            f"{path or error.filename or what} cannot be written: {error.strerror or error}"
        ) from None
