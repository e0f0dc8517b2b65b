"""`SealedModel` as a class attribute: what it is to a class, and to a candidate with another model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import artifacts
from bento_rollout.bento import deploying
from bento_rollout.bento.variants import with_tag
from bento_rollout.errors import ArtifactCorrupt, ArtifactError, InvalidValue, KeyUnavailable


def test_a_loader_is_needed() -> None:
    """What is loaded, and how, is the code's to say."""
    with pytest.raises(InvalidValue, match=r"loader=None .* loader=joblib\.load"):
        artifacts.SealedModel("screening:v1", "model.joblib", loader=None)  # type: ignore[arg-type]  # so it is


@pytest.mark.parametrize(
    ("given", "named"),
    [({}, "path=None is for as_='folder' alone"), ({"path": "m", "as_": "pth"}, "as_='pth'")],
)
def test_what_is_given_to_the_loader_is_checked_at_once(given: dict[str, Any], named: str) -> None:
    """A worker that finds it out ends at its start, and another is started, without an end."""
    with pytest.raises(InvalidValue, match=rf"SealedModel\('screening:v1'\): {named}"):
        artifacts.SealedModel("screening:v1", loader=json.load, **given)


def test_a_relative_policy_lies_beside_the_code() -> None:
    """Wherever the server was started."""
    model = artifacts.SealedModel(
        "screening:v1", "m", loader=json.load, policy="trust.toml", identity="id.txt"
    )
    assert model.policy == Path(__file__).absolute().parent / "trust.toml"
    assert model.identity == Path(__file__).absolute().parent / "id.txt"
    assert model.with_tag("screening:v2").policy == model.policy


def test_another_tag_is_sealed_too() -> None:
    """``Variant(model=…)`` of a champion with a sealed model means another sealed one."""
    model = artifacts.SealedModel("screening:v1", "model.json", loader=json.load, as_="bytes")
    other = with_tag(model, "screening:v2")
    assert isinstance(other, artifacts.SealedModel)
    assert (str(other.tag), other.path, other.as_) == ("screening:v2", "model.json", "bytes")


def test_a_class_has_the_reference_and_an_instance_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded once, when somebody asks; the class checks it before a start, and opens it in one."""
    artifacts.keygen(tmp_path / "keys")
    recipient = (tmp_path / "keys" / "recipient.txt").read_text(encoding="utf-8").strip()
    folder, loaded = tmp_path / "sealed-model", []
    shelf = artifacts.PlainFolder(folder)
    signer = tmp_path / "keys" / "sign.pem"
    with (
        artifacts.create("screening:v1", recipients=[recipient], signer=signer, serial=1, shelf=shelf) as art,
        art.open("m.json", "wb") as file,
    ):
        file.write(b'{"factor": 3}')
    monkeypatch.setattr("bento_rollout.artifacts.shelf.default_shelf", lambda: shelf)
    policy = artifacts.TrustPolicy((artifacts.read_public_key(tmp_path / "keys" / "sign.pub.pem"),))

    def load(file: object) -> object:
        loaded.append(1)
        return json.load(file)  # type: ignore[arg-type]

    class Service:
        model = artifacts.SealedModel(
            "screening:v1", "m.json", loader=load, policy=policy, identity=tmp_path / "keys" / "identity.txt"
        )

    assert isinstance(Service.model, artifacts.SealedModel)
    Service._bento_rollout_check_model()  # type: ignore[attr-defined]
    assert loaded == []
    Service()._bento_rollout_open_model()  # type: ignore[attr-defined]
    assert Service().model == Service().model == {"factor": 3}
    assert loaded == [1]
    assert "identity" not in repr(Service.model)


def test_who_is_not_there_is_said() -> None:
    """The check that a start makes."""
    model = artifacts.SealedModel("nobody:v1", "m", loader=json.load, policy="nowhere.toml")
    with pytest.raises(ArtifactError, match=r"^nobody:v1: the trust policy cannot be used"):
        model.check()


def test_a_candidates_long_complaint_fits_into_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are told of it there, and the kernel starts none with 128 KiB in one variable."""
    monkeypatch.setenv(deploying.BROKEN, "{}")
    deploying.say_broken("second", ArtifactCorrupt("x" * 200_000))
    subprocess.run([sys.executable, "-c", ""], check=True)
    told = deploying.broken_candidates()["second"]
    assert told.startswith("its deployment hook raised ArtifactCorrupt: xxx")


def test_an_identity_in_the_place_of_its_file_stays_unsaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is taken beside the code; a secret must not come into a log by that."""
    keys = tmp_path / "keys"
    artifacts.keygen(keys)
    shelf = artifacts.FolderShelf(tmp_path / "models")
    with (
        artifacts.create(
            "words:v1",
            recipients=(keys / "recipient.txt").read_text(encoding="utf-8").split(),
            signer=keys / "sign.pem",
            serial=1,
            shelf=shelf,
        ) as art,
        art.open("w.json", "wb") as file,
    ):
        file.write(b"[]")
    monkeypatch.setattr("bento_rollout.artifacts.shelf.default_shelf", lambda: shelf)
    policy = artifacts.TrustPolicy((artifacts.read_public_key(keys / "sign.pub.pem"),))
    text = (keys / "identity.txt").read_text(encoding="utf-8")
    model = artifacts.SealedModel("words:v1", "w.json", loader=json.load, policy=policy, identity=text)
    with pytest.raises(KeyUnavailable, match=r"^words:v1: the identity file has a secret key") as raised:
        model.check()
    assert "AGE-SECRET-KEY" not in str(raised.value)
