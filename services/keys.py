"""Where the keys of the screening service lie: beside its models in BentoML's home, or where the host says.

A laptop that trains has all of them, and nothing to set up. A host that only serves is given a
``trust.toml``, the public key and an identity, and says so with ``BENTO_ROLLOUT_TRUST`` and
``BENTO_ROLLOUT_IDENTITY_FILE``; the key that signs stays where models are trained. No key is in a bento.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "screening-keys"
POLICY = "trust.toml"
IDENTITY = "identity.txt"


def folder() -> Path:
    """Return the folder of the keys that training made, in BentoML's home."""
    return Path(os.environ.get("BENTOML_HOME") or "~/bentoml").expanduser().absolute() / FOLDER


def policy() -> Path | None:
    """Return the policy that training wrote, or None where the host names another."""
    return _ours(POLICY, "BENTO_ROLLOUT_TRUST")


def identity() -> Path | None:
    """Return the identity that training made, or None where the host names another, or is to name one."""
    return _ours(IDENTITY, "BENTO_ROLLOUT_TRUST", "BENTO_ROLLOUT_IDENTITY_FILE", "BENTO_ROLLOUT_IDENTITY")


def _ours(name: str, *others: str) -> Path | None:
    """Return a file of ours, unless the environment names another: then the library looks there."""
    return None if any(os.environ.get(other) for other in others) else folder() / name
