"""Graphs at the corners of what operators allow, each a way in which a converter may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.passes.lower.float_graphs import Graph

f32 = np.float32
i64 = np.int64
_RNG = np.random.default_rng(3)


def normal(*shape: int, scale: float = 0.5) -> np.ndarray:
    return (scale * _RNG.standard_normal(shape)).astype(f32)


def one(
    kind: str, shape: Sequence[Any], *parameters: Any, outputs: Sequence[str] = ("y",), **attributes
) -> onnx.ModelProto:
    """A model of one operator; ``None`` leaves a parameter out."""
    g = Graph()
    names = ["" if p is None else g.const(f"p{i}", p) for i, p in enumerate(parameters)]
    g.nodes.append(helper.make_node(kind, ["x", *names], list(outputs), name="n", **attributes))
    return g.model({"x": shape}, outputs)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, i64)


def floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, f32)


def two(kind: str, first: str = "x", second: str = "z") -> onnx.ModelProto:
    g = Graph()
    g.op(kind, [first, second], "y")
    return g.model({name: [2, 3, 4] for name in dict.fromkeys((first, second))})


def constant_first(kind: str, array: Any) -> onnx.ModelProto:
    g = Graph()
    g.op(kind, [g.const("c", array), "x"], "y")
    return g.model({"x": [2, 3, 4]})


def chain(*steps: tuple[Any, ...], shape: Sequence[Any] = (1, 2, 5, 5)) -> onnx.ModelProto:
    """Operators in a row: (kind, parameters...) each; the last one gives ``y``."""
    g = Graph()
    value = "x"
    for index, (kind, *parameters) in enumerate(steps):
        attributes = parameters.pop() if parameters and isinstance(parameters[-1], dict) else {}
        names = ["" if p is None else g.const(f"p{index}_{i}", p) for i, p in enumerate(parameters)]
        result = "y" if index == len(steps) - 1 else f"v{index}"
        value = g.op(kind, [value, *names], result, **attributes)
    return g.model({"x": shape})


def region_with_an_output_inside() -> onnx.ModelProto:
    g = Graph()
    g.op("Sigmoid", ["x"], "y")
    g.op("Tanh", ["x"], "b")
    g.op("Add", ["y", "b"], "y2")
    return g.model({"x": [2, 3]}, ("y", "y2"))


def embedding() -> onnx.ModelProto:
    g = Graph()
    g.op("Gather", [g.normal("table", 7, 4), "i"], "e")
    g.op("Add", ["x", "e"], "y")
    model = g.model({"x": [2, 3, 4]})
    model.graph.input.append(helper.make_tensor_value_info("i", 7, [2, 3]))
    return onnx.shape_inference.infer_shapes(model)


def expand_to_a_symbolic_shape() -> onnx.ModelProto:
    g = Graph()
    g.op("Shape", ["x"], "s")
    g.op("Expand", ["z", "s"], "y")
    return g.model({"x": ["N", 2, 3, 4], "z": ["N", 1, 3, 1]})


def resize_like() -> onnx.ModelProto:
    g = Graph()
    g.op("Shape", ["x"], "s")
    g.op("Resize", ["z", "", "", "s"], "y", mode="nearest")
    return g.model({"x": ["N", 2, "H", "W"], "z": ["N", 2, 3, 3]})


def resize_by_a_computed_float() -> onnx.ModelProto:
    g = Graph()
    g.op("Shape", ["x"], "s")
    g.op("Cast", ["s"], "f", to=1)
    g.op("Mul", ["f", g.const("k", floats(1, 1, 2, 2))], "f2")
    g.op("Cast", ["f2"], "s2", to=7)
    g.op("Resize", ["x", "", "", "s2"], "y", mode="nearest")
    return g.model({"x": ["N", 2, "H", "W"]})


def shared_constants() -> onnx.ModelProto:
    """One constant as a slope, an operand, a weight and part of a Concat; shared weights."""
    g = Graph()
    g.normal("k", 3)
    g.normal("kk", 3, 3)
    g.op("PRelu", ["x", "k"], "a")
    g.op("Add", ["a", "k"], "b")
    g.op("Mul", ["b", "k"], "c")
    g.op("Concat", ["c", "kk"], "d", axis=0)
    g.op("MatMul", ["d", "kk"], "e")
    g.op("Gemm", ["e", "kk", "k"], "y", transB=1)
    g.op("Gemm", ["d", "kk", "k"], "y2", transB=1)
    return g.model({"x": [2, 3]}, ("y", "y2"))


def two_names_for_one_tensor() -> onnx.ModelProto:
    g = Graph()
    g.op("Relu", ["x"], "y")
    g.op("Identity", ["y"], "y2")
    g.op("Identity", ["x"], "y3")
    return g.model({"x": [2, 3]}, ("y", "y2", "y3"))


def one_output_twice() -> onnx.ModelProto:
    model = one("Relu", [2, 3])
    model.graph.output.append(model.graph.output[0])
    return model


def input_as_output() -> onnx.ModelProto:
    model = one("Relu", [2, 3])
    model.graph.output.append(model.graph.input[0])
    return model


def inputs_out_of_order_and_unused() -> onnx.ModelProto:
    g = Graph()
    g.op("Relu", ["z"], "a")
    g.op("Add", ["a", "x"], "y")
    return g.model({"u": [3], "x": [2, 3], "z": [2, 3]})


_SCALED = floats(1, 1, 1.5, 0.7)
_NEAREST = [
    (rounding, mode)
    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
]

#: Every unit of these is right.
ACCEPTED: dict[str, Callable[[], onnx.ModelProto]] = {
    "gemm_bias_1_n": lambda: one("Gemm", [2, 5], normal(4, 5), normal(1, 4), transB=1),
    "gemm_bias_scalar": lambda: one("Gemm", [2, 5], normal(4, 5), normal(), transB=1),
    "gemm_without_bias": lambda: one("Gemm", [2, 5], normal(5, 4)),
    "matmul_vector": lambda: one("MatMul", [2, 3, 5], normal(5)),
    "matmul_from_vector": lambda: one("MatMul", [5], normal(5, 4)),
    "matmul_rank_3": lambda: one("MatMul", [2, 3, 5], normal(2, 5, 4)),
    "mean_of_an_empty_list_of_axes": lambda: one("ReduceMean", [2, 4, 5], ints()),
    "mean_of_no_axes": lambda: one("ReduceMean", [2, 4, 5], ints(), noop_with_empty_axes=1),
    "mean_of_all": lambda: one("ReduceMean", [2, 4, 5], keepdims=0),
    "reshape_symbolic": lambda: one("Reshape", ["N", 4, 5], ints(0, -1)),
    "reshape_allowzero": lambda: one("Reshape", [2, 4, 5], ints(2, 20), allowzero=1),
    "slice_backward": lambda: one("Slice", [2, 4, 5], ints(3), ints(-9999), ints(-2), ints(-1)),
    "pad_negative": lambda: one("Pad", [2, 4, 5, 6], ints(0, 0, -1, 2, 0, 0, 1, -2)),
    "pad_reflect": lambda: one("Pad", [2, 4, 5, 6], ints(2, 1), None, ints(-2), mode="reflect"),
    "pad_edge": lambda: one("Pad", [2, 4, 5, 6], ints(2, 1), None, ints(-2), mode="edge"),
    "pad_beyond_the_range": lambda: one("Pad", [2, 4, 5, 6], ints(2, 1), f32(100), ints(-2)),
    "split_unequal": lambda: one(
        "Split", [2, 7], ints(1, 4, 2), axis=-1, outputs=("y", "y2", "y3")
    ),
    "split_in_parts": lambda: one(
        "Split", [2, 7], axis=-1, num_outputs=3, outputs=("y", "y2", "y3")
    ),
    "gather_scalar": lambda: one("Gather", [2, 3, 4], np.array(-1, i64), axis=2),
    "embedding": embedding,
    "expand_to_a_symbolic_shape": expand_to_a_symbolic_shape,
    "resize_like": resize_like,
    "resize_symbolic": lambda: one(
        "Resize", ["N", 4, "H", "W"], None, floats(1, 1, 2, 2), mode="nearest"
    ),
    "resize_symbolic_batch": lambda: one(
        "Resize", ["N", 4, 5, 6], None, floats(1, 1, 2, 0.5), mode="nearest"
    ),
    "resize_symbolic_to_sizes": lambda: one(
        "Resize", ["N", 4, "H", "W"], None, None, ints(7, 8), mode="nearest", axes=[-2, -1]
    ),
    "resize_scales_with_axes": lambda: one(
        "Resize", [2, 4, 5, 6], None, floats(3, 2), mode="nearest", axes=[3, 2]
    ),
    "resize_linear_with_axes": lambda: one(
        "Resize", [2, 4, 5, 6], None, floats(3, 2), mode="linear", axes=[3, 2]
    ),
    "resize_that_keeps_the_aspect": lambda: one(
        "Resize",
        [2, 4, 5, 6],
        None,
        None,
        ints(7, 7),
        mode="nearest",
        axes=[2, 3],
        keep_aspect_ratio_policy="not_larger",
    ),
    **{
        f"resize_{rounding}_{mode}": lambda rounding=rounding, mode=mode: one(
            "Resize",
            [1, 2, 5, 7],
            None,
            _SCALED,
            nearest_mode=rounding,
            coordinate_transformation_mode=mode,
        )
        for rounding, mode in _NEAREST
    },
    "clip_low": lambda: one("Clip", [2, 3, 4], f32(-0.3)),
    "clip_high": lambda: one("Clip", [2, 3, 4], None, f32(0.3)),
    "clip_without_zero": lambda: one("Clip", [2, 3, 4], f32(0.2), f32(0.5)),
    "clip_crossed": lambda: one("Clip", [2, 3, 4], f32(2), f32(-1)),
    "relu6_at_the_output": lambda: chain(("Conv", normal(3, 2, 3, 3)), ("Clip", f32(0), f32(6))),
    "clip_without_zero_behind_conv": lambda: chain(
        ("Conv", normal(3, 2, 3, 3)), ("Clip", f32(0.2), f32(6))
    ),
    "clip_behind_clip": lambda: chain(("Clip", f32(-0.5), f32(0.7)), ("Clip", f32(0), f32(6))),
    "average_ceil": lambda: one(
        "AveragePool", [2, 3, 6, 7], kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2]
    ),
    "max_dilated": lambda: one(
        "MaxPool", [1, 2, 9, 9], kernel_shape=[2, 3], dilations=[2, 1], strides=[2, 1]
    ),
    "conv_3d": lambda: one("Conv", [1, 2, 5, 5, 4], normal(3, 2, 3, 3, 2)),
    "conv_transpose_dilated": lambda: one(
        "ConvTranspose", [1, 2, 5, 5], normal(2, 3, 3, 3), dilations=[2, 3]
    ),
    "max_3d": lambda: one("MaxPool", [1, 2, 4, 4, 4], kernel_shape=[2, 2, 2]),
    "global_average_1d": lambda: one("GlobalAveragePool", [2, 3, 5]),
    "global_average_3d": lambda: one("GlobalAveragePool", [2, 3, 5, 2, 2]),
    "leaky_relu_steep": lambda: one("LeakyRelu", [2, 3, 4], alpha=1.5),
    "leaky_relu_negative": lambda: one("LeakyRelu", [2, 3, 4], alpha=-0.5),
    "leaky_relu_zero": lambda: one("LeakyRelu", [2, 3, 4], alpha=0.0),
    "prelu_last_axis": lambda: one("PRelu", [2, 3, 4], normal(4)),
    "prelu_one": lambda: one("PRelu", [2, 3, 4], normal(1)),
    "prelu_channels": lambda: one("PRelu", [2, 3, 4], normal(3, 1)),
    "prelu_every_element": lambda: one("PRelu", [2, 3, 4], normal(3, 4)),
    "prelu_of_zeros": lambda: one("PRelu", [2, 3, 4], np.zeros((3, 1), f32)),
    "prelu_unequal": lambda: one("PRelu", [2, 3, 4], floats(100, 0.001, -5).reshape(3, 1)),
    "power": lambda: one("Pow", [2, 3, 4], f32(3)),
    "power_int64": lambda: one("Pow", [2, 3, 4], np.array(2, i64)),
    "x_plus_x": lambda: two("Add", "x", "x"),
    "x_times_x": lambda: two("Mul", "x", "x"),
    "x_minus_x": lambda: two("Sub", "x", "x"),
    "vector_minus_x": lambda: constant_first("Sub", normal(3, 1)),
    "one_minus_x": lambda: constant_first("Sub", f32(1)),
    "constant_times_x": lambda: constant_first("MatMul", normal(5, 3)),
    "maximum_of_two": lambda: two("Max"),
    "minimum_of_two": lambda: two("Min"),
    "maximum_with_a_vector": lambda: constant_first("Max", normal(3, 1)),
    "maximum_with_a_scalar_of_more_axes": lambda: one("Max", [2, 3, 4], np.ones((1, 1, 1, 1), f32)),
    "largest_of_an_axis": lambda: one("ReduceMax", [2, 3, 4], np.array([1]), keepdims=0),
    "smallest_of_all": lambda: one("ReduceMin", [2, 3, 4], keepdims=1),
    "sum_of_an_axis": lambda: one("ReduceSum", [2, 3, 4], np.array([-1]), keepdims=0),
    "sum_behind_relu": lambda: chain(("ReduceSum", np.array([2, 3])), ("Relu",)),
    "global_max_pool": lambda: one("GlobalMaxPool", [2, 3, 4, 5]),
    "add_scalar_of_more_axes": lambda: one("Add", [2, 3, 4], np.ones((1, 1, 1, 1), f32)),
    "square_root_behind_relu": lambda: chain(("Conv", normal(3, 2, 3, 3)), ("Relu",), ("Sqrt",)),
    "weights_all_zero": lambda: one("Conv", [1, 2, 5, 5], np.zeros((3, 2, 3, 3), f32)),
    "weights_all_zero_with_bias": lambda: one(
        "Conv", [1, 2, 5, 5], np.zeros((3, 2, 3, 3), f32), normal(3)
    ),
    "huge_bias": lambda: one(
        "Conv", [1, 2, 5, 5], normal(3, 2, 3, 3, scale=1e-6), normal(3, scale=1e6)
    ),
    "many_products": lambda: one("Gemm", [2, 60000], np.ones((2, 60000), f32), transB=1),
    "region_with_an_output_inside": region_with_an_output_inside,
    "shared_constants": shared_constants,
    "two_names_for_one_tensor": two_names_for_one_tensor,
    "one_output_twice": one_output_twice,
    "input_as_output": input_as_output,
    "inputs_out_of_order_and_unused": inputs_out_of_order_and_unused,
}

_AUTO = {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}

#: name -> (graph, what the refusal says)
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "softmax_of_an_open_row": (lambda: one("Softmax", ["N", "H"], axis=-1), "static sizes"),
    "mean_of_an_open_axis": (lambda: one("ReduceMean", ["N", 4], ints(0)), "static sizes"),
    "resize_cubic": (
        lambda: one("Resize", [1, 2, 4, 4], None, None, ints(1, 2, 8, 8), mode="cubic"),
        "cubic",
    ),
    "resize_antialias": (
        lambda: one(
            "Resize", [1, 2, 9, 9], None, None, ints(1, 2, 3, 3), mode="linear", antialias=1
        ),
        "antialias",
    ),
    "resize_crop": (
        lambda: one(
            "Resize",
            [1, 2, 4, 4],
            floats(0, 0, 0.2, 0.2, 1, 1, 0.8, 0.8),
            None,
            ints(1, 2, 8, 8),
            mode="nearest",
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "crop",
    ),
    "resize_linear_by_another_scale": (
        lambda: one("Resize", [1, 2, 5, 6], None, floats(1, 1, 1.5, 1.5), mode="linear"),
        "not the quotients",
    ),
    "resize_to_a_size_that_hangs_on_rounding": (
        lambda: one("Resize", [1, 2, 5, 6], None, floats(1, 1, 1.4, 1), mode="nearest"),
        "by how one rounds",
    ),
    "resize_by_a_computed_float": (resize_by_a_computed_float, "Cast"),
    "average_3d": (
        lambda: one("AveragePool", [1, 2, 4, 4, 4], kernel_shape=[2, 2, 2]),
        "two-dimensional",
    ),
    "average_same_of_an_open_size": (
        lambda: one("AveragePool", ["N", 3, "H", "W"], **_AUTO),
        "symbolic size",
    ),
    "maximum_same_of_an_open_size": (
        lambda: one("MaxPool", ["N", 3, "H", "W"], **_AUTO),
        "symbolic size",
    ),
    "quotient_of_two": (lambda: two("Div"), "Div"),
    "power_by_a_vector": (lambda: one("Pow", [2, 3, 4], floats(1, 2, 3, 2)), "Pow"),
}
