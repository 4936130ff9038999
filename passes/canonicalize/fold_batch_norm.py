"""BatchNormalization in inference is one factor and one term a channel, and disappears.

``y = (x - mean) / sqrt(var + eps) * scale + b = x * s + t`` with ``s = scale / sqrt(var + eps)``
and ``t = b - mean * s``, computed in float64. In order of preference:

1. behind a Conv (depthwise and grouped too), ConvTranspose or Gemm that nothing else reads, into
   its weight and bias;
2. in front of a Conv without padding or a Gemm: ``w (x s + t) + b = (w s) x + (b + w t)``. With
   padding it is not the same, for the padded zeros would have to be ``-t / s``;
3. else it becomes a depthwise 1x1 Conv (4-D), or Mul and Add.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    bypass,
    constant,
    drop_unused_constants,
    integer,
    ints,
    is_standard,
    make_node,
    number,
    rank,
    remove_dead,
    replace_output,
    set_constant,
    text,
    used_once,
)
from intaglio.passes.canonicalize.fuse_bias import fuse_follower
from intaglio.passes.canonicalize.linear import absorb_affine, bias, is_linear
from intaglio.passes.operators import sole_consumer
from intaglio.passes.provenance import inherit_sources, source_name


class FoldBatchNorm(Pass):
    """Folds BatchNormalization into its neighbors."""

    name: ClassVar[str] = "canonicalize.fold_batch_norm"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Folds every BatchNormalization whose parameters are constants."""
        changes: list[Change] = []
        skips: list[Skip] = []
        graph = model.graph
        for node in list(graph):
            if node.graph is None or not is_standard(node, "BatchNormalization"):
                continue
            affine = _affine(node)
            if isinstance(affine, str):
                skips.append(Skip(source_name(node), f"BatchNormalization stays: {affine}"))
                continue
            _fold(graph, node, *affine, changes, skips)
        drop_unused_constants(graph)
        return outcome(model, changes, skips)


def _affine(node: ir.Node) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """Factor and term of each channel, or why they cannot be had."""
    if integer(node, "training_mode", 0):
        return "it is in training mode"
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return "its running statistics are outputs"
    arrays = [constant(value) for value in node.inputs[1:5]]
    known = [array.astype(np.float64).reshape(-1) for array in arrays if array is not None]
    if len(known) < 4:
        return "its parameters are not constants"
    scale, shift, mean, variance = known
    spread = variance + number(node, "epsilon", 1e-5)
    if not (spread > 0).all():
        return "its variance is not positive"
    factor = scale / np.sqrt(spread)
    return factor, shift - mean * factor


def _fold(
    graph: ir.Graph,
    node: ir.Node,
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    changes: list[Change],
    skips: list[Skip],
) -> None:
    name = source_name(node)
    _fuse_between(node, changes, skips)
    reason = _into_producer(node, scale, shift)
    if reason is None:
        changes.append(Change("fold_batch_norm", name, "BatchNormalization", "weight and bias"))
        return
    source = node.inputs[0]
    if source is None:
        return
    if _into_consumer(node, source, scale, shift) is None:
        changes.append(
            Change("fold_batch_norm", name, "BatchNormalization", "the next weight and bias")
        )
        return
    kind = _stand_alone(graph, node, source, scale, shift)
    changes.append(Change("fold_batch_norm", name, "BatchNormalization", kind, reason))


def _fuse_between(node: ir.Node, changes: list[Change], skips: list[Skip]) -> None:
    """A bias written as an Add between linear operator and normalization is fused first."""
    while True:
        source = node.inputs[0]
        middle = None if source is None else source.producer()
        if middle is None or not is_standard(middle, "Add", "Sub", "Mul", "Div"):
            return
        producers = [v.producer() for v in middle.inputs if v is not None]
        linear = next((p for p in producers if p is not None and is_linear(p)), None)
        if linear is None or not fuse_follower(linear, changes, skips):
            return


def _into_producer(
    node: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> str | None:
    """Folds into the linear operator before; gives the reason when it cannot."""
    source = node.inputs[0]
    producer = None if source is None else source.producer()
    if source is None or producer is None or not is_linear(producer):
        return "nothing linear is before it"
    if not used_once(source):
        return "what it normalizes is used elsewhere too"
    failed = absorb_affine(producer, scale, shift)
    if failed is None:
        bypass(node, source)  # only this node reads it, so the border cannot be in the way
    return failed


def _into_consumer(
    node: ir.Node, source: ir.Value, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> str | None:
    """Folds into the Conv or Gemm behind; gives the reason when it cannot."""
    consumer = sole_consumer(node.outputs[0])
    if consumer is None or not is_linear(consumer) or consumer.op_type == "ConvTranspose":
        return "nothing linear is behind it alone"
    if consumer.inputs[0] is not node.outputs[0]:
        return "it is not the data of what is behind it"
    if any(ints(consumer, "pads") or []) or text(consumer, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    ):
        return "padding is between"
    weight, old = constant(consumer.inputs[1]), bias(consumer)
    if weight is None or old is None or weight.dtype.kind != "f":
        return "the weight behind it is not a constant"
    wide = weight.astype(np.float64)
    group = integer(consumer, "group", 1)
    # Input channel of weight[o, i] is (o // (out / group)) * (in / group) + i.
    block = np.arange(weight.shape[0]) // (weight.shape[0] // group)
    channel = block[:, None] * weight.shape[1] + np.arange(weight.shape[1])[None, :]
    ones = (1,) * (weight.ndim - 2)
    scaled = wide * scale[channel].reshape(channel.shape + ones)
    added = (wide * shift[channel].reshape(channel.shape + ones)).reshape(len(old), -1).sum(1)
    narrowed = (old + added).astype(weight.dtype)
    if not (np.isfinite(scaled.astype(weight.dtype)).all() and np.isfinite(narrowed).all()):
        return "the result would not be finite"
    set_constant(consumer, 1, scaled.astype(weight.dtype), f"{consumer.name}_weight")
    set_constant(consumer, 2, narrowed, f"{consumer.name}_bias")
    bypass(node, source)
    inherit_sources([consumer], [node])
    return None


def _stand_alone(
    graph: ir.Graph,
    node: ir.Node,
    source: ir.Value,
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> str:
    output, name = node.outputs[0], str(node.name)
    axes = rank(source)
    kind = np.float32 if source.dtype is None else source.dtype.numpy()
    if axes == 4:
        weight = add_constant(graph, f"{name}_weight", scale.astype(kind).reshape(-1, 1, 1, 1))
        term = add_constant(graph, f"{name}_bias", shift.astype(kind))
        new = [
            make_node(
                "Conv",
                [source, weight, term],
                output,
                name=name,
                attributes={
                    "dilations": [1, 1],
                    "group": len(scale),
                    "kernel_shape": [1, 1],
                    "pads": [0, 0, 0, 0],
                    "strides": [1, 1],
                },
            )
        ]
        described = "depthwise 1x1 Conv"
    else:
        shape = (-1,) + (1,) * ((axes or 2) - 2)
        factor = add_constant(graph, f"{name}_scale", scale.astype(kind).reshape(shape))
        term = add_constant(graph, f"{name}_shift", shift.astype(kind).reshape(shape))
        product = make_node("Mul", [source, factor], output, name=f"{name}_mul")
        new = [product, make_node("Add", [product.outputs[0], term], output, name=name)]
        described = "Mul + Add"
    inherit_sources(new, [node])
    graph.insert_before(node, new)
    replace_output(output, new[-1].outputs[0])
    remove_dead(graph, [node])
    return described
