"""The options that the verbs of ``artifacts`` share: whom to trust, who opens, who signs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from ..errors import InvalidValue, PolicyViolated

if TYPE_CHECKING:
    from ..artifacts.signers import Signer

__all__ = [
    "Opening",
    "Trust",
    "opening",
    "read_passphrase",
    "read_recipients",
    "recipients",
    "signing",
    "trusting",
]


class Trust(TypedDict, total=False):
    """Whose signatures are valid, as the functions of the library take it."""

    policy: str | None
    public_keys: tuple[str, ...]


class Opening(TypedDict):
    """What opens a data key, as the functions of the library take it."""

    identity: str | None
    passphrase: str | None


def trusting(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command `--policy` and `--public-key`; it gets ``trust``, a `Trust`."""

    @click.option(
        "--public-key",
        "public_keys",
        multiple=True,
        metavar="FILE",
        help="Instead of a policy: a trusted key, the sign.pub.pem of keygen; may stand several times.",
    )
    @click.option(
        "--policy", metavar="FILE", help="The trust policy, trust.toml; default: BENTO_ROLLOUT_TRUST's."
    )
    @functools.wraps(command)
    def wrapped(public_keys: tuple[str, ...], policy: str | None, **rest: Any) -> int:
        from ..artifacts.policy import TRUST_VARIABLE

        if public_keys and policy:
            raise click.UsageError("a policy names its keys: give --policy or --public-key, not both")
        if not (public_keys or policy or os.environ.get(TRUST_VARIABLE)):
            raise PolicyViolated(
                f"nobody is trusted: say --policy trust.toml or --public-key sign.pub.pem, or let"
                f" {TRUST_VARIABLE} name a trust.toml; nothing is verified or opened without one"
            )
        return command(trust=Trust(public_keys=public_keys) if public_keys else Trust(policy=policy), **rest)

    return wrapped


def opening(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command `--identity` and `--passphrase-file`; it gets ``opener``, an `Opening`."""

    @click.option(
        "--identity",
        metavar="FILE",
        help="The identity.txt that opens it; default: the policy's, or BENTO_ROLLOUT_IDENTITY_FILE's.",
    )
    @click.option(
        "--passphrase-file", metavar="FILE", help="Instead of an identity: a file with the passphrase."
    )
    @functools.wraps(command)
    def wrapped(identity: str | None, passphrase_file: str | None, **rest: Any) -> int:
        passphrase = read_passphrase("--passphrase-file", passphrase_file)
        return command(opener=Opening(identity=identity, passphrase=passphrase), **rest)

    return wrapped


def signing(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command `--signer` and `--signer-password-file`; it gets ``signer``, a `Signer`."""

    @click.option("--signer", "file", required=True, metavar="FILE", help="The signing key, a sign.pem.")
    @click.option(
        "--signer-password-file", "password", metavar="FILE", help="Its password, if it is encrypted."
    )
    @functools.wraps(command)
    def wrapped(file: str, password: str | None, **rest: Any) -> int:
        return command(signer=_read_signer(file, password), **rest)

    return wrapped


recipients = click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="AGE1…|FILE",
    help="Who may open it, or a file with one on each line; may stand several times.",
)


def read_recipients(given: tuple[str, ...]) -> list[str]:
    """Return recipients of age, and those in files: one a line, and comments behind ``#``.

    Raises:
        InvalidValue: one is neither, or a file has something else in it.
    """
    from ..artifacts.files import Unusable, is_secret, read_small

    found: list[str] = []
    for text in given:
        if text.startswith("age1"):
            found.append(text)
            continue
        if is_secret(text):
            raise InvalidValue("--recipient is a secret key: give what `keygen` wrote as recipient.txt")
        try:
            lines = [line.strip() for line in read_small(Path(text)).decode().splitlines()]
        except UnicodeDecodeError:
            raise InvalidValue(f"--recipient {text}: the file is no text") from None
        except Unusable as error:
            raise InvalidValue(f"--recipient: no recipient (age1…), and no file: {error}") from None
        some = {number: line for number, line in enumerate(lines, 1) if line and not line.startswith("#")}
        if not some:
            raise InvalidValue(f"--recipient {text}: the file has no recipient (age1…)")
        for number, line in some.items():
            if not line.startswith("age1"):
                raise InvalidValue(
                    f"--recipient {text}: line {number} is no recipient (age1…); `keygen` writes one as"
                    " recipient.txt"
                )
        found += some.values()
    return found


def read_passphrase(option: str, file: str | None) -> str | None:
    """Return the one line of a file that only its owner reads.

    Raises:
        InvalidValue: others can read it too, or it holds anything but one line of text.
    """
    content = _secret(option, file)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{option}: {file} is no text") from None


def _read_signer(file: str, password: str | None) -> Signer:
    from ..artifacts.keys import read_signer

    return read_signer(Path(file), _secret("--signer-password-file", password))


def _secret(option: str, file: str | None) -> bytes | None:
    from ..artifacts.files import Unusable, read_private

    if file is None:
        return None
    try:
        content = read_private(Path(file))
    except Unusable as error:
        raise InvalidValue(f"{option}: {error}") from None
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content or b"\n" in content:
        raise InvalidValue(f"{option}: {file} has {'more than one line' if content else 'nothing in it'}")
    return content
