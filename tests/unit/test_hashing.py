"""Keys as hashes under a secret: made once, the same for all, and for nobody else to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.errors import StoreUnreachable
from bento_rollout.store.hashing import FILE, VARIABLE, KeyHash
from tests.states import finish, started


def test_there_is_no_secret_until_one_is_wanted(tmp_path: Path) -> None:
    """Whoever only looks makes none; the first who hashes does, and only its owner may read it."""
    store = tmp_path / "store.d"
    assert KeyHash.beside(store, environ={}) is None
    made = KeyHash.beside(store, create=True, environ={})
    again = KeyHash.beside(store, environ={})
    assert made is not None
    assert again is not None
    assert made.of("u1") == again.of("u1") != made.of("u2")
    assert stat.S_IMODE((store / FILE).stat().st_mode) == 0o600
    assert [path.name for path in store.iterdir()] == [FILE]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    """The same text is the same secret everywhere; other secrets have other hashes and fingerprints."""
    KeyHash.beside(tmp_path, create=True, environ={})
    (tmp_path / "other").mkdir()
    environ = {VARIABLE: "a long secret" * 20}
    one, two = (KeyHash.beside(folder, environ=environ) for folder in (tmp_path, tmp_path / "other"))
    here = KeyHash.beside(tmp_path, environ={VARIABLE: ""})
    assert one is not None
    assert two is not None
    assert here is not None
    assert (one.of("u1"), one.fingerprint) == (two.of("u1"), two.fingerprint)
    assert one.of("u1") != here.of("u1")
    assert one.fingerprint != here.fingerprint


@given(st.text(st.characters()), st.binary(min_size=1, max_size=100))
def test_any_text_has_a_hash(text: str, secret: bytes) -> None:
    """32 hexadecimal digits that hold nothing of it."""
    hashed = KeyHash(secret).of(text)
    assert len(hashed) == 32
    assert int(hashed, 16) >= 0


@pytest.mark.parametrize(
    ("mode", "folder", "refused"),
    [
        (0o600, 0o700, False),
        (0o640, 0o700, True),
        (0o604, 0o700, True),
        (0o660, 0o2770, False),
        (0o664, 0o2770, True),
    ],
)
def test_a_secret_that_others_may_read_is_refused(
    tmp_path: Path, mode: int, folder: int, refused: bool
) -> None:
    """With what to do; a group that shares the folder on purpose may read it."""
    KeyHash.beside(tmp_path, create=True, environ={})
    tmp_path.chmod(folder)
    (tmp_path / FILE).chmod(mode)
    if not refused:
        assert KeyHash.beside(tmp_path, environ={}) is not None
        return
    with pytest.raises(StoreUnreachable, match="chmod 600"):
        KeyHash.beside(tmp_path, environ={})


def test_a_file_that_is_no_secret(tmp_path: Path) -> None:
    """Empty, a folder, or not to be made: said, with the way out."""
    path = tmp_path / FILE
    path.touch(0o600)
    with pytest.raises(StoreUnreachable, match=f"is empty; .* or set {VARIABLE}"):
        KeyHash.beside(tmp_path, create=True, environ={})
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(StoreUnreachable, match="Is a directory"):
        KeyHash.beside(tmp_path, create=True, environ={})
    path.rmdir()
    path.touch()
    with pytest.raises(StoreUnreachable, match="cannot be used"):
        KeyHash.beside(path, create=True, environ={})


def _make_and_note(folder: Path, number: int) -> None:
    made = KeyHash.beside(folder, create=True, environ={})
    assert made is not None
    (folder / f"seen-{number}").write_text(made.of("u1"), encoding="ascii")


def test_processes_at_once_get_the_same(tmp_path: Path) -> None:
    """Whoever is first."""
    processes = [started(_make_and_note, tmp_path, number) for number in range(6)]
    for process in processes:
        finish(process)
    assert len({path.read_text(encoding="ascii") for path in tmp_path.glob("seen-*")}) == 1
