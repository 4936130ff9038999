from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio import registry

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


@pytest.fixture(scope="session")
def digits() -> Path:
    return DIGITS / "digits.onnx"


@pytest.fixture(scope="session")
def digits_data() -> Path:
    return DIGITS / "calibration.npz"


@pytest.fixture(scope="session")
def digits_bundle(tmp_path_factory, digits, digits_data):
    """The sample model, converted once for all tests that only read it."""
    out = tmp_path_factory.mktemp("bundle") / "digits"
    return intaglio.convert(digits, calibration=digits_data, out=out)


@pytest.fixture(scope="session")
def quantized_model(tmp_path_factory, digits_bundle) -> Path:
    """A model that comes with QuantizeLinear and DequantizeLinear."""
    path = tmp_path_factory.mktemp("qdq") / "digits_qdq.onnx"
    path.write_bytes((digits_bundle.folder / "onnx-qdq" / "model.onnx").read_bytes())
    return path


@pytest.fixture
def register(monkeypatch):
    """Offers classes of a test as entry points, as an installed third party would."""
    points: dict[str, list[EntryPoint]] = {"intaglio.passes": [], "intaglio.targets": []}
    monkeypatch.setattr(registry, "entry_points", lambda group: points[group])

    def add(kind: type) -> None:
        group = "intaglio.targets" if hasattr(kind, "form") else "intaglio.passes"
        location = f"{kind.__module__}:{kind.__qualname__}"
        points[group].append(EntryPoint(kind.name, location, group))

    return add


@pytest.fixture
def small_model(tmp_path) -> Path:
    """One fully connected layer and a Relu: 4 inputs, 3 outputs, a fixed batch of 1."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="dense", transB=1),
            helper.make_node("Relu", ["h"], ["y"], name="relu"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    return path
