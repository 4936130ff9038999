"""What kinds of operator there are, as quantization and lowering see them.

The quantized form puts QuantizeLinear/DequantizeLinear around *units*:

* a **kernel** (an operator with an accumulator that is rescaled), together with the Relu or Clip
  behind it, which costs nothing: it only narrows the clamp;
* an **element-wise region**: any sub-graph of element-wise operators with one tensor input, which
  is one look-up table;
* a **move**: an operator that only moves values, so input and output share scale and zero point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.transforms.logistic import INT16_OUTPUT_SCALE, LOGISTIC_OUTPUT, TANH_OUTPUT
from intaglio.transforms.softmax import OUTPUT_SCALE, OUTPUT_ZERO_POINT

#: Operators with a rescaled accumulator.
KERNELS = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "Add",
        "Sub",
        "Mul",
        "GlobalAveragePool",
        "ReduceMean",
        "ReduceSum",
        "PRelu",
        "Softmax",
    }
)

#: Kernels whose clamp can take a Relu or Clip.
CLAMPED_KERNELS = KERNELS - {"PRelu", "Softmax"}

#: Kernels with a weight as second and a bias as third input.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})

#: Operators that move values: one scale in and out.
MOVES = frozenset(
    {
        "AveragePool",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

#: Operators that pick values, of several tensors or over axes: one scale in and out.
EXTREMES = frozenset({"GlobalMaxPool", "Max", "Min", "ReduceMax", "ReduceMin"})

#: Element-wise functions of one tensor.
UNARY = frozenset(
    {
        "Abs",
        "Ceil",
        "Celu",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
    }
)

#: Element-wise functions of two tensors; in a region one may be a constant scalar.
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})

#: Outputs with a scale fixed by the TFLite int8 specification: (int8 scale, int8 zero point).
FIXED_INT8_OUTPUT = {
    "Softmax": (OUTPUT_SCALE, OUTPUT_ZERO_POINT),
    "Sigmoid": LOGISTIC_OUTPUT,
    "Tanh": TANH_OUTPUT,
}

#: Scale of the 16-bit results of the same operators; zero point 0.
FIXED_INT16_SCALE = INT16_OUTPUT_SCALE


def is_float(value: ir.Value | None) -> bool:
    """Whether ``value`` is a floating-point tensor."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def constant_array(value: ir.Value | None) -> NDArray[Any] | None:
    """The value of an initializer, None for anything computed."""
    if value is None or value.const_value is None or value.producer() is not None:
        return None
    array: NDArray[Any] = value.const_value.numpy()
    return array


def required_array(value: ir.Value | None) -> NDArray[Any]:
    """The value of an initializer that must be one.

    Raises:
        InternalError: It is computed.
    """
    array = constant_array(value)
    if array is None:
        raise InternalError(f"'{value.name if value else ''}' was taken for a constant")
    return array


def is_constant(value: ir.Value | None) -> bool:
    """Whether ``value`` is an initializer (and not also a graph input)."""
    return value is not None and value.is_initializer() and not value.is_graph_input()


def is_scalar_constant(value: ir.Value | None) -> bool:
    """Whether ``value`` is an initializer with exactly one element."""
    array = constant_array(value) if is_constant(value) else None
    return array is not None and array.size == 1


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """Inputs of ``node`` that are computed floating-point tensors."""
    return [v for v in node.inputs if v is not None and is_float(v) and not is_constant(v)]


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads ``value``, None if several do, or it is a graph output."""
    if value.is_graph_output():
        return None
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 else None


def is_elementwise(node: ir.Node) -> bool:
    """Whether ``node`` may be part of an element-wise region."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in UNARY:
        return all(is_constant(v) for v in node.inputs[1:] if v is not None)
    if node.op_type in BINARY and len(node.inputs) == 2:
        constants = [v for v in node.inputs if is_constant(v)]
        return all(is_scalar_constant(v) for v in constants) and keeps_rank(node, constants)
    return False


def keeps_rank(node: ir.Node, constants: Collection[ir.Value | None]) -> bool:
    """Whether no constant of ``node`` has more axes than its tensors: the result would, too."""
    result = node.outputs[0].shape
    tensors = [v.shape for v in node.inputs if v is not None and v not in constants]
    if result is None or any(shape is None for shape in tensors):
        return True
    return any(shape is not None and len(shape) == len(result) for shape in tensors)


def is_clamp(node: ir.Node) -> bool:
    """Whether ``node`` is a Relu, or a Clip with constant scalar bounds."""
    if node.op_type == "Relu":
        return True
    return node.op_type == "Clip" and all(
        v is None or is_scalar_constant(v) for v in node.inputs[1:]
    )


def clamp_bounds(node: ir.Node) -> tuple[float, float]:
    """Real bounds of a Relu or Clip."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [float("-inf"), float("inf")]
    for index in (1, 2):
        if index < len(node.inputs) and node.inputs[index] is not None:
            array = constant_array(node.inputs[index])
            if array is not None:
                bounds[index - 1] = float(array.reshape(-1)[0])
    # Where they cross, ONNX gives the upper one precedence.
    return min(bounds), bounds[1]


@dataclasses.dataclass
class Units:
    """Which values of a float graph stand between units.

    Attributes:
        points: Values that get a quantization, in graph order.
        fused: Clamp nodes that fold into the kernel before them, by the kernel's node.
        roots: For each value inside or at the end of an element-wise region: the region's input.
    """

    points: list[ir.Value]
    fused: dict[ir.Node, ir.Node]
    roots: dict[ir.Value, ir.Value]


def fusable_clamp(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that folds into kernel ``node``, or None."""
    if node.op_type not in CLAMPED_KERNELS or len(node.outputs) != 1:
        return None
    after = sole_consumer(node.outputs[0])
    if after is None or not is_clamp(after) or after.inputs[0] is not node.outputs[0]:
        return None
    return after


def find_units(graph: ir.Graph) -> Units:
    """Divides a canonical float graph into units.

    An element-wise operator belongs to the region of the only tensor it depends on. Its output is
    a quantization point only if something outside the region reads it.
    """
    fused: dict[ir.Node, ir.Node] = {}
    roots: dict[ir.Value, ir.Value] = {}
    clamps: set[ir.Node] = set()
    for node in graph:
        if node in clamps:
            continue
        if is_elementwise(node):
            sources = {roots.get(v, v) for v in data_inputs(node)}
            if len(sources) == 1:
                roots[node.outputs[0]] = sources.pop()
                continue
        clamp = fusable_clamp(node)
        if clamp is not None:
            fused[node] = clamp
            clamps.add(clamp)
    inside = {node.outputs[0] for node in fused}
    points: list[ir.Value] = [v for v in graph.inputs if is_float(v)]
    for value in _computed(graph):
        if value in inside:
            continue
        if value in roots and not _leaves_region(value, roots):
            continue
        points.append(value)
    return Units(points, fused, roots)


def _computed(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        for value in node.outputs:
            if is_float(value) and (value.uses() or value.is_graph_output()):
                yield value


def _leaves_region(value: ir.Value, roots: dict[ir.Value, ir.Value]) -> bool:
    if value.is_graph_output():
        return True
    root = roots[value]
    return any(roots.get(use.node.outputs[0]) is not root for use in value.uses())
