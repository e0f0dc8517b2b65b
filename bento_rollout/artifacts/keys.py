"""Keys of people and hosts: made by `keygen`, read from where the operator says that they are.

Identities (age, X25519) open data keys; a signing key (see `signers`) signs. No message shows either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage

from ..errors import InvalidValue, KeyUnavailable, Refused
from .files import Unusable, read_private, read_small, write_new
from .signers import PublicKey, Signer

__all__ = [
    "IDENTITY_FILE_VARIABLE",
    "IDENTITY_VARIABLE",
    "Identities",
    "find_identities",
    "keygen",
    "read_public_key",
    "read_signer",
]

IDENTITY_FILE_VARIABLE = "BENTO_ROLLOUT_IDENTITY_FILE"
IDENTITY_VARIABLE = "BENTO_ROLLOUT_IDENTITY"
MAX_IDENTITIES = 64
_SECRET = "AGE-SECRET-KEY-"  # noqa: S105 - how each begins


@dataclass(frozen=True)
class Identities:
    """Secret keys of age (X25519), any of which may open a data key; the representation shows none.

    Args:
        source: where they are from, for messages.

    >>> made = Identities.generate()
    >>> made
    Identities(source='this process')
    >>> made.recipients[0][:4]
    'age1'
    """

    secrets: Sequence[pyrage.x25519.Identity] = field(repr=False)
    source: str

    @classmethod
    def generate(cls) -> Identities:
        """Make one new identity."""
        return cls((pyrage.x25519.Identity.generate(),), "this process")

    @classmethod
    def parse(cls, text: str, source: str) -> Identities:
        """Read what `age-keygen` writes: secret keys, empty lines, and comments that begin with ``#``.

        Raises:
            KeyUnavailable: a line is something else, or there is no key; the message has the line's number.
        """
        secrets = []
        for number, line in enumerate(text.splitlines(), 1):
            if not (line := line.strip()) or line.startswith("#"):
                continue
            try:
                secrets.append(pyrage.x25519.Identity.from_str(line))
            except pyrage.IdentityError:
                raise KeyUnavailable(
                    f"line {number} of {source} is no identity of age ({_SECRET}1…);"
                    " `keygen` writes one as identity.txt"
                ) from None
        if not 0 < len(secrets) <= MAX_IDENTITIES:
            raise KeyUnavailable(f"{source} has {len(secrets)} identities, not 1 to {MAX_IDENTITIES}")
        return cls(tuple(secrets), source)

    @classmethod
    def read(cls, path: Path, source: str | None = None) -> Identities:
        """Read an identity file, which nobody but this user may be able to read.

        Raises:
            KeyUnavailable: it is missing, open to others, or holds something else.
        """
        try:
            text = read_private(path).decode()
        except Unusable as error:
            raise KeyUnavailable(f"the identity file {error}" + (f" ({source})" if source else "")) from None
        except UnicodeDecodeError:
            raise KeyUnavailable(f"the identity file {path} is no text") from None
        return cls.parse(text, str(path))

    @property
    def recipients(self) -> list[str]:
        """The public counterparts (``age1…``)."""
        return [str(secret.to_public()) for secret in self.secrets]

    def to_text(self) -> str:
        """Return the secret keys, as `parse` reads them: for a file that only its owner reads."""
        lines = [f"# public key: {secret.to_public()}\n{secret}\n" for secret in self.secrets]
        return "".join(lines)


def find_identities(
    argument: Identities | Path | str | None = None,
    *,
    policy_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Identities:
    """Return the identities from the first place that names any.

    In this order: the argument (identities, or the path of a file), the file that the trust policy names,
    the file that ``BENTO_ROLLOUT_IDENTITY_FILE`` names, the text in ``BENTO_ROLLOUT_IDENTITY``. What a place
    names must be good: there is no falling back to the next one.

    Raises:
        KeyUnavailable: no place names any, or what the first one names cannot be used.
    """
    if isinstance(argument, Identities):
        return argument
    if argument is not None:
        return Identities.read(Path(argument))
    if policy_file is not None:
        return Identities.read(policy_file, "named by the trust policy")
    if path := environ.get(IDENTITY_FILE_VARIABLE):
        return Identities.read(Path(path), f"named by {IDENTITY_FILE_VARIABLE}")
    if text := environ.get(IDENTITY_VARIABLE):
        return Identities.parse(text, IDENTITY_VARIABLE)
    raise KeyUnavailable(
        "no identity was given: pass identity= (--identity FILE), name a file as `identity` in trust.toml,"
        f" or set {IDENTITY_FILE_VARIABLE} or {IDENTITY_VARIABLE}"
    )


def read_signer(path: Path, password: bytes | None = None) -> Signer:
    """Read a signing key (``sign.pem``), which nobody but this user may be able to read.

    Raises:
        InvalidValue: it is missing, open to others, or no P-256 key in PEM.
    """
    try:
        return Signer.parse(read_private(path), password, str(path))
    except Unusable as error:
        raise InvalidValue(f"the signing key {error}") from None


def read_public_key(path: Path) -> PublicKey:
    """Read a public key (``sign.pub.pem``).

    Raises:
        InvalidValue: it is missing, or no P-256 key in PEM.
    """
    try:
        return PublicKey.parse(read_small(path), str(path))
    except Unusable as error:
        raise InvalidValue(f"the public key {error}") from None


def keygen(folder: Path | str) -> list[Path]:
    """Make an identity and a signing key, and return the files: all four, or none.

    ``identity.txt`` (age) and ``sign.pem`` are for their owner alone (mode 0600); ``recipient.txt`` and
    ``sign.pub.pem`` are for everybody. The folder is made if it is missing.

    Raises:
        Refused: one of the files is there already; a key is never overwritten.
        OSError: the folder cannot be written.
    """
    folder, identity, signer = Path(folder), Identities.generate(), Signer.generate()
    contents = {
        "identity.txt": (identity.to_text().encode(), 0o600),
        "recipient.txt": (f"{identity.recipients[0]}\n".encode(), 0o644),
        "sign.pem": (signer.to_pem(), 0o600),
        "sign.pub.pem": (signer.public.pem, 0o644),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        for name, (content, mode) in contents.items():
            write_new(folder / name, content, mode)
            written.append(folder / name)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise Refused(f"{error.filename} is there already, and a key is never overwritten") from None
        raise
    return written
