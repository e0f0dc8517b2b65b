"""What others do, for `benchmarks.artifacts`: age by `pyrage`, and Tink's streaming AEAD, where installed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["INSTALL", "Run", "here", "openers", "sealers"]

INSTALL = "pip install pyrage tink"
AAD = b"artifact"
PART = 1 << 20

Run = Callable[[], object]
"""One try of a contestant."""


def here(package: str) -> bool:
    """Say whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def sealers(plain: Path, folder: Path) -> Mapping[str, Run]:
    """Return who seals a file into ``folder``, by name."""
    runs: dict[str, Run] = {}
    if here("pyrage"):
        runs["age (pyrage)"] = lambda: age_seal(plain, folder / "age")
    if here("tink"):
        runs["Tink streaming"] = lambda: tink_seal(plain, folder / "tink")
    return runs


def openers(folder: Path) -> Mapping[str, Run]:
    """Return who opens what `sealers` have sealed before, by name."""
    runs: dict[str, Run] = {}
    if here("pyrage"):
        runs["age (pyrage)"] = lambda: age_open(folder / "age")
    if here("tink"):
        runs["Tink streaming"] = lambda: tink_open(folder / "tink")
    return runs


kept: dict[str, Any] = {}
"""Identities and keys, made once."""


def age_identity() -> Any:
    """Return the identity that age files are sealed to."""
    from pyrage import x25519

    return kept.setdefault("age", x25519.Identity.generate())


def age_seal(plain: Path, out: Path) -> None:
    """Seal to one recipient; pyrage has no streams that need less memory for a file of this kind."""
    import pyrage

    pyrage.encrypt_file(str(plain), str(out), [age_identity().to_public()])


def age_open(sealed: Path) -> bytes:
    """Open into memory."""
    import pyrage

    return bytes(pyrage.decrypt(sealed.read_bytes(), [age_identity()]))


def tink_primitive() -> Any:
    """Return Tink's AES-256-GCM with segments of 1 MiB."""
    if "tink" not in kept:
        import tink
        from tink import streaming_aead

        streaming_aead.register()
        template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
        kept["tink"] = tink.new_keyset_handle(template).primitive(streaming_aead.StreamingAead)
    return kept["tink"]


def tink_seal(plain: Path, out: Path) -> None:
    """Seal part by part."""
    with (
        plain.open("rb", buffering=0) as source,
        tink_primitive().new_encrypting_stream(out.open("wb"), AAD) as sink,
    ):
        while part := source.read(PART):
            sink.write(part)


def tink_open(sealed: Path) -> memoryview:
    """Open into memory, part by part."""
    out = io.BytesIO()
    with tink_primitive().new_decrypting_stream(sealed.open("rb"), AAD) as source:
        while part := source.read(PART):
            out.write(part)
    return out.getbuffer()
