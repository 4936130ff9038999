"""Computes at conversion what does not depend on the input.

``Constant`` nodes become initializers, everything computed from constants is evaluated once, and
``Shape`` and ``Size`` of a static tensor are constants too, so the chains of Shape, Gather,
Unsqueeze and Concat that exporters write in front of ``Reshape`` disappear. With a dynamic batch
such a chain stays symbolic, but the result of the Reshape mostly is not: one unknown dimension
can be written as -1, and one that is copied from the input as 0.

``DequantizeLinear`` stays: its integers are the weights of a quantized model. ``QuantizeLinear``
of a constant is folded, which turns float weights stored before a Q/DQ pair into integers. Our
own functions are never evaluated nor inlined.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    constant_value,
    dims,
    drop_unused_constants,
    integer,
    is_standard,
    operand,
    static_dims,
)
from intaglio.passes.layout.layouts import reshape_target
from intaglio.passes.provenance import source_name
from intaglio.passes.rewriting import evaluate, infer_shapes

_KEPT = frozenset(
    {
        "Bernoulli",
        "DequantizeLinear",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# Folding may enlarge a model (Expand, Tile, ConstantOfShape); a file must not fill the memory.
_MAX_ELEMENTS = 1 << 24


class FoldConstants(Pass):
    """Evaluates constant parts of the graph."""

    name: ClassVar[str] = "canonicalize.fold_constants"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Folds until nothing changes; see the module's text for what is kept."""
        changes: list[Change] = []
        while True:
            done, skips = _fold_once(model)
            changes += done
            if not done:
                break
            drop_unused_constants(model.graph)
            infer_shapes(model)
        return outcome(model, changes, skips, {"folded": len(changes)})


def _fold_once(model: ir.Model) -> tuple[list[Change], list[Skip]]:
    changes: list[Change] = []
    skips: list[Skip] = []
    for node in list(model.graph):
        if not is_standard(node, node.op_type):
            continue
        try:
            arrays = _constant_outputs(node)
        except ValueError as error:
            skips.append(Skip(source_name(node), str(error)))
            continue
        if arrays is None:
            if is_standard(node, "Reshape") and _fix_shape(node):
                changes.append(
                    Change("fix_reshape", source_name(node), "computed shape", "constant shape")
                )
            continue
        name = source_name(node)
        _become_initializers(node, arrays)
        changes.append(
            Change(
                "fold_constant",
                name,
                node.op_type,
                "initializer",
                "its value does not depend on the inputs",
            )
        )
    return changes, skips


def _constant_outputs(node: ir.Node) -> list[NDArray[Any]] | None:
    """The arrays that the node always gives; None when they are not constant."""
    if node.op_type == "Constant":
        return [_constant_value(node)]
    if node.op_type in ("Shape", "Size"):
        return _shape_value(node)
    if node.op_type in _KEPT or not node.inputs:
        return None
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _attrs(node)):
        return None
    inputs = [constant(value) for value in node.inputs]
    if any(a is None and v is not None for a, v in zip(inputs, node.inputs, strict=True)):
        return None
    if all(array is None for array in inputs):
        return None
    given = sum(array.size for array in inputs if array is not None)
    for output in node.outputs:
        shape = static_dims(output)
        if shape is None and node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range"):
            raise ValueError(f"{node.op_type} of constants whose size is not known is kept")
        if shape is not None and math.prod(shape) > max(_MAX_ELEMENTS, given):
            raise ValueError(f"{node.op_type} of constants would hold {math.prod(shape)} numbers")
    arrays = evaluate(node, inputs)
    for output, array in zip(node.outputs, arrays, strict=False):
        if output.dtype is not None and ir.DataType.from_numpy(array.dtype) != output.dtype:
            raise ValueError(f"{node.op_type} evaluates to {array.dtype}, not {output.dtype}")
    return arrays


def _attrs(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())


def _constant_value(node: ir.Node) -> NDArray[Any]:
    for key, attribute in node.attributes.items():
        if key == "value":
            return np.asarray(attribute.as_tensor().numpy())
        if key == "value_float":
            return np.asarray(attribute.as_float(), np.float32)
        if key == "value_floats":
            return np.asarray(attribute.as_floats(), np.float32)
        if key == "value_int":
            return np.asarray(attribute.as_int(), np.int64)
        if key == "value_ints":
            return np.asarray(attribute.as_ints(), np.int64)
    raise ValueError("a Constant of strings or of a sparse tensor is kept")


def _shape_value(node: ir.Node) -> list[NDArray[Any]] | None:
    shape = dims(node.inputs[0])
    if shape is None:
        return None
    if node.op_type == "Shape":
        start = integer(node, "start", 0)
        end = integer(node, "end", len(shape)) if "end" in node.attributes else len(shape)
        shape = shape[start:end]
    numbers = [dim for dim in shape if isinstance(dim, int)]
    if len(numbers) < len(shape):
        return None
    if node.op_type == "Size":
        return [np.asarray(math.prod(numbers), np.int64)]
    return [np.asarray(numbers, np.int64)]


def _fix_shape(node: ir.Node) -> bool:
    """Makes a computed shape constant, where what is inferred of the result says it all."""
    wanted = operand(node, 1)
    if wanted is None or constant(wanted) is not None or integer(node, "allowzero", 0):
        return False
    source, target = dims(node.inputs[0]), dims(node.outputs[0])
    if source is None or target is None or node.graph is None:
        return False
    fixed = reshape_target(tuple(source), tuple(target))
    if fixed is None:
        return False
    node.replace_input_with(
        1, add_constant(node.graph, f"{node.outputs[0].name}_shape", np.asarray(fixed, np.int64))
    )
    _remove_chain(node.graph, wanted)
    return True


def _remove_chain(graph: ir.Graph, value: ir.Value) -> None:
    """Removes the producers of ``value`` as far as nothing else reads them."""
    pending = [value]
    while pending:
        current = pending.pop()
        node = current.producer()
        if node is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        pending.extend(v for v in node.inputs if v is not None)
        graph.remove(node, safe=True)


def _become_initializers(node: ir.Node, arrays: list[NDArray[Any]]) -> None:
    graph = node.graph
    if graph is None:
        return
    live = [
        (output, array)
        for output, array in zip(node.outputs, arrays, strict=False)
        if output.uses() or output.is_graph_output()
    ]
    for output, array in live:
        name = str(output.name)
        output.name = f"{name}_folded"
        value = constant_value(name, array)
        for index, found in enumerate(graph.outputs):
            if found is output:
                graph.outputs[index] = value
        output.replace_all_uses_with(value)
        graph.register_initializer(value)
    graph.remove(node, safe=True)
