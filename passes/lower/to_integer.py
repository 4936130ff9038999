"""From the quantized form to a graph of integers alone.

Every QuantizeLinear asks for the integers of the float value it reads; the operator that made that
value (with its Relu or Clip, or the element-wise region behind a table) is lowered to standard
integer operators and functions of our dialect, in the arithmetic of the chosen profile. What has
no integer definition is refused by name, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from intaglio.errors import RecipeError, Refusal, UnsupportedError
from intaglio.passes.annotations import copy_layout, get_source_value
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.canonicalize.editing import needed_nodes
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.lower.arithmetic import (
    lower_add_sub,
    lower_extreme,
    lower_mean,
    lower_mul,
    lower_prelu,
    lower_reduced_extreme,
    lower_softmax,
)
from intaglio.passes.lower.builder import Builder, Quantized
from intaglio.passes.lower.convolutions import (
    lower_conv,
    lower_conv_transpose,
    lower_gemm,
    lower_matmul,
)
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.lower.moves import (
    lower_block_move,
    lower_concat,
    lower_global_max,
    lower_identity,
    lower_move,
    lower_pool_average,
    lower_pool_max,
    lower_split,
)
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.regions import lower_region
from intaglio.passes.lower.resize import lower_resize
from intaglio.passes.lower.unit import (
    UNBOUNDED,
    Lowering,
    Scope,
    Unit,
    has_kernel,
    read_quantization,
    require_kernel,
)
from intaglio.passes.marks import is_integer, mark_integer
from intaglio.passes.operators import (
    BINARY,
    CLAMPED_KERNELS,
    MOVES,
    UNARY,
    clamp_bounds,
    is_clamp,
    is_float,
    keeps_rank,
)
from intaglio.passes.provenance import source_name
from intaglio.passes.train.marks import trained_nodes
from intaglio.transforms.profiles import DEFAULT_PROFILE, get_profile
from intaglio.transforms.scales import TensorQuantization

LOWERINGS: Mapping[str, Lowering] = {
    **dict.fromkeys(MOVES, lower_move),
    "Add": lower_add_sub,
    "AveragePool": lower_pool_average,
    "Concat": lower_concat,
    "Conv": lower_conv,
    "DepthToSpace": lower_block_move,
    "SpaceToDepth": lower_block_move,
    "ConvTranspose": lower_conv_transpose,
    "Gemm": lower_gemm,
    "GlobalAveragePool": lower_mean,
    "GlobalMaxPool": lower_global_max,
    "Identity": lower_identity,
    "MatMul": lower_matmul,
    "Max": lower_extreme,
    "MaxPool": lower_pool_max,
    "Min": lower_extreme,
    "Mul": lower_mul,
    "PRelu": lower_prelu,
    "ReduceMax": lower_reduced_extreme,
    "ReduceMean": lower_mean,
    "ReduceMin": lower_reduced_extreme,
    "ReduceSum": lower_mean,
    "Resize": lower_resize,
    "Softmax": lower_softmax,
    "Split": lower_split,
    "Sub": lower_add_sub,
}


class ToIntegerConfig(PassConfig):
    """Options of :class:`ToInteger`.

    Attributes:
        profile: Arithmetic profile: ``tflm``, ``litert`` or ``tosa-single``.
        io: ``integer`` (inputs and outputs are integers; their scales are in the manifest) or
            ``float`` (QuantizeLinear and DequantizeLinear at the border).
    """

    profile: str = DEFAULT_PROFILE
    io: str = "integer"


class ToInteger(Pass):
    """Lowers the quantized form to the integer dialect."""

    name = "lower.to_integer"
    semantics = APPROXIMATE
    Config = ToIntegerConfig

    def call(self, model: ir.Model) -> Outcome:
        """Replaces the graph of ``model`` in place.

        Raises:
            RecipeError: Unknown profile or io.
            UnsupportedError: Some operator has no integer form; every one is listed.
        """
        if is_integer(model):
            return outcome(model, [], [Skip("", "the model is integer already")])
        if self.config.io not in ("integer", "float"):
            raise RecipeError(
                f"lower.to_integer.io is {self.config.io!r}", remedy="use integer or float"
            )
        try:
            profile = get_profile(self.config.profile)
        except ValueError as error:
            raise RecipeError(str(error)) from error
        builder = Builder(profile)
        driver = _Driver(model.graph, builder, self.config.io)
        changes = driver.run()
        driver.replace_graph()
        mark_integer(model, profile.name)
        add_functions(model)
        return outcome(model, changes, facts={"profile": profile.name, "nodes": len(model.graph)})

    def ensures(self, model: ir.Model) -> None:
        """Checks that no float tensor is left (but for the border with ``io=float``)."""
        offenders = find_float_tensors(model, border=self.config.io == "float")
        if offenders:
            shown = ", ".join(f"{tensor} ({node})" for tensor, node in offenders[:10])
            raise ir.passes.PostconditionError(f"float tensors are left: {shown}")


class _Driver:
    """Walks the quantized graph and lowers each unit once."""

    def __init__(self, graph: ir.Graph, builder: Builder, io: str) -> None:
        self.graph = graph
        self.builder = builder
        self.io = io
        self.scope = Scope(builder)
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self.refusals: list[Refusal] = []
        self.changes: list[Change] = []
        # Integers by the QuantizeLinear output they stand for, None where that is refused.
        self._quantized: dict[ir.Value, Quantized | None] = {}
        # The same by the float value and its quantization: a file may quantize a value twice.
        self._lowered: dict[tuple[ir.Value, TensorQuantization], Quantized] = {}
        # The operator that is being lowered: the one to name in a refusal.
        self._current: ir.Node | None = None

    def run(self) -> list[Change]:
        for name in dict.fromkeys(str(v.name) for v in (*self.graph.inputs, *self.graph.outputs)):
            self.builder.reserve(name)
        for _, trained in trained_nodes(self.graph):
            for name in trained.names:
                self.builder.promise(name, exactly=True)
        self._plain_inputs()
        for node in self.graph:
            if node.op_type == "QuantizeLinear":
                self._guard(node, self._quantize)
            elif node.op_type == "DequantizeLinear":
                self._guard(node, self._dequantize)
        for value in self.graph.outputs:
            self._output(value)
        self._check_inputs()
        if self.refusals:
            raise UnsupportedError("some operators have no integer form", self.refusals)
        return self.changes

    def _plain_inputs(self) -> None:
        """Inputs that are no reals (indices, say) stay as they are."""
        for value in self.graph.inputs:
            dequantized = any(u.node.op_type == "DequantizeLinear" for u in value.uses())
            if not is_float(value) and not dequantized:
                border = ir.Value(name=value.name, shape=value.shape, type=value.type)
                self.scope.give_plain(value, border)
                self.inputs.append(border)

    def _check_inputs(self) -> None:
        """Puts the inputs in the model's order; each must be there."""
        made = {value.name: value for value in self.inputs}
        for value in self.graph.inputs:
            if value.name not in made and not self.refusals:
                self.refusals.append(
                    Refusal(
                        str(value.name),
                        "input",
                        f"input '{value.name}' is not quantized",
                        "put a QuantizeLinear/DequantizeLinear pair behind it, or remove it",
                    )
                )
        order = {value.name: index for index, value in enumerate(self.graph.inputs)}
        self.inputs.sort(key=lambda value: order[value.name])

    def _guard(self, node: ir.Node, step: Callable[[ir.Node], None]) -> None:
        self._current = None
        try:
            step(node)
        except RefusedError as error:
            self.refusals.append(error.refusal(self._current or self._culprit(node)))

    def _culprit(self, node: ir.Node) -> ir.Node:
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        return producer if node.op_type == "QuantizeLinear" and producer is not None else node

    def _dequantize(self, node: ir.Node) -> None:
        codes = node.inputs[0]
        if codes is None or self.scope.constant(node.outputs[0]) is not None:
            return
        if codes in self._quantized:
            found = self._quantized[codes]
            quantization = read_quantization(node)
            require_kernel(quantization)
            differs = found is not None and found.quantization != quantization
            if differs and node.outputs[0].is_graph_output():
                raise RefusedError(
                    "its scale is not that of the QuantizeLinear before it",
                    "give both the same scale and zero point",
                )
            if found is not None:
                # Its scale may be another than that of the QuantizeLinear: the same integers,
                # read as other numbers.
                self.scope.known[node.outputs[0]] = Quantized(found.value, quantization)
            return
        if codes.is_graph_input():
            quantization = read_quantization(node)
            require_kernel(quantization)
            self._input(codes, quantization, node.outputs[0])
            return
        raise RefusedError(
            f"it reads '{codes.name}', which no QuantizeLinear made",
            "files with integer operators among QuantizeLinear pairs are not read",
        )

    def _quantize(self, node: ir.Node) -> None:
        value = node.inputs[0]
        assert value is not None
        # Unless it is lowered below, what depends on it is skipped: one refusal, not a cascade.
        self._quantized[node.outputs[0]] = None
        output = read_quantization(node)
        require_kernel(output)
        if value.is_graph_input():
            self._quantized[node.outputs[0]] = self._input(value, output, node.outputs[0])
            return
        if (value, output) in self._lowered:
            self._quantized[node.outputs[0]] = self._lowered[value, output]
            return
        stands_for = self._stands_for(node)
        self.builder.begin(_unit_nodes(value))
        if self._depends_on_refused(value):
            return
        if value in self.scope.known:
            known = self.scope.known[value]
            if known.quantization == output:
                self._quantized[node.outputs[0]] = known
                return
            name = self._promised_name(node, stands_for)
            result = self.builder.requantize(known, output, name, shape=value.shape)
        else:
            result = self._lower(value, output, self._promised_name(node, stands_for))
        noted = self.builder.note(result, output, stands_for)
        self._quantized[node.outputs[0]] = self._lowered[value, output] = noted

    def _depends_on_refused(self, value: ir.Value) -> bool:
        stack, seen = [value], {value}
        while stack:
            node = stack.pop().producer()
            if node is None:
                continue
            if node.op_type == "DequantizeLinear":
                codes = node.inputs[0]
                if codes in self._quantized and self._quantized[codes] is None:
                    return True
                continue
            for read in node.inputs:
                if read is not None and is_float(read) and read not in seen:
                    seen.add(read)
                    stack.append(read)
        return False

    def _lower(self, value: ir.Value, output: TensorQuantization, name: str) -> ir.Value:
        node = value.producer()
        if node is None:
            raise RefusedError(f"'{value.name}' is a constant output", "remove it from the model")
        clamp = UNBOUNDED
        behind = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if (
            is_clamp(node)
            and behind is not None
            and behind.op_type in CLAMPED_KERNELS
            and node.inputs[0] not in self.scope.known
            and (self._has_integer_operand(behind) or not self._is_region(behind))
        ):
            clamp, node = clamp_bounds(node), behind
        self._current = node
        index = node.outputs.index(value) if value in node.outputs else 0
        unit = Unit(node, index, clamp, output, name, value.shape, value)
        region = self._is_region(node) and not self._has_integer_operand(node)
        lowering = lower_region if region else LOWERINGS.get(node.op_type)
        if node.domain not in ("", "ai.onnx") or lowering is None:
            raise RefusedError(
                "it has no integer definition",
                "replace it in the model, or convert to onnx-qdq alone, where it stays in float",
            )
        result = lowering(self.scope, unit)
        self.changes.append(Change("lower", source_name(node), node.op_type, output.dtype))
        return result

    def _has_integer_operand(self, node: ir.Node) -> bool:
        """Whether ``node`` adds or multiplies a quantized tensor and a constant in integers.

        A file that states such a constant means the kernel of two tensors, not a table.
        """
        if node.op_type not in ("Add", "Sub", "Mul", "Max", "Min") or len(node.inputs) != 2:
            return False
        constants = [self.scope.constant(v) for v in node.inputs]
        computed = [v for v, c in zip(node.inputs, constants, strict=True) if c is None]
        stated = [c for c in constants if c is not None]
        return (
            len(computed) == 1
            and computed[0] in self.scope.known
            and stated[0].codes is not None
            and has_kernel(stated[0].quantization)
        )

    def _is_region(self, node: ir.Node) -> bool:
        """Whether ``node`` is element-wise in one tensor and constants that are scalars."""
        if node.op_type in UNARY:
            return all(v is None or self._is_scalar(v) for v in node.inputs[1:])
        if node.op_type not in BINARY or len(node.inputs) != 2:
            return False
        constants = [self.scope.constant(v) for v in node.inputs]
        if any(c is not None and c.real.size != 1 for c in constants):
            return False
        fixed = [v for v, c in zip(node.inputs, constants, strict=True) if c is not None]
        if not keeps_rank(node, fixed):
            return False
        roots = [v for v, c in zip(node.inputs, constants, strict=True) if c is None]
        return len({self._region_root(v) for v in roots}) == 1

    def _is_scalar(self, value: ir.Value) -> bool:
        constant = self.scope.constant(value)
        return constant is not None and constant.real.size == 1

    def _region_root(self, value: ir.Value | None) -> ir.Value | None:
        if value is None or value in self.scope.known:
            return value
        node = value.producer()
        if node is None or not self._is_region(node):
            return value
        inputs = list(node.inputs[: 1 if node.op_type in UNARY else 2])
        return next((self._region_root(v) for v in inputs if self.scope.constant(v) is None), value)

    def _stands_for(self, node: ir.Node) -> str:
        """Name of the float tensor that the integers of a QuantizeLinear stand for."""
        results = [use.node.outputs[0] for use in node.outputs[0].uses()]
        for result in results:
            stated = get_source_value(result)
            if stated is not None or result.is_graph_output():
                return stated or str(result.name)
        value = node.inputs[0]
        return str(value.name if value is not None else node.name)

    def _promised_name(self, node: ir.Node, source: str) -> str:
        """Name of the integers: that of what they stand for; outputs keep their own."""
        results = [use.node.outputs[0] for use in node.outputs[0].uses()]
        for result in (node.outputs[0], *results):
            if result.is_graph_output():
                if self.io == "float":
                    return self.builder.promise(f"{result.name}_quantized")
                return self.builder.promise(str(result.name), exactly=True)
        return self.builder.promise(source)

    def _input(
        self, value: ir.Value, quantization: TensorQuantization, result: ir.Value
    ) -> Quantized:
        name = str(value.name)
        if any(found.name == name for found in self.inputs):
            first = next(q for v, q in self.scope.known.items() if v is value)
            if first.quantization == quantization:
                return first
            self.builder.begin([])
            requantized = self.builder.requantize(
                first, quantization, f"{name}_requantized", shape=value.shape
            )
            return self.builder.note(requantized, quantization, name)
        self.builder.begin([])
        if self.io == "float":
            border = ir.Value(name=name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
            scale = self.builder.constant(quantization.scale[0], "float32", f"{name}_scale")
            zero_point = self.builder.constant(
                quantization.zero_point[0], quantization.dtype, f"{name}_zero_point"
            )
            [inner] = self.builder.op(
                "QuantizeLinear",
                [border, scale, zero_point],
                quantization.dtype,
                f"{name}_quantized",
                shape=value.shape,
            )
        else:
            dtype = ir.DataType.from_numpy(quantization.numpy_dtype)
            border = inner = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
        self.inputs.append(border)
        known = self.builder.note(inner, quantization, name)
        self.scope.known[value] = known
        self.scope.known[result] = known
        return known

    def _output(self, value: ir.Value) -> None:
        # The file may end with the integers themselves, without a DequantizeLinear.
        found = self.scope.known.get(value) or self._quantized.get(value)
        if found is None:
            producer = value.producer()
            if not self.refusals:
                self.refusals.append(
                    Refusal(
                        source_name(producer) if producer is not None else str(value.name),
                        producer.op_type if producer is not None else "output",
                        f"output '{value.name}' is not quantized",
                        "put a QuantizeLinear/DequantizeLinear pair before it",
                    )
                )
            return
        name = str(value.name)
        earlier = next((v for v in self.outputs if v.name == name), None)
        if earlier is None:
            earlier = self._border_output(value, name, found)
        self.outputs.append(earlier)

    def _border_output(self, value: ir.Value, name: str, found: Quantized) -> ir.Value:
        """The integers ``found`` as the output ``name`` of the graph."""
        builder, producer = self.builder, value.producer()
        if value.is_graph_input():
            return next(v for v in self.inputs if v.name == name)
        if self.io == "integer" and found.value.name == name:
            return found.value
        builder.begin([] if producer is None else [producer])
        name = builder.promise(name, exactly=True)
        if self.io == "float":
            scale = builder.constant(found.scale, "float32", f"{name}_scale")
            zero_point = builder.constant(found.zero_point, found.dtype, f"{name}_zero_point")
            inputs = [found.value, scale, zero_point]
            [result] = builder.op("DequantizeLinear", inputs, "float32", name, shape=value.shape)
            return result
        # The same integers under the output's own name (two outputs, or an input passed on).
        rank = len(value.shape) if value.shape is not None else 0
        keep = builder.constant([0] * rank, "int64", f"{name}_shape")
        [copy] = builder.op("Reshape", [found.value, keep], found.dtype, name, shape=value.shape)
        return builder.note(copy, found.quantization, name).value

    def replace_graph(self) -> None:
        graph = self.graph
        borders = zip((*graph.inputs, *graph.outputs), (*self.inputs, *self.outputs), strict=True)
        for old, new in borders:
            copy_layout(old, new)
        graph.outputs.clear()
        graph.remove(list(graph), safe=True)
        graph.inputs.clear()
        graph.initializers.clear()
        graph.inputs.extend(self.inputs)
        graph.extend(needed_nodes(self.builder.nodes, self.outputs))
        graph.outputs.extend(self.outputs)
        used = {v for node in graph for v in node.inputs if v is not None}
        for value in self.builder.initializers.values():
            if value in used:
                graph.register_initializer(value)


def _unit_nodes(value: ir.Value) -> list[ir.Node]:
    """The float operators between ``value`` and the DequantizeLinear nodes before it."""
    found: list[ir.Node] = []
    stack = [value]
    while stack:
        node = stack.pop().producer()
        if node is None or node.op_type == "DequantizeLinear" or node in found:
            continue
        found.append(node)
        stack.extend(v for v in node.inputs if v is not None and is_float(v))
    return found[::-1]
