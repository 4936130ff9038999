"""Small helpers for building models and comparing what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import numpy_helper, parser

from intaglio.passes.base import Outcome
from intaglio.registry import load_pass
from intaglio.targets.onnx.read import read_proto

ZOO_FLOAT = (
    "ESPCN_x2",
    "FSRCNN-small_x2",
    "FSRCNN_x4",
    "cifar10_pytorch_tutorial",
    "ic_resnet8_float",
    "mnist8_cntk",
    "pytorch_super_resolution_tutorials",
    "ultraface_RFB-320_nopost",
    "vww_96_float",
    "yunet_n_320_320",
)


def build_proto(
    text: str, opset: int = 21, ir_version: int = 10, **weights: Any
) -> onnx.ModelProto:
    """A model from ONNX's text form.

    Args:
        text: Signature and nodes, such as ``(float[1,2] x) => (float y) { y = Relu(x) }``.
        opset: Version of the standard operators.
        ir_version: IR version.
        **weights: Initializers; Python floats become float32, integers int64.
    """
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}]> graph '
    model = parser.parse_model(header + text)
    for name, value in weights.items():
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def build(text: str, opset: int = 21, **weights: Any) -> ir.Model:
    """A model from ONNX's text form, taken through the reader: see :func:`build_proto`."""
    return read_proto(build_proto(text, opset, **weights), Path("built.onnx"), {})


def open_session(model: ir.Model | onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    """onnxruntime without its own optimizations, so that it computes what the graph says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if isinstance(model, Path):
        source: Any = str(model)
    else:
        proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
        source = proto.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_float(
    model: ir.Model | onnx.ModelProto | Path, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs of a model by name."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def random_inputs(
    model: ir.Model, seed: int = 0, sizes: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Normal numbers for each float input, small integers for each integer input.

    Args:
        model: The model.
        seed: Seed.
        sizes: Sizes of symbolic dimensions; others get 2 on the first axis, else 13, 14, ...
    """
    rng = np.random.default_rng(seed)
    chosen = dict(sizes or {})
    feeds: dict[str, np.ndarray] = {}
    for value in model.graph.inputs:
        shape = []
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, int):
                shape.append(dim)
            else:
                shape.append(chosen.setdefault(str(dim.value), 2 if axis == 0 else 12 + axis))
        dtype = value.dtype.numpy()
        if np.issubdtype(dtype, np.floating):
            feeds[value.name] = (rng.standard_normal(shape) * 2).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, 5, shape).astype(dtype)
    return feeds


def operators(model: ir.Model) -> list[str]:
    """Operator types in graph order."""
    return [node.op_type for node in model.graph]


def weight(model: ir.Model, node: ir.Node, index: int) -> np.ndarray:
    """The constant at input ``index`` of ``node``."""
    return node.inputs[index].const_value.numpy()


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference against the largest magnitude."""
    return float(np.abs(got - want).max() / max(1e-12, np.abs(want).max()))


def assert_same_outputs(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], tolerance: float = 1e-5
) -> None:
    """Same names in the same order, same shapes, same numbers up to float rounding."""
    assert list(got) == list(want)
    for name in want:
        assert got[name].shape == want[name].shape
        assert got[name].dtype == want[name].dtype
        assert relative_error(got[name], want[name]) <= tolerance


def run_pass(model: ir.Model, name: str, tolerance: float = 1e-5) -> Outcome:
    """Runs a canonicalization pass and checks everything that holds for all of them.

    It computes the same before and after, a second run changes nothing, every node keeps a
    source, and ``modified`` says whether there are changes.
    """
    inputs = random_inputs(model)
    want = run_float(model, inputs)
    known = {node.name for node in model.graph}
    for node in model.graph:
        known.update(_sources(node))
    outcome = load_pass(f"canonicalize.{name}")()(model)
    assert outcome.modified == bool(outcome.changes)
    assert_same_outputs(run_float(model, inputs), want, tolerance)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for node in model.graph:
        assert _sources(node), f"{node.name} lost its sources"
        assert known.issuperset(_sources(node))
        for output in node.outputs:
            assert output.dtype is not None
            assert output.shape is not None
    again = load_pass(f"canonicalize.{name}")()(model)
    assert not again.modified, again.changes
    return outcome


def _sources(node: ir.Node) -> list[str]:
    from intaglio.passes.provenance import SOURCES_KEY, sources

    return sources(node) if SOURCES_KEY in node.metadata_props else []


def reasons(outcome: Outcome) -> str:
    """All skip reasons in one text."""
    return "\n".join(skip.reason for skip in outcome.skips)
