"""`Assets`: the console's scripts and styles, from memory, with hashes that browsers check."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Asset", "Assets"]

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        name: its file name.
        integrity: SHA-384 as the attribute of that name has it.
        version: the part of its address that changes with its content.
        body, packed: as it is, and by gzip.
    """

    name: str
    integrity: str
    version: str
    body: bytes = field(repr=False)
    packed: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """Where it is served, below ``static/``."""
        return f"{self.version}/{self.name}"


class Assets:
    """Every file that pages need; read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = (path for path in sorted(folder.rglob("*")) if path.suffix in TYPES)
        self._assets = {path.name: _asset(path) for path in files}

    def __getitem__(self, name: str) -> Asset:
        return self._assets[name]

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._assets.values())

    def answer(self, request: Request) -> Response:
        """Serve one file; an address of another version is not found."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None or asset.version != request.path_params["version"]:
            return Response("there is no such file", 404, media_type="text/plain")
        headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding"}
        body = asset.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], body = "gzip", asset.packed
        headers["Content-Type"] = TYPES[Path(asset.name).suffix]
        return Response(body, headers=headers)


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    digest = hashlib.sha384(body).digest()
    integrity = f"sha384-{base64.b64encode(digest).decode('ascii')}"
    return Asset(path.name, integrity, digest.hex()[:12], body, gzip.compress(body, 9, mtime=0))
