"""The act between: what a thief would find in the model store, the bento and its archive."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bento_rollout import artifacts
from bento_rollout.artifacts import Artifact, FolderShelf
from services import keys
from services.demo.promises import Verdict
from services.demo.screen import Screen
from services.demo.server import ROOT, command, environment
from services.train import BOOSTED, LOGISTIC

PROMISE = "store, bento and archive hold no plaintext of a model, and no private key"
PIECE = 48
"""Bytes that are searched for at a time; too many for another file to have them by chance."""
STRIDE = 1024
CIPHERTEXTS = 4
"""What the archive must hold for the search to say anything: two files of each model."""
SECONDS = 90.0


def opened(home: Path, name: str) -> Artifact:
    """Open the newest model of a name in a home, with the keys that lie there."""
    own = home / keys.FOLDER
    shelf = FolderShelf(home / "models")
    return artifacts.open(name, policy=own / keys.POLICY, identity=own / keys.IDENTITY, shelf=shelf)


def secrets(home: Path) -> Iterator[bytes]:
    """Yield all that must not be found: pieces of each model's plaintext, and lines of private keys."""
    for model in (opened(home, LOGISTIC), opened(home, BOOSTED)):
        for path in model.paths:
            text = bytes(model.read(path))
            pieces = (text[at : at + PIECE] for at in range(0, len(text) - PIECE, STRIDE))
            yield from (piece for piece in pieces if len(set(piece)) > PIECE // 4)  # not a run of zeros
    for name in (keys.IDENTITY, "sign.pem"):
        lines = (home / keys.FOLDER / name).read_bytes().splitlines()
        yield from (line for line in lines if line[:1] not in {b"#", b"-"})  # comments, PEM's first and last


def exposed(places: Iterable[Path], needles: Iterable[bytes]) -> tuple[int, list[Path]]:
    """Search whole folders, and files; return how many files were read, and those with a needle in them."""
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    files = [file for file in files if file.is_file()]
    wanted = re.compile(b"|".join(map(re.escape, needles)))
    return len(files), [file for file in files if wanted.search(file.read_bytes())]


def nothing_plain(home: Path, screen: Screen) -> Verdict:
    """Build and export the service as a release would, search all of it, and judge."""
    archive = home / "screening.tar"
    tag = bentoml(home, "build", "--output", "tag").strip().removeprefix("__tag__:")
    bentoml(home, "export", tag, str(archive))
    needles = list(secrets(home))
    with tarfile.open(archive) as packed:
        ciphertexts = sum(name.endswith(".floe") for name in packed.getnames())
    count, found = exposed([home / "models", home / "bentos", archive], needles)
    screen.say(f"$ bentoml build && bentoml export {tag} {archive.name}")
    screen.say(f"  searched {count} files for {len(needles)} pieces of the models and of the private keys")
    detail = f"{ciphertexts} ciphertexts are packed; {len(found)} files have plaintext or a key"
    if found:
        detail += f": {', '.join(map(str, found[:5]))}"
    return Verdict(PROMISE, ciphertexts == CIPHERTEXTS and not found, detail)


def bentoml(home: Path, *arguments: str) -> str:
    """Run a command of BentoML's and return what it printed."""
    return subprocess.run(
        [command("bentoml"), *arguments],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stdout
