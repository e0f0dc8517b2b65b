"""Packages of npm's registry for tests, unpacked; without npm or registry the test is skipped."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.states import unavailable

AXE = ("axe-core", "4.14.1")


def npm_package(name: str, version: str, folder: Path) -> Path:
    """Return the folder that a package is unpacked in."""
    place = folder / f"{name}-{version}"
    if place.exists():
        return place / "package"
    npm = shutil.which("npm")
    if npm is None:
        unavailable("npm is not installed (Debian: apt-get install npm)")
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(npm), "pack", "--silent", f"{name}@{version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        unavailable(f"npm cannot get {name}@{version}: {done.stderr.strip()[-300:]}")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(place, filter="data")
    return place / "package"
