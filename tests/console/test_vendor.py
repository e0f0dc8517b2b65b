"""What the console serves: others' files are as they were published, and all of it is small."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bento_rollout.console.assets import FOLDER, Assets
from bento_rollout.console.rendering import FOLDER as TEMPLATES
from tests.npm import npm_package
from tests.states import unavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VENDOR = FOLDER / "vendor"
LISTED = tomllib.loads((VENDOR / "VENDOR.toml").read_text(encoding="utf-8"))["file"]
MOST = 100_000
"""Bytes of all scripts, styles and icons together, as they are sent (gzip)."""


def sha384(content: bytes) -> str:
    """Return a hash as integrity attributes have it."""
    return base64.b64encode(hashlib.sha384(content).digest()).decode("ascii")


def test_every_file_of_others_is_listed() -> None:
    """The list names what lies there, with its licence."""
    assert {one["name"] for one in LISTED} == {path.name for path in VENDOR.iterdir()} - {"VENDOR.toml"}
    assert all(one["licence"] in {"0BSD", "MIT"} for one in LISTED)


@pytest.mark.parametrize("one", LISTED, ids=lambda one: one["name"])
def test_files_have_their_hash(one: dict[str, str]) -> None:
    """Nobody changed a file."""
    assert sha384((VENDOR / one["name"]).read_bytes()) == one["sha384"]


@pytest.mark.parametrize("one", LISTED, ids=lambda one: one["name"])
def test_files_are_those_of_the_registry(
    one: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Byte for byte what was published."""
    folder = npm_package(one["package"], one["version"], tmp_path_factory.getbasetemp() / "npm")
    assert (folder / one["path"]).read_bytes() == (VENDOR / one["name"]).read_bytes()


def test_assets_are_small() -> None:
    """Even a page that needed all of them would stay below the limit, as sent."""
    sizes = {asset.name: len(asset.packed) for asset in Assets()}
    assert set(sizes) == {
        "console.css", "console.js", "htmx.min.js", "icon.svg", "uPlot.iife.min.js", "uPlot.min.css",
    }  # fmt: skip
    assert sum(sizes.values()) < MOST, sizes
    assert all(gzip.decompress(asset.packed) == asset.body for asset in Assets())


def test_integrity_is_of_what_is_sent() -> None:
    """The hash in a page is that of the file."""
    for asset in Assets():
        assert asset.integrity == f"sha384-{sha384(asset.body)}"


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_have_no_inline_code_and_load_nothing(path: Path) -> None:
    """No handler, no style, no script but data; no address of another server."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|hx-on|javascript:|\|\s*safe\b", text)
    assert re.findall(r"<script(?! type=\"application/json\")", text) == []
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


def test_our_own_files_load_nothing() -> None:
    """Neither the style sheet nor the script names another server."""
    for name in ("console.css", "console.js"):
        assert not re.search(
            r"https?://|@import|url\(|eval\(|new Function|innerHTML", Assets()[name].body.decode()
        )


@pytest.mark.slow
def test_the_wheel_has_them(tmp_path: Path) -> None:
    """Templates and static files are in what is installed."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", str(tmp_path), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        unavailable(f"no wheel can be built here: {done.stderr[-300:]}")
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for folder in (FOLDER, TEMPLATES):
        for path in folder.rglob("*"):
            if path.is_file():
                assert path.relative_to(root).as_posix() in names
