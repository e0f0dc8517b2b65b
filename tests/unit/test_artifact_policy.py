"""The trust policy: nothing opens without one, and raising a serial changes nothing else."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.artifacts import bumping
from bento_rollout.artifacts.bumping import bump
from bento_rollout.artifacts.canonical import Malformed
from bento_rollout.artifacts.keys import keygen
from bento_rollout.artifacts.manifest import Manifest, SealedFile
from bento_rollout.artifacts.policy import (
    TRUST_VARIABLE,
    ModelTrust,
    TrustFile,
    TrustPolicy,
    find_policy,
    parse_trust,
)
from bento_rollout.errors import PolicyViolated

ID, OTHER = "ab" * 16, "cd" * 16
HEADER = bytes.fromhex("00000010000000000020") + bytes(64)
NOW = datetime(2026, 12, 31, 12, tzinfo=timezone.utc)

TRUST = """\
# Whose models we open.
keys = ["sign.pub.pem"]  # rotated every year
identity = "identity.txt"

[models."screening"]   # the main one
# min_serial = 7 was for the incident
min_serial = 42  # raised by hand
not_after = 2027-01-01

[models.other]
min_serial = 3
"""


def manifest(serial: int = 42, name: str = "screening", artifact_id: str = ID) -> Manifest:
    """A manifest with this serial."""
    return Manifest(artifact_id, name, "v3", serial, (SealedFile("a", 5, HEADER, (bytes(32),)),))


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """A policy with its keys."""
    keygen(tmp_path)
    (tmp_path / "trust.toml").write_text(TRUST)
    return tmp_path / "trust.toml"


def test_a_policy_is_read(trust: Path) -> None:
    """Keys and identity lie beside the file, whatever the working directory."""
    policy = TrustPolicy.read(trust)
    assert policy.keys[0].pem == (trust.parent / "sign.pub.pem").read_bytes()
    assert policy.identity_file == trust.parent / "identity.txt"
    assert policy.models == {
        "screening": ModelTrust(42, None, datetime(2027, 1, 2, tzinfo=timezone.utc)),
        "other": ModelTrust(3),
    }


def test_the_argument_goes_first(trust: Path, tmp_path: Path) -> None:
    """Then the variable; none at all is an error."""
    environ = {TRUST_VARIABLE: str(tmp_path / "gone.toml")}
    policy = find_policy(trust, environ=environ)
    assert (
        find_policy(str(trust), environ=environ)
        == policy
        == find_policy(environ={TRUST_VARIABLE: str(trust)})
    )
    assert find_policy(policy, environ=environ) is policy
    with pytest.raises(PolicyViolated, match=r"gone\.toml cannot be read: No such file"):
        find_policy(environ=environ)
    for nothing in ({}, {TRUST_VARIABLE: ""}):
        with pytest.raises(PolicyViolated, match=r"no trust policy was given.*nothing is opened without one"):
            find_policy(environ=nothing)
    with pytest.raises(PolicyViolated, match="trusts nobody"):
        TrustPolicy(())


def test_serials(trust: Path) -> None:
    """An older one is refused, of this model alone; so is another artifact of a serial whose id is known."""
    policy = TrustPolicy.read(trust)
    policy.check(manifest(42), NOW)
    policy.check(manifest(43), NOW)
    policy.check(manifest(0, "unlisted"), NOW)
    with pytest.raises(
        PolicyViolated, match=r"screening:v3 is an older release: it has the serial 41, and .* 42"
    ):
        policy.check(manifest(41), NOW)
    known = TrustPolicy(policy.keys, {"screening": ModelTrust(42, ID)})
    known.check(manifest(42), NOW)
    known.check(manifest(43, artifact_id=OTHER), NOW)
    with pytest.raises(PolicyViolated, match=f"knows another artifact of this serial, {ID}"):
        known.check(manifest(42, artifact_id=OTHER), NOW)


@pytest.mark.parametrize(
    ("written", "last", "first_refused"),
    [
        ("2027-01-01", "2027-01-01T23:59:59+00:00", "2027-01-02T00:00:00+00:00"),
        ("2027-01-01T12:00:00+02:00", "2027-01-01T09:59:59+00:00", "2027-01-01T10:00:00+00:00"),
    ],
)
def test_not_after(trust: Path, written: str, last: str, first_refused: str) -> None:
    """A day is over when it is over in UTC; a moment is what it says."""
    trust.write_text(TRUST.replace("2027-01-01", written))
    policy = TrustPolicy.read(trust)
    policy.check(manifest(), datetime.fromisoformat(last))
    with pytest.raises(PolicyViolated, match="may not be opened since 2027-01-0"):
        policy.check(manifest(), datetime.fromisoformat(first_refused))


BAD = {
    "no keys": ("", "keys is None, no list"),
    "empty keys": ("keys = []", "names 0 files"),
    "many keys": (f"keys = {['k'] * 65}", "names 65 files"),
    "keys as text": ('keys = "k"', "keys is 'k', no list"),
    "a key as a number": ("keys = [1]", "a key in `keys` is 1, no text"),
    "unknown member": ('keys = ["k"]\nkey = 1', "unknown member 'key'; known: identity, keys, models"),
    "unknown member of a model": (
        'keys = ["k"]\n[models.m]\nminserial = 1',
        r"models\.'m' has the unknown member",
    ),
    "a name with a version": (
        'keys = ["k"]\n[models."m:v1"]\nmin_serial = 1',
        "its name alone, without a version",
    ),
    "a name that no model has": ('keys = ["k"]\n[models.M]\nmin_serial = 1', r"models\.'M' is for no model"),
    "models as a list": ('keys = ["k"]\nmodels = []', "models is list, no table"),
    "a model as a number": ('keys = ["k"]\n[models]\nm = 1', r"models\.'m' is 1, no table"),
    "negative serial": ('keys = ["k"]\n[models.m]\nmin_serial = -1', "min_serial is -1"),
    "a serial of many digits": (
        f'keys = ["k"]\n[models.m]\nmin_serial = 0x{"f" * 5000}',
        "min_serial is an integer of 20000 bits",
    ),
    "many dots": (f'keys = ["k"]\na{".a" * 1001} = 1', "a line has more than 1000 dots"),
    "serial as text": ('keys = ["k"]\n[models.m]\nmin_serial = "1"', "min_serial is '1'"),
    "serial as truth": ('keys = ["k"]\n[models.m]\nmin_serial = true', "min_serial is True"),
    "serial as a float": ('keys = ["k"]\n[models.m]\nmin_serial = 1.0', "min_serial is float"),
    "id": ('keys = ["k"]\n[models.m]\nartifact_id = "x"', "artifact_id is 'x'"),
    "a day in quotes": ('keys = ["k"]\n[models.m]\nnot_after = "2027-01-01"', "write it without quotes"),
    "no offset": ('keys = ["k"]\n[models.m]\nnot_after = 2027-01-01T00:00:00', "a time without an offset"),
    "the last day": ('keys = ["k"]\n[models.m]\nnot_after = 9999-12-31', "too far away"),
    "a member twice": ('keys = ["k"]\nkeys = ["k"]', "it is no TOML: "),
    "no TOML": ("[[[", "it is no TOML: "),
    "identity": ('keys = ["k"]\nidentity = 1', "identity is 1, no text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_policies(trust: Path, case: str) -> None:
    """Each is refused for its own reason, when it is read and when a serial is to be raised."""
    text, message = BAD[case]
    trust.write_text(text)
    with pytest.raises(PolicyViolated, match=rf"trust\.toml is not valid: .*{message}"):
        TrustPolicy.read(trust)
    with pytest.raises(PolicyViolated, match=rf"trust\.toml is not valid: .*{message}"):
        bump(trust, manifest())
    assert trust.read_text() == text


def test_keys_that_cannot_be_used(trust: Path) -> None:
    """A missing key or one that is none stops everything: a policy is whole or not there."""
    trust.write_text('keys = ["sign.pub.pem", "gone.pem"]')
    with pytest.raises(PolicyViolated, match=r"the public key .*gone\.pem cannot be read"):
        TrustPolicy.read(trust)
    trust.write_text('keys = ["trust.toml"]')
    with pytest.raises(PolicyViolated, match=r"trust\.toml is no public key in PEM"):
        TrustPolicy.read(trust)


@given(st.binary(max_size=200) | st.text(alphabet='keys=["].\n#{}x1-:TZ ', max_size=80).map(str.encode))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    """Whatever the bytes: read, or the declared error."""
    with suppress(Malformed):
        assert parse_trust(raw).keys


@given(st.data())
def test_a_changed_byte(data: st.DataObject) -> None:
    """A changed policy is read, or the declared error is raised."""
    raw = TRUST.encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    with suppress(Malformed):
        parse_trust(raw[:at] + data.draw(st.binary(max_size=2)) + raw[at + 1 :])


# -- raising a serial -------------------------------------------------------------------------------------


def test_bump_changes_two_values_and_nothing_else(trust: Path) -> None:
    """Comments, order, other models and the file's mode stay."""
    trust.chmod(0o640)
    assert bump(trust, manifest(50))
    assert trust.read_text() == TRUST.replace("min_serial = 42", "min_serial = 50").replace(
        '[models."screening"]   # the main one\n',
        f'[models."screening"]   # the main one\nartifact_id = "{ID}"\n',
    )
    assert stat.S_IMODE(trust.stat().st_mode) == 0o640
    assert TrustPolicy.read(trust).models["screening"].artifact_id == ID
    assert not bump(trust, manifest(50))
    assert bump(trust, manifest(51, artifact_id=OTHER))
    assert trust.read_text().count("artifact_id") == 1


def test_bump_never_lowers(trust: Path) -> None:
    """An older serial changes nothing; another artifact of the known serial is refused."""
    assert not bump(trust, manifest(41))
    assert trust.read_text() == TRUST
    assert bump(trust, manifest(42)), "the id was not known yet"
    before = trust.read_text()
    with pytest.raises(PolicyViolated, match="knows another artifact with the serial 42 of screening"):
        bump(trust, manifest(42, artifact_id=OTHER))
    assert trust.read_text() == before
    assert "# min_serial = 7 was for the incident" in before


FORMS = {
    "nothing": 'keys = ["k"]\n',
    "no line end": 'keys = ["k"]',
    "an empty table": 'keys = ["k"]\n[models.screening]\n',
    "a bare name": 'keys = ["k"]\n[models.screening]\nmin_serial = 1\n',
    "an inline table": 'keys = ["k"]\nmodels = {screening = {min_serial = 1, artifact_id = "'
    + OTHER
    + '"}}\n',
    "dotted": 'keys = ["k"]\nmodels.screening.min_serial = 1\nmodels.screening.artifact_id = "'
    + OTHER
    + '"\n',
    "digits apart": 'keys = ["k"]\n[models.screening]\nmin_serial = +1_0\n',
    "hexadecimal": 'keys = ["k"]\n[models.screening]\nmin_serial = 0x1F # c\n',
    "quoted members": 'keys = ["k"]\n[models.screening]\n"min_serial" = 1\n',
    "Windows": 'keys = ["k"]\r\n[models.screening]\r\nmin_serial = 1\r\n',
    "others around": 'keys = ["k"]\n'
    + "".join(f"[models.{name}]\nmin_serial = 1\n" for name in ("a", "screening", "z")),
    "a decoy": 'keys = ["min_serial = 1", "[models.screening]"]\n[models.screening]\nmin_serial = 1\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_bump_in_every_form_of_toml(tmp_path: Path, form: str) -> None:
    """However the table is written, the result says exactly what is wanted."""
    path = tmp_path / "trust.toml"
    path.write_bytes(FORMS[form].encode())
    before = parse_trust(path.read_bytes())
    assert bump(path, manifest(50))
    after = parse_trust(path.read_bytes())
    assert after.models == {**before.models, "screening": ModelTrust(50, ID)}
    assert (after.keys, after.identity) == (before.keys, before.identity)
    assert (b"\r\n" in path.read_bytes()) == (form == "Windows")


@pytest.mark.parametrize("name", ["model-0", "model-999", "model-new"])
def test_bump_reads_the_file_a_few_times_however_many_models_it_has(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each of them, which took minutes, with the lock."""
    path = tmp_path / "trust.toml"
    models = "".join(f'[models."model-{number}"]\nmin_serial = 1\n' for number in range(1000))
    path.write_text(f'keys = ["k"]\n{models}')
    read: list[int] = []

    def parsed(raw: bytes) -> TrustFile:
        read.append(len(raw))
        return parse_trust(raw)

    monkeypatch.setattr(bumping, "parse_trust", parsed)
    assert bump(path, manifest(50, name))
    assert parse_trust(path.read_bytes()).models[name] == ModelTrust(50, ID)
    assert len(read) < 10


def test_bump_refuses_what_it_cannot_edit(tmp_path: Path) -> None:
    """It says what to write by hand, and the file is as it was."""
    path = tmp_path / "trust.toml"
    text = 'keys = ["k"]\nmodels = {}\n'
    path.write_text(text)
    with pytest.raises(PolicyViolated, match=r'write min_serial = 50 under \[models\."screening"\] by hand'):
        bump(path, manifest(50))
    assert path.read_text() == text


def test_bump_on_a_full_disk(trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file is there, and nothing else."""
    names = sorted(entry.name for entry in trust.parent.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PolicyViolated, match="cannot be replaced: No space left on device"):
        bump(trust, manifest(50))
    assert trust.read_text() == TRUST
    assert sorted(entry.name for entry in trust.parent.iterdir()) == names


def test_bumps_side_by_side(trust: Path) -> None:
    """Whoever comes last, the greatest serial stays, and no other change is lost."""
    threads = [
        threading.Thread(target=bump, args=(trust, manifest(100 + number, name)))
        for number in range(8)
        for name in ("screening", "other")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    models = TrustPolicy.read(trust).models
    assert (models["screening"].min_serial, models["other"].min_serial) == (107, 107)


def test_bump_follows_a_link(trust: Path, tmp_path: Path) -> None:
    """The file behind it is replaced, and the link stays."""
    link = tmp_path / "link.toml"
    link.symlink_to(trust)
    assert bump(link, manifest(50))
    assert link.is_symlink()
    assert "min_serial = 50" in trust.read_text()
    with pytest.raises(PolicyViolated, match="cannot be read"):
        bump(tmp_path / "gone.toml", manifest(50))
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    for odd in ("gone/gone.toml", "loop.toml", "nul\0.toml"):
        with pytest.raises(PolicyViolated):
            bump(tmp_path / odd, manifest(50))
