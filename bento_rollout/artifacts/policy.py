"""``trust.toml``: whose signatures are trusted, and which serials; without one nothing is opened.

::

    keys = ["sign.pub.pem"]            # P-256 public keys in PEM; paths are relative to this file
    identity = "identity.txt"          # optional: the age identity of this host

    [models."screening"]
    min_serial = 42                    # optional: older ones are refused
    artifact_id = "5f…"                # optional: what the serial 42 itself must be
    not_after = 2027-01-01             # optional: refused once this day (UTC) is over, or from this moment on
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

from ..errors import InvalidValue, PolicyViolated
from .canonical import GREATEST, Malformed, as_list, as_text, shown
from .files import Unusable, read_small
from .keys import read_public_key
from .manifest import TAG_PART, Manifest
from .signers import PublicKey

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TRUST_VARIABLE", "ModelTrust", "TrustFile", "TrustPolicy", "find_policy", "parse_trust"]

TRUST_VARIABLE = "BENTO_ROLLOUT_TRUST"
MAX_KEYS = 64
MAX_DOTS = 1000
"""In a line: the parser takes time with the square of a dotted key's parts."""

_MEMBERS = {"keys", "identity", "models"}
_MODEL_MEMBERS = {"min_serial", "artifact_id", "not_after"}
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class ModelTrust:
    """What is asked of one model's artifacts.

    Args:
        min_serial: the least serial that is opened.
        artifact_id: what an artifact with exactly that serial must be, or None: any.
        expires: the moment (UTC) from which on nothing is opened, or None.
    """

    min_serial: int = 0
    artifact_id: str | None = None
    expires: datetime | None = None


@dataclass(frozen=True)
class TrustFile:
    """The text of a ``trust.toml``, read: paths as they were written, and what is asked of each model."""

    keys: tuple[str, ...]
    identity: str | None
    models: Mapping[str, ModelTrust]


@dataclass(frozen=True)
class TrustPolicy:
    """Whom to trust, and for which artifacts.

    Args:
        keys: whose signatures are valid; at least one.
        models: what is asked of a model's artifacts, by its name; of others nothing more than a signature.
        identity_file: where this host's identity is, or None.
        source: the file that it was read from, or None.

    Raises:
        PolicyViolated: there is no key, which would trust nobody.
    """

    keys: tuple[PublicKey, ...]
    models: Mapping[str, ModelTrust] = field(default_factory=dict)
    identity_file: Path | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise PolicyViolated("a trust policy without keys trusts nobody: name a sign.pub.pem in `keys`")

    @classmethod
    def read(cls, path: Path | str) -> TrustPolicy:
        """Read a ``trust.toml`` and the keys that it names.

        Raises:
            PolicyViolated: it or one of its keys is missing or cannot be used; the message says which.
        """
        path = Path(path)
        try:
            found = parse_trust(read_small(path))
            return cls(
                keys=tuple(read_public_key(path.parent / name) for name in found.keys),
                models=found.models,
                identity_file=None if found.identity is None else path.parent / found.identity,
                source=path,
            )
        except (Unusable, InvalidValue) as error:
            raise PolicyViolated(f"the trust policy cannot be used: {error}") from None
        except Malformed as error:
            raise PolicyViolated(f"the trust policy {path} is not valid: {error}") from None

    def check(self, manifest: Manifest, now: datetime) -> None:
        """Check an artifact whose signature is valid.

        Args:
            manifest: what was signed.
            now: the time, with its time zone.

        Raises:
            PolicyViolated: its serial is too old, it is another artifact of that serial, or its time is over.
        """
        asked = self.models.get(manifest.name, ModelTrust())
        where = self.source or "the trust policy"
        if manifest.serial < asked.min_serial:
            raise PolicyViolated(
                f"{manifest.tag} is an older release: it has the serial {manifest.serial}, and {where} asks"
                f" for at least {asked.min_serial}; to go back to it on purpose, lower min_serial there"
            )
        if manifest.serial == asked.min_serial and asked.artifact_id not in {None, manifest.artifact_id}:
            raise PolicyViolated(
                f"{manifest.tag} has the serial {manifest.serial} and the id {manifest.artifact_id};"
                f" {where} knows another artifact of this serial, {asked.artifact_id}: a release has a serial"
                " of its own"
            )
        if asked.expires is not None and now >= asked.expires:
            raise PolicyViolated(
                f"{manifest.tag} may not be opened since {asked.expires:%Y-%m-%dT%H:%M:%SZ} (not_after in"
                f" {where}): renew the policy once you know why it ends"
            )


def find_policy(
    argument: TrustPolicy | Path | str | None = None, *, environ: Mapping[str, str] = os.environ
) -> TrustPolicy:
    """Return the policy that was given, or that of the file that ``BENTO_ROLLOUT_TRUST`` names.

    Raises:
        PolicyViolated: there is none, or it cannot be used. There is no mode without one.
    """
    if isinstance(argument, TrustPolicy):
        return argument
    named = argument if argument is not None else environ.get(TRUST_VARIABLE)
    if not named:
        raise PolicyViolated(
            f"no trust policy was given: pass policy=, or let {TRUST_VARIABLE} name a trust.toml with"
            ' keys = ["sign.pub.pem"]; nothing is opened without one'
        )
    return TrustPolicy.read(Path(named))


def parse_trust(raw: bytes) -> TrustFile:
    """Read the text of a ``trust.toml``; the files that it names are not looked at.

    Raises:
        Malformed: it is no TOML, or has a member or a value that cannot be.
    """
    if any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise Malformed(f"a line has more than {MAX_DOTS} dots")
    try:
        found = tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise Malformed(f"byte {error.start} is no UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is no TOML: {str(error)[:200]}") from None
    _check_members(found, _MEMBERS, "it")
    keys = [as_text(name, "a key in `keys`") for name in as_list(found.get("keys"), "keys")]
    if not 0 < len(keys) <= MAX_KEYS:
        raise Malformed(f"`keys` names {len(keys)} files, not 1 to {MAX_KEYS}")
    identity = found.get("identity")
    models = _table(found.get("models", {}), "models")
    return TrustFile(
        keys=tuple(keys),
        identity=None if identity is None else as_text(identity, "identity"),
        models={name: _model(name, asked) for name, asked in models.items()},
    )


def _model(name: str, value: Any) -> ModelTrust:
    where = f"models.{shown(name)}"
    if not TAG_PART.fullmatch(name):
        raise Malformed(
            f"{where} is for no model: write its name alone, without a version, as in models.'words'"
        )
    asked = _table(value, where)
    _check_members(asked, _MODEL_MEMBERS, where)
    serial, artifact = asked.get("min_serial", 0), asked.get("artifact_id")
    if type(serial) is not int or not 0 <= serial <= GREATEST:
        raise Malformed(f"{where}.min_serial is {shown(serial)}, no integer from 0 to 2^53-1")
    if artifact is not None:
        as_text(artifact, f"{where}.artifact_id", _ID, "32 lower-case hexadecimal digits")
    return ModelTrust(serial, artifact, _expiry(asked.get("not_after"), f"{where}.not_after"))


def _expiry(value: Any, where: str) -> datetime | None:
    """The moment from which on a ``not_after`` refuses: the end of a day, or a moment with its offset."""
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise Malformed(f"{where} has a time without an offset: write 2027-01-01T00:00:00Z, or a day")
            return value.astimezone(timezone.utc)
        if isinstance(value, date):
            return datetime.combine(value, time(), timezone.utc) + timedelta(days=1)
    except OverflowError:
        raise Malformed(f"{where} is too far away") from None
    raise Malformed(f"{where} is {shown(value)}, no day (2027-01-01) and no moment; write it without quotes")


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{where} is {shown(value)}, no table")
    return value


def _check_members(found: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise Malformed(
            f"{where} has the unknown member {shown(unknown[0])}; known: {', '.join(sorted(known))}"
        )
