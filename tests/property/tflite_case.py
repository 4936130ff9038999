"""One operator as a TFLite file and as quantized ONNX, with integers to feed to both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.provenance import stamp_sources
from intaglio.targets.onnx.session import make_session
from tests.property.tflite_file import Tensor, write
from tests.property.tflite_runtimes import Runtimes

NHWC_TO_NCHW = (0, 3, 1, 2)
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6")
FUSED = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


@dataclasses.dataclass
class Agreement:
    """What a comparison found: values compared, values that differ, the largest difference."""

    values: int
    differing: int
    largest: int


class Case:
    """Builds both files side by side.

    Args:
        seed: Of every random choice.
        dtype: Of the activations.
    """

    def __init__(self, seed: int, dtype: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.tensors: dict[str, Tensor] = {}
        self.orders: dict[str, tuple[int, ...]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[str] = []
        self.output = ""
        self.file = b""
        self.runs = 2
        self.spread = 50
        self._pairs: list[onnx.NodeProto] = []

    # -- random choices ------------------------------------------------------------------------

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def scale(self, low: float = 1e-3, high: float = 0.5) -> float:
        """Log-uniform, or a number of few bits nearby."""
        return self.near(float(np.exp(self.rng.uniform(np.log(low), np.log(high)))))

    def near(self, value: float, *factors: float) -> float:
        """A scale near ``value``, often one with which results lie on or beside ties.

        A power of two; a small odd number times one, whose quotients are periodic, so that float32
        and float64 narrow them to different sides of a tie; or a power of two times the product of
        ``factors`` in float32, which in float64 is another number.
        """
        kind = self.pick(["any", "any", "power", "odd", "product"])
        if kind == "product" and factors:
            product = np.float32(1.0)
            for factor in factors:
                product = np.float32(product * np.float32(factor))
            value = float(product) * 2.0 ** round(np.log2(value / float(product)))
        elif kind == "power":
            value = 2.0 ** round(np.log2(value))
        elif kind == "odd":
            odd = self.pick([3, 5, 7, 9, 11, 13, 15])
            value = odd * 2.0 ** round(np.log2(value / odd))
        return float(np.float32(value))

    def zero(self, dtype: str | None = None) -> int:
        dtype = dtype or self.dtype
        if dtype not in ("int8", "uint8"):
            return 0
        limits = np.iinfo(dtype)
        return self.pick(
            [int(limits.min), int(limits.max), (limits.min + limits.max + 1) // 2]
            + 3 * [self.integer(limits.min, limits.max)]
        )

    def codes(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        limits = np.iinfo(dtype)
        array = self.rng.integers(limits.min, limits.max, tuple(shape), endpoint=True).astype(dtype)
        if self.rng.random() < 0.5:
            middle = self.rng.normal(self.rng.uniform(-50, 50), 40, tuple(shape))
            if dtype == "uint8":
                middle = middle + 128
            if dtype == "int16":
                middle = middle * 256
            array = np.clip(np.rint(middle), limits.min, limits.max).astype(dtype)
        flat = array.reshape(-1)
        if flat.size > 2:
            flat[0], flat[-1] = limits.min, limits.max
        return array

    # -- tensors -------------------------------------------------------------------------------

    def activation(
        self,
        name: str,
        shape: Sequence[int],
        *,
        dtype: str | None = None,
        scale: float | None = None,
        zero: int | None = None,
        order: tuple[int, ...] | None = None,
        data: np.ndarray | None = None,
    ) -> Tensor:
        """A quantized tensor; ``order`` is how the ONNX side has its axes."""
        dtype = dtype or self.dtype
        tensor = Tensor(
            name,
            dtype,
            tuple(int(d) for d in shape),
            (self.scale() if scale is None else float(np.float32(scale)),),
            (self.zero(dtype) if zero is None else int(zero),),
            data=data,
        )
        self.tensors[name] = tensor
        if order is not None:
            self.orders[name] = order
        return tensor

    def input(self, name: str, shape: Sequence[int], **options: Any) -> Tensor:
        """An input of the model."""
        self.inputs.append(name)
        return self.activation(name, shape, **options)

    def constant(
        self,
        name: str,
        array: np.ndarray,
        scale: Sequence[float] = (),
        axis: int = 0,
        order: tuple[int, ...] | None = None,
        zero: int = 0,
        onnx_axis: int | None = None,
    ) -> Tensor:
        """Constant numbers, quantized where there is a scale."""
        scales = tuple(float(np.float32(s)) for s in scale)
        tensor = Tensor(
            name, array.dtype.name, array.shape, scales, (zero,) * len(scales), axis, array
        )
        self.tensors[name] = tensor
        if order is not None:
            self.orders[name] = order
        if scales:
            self._dequantized(name, onnx_axis)
        return tensor

    def _dequantized(self, name: str, axis: int | None) -> None:
        tensor = self.tensors[name]
        data = tensor.data
        assert data is not None
        if name in self.orders:
            data = data.transpose(self.orders[name])
        if data.dtype == np.int64:  # a bias: DequantizeLinear takes int32
            data = data.astype(np.int32)
        per_channel = len(tensor.scale) > 1
        scale = np.array(tensor.scale, np.float32)
        zero = np.array(tensor.zero_point, data.dtype)
        self.init(f"{name}_codes", data)
        self.init(f"{name}_scale", scale if per_channel else scale[0])
        self.init(f"{name}_zero", zero if per_channel else zero[0])
        channel = tensor.axis if axis is None else axis
        attributes = {"axis": channel} if per_channel else {}
        self._pairs.append(
            helper.make_node(
                "DequantizeLinear",
                [f"{name}_codes", f"{name}_scale", f"{name}_zero"],
                [name],
                **attributes,
            )
        )

    def init(self, name: str, array: Any) -> str:
        """An initializer of the ONNX side."""
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    # -- operators -----------------------------------------------------------------------------

    def tflite(
        self,
        operator: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Writes the TFLite file."""
        self.file = write(operator, options, inputs, outputs)
        self.output = outputs[0].name

    def node(
        self, operator: str, inputs: Sequence[str], output: str = "y", **attributes: Any
    ) -> None:
        """Adds a float operator to the ONNX side."""
        self.nodes.append(
            helper.make_node(
                operator, list(inputs), [output], name=f"n{len(self.nodes)}", **attributes
            )
        )

    def activated(self, activation: str, output: str = "y") -> str:
        """Name for the result in front of a fused activation, which is added by ``activate``."""
        return output if activation == "NONE" else f"{output}_raw"

    def activate(self, activation: str, output: str = "y") -> None:
        """The fused activation behind the last operator."""
        if activation == "RELU":
            self.node("Relu", [f"{output}_raw"], output)
        elif activation != "NONE":
            low, high = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}[activation]
            self.init("clip_low", np.float32(low))
            self.init("clip_high", np.float32(high))
            self.node("Clip", [f"{output}_raw", "clip_low", "clip_high"], output)

    # -- the two forms -------------------------------------------------------------------------

    def onnx(self) -> onnx.ModelProto:
        """The quantized ONNX form: DequantizeLinear, operator, QuantizeLinear."""
        nodes, constants = list(self._pairs), list(self.constants)
        shapes: dict[str, Any] = {}
        for name in dict.fromkeys([*self.inputs, self.output]):
            tensor = self.tensors[name]
            zero = np.array(tensor.zero_point[0], tensor.dtype)
            constants.append(numpy_helper.from_array(np.float32(tensor.scale[0]), f"{name}_s"))
            constants.append(numpy_helper.from_array(zero, f"{name}_z"))
            shape = tensor.shape
            if name in self.orders:
                shape = tuple(shape[a] for a in self.orders[name])
            shapes[name] = shape
        info = helper.make_tensor_value_info
        kind = {n: helper.np_dtype_to_tensor_dtype(np.dtype(self.tensors[n].dtype)) for n in shapes}
        for name in self.inputs:
            nodes.append(
                helper.make_node(
                    "DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [name]
                )
            )
        nodes += self.nodes
        out = self.output
        nodes.append(
            helper.make_node("QuantizeLinear", [out, f"{out}_s", f"{out}_z"], [f"{out}_q"])
        )
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{out}_q", f"{out}_s", f"{out}_z"], [f"{out}_f"])
        )
        graph = helper.make_graph(
            nodes,
            "one",
            [info(f"{n}_q", kind[n], shapes[n]) for n in self.inputs],
            [info(f"{out}_f", 1, shapes[out])],
            constants,
            value_info=[info(n, 1, shapes[n]) for n in shapes]
            + [info(f"{out}_raw", 1, shapes[out])],
        )
        imports = [helper.make_opsetid("", 21)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def lowered(self, profile: str) -> ir.Model:
        """The integer form of the ONNX side."""
        model = ir.from_proto(self.onnx())
        stamp_sources(model)
        model = ShiftUnsigned()(model).model
        return ToInteger(ToInteger.Config(profile=profile))(model).model

    def feeds(self) -> list[list[np.ndarray]]:
        """Integers of some runs, in the order and layout of the TFLite file."""
        return [
            [self.codes(self.tensors[n].dtype, self.tensors[n].shape) for n in self.inputs]
            for _ in range(self.runs)
        ]

    def ours(self, profile: str, runs: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Results of the integer form in onnxruntime, in the file's layout and type."""
        model = self.lowered(profile)
        data = ir.to_proto(model).SerializeToString()
        session = make_session(data, optimize=False, threads=1)
        names = [i.name for i in session.get_inputs()]
        results = []
        for run in runs:
            feed = {}
            for name, array in zip(self.inputs, run, strict=True):
                if name in self.orders:
                    array = array.transpose(self.orders[name])
                if array.dtype == np.uint8:
                    array = (array.astype(np.int16) - 128).astype(np.int8)
                feed[name] = np.ascontiguousarray(array)
            order = {n.removesuffix("_q"): n for n in names}
            [result] = session.run(None, {order[n]: a for n, a in feed.items() if n in order})
            if self.output in self.orders:
                result = result.transpose(np.argsort(self.orders[self.output]))
            if self.tensors[self.output].dtype == "uint8":
                result = (result.astype(np.int16) + 128).astype(np.uint8)
            results.append(result)
        return results

    def compare(self, profile: str, runtimes: Runtimes, runtime: str | None = None) -> Agreement:
        """Runs both and counts the values that differ.

        Args:
            profile: Of the lowering.
            runtimes: Where the file runs.
            runtime: Which of them; that of the profile if left out.

        Raises:
            RuntimeFailureError: The runtime does not take the file.
            UnsupportedError: The lowering refuses it.
        """
        runs = self.feeds()
        theirs = runtimes.run(runtime or profile, self.file, runs)
        ours = self.ours(profile, runs)
        total = Agreement(0, 0, 0)
        for mine, [reference, *_] in zip(ours, theirs, strict=True):
            gap = np.abs(
                mine.astype(np.int64) - np.asarray(reference).astype(np.int64).reshape(mine.shape)
            )
            total.values += gap.size
            total.differing += int((gap != 0).sum())
            total.largest = max(total.largest, int(gap.max(initial=0)))
        return total
