"""Gemm and MatMul with constant weights become one form: ``x @ w.T + b``, w of ``[out, in]``.

``Gemm(A, B, C) = alpha * A' @ B' + beta * C``. With B constant, alpha, beta and transB are
folded into the constants and transA becomes a Transpose. ``MatMul(x, W)`` of a 2-D x and a
constant 2-D W is a Gemm without bias. A Gemm whose B is computed is a MatMul, a scaling and an
Add, which is what it costs anyway.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import Change, Skip
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    fresh_name,
    integer,
    is_standard,
    make_node,
    number,
    operand,
    rank,
    remove_dead,
    replace_output,
    set_constant,
)
from intaglio.passes.canonicalize.linear import is_normal_gemm, output_channels
from intaglio.passes.provenance import inherit_sources, source_name


def normalize_gemms(graph: ir.Graph) -> tuple[list[Change], list[Skip]]:
    """Brings every Gemm, and MatMul by a constant matrix, to normal form."""
    changes: list[Change] = []
    skips: list[Skip] = []
    for node in list(graph):
        if is_standard(node, "MatMul"):
            _from_matmul(graph, node, changes, skips)
        elif is_standard(node, "Gemm"):
            if constant(node.inputs[1]) is None and not _dequantized(node.inputs[1]):
                _to_matmul(graph, node, changes)
            elif not is_normal_gemm(node) or not _has_vector_bias(node):
                _normalize(graph, node, changes, skips)
    return changes, skips


def _dequantized(value: ir.Value | None) -> bool:
    return value is not None and is_standard(value.producer(), "DequantizeLinear")


def _has_vector_bias(node: ir.Node) -> bool:
    value = operand(node, 2)
    array = constant(value)
    if value is None or _dequantized(value):
        return True
    return array is not None and array.shape == (output_channels(node),)


def _from_matmul(graph: ir.Graph, node: ir.Node, changes: list[Change], skips: list[Skip]) -> None:
    left, right = node.inputs
    weight = constant(right)
    if left is None or weight is None or weight.ndim != 2 or weight.dtype.kind != "f":
        return
    if rank(left) != 2:
        skips.append(
            Skip(source_name(node), f"MatMul stays: its left side has {rank(left)} dimensions")
        )
        return
    transposed = add_constant(graph, f"{right.name}_T" if right else "weight", weight.T)
    new = make_node(
        "Gemm",
        [left, transposed],
        node.outputs[0],
        name=str(node.name),
        attributes={"transB": 1},
    )
    _swap(graph, node, [new])
    changes.append(Change("to_gemm", source_name(new), "MatMul", "Gemm"))


def _normalize(graph: ir.Graph, node: ir.Node, changes: list[Change], skips: list[Skip]) -> None:
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype.kind != "f":
        skips.append(Skip(source_name(node), "Gemm stays: its weight is dequantized"))
        return
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    out = weight.shape[0] if integer(node, "transB", 0) else weight.shape[1]
    third = operand(node, 2)
    array = constant(third)
    later: ir.Value | None = None
    if third is not None and beta != 0.0:
        flat = array is not None and (array.size == 1 or array.shape[-1] == array.size == out)
        if array is not None and flat:
            wide = np.broadcast_to(array.reshape(-1).astype(np.float64) * beta, (out,))
            set_constant(node, 2, wide.astype(weight.dtype), f"{node.name}_bias")
        else:
            later = third
    if later is not None or beta == 0.0:
        node.resize_inputs(2)
    matrix = weight if integer(node, "transB", 0) else weight.T
    if alpha != 1.0:
        matrix = (matrix.astype(np.float64) * alpha).astype(weight.dtype)
    if matrix is not weight:
        set_constant(node, 1, matrix, f"{node.name}_weight")
    if integer(node, "transA", 0):
        left = node.inputs[0]
        if left is not None:
            turned = make_node(
                "Transpose",
                [left],
                left,
                name=f"{node.name}_transpose",
                attributes={"perm": [1, 0]},
                shape=_reversed(left),
            )
            turned.outputs[0].name = fresh_name(graph, f"{left.name}_T")
            inherit_sources([turned], [node])
            graph.insert_before(node, turned)
            node.replace_input_with(0, turned.outputs[0])
    for key in ("alpha", "beta", "transA", "transB"):
        node.attributes.pop(key, None)
    node.attributes.add(ir.AttrInt64("transB", 1))
    if later is not None:
        _add_later(graph, node, later, beta)
    changes.append(Change("normalize_gemm", source_name(node), "Gemm", "Gemm in normal form"))


def _reversed(value: ir.Value) -> ir.Shape | None:
    return None if value.shape is None else ir.Shape(list(reversed(list(value.shape))))


def _add_later(graph: ir.Graph, node: ir.Node, third: ir.Value, beta: float) -> None:
    """A bias that is no vector follows as an Add."""
    output = node.outputs[0]
    added = make_node("Add", [output, third], output, name=f"{node.name}_add")
    inherit_sources([added], [node])
    new: list[ir.Node] = []
    if beta != 1.0:
        factor = add_constant(graph, f"{node.name}_beta", np.asarray(beta, np.float32))
        scaled = make_node("Mul", [third, factor], third, name=f"{node.name}_scale")
        inherit_sources([scaled], [node])
        new.append(scaled)
        added.replace_input_with(1, scaled.outputs[0])
    graph.insert_after(node, [*new, added])
    added.replace_input_with(0, None)
    replace_output(output, added.outputs[0])
    output.name = fresh_name(graph, f"{added.outputs[0].name}_product")
    added.replace_input_with(0, output)


def _to_matmul(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    """A Gemm by a computed matrix, spelled out."""
    output, name = node.outputs[0], str(node.name)
    new: list[ir.Node] = []
    sides: list[ir.Value | None] = []
    for index, key in enumerate(("transA", "transB")):
        side = node.inputs[index]
        if side is not None and integer(node, key, 0):
            turned = make_node(
                "Transpose",
                [side],
                side,
                name=f"{name}_{key}",
                attributes={"perm": [1, 0]},
                shape=_reversed(side),
            )
            new.append(turned)
            side = turned.outputs[0]
        sides.append(side)
    new.append(make_node("MatMul", sides, output, name=name))
    for key, default in (("alpha", 1.0), ("beta", 1.0)):
        factor = number(node, key, default)
        third = operand(node, 2)
        if key == "beta":
            if third is None or factor == 0.0:
                continue
            product = new[-1].outputs[0]
            if factor != 1.0:
                scale = add_constant(graph, f"{name}_beta", np.asarray(factor, np.float32))
                new.append(make_node("Mul", [third, scale], third, name=f"{name}_scale"))
                third = new[-1].outputs[0]
            new.append(make_node("Add", [product, third], output, name=f"{name}_add"))
        elif factor != 1.0:
            scale = add_constant(graph, f"{name}_alpha", np.asarray(factor, np.float32))
            new.append(make_node("Mul", [new[-1].outputs[0], scale], output, name=f"{name}_alpha"))
    _swap(graph, node, new)
    changes.append(
        Change(
            "to_matmul",
            source_name(new[-1]),
            "Gemm",
            " + ".join(n.op_type for n in new),
            "its second matrix is computed",
        )
    )


def _swap(graph: ir.Graph, node: ir.Node, new: list[ir.Node]) -> None:
    inherit_sources(new, [node])
    graph.insert_before(node, new)
    replace_output(node.outputs[0], new[-1].outputs[0])
    remove_dead(graph, [node])


__all__ = ["normalize_gemms"]
