"""Converts a graph and checks everything that must hold of an integer form, unit by unit.

Errors do not add up in the comparison: every unit of the quantized form is fed the very integers
that the integer graph computed for its inputs ("teacher forced"), so each unit is judged alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import (
    all_values,
    get_quantization,
    get_source_value,
    set_precision,
    set_range,
)
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.operators import BINARY, UNARY, is_constant, is_float
from intaglio.passes.provenance import SOURCES_KEY, stamp_sources
from intaglio.passes.quantize.insert_qdq import InsertQdq
from intaglio.passes.quantize.isolate_tensors import IsolateTensors
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.recipe import load_recipe
from intaglio.registry import load_pass
from intaglio.targets.onnx.read import read_proto
from intaglio.targets.onnx.session import make_session, with_outputs
from intaglio.transforms.scales import TensorQuantization


@dataclasses.dataclass(frozen=True)
class Options:
    """How a graph is converted."""

    activations: str = "int8"
    sixteen: tuple[int, ...] = ()
    profile: str = "tflm"
    io: str = "integer"
    per_channel: bool = True


@dataclasses.dataclass
class Converted:
    """Both forms of a graph."""

    quantized: ir.Model
    integer: ir.Model


def run(model: ir.Model | onnx.ModelProto, feeds: Mapping[str, Any], inner: Sequence[str] = ()):
    """Outputs and inner values by name, onnxruntime's optimizations off."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    data = with_outputs(proto.SerializeToString(), inner)
    session = make_session(data, optimize=False, threads=1)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def canonical(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph after the reader and the canonicalization of the recipes."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    model = read_proto(copy, Path("graph.onnx"), {})
    for step in load_recipe("int8").steps:
        if step.pass_name.startswith("canonicalize."):
            _twice(load_pass(step.pass_name)(), model)
    return ir.to_proto(model)


def convert(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], options: Options) -> Converted:
    """Quantizes (by min-max on ``feeds``) and lowers; every pass is checked to be idempotent."""
    model = ir.from_proto(proto)
    stamp_sources(model)
    _twice(IsolateTensors(), model)
    values = [v for v in all_values(model) if is_float(v) and not is_constant(v)]
    found = {**run(model, feeds, [str(v.name) for v in values if v.producer()]), **feeds}
    for value in values:
        array = found[str(value.name)]
        set_range(value, float(array.min()), float(array.max()))
    for index in options.sixteen:
        set_precision(values[index % len(values)], "int16")
    plan = PlanTensors.Config(activations=options.activations, per_channel=options.per_channel)
    _twice(PlanTensors(plan), model)
    _twice(InsertQdq(), model)
    _twice(ShiftUnsigned(), model)
    integer = model.clone()
    config = ToInteger.Config(profile=options.profile, io=options.io)
    integer = _twice(ToInteger(config), integer)
    return Converted(model, integer)


def _twice(step: Any, model: ir.Model) -> ir.Model:
    result = step(model).model
    before = ir.to_proto(result).SerializeToString(deterministic=True)
    again = step(result)
    assert not again.modified, f"{step.name} changes its own result: {again.changes}"
    after = ir.to_proto(again.model).SerializeToString(deterministic=True)
    assert after == before, f"{step.name} edits its own result silently"
    return again.model


def check_refusal(error: UnsupportedError, proto: onnx.ModelProto) -> None:
    """Every refusal names a node or tensor of the source, and says why."""
    known = {n.name for n in proto.graph.node} | {v for n in proto.graph.node for v in n.output}
    known |= {v.name for v in (*proto.graph.input, *proto.graph.output)}
    assert error.refusals
    for refusal in error.refusals:
        assert refusal.node in known, refusal
        assert refusal.reason


def check(
    proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], options: Options
) -> Converted | None:
    """Converts and checks everything; None where the graph is refused."""
    try:
        converted = convert(proto, feeds, options)
    except UnsupportedError as error:
        check_refusal(error, proto)
        return None
    integer = converted.integer
    data = ir.to_proto(integer).SerializeToString(deterministic=True)
    again = ir.to_proto(convert(proto, feeds, options).integer)
    assert again.SerializeToString(deterministic=True) == data, "not the same bytes twice"
    onnx.checker.check_model(ir.to_proto(integer), full_check=True)
    onnx.checker.check_model(ir.to_proto(converted.quantized), full_check=True)
    assert find_float_tensors(integer, border=options.io == "float") == []
    check_border(proto, integer)
    check_notes(integer)
    compare_units(converted, feeds, options.io)
    return converted


def check_border(proto: onnx.ModelProto, integer: ir.Model) -> None:
    """Inputs and outputs keep names, order and rank."""
    assert [v.name for v in integer.graph.inputs] == [v.name for v in proto.graph.input]
    assert [v.name for v in integer.graph.outputs] == [v.name for v in proto.graph.output]


def check_notes(integer: ir.Model) -> None:
    """Narrow integers say what they mean and for what they stand; every node has a source."""
    stated = {get_source_value(v) for v in all_values(integer)}
    for value in (*integer.graph.inputs, *integer.graph.outputs):
        if value.dtype in (ir.DataType.INT8, ir.DataType.INT16):
            assert get_quantization(value) is not None, value.name
        assert value.name in stated or value.dtype == ir.DataType.INT64 or not value.uses()
    for value in all_values(integer):
        if get_source_value(value) is not None and value.dtype != ir.DataType.INT64:
            assert get_quantization(value) is not None, value.name
            assert value.shape is not None, value.name
    for node in integer.graph:
        assert SOURCES_KEY in node.metadata_props, node.name
        used = any(v.is_graph_output() or v.uses() for v in node.outputs)
        assert used, f"{node.name} is unused"


def compare_units(converted: Converted, feeds: Mapping[str, np.ndarray], io: str) -> None:
    """Each unit of the quantized form against the integers, on the integers' own inputs."""
    quantized, integer = converted.quantized, converted.integer
    noted: dict[str, list[ir.Value]] = {}
    for value in all_values(integer):
        source = get_source_value(value)
        if source is not None and get_quantization(value) is not None:
            noted.setdefault(source, []).append(value)
    fed: Mapping[str, Any] = feeds
    if io == "integer":
        notes = {str(v.name): get_quantization(v) for v in integer.graph.inputs}
        fed = {name: q.quantize(feeds[name]) if q else feeds[name] for name, q in notes.items()}
    inner = [str(v.name) for values in noted.values() for v in values if v.producer()]
    codes = {**run(integer, fed, inner), **fed}
    # Two points may share one tensor (a value quantized again with the same scale).
    teacher, points = _teacher_forced(quantized)
    feed_codes: dict[str, np.ndarray] = {}
    compared: dict[str, np.ndarray] = {}
    for codes_name, (source, point) in points.items():
        same = [
            v for v in noted.get(source, []) if get_quantization(v) == point and v.name in codes
        ]
        assert same, f"no integers stand for '{source}'"
        array = codes[str(same[0].name)]
        assert array.dtype == point.numpy_dtype, source
        feed_codes[f"{codes_name}/fed"] = array
        compared[codes_name] = array
    wanted = {i.name for i in teacher.graph.input}
    given = {**feeds, **feed_codes}
    expected = run(teacher, {k: v for k, v in given.items() if k in wanted}, list(points))
    for codes_name, (source, point) in points.items():
        got, want = compared[codes_name].astype(np.int64), expected[codes_name].astype(np.int64)
        assert got.shape == want.shape, source
        allowed, why = tolerance(quantized, codes_name, point.dtype, compared)
        beyond = np.abs(got - want) - allowed
        worst = int(np.abs(got - want).max(initial=0))
        assert (beyond <= 0).all(), f"'{source}' ({why}) is {worst} LSB off, {allowed} allowed"


def _teacher_forced(quantized: ir.Model):
    """The quantized form with the computed codes as inputs; codes name -> (source, meaning)."""
    proto = ir.to_proto(quantized)
    graph = proto.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    made = {o: n for n in graph.node for o in n.output}
    infos = {i.name: i for i in graph.value_info}
    notes = {str(v.name): v for v in all_values(quantized)}
    read = {name for n in graph.node for name in n.input} | {o.name for o in graph.output}
    points: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] in constants:
            continue
        if node.output[0] not in read:
            continue  # an input that nothing reads
        name = node.input[0]
        value = notes[node.output[0]]
        source = get_source_value(value) or made[name].input[0]
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        meaning = TensorQuantization(zero.dtype.name, (float(scale),), (int(zero),))
        points[name] = (source, meaning)
        fed = f"{name}/fed"
        info = onnx.ValueInfoProto()
        info.CopyFrom(infos[name])
        info.name = fed
        graph.input.append(info)
        node.input[0] = fed
    return proto, points


def tolerance(
    quantized: ir.Model, codes_name: str, dtype: str, codes: Mapping[str, np.ndarray]
) -> tuple[Any, str]:
    """LSB by which one unit may differ from float arithmetic between its pairs, and its name.

    One rounding instead of another is 1 LSB. What a kernel's fixed point adds:

    * a 16-bit multiplier (int16 convolutions) is off by 2^-15: 1 LSB at the end of the range;
    * Add brings operands to ``2 * max(scale) / 2^20`` (int16: 2^15): 1.5 steps of that;
    * Softmax of int16 looks up exponentials in steps of 10/65535;
    * a table for int16 has 512 segments: see ``_variation``;
    * a resized position is a multiple of a rounded 1/1024: half of that a step from the border.
    """
    graph = quantized.graph
    made = {str(o.name): n for n in graph for o in n.outputs}
    point = made[codes_name]
    out_scale = float(point.inputs[1].const_value.numpy())
    nodes = _unit_nodes(point.inputs[0])
    kinds = [n.op_type for n in nodes] or ["Input"]
    label = "+".join(kinds)
    dtypes = {dtype, *(d for n in nodes for d in _input_dtypes(n))}
    allowed = 1.0
    if "int16" in dtypes:
        allowed = 2.0
    for node in nodes:
        if node.op_type in ("Add", "Sub"):
            scales = [s for s in (_input_scale(v) for v in node.inputs) if s is not None]
            if scales:
                step = 2 * max(scales) / 2.0 ** (15 if "int16" in dtypes else 20)
                allowed += 1.5 * step / out_scale
        if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") == "linear":
            reach = max(d for d in node.outputs[0].shape[2:] if isinstance(d, int))
            levels = 255.0 if dtype == "int8" else 65535.0
            allowed += (0.5 * reach + 1) / 1024 * levels * 2
        if node.op_type == "Sigmoid":
            allowed += 1e-7 / out_scale  # onnxruntime's own, at the far end
        if node.op_type == "HardSwish" and dtype == "int8":
            allowed += 1  # the kernel's own 16-bit arithmetic
        if node.op_type == "Softmax" and "int16" in dtypes:
            narrow = node.inputs[0].producer().inputs[0].dtype == ir.DataType.INT8
            allowed += (1 / 256 if narrow else 16 / 32768) / out_scale
    root = _table_root(nodes)
    if root is not None and root.producer().inputs[0].dtype == ir.DataType.INT16:
        # Its source scales by 65536/65535, half a step at the end, and rounds every entry twice.
        return allowed + 1 + _variation(quantized, nodes, root, codes, out_scale), label
    return allowed, label


def _table_root(nodes: Sequence[ir.Node]) -> ir.Value | None:
    """The tensor that a unit looks up in an interpolated table, None for other units."""
    if not nodes or any(n.op_type not in UNARY and n.op_type not in BINARY for n in nodes):
        return None
    if all(n.op_type in ("Relu", "Clip") for n in nodes):
        return None  # a rescale with a clamp
    if len(nodes) == 1 and nodes[0].op_type == "LeakyRelu":
        return None  # two rescales
    inside = {o for n in nodes for o in n.outputs}
    inputs = (v for n in nodes for v in n.inputs if v is not None and not is_constant(v))
    roots = {v for v in inputs if v not in inside}
    return roots.pop() if len(roots) == 1 else None


def _variation(
    quantized: ir.Model,
    nodes: Sequence[ir.Node],
    root: ir.Value,
    codes: Mapping[str, np.ndarray],
    out_scale: float,
) -> np.ndarray:
    """By how many LSB the function varies in the segment that each element lies in.

    A 16-bit table has 512 segments of 128 inputs and is linear in between, so that is how far it
    can be off (and no more than the neighbors' where it is moved to halve the error).
    """
    dequantize = root.producer()
    used = {v.name for n in nodes for v in n.inputs if v is not None}
    every = np.arange(-32768, 32768).astype(np.int16)
    proto = ir.to_proto(quantized)
    names = {n.name for n in (*nodes, dequantize)}
    used |= {v.name for v in dequantize.inputs}
    graph = onnx.helper.make_graph(
        [n for n in proto.graph.node if n.name in names],
        "region",
        [onnx.helper.make_tensor_value_info(dequantize.inputs[0].name, 5, [65536])],
        [onnx.helper.make_tensor_value_info(nodes[-1].outputs[0].name, 1, None)],
        [t for t in proto.graph.initializer if t.name in used],
    )
    imports = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    [real] = run(model, {dequantize.inputs[0].name: every}).values()
    steps = np.clip(np.nan_to_num(real.astype(np.float64) / out_scale), -1e6, 1e6).reshape(512, 128)
    ends = np.append(steps[1:, 0], steps[-1, -1])
    high, low = np.maximum(steps.max(axis=1), ends), np.minimum(steps.min(axis=1), ends)
    spread = high - low
    wide = np.maximum(spread, np.maximum(np.append(spread[1:], 0), np.append(0, spread[:-1])))
    array = codes[str(dequantize.inputs[0].name)].astype(np.int64)
    return wide[(array + 32768) >> 7]


def _unit_nodes(value: ir.Value | None) -> list[ir.Node]:
    found: list[ir.Node] = []
    stack = [value]
    while stack:
        current = stack.pop()
        node = current.producer() if current is not None else None
        if node is None or node.op_type == "DequantizeLinear" or node in found:
            continue
        found.append(node)
        stack.extend(v for v in node.inputs if v is not None and is_float(v))
    return found[::-1]


def _input_scale(value: ir.Value | None) -> float | None:
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return float(np.max(node.inputs[1].const_value.numpy()))


def _input_dtypes(node: ir.Node) -> list[str]:
    found = []
    for value in node.inputs:
        maker = value.producer() if value is not None else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            codes = maker.inputs[0]
            if codes is not None and codes.dtype is not None:
                found.append(codes.dtype.numpy().name)
    return found
