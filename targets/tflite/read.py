"""Reading a TFLite file: float or quantized, into the one form the passes know.

In order: take the file apart with every access checked; interpret its tensors; check the graph;
bind open dimensions; let each operator's reader add its ONNX operators; infer shapes of the whole.
Quantized tensors become QuantizeLinear and DequantizeLinear with the file's own numbers, so that
the integers that are computed from the result are those that TFLite computes. The order of
dimensions stays TFLite's own: operators that ONNX defines channels-first stand between Transposes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from intaglio.errors import Refusal, UnsupportedError
from intaglio.passes.annotations import set_layout
from intaglio.passes.marks import NARROWED_KEY, WARNINGS_KEY
from intaglio.passes.provenance import stamp_sources
from intaglio.targets.onnx.shapes import bind_shapes, infer_shapes
from intaglio.targets.tflite.flatfile import FlatFile, OperatorRecord, read_file, read_flatfile
from intaglio.targets.tflite.node_shapes import OPSET, set_type
from intaglio.targets.tflite.operators.shapes import fold
from intaglio.targets.tflite.options import read_options
from intaglio.targets.tflite.readers import READERS
from intaglio.targets.tflite.scope import Operator, Scope, Tensor
from intaglio.targets.tflite.structure import (
    check_border,
    check_not_compiled,
    check_order,
    live_operators,
)
from intaglio.targets.tflite.tensors import Tensors, decode_tensors
from intaglio.targets.tflite.versions import NEWEST_VERSION

_IR_VERSION = 10

# What the constants may unpack to: int4 to float32 is eight times, sparse ones are more.
_CONSTANT_BYTES = 1 << 28
_CONSTANT_FACTOR = 32

_REMEDIES: Mapping[str, str] = {
    "IF": "export the model without data-dependent branches",
    "WHILE": "unroll the loop on export",
    "CALL_ONCE": "export the model without a state to initialize",
    "VAR_HANDLE": "export the model with its state as inputs and outputs",
    "TFLite_Detection_PostProcess": "cut the model before its post-processing",
}


def read_tflite(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Reads a TFLite model.

    Args:
        path: The file.
        shapes: Dimensions by input name, for inputs with open dimensions.

    Returns:
        The model in opset 21 and IR 10: one flat graph in TFLite's order of dimensions, source
        names stamped. What was repaired is noted in its metadata.

    Raises:
        InputError: The file is missing, damaged or no TFLite model.
        UnsupportedError: It has operators or tensors that cannot be converted; all are listed.
        RecipeError: ``shapes`` names no input of the model or does not fit it.
    """
    file = Path(path)
    return read_bytes(read_file(file), str(file), shapes or {})


def read_bytes(data: bytes, path: str, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """Like :func:`read_tflite`, for a file that is in memory.

    Args:
        data: The file.
        path: Its name, for messages.
        shapes: As above.
    """
    file = read_flatfile(data, path)
    check_not_compiled(file)
    tensors = decode_tensors(file)
    check_border(file)
    check_order(file, tensors.all)
    graph = file.graph
    dims = _input_dims([tensors.all[i] for i in graph.inputs], shapes)
    budget = _CONSTANT_BYTES + _CONSTANT_FACTOR * len(data)
    scope = Scope(tensors.all, graph.inputs, graph.outputs, dims, budget)
    scope.warnings.extend(tensors.warnings)
    _read_operators(file, tensors, scope)
    model = _finish(file, scope)
    _infer(model, path)
    stamp_sources(model)
    return model


def _input_dims(
    inputs: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
) -> dict[int, list[int | str]]:
    """Dimensions of the inputs by tensor index, bound as those of an ONNX model are."""
    proto = onnx.ModelProto()
    for tensor in dict.fromkeys(inputs):
        value = proto.graph.input.add()
        value.name = tensor.name
        value.type.tensor_type.shape.SetInParent()
        for dim in tensor.signature:
            value.type.tensor_type.shape.dim.add().dim_value = dim
    bind_shapes(proto, shapes)
    found = {}
    for tensor, value in zip(dict.fromkeys(inputs), proto.graph.input, strict=True):
        dims = value.type.tensor_type.shape.dim
        found[tensor.index] = [dim.dim_param or dim.dim_value for dim in dims]
    return found


def _read_operators(file: FlatFile, tensors: Tensors, scope: Scope) -> None:
    """Reads every operator that an output depends on; collects what is refused."""
    refusals: list[Refusal] = []
    refused: set[int] = set()
    for index in live_operators(file):
        record = file.graph.operators[index]
        if not refused.isdisjoint(record.inputs):
            # Nothing can be said of it: only the operators before it are named.
            refused.update(record.outputs)
            if _reader_name(record) in READERS:
                continue
        try:
            _read_operator(index, record, tensors, scope, file.buffer.path, refused)
        except UnsupportedError as error:
            refusals.extend(error.refusals)
            refused.update(record.outputs)
    for index in (*file.graph.inputs, *file.graph.outputs):
        if index in tensors.unsupported:
            reason, remedy = tensors.unsupported[index]
            refusals.append(Refusal(tensors.all[index].name, "tensor", reason, remedy))
    if refusals:
        count = len(refusals)
        raise UnsupportedError(
            f"{file.buffer.path} has {count} thing{'s' if count > 1 else ''} that cannot be read",
            refusals,
        )


def _reader_name(record: OperatorRecord) -> str:
    """Custom operators are looked up by their code, apart from the builtin ones."""
    return f"custom:{record.kind.name}" if record.kind.custom else record.kind.name


def _read_operator(
    index: int,
    record: OperatorRecord,
    tensors: Tensors,
    scope: Scope,
    path: str,
    refused: set[int],
) -> None:
    kind = record.kind
    outputs = tuple(tensors.all[i] for i in record.outputs)
    inputs = tuple(tensors.all[i] if i >= 0 else None for i in record.inputs)
    operator = Operator(
        index, kind.name, kind.version, None, record.custom_options, inputs, outputs
    )
    scope.begin(operator)
    reader = READERS.get(_reader_name(record))
    if reader is None:
        what = "is a custom operator" if kind.custom else "is not read"
        remedy = _REMEDIES.get(kind.name, "export the model without it, or cut it off there")
        scope.refuse(operator, what, remedy)
    newest = NEWEST_VERSION.get(kind.name, kind.version)
    if not kind.custom and kind.version > newest:
        scope.refuse(
            operator, f"version {newest} is the newest that is known", "export it with older tools"
        )
    for touched in (*record.inputs, *record.outputs):
        if touched in tensors.unsupported:
            scope.refuse(operator, *tensors.unsupported[touched])
    if not refused.isdisjoint(record.inputs):
        return
    options = read_options(record, path)
    operator = Operator(
        index, kind.name, kind.version, options, record.custom_options, inputs, outputs
    )
    scope.begin(operator)
    try:
        if not fold(operator, scope):
            reader(scope, operator)
    except (LookupError, ValueError, ArithmeticError, AttributeError, TypeError) as error:
        # A damaged operator lacks inputs or has options that no exporter writes.
        raise scope.damaged(f"does not have the inputs and options it needs: {error}") from error
    scope.end()


def _finish(file: FlatFile, scope: Scope) -> ir.Model:
    """The model of what the readers have made."""
    outputs = scope.finish(file.graph.outputs)
    for value in (*scope.inputs, *outputs):
        if value.shape is not None and len(value.shape) == 4:
            set_layout(value, "NHWC")
    graph = ir.Graph(
        scope.inputs,
        outputs,
        nodes=scope.graph.nodes,
        initializers=list(scope.graph.initializers.values()),
        opset_imports={"": OPSET},
        name=file.graph.name or Path(file.buffer.path).stem,
    )
    model = ir.Model(graph, ir_version=_IR_VERSION, producer_name=file.description or None)
    if scope.warnings:
        model.metadata_props[WARNINGS_KEY] = "\n".join(dict.fromkeys(scope.warnings))
    if scope.narrowed:
        model.metadata_props[NARROWED_KEY] = ", ".join(sorted(scope.narrowed))
    return model


def _infer(model: ir.Model, path: str) -> None:
    """Shapes of the whole graph: what one node at a time could not tell."""
    proto = ir.to_proto(model)
    infer_shapes(proto, path)
    known = {info.name: info.type for info in (*proto.graph.value_info, *proto.graph.output)}
    for node in model.graph:
        for value in node.outputs:
            if value.name in known:
                set_type(value, known[value.name])
