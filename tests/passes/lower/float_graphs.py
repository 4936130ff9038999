"""Small float graphs, one for each operator that has an integer form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG_SEED = 7


class Graph:
    """Collects the parts of a one-operator model."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(RNG_SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, name: str, *shape: int, scale: float = 0.5) -> str:
        return self.const(name, (scale * self.rng.standard_normal(shape)).astype(np.float32))

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"n_{output}", **attributes)
        )
        return output

    def model(
        self, inputs: dict[str, Sequence[Any]], outputs: Sequence[str] = ("y",)
    ) -> onnx.ModelProto:
        ins = [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, list(v)) for k, v in inputs.items()
        ]
        outs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "g", ins, outs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def conv(
    *, group: int = 1, channels: int = 4, outputs: int = 6, k: int = 3, **attributes: Any
) -> onnx.ModelProto:
    g = Graph()
    g.normal("w", outputs, channels // group, k, k)
    g.normal("b", outputs)
    g.op("Conv", ["x", "w", "b"], "y", group=group, **attributes)
    return g.model({"x": [2, channels, 9, 8]})


def conv_relu(bound: float | None) -> onnx.ModelProto:
    g = Graph()
    g.normal("w", 5, 4, 3, 3)
    g.normal("b", 5)
    g.op("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1])
    if bound is None:
        g.op("Relu", ["c"], "y")
    else:
        g.op("Clip", ["c", g.const("lo", np.float32(0)), g.const("hi", np.float32(bound))], "y")
    return g.model({"x": [1, 4, 7, 7]})


def conv_1d() -> onnx.ModelProto:
    g = Graph()
    g.normal("w", 5, 4, 3)
    g.normal("b", 5)
    g.op("Conv", ["x", "w", "b"], "y", pads=[2, 1])
    return g.model({"x": [1, 4, 12]})


def conv_transpose(**attributes: Any) -> onnx.ModelProto:
    g = Graph()
    group = attributes.get("group", 1)
    g.normal("w", 4, 6 // group, 4, 3)
    g.normal("b", 6)
    g.op("ConvTranspose", ["x", "w", "b"], "y", **attributes)
    return g.model({"x": [1, 4, 5, 6]})


def gemm() -> onnx.ModelProto:
    g = Graph()
    g.normal("w", 7, 12)
    g.normal("b", 7)
    g.op("Gemm", ["x", "w", "b"], "y", transB=1)
    return g.model({"x": ["N", 12]})


def matmul(constant: bool) -> onnx.ModelProto:
    g = Graph()
    if constant:
        g.normal("w", 12, 7)
        g.op("MatMul", ["x", "w"], "y")
        return g.model({"x": [2, 3, 12]})
    g.op("MatMul", ["x", "z"], "y")
    return g.model({"x": [2, 3, 12], "z": [2, 12, 5]})


def binary(kind: str, relu: bool = False, constant: bool = False) -> onnx.ModelProto:
    g = Graph()
    inputs: dict[str, Sequence[Any]] = {"x": [2, 3, 4, 5]}
    other = g.normal("c", 3, 1, 1) if constant else "z"
    if not constant:
        inputs["z"] = [2, 3, 4, 5]
    g.op(kind, ["x", other], "s" if relu else "y")
    if relu:
        g.op("Relu", ["s"], "y")
    return g.model(inputs)


def unary(kind: str, **attributes: Any) -> onnx.ModelProto:
    g = Graph()
    g.op(kind, ["x"], "y", **attributes)
    return g.model({"x": [2, 3, 4, 5]})


def clip() -> onnx.ModelProto:
    g = Graph()
    g.op("Clip", ["x", g.const("lo", np.float32(-0.7)), g.const("hi", np.float32(1.2))], "y")
    return g.model({"x": [2, 3, 4, 5]})


def erf_gelu() -> onnx.ModelProto:
    g = Graph()
    g.op("Div", ["x", g.const("r", np.float32(np.sqrt(2)))], "a")
    g.op("Erf", ["a"], "b")
    g.op("Add", ["b", g.const("one", np.float32(1))], "c")
    g.op("Mul", ["x", "c"], "d")
    g.op("Mul", ["d", g.const("half", np.float32(0.5))], "y")
    return g.model({"x": [2, 3, 4, 5]})


def swish() -> onnx.ModelProto:
    g = Graph()
    g.op("Sigmoid", ["x"], "s")
    g.op("Mul", ["x", "s"], "y")
    return g.model({"x": [2, 3, 4, 5]})


def prelu(shared: bool) -> onnx.ModelProto:
    g = Graph()
    g.normal("slope", *((1, 1, 1) if shared else (3, 1, 1)))
    g.op("PRelu", ["x", "slope"], "y")
    return g.model({"x": [2, 3, 4, 5]})


def with_ints(kind: str, *parameters: Any, **attributes: Any) -> onnx.ModelProto:
    g = Graph()
    names = [g.const(f"p{i}", np.asarray(p, np.int64)) for i, p in enumerate(parameters)]
    g.op(kind, ["x", *names], "y", **attributes)
    return g.model({"x": [2, 4, 6, 8]})


def pad(value: float) -> onnx.ModelProto:
    g = Graph()
    g.const("p", np.array([0, 0, 1, 2, 0, 0, 0, 3]))
    g.op("Pad", ["x", "p", g.const("v", np.float32(value))], "y")
    return g.model({"x": [1, 3, 5, 5]})


def concat() -> onnx.ModelProto:
    g = Graph()
    g.op("Relu", ["x"], "a")
    g.op("Sigmoid", ["z"], "b")
    g.op("Concat", ["a", "b", "z"], "y", axis=1)
    return g.model({"x": [1, 3, 5, 5], "z": [1, 2, 5, 5]})


def split() -> onnx.ModelProto:
    g = Graph()
    g.const("s", np.array([1, 3], np.int64))
    g.nodes.append(helper.make_node("Split", ["x", "s"], ["y", "y2"], name="split", axis=1))
    return g.model({"x": [2, 4, 3, 3]}, ("y", "y2"))


def resize(
    mode: str, coordinates: str, scales: Sequence[float], dynamic: bool = False
) -> onnx.ModelProto:
    g = Graph()
    g.const("scales", np.array(scales, np.float32))
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    g.op(
        "Resize",
        ["x", "", "scales"],
        "y",
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **extra,
    )
    return g.model({"x": [1, 3, "H", "W"] if dynamic else [1, 3, 5, 6]})


def mean(axes: Sequence[int], keepdims: int) -> onnx.ModelProto:
    g = Graph()
    g.const("axes", np.array(axes, np.int64))
    g.op("ReduceMean", ["x", "axes"], "y", keepdims=keepdims)
    return g.model({"x": [2, 3, 7, 5]})


def dynamic_reshape() -> onnx.ModelProto:
    g = Graph()
    g.op("Shape", ["x"], "shape")
    g.op("Gather", ["shape", g.const("zero", np.array([0], np.int64))], "batch", axis=0)
    g.op("Concat", ["batch", g.const("rest", np.array([-1], np.int64))], "target", axis=0)
    g.op("Reshape", ["x", "target"], "y")
    return g.model({"x": ["N", 3, 4, 5]})


#: name -> (builder, LSB by which rounding may differ from float arithmetic between the pairs)
GRAPHS: dict[str, tuple[Callable[[], onnx.ModelProto], int]] = {
    "conv": (conv, 1),
    "conv_strided_dilated": (lambda: conv(strides=[2, 1], dilations=[1, 2], pads=[1, 2, 0, 3]), 1),
    "conv_grouped": (lambda: conv(group=2), 1),
    "conv_depthwise": (lambda: conv(group=4, outputs=4, pads=[1, 1, 1, 1]), 1),
    "conv_depthwise_multiplier": (lambda: conv(group=4, outputs=8), 1),
    "conv_one_channel": (lambda: conv(channels=1, outputs=1, k=1), 1),
    "conv_huge_kernel": (lambda: conv(k=7, pads=[3, 3, 3, 3]), 1),
    "conv_relu": (lambda: conv_relu(None), 1),
    "conv_relu6": (lambda: conv_relu(0.9), 1),
    "conv_1d": (conv_1d, 1),
    "conv_transpose": (conv_transpose, 1),
    "conv_transpose_strided": (
        lambda: conv_transpose(strides=[2, 3], pads=[1, 0, 1, 2], output_padding=[1, 0]),
        1,
    ),
    "conv_transpose_grouped": (lambda: conv_transpose(group=2, strides=[2, 2]), 1),
    "gemm": (gemm, 1),
    "matmul_constant": (lambda: matmul(True), 1),
    "matmul_computed": (lambda: matmul(False), 1),
    "add": (lambda: binary("Add"), 1),
    "add_relu": (lambda: binary("Add", relu=True), 1),
    "add_constant": (lambda: binary("Add", constant=True), 1),
    "sub": (lambda: binary("Sub"), 1),
    "mul": (lambda: binary("Mul"), 1),
    "mul_constant": (lambda: binary("Mul", constant=True), 1),
    "relu": (lambda: unary("Relu"), 1),
    "leaky_relu": (lambda: unary("LeakyRelu", alpha=0.13), 1),
    "clip": (clip, 1),
    "sigmoid": (lambda: unary("Sigmoid"), 1),
    "tanh": (lambda: unary("Tanh"), 1),
    "hard_swish": (lambda: unary("HardSwish"), 1),
    "hard_sigmoid": (lambda: unary("HardSigmoid", alpha=0.17, beta=0.5), 1),
    "gelu": (lambda: unary("Gelu"), 1),
    "elu": (lambda: unary("Elu"), 1),
    "exp": (lambda: unary("Exp"), 1),
    "erf_gelu": (erf_gelu, 1),
    "swish": (swish, 1),
    "prelu": (lambda: prelu(False), 1),
    "prelu_shared": (lambda: prelu(True), 1),
    "softmax": (lambda: unary("Softmax", axis=-1), 1),
    "softmax_channels": (lambda: unary("Softmax", axis=1), 1),
    "average_pool": (lambda: unary("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), 1),
    "average_pool_padded": (
        lambda: unary(
            "AveragePool", kernel_shape=[3, 2], pads=[1, 1, 1, 0], ceil_mode=1, strides=[2, 2]
        ),
        1,
    ),
    "global_average_pool": (lambda: unary("GlobalAveragePool"), 1),
    "reduce_mean": (lambda: mean([1, 3], 0), 1),
    "reduce_mean_spatial": (lambda: mean([-1, -2], 1), 1),
    "max_pool": (lambda: unary("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), 0),
    "max_pool_padded": (
        lambda: unary(
            "MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=1
        ),
        0,
    ),
    "reshape": (lambda: with_ints("Reshape", [2, -1]), 0),
    "dynamic_reshape": (dynamic_reshape, 0),
    "flatten": (lambda: unary("Flatten"), 0),
    "squeeze": (lambda: with_ints("Unsqueeze", [1]), 0),
    "transpose": (lambda: unary("Transpose", perm=[0, 2, 3, 1]), 0),
    "slice": (lambda: with_ints("Slice", [1, 0], [4, 9], [2, 3], [1, 2]), 0),
    "gather": (lambda: with_ints("Gather", [3, 0, 0], axis=1), 0),
    "tile": (lambda: with_ints("Tile", [1, 1, 2, 1]), 0),
    "expand": (lambda: with_ints("Expand", [2, 4, 6, 8]), 0),
    "depth_to_space": (lambda: with_ints("DepthToSpace", blocksize=2), 0),
    "depth_to_space_crd": (lambda: with_ints("DepthToSpace", blocksize=2, mode="CRD"), 0),
    "space_to_depth": (lambda: with_ints("SpaceToDepth", blocksize=2), 0),
    "pad": (lambda: pad(0.0), 0),
    "pad_value": (lambda: pad(0.8), 0),
    "concat": (concat, 1),
    "split": (split, 0),
    "resize_nearest": (lambda: resize("nearest", "asymmetric", [1, 1, 2, 3]), 0),
    "resize_nearest_dynamic": (lambda: resize("nearest", "asymmetric", [1, 1, 2, 2], True), 0),
    "resize_linear": (lambda: resize("linear", "half_pixel", [1, 1, 2, 2]), 1),
    "resize_linear_asymmetric": (lambda: resize("linear", "asymmetric", [1, 1, 2, 3]), 1),
}
