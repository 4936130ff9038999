"""Converts a graph and checks everything that must hold of an integer form, unit by unit.

Errors do not add up in the comparison: every unit of the quantized form is fed the very integers
that the integer graph computed for its inputs ("teacher forced"), so each unit is judged alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
from intaglio.passes.operators import is_constant, is_float
from intaglio.passes.provenance import SOURCES_KEY, stamp_sources
from intaglio.passes.quantize.insert_qdq import InsertQdq
from intaglio.passes.quantize.isolate_tensors import IsolateTensors
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.onnx.session import make_session, with_outputs

#: LSB of int16 by operator, where the kernel is coarser than 16 bits: a table of 513 entries bends
#: at its knots, Softmax has an 8-bit kernel.
COARSE_INT16 = 700
#: Functions with a jump or a pole: their 16-bit table may be anything within one segment.
JUMPS = frozenset({"Ceil", "Floor", "Reciprocal", "Round", "Sign", "ThresholdedRelu"})


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
    known |= {v.name for v in proto.graph.input}
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
        assert value.name in stated or value.dtype == ir.DataType.INT64
    for value in all_values(integer):
        if get_quantization(value) is not None:
            assert get_source_value(value), value.name
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
        allowed, why = tolerance(quantized, codes_name, point.dtype)
        error = int(np.abs(got - want).max(initial=0))
        assert error <= allowed, f"'{source}' ({why}) is {error} LSB off, {allowed} allowed"


def _teacher_forced(quantized: ir.Model):
    """The quantized form with the computed codes as inputs; codes name -> (source, meaning)."""
    proto = ir.to_proto(quantized)
    graph = proto.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    made = {o: n for n in graph.node for o in n.output}
    infos = {i.name: i for i in graph.value_info}
    notes = {str(v.name): v for v in all_values(quantized)}
    points: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] in constants:
            continue
        name = node.input[0]
        value = notes[node.output[0]]
        source = get_source_value(value) or made[name].input[0]
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        from intaglio.transforms.scales import TensorQuantization

        meaning = TensorQuantization(zero.dtype.name, (float(scale),), (int(zero),))
        points[name] = (source, meaning)
        fed = f"{name}/fed"
        info = onnx.ValueInfoProto()
        info.CopyFrom(infos[name])
        info.name = fed
        graph.input.append(info)
        node.input[0] = fed
    return proto, points


def tolerance(quantized: ir.Model, codes_name: str, dtype: str) -> tuple[float, str]:
    """LSB by which one unit may differ from float arithmetic between its pairs, and its name.

    One rounding instead of another is 1 LSB. What a kernel's fixed point adds:

    * a 16-bit multiplier (int16 convolutions) is off by 2^-15: 1 LSB at the end of the range;
    * Add brings operands to ``2 * max(scale) / 2^20`` (int16: 2^15): 1.5 steps of that;
    * Softmax has an 8-bit kernel;
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
        if node.op_type == "HardSwish" and dtype == "int8":
            allowed += 1  # the kernel's own 16-bit arithmetic
        if "int16" in dtypes and dtype == "int16":
            if node.op_type == "Softmax":
                steps = 1 / 256 + 256 * (_input_scale(node.inputs[0]) or 0)
                allowed += steps / out_scale
            elif _is_table(node, kinds):
                allowed = max(allowed, COARSE_INT16)
        if "int16" in dtypes and node.op_type in JUMPS:
            allowed = 65535.0
    return allowed, label


_EXACT_TABLES = frozenset({"Relu", "Clip", "LeakyRelu"})


def _is_table(node: ir.Node, kinds: Sequence[str]) -> bool:
    from intaglio.passes.operators import BINARY, UNARY

    if node.op_type in _EXACT_TABLES and len(kinds) == 1:
        return False
    return node.op_type in UNARY or node.op_type in BINARY


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
