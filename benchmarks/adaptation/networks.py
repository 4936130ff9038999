"""The two networks, in torch: as they are trained, and as plain layers after folding.

``DsCnn`` has batch normalisation while it is trained. Everything that adapts starts from its
exported ONNX file, where that is folded into the convolutions: then both probes of a forward
gradient see the same function, and all methods train the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CHANNELS = 24
CLASSES = 10


@dataclass(frozen=True)
class Layer:
    """One layer with parameters and what follows it.

    Attributes:
        name: Key of its parameters.
        dense: Whether it is fully connected.
        stride: Of a convolution.
        padding: Of a convolution.
        groups: Of a convolution.
        relu: Whether a ReLU follows.
        pool: ``quarter`` (mean of 2×2), ``mean`` (over the whole picture) or nothing.
    """

    name: str
    dense: bool = False
    stride: int = 1
    padding: int = 0
    groups: int = 1
    relu: bool = True
    pool: str = ""


DSCNN: tuple[Layer, ...] = (
    Layer("stem", stride=2, padding=2),
    Layer("depthwise1", stride=2, padding=1, groups=CHANNELS),
    Layer("pointwise1"),
    Layer("depthwise2", padding=1, groups=CHANNELS),
    Layer("pointwise2"),
    Layer("depthwise3", padding=1, groups=CHANNELS),
    Layer("pointwise3", pool="mean"),
    Layer("fc", dense=True, relu=False),
)
LENET: tuple[Layer, ...] = (
    Layer("conv1", padding=2, pool="quarter"),
    Layer("conv2", pool="quarter"),
    Layer("fc1", dense=True),
    Layer("fc2", dense=True),
    Layer("fc3", dense=True, relu=False),
)


class DsCnn(nn.Module):
    """A small depthwise separable CNN: 5×5 stem, three separable blocks, mean, classifier."""

    def __init__(self) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        inputs = 1
        for layer in DSCNN[:-1]:
            size = 5 if layer.name == "stem" else (1 if layer.name.startswith("point") else 3)
            modules += [
                nn.Conv2d(
                    inputs,
                    CHANNELS,
                    size,
                    layer.stride,
                    layer.padding,
                    groups=layer.groups,
                    bias=False,
                ),
                nn.BatchNorm2d(CHANNELS),
                nn.ReLU(),
            ]
            inputs = CHANNELS
        self.body = nn.Sequential(*modules)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of features N×1×32×40."""
        logits: torch.Tensor = self.fc(self.dropout(self.flatten(self.pool(self.body(x)))))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and average pooling, for pictures of 28×28."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.AvgPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(400, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of pictures N×1×28×28."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.flatten(self.pool2(self.relu2(self.conv2(x))))
        logits: torch.Tensor = self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(x)))))
        return logits


@dataclass(frozen=True)
class Parameters:
    """Weights and biases by the name of their layer."""

    weights: dict[str, torch.Tensor]
    biases: dict[str, torch.Tensor]

    def clone(self) -> Parameters:
        """A copy that shares nothing."""
        return Parameters(
            {name: value.clone() for name, value in self.weights.items()},
            {name: value.clone() for name, value in self.biases.items()},
        )


def read_parameters(path: Path, layers: Sequence[Layer]) -> Parameters:
    """The parameters in an exported ONNX file, in the order of its nodes."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    weights, biases = {}, {}
    for layer, node in zip(layers, nodes, strict=True):
        weights[layer.name] = torch.from_numpy(np.array(stored[node.input[1]]))
        biases[layer.name] = torch.from_numpy(np.array(stored[node.input[2]]))
    return Parameters(weights, biases)


def forward(
    layers: Sequence[Layer],
    weights: Mapping[str, torch.Tensor],
    biases: Mapping[str, torch.Tensor],
    x: torch.Tensor,
) -> torch.Tensor:
    """Output of some consecutive layers of a folded network."""
    for layer in layers:
        weight, bias = weights[layer.name], biases[layer.name]
        if layer.dense:
            x = functional.linear(x.flatten(1), weight, bias)
        else:
            x = functional.conv2d(x, weight, bias, layer.stride, layer.padding, 1, layer.groups)
        if layer.relu:
            x = functional.relu(x)
        if layer.pool == "quarter":
            x = functional.avg_pool2d(x, 2)
        elif layer.pool == "mean":
            x = x.mean((2, 3))
    return x
