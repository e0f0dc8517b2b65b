"""Keys of people and hosts: made private, read only when they are, and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout import artifacts
from bento_rollout.artifacts.files import Unusable, read_private, read_small, replace_file, write_new
from bento_rollout.artifacts.keys import (
    IDENTITY_FILE_VARIABLE,
    IDENTITY_VARIABLE,
    Identities,
    find_identities,
    keygen,
    read_public_key,
    read_signer,
)
from bento_rollout.artifacts.signers import Signer
from bento_rollout.errors import InvalidValue, KeyUnavailable, Refused

SECRET = str(Identities.generate().secrets[0])


def identity_file(folder: Path, name: str) -> tuple[Path, list[str]]:
    """A new identity file, and its recipient."""
    made = Identities.generate()
    write_new(folder / name, made.to_text().encode(), 0o600)
    return folder / name, made.recipients


def test_keygen(tmp_path: Path) -> None:
    """Four files that belong together; secrets are for their owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        made = keygen(tmp_path / "new/keys")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes == {"identity.txt": 0o600, "recipient.txt": 0o644, "sign.pem": 0o600, "sign.pub.pem": 0o644}
    folder = made[0].parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    identities = Identities.read(folder / "identity.txt")
    assert (folder / "recipient.txt").read_text() == f"{identities.recipients[0]}\n"
    assert read_signer(folder / "sign.pem").public == read_public_key(folder / "sign.pub.pem")


@pytest.mark.parametrize("name", ["identity.txt", "recipient.txt", "sign.pem", "sign.pub.pem"])
def test_keygen_overwrites_nothing(tmp_path: Path, name: str) -> None:
    """If one of the files is there, it stays as it was, and no other is made."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(Refused, match=f"{name} is there already, and a key is never overwritten"):
        keygen(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_the_order_of_places(tmp_path: Path) -> None:
    """Argument, policy file, file variable, variable: the first that names one."""
    places = [identity_file(tmp_path, f"{number}.txt") for number in range(4)]
    (argument, first), (policy, second), (named, third), (text, fourth) = places
    environ = {IDENTITY_VARIABLE: text.read_text()}
    assert find_identities(environ=environ).recipients == fourth
    environ[IDENTITY_FILE_VARIABLE] = str(named)
    assert find_identities(environ=environ).recipients == third
    assert find_identities(policy_file=policy, environ=environ).recipients == second
    assert find_identities(argument, policy_file=policy, environ=environ).recipients == first
    assert find_identities(str(argument), policy_file=policy, environ=environ).recipients == first
    given_itself = Identities.read(argument)
    assert find_identities(given_itself, policy_file=policy, environ=environ) is given_itself


def test_no_place_names_one() -> None:
    """The message lists the places; an empty variable is none."""
    with pytest.raises(KeyUnavailable, match="BENTO_ROLLOUT_IDENTITY_FILE or BENTO_ROLLOUT_IDENTITY"):
        find_identities(environ={IDENTITY_FILE_VARIABLE: "", IDENTITY_VARIABLE: ""})


def test_a_place_that_fails_does_not_fall_back(tmp_path: Path) -> None:
    """What is named and cannot be used is an error, though a later place has a good one."""
    environ = {IDENTITY_VARIABLE: SECRET}
    with pytest.raises(KeyUnavailable, match=r"gone\.txt cannot be read: No such file .*trust policy"):
        find_identities(policy_file=tmp_path / "gone.txt", environ=environ)
    with pytest.raises(KeyUnavailable, match=r"cannot be read.*named by BENTO_ROLLOUT_IDENTITY_FILE"):
        find_identities(environ={**environ, IDENTITY_FILE_VARIABLE: str(tmp_path / "gone.txt")})


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o610])
def test_identity_files_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """Refused with the command that mends it; so is a signing key."""
    path, _ = identity_file(tmp_path, "identity.txt")
    path.chmod(mode)
    with pytest.raises(
        KeyUnavailable, match=rf"is open to others \(mode {mode:04o}.*chmod 600 .*identity\.txt"
    ):
        find_identities(path)
    with pytest.raises(InvalidValue, match="is open to others"):
        read_signer(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("owner", "mode", "problem"),
    [
        (0, 0o440, None),
        (0, 0o444, "is open to others"),
        (0, 0o460, "is open to others"),
        (1234, 0o400, None),
        (1234, 0o440, "is open to others"),
        (77, 0o444, "belongs to another user"),
    ],
)
def test_secrets_that_an_orchestrator_mounts(
    tmp_path: Path, owner: int, mode: int, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What root owns may be readable by a group, for a process that runs as somebody else."""
    path, recipients = identity_file(tmp_path, "identity.txt")
    path.chmod(mode)
    os.chown(path, owner, 1234)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    if problem is None:
        assert find_identities(path).recipients == recipients
    else:
        with pytest.raises(KeyUnavailable, match=problem):
            find_identities(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe that nobody writes to holds nobody; a folder, a huge file, and a name with NUL are refused."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    write_new(tmp_path / "huge", bytes(300_000), 0o600)
    for name, message in (
        ("pipe", "is no regular file"),
        ("folder", "is no regular file|Is a directory"),
        ("huge", "more than 262144 bytes"),
        ("nul\0", "its name holds NUL"),
    ):
        with pytest.raises(KeyUnavailable, match=message):
            find_identities(tmp_path / name)
        with pytest.raises(Unusable, match=message):
            read_small(tmp_path / name)
        with pytest.raises(InvalidValue, match=message):
            read_public_key(tmp_path / name)


@pytest.mark.parametrize("before", ["", "# public key: age1…\n", "/srv/code/"])
def test_a_secret_in_the_place_of_its_path_is_not_repeated(before: str) -> None:
    """Whoever gives the key itself, or a file's content, is told so, and no message holds it."""
    secret, pem = str(Identities.generate().secrets[0]), Signer.generate().to_pem().decode()
    for environ in ({IDENTITY_FILE_VARIABLE: f"{before}{secret}"}, {}):
        with pytest.raises(KeyUnavailable, match="has a secret key itself for its path") as raised:
            find_identities(None if environ else f"{before}{secret}\n", environ=environ)
        assert secret[20:] not in str(raised.value)
    with pytest.raises(InvalidValue, match="has a secret key itself for its path") as refused:
        read_signer(Path(before + pem))
    assert pem.splitlines()[1] not in str(refused.value)


def test_a_public_file_in_the_place_of_a_secret_one(tmp_path: Path) -> None:
    """It need not be closed to others: it is the wrong one."""
    keygen(tmp_path)
    with pytest.raises(KeyUnavailable, match=r"recipient\.txt is a public key: give the secret one"):
        find_identities(tmp_path / "recipient.txt")
    with pytest.raises(InvalidValue, match=r"sign\.pub\.pem is a public key: give the secret one"):
        read_signer(tmp_path / "sign.pub.pem")


def test_a_path_may_be_text(tmp_path: Path) -> None:
    """Wherever one is given, as what reads keys and policies takes it."""
    keys = tmp_path / "keys"
    assert keygen(str(keys))[0] == keys / "identity.txt"
    sealing: dict[str, Any] = {
        "signer": str(keys / "sign.pem"),
        "recipients": (keys / "recipient.txt").read_text().split(),
    }
    shelf: Any = artifacts.FolderShelf(str(tmp_path / "models"))  # type: ignore[arg-type]  # in no type
    with artifacts.create("m:v1", serial=1, shelf=shelf, **sealing) as art, art.open("x") as file:
        file.write(b"y")
    (keys / "trust.toml").write_text('keys = ["sign.pub.pem"]\nidentity = "identity.txt"\n')
    policy = artifacts.TrustPolicy.read(str(keys / "trust.toml"))
    plain: Any = artifacts.PlainFolder(str(tmp_path / "models/m/v1"))  # type: ignore[arg-type]  # in no type
    opened = artifacts.open("m:v1", policy=policy, shelf=plain)
    opened.extract("x", str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"y"
    assert artifacts.bump(str(keys / "trust.toml"), opened.manifest)


def test_a_link_to_a_private_file_is_read(tmp_path: Path) -> None:
    """Mounted secrets are links; what counts is the file."""
    path, recipients = identity_file(tmp_path, "identity.txt")
    (tmp_path / "link").symlink_to(path)
    assert find_identities(tmp_path / "link").recipients == recipients
    path.chmod(0o644)
    with pytest.raises(Unusable, match="is open to others"):
        read_private(tmp_path / "link")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x has 0 identities, not 1 to 64"),
        ("# only a comment\n\n", "x has 0 identities"),
        (f"{SECRET}\n" * 65, "x has 65 identities"),
        (f"# one\n{SECRET[:-1]}{'P' if SECRET[-1] == 'Q' else 'Q'}\n", "line 2 of x is no identity of age"),
        ("age1xyz", "line 1 of x is no identity of age"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "line 1 of x is no identity"),
    ],
    ids=["empty", "comment", "many", "changed", "recipient", "ssh"],
)
def test_bad_identities(text: str, message: str) -> None:
    """The line is told by its number, and nothing of it is shown."""
    with pytest.raises(KeyUnavailable, match=message) as raised:
        Identities.parse(text, "x")
    assert SECRET[20:40] not in str(raised.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither in representations nor in errors, not even when one is given in place of a path."""
    made = Identities.parse(SECRET, "x")
    assert repr(made) == "Identities(source='x')"
    with pytest.raises(KeyUnavailable, match="give a file that holds it") as raised:
        find_identities(SECRET)
    assert SECRET[20:40] not in str(raised.value)
    assert SECRET[20:40] in made.to_text()
    write_new(tmp_path / "latin", b"\xff\xfe", 0o600)
    with pytest.raises(KeyUnavailable, match="is no text"):
        find_identities(tmp_path / "latin")


@given(st.text(max_size=100) | st.builds(lambda tail: f"AGE-SECRET-KEY-1{tail}", st.text(max_size=60)))
def test_arbitrary_text_is_refused(text: str) -> None:
    """Whatever the text: the declared error and nothing else."""
    with pytest.raises(KeyUnavailable):
        Identities.parse(text, "x")


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode and content are right at once; what fails leaves the old content and no draft."""
    path = tmp_path / "trust.toml"
    path.write_text("old")
    path.chmod(0o640)
    replace_file(path, b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"newer")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["trust.toml"]
    with pytest.raises(FileExistsError):
        write_new(path, b"x", 0o600)
