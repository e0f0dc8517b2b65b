"""Sealed artifacts: a model at rest that nobody reads without a key, or changes without being seen.

Importing this package imports nothing slow: each name is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "Artifact",
    "Creation",
    "FolderShelf",
    "Identities",
    "Inspection",
    "Kms",
    "Manifest",
    "PlainFolder",
    "PublicKey",
    "Shelf",
    "Shelved",
    "Signer",
    "TrustPolicy",
    "Verified",
    "bump",
    "create",
    "floe",
    "inspect",
    "keygen",
    "load",
    "open",
    "read_public_key",
    "read_signer",
    "resign",
    "rewrap",
    "verify",
]

_HOMES = {
    "Artifact": "opening",
    "Creation": "sealing",
    "FolderShelf": "shelf",
    "Identities": "keys",
    "Inspection": "inspecting",
    "Kms": "kms",
    "Manifest": "manifest",
    "PlainFolder": "shelf",
    "PublicKey": "signers",
    "Shelf": "shelf",
    "Shelved": "shelf",
    "Signer": "signers",
    "TrustPolicy": "policy",
    "Verified": "verifying",
    "bump": "bumping",
    "create": "sealing",
    "inspect": "inspecting",
    "keygen": "keys",
    "load": "loading",
    "read_public_key": "keys",
    "read_signer": "keys",
    "resign": "keeping",
    "rewrap": "keeping",
    "verify": "verifying",
}

if TYPE_CHECKING:
    from . import floe
    from .bumping import bump
    from .inspecting import Inspection, inspect
    from .keeping import resign, rewrap
    from .keys import Identities, keygen, read_public_key, read_signer
    from .kms import Kms
    from .loading import load
    from .manifest import Manifest
    from .opening import Artifact
    from .opening import open_artifact as open  # noqa: A004 - artifacts.open, beside artifacts.create
    from .policy import TrustPolicy
    from .sealing import Creation, create
    from .shelf import FolderShelf, PlainFolder, Shelf, Shelved
    from .signers import PublicKey, Signer
    from .verifying import Verified, verify


def __getattr__(name: str) -> Any:
    if name == "open":
        value: Any = import_module(".opening", __name__).open_artifact
    elif name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name == "floe":
        value = import_module(".floe", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
