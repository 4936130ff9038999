"""Random integer graphs with what table layers meet: convolutions, matrices, tables, rescales."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import set_quantization
from intaglio.passes.canonicalize.editing import constant_value
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.marks import mark_integer
from intaglio.passes.provenance import stamp_sources
from intaglio.transforms.fixed_point import quantize_multiplier
from intaglio.transforms.scales import TensorQuantization
from tests.helpers import run_float


class Maker:
    """Builds one integer graph, value by value.

    Args:
        seed: Of the random numbers.
        shape: Of the input ``x``, int8.
    """

    def __init__(self, seed, shape):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0
        self.input = self.typed("x", "int8", shape)
        self.value = self.input

    def integer(self, low, high):
        """Any of ``low .. high``."""
        return int(self.random.integers(low, high, endpoint=True))

    def typed(self, name, dtype, shape, zero_point=0):
        """A value with type, shape and, for int8, a quantization."""
        kind = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
        value = ir.Value(name=name, type=kind, shape=ir.Shape(list(shape)))
        if dtype == "int8":
            set_quantization(value, TensorQuantization("int8", (1.0,), (zero_point,)))
        return value

    def constant(self, array, dtype):
        """An initializer."""
        self.count += 1
        value = constant_value(f"c{self.count}", np.asarray(array, dtype))
        self.constants.append(value)
        return value

    def node(self, operator, inputs, dtype, shape, domain="", **attributes):
        """Appends a node; its output is the graph's value from now on."""
        self.count += 1
        attrs = [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()]
        name = f"{operator}{self.count}"
        node = ir.Node(domain, operator, inputs, attrs, num_outputs=1, name=name)
        made = self.typed(name, dtype, shape)
        output = node.outputs[0]
        output.name, output.type, output.shape = made.name, made.type, made.shape
        output.metadata_props.update(made.metadata_props)
        self.nodes.append(node)
        self.value = output
        return output

    def zero_point(self):
        """Any, the rails among them."""
        return [-128, 127, 0, self.integer(-128, 127)][self.integer(0, 3)]

    def weights(self, shape):
        """Any int8 numbers, on the rails only, or mostly 0."""
        kind = self.integer(0, 2)
        if kind == 0:
            return self.random.choice(np.array([-128, 127], np.int8), shape)
        full = self.random.integers(-128, 127, shape, endpoint=True).astype(np.int8)
        return full if kind == 1 else full * (self.random.random(shape) < 0.3)

    def convolution(self, outputs, kernel, strides, dilations, pads, group=1, zero_point=None):
        """ConvInteger on the value."""
        source = self.value
        batch, channels, *image = source.shape
        weights = self.weights((outputs, channels // group, *kernel)).astype(np.int8)
        zero_point = self.zero_point() if zero_point is None else zero_point
        set_quantization(source, TensorQuantization("int8", (1.0,), (zero_point,)))
        sizes = [
            (image[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) // strides[i]
            + 1
            for i in (0, 1)
        ]
        inputs = [source, self.constant(weights, np.int8), self.constant(zero_point, np.int8)]
        return self.node(
            "ConvInteger", inputs, "int32", (batch, outputs, *sizes), strides=list(strides),
            dilations=list(dilations), pads=list(pads), group=group, kernel_shape=list(kernel),
        )  # fmt: skip

    def matrix(self, outputs):
        """MatMulInteger on the value."""
        source = self.value
        weights = self.weights((source.shape[-1], outputs)).astype(np.int8)
        zero_point = self.zero_point()
        set_quantization(source, TensorQuantization("int8", (1.0,), (zero_point,)))
        inputs = [source, self.constant(weights, np.int8), self.constant(zero_point, np.int8)]
        return self.node("MatMulInteger", inputs, "int32", (*source.shape[:-1], outputs))

    def finish(self, *, per_channel=True, largest=None, clamp=(-128, 127)):
        """A bias and a rescale of the sums to about all of int8; at times to little of it."""
        sums = self.value
        rank = len(sums.shape)
        axis = 1 if self.nodes[-1].op_type == "ConvInteger" else rank - 1
        channels = sums.shape[axis]
        shape = [channels if a == axis else 1 for a in range(axis, rank)]
        bias = self.random.integers(-5000, 5000, channels)
        self.node("Add", [sums, self.constant(bias.reshape(shape), np.int32)], "int32", sums.shape)
        largest = largest or 10 ** self.random.uniform(2, 6)
        size = channels if per_channel else 1
        scale = self.random.uniform(0.5, 2, size) * 128 / largest
        fixed = quantize_multiplier(scale)
        spread = shape if per_channel else []
        parameters = [
            self.constant(fixed.multiplier.reshape(spread), np.int32),
            self.constant(fixed.shift.reshape(spread), np.int8),
            *(self.constant(v, np.int32) for v in (self.integer(-20, 20), *clamp)),
        ]
        return self.node(
            "RescaleDouble", [self.value, *parameters], "int8", sums.shape, DOMAIN, to=3
        )

    def table(self, entries=None, channels=0):
        """A table, or one for each channel."""
        shape = (channels, 256) if channels else (256,)
        if entries is None:
            entries = self.random.integers(-128, 127, shape, endpoint=True)
        name = "TableChannelwise" if channels else "Table"
        inputs = [self.value, self.constant(entries, np.int8)]
        return self.node(name, inputs, "int8", self.value.shape, DOMAIN)

    def requantized(self, zero_point, scale):
        """``Rescale(Cast(x) - zero_point)`` of the value."""
        shape = self.value.shape
        wide = self.node("Cast", [self.value], "int32", shape, to=6)
        self.node("Sub", [wide, self.constant(zero_point, np.int32)], "int32", shape)
        fixed = quantize_multiplier(np.float64(scale))
        numbers = [self.constant(v, np.int32) for v in (self.integer(-9, 9), -128, 127)]
        parameters = [
            self.constant(fixed.multiplier, np.int32),
            self.constant(fixed.shift, np.int8),
        ]
        inputs = [self.value, *parameters, *numbers]
        return self.node("RescaleDouble", inputs, "int8", shape, DOMAIN, to=3)

    def model(self, *outputs):
        """The model; its output is the value, and others."""
        graph = ir.Graph(
            [self.input], [self.value, *outputs], nodes=self.nodes,
            initializers=self.constants, opset_imports={"": 21}, name="graph",
        )  # fmt: skip
        model = ir.Model(graph, ir_version=10)
        stamp_sources(model)
        add_functions(model)
        mark_integer(model, "tflm")
        return model


def random_convolution(seed):
    """A model of one convolution: odd shapes, windows, groups, zero points."""
    some = np.random.default_rng(seed)
    group = int(some.choice([1, 1, 2, 3]))
    depth = int(some.integers(1, 5))
    channels = group * depth
    outputs = group * int(some.integers(1, 20 // group))
    if some.random() < 0.25:
        group, outputs = channels, channels * int(some.integers(1, 3))
    kernel = some.integers(1, 4, 2)
    strides, dilations = some.integers(1, 3, 2), some.integers(1, 3, 2)
    pads = [int(some.integers(0, dilations[i % 2] * (kernel[i % 2] - 1) + 1)) for i in range(4)]
    reach = dilations * (kernel - 1) + 1
    image = [int(max(1, reach[i] - pads[i] - pads[i + 2]) + some.integers(0, 6)) for i in (0, 1)]
    maker = Maker(seed, (1, channels, *image))
    maker.convolution(
        outputs, *([int(v) for v in numbers] for numbers in (kernel, strides, dilations)),
        pads, group,
    )  # fmt: skip
    maker.finish(per_channel=bool(some.integers(0, 2)))
    return maker


def feeds(model, seed, kind="all"):
    """An int8 input: anything, or all 256 numbers in turn."""
    [value] = model.graph.inputs
    shape = [dim if isinstance(dim, int) else 3 for dim in value.shape]
    if kind == "codes":
        codes = np.arange(-128, 128).astype(np.int8)
        return {value.name: np.resize(np.roll(codes, seed * 37), shape)}
    random = np.random.default_rng(seed)
    if kind == "rails":
        return {value.name: random.choice(np.array([-128, 127], np.int8), shape)}
    return {value.name: random.integers(-128, 127, shape, endpoint=True).astype(np.int8)}


def assert_same_bits(model, other, seeds=range(3)):
    """Both models give the same outputs for every kind of input."""
    for seed in seeds:
        for kind in ("all", "codes", "rails"):
            fed = feeds(model, seed, kind)
            want, got = run_float(model, fed), run_float(other, fed)
            assert list(want) == list(got)
            for name, array in want.items():
                np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)


def twice(pass_class, model, **options):
    """Runs a pass, and again: the second run changes nothing."""
    config = pass_class.Config(**options)
    outcome = pass_class(config)(model)
    assert outcome.modified == bool(outcome.changes)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    again = pass_class(config)(model)
    assert not again.modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    return outcome
