"""Windows of convolution and pooling with every number explicit.

``auto_pad`` becomes ``pads`` (formulas of the ONNX operator specification); ``kernel_shape``,
``strides``, ``dilations`` and ``group`` are written out; ``ceil_mode`` becomes padding at the
end where that is the same; ``count_include_pad`` becomes a Pad. With stride 1, SAME padding is
``(k - 1) * d`` whatever the size; with a larger stride the spatial size must be known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import Change, Skip
from intaglio.passes.canonicalize.editing import (
    add_constant,
    dims,
    fresh_name,
    integer,
    ints,
    is_standard,
    make_node,
    remove_dead,
    replace_output,
    static_dims,
    text,
)
from intaglio.passes.provenance import inherit_sources, source_name

_POOLS = ("AveragePool", "MaxPool", "LpPool")
_WINDOWED = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", *_POOLS)


def normalize_windows(graph: ir.Graph) -> tuple[list[Change], list[Skip]]:
    """Makes every window explicit, and full-size average pools of float models global.

    On integers the two are not the same: a mean is rescaled, an average of integers is rounded.
    """
    quantized = any(node.op_type == "DequantizeLinear" for node in graph)
    changes: list[Change] = []
    skips: list[Skip] = []
    for node in list(graph):
        if not is_standard(node, *_WINDOWED):
            continue
        before = str(dict(node.attributes))
        reason = _complete(node)
        if reason is not None:
            skips.append(Skip(source_name(node), reason))
            continue
        if str(dict(node.attributes)) != before:
            changes.append(
                Change("explicit_window", source_name(node), node.op_type, _described(node))
            )
        if is_standard(node, "AveragePool"):
            _count_padding(graph, node, changes)
            if _is_global(node) and not quantized:
                _make_global(graph, node, changes)
    return changes, skips


def _described(node: ir.Node) -> str:
    return f"{node.op_type} pads={ints(node, 'pads')}"


def _complete(node: ir.Node) -> str | None:
    kernel = ints(node, "kernel_shape")
    if kernel is None:
        index = 3 if node.op_type == "QLinearConv" else 1
        weight = None if node.op_type in _POOLS else static_dims(node.inputs[index])
        if weight is None:
            return f"{node.op_type}: its kernel size is not known"
        kernel = weight[2:]
    axes = len(kernel)
    strides = ints(node, "strides", [1] * axes) or []
    dilations = ints(node, "dilations", [1] * axes) or []
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if node.op_type == "ConvTranspose":
        pads = _transpose_pads(node, extents, strides)
    else:
        pads = _pads(node, extents, strides)
    if isinstance(pads, str):
        return pads
    _set(node, "kernel_shape", kernel)
    _set(node, "strides", strides)
    if node.op_type in ("AveragePool", "LpPool") and all(d == 1 for d in dilations):
        # onnxruntime's fused QLinearAveragePool has no such attribute and fails to load with it.
        node.attributes.pop("dilations", None)
    else:
        _set(node, "dilations", dilations)
    _set(node, "pads", pads)
    node.attributes.pop("auto_pad", None)
    if node.op_type not in _POOLS and "group" not in node.attributes:
        node.attributes.add(ir.AttrInt64("group", 1))
    if node.op_type in _POOLS:
        _floor_mode(node, extents, strides, pads)
    return None


def _set(node: ir.Node, name: str, values: list[int]) -> None:
    if ints(node, name) != values:
        node.attributes[name] = ir.AttrInt64s(name, values)


def _pads(node: ir.Node, extents: list[int], strides: list[int]) -> list[int] | str:
    """Begin pads of all axes, then end pads; or why they cannot be told."""
    axes = len(extents)
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        return ints(node, "pads", [0] * (2 * axes)) or []
    if mode == "VALID":
        return [0] * (2 * axes)
    sizes = (dims(node.inputs[0]) or [None] * (axes + 2))[2:]
    begins, ends = [], []
    for extent, stride, size in zip(extents, strides, sizes, strict=True):
        if stride == 1:
            total = extent - 1
        elif isinstance(size, int):
            outputs = -(-size // stride)
            total = max(0, (outputs - 1) * stride + extent - size)
        else:
            return (
                f"{node.op_type}: {mode} with stride {stride} needs a known size; "
                "fix it with --shape"
            )
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins + ends


def _transpose_pads(node: ir.Node, extents: list[int], strides: list[int]) -> list[int] | str:
    """Pads of ConvTranspose: ``out = stride * (in - 1) + output_padding + extent - pads``."""
    axes = len(extents)
    mode = text(node, "auto_pad", "NOTSET")
    shape = ints(node, "output_shape")
    extra = ints(node, "output_padding", [0] * axes) or []
    if shape is None and mode in ("NOTSET", "VALID"):
        return (ints(node, "pads") if mode == "NOTSET" else None) or [0] * (2 * axes)
    sizes = (dims(node.inputs[0]) or [None] * (axes + 2))[2:]
    wanted = [None] * axes if shape is None else shape[-axes:]
    begins, ends = [], []
    for axis, (extent, stride, size) in enumerate(zip(extents, strides, sizes, strict=True)):
        goal = wanted[axis]
        if goal is None:
            total = extent + extra[axis] - stride  # out = in * stride
        elif isinstance(size, int):
            total = stride * (size - 1) + extra[axis] + extent - goal
        else:
            return "ConvTranspose: output_shape needs a known input size; fix it with --shape"
        if total < 0:
            if extra[axis] - total >= stride:
                return "ConvTranspose: its output is larger than its kernel reaches"
            extra[axis] -= total
            total = 0
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    if any(extra):
        _set(node, "output_padding", extra)
    node.attributes.pop("output_shape", None)
    return begins + ends


def _floor_mode(node: ir.Node, extents: list[int], strides: list[int], pads: list[int]) -> None:
    """``ceil_mode`` as padding at the end; the padding does not count in an average."""
    if not integer(node, "ceil_mode", 0):
        return
    source, target = static_dims(node.inputs[0]), static_dims(node.outputs[0])
    if source is None or target is None:
        return
    axes = len(extents)
    ends = []
    for axis in range(axes):
        begin, end = pads[axis], pads[axes + axis]
        need = (target[axis + 2] - 1) * strides[axis] + extents[axis] - source[axis + 2] - begin
        if need > end and node.op_type == "AveragePool" and integer(node, "count_include_pad", 0):
            return
        if max(need, end) >= extents[axis]:
            return  # onnxruntime wants pads smaller than the kernel
        ends.append(max(need, end))
    _set(node, "pads", pads[:axes] + ends)
    node.attributes.pop("ceil_mode", None)


def _count_padding(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    """Padding that counts in the mean becomes a Pad of zeros, which integer kernels know too."""
    if not integer(node, "count_include_pad", 0) or integer(node, "ceil_mode", 0):
        return
    pads = ints(node, "pads") or []
    source = node.inputs[0]
    node.attributes.pop("count_include_pad")
    if any(pads) and source is not None and source.dtype is not None:
        axes = len(pads) // 2
        full = [0, 0, *pads[:axes], 0, 0, *pads[axes:]]
        parameter = add_constant(graph, f"{node.name}_pads", np.asarray(full, np.int64))
        zero = add_constant(graph, f"{node.name}_zero", np.zeros((), source.dtype.numpy()))
        sizes = dims(source) or []
        shape = ir.Shape(
            [
                dim + full[axis] + full[axis + len(sizes)]
                if isinstance(dim, int)
                else dim
                if not (full[axis] or full[axis + len(sizes)])
                else None
                for axis, dim in enumerate(sizes)
            ]
        )
        padded = make_node(
            "Pad", [source, parameter, zero], source, name=f"{node.name}_pad", shape=shape
        )
        padded.outputs[0].name = fresh_name(graph, f"{source.name}_padded")
        inherit_sources([padded], [node])
        graph.insert_before(node, padded)
        node.replace_input_with(0, padded.outputs[0])
        _set(node, "pads", [0] * len(pads))
    changes.append(Change("explicit_pad", source_name(node), "count_include_pad", "Pad"))


def _is_global(node: ir.Node) -> bool:
    shape = dims(node.inputs[0])
    kernel = ints(node, "kernel_shape")
    return (
        shape is not None
        and kernel == shape[2:]
        and not any(ints(node, "pads") or [])
        and all(d == 1 for d in ints(node, "dilations") or [])
    )


def _make_global(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    new = make_node("GlobalAveragePool", [node.inputs[0]], node.outputs[0], name=str(node.name))
    inherit_sources([new], [node])
    graph.insert_before(node, new)
    replace_output(node.outputs[0], new.outputs[0])
    remove_dead(graph, [node])
    changes.append(
        Change(
            "global_pool",
            source_name(new),
            "AveragePool",
            "GlobalAveragePool",
            "its window covers the whole extent",
        )
    )
