"""References from files: each format, and each way in which a file can be none."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bento_rollout import reference_file
from bento_rollout.drift import Reference
from bento_rollout.drift_reference import find_reference, keep_reference, kept_reference
from bento_rollout.drift_source import Source
from bento_rollout.drifting import Drift
from bento_rollout.errors import ArtifactError, InvalidValue, RolloutError
from bento_rollout.excerpts import excerpt
from bento_rollout.reference_file import load_reference, read_rows, sealed_reference
from bento_rollout.reference_holder import ReferenceHolder
from bento_rollout.spec import Ledger as Settings
from tests.integration.running import until
from tests.ledgers import NOW, prediction, written
from tests.sealing import Sealed

DRAW = np.random.default_rng(11)
AGES, CITIES = DRAW.normal(50, 10, 400).round(2), DRAW.choice(["bonn", "ulm"], 400)
EXPECTED = Reference.fit({"age": AGES, "city": CITIES.astype(object)})

KEPT = "drift-reference.json"


def csv_of(file: Path) -> None:
    """Write the rows."""
    lines = [f"{age},{city}" for age, city in zip(AGES, CITIES, strict=True)]
    file.write_text("\n".join(["age,city", *lines]), encoding="utf-8-sig")


def semicolons_of(file: Path) -> None:
    """Write the rows as a German table program does."""
    lines = [f"{age};{city}" for age, city in zip(AGES, CITIES, strict=True)]
    file.write_text("\r\n".join(["age;city", *lines]) + "\r\n\r\n", encoding="utf-8")


def jsonl_of(file: Path) -> None:
    """Write the rows."""
    rows = [{"age": age, "city": city} for age, city in zip(AGES.tolist(), CITIES.tolist(), strict=True)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def npz_of(file: Path) -> None:
    """Write the rows."""
    np.savez(file, age=AGES, city=CITIES)


def npy_of(file: Path) -> None:
    """Write the rows with named columns."""
    rows = np.array(list(zip(AGES, CITIES, strict=True)), dtype=[("age", "f8"), ("city", "U9")])
    np.save(file, rows)


def parquet_of(file: Path) -> None:
    """Write the rows, with a column that is nothing to compare."""
    dates = pa.array([0] * 400, type=pa.timestamp("us"))
    city = pa.array(CITIES.tolist()).dictionary_encode()
    pq.write_table(pa.table({"age": AGES, "city": city, "when": dates}), file)


def fitted_of(file: Path) -> None:
    """Write what was fitted."""
    file.write_text(EXPECTED.to_json(), encoding="utf-8")


WRITERS: list[tuple[str, Callable[[Path], None]]] = [
    ("a.csv", csv_of), ("b.csv", semicolons_of), ("a.jsonl", jsonl_of), ("a.npz", npz_of), ("a.npy", npy_of),
    ("a.parquet", parquet_of), ("a.json", fitted_of), ("A.CSV", csv_of),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_each_format_is_the_same_reference(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    """Whatever rows are stored as, the reference is the same, to the digit."""
    write(tmp_path / name)
    assert load_reference(tmp_path / name).digest == EXPECTED.digest


def test_arrays_and_vectors(tmp_path: Path) -> None:
    """A plain array has its columns by place; a list column of Parquet is a vector."""
    rows = DRAW.normal(size=(300, 4))
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", rows)
    expected = Reference.fit(rows).digest
    assert load_reference(tmp_path / "a.npy").digest == load_reference(tmp_path / "a.npz").digest == expected
    pq.write_table(pa.table({"v": rows.tolist(), "flag": [True, False, None] * 100}), tmp_path / "a.parquet")
    found = load_reference(tmp_path / "a.parquet")
    assert {one.kind for one in found.tested} == {"embedding", "numeric"}


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_features_that_are_wanted(name: str, tmp_path: Path) -> None:
    """Only these are tested, of rows and of what was fitted; of one that is not there it is told."""
    dict(WRITERS)[name](tmp_path / name)
    found = load_reference(tmp_path / name, {"age": None})
    assert [one.name for one in found.tested] == ["age"]
    assert found.encode([{"age": 3.0}]).bins.shape == (1, 1)
    with pytest.raises(InvalidValue, match="features names 'size', and the reference has: age, city"):
        load_reference(tmp_path / name, {"size": None})


def test_kinds_that_are_given(tmp_path: Path) -> None:
    """A number that is a code is a category."""
    (tmp_path / "a.csv").write_text("code\n" + "1\n2\n3\n" * 100, encoding="utf-8")
    assert load_reference(tmp_path / "a.csv").tested[0].kind == "numeric"
    assert load_reference(tmp_path / "a.csv", {"code": "category"}).tested[0].kind == "category"


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("bombed",)


BAD: list[tuple[str, bytes, str]] = [
    ("a.csv", b"", "empty: the first line names the columns"),
    ("a.csv", b"a,b\n1,2\n3\n", "line 3 has 1 values, and there are 2 columns"),
    ("a.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
    ("a.csv", b"a\n\xff\xfe\n", "no text in UTF-8"),
    ("a.csv", b"a\n1\n2\n", "has 2 rows"),
    ("a.csv", b"a\n" + b"5\n" * 300, "nothing of the reference can be tested: a (constant)"),
    ("a.csv", b"a,b\n" + b",\n" * 300, "all missing"),
    ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is no JSON"),
    ("a.jsonl", b"[1, 2]\n", "line 1 is no object"),
    ("a.jsonl", b"", "no rows"),
    ("a.npy", b"", "no array of numpy, or a damaged one"),
    ("a.npy", b"\x93NUMPY\x01\x00", "no array of numpy, or a damaged one"),
    ("a.npz", b"PK nothing", "no array of numpy, or a damaged one"),
    ("a.parquet", b"PAR1 nothing PAR1", "no Parquet, or damaged"),
    ("a.json", b"{}", "no stored reference"),
    ("a.json", b"[" * 100_000, "no stored reference"),
    ("a.json", EXPECTED.to_json().replace('"version":1', '"version":99').encode(), "version"),
    ("a.json", EXPECTED.to_json().replace('"rows":', '"rowz":').encode(), "damaged"),
    ("a.json", EXPECTED.to_json().encode()[:-10], "no stored reference"),
    ("a.txt", b"a\n1\n", "of no known format"),
]


@pytest.mark.parametrize(("name", "content", "told"), BAD)
def test_files_that_are_none(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    """Each is refused by its name, once, and with what is wrong."""
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidValue) as error:
        load_reference(file)
    assert told in str(error.value)
    assert str(error.value).startswith(f"{file}: ")
    assert str(error.value).count(str(file)) == 1


def test_pickles_are_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an array of objects, nor a pickle by another name."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([Bomb()] * 300, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Bomb()] * 300, dtype=object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    for name, told in (("a.npy", "pickled objects"), ("a.npz", "pickled objects"), ("b.npy", "numpy|pickle")):
        with pytest.raises(InvalidValue, match=told):
            load_reference(tmp_path / name)
    assert not (tmp_path / "bombed").exists()


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder, a pipe, nothing at all, or what nobody may read."""
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    for name, told in (
        ("folder.csv", "not a regular file"),
        ("pipe.npy", "not a regular file"),
        ("gone.parquet", "there is no such file"),
        ("gone.json", "there is no such file"),
        ("x\0.csv", "it cannot be read"),
    ):
        with pytest.raises(InvalidValue, match=told):
            load_reference(tmp_path / name)


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their own size, by what they unpack to, by their rows; nothing of them is loaded."""
    np.savez_compressed(tmp_path / "a.npz", np.zeros((400, 400)))
    pq.write_table(pa.table({"a": np.arange(500.0)}), tmp_path / "a.parquet")
    np.save(tmp_path / "a.npy", np.zeros((500, 1)))
    csv_of(tmp_path / "a.csv")
    jsonl_of(tmp_path / "a.jsonl")
    monkeypatch.setattr(reference_file, "MOST_BYTES", 100_000)
    with pytest.raises(InvalidValue, match=r"unpacks to \d+ bytes, and at most 100000"):
        read_rows(tmp_path / "a.npz")
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    monkeypatch.setattr(reference_file, "MOST_ROWS", 300)
    for name in ("a.csv", "a.jsonl", "a.npy", "a.parquet"):
        with pytest.raises(InvalidValue, match="give a sample of its rows"):
            read_rows(tmp_path / name)
    monkeypatch.setattr(reference_file, "MOST_BYTES", 100)
    monkeypatch.setattr(reference_file, "MOST_FITTED", 100)
    fitted_of(tmp_path / "a.json")
    for name in ("a.csv", "a.npy", "a.parquet", "a.json"):
        with pytest.raises(InvalidValue, match="at most 100 are read"):
            load_reference(tmp_path / name)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    parquet_of(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidValue, match=r"pip install 'bento_rollout\[parquet\]'"):
        load_reference(tmp_path / "a.parquet")


# -- what a host keeps, and the ledger ----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a rollout."""
    folder = tmp_path / "store.d" / "r"
    folder.mkdir(parents=True)
    return folder


def test_a_kept_reference_holds_for_its_source_only(place: Path, tmp_path: Path) -> None:
    """As long as the spec's file has the same content, wherever it lies."""
    fitted_of(tmp_path / "a.json")
    source = Source(file=str(tmp_path / "a.json"))
    assert kept_reference(place, source) is None
    other = Reference.fit({"age": AGES + 5})
    keep_reference(place, source, other)
    drift = Drift(reference=source, data={})
    assert find_reference(drift, place, "predict").digest == other.digest
    fitted_of(tmp_path / "b.json")
    again = kept_reference(place, Source(file=str(tmp_path / "b.json")))
    assert again is not None
    assert again.digest == other.digest
    (tmp_path / "a.json").write_text(Reference.fit({"age": AGES - 5}).to_json(), encoding="utf-8")
    assert find_reference(drift, place, "predict").digest not in (other.digest, EXPECTED.digest)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"version": 9, "of": "", "reference": ""}', "another version"),
        ('{"version": 1, "of": "ledger:60", "reference": "{}"}', "no stored reference"),
    ],
)
def test_a_kept_one_that_is_damaged(content: str, told: str, place: Path) -> None:
    """It is said with what to do; the spec's own is not taken instead of it."""
    (place / KEPT).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidValue, match=f"{KEPT}.*{told}.*move it away"):
        find_reference(Drift(reference={"ledger": "60s"}, data={}), place, "predict")


def kept_inputs(place: Path, count: int) -> None:
    """Let the ledger have calls."""
    rows = [{"age": float(AGES[at]), "city": str(CITIES[at])} for at in range(count)]
    facts = [prediction(at=NOW - 3600 + at, inputs={"patient": row}) for at, row in enumerate(rows)]
    written(place, *facts, settings=Settings(inputs=True))


def test_a_reference_of_the_ledger(place: Path) -> None:
    """It is made once there are enough rows, and then it stays, whatever comes."""
    drift = Drift(reference={"ledger": "2h", "min_rows": 300}, data={})
    with pytest.raises(InvalidValue, match=r"has 0 rows of predict's inputs from the last 2h, and .* 300"):
        find_reference(drift, place, "predict")
    kept_inputs(place, 200)
    with pytest.raises(InvalidValue, match="has 200 rows"):
        find_reference(drift, place, "predict")
    kept_inputs(place, 400)
    with pytest.raises(InvalidValue, match="has 0 rows of other's inputs"):
        find_reference(drift, place, "other")
    with pytest.raises(InvalidValue, match="has 0 rows"):
        find_reference(drift, place, "predict", now=NOW + 90_000)
    made = find_reference(drift, place, "predict")
    assert {one.name for one in made.tested} == {"age", "city"}
    kept_inputs(place, 100)
    assert find_reference(drift, place, "predict").digest == made.digest
    assert json.loads((place / KEPT).read_text())["of"] == "ledger:7200"


def test_a_reference_of_the_ledger_by_the_hour(place: Path) -> None:
    """Rows are told apart by the hour in which they came; features may be chosen."""
    kept_inputs(place, 400)
    data = {"features": ["age"], "stratify_by": "hour_of_week"}
    made = find_reference(Drift(reference={"ledger": "2h", "min_rows": 300}, data=data), place, "predict")
    assert [one.name for one in made.tested] == ["age"]
    assert (made.stratified.sum(axis=(1, 2)) > 0).sum() in (1, 2)


# -- one worker's -------------------------------------------------------------------------------------------


def holder_of(place: Path, source: dict[str, Any], **more: Any) -> ReferenceHolder:
    """A holder that looks often, begun."""
    drift = Drift(reference=source, data={})
    holder = ReferenceHolder(drift, place, "predict", **{"retry": 0.05, "look": 0.05, **more})
    holder.start()
    return holder


def test_a_worker_finds_its_reference_later(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one nothing is encoded, once said; when the file is there, it goes on by itself."""
    holder = holder_of(place, {"file": str(tmp_path / "a.json")})
    until(lambda: holder.problem, "it says what is missing")
    time.sleep(0.3)
    assert "there is no such file" in holder.problem
    assert holder.encode([excerpt({"age": 1.0, "city": "ulm"})]) is None
    fitted_of(tmp_path / "a.json")
    assert holder.wait(30)
    assert holder.problem == ""
    watched = holder.encode([excerpt({"age": 1.0, "city": "ulm"})])
    assert watched is not None
    assert watched.digest == EXPECTED.digest
    other = Reference.fit({"age": AGES, "city": CITIES[::-1].astype(object)}).of_model("other:1")
    keep_reference(place, Source(file=str(tmp_path / "a.json")), other)
    until(lambda: holder.reference is not None and holder.reference.digest == other.digest, "it holds")
    (place / KEPT).write_text("", encoding="utf-8")
    until(lambda: holder.problem, "it is damaged")
    assert holder.encode([excerpt({"age": 1.0, "city": "ulm"})]) is not None
    holder.close()
    said = capsys.readouterr()
    assert (said.out + said.err).count("drift.no_reference") == 2


def test_a_reference_of_another_model_is_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is used all the same: who fitted it may have meant another name."""
    (tmp_path / "a.json").write_text(EXPECTED.of_model("screening:7").to_json(), encoding="utf-8")
    holder = holder_of(place, {"file": str(tmp_path / "a.json")}, models=["screening:8"])
    assert holder.wait(30)
    holder.close()
    until(lambda: "screening:7, which this service does not serve" in "".join(capsys.readouterr()), "told")


def test_an_encoder_that_fails_costs_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls are counted as refused, and its error is said once, without its words."""
    fitted_of(tmp_path / "a.json")
    holder = holder_of(place, {"file": str(tmp_path / "a.json")})
    assert holder.wait(30)

    def broken(*_: object) -> None:
        raise RuntimeError("zq-canary")

    monkeypatch.setattr("bento_rollout.featuring.Encoder.encode", broken)
    for _ in range(3):
        watched = holder.encode([excerpt({"age": 1.0})] * 2)
        assert watched is not None
        assert (watched.blobs, watched.refused) == ((None, None), 2)
    holder.close()
    said = "".join(capsys.readouterr())
    assert said.count("drift.not_encoded") == 1
    assert "zq-canary" not in said


def test_a_sealed_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is verified and decrypted as the environment's policy says, and data in it is fitted."""
    csv_of(tmp_path / "a.csv")
    files = {"drift.json": EXPECTED.to_json().encode(), "a.csv": (tmp_path / "a.csv").read_bytes()}
    sealed = Sealed(tmp_path / "model", {**files, "bad.json": b"{}"})
    policy, identity = tmp_path / "trust.toml", tmp_path / "identity"
    (tmp_path / "key.pem").write_bytes(sealed.signer.public.pem)
    policy.write_text('keys = ["key.pem"]\n', encoding="utf-8")
    identity.write_text(sealed.identity.to_text(), encoding="utf-8")
    identity.chmod(0o600)
    monkeypatch.setenv("BENTO_ROLLOUT_TRUST", str(policy))
    monkeypatch.setenv("BENTO_ROLLOUT_IDENTITY_FILE", str(identity))
    where = str(sealed.folder)
    for name in ("drift.json", "a.csv"):
        source = Source.model_construct(sealed=where, file=name, ledger=None)
        assert sealed_reference(source).digest == EXPECTED.digest
    for name, told in (("bad.json", "no stored reference"), ("none.json", "none.json")):
        source = Source.model_construct(sealed=where, file=name, ledger=None)
        with pytest.raises(RolloutError, match=told):
            sealed_reference(source)
    sealed.blob(0).write_bytes(b"wrong")
    with pytest.raises(ArtifactError, match=r"the reference drift\.json in"):
        sealed_reference(Source.model_construct(sealed=where, file=None, ledger=None))


def test_sealed_references_are_told_what_is_missing(place: Path) -> None:
    """Without the model, or a policy, it is an artifact's own error; no thread dies of it."""
    with pytest.raises((ArtifactError, RolloutError)) as error:
        find_reference(Drift(reference={"sealed": "nothing:1"}, data={}), place, "predict")
    assert "drift.json in nothing:1" in str(error.value)
    holder = holder_of(place, {"sealed": "nothing:1"})
    until(lambda: holder.problem, "it says so")
    assert any(thread.name == "bento-rollout-drift" for thread in threading.enumerate())
    holder.close()
