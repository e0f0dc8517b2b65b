"""Following a file in one worker, and what a host holds against it, on real files and without a server."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.committing import Desk
from bento_rollout.errors import Governed, InvalidSpec, StoreUnreachable
from bento_rollout.governor import GovernedFeed, Governor
from bento_rollout.operations import Rollout, list_rollouts, open_rollout
from bento_rollout.revisions import shown_revision
from bento_rollout.spec import RolloutSpec
from bento_rollout.specfile import digest_of, spec_in
from bento_rollout.state import RolloutState
from bento_rollout.store.governed import GovernedStore, Note, forget_note, opened
from bento_rollout.store.location import Location, locate
from bento_rollout.store.sqlite import SQLiteStore

CODE = {"logistic": "d0", "boosted": "d1"}
HALF = b"authority: spec\nweights: {boosted: 50}\n"
NONE = b"authority: spec\nweights: {boosted: 0}\n"
Fits = Callable[[RolloutSpec, RolloutState], None]


def anything(_: RolloutSpec, __: RolloutState) -> None:
    """Every content can be served by."""


class Replica:
    """One worker's part, whose thread does not run: the test looks when it wants."""

    def __init__(self, home: Path, file: Path, *, fits: Fits = anything, began: bytes | None = None) -> None:
        path = home / "rollouts.db"
        text = began or file.read_bytes()
        place = SQLiteStore(path).place("screening")
        spec = spec_in(text, file)
        governor = Governor(file, "screening", "logistic", CODE, spec, fits, text, place)
        self.store = GovernedStore(path, lambda _: governor.note)
        self.feed = GovernedFeed(self.store, governor, "screening")
        self.store.announce("screening")
        self.store.beacon("screening").reopen()
        location = Location(path, durable=False, why="a pod")
        self.rollout = Rollout("screening", self.store, location, "ann")

    @property
    def weights(self) -> dict[str, float]:
        """Who has what now, as a request finds it."""
        self.feed.table()
        return self.feed.commit.state.percents


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that gives the candidate half."""
    file = tmp_path / "rollout.yaml"
    file.write_bytes(HALF)
    return file


def test_a_new_content_is_followed_though_the_file_looks_the_same(tmp_path: Path, file: Path) -> None:
    """Size, times and inode may stay: the content is what counts."""
    one = Replica(tmp_path, file)
    looks = file.stat()
    with file.open("r+b") as stream:
        stream.write(HALF.replace(b"50", b"20"))
    os.utime(file, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    one.feed.follow()
    assert one.weights == {"boosted": 20.0}
    assert shown_revision(one.feed.table().revision) == f"file:{digest_of(file.read_bytes())}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"weights: [", "not valid YAML"),
        (b"", "authority: store takes a restart"),
        (b"authority: spec\nname: other\n", "name: other takes a restart"),
        (b"authority: spec\nweights: {nobody: 1}\n", "nobody"),
        (b"authority: spec\nweights: {boosted: 101}\n", "101"),
        (b"authority: spec\nstrategy: {}\n", "strategy"),
        (None, "there is no such spec file"),
    ],
    ids=["half", "empty", "name", "variant", "weight", "strategy", "gone"],
)
def test_a_content_that_cannot_be_served_by_changes_nothing(
    tmp_path: Path, file: Path, text: bytes | None, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said once, in the log, on the card and in the note; over when it is mended."""
    one = Replica(tmp_path, file)
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text)
    for _ in range(3):
        one.feed.follow()
    assert one.weights == {"boosted": 50.0}
    assert one.feed.refused
    assert why in str(one.feed.trouble)
    note = Note.read(one.store.place("screening"))
    assert note is not None
    assert why in str(note.refused)
    file.write_bytes(HALF)
    one.feed.follow()
    assert (one.feed.refused, one.feed.trouble) == (False, None)
    lines = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]
    assert lines == ["rollout.spec_refused", "rollout.spec_read"]


def test_a_large_content_that_is_refused_is_parsed_once(tmp_path: Path, file: Path) -> None:
    """A second of work, twice a second, would be taken from those who predict."""
    one = Replica(tmp_path, file)
    keys = ", ".join(f"k{number}" for number in range(5000))
    file.write_text(f"authority: spec\ntargets: {{boosted: {{keys: [{keys}]}}}}\nbogus: 1\n")
    one.feed.follow()
    assert "unknown field 'bogus'" in str(one.feed.trouble)
    began = time.thread_time()
    for _ in range(20):
        one.feed.follow()
    assert time.thread_time() - began < 0.2  # parsing it once takes more
    assert "unknown field 'bogus'" in str(one.feed.trouble)
    assert one.weights == {"boosted": 50.0}


def test_a_champion_that_is_not_ready_is_waited_for(tmp_path: Path, file: Path) -> None:
    """The earlier content is served on, and the new one as soon as it can be."""
    ready: list[str] = ["logistic"]

    def fits(_: RolloutSpec, state: RolloutState) -> None:
        if state.champion not in ready:
            raise InvalidSpec(f"champion: {state.champion!r} is not ready")

    one = Replica(tmp_path, file, fits=fits)
    file.write_bytes(b"authority: spec\nchampion: boosted\n")
    one.feed.follow()
    assert one.feed.commit.state.champion == "logistic"
    ready.append("boosted")
    one.feed.follow()
    assert one.feed.commit.state.champion == "boosted"
    assert one.feed.trouble is None


def test_a_rollback_holds_in_every_worker_from_the_answer_on(tmp_path: Path, file: Path) -> None:
    """The counter tells the others; who reads the next content first takes nothing back in the others."""
    one, two = Replica(tmp_path, file), Replica(tmp_path, file)
    change = one.rollout.rollback(reason="errors")
    assert change.changed
    assert one.weights == two.weights == {}
    assert two.rollout.rollback().changed is False
    file.write_bytes(NONE)
    one.feed.follow()
    assert two.weights == {}
    two.feed.check()
    assert two.weights == {}
    two.feed.follow()
    file.write_bytes(HALF)
    for replica in (one, two):
        replica.feed.follow()
        assert replica.weights == {"boosted": 50.0}
        assert replica.rollout.status()["override"] is None
    assert one.rollout.rollback(reason="again").changed
    assert one.weights == two.weights == {}


def test_a_rollback_outlives_a_restart(tmp_path: Path, file: Path) -> None:
    """What holds against a content holds for who starts with it, and not for a home of its own."""
    Replica(tmp_path, file).rollout.rollback(reason="errors")
    assert Replica(tmp_path, file).weights == {}
    assert Replica(tmp_path / "another", file).weights == {"boosted": 50.0}


def test_a_pause_is_told_and_resume_ends_it(tmp_path: Path, file: Path) -> None:
    """In a pod, too, where a store would refuse; twice does it once."""
    one = Replica(tmp_path, file)
    assert one.rollout.pause(reason="look").changed
    assert not one.rollout.pause().changed
    assert one.rollout.state.paused
    assert [commit.action for commit in one.rollout.history()] == ["pause", "file"]
    change = one.rollout.resume()
    assert change.changed
    assert not one.rollout.state.paused
    assert not one.rollout.resume().changed


def test_verbs_are_refused_whatever_they_would_do(tmp_path: Path, file: Path) -> None:
    """Also where nothing would be to do; and nothing of a store comes into being."""
    one = Replica(tmp_path, file)
    verbs: list[Callable[[], object]] = [
        lambda: one.rollout.set_weights({"boosted": 50}),
        lambda: one.rollout.flip("logistic"),
        lambda: one.rollout.rollback(again=True),
        lambda: one.rollout.apply(RolloutSpec()),
        one.rollout.undo,
    ]
    for verb in verbs:
        with pytest.raises(Governed, match=f"governed by {file}: change it there"):
            verb()
    with pytest.raises(Governed):
        one.store.commit(one.feed.commit, after=0)
    assert not (tmp_path / "rollouts.db").exists()


def test_a_command_line_knows_by_the_note(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a service with a store takes it back."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/rollouts.db")
    one = Replica(tmp_path, file)
    one.feed.check()
    digest = f"file:{digest_of(HALF)}"
    assert open_rollout("screening").status()["revision"] == digest
    assert [row["revision"] for row in list_rollouts()] == [digest]
    assert open_rollout("screening").rollback(reason="from here").changed
    assert one.weights == {}
    forget_note(one.store.place("screening"))
    assert opened(locate(), "screening").kind == "sqlite"


def test_a_worker_that_starts_while_the_file_is_broken(tmp_path: Path, file: Path) -> None:
    """It goes on with what the others serve, else with what the service was started with."""
    one = Replica(tmp_path, file)
    file.write_bytes(NONE)
    one.feed.follow()
    file.write_bytes(b"weights: [")
    again = Replica(tmp_path, file, began=HALF)
    assert again.weights == {}
    assert again.feed.refused
    assert Replica(tmp_path / "another", file, began=HALF).weights == {"boosted": 50.0}


def test_where_nothing_can_be_written_the_file_is_followed(tmp_path: Path, file: Path) -> None:
    """Verbs that work against it say why they cannot."""
    home = tmp_path / "home"
    home.write_text("no folder can be made here")
    one = Replica(home, file)
    file.write_bytes(NONE)
    one.feed.follow()
    one.feed.check()
    assert one.weights == {}
    with pytest.raises(StoreUnreachable, match="cannot be written"):
        one.rollout.pause()
    assert one.rollout.status()["store"]["kind"] == "spec"


def test_damage_beside_the_store_costs_nothing(tmp_path: Path, file: Path) -> None:
    """A note and an override that are no JSON are none; the note is written anew."""
    one = Replica(tmp_path, file)
    place = one.store.place("screening")
    one.feed.check()
    for name in ("governed.json", "override.json"):
        (place / name).write_text("{")
    assert one.weights == {"boosted": 50.0}
    assert Note.read(place) is None
    with pytest.raises(StoreUnreachable, match="writes it anew"):
        GovernedStore(tmp_path / "rollouts.db").read("screening")
    shutil.rmtree(place)
    one.feed.check()
    assert Note.read(place) == one.store.note("screening")
    assert Desk("screening", one.store, Location(tmp_path, durable=True), "ann").read() == one.feed.commit
