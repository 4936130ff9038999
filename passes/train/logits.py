"""Where the numbers that a loss reads come from: the last accumulator behind a model's output.

int8 logits are too coarse for the sign of a difference of losses: the accumulator of the last layer
is rescaled once more, to int32 and a scale of the loss's own. Where the output comes from something
else than a product (a pooled tensor, say), or a Relu or Clip is fused into it, its own integers are
rescaled.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError, Refusal, UnsupportedError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.provenance import source_name
from intaglio.transforms.forward_gradient.specification import StepSpecification
from intaglio.transforms.scales import TensorQuantization

#: Operators between the rescale and the output that move values only.
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})

_PRODUCTS = frozenset(
    {
        "ConvInteger",
        "ConvInteger16",
        "ConvInteger8By16",
        "ConvTransposeInteger",
        "ConvTransposeInteger16",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulInteger8By16",
    }
)

_RESCALES = ("RescaleDouble", "RescaleSingle", "RescaleWide", "RescaleReal")


@dataclasses.dataclass(frozen=True)
class Logits:
    """What the loss's numbers are rescaled from.

    Attributes:
        source: Accumulator, or quantized tensor.
        scale: Real value of one step of it; one a channel where it has the shape of the channels.
        zero_point: Of a quantized tensor; 0 for an accumulator.
        output_scale: Scale of the model's output in front of a Softmax.
        wide: Whether the numbers need more than 32 bits.
        moves: Nodes that lie between it and the output, and only move values; in order.
    """

    source: ir.Value
    scale: NDArray[np.float64]
    zero_point: int
    output_scale: float
    wide: bool
    moves: tuple[ir.Node, ...]


def find_logits(model: ir.Model) -> Logits:
    """Looks behind the output of an integer graph.

    Raises:
        UnsupportedError: It has several outputs, or one that is not in integers.
        InternalError: Lowering left no note of what the integers mean.
    """
    value, moves = _behind_moves(_output(model))
    rescale = value.producer()
    if rescale is not None and rescale.op_type in _RESCALES and rescale.domain == DOMAIN:
        found = None if _is_clamped(rescale) else _product(_input(rescale, 0))
        if found is not None:
            return _accumulator(rescale, found, value, moves)
    quantization = _quantization(value)
    scale = np.asarray(quantization.scale[0], np.float64)
    return Logits(
        value, scale, quantization.zero_point[0], quantization.scale[0], False, tuple(moves)
    )


def logit_scale(specification: StepSpecification, output_scale: float) -> float:
    """Real value of one step of the numbers that the loss reads, where nothing states it.

    ``ln(2) / 2^bits`` for the cross-entropy: base-2 logits. A 16th of the output's own scale for
    the squared error.
    """
    if specification.logit_scale:
        return specification.logit_scale
    if specification.loss == "cross-entropy":
        return math.log(2.0) / 2.0**specification.loss_bits
    return output_scale / 16.0


def _output(model: ir.Model) -> ir.Value:
    outputs = list(model.graph.outputs)
    if len(outputs) != 1:
        names = ", ".join(str(value.name) for value in outputs)
        raise UnsupportedError(
            f"the model has {len(outputs)} outputs ({names}), and a loss reads one",
            remedy="keep one output, that of the logits",
        )
    if outputs[0].dtype not in (ir.DataType.INT8, ir.DataType.INT16):
        raise UnsupportedError(
            f"output '{outputs[0].name}' is not in integers", remedy="leave io at integer"
        )
    return outputs[0]


def _behind_moves(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """The value behind moves and one final Softmax, and the moves in order."""
    moves: list[ir.Node] = []
    softmax = False
    while (node := value.producer()) is not None:
        is_softmax = node.op_type.startswith("SoftmaxInteger") and node.domain == DOMAIN
        if is_softmax and not softmax:
            softmax = True
        elif node.op_type in _MOVES and node.domain == "":
            moves.append(node)
        else:
            break
        value = _input(node, 0)
    return value, moves[::-1]


def _is_clamped(rescale: ir.Node) -> bool:
    """Whether a Relu or Clip is part of a rescale."""
    low, high = (constant(_input(rescale, index)) for index in (4, 5))
    dtype = rescale.outputs[0].dtype
    if low is None or high is None or dtype is None:
        return True
    ends = np.iinfo(dtype.numpy())
    return bool(low.min() > ends.min or high.max() < ends.max)


def _product(value: ir.Value) -> ir.Node | None:
    """The product behind an accumulator, through its bias and casts."""
    node = value.producer()
    while node is not None and node.op_type not in _PRODUCTS:
        if node.op_type not in ("Add", "Cast") or node.domain != "":
            return None
        node = _input(node, 0).producer()
    return node


def _accumulator(
    rescale: ir.Node, product: ir.Node, value: ir.Value, moves: list[ir.Node]
) -> Logits:
    data = _quantization(_input(product, 0))
    weight = _quantization(_input(product, 1))
    scale = data.scale[0] * np.asarray(weight.scale, np.float64)
    if weight.per_channel:
        multiplier = constant(_input(rescale, 1))
        if multiplier is None:
            raise InternalError(f"the multiplier of '{rescale.name}' is no constant")
        scale = scale.reshape(multiplier.shape)
    else:
        scale = scale.reshape(())
    output_scale = _quantization(value).scale[0]
    wide = rescale.op_type == "RescaleWide"
    return Logits(_input(rescale, 0), scale, 0, output_scale, wide, tuple(moves))


def _quantization(value: ir.Value) -> TensorQuantization:
    """What the integers of a value mean; moved values mean what they did before."""
    current: ir.Value | None = value
    while current is not None:
        found = get_quantization(current)
        if found is not None:
            return found
        node = current.producer()
        current = None if node is None or node.domain == DOMAIN else node.inputs[0]
    raise InternalError(f"no quantization is noted for '{value.name}'")


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise InternalError(f"input {index} of '{node.name}' is missing")
    return value


def require_rows(specification: StepSpecification, output: ir.Value) -> None:
    """Refuses a cross-entropy of an output that is no row of classes a sample.

    Raises:
        UnsupportedError: It has another rank than two.
    """
    rank = None if output.shape is None else len(output.shape)
    if specification.loss == "cross-entropy" and rank not in (None, 2):
        node = output.producer()
        reason = f"its {rank} dimensions are not [samples, classes]"
        raise UnsupportedError(
            "the cross-entropy needs a row of classes for each sample",
            [Refusal("" if node is None else source_name(node), "output", reason)],
            remedy="flatten the output, or train with loss = mean-squared-error",
        )
