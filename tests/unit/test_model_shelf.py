"""BentoML's own model store as a shelf: real models, that BentoML lists, exports and deletes as any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml.exceptions import NotFound

from bento_rollout import artifacts
from bento_rollout.bento.model_shelf import ModelShelf
from bento_rollout.errors import ArtifactCorrupt, ArtifactNotFound, Refused
from tests.unit.seals import FILES, Desk

CANARY = b"CANARY-of-plaintext-in-the-store"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk, and an empty model store of this process's BentoML."""
    (tmp_path / "home" / "models").mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "home" / "models"))
    yield Desk.make(tmp_path)
    BentoMLContainer.model_store.reset()


def test_the_default_shelf_is_bentomls(desk: Desk) -> None:
    """A model is sealed into the store, BentoML knows it, and it is loaded from there."""
    folder = desk.seal("screening:v3", shelf=None)
    model = bentoml.models.get("screening:v3")
    assert Path(model.path) == folder == desk.folder / "home" / "models" / "screening" / "v3"
    assert [str(item.tag) for item in bentoml.models.list()] == ["screening:v3"]
    assert model.info.module == ""
    assert desk.read("screening:v3", shelf=None) == desk.read("screening", shelf=None) == FILES
    assert desk.verify("screening:latest", shelf=None).manifest.version == "v3"
    assert [path.name for path in (desk.folder / "home").iterdir()] == ["models"]
    with pytest.raises(Refused):
        desk.seal("screening:v3", shelf=None)


def test_a_version_of_bentomls(desk: Desk) -> None:
    """A name alone gets a version as BentoML makes them, and `latest` is BentoML's."""
    desk.seal("screening:v3", shelf=None)
    folder = desk.seal("screening", shelf=None)
    newest = bentoml.models.get("screening:latest")
    assert (newest.tag.version, newest.path) == (folder.name, str(folder))
    assert desk.open("screening", shelf=None).manifest.version == folder.name
    bentoml.models.delete(f"screening:{folder.name}")
    assert desk.open("screening", shelf=None).manifest.version == "v3"
    (folder.parent / "latest").unlink()
    assert desk.open("screening", shelf=None).manifest.version == "v3"
    assert (folder.parent / "latest").read_text() == "v3"


def test_what_is_not_there(desk: Desk) -> None:
    """Neither by name nor by version; BentoML would take the beginning of a version, and this does not."""
    desk.seal("screening:v3", shelf=None)
    assert bentoml.models.get("screening:v").tag.version == "v3"
    for tag in ("screening:v", "screening:v4", "nothing", "nothing:latest"):
        with pytest.raises(ArtifactNotFound):
            desk.open(tag, shelf=None)


def test_an_alias_of_a_built_bento(desk: Desk) -> None:
    """What a service calls its model is followed to the tag that was built in."""
    desk.seal("screening:v3", shelf=None)
    BentoMLContainer.model_aliases.set({"champion": "screening:v3"})
    try:
        assert desk.open("champion", shelf=None).manifest.tag == "screening:v3"
    finally:
        BentoMLContainer.model_aliases.reset()


def test_export_and_import(desk: Desk) -> None:
    """The archive has ciphertext only, and what is imported again opens."""
    desk.seal("screening:v3", {"model.bin": CANARY * 1000}, shelf=None)
    archive = bentoml.models.export_model("screening:v3", str(desk.folder / "out.bentomodel"))
    bentoml.models.delete("screening:v3")
    with pytest.raises(NotFound):
        bentoml.models.get("screening:v3")
    assert CANARY not in Path(archive).read_bytes()
    bentoml.models.import_model(archive)
    assert desk.read("screening:v3", shelf=None) == {"model.bin": CANARY * 1000}


def test_model_yaml_is_not_trusted(desk: Desk) -> None:
    """Whatever it says, the artifact is what was signed; and no file beside it is looked at."""
    folder = desk.seal("screening:v3", shelf=None)
    (folder / "model.yaml").write_text("name: other\nversion: v9\nmodule: os\n")
    (folder / "custom_objects.pkl").write_bytes(b"cos\nabort\n(tR.")
    assert desk.read("screening:v3", shelf=None) == FILES
    (folder / "model.yaml").unlink()
    assert desk.read("screening:v3", shelf=None) == FILES
    folder.rename(folder.with_name("v4"))
    with pytest.raises(ArtifactCorrupt, match="was sealed as screening:v3"):
        desk.open("screening:v4", shelf=None)


def test_a_block_that_fails(desk: Desk) -> None:
    """The store is as it was."""
    with pytest.raises(ZeroDivisionError), desk.create(shelf=None) as art:  # noqa: PT012
        art.open("a", "wb").write(CANARY)
        _ = 1 / 0
    assert list((desk.folder / "home").rglob("*")) == [desk.folder / "home" / "models"]
    assert bentoml.models.list() == []


KILLED = """
import sys, time
from pathlib import Path
from tests.unit.seals import Desk
with Desk(Path(sys.argv[1])).create(shelf=None) as art:
    art.open("a", "wb").write(sys.argv[2].encode() * 100_000)
    print("ready", flush=True)
    time.sleep(600)
"""


def test_kill_9_while_sealing_into_the_store(desk: Desk) -> None:
    """No plaintext is in BENTOML_HOME or a temporary folder, and BentoML still lists what it has."""
    (desk.folder / "tmp").mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(desk.folder), CANARY.decode()],
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "TMPDIR": str(desk.folder / "tmp"),
            "BENTOML_HOME": str(desk.folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
        },
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    for path in desk.folder.rglob("*"):
        assert not path.is_file() or CANARY not in path.read_bytes()
    assert not list((desk.folder / "tmp").rglob("*.floe"))
    assert bentoml.models.list() == []
    with pytest.raises(ArtifactNotFound):
        desk.open(shelf=None)
    desk.seal(shelf=None)
    assert [path.name for path in (desk.folder / "home").glob(".models-sealing-*")] == []
    assert desk.read(shelf=None) == FILES


def test_it_is_a_shelf() -> None:
    """As a type checker sees it, too."""
    shelf: artifacts.Shelf = ModelShelf()
    assert callable(shelf.find)
    assert callable(shelf.publish)
