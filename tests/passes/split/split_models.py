"""Small random integer graphs to be cut, and how they are run."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from intaglio.passes.annotations import set_quantization
from intaglio.passes.dialect.functions import OPSET, add_functions
from intaglio.passes.marks import mark_integer
from intaglio.passes.provenance import stamp_sources
from intaglio.passes.split.codec_graph import PLAIN, CodecWriter, sizes_of
from intaglio.passes.split.cuts import set_cut
from intaglio.passes.split.insert_codec import InsertCodec
from intaglio.passes.split.marks import write_codec
from intaglio.transforms.fixed_point import quantize_multiplier
from intaglio.transforms.split.specification import CodecSpecification
from tests.passes.split.numpy_codec import random_feature


class SmallModel:
    """Builds an integer graph layer by layer; each layer's result has the name it is given."""

    def __init__(self, seed, shape, batch="N"):
        self.random = np.random.default_rng(seed)
        dim = ir.SymbolicDim(batch) if isinstance(batch, str) else batch
        kind = ir.TensorType(ir.DataType.INT8)
        self.input = ir.Value(name="x", type=kind, shape=ir.Shape([dim, *shape]))
        set_quantization(self.input, PLAIN)
        self.graph = ir.Graph([self.input], [], nodes=[], opset_imports={"": OPSET}, name="small")
        self.writer = CodecWriter(self.graph, dim)

    def constant(self, name, array, dtype):
        return self.writer.constant(name, np.asarray(array, dtype))

    def _stage(self, sums, name, shape, weights, bias_shape):
        """Bias and rescale with numbers for each channel."""
        wide = {"dtype": ir.DataType.INT32, "quantization": None}
        count = int(np.prod(bias_shape))
        bias = self.constant(f"{name}_b", self.random.integers(-900, 900, bias_shape), "int32")
        total = self.writer.op("Add", [sums, bias], f"{name}_acc", shape, **wide)
        sums.shape = total.shape = None  # as the lowering leaves accumulators
        spread = np.sqrt(np.sum(weights.astype(float) ** 2) / count) * 60
        scales = self.random.uniform(0.5, 1.5, count) * 50 / spread
        fixed = quantize_multiplier(scales)
        limits = [self.constant(f"{name}_limit", v, "int32") for v in (-7, -128, 127)]
        return self.writer.op(
            "RescaleDouble",
            [
                total,
                self.constant(f"{name}_m", np.reshape(fixed.multiplier, bias_shape), "int32"),
                self.constant(f"{name}_s", np.reshape(fixed.shift, bias_shape), "int8"),
                *limits,
            ],
            name,
            shape,
            attributes={"to": 3},
        )

    def conv(self, source, outputs, name, kernel=3, stride=1, group=1):
        inputs, rows, columns = sizes_of(source)
        w = self.random.integers(-127, 128, (outputs, inputs // group, kernel, kernel))
        pad, size = kernel // 2, (-(-rows // stride), -(-columns // stride))
        shape = [outputs, *size]
        sums = self.writer.op(
            "ConvInteger",
            [
                source,
                self.constant(f"{name}_w", w, "int8"),
                self.constant(f"{name}_z", -3, "int8"),
            ],
            f"{name}_products",
            shape,
            attributes={
                "dilations": [1, 1],
                "group": group,
                "kernel_shape": [kernel, kernel],
                "pads": [pad] * 4,
                "strides": [stride, stride],
            },
            dtype=ir.DataType.INT32,
            quantization=None,
        )
        return self._stage(sums, name, shape, w, (outputs, 1, 1))

    def dense(self, source, outputs, name):
        [inputs] = sizes_of(source)
        w = self.random.integers(-127, 128, (inputs, outputs))
        matrix, zero = self.constant(f"{name}_w", w, "int8"), self.constant(f"{name}_z", 5, "int8")
        sums = self.writer.op(
            "MatMulInteger", [source, matrix, zero], f"{name}_products", [outputs],
            dtype=ir.DataType.INT32, quantization=None,
        )  # fmt: skip
        return self._stage(sums, name, [outputs], w, (outputs,))

    def add(self, a, b, name):
        numbers = [3, -4, 20, 1 << 30, 31, 1334492744, 32, 1973836116, 49, 2, -128, 127]
        kinds = ["int8" if i in (4, 6, 8) else "int32" for i in range(len(numbers))]
        constants = [self.constant(f"{name}_c", n, k) for n, k in zip(numbers, kinds, strict=True)]
        return self.writer.op(
            "AddDouble", [a, b, *constants], name, sizes_of(a), attributes={"to": 3}
        )

    def pool(self, source, name):
        channels, rows, columns = sizes_of(source)
        attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
        shape = [channels, rows // 2, columns // 2]
        return self.writer.op("MaxPool", [source], name, shape, attributes=attributes)

    def tables(self, source, name):
        entries = self.random.integers(-128, 128, (sizes_of(source)[0], 256))
        table = self.constant(f"{name}_t", entries, "int8")
        return self.writer.op("TableChannelwise", [source, table], name, sizes_of(source))

    def flat(self, source, name):
        return self.writer.reshape(source, [int(np.prod(sizes_of(source)))], name)

    def finish(self, value):
        self.graph.extend(self.writer.nodes)
        self.graph.outputs.append(value)
        model = ir.Model(self.graph, ir_version=10)
        add_functions(model)
        stamp_sources(model)
        mark_integer(model, "tflm")
        return model


def residual(seed=0, batch="N"):
    """A stem, a block with a skip, a pool, flattening and a dense layer."""
    m = SmallModel(seed, (3, 7, 6), batch)
    stem = m.conv(m.input, 8, "stem")
    joined = m.add(m.conv(m.conv(stem, 8, "first"), 8, "second"), stem, "joined")
    pooled = m.tables(m.pool(joined, "pooled"), "looked")
    hidden = m.dense(m.flat(pooled, "flat"), 12, "hidden")
    return m.finish(m.dense(hidden, 4, "logits"))


def depthwise(seed=0):
    """Pointwise and depthwise convolutions in turn."""
    m = SmallModel(seed, (2, 9, 5))
    wide = m.conv(m.conv(m.input, 6, "stem"), 6, "deep", group=6)
    narrow = m.conv(wide, 4, "narrow", kernel=1)
    deep = m.conv(m.conv(narrow, 4, "deep2", group=4, stride=2), 8, "point", kernel=1)
    return m.finish(m.dense(m.flat(deep, "flat"), 5, "logits"))


def grouped(seed=0):
    """A convolution in two groups on either side."""
    m = SmallModel(seed, (4, 6, 6))
    middle = m.conv(m.conv(m.input, 8, "stem"), 8, "middle", group=2)
    return m.finish(m.conv(middle, 4, "logits", group=2))


def with_codec(model, names, seed=1, **options):
    """The model with a random codec at a cut, and its specification."""
    random = np.random.default_rng(seed)
    values = {value.name: value for node in model.graph for value in node.outputs}
    features = [random_feature(random, n, sizes_of(values[n]), **options) for n in names]
    specification = CodecSpecification(tuple(features), "raw").check()
    set_cut(model, names)
    write_codec(model, specification)
    assert InsertCodec()(model).modified
    return model, specification


def samples(model, count=3, seed=2):
    """Random inputs."""
    [value] = model.graph.inputs
    shape = [count if not isinstance(d, int) else d for d in value.shape]
    return {value.name: np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)}


def run(model, feeds, inner=()):
    """All outputs, and inner values, by name."""
    copy = model.clone(deep_copy=True)
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.extend(values[n] for n in inner if values[n] not in copy.graph.outputs)
    proto = ir.to_proto(copy)
    onnx.checker.check_model(proto)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(proto.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
