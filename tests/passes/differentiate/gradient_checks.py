"""Gradients of small models against central differences.

The training graph runs as it is, in onnxruntime and float32. The differences are taken of the
forward model in float64, by onnx's reference implementation. Where that has no correct kernel,
onnxruntime computes the forward in float32 with large steps: for an operator that is linear in
each operand the loss is a square, and the central difference of a square is exact for any step.
Every tensor that a gradient is wanted of is an initializer of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from intaglio.passes.differentiate.build_training_graph import build_training_graph
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.interface import initial_state
from tests.helpers import build, open_session, relative_error, run_float

STEP = 1e-5
LARGE_STEP = 0.25
#: Computes the outputs from the inputs.
Runner = Callable[[dict[str, np.ndarray]], np.ndarray]


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with every float32 input, initializer and constant in float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            info.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return wide


def loss_of(result: np.ndarray, wanted: np.ndarray, loss: str) -> float:
    """The loss in float64."""
    result = result.astype(np.float64)
    if loss == "mean-squared-error":
        return float(np.mean((result - wanted) ** 2))
    top = result.max(axis=1, keepdims=True)
    logs = result - top - np.log(np.exp(result - top).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(wanted)), wanted].mean())


def differences(
    model: ir.Model,
    gradients: dict[str, np.ndarray],
    feeds: dict[str, np.ndarray],
    wanted: np.ndarray,
    loss: str,
    linear: bool,
    step: float,
    limit: int = 6,
) -> dict[str, dict[int, float]]:
    """Central differences of the loss by the number of the element.

    Of every tensor ``limit`` elements with the largest of ``gradients``, and as many others.
    """
    names = tuple(gradients)
    run = runner(model, names, linear)
    values = {
        name: model.graph.initializers[name].const_value.numpy().astype(np.float64)
        for name in names
    }
    found: dict[str, dict[int, float]] = {}
    rng = np.random.default_rng(1)
    for name, array in values.items():
        order = np.argsort(-np.abs(gradients[name].reshape(-1)))
        others = rng.permutation(order[limit:])[:limit]
        places = [*order[:limit], *others]
        found[name] = {}
        for place in places:
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved.reshape(-1)[place] += sign * step
                result = run({**feeds, **values, name: moved})
                sides.append(loss_of(result, wanted, loss))
            found[name][int(place)] = (sides[0] - sides[1]) / (2 * step)
    return found


def runner(model: ir.Model, names: tuple[str, ...], linear: bool) -> Runner:
    """The forward model with the initializers ``names`` as inputs."""
    proto = ir.to_proto(model)
    if not linear:
        proto = to_float64(proto)
    dtype = np.float32 if linear else np.float64
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in [t for t in proto.graph.initializer if t.name in names]:
        proto.graph.initializer.remove(tensor)
        info = onnx.helper.make_tensor_value_info(tensor.name, kind, tensor.dims)
        proto.graph.input.append(info)
    session: Any = open_session(proto) if linear else ReferenceEvaluator(proto)

    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        typed = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in feeds.items()}
        result = np.asarray(session.run(None, typed)[0])
        assert result.dtype == dtype
        return result

    return run


def check(
    text: str,
    trained: tuple[str, ...],
    *,
    seed: int = 0,
    symbols: dict[str, int] | None = None,
    loss: str = "mean-squared-error",
    tolerance: float = 2e-4,
    opset: int = 21,
    linear: bool = False,
    step: float | None = None,
    **weights: Any,
) -> ir.Model:
    """Compares the gradients of a model in ONNX's text form; returns the training graph.

    Args:
        text: Signature and nodes.
        trained: Initializers that a gradient is wanted of.
        seed: Seed of the inputs.
        symbols: Sizes of symbolic dimensions (others: 2).
        loss: The loss.
        tolerance: Largest difference against the largest magnitude of a tensor's gradient.
        opset: Version of the operators.
        linear: Whether the model is linear in every operand, and to be run by onnxruntime.
        step: Step of the differences.
        **weights: The initializers.
    """
    rng = np.random.default_rng(seed)
    model = build(text.replace("<>", ""), opset, **weights)
    feeds: dict[str, np.ndarray] = {}
    for value in model.graph.inputs:
        shape = [
            d if isinstance(d, int) else (symbols or {}).get(str(d.value), 2) for d in value.shape
        ]
        if value.dtype == ir.DataType.FLOAT:
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            feeds[value.name] = rng.integers(0, 2, shape).astype(value.dtype.numpy())
    forward = next(iter(run_float(model, feeds).values()))
    if loss == "mean-squared-error":
        wanted = rng.standard_normal(forward.shape).astype(np.float32)
    else:
        wanted = rng.integers(0, forward.shape[1], len(forward))
    options = TrainingOptions(loss=loss, optimizer="none", trained=trained)
    training = build_training_graph(model, options)
    onnx.checker.check_model(ir.to_proto(training), full_check=True)
    state = initial_state(model, options)
    assert sorted(state) == sorted(trained)
    step = step or (LARGE_STEP if linear else STEP)
    name = "target" if loss == "mean-squared-error" else "labels"
    got = run_float(training, {**feeds, **state, name: wanted})
    gradients = {name: got[f"gradient.{name}"] for name in trained}
    expected = differences(model, gradients, feeds, wanted, loss, linear, step)
    largest = 0.0
    for name in trained:
        gradient = gradients[name]
        assert gradient.shape == state[name].shape
        places = list(expected[name])
        want = np.array([expected[name][place] for place in places])
        largest = max(largest, np.abs(want).max())
        assert relative_error(gradient.reshape(-1)[places], want) <= tolerance, name
    assert largest > 1e-4, "gradients of zeros check nothing"
    return training
