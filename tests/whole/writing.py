"""The vectors of whole artifacts as files, and artifacts as their index describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .vectors import KEYS, vectors

FOLDER = Path(__file__).parent.parent / "vectors" / "sealed" / "whole"
INDEX = "index.json"


def rendered() -> dict[str, bytes]:
    """Return each file of the vectors by its name in their folder."""
    found = {f"keys/{name}": content for name, content in KEYS.items()}
    entries = []
    for vector in vectors():
        entries.append(json.dumps(vector.entry(), ensure_ascii=False))
        found |= {f"{vector.name}/{name}": content for name, content in vector.content.items()}
    found[INDEX] = ("[\n " + ",\n ".join(entries) + "\n]\n").encode()
    return found


def index() -> list[dict[str, Any]]:
    """Return what the index says of each vector."""
    found: list[dict[str, Any]] = json.loads((FOLDER / INDEX).read_bytes())
    return found


def lay_out(vector: dict[str, Any], target: Path) -> Path:
    """Write a vector's artifact to a new folder: its files, and the payload that its pieces make."""
    source = FOLDER / vector["folder"]
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    if pieces := vector.get("pieces"):
        whole = (FOLDER / pieces["of"] / pieces["file"]).read_bytes()
        parts = (whole[begin:end] for begin, end in pieces["parts"])
        (target / pieces["file"]).write_bytes(b"".join(parts))
    return target
