"""What the four training scripts share: seeds, ONNX export, checks, and small npz files.

The scripts are run as modules from the repository root, e.g.
``python -m sample_models.digits.train``. They need ``torch``, ``onnx``, ``onnxruntime`` and
``numpy``; the committed models need none of them to be retrained.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import ModelProto, shape_inference
from torch import nn

OPSET = 17
IR_VERSION = 8
FUNCTIONS = ("Add", "Concat", "Mul", "Sub")

FloatArray = npt.NDArray[np.float32]


def seed_everything(seed: int, threads: int = 1) -> torch.Generator:
    """Seeds Python, numpy and torch, and makes torch deterministic.

    Args:
        seed: The seed for all three generators.
        threads: How many CPU threads torch may use. The committed models were trained with one;
            another number changes the order of float sums, and so the weights.

    Returns:
        A seeded torch generator, for shuffling and augmentation.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    return torch.Generator().manual_seed(seed)


def export_onnx(
    model: nn.Module,
    example: torch.Tensor,
    path: Path,
    input_name: str,
    output_name: str,
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> ModelProto:
    """Writes a model as one self-contained ONNX file with readable names.

    Batch normalisation is folded into the convolution before it. Nodes are named after the torch
    modules they come from (``stage1.conv1``), parameters ``<node>.weight`` and ``<node>.bias``,
    and intermediate tensors ``<node>.out``.

    Args:
        model: The trained model; put into evaluation mode here.
        example: An input of the right shape, batch size 1.
        path: The file to write.
        input_name: The name of the graph input.
        output_name: The name of the graph output.
        dynamic_axes: For the input and the output, which axes are dynamic and what they are named.

    Returns:
        The model as written, after ``onnx.checker`` has accepted it.
    """
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=[input_name],
            output_names=[output_name],
            dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load(str(path))
    _tidy_names(proto)
    proto.ir_version = IR_VERSION
    proto.producer_name = "intaglio sample models"
    proto.producer_version = ""
    proto.graph.name = path.stem
    del proto.graph.value_info[:]
    proto = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    # Shapes for which the inference had to invent a symbol (unk__0) say nothing.
    known = [
        value
        for value in proto.graph.value_info
        if not any("__" in dim.dim_param for dim in value.type.tensor_type.shape.dim)
    ]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(known)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))
    return proto


def _tidy_names(proto: ModelProto) -> None:
    """Renames nodes, parameters and intermediate tensors in place.

    Args:
        proto: The model as the exporter wrote it.
    """
    graph = proto.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    parameters = {tensor.name for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for node in graph.node:
        # The exporter names a node /module/submodule/OpType; functions are named after the module
        # that calls them, so that they get their own name as well.
        parts = [part for part in node.name.split("/") if part][:-1]
        if not parts or node.op_type in FUNCTIONS:
            parts.append(node.op_type.lower())
        base = name = ".".join(parts)
        count = 1
        while name in taken:
            count += 1
            name = f"{base}{count}"
        taken.add(name)
        node.name = name
        slots = {1: "slope"} if node.op_type == "PRelu" else {1: "weight", 2: "bias"}
        for position, tensor in enumerate(node.input):
            if tensor in parameters and tensor not in renamed:
                renamed[tensor] = f"{name}.{slots.get(position, f'input{position}')}"
        for position, tensor in enumerate(node.output):
            if tensor not in fixed:
                renamed[tensor] = f"{name}.out" + (str(position) if position else "")
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in list(names)]


def count_macs(proto: ModelProto, input_shape: Sequence[int]) -> int:
    """Counts the multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul nodes.

    Args:
        proto: The model.
        input_shape: A concrete input shape to count for, batch included.

    Returns:
        The number of multiplications by a weight, padding included, biases not.
    """
    proto = copy.deepcopy(proto)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name == proto.graph.input[0].name:
            for dim, size in zip(value.type.tensor_type.shape.dim, input_shape, strict=True):
                dim.Clear()
                dim.dim_value = size
        else:
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_param"):
                    dim.Clear()
    del proto.graph.value_info[:]
    graph = shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            weight = shapes[node.input[1]]
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(weight[1:]))
        elif node.op_type == "ConvTranspose":
            weight = shapes[node.input[1]]
            total += int(np.prod(shapes[node.input[0]])) * int(np.prod(weight[1:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(shapes[node.input[1]])) * int(shapes[node.output[0]][0])
    return total


def count_parameters(proto: ModelProto) -> int:
    """Counts the numbers stored in the graph's initializers.

    Args:
        proto: The model.

    Returns:
        The number of parameters, after the folding of batch normalisation.
    """
    return sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)


def run_onnx(path: Path, inputs: FloatArray, batch: int = 256) -> FloatArray:
    """Runs an ONNX file with onnxruntime on one thread.

    Args:
        path: The ONNX file; it has one input and one output.
        inputs: The input, samples along the first axis.
        batch: How many samples go through at a time.

    Returns:
        The outputs, samples along the first axis.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: inputs[start : start + batch]})[0]
        for start in range(0, len(inputs), batch)
    ]
    return np.concatenate(parts).astype(np.float32)


def max_difference(model: nn.Module, path: Path, inputs: FloatArray) -> float:
    """Compares the ONNX file, run by onnxruntime, with the torch model.

    Args:
        model: The torch model.
        path: The ONNX file made of it.
        inputs: Inputs to compare on.

    Returns:
        The largest absolute difference of any output.
    """
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs)).numpy()
    return float(np.abs(run_onnx(path, inputs) - expected).max())


def accuracy(logits: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Gives the share of samples whose largest logit is the labelled class.

    Args:
        logits: One row a sample.
        labels: One class index a sample.

    Returns:
        The accuracy between 0 and 1.
    """
    return float((logits.argmax(axis=1) == labels).mean())


def save_npz(path: Path, limit: int = 900_000, **arrays: npt.NDArray[np.generic]) -> int:
    """Writes a compressed npz file and refuses one that is too large to commit.

    Args:
        path: The file to write.
        limit: The most bytes it may have.
        **arrays: What to store.

    Returns:
        The size of the file in bytes.

    Raises:
        ValueError: If the file is larger than `limit`.
    """
    save: Callable[..., None] = np.savez_compressed
    save(path, **arrays)
    size = path.stat().st_size
    if size > limit:
        raise ValueError(f"{path.name} has {size} bytes, more than {limit}")
    return size
