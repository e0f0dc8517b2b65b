"""Segments in the service: a change in one of them is found and named, and one with few rows is told of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.alarms import Alarm
from bento_rollout.cli.drift_page import drift_page
from bento_rollout.cli.drift_views import report as in_terminal
from bento_rollout.cli.drift_views import status as status_blocks
from bento_rollout.cli.output import show
from bento_rollout.drift import DriftTest, Reference, SegmentedTest
from bento_rollout.drift_parts import large_of, parts_of
from bento_rollout.drift_watch import DataRules, DataWatch
from bento_rollout.drifting import Drift
from bento_rollout.errors import InvalidValue
from bento_rollout.excerpts import Excerpt
from bento_rollout.featuring import Encoder, parted, unpacked, width_of
from bento_rollout.reference_file import apart, fitted, load_reference, only
from bento_rollout.store.ledger_drift import Watched
from bento_rollout.store.ledger_matured import Watermark
from tests.drift_host import RULES, Host, made_host
from tests.drift_rows import ENDPOINT, write


def rows(count: int, seed: int, shift: float = 0.0, region: str = "south") -> dict[str, Any]:
    """Rows of three regions; in one of them the age may be higher."""
    draw = np.random.default_rng(seed)
    regions = draw.choice(["north", "south", "islands"], count, p=[0.7, 0.25, 0.05])
    age = draw.normal(size=count) + shift * (regions == region)
    return {"region": regions.tolist(), "age": age, "dose": draw.normal(size=count)}


REFERENCE = Reference.fit(rows(3000, 0), segments=["region"])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with one rollout, whose reference tells regions apart."""
    return replace(made_host(tmp_path, monkeypatch), of=REFERENCE)


def latched(host: Host) -> Alarm:
    """Return the alarm that is latched."""
    (found,) = host.file.alarms(latched=True)
    return found


def changed(host: Host) -> None:
    """Let a worker read quiet rows, and then some of which one region's have changed."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, rows(800, 1), host.of)
    write(host.place, rows(800, 2, shift=1.2), host.of, start=800)
    host.settle(worker)
    worker.resign()


def test_a_change_in_one_segment_is_named(host: Host) -> None:
    """The alarm says where, in its words, its features, and in what it paused the rollout for."""
    changed(host)
    found = latched(host)
    assert found.test == "data"
    assert "in region=south age is higher (since about row " in found.words
    assert found.features[0].name == "region=south: age"
    assert "region=south: age" in found.acting
    assert host.rollout().state.paused
    assert "region=south" in host.rollout().history(1)[0].reason


def test_people_see_each_segment(host: Host) -> None:
    """Status and report tell how each stands, and which has too few rows to be tested by itself."""
    changed(host)
    report = host.rollout().drift.report()
    data = report["tests"]["data"]
    stands = {one["name"]: one for one in data["segments"]}
    assert stands.keys() == {"region=north", "region=south"}
    assert (stands["region=north"]["certain"], stands["region=south"]["certain"]) == (False, True)
    assert stands["region=south"]["log_evidence"] == pytest.approx(data["log_evidence"])
    (few,) = data["insufficient"]
    assert few["name"] == "region=islands"
    assert few["needed"] == 300
    assert few["rows"] > 40
    assert any(note.startswith("insufficient reference: region=islands has ") for note in data["notes"])
    strongest = data["features"][0]
    assert (strongest["name"], strongest["segment"]) == ("region=south: age", "region=south")
    assert strongest["words"].startswith("in region=south age is higher since about row ")
    assert strongest["words"].endswith(" of it")


def test_the_terminal_and_the_page_show_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Segments, and those that are not tested, stand in both."""
    changed(host)
    report = host.rollout().drift.report()
    show(in_terminal(report))
    show(status_blocks(host.rollout().drift.status()))
    printed = capsys.readouterr().out
    page = drift_page(report)
    for text in (printed, page):
        assert "region=south" in text
        assert "insufficient reference: region=islands" in " ".join(text.split())


def test_a_replay_and_a_new_owner_give_the_same(host: Host) -> None:
    """What was stored in the middle, and what the ledger gives again, is the same to the last bit."""
    changed(host)
    kept = host.file.levels()[0].log_evidence
    replayed = host.rollout().drift.replay()["tests"]["data"]
    assert replayed["same"] is True
    assert replayed["again"] == kept
    other = host.worker()
    write(host.place, rows(200, 3), host.of, start=1600)
    host.settle(other)
    assert host.file.levels()[0].rows == 1800
    assert host.rollout().drift.replay()["tests"]["data"]["same"] is True


def test_any_split_gives_the_same_and_storing_changes_nothing() -> None:
    """The same rows in other pages, stored between, give the same bytes."""
    encoded = REFERENCE.encode(rows(600, 4, shift=0.7))
    kept = np.concatenate((encoded.bins, encoded.segments), axis=1)
    digest = bytes.fromhex(REFERENCE.digest)
    calls = [Watched(n, 0.0, None, digest + row.tobytes()) for n, row in enumerate(kept)]
    rules = DataRules(ENDPOINT)
    whole, taken = DataWatch.begun(rules, REFERENCE, Watermark()).after(calls)
    assert taken == {"data": {"tested": 600}}
    split = DataWatch.begun(rules, REFERENCE, Watermark())
    for start in range(0, 600, 77):
        split, _ = split.after(calls[start : start + 77])
        split = DataWatch.from_stored(split.stored(1, 0.0), rules, REFERENCE)
    assert split.to_bytes() == whole.to_bytes()
    assert isinstance(split.test, SegmentedTest)
    assert split.levels(0.0) == whole.levels(0.0)


def test_people_end_it_for_all_segments(host: Host) -> None:
    """`ack` and `rebase` begin all of its tests anew; a change that is the reference now is none."""
    changed(host)
    drift = host.rollout().drift
    drift.rebase(rows=800)
    assert host.file.alarms(latched=True) == ()
    worker = host.worker()
    host.settle(worker)
    write(host.place, rows(400, 5, shift=1.2), host.of, start=1600)
    host.settle(worker)
    assert host.file.levels()[0].rows == 400
    assert host.file.levels()[0].epoch == 2
    drift.ack()


def test_a_file_is_the_new_reference_of_each_segment(host: Host, tmp_path: Path) -> None:
    """`rebase --file` parts the file's rows as the calls' are."""
    changed(host)
    found = rows(3000, 6, shift=1.2)
    lines = [",".join(found), *(f"{r},{a},{d}" for r, a, d in zip(*found.values(), strict=True))]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    host.rollout().drift.rebase(file=tmp_path / "new.csv")
    worker = host.worker()
    write(host.place, rows(600, 7, shift=1.2), host.of, start=1600)
    host.settle(worker)
    assert host.file.alarms(latched=True) == ()
    data = host.rollout().drift.status()["tests"]["data"]
    assert not any(one["certain"] for one in data["segments"])
    assert data["rows"] == 600


def test_another_number_of_rows_for_segments_begins_anew(host: Host) -> None:
    """It changes how alpha is shared."""
    changed(host)
    host.rules = replace(RULES, segment_rows=100)
    worker = host.worker()
    host.settle(worker)
    assert host.file.alarms(latched=True) == ()
    names = {one["name"] for one in host.rollout().drift.status()["tests"]["data"]["segments"]}
    assert "region=islands" in names


def test_calls_keep_their_segment_beside_their_bins() -> None:
    """One byte a column, behind the bins of each row; rows of one request are parted with theirs."""
    encoder = Encoder(REFERENCE)
    assert encoder.width == width_of(REFERENCE) == 4
    values = REFERENCE.segments[0].bins.values
    one, many, odd = encoder.encode(
        [
            Excerpt({"region": "south", "age": 0.1, "dose": 0.2}),
            Excerpt({"rows": [{"region": name, "age": 0.0, "dose": 1.0} for name in ("north", "mars")]}),
            Excerpt({"age": 0.1, "dose": 0.2}),
        ]
    ).blobs
    assert one is not None
    assert many is not None
    assert odd is not None
    assert unpacked(one, 4)[1][0, 3] == values.index("south")
    assert unpacked(many, 4)[1][:, 3].tolist() == [values.index("north"), len(values)]
    assert unpacked(odd, 4)[1][0, 3] == len(values) + 1
    parts = parted(many, encoder.width, 2)
    assert [part and unpacked(part, 4)[1].shape for part in parts] == [(1, 4), (1, 4)]


def test_a_column_of_segments_that_is_lost_is_told() -> None:
    """Even where it is no feature: its rows are tested with the whole only, and counted."""
    reference = only(REFERENCE, {"age": None, "dose": None})
    lost = reference.encode({"age": np.zeros(3), "dose": np.zeros(3)})
    assert [(one.kind, one.feature, one.count) for one in lost.alarms] == [("lost", "region", 3)]
    watched = Encoder(reference).encode([Excerpt({"age": 0.1, "dose": 0.2})])
    assert [(one.kind, one.feature) for one in watched.alarms] == [("lost", "region")]
    test = SegmentedTest.of(reference).update_encoded(lost.bins, lost.segments)
    assert test.unseen == {"region": 3}


def test_a_segment_need_not_be_a_feature() -> None:
    """Then only the features that are asked for are tested, in each segment."""
    reference = fitted(rows(3000, 0), {"age": None}, ["region"])
    assert [one.name for one in reference.tested] == ["age"]
    assert [one.column for one in reference.segments] == ["region"]
    test = SegmentedTest.of(reference).update(rows(1000, 2, shift=1.5))
    assert "region=south" in test.alarmed
    with pytest.raises(InvalidValue, match="segments names 'ward'"):
        fitted(rows(3000, 0), {"age": None}, ["ward"])


def test_a_fitted_reference_must_know_the_segments(tmp_path: Path) -> None:
    """One that was fitted without them is refused with what to do; those not asked for are left out."""
    file = tmp_path / "reference.json"
    file.write_text(Reference.fit(rows(3000, 0)).to_json())
    with pytest.raises(InvalidValue, match=r"fitted with none: fit it again .* --segment region"):
        load_reference(file, None, ["region"])
    file.write_text(REFERENCE.to_json())
    assert load_reference(file, None, ["region"]).digest == REFERENCE.digest
    assert load_reference(file).segments == ()
    assert apart(REFERENCE, ()).digest != REFERENCE.digest


def test_segments_and_strata_are_refused_together() -> None:
    """By the spec, which names the field."""
    data = {"segments": {"by": ["region"]}, "stratify_by": "hour_of_week"}
    with pytest.raises(ValueError, match="rows are parted by stratify_by already"):
        Drift(reference={"file": "a.csv"}, data=data)
    Drift(reference={"file": "a.csv"}, data={"segments": {"by": ["region"]}})


def test_the_whole_alone_has_one_part() -> None:
    """Without segments it is what it was."""
    test = DriftTest.of(REFERENCE).update(rows(500, 2, shift=3.0))
    assert [part.name for part in parts_of(test)] == [one.name for one in test.features]
    assert {part.name for part in large_of(test, 0.1, 100)} == {one.name for one in test.acting()}
