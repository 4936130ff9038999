"""Every Rescale: the end of a convolution or a product, or a requantization where it is alone."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.accumulators import Accumulator, accumulator
from intaglio.targets.c.grouping.additive_tables import SUMS, read_additive
from intaglio.targets.c.grouping.convolutions import read_convolution, read_transposed
from intaglio.targets.c.grouping.products import read_product
from intaglio.targets.c.grouping.reader import Grouping, Reader
from intaglio.targets.c.grouping.stages import VARIANTS, output_stage
from intaglio.targets.c.grouping.trained import read_trained, read_trained_product
from intaglio.targets.c.network import Requantization
from intaglio.targets.integer_graph import required

_PRODUCTS = {
    **dict.fromkeys(("ConvInteger", "ConvInteger16"), read_convolution),
    **dict.fromkeys(("ConvTransposeInteger", "ConvTransposeInteger16"), read_transposed),
    **dict.fromkeys(("MatMulInteger", "MatMulInteger16", "MatMulInteger16By16"), read_product),
    "ConvInteger8By16": read_trained,
    "MatMulInteger8By16": read_trained_product,
    **dict.fromkeys(SUMS, read_additive),
}

#: The loss reads int32, which only kernels for trained weights give: others' weights are widened.
_FOR_A_LOSS = {
    **dict.fromkeys(("ConvInteger", "ConvInteger8By16"), read_trained),
    **dict.fromkeys(("MatMulInteger", "MatMulInteger8By16"), read_trained_product),
}
_LAST = "end the model in a convolution or a fully connected layer of 8-bit activations"


def _rescale(reader: Reader, node: ir.Node) -> None:
    sums = accumulator(reader, node.inputs[0])
    operator = "" if sums.product is None else sums.product.op_type
    biased = sums.bias is not None or sums.moving is not None
    if reader.has(sums.value) and not biased:
        _requantize(reader, node, sums, sums.value, 0)
    elif operator == "Sub" and not biased:
        _difference(reader, node, sums)
    elif operator in _PRODUCTS:
        reader_of = _FOR_A_LOSS if reader.is_for_loss(node.outputs[0]) else _PRODUCTS
        if operator not in reader_of:
            raise RefusedError(f"the loss reads the result of {operator}", _LAST)
        reader_of[operator](reader, node, sums)
    else:
        raise RefusedError(f"no C function rescales the result of {operator or 'an input'}")


def _difference(reader: Reader, node: ir.Node, sums: Accumulator) -> None:
    """The integers of a tensor less its zero point."""
    operands = [] if sums.product is None else list(sums.product.inputs)
    source, zero_point = required(operands[0]), reader.array(operands[1])
    if not reader.has(source) or zero_point is None or zero_point.size != 1:
        raise RefusedError("no C function rescales such a difference")
    _requantize(reader, node, sums, source, int(zero_point.reshape(-1)[0]))


def _requantize(
    reader: Reader, node: ir.Node, sums: Accumulator, source: ir.Value, zero_point: int
) -> None:
    tensor = reader.centered(source, zero_point)
    begun = reader.begin([tensor], reader.new(node.outputs[0]), *sums.nodes, node)
    reader.layers.append(Requantization(*begun, output_stage(reader, node, 1)))


def _magnitude(reader: Reader, node: ir.Node) -> None:
    tensor = reader.centered(node.inputs[0], 0)
    begun = reader.begin([tensor], reader.new(node.outputs[0]), node)
    reader.layers.append(Requantization(*begun, output_stage(reader, node, 1), magnitude=True))


GROUPINGS: dict[str, Grouping] = {
    **{f"Rescale{variant}": _rescale for variant in VARIANTS},
    "AbsDouble": _magnitude,
    "AbsSingle": _magnitude,
}
