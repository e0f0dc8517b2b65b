"""Loaders that people have: each loads a sealed model without plaintext on a disk."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from bento_rollout import artifacts
from tests.unit.seals import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Keys, a policy and a shelf."""
    return Desk.make(tmp_path)


def load(desk: Desk, path: str | None, loader: Any, **more: Any) -> Any:
    """Load from the desk's artifact."""
    return artifacts.load("screening:v3", path, loader=loader, policy=desk.policy, shelf=desk.shelf, **more)


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib(desk: Desk, compress: int) -> None:
    """A scikit-learn model, dumped straight into the artifact."""
    rows, labels = load_breast_cancer(return_X_y=True)
    model = LogisticRegression(solver="liblinear").fit(rows, labels)
    with desk.create() as art, art.open("model.joblib", "wb") as file:
        joblib.dump(model, file, compress=compress)
    loaded = load(desk, "model.joblib", joblib.load)
    assert (loaded.predict_proba(rows) == model.predict_proba(rows)).all()


def test_pickle(desk: Desk) -> None:
    """The library pickles nothing itself; whoever wants it says so."""
    with desk.create() as art, art.open("model.pkl", "wb") as file:
        pickle.dump({"a": [1, 2]}, file)
    assert load(desk, "model.pkl", pickle.load) == {"a": [1, 2]}


def test_numpy(desk: Desk) -> None:
    """An array, an archive that is read later, and an array that is mapped from memory."""
    array = np.arange(1_000_000, dtype="f8").reshape(1000, 1000)
    with desk.create() as art:
        with art.open("a.npy", "wb") as file:
            np.save(file, array)
        with art.open("a.npz", "wb") as file:
            np.savez_compressed(file, first=array, second=array[:3])
    assert (load(desk, "a.npy", np.load) == array).all()
    archive = load(desk, "a.npz", np.load)
    assert (archive["second"] == array[:3]).all()
    assert (archive["first"] == array).all()
    mapped = load(desk, "a.npy", lambda name: np.load(name, mmap_mode="r"), as_="path")
    assert (mapped[999] == array[999]).all()
    assert load(desk, "a.npy", lambda name: np.load(name).sum(), as_="folder") == array.sum()


def test_safetensors(desk: Desk) -> None:
    """From bytes, and mapped from a file in memory."""
    from safetensors.numpy import load as load_bytes
    from safetensors.numpy import load_file, save

    tensors = {"w": np.random.default_rng(0).random((100, 100)), "b": np.zeros(3)}
    with desk.create() as art, art.open("model.safetensors", "wb") as file:
        file.write(save(tensors))
    for found in (
        load(desk, "model.safetensors", load_bytes, as_="bytes"),
        load(desk, "model.safetensors", load_file, as_="path"),
        load(desk, "model.safetensors", load_file, as_="folder"),
    ):
        assert {name: (tensor == tensors[name]).all() for name, tensor in found.items()} == {
            "w": True,
            "b": True,
        }


def onnx_model(folder: Path, *, beside: bool) -> None:
    """Write a model that multiplies by a matrix, which lies within or beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.arange(4096, dtype="f4").reshape(64, 64), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=beside,
        location="weights.bin",
        size_threshold=0,
    )


def answer(session: Any) -> Any:
    """Run the model on ones."""
    return session.run(None, {"x": np.ones((1, 64), "f4")})[0]


def test_onnx_runtime(desk: Desk, tmp_path: Path) -> None:
    """From bytes, and by a name."""
    import onnxruntime

    (tmp_path / "onnx").mkdir()
    onnx_model(tmp_path / "onnx", beside=False)
    expected = answer(onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx")))
    with desk.create() as art:
        art.add_folder(tmp_path / "onnx")
    for as_ in ("bytes", "path", "folder"):
        assert (answer(load(desk, "model.onnx", onnxruntime.InferenceSession, as_=as_)) == expected).all()


def test_a_model_in_a_folder(desk: Desk, tmp_path: Path) -> None:
    """One whose files name each other; ONNX Runtime wants real ones, for it resolves links."""
    import onnxruntime

    (tmp_path / "onnx").mkdir()
    onnx_model(tmp_path / "onnx", beside=True)
    assert (tmp_path / "onnx" / "weights.bin").exists()
    expected = answer(onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx")))
    with desk.create() as art:
        art.add_folder(tmp_path / "onnx")
    session = load(desk, "model.onnx", onnxruntime.InferenceSession, as_="folder", links=False)
    assert (answer(session) == expected).all()
    assert load(
        desk, None, lambda name: sorted(path.name for path in Path(name).iterdir()), as_="folder"
    ) == [
        "model.onnx",
        "weights.bin",
    ]


def test_torch(desk: Desk) -> None:
    """With ``weights_only``; where somebody has installed that large wheel (`make test-nightly`)."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(8, 3)
    with desk.create() as art, art.open("model.pt", "wb") as file:
        torch.save(model.state_dict(), file)
    state = load(desk, "model.pt", lambda file: torch.load(file, weights_only=True))
    mapped = load(desk, "model.pt", lambda name: torch.load(name, weights_only=True, mmap=True), as_="path")
    for found in (state, mapped):
        assert {name: bool((found[name] == tensor).all()) for name, tensor in model.state_dict().items()} == {
            "weight": True,
            "bias": True,
        }
