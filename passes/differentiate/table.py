"""Which operator has which gradient rule, and why others have none."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from intaglio.passes.differentiate import (
    rules_activations,
    rules_binary,
    rules_convolution,
    rules_normalization,
    rules_picking,
    rules_pooling,
    rules_products,
    rules_reductions,
    rules_resize,
    rules_shapes,
)
from intaglio.passes.differentiate.context import Rule


@dataclasses.dataclass(frozen=True)
class Entry:
    """A rule, and the inputs that it has gradients for (None: all of them)."""

    rule: Rule
    inputs: tuple[int, ...] | None = None


RULES: dict[str, Entry] = {
    "Abs": Entry(rules_activations.absolute),
    "Add": Entry(rules_binary.add),
    "AveragePool": Entry(rules_pooling.average_pool),
    "BatchNormalization": Entry(rules_normalization.batch_normalization, (0, 1, 2)),
    "Cast": Entry(rules_shapes.cast),
    "Celu": Entry(rules_activations.celu),
    "Clip": Entry(rules_activations.clip, (0,)),
    "Concat": Entry(rules_shapes.concat),
    "Conv": Entry(rules_convolution.convolution),
    "ConvTranspose": Entry(rules_convolution.transposed_convolution),
    "Cos": Entry(rules_activations.cosine),
    "DepthToSpace": Entry(rules_shapes.depth_to_space),
    "Div": Entry(rules_binary.divide),
    "Dropout": Entry(rules_shapes.dropout, (0,)),
    "Elu": Entry(rules_activations.elu),
    "Erf": Entry(rules_activations.error_function),
    "Exp": Entry(rules_activations.exponential),
    "Expand": Entry(rules_shapes.expand, (0,)),
    "Flatten": Entry(rules_shapes.reshape),
    "Gather": Entry(rules_picking.pick, (0,)),
    "Gelu": Entry(rules_activations.gelu),
    "Gemm": Entry(rules_products.gemm),
    "GlobalAveragePool": Entry(rules_reductions.global_average),
    "GlobalMaxPool": Entry(rules_reductions.global_maximum),
    "HardSigmoid": Entry(rules_activations.hard_sigmoid),
    "HardSwish": Entry(rules_activations.hard_swish),
    "Identity": Entry(rules_shapes.same),
    "LeakyRelu": Entry(rules_activations.leaky_relu),
    "Log": Entry(rules_activations.logarithm),
    "LogSoftmax": Entry(rules_normalization.log_softmax),
    "MatMul": Entry(rules_products.matmul),
    "Max": Entry(rules_binary.extreme),
    "MaxPool": Entry(rules_pooling.max_pool),
    "Min": Entry(rules_binary.extreme),
    "Mish": Entry(rules_activations.mish),
    "Mul": Entry(rules_binary.multiply),
    "Neg": Entry(rules_activations.negative),
    "PRelu": Entry(rules_binary.prelu),
    "Pad": Entry(rules_picking.pad, (0,)),
    "Pow": Entry(rules_binary.power, (0,)),
    "Reciprocal": Entry(rules_activations.reciprocal),
    "ReduceMax": Entry(rules_reductions.reduce_extreme),
    "ReduceMean": Entry(rules_reductions.reduce_mean),
    "ReduceMin": Entry(rules_reductions.reduce_extreme),
    "ReduceSum": Entry(rules_reductions.reduce_sum),
    "Relu": Entry(rules_activations.relu),
    "Reshape": Entry(rules_shapes.reshape, (0,)),
    "Resize": Entry(rules_resize.resize, (0,)),
    "Selu": Entry(rules_activations.selu),
    "Sigmoid": Entry(rules_activations.sigmoid),
    "Sin": Entry(rules_activations.sine),
    "Slice": Entry(rules_picking.slice_, (0,)),
    "Softmax": Entry(rules_normalization.softmax),
    "Softplus": Entry(rules_activations.softplus),
    "Softsign": Entry(rules_activations.softsign),
    "SpaceToDepth": Entry(rules_shapes.space_to_depth),
    "Split": Entry(rules_shapes.split, (0,)),
    "Sqrt": Entry(rules_activations.square_root),
    "Squeeze": Entry(rules_shapes.reshape, (0,)),
    "Sub": Entry(rules_binary.subtract),
    "Sum": Entry(rules_binary.add),
    "Tanh": Entry(rules_activations.tanh),
    "ThresholdedRelu": Entry(rules_activations.thresholded_relu),
    "Tile": Entry(rules_picking.pick, (0,)),
    "Transpose": Entry(rules_shapes.transpose),
    "Unsqueeze": Entry(rules_shapes.reshape, (0,)),
    "Where": Entry(rules_binary.choose, (1, 2)),
}

#: Operators that go up in steps: nothing can be learned through them.
STEPS = frozenset(
    {"Ceil", "DequantizeLinear", "Floor", "QuantizeLinear", "Round", "Sign", "ArgMax", "ArgMin"}
)


def entry_of(node: ir.Node) -> Entry | None:
    """The entry of the operator of ``node``, None if it has none."""
    return RULES.get(node.op_type) if _standard(node) else None


def _standard(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx")


def missing_reason(node: ir.Node) -> tuple[str, str]:
    """Why a node without an entry has no gradient, and what to do about it."""
    if not _standard(node):
        return (
            f"there is no gradient for operators of domain '{node.domain}'",
            "train layers behind it only (option trained), or replace it by standard operators",
        )
    if node.op_type in STEPS:
        return (
            "its slope is zero almost everywhere, so nothing can be learned through it",
            "train layers behind it only (option trained), or train the float model",
        )
    return (
        "there is no gradient rule for it",
        "train layers behind it only (option trained), or run the canonicalize passes before",
    )


def differentiable(node: ir.Node) -> list[ir.Value]:
    """The inputs of ``node`` that a gradient may reach; all of them where there is no rule."""
    entry = entry_of(node)
    wanted = range(len(node.inputs)) if entry is None or entry.inputs is None else entry.inputs
    return [
        value for index, value in enumerate(node.inputs) if index in wanted and value is not None
    ]
