"""One way to write each operator, so that later passes know one form.

* windows explicit: no ``auto_pad``, see ``normalize_windows``;
* one-dimensional windows become two-dimensional, see ``lift_one_dimension``;
* Gemm normal form and MatMul by a constant matrix, see ``normalize_gemm``;
* activations that exporters take apart are put together again: HardSwish, HardSigmoid, Gelu,
  see ``recompose_activations``;
* ``Sum`` becomes ``Add``; ``Split`` has its sizes; axes are not negative; infinite bounds of
  ``Clip`` are left out.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    drop_unused_constants,
    integer,
    is_standard,
    make_node,
    operand,
    rank,
    remove_dead,
    replace_output,
    static_dims,
)
from intaglio.passes.canonicalize.lift_one_dimension import lift_one_dimension
from intaglio.passes.canonicalize.normalize_gemm import normalize_gemms
from intaglio.passes.canonicalize.normalize_windows import normalize_windows
from intaglio.passes.canonicalize.recompose_activations import activation_rules
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.passes.rewriting import apply_rules

_AXIS = ("Concat", "Softmax", "LogSoftmax", "Split", "Gather", "Flatten")


class NormalizeOperators(Pass):
    """Brings operators to one form each."""

    name: ClassVar[str] = "canonicalize.normalize_operators"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Normalizes every operator that has more than one form."""
        changes: list[Change] = []
        skips: list[Skip] = []
        graph = model.graph
        for node in list(graph):
            _normalize(graph, node, changes)
        done, left = apply_rules(model, activation_rules())
        changes += done
        skips += left
        for step in (normalize_windows, lift_one_dimension, normalize_gemms):
            done, left = step(graph)
            changes += done
            skips += left
        drop_unused_constants(graph)
        return outcome(model, changes, skips)


def _normalize(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    if is_standard(node, *_AXIS):
        _positive_axis(node, changes)
    if is_standard(node, "Squeeze", "Unsqueeze", "ReduceMean", "ReduceSum", "ReduceMax"):
        _positive_axes(graph, node, changes)
    if is_standard(node, "Split"):
        _split_sizes(graph, node, changes)
    elif is_standard(node, "Clip"):
        _drop_infinite_bounds(node, changes)
    elif is_standard(node, "Sum"):
        _sum_to_add(graph, node, changes)


def _positive_axis(node: ir.Node, changes: list[Change]) -> None:
    default = {"Concat": 0, "Split": 0, "Gather": 0, "Flatten": 1}.get(node.op_type, -1)
    axis, axes = integer(node, "axis", default), rank(node.inputs[0])
    if axis >= 0 or axes is None:
        return
    node.attributes["axis"] = ir.AttrInt64("axis", axis + axes)
    changes.append(Change("positive_axis", source_name(node), str(axis), str(axis + axes)))


def _positive_axes(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    value = operand(node, 1)
    array = constant(value)
    # Axes of Unsqueeze count in its output.
    axes = rank(node.outputs[0] if node.op_type == "Unsqueeze" else node.inputs[0])
    if array is None or axes is None or (array >= 0).all():
        return
    positive = np.sort(np.where(array < 0, array + axes, array).reshape(-1)).astype(np.int64)
    node.replace_input_with(1, add_constant(graph, f"{node.name}_axes", positive))
    changes.append(
        Change("positive_axis", source_name(node), str(array.tolist()), str(positive.tolist()))
    )


def _split_sizes(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    if operand(node, 1) is not None:
        return
    shapes = [static_dims(output) for output in node.outputs]
    axis = integer(node, "axis", 0)
    if any(shape is None for shape in shapes):
        source = node.inputs[0].shape if node.inputs[0] is not None else None
        total = source[axis] if source is not None else None
        if not isinstance(total, int):
            return
        count = len(node.outputs)
        size = -(-total // count)
        sizes = [size] * (count - 1) + [total - size * (count - 1)]
    else:
        sizes = [shape[axis] for shape in shapes if shape is not None]
    node.attributes.pop("num_outputs", None)
    if len(node.inputs) < 2:
        node.resize_inputs(2)
    node.replace_input_with(
        1, add_constant(graph, f"{node.name}_sizes", np.asarray(sizes, np.int64))
    )
    changes.append(Change("split_sizes", source_name(node), "equal parts", str(sizes)))


def _drop_infinite_bounds(node: ir.Node, changes: list[Change]) -> None:
    for index, sign in ((1, -1.0), (2, 1.0)):
        array = constant(operand(node, index))
        if array is None or array.dtype.kind != "f" or array.size != 1:
            continue
        limit = float(np.finfo(array.dtype).max)
        if float(array.reshape(())) * sign >= limit:
            node.replace_input_with(index, None)
            changes.append(Change("open_bound", source_name(node), "infinite", "absent"))


def _broadcast(first: ir.Shape | None, second: ir.Shape | None) -> ir.Shape | None:
    """The shape of an element-wise result, None where it is not known."""
    if first is None or second is None:
        return None
    sizes = []
    for pair in itertools.zip_longest(reversed(list(first)), reversed(list(second)), fillvalue=1):
        wide = [size for size in dict.fromkeys(pair) if size != 1]
        if len(wide) > 1:
            return None
        sizes.append(wide[0] if wide else 1)
    return ir.Shape(sizes[::-1])


def _sum_to_add(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    terms = [value for value in node.inputs if value is not None]
    if len(terms) < 2:
        return
    output = node.outputs[0]
    new: list[ir.Node] = []
    left = terms[0]
    for index, term in enumerate(terms[1:]):
        name = str(node.name) if index == len(terms) - 2 else f"{node.name}_{index}"
        added = make_node("Add", [left, term], output, name=name)
        # What is added so far may be smaller than the whole sum.
        added.outputs[0].shape = _broadcast(left.shape, term.shape)
        new.append(added)
        left = added.outputs[0]
    new[-1].outputs[0].shape = output.shape
    inherit_sources(new, [node])
    graph.insert_before(node, new)
    replace_output(output, new[-1].outputs[0])
    remove_dead(graph, [node])
    changes.append(Change("sum_to_add", source_name(new[-1]), "Sum", "Add"))
