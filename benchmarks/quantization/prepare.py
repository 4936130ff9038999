"""The float model that all methods are given: the published file, made fit for the quantizers.

Two things keep published models from being compared. Some are of an operator set before 13, in
which DequantizeLinear has no per-channel form: onnxruntime's quantizer then writes models that
onnxruntime cannot load. Some fix the batch to 1, so that only one sample runs at a time. Here the
first is converted by ONNX's version converter; of the second the first dimension of inputs and
outputs is freed and, in constant shapes of Reshape, a leading 1 (it becomes 0: "as in the input").
Either is used only if it gives what the published file gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from benchmarks.common import open_session

OPSET = 17
_IR_VERSION = 8
BATCH = "N"


def prepare(
    model: Path, out: Path, samples: NDArray[np.float32], *, free_batch: bool
) -> tuple[Path, bool]:
    """Writes the model that is measured.

    Args:
        model: The published model, with one input.
        out: File to write.
        samples: A few inputs, first axis samples, to compare the two models on.
        free_batch: Whether a batch of 1 should be freed.

    Returns:
        The file to use (``out``, or ``model`` where nothing is to be done) and whether its batch
        is free.

    Raises:
        ValueError: The converted model does not give what the published one gives.
    """
    proto = onnx.load(str(model))
    constants = {tensor.name for tensor in proto.graph.initializer}
    name = next(value.name for value in proto.graph.input if value.name not in constants)
    changed = False
    if next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < 13:
        proto = version_converter.convert_version(proto, OPSET)
        proto.ir_version = max(proto.ir_version, _IR_VERSION)
        _keep_only_real_inputs(proto)
        changed = True
        _check(model, proto, name, samples[:1])
    first = next(v for v in proto.graph.input if v.name == name).type.tensor_type.shape.dim[0]
    free = bool(first.dim_param)
    if free_batch and not free:
        freed = onnx.ModelProto()
        freed.CopyFrom(proto)
        _free(freed)
        if _same(model, freed, name, samples):
            proto, free, changed = freed, True, True
    if not changed:
        return model, free
    out.write_bytes(proto.SerializeToString())
    return out, free


def _keep_only_real_inputs(proto: onnx.ModelProto) -> None:
    """Before IR 4 initializers had to be listed as inputs; quantizers take them for inputs."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    real = [value for value in proto.graph.input if value.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(real)


def _free(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del proto.graph.value_info[:]
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = {
        node.output[0]: node.attribute[0].t
        for node in proto.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    for index, node in enumerate(proto.graph.node):
        if node.op_type != "Reshape" or node.input[0] in constants:
            continue
        tensor = constants.get(node.input[1], nodes.get(node.input[1]))
        shape = None if tensor is None else numpy_helper.to_array(tensor)
        if shape is not None and shape.size > 1 and shape[0] == 1:
            freed = np.concatenate([[0], shape[1:]]).astype(np.int64)
            name = f"{node.input[1]}_free_{index}"
            proto.graph.initializer.append(numpy_helper.from_array(freed, name))
            node.input[1] = name


def _check(model: Path, proto: onnx.ModelProto, name: str, samples: NDArray[np.float32]) -> None:
    if not _same(model, proto, name, samples):
        raise ValueError(f"{model.name} in operator set {OPSET} gives something else")


def _same(model: Path, changed: onnx.ModelProto, name: str, samples: NDArray[np.float32]) -> bool:
    one = open_session(model)
    expected = [one.run(None, {name: sample[None]}) for sample in samples]
    try:
        found = open_session(changed.SerializeToString(), silent=True).run(None, {name: samples})
    except Exception:  # whatever onnxruntime dislikes about it: it is not the same
        return False
    return all(
        np.allclose(np.concatenate([e[i] for e in expected]), array, rtol=1e-4, atol=1e-4)
        for i, array in enumerate(found)
    )
