"""Where the environment says that the store lies, and whom it binds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import InvalidValue, NotDurable
from bento_rollout.operations import open_rollout
from bento_rollout.store.location import locate
from tests.states import NAME, grow, store_at, unavailable


def test_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL is a path after three slashes; nothing set means BentoML's home, by BentoML's own rule."""
    monkeypatch.chdir(tmp_path)
    home = {"HOME": "/home/zoe"}
    monkeypatch.setenv("HOME", "/home/zoe")
    for url, path in {
        "sqlite:////var/lib/r.db": "/var/lib/r.db",
        "sqlite:///r.db": f"{tmp_path}/r.db",
        "sqlite:///~/r.db": "/home/zoe/r.db",
        "sqlite:////with space/ä%20.db": "/with space/ä%20.db",
    }.items():
        assert locate(environ={**home, "BENTO_ROLLOUT_STORE": url}).path == Path(path)
        assert locate(url, {}).path == Path(path)
    assert locate(environ=home).path == Path("/home/zoe/bentoml/rollouts.db")
    assert locate(environ={**home, "BENTOML_HOME": "/srv/b"}).path == Path("/srv/b/rollouts.db")
    assert locate(environ={**home, "BENTOML_HOME": "~/b", "BENTO_ROLLOUT_STORE": ""}).path == Path(
        "/home/zoe/b/rollouts.db"
    )


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "/r.db",
        "r.db",
        "mysql://u:secret@h/d",
        "sqlite:///\0",
    ],
)
def test_no_store(url: str) -> None:
    """Anything else is refused, saying what to write, and without showing a password."""
    with pytest.raises(InvalidValue, match="write sqlite:///PATH") as caught:
        locate(url)
    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)


def test_postgresql(tmp_path: Path) -> None:
    """A database binds every host, also from a pod; its password is shown nowhere."""
    environ = {"BENTOML_HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    url = "postgresql://user:secret@host:5433/db?sslmode=require"
    found = locate(url, environ)
    assert (found.kind, found.durable, found.binds) == ("postgresql", True, "cluster")
    assert (str(found), found.words) == ("postgresql://user@host:5433/db", "postgresql://user@host:5433/db")
    assert found.database == url
    assert "secret" not in repr(found)
    assert found.path.parent == tmp_path
    assert locate(url.replace("secret", "other"), environ).path == found.path
    assert locate(url.replace("/db", "/other"), environ).path != found.path
    with pytest.raises(InvalidValue, match="special characters as %XX") as caught:
        locate("postgresql://user:sec%ret@host/db", environ)
    assert "sec%ret" not in str(caught.value)


def test_postgresql_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg a URL of PostgreSQL is refused with what to install."""
    monkeypatch.setitem(sys.modules, "bento_rollout.store.postgres.engine", None)
    with pytest.raises(InvalidValue, match=r"pip install 'bento-rollout\[postgres\]'"):
        locate("postgresql://host/db")


def test_a_pod_binds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod a local store is not durable: it is read, changes are refused with exit 1, and told so."""
    store = store_at(tmp_path / "rollouts.db", 3)
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{store.path}")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA", raising=False)
    rollout = open_rollout(NAME)
    status = rollout.status()
    assert status["revision"] == 3
    shown = {key: status["store"][key] for key in ("kind", "durable", "binds")}
    assert shown == {"kind": "sqlite", "durable": False, "binds": "host"}
    changes: tuple[Callable[[], object], ...] = (
        lambda: rollout.set_weights({"boosted": 50}),
        rollout.rollback,
        rollout.pause,
        lambda: rollout.flip("boosted"),
        lambda: rollout.retire("boosted", in_favour_of="logistic"),
        lambda: rollout.target("boosted", keys=["u1"]),
        rollout.undo,
    )
    for change in changes:
        with pytest.raises(NotDurable, match="one pod of unknown many") as caught:
            change()
        assert (caught.value.exit_code, caught.value.http_status) == (1, 409)
    assert store.read(NAME) == grow(store, 3)
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    open_rollout(NAME).set_weights({"boosted": 50})
    assert open_rollout(NAME).status()["store"]["durable"] is True


@pytest.mark.parametrize("mark", ["container=podman", "/run/.containerenv"])
def test_a_container_forgets(tmp_path: Path, mark: str) -> None:
    """In a container a store is durable only on what outlives it: a volume, not the container's own files."""
    program = (
        "import sys; from bento_rollout.store.location import locate\n"
        "for path in sys.argv[1:]:\n"
        "    found = locate('sqlite:///' + path, __import__('os').environ)\n"
        "    print(found.durable, found.why)\n"
    )
    inside = tmp_path / "own part"
    inside.mkdir()
    touch = f"mount -t tmpfs tmpfs /run && touch {mark}" if mark.startswith("/") else f"export {mark}"
    script = (
        f"mount -t tmpfs tmpfs '{inside}' && {touch} && exec '{sys.executable}' -c \"$0\" "
        f"'{inside}/home/r.db' '/proc/r.db'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, program],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd=Path(__file__).parents[2],
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        unavailable("this machine does not permit mounts of one's own")
    fleeting, durable = done.stdout.splitlines()
    assert fleeting == f"False {inside}/home is on a file system (tmpfs) that dies with its container"
    assert durable == "True "
