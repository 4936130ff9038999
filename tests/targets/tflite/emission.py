"""Emits graphs and compares what a runtime computes with the integer graph, tensor by tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.targets.tflite.emit import Emitted, emit
from tests.property.lowering_checks import Options, convert, run

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass
class Emission:
    """A channels-last graph and its file."""

    model: ir.Model
    emitted: Emitted
    profile: str


def emit_float(proto: onnx.ModelProto, feeds: Arrays, options: Options) -> Emission:
    """Quantizes a float graph on ``feeds``, lowers it and emits it."""
    return emit_integer(convert(proto, feeds, options).integer, options.profile)


def emit_integer(integer: ir.Model, profile: str) -> Emission:
    """Brings an integer graph to channels last and emits it."""
    model = ToChannelsLast()(integer.clone()).model
    return Emission(model, emit(model, profile), profile)


def random_feeds(model: ir.Model, seed: int) -> dict[str, np.ndarray]:
    """All integers of each input's type; open dimensions are 1."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        shape = [d if isinstance(d, int) else 1 for d in value.shape]
        dtype = np.dtype(value.dtype.numpy())
        if dtype.kind == "f":
            feeds[str(value.name)] = rng.standard_normal(shape).astype(dtype)
            continue
        limits = np.iinfo(dtype)
        feeds[str(value.name)] = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return feeds


def assert_same_bits(emission: Emission, seeds: range) -> None:
    """Every tensor of the file that the graph has, too, holds the same integers."""
    runner = {"tflm": run_micro, "litert": run_litert}[emission.profile]
    graph = emission.model.graph
    inner = [str(v.name) for node in graph for v in node.outputs]
    for seed in seeds:
        feeds = random_feeds(emission.model, seed)
        wanted = {**run(emission.model, feeds, inner), **feeds}
        found = runner(emission.emitted.data, feeds)
        assert {str(v.name) for v in graph.outputs} <= set(found)
        for name in sorted(set(found) & set(wanted)):
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name, strict=True)


def run_litert(data: bytes, feeds: Arrays) -> dict[str, np.ndarray]:
    """Every tensor after a run of LiteRT's reference kernels, by name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    found = {}
    for detail in interpreter.get_tensor_details():
        try:
            found[detail["name"]] = interpreter.get_tensor(detail["index"]).copy()
        except ValueError:
            continue  # scratch memory of a kernel
    return found


def run_micro(data: bytes, feeds: Arrays) -> dict[str, np.ndarray]:
    """Every tensor after a run of TFLite Micro, by name."""
    from ai_edge_litert.interpreter import Interpreter
    from tflite_micro import runtime

    table = Interpreter(model_content=data)
    interpreter = runtime.Interpreter.from_bytes(
        data,
        arena_size=1 << 24,
        intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
    )
    for position, detail in enumerate(table.get_input_details()):
        interpreter.set_input(feeds[detail["name"]], position)
    interpreter.invoke()
    found: dict[str, Any] = {}
    for detail in table.get_tensor_details():
        try:
            tensor = interpreter.GetTensor(detail["index"], 0)["tensor_data"]
        except (ValueError, RuntimeError, KeyError):
            continue  # a constant
        found[detail["name"]] = np.asarray(tensor)
    for position, detail in enumerate(table.get_output_details()):
        found[detail["name"]] = interpreter.get_output(position)
    return found
