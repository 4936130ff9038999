"""PyTorch computes what an ONNX graph says, so that its own gradients can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.nn import functional

Tensor = torch.Tensor

# Tests of many workers share the processor.
torch.set_num_threads(1)


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """Attributes as Python values."""
    return {key: attribute.value for key, attribute in node.attributes.items()}


def pads_for(data: Tensor, pads: list[int]) -> Tensor:
    """``data`` with ONNX's pads at the spatial axes."""
    half = len(pads) // 2
    listed = [pads[i] for axis in reversed(range(half)) for i in (axis, half + axis)]
    return functional.pad(data, listed)


def conv(a: dict[str, Any], data: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    pads = list(a.get("pads", [0] * 2 * axes))
    if a.get("auto_pad") == "SAME_UPPER":
        assert set(a.get("strides", [1])) == set(a.get("dilations", [1])) == {1}
        pads = [
            f(size - 1)
            for f in (lambda n: n // 2, lambda n: n - n // 2)
            for size in weight.shape[2:]
        ]
    padded = pads_for(data, pads)
    run = {1: functional.conv1d, 2: functional.conv2d}[axes]
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    return run(padded, weight, bias, tuple(strides), 0, tuple(dilations), a.get("group", 1))


def conv_transpose(a: dict[str, Any], data: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    axes = weight.ndim - 2
    pads = list(a.get("pads", [0] * 2 * axes))
    assert pads[:axes] == pads[axes:]
    return functional.conv_transpose2d(
        data,
        weight,
        bias,
        tuple(a.get("strides", [1] * axes)),
        tuple(pads[:axes]),
        tuple(a.get("output_padding", [0] * axes)),
        a.get("group", 1),
        tuple(a.get("dilations", [1] * axes)),
    )


def gemm(a: dict[str, Any], left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    left = left.T if a.get("transA", 0) else left
    right = right.T if a.get("transB", 0) else right
    product = a.get("alpha", 1.0) * (left @ right)
    return product if bias is None else product + a.get("beta", 1.0) * bias


def max_pool(a: dict[str, Any], data: Tensor) -> Tensor:
    axes = data.ndim - 2
    pads = list(a.get("pads", [0] * 2 * axes))
    half = len(pads) // 2
    listed = [pads[i] for axis in reversed(range(half)) for i in (axis, half + axis)]
    data = functional.pad(data, listed, value=-torch.inf)
    strides = tuple(a.get("strides", [1] * axes))
    return functional.max_pool2d(data, tuple(a["kernel_shape"]), strides)


def average_pool(a: dict[str, Any], data: Tensor) -> Tensor:
    assert not any(a.get("pads", []))
    return functional.avg_pool2d(data, tuple(a["kernel_shape"]), tuple(a.get("strides", [1, 1])))


def depth_to_space(a: dict[str, Any], data: Tensor) -> Tensor:
    size, (batch, count, height, width) = a["blocksize"], data.shape
    each = count // size**2
    if a.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(data, size)
    moved = data.reshape(batch, size, size, each, height, width).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(batch, each, height * size, width * size)


def reshape(a: dict[str, Any], data: Tensor, shape: Tensor) -> Tensor:
    target = [data.shape[i] if n == 0 else int(n) for i, n in enumerate(shape.tolist())]
    return data.reshape(target)


def resize(a: dict[str, Any], data: Tensor, *others: Tensor) -> Tensor:
    scales = others[1] if others[1] is not None and others[1].numel() else None
    assert a.get("mode", "nearest") == "nearest"
    assert scales is not None
    factors = [int(number) for number in scales.tolist()]
    assert factors[:2] == [1, 1]
    return functional.interpolate(data, scale_factor=tuple(map(float, factors[2:])))


def prelu(a: dict[str, Any], data: Tensor, slope: Tensor) -> Tensor:
    return torch.where(data > 0, data, data * slope)


def batch_norm(a: dict[str, Any], data: Tensor, *others: Tensor) -> Tensor:
    scale, shift, mean, variance = others
    epsilon = a.get("epsilon", 1e-5)
    return functional.batch_norm(data, mean, variance, scale, shift, False, 0.0, epsilon)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Abs": lambda a, x: x.abs(),
    "Add": lambda a, x, y: x + y,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "Constant": lambda a: torch.from_numpy(np.array(a["value"].numpy())),
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Flatten": lambda a, x: x.flatten(1),
    "Gather": lambda a, x, i: torch.as_tensor(np.take(x.numpy(), i.numpy(), a.get("axis", 0))),
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda a, x: x,
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": max_pool,
    "Mul": lambda a, x, y: x * y,
    "PRelu": prelu,
    "Relu": lambda a, x: torch.relu(x),
    "Reshape": reshape,
    "Resize": resize,
    "Shape": lambda a, x: torch.tensor(list(x.shape)),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Squeeze": lambda a, x, axes: x.squeeze(tuple(axes.tolist())),
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: torch.tanh(x),
    "Transpose": lambda a, x: x.permute(*a["perm"]),
    "Unsqueeze": lambda a, x, axes: _unsqueeze(x, axes),
}


def _unsqueeze(data: Tensor, axes: Tensor) -> Tensor:
    rank = data.ndim + axes.numel()
    for axis in sorted(int(axis) % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


class TorchModel:
    """The function of an ONNX graph.

    Args:
        model: The model.
        dtype: Float type to compute in.
    """

    def __init__(self, model: ir.Model, dtype: torch.dtype = torch.float64) -> None:
        self.model = model
        self.dtype = dtype
        self.values = {
            name: self.tensor(value.const_value.numpy())
            for name, value in model.graph.initializers.items()
        }

    def tensor(self, array: np.ndarray) -> Tensor:
        made = torch.from_numpy(np.array(array))
        return made.to(self.dtype) if made.is_floating_point() else made

    def train(self, names: list[str]) -> list[Tensor]:
        """The tensors of these initializers, from now on with gradients."""
        return [self.values[name].requires_grad_() for name in names]

    def logits(self, feeds: Mapping[str, np.ndarray], output: ir.Value) -> Tensor:
        """What ``output`` computes."""
        values: dict[str, Tensor | None] = {**self.values, "": None}
        values.update({name: self.tensor(array) for name, array in feeds.items()})
        for node in self.model.graph:
            inputs = [values[v.name] if v is not None else None for v in node.inputs]
            values[node.outputs[0].name] = OPERATORS[node.op_type](attributes_of(node), *inputs)
        found = values[output.name]
        assert found is not None
        return found

    def loss(
        self, feeds: Mapping[str, np.ndarray], wanted: np.ndarray, output: ir.Value, kind: str
    ) -> Tensor:
        """The loss as PyTorch defines it; ``output`` must be logits for cross-entropy."""
        result = self.logits(feeds, output)
        if kind == "cross-entropy":
            return functional.cross_entropy(result, self.tensor(wanted))
        return functional.mse_loss(result, self.tensor(wanted))
