"""IR and opset upgrade to the one version that the passes know.

onnx's own converter does the work. It is helped in two places where it falls short: Softmax
before opset 13 on the last axis needs no Flatten around it, and large weights are kept out of
its way (it copies them, and cannot take more than 2 GiB).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx
from onnx import checker, helper, inliner, shape_inference, version_converter

from intaglio.errors import InputError, Refusal, UnsupportedError
from intaglio.targets.onnx.read_structure import STANDARD_DOMAINS, label

OPSET = 21
IR_VERSION = 10

_LARGE_BYTES = 4096


def standard_opset(model: onnx.ModelProto, path: str) -> int:
    """Version of the standard operator set that the model imports.

    Raises:
        InputError: It imports none, or one that is newer than the onnx package knows.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if not versions or versions[0] < 1:
        raise InputError(
            f"{path} does not say which operator set it uses", remedy="export the model again"
        )
    newest = onnx.defs.onnx_opset_version()
    if versions[0] > newest:
        raise InputError(
            f"{path} uses opset {versions[0]}, newer than the installed onnx knows ({newest})",
            remedy=f"export with opset {OPSET}, or upgrade the onnx package",
        )
    return int(versions[0])


def check_valid(model: onnx.ModelProto, path: str) -> None:
    """Runs onnx's checker, large weights left out.

    Raises:
        InputError: The model breaks a rule of the ONNX specification.
    """
    # The checker wants a shape on every output; exporters leave it out, and it is inferred later.
    bare = [
        v.type.tensor_type for v in model.graph.output if not v.type.tensor_type.HasField("shape")
    ]
    for tensor in bare:
        tensor.shape.SetInParent()
    with without_weights(model):
        try:
            checker.check_model(model)
        except Exception as error:  # ValidationError, and what its bindings raise on bad text
            raise InputError(
                f"{path} is not a valid ONNX model: {first_line(error)}",
                remedy="export the model again with a current exporter",
            ) from error
        finally:
            for tensor in bare:
                tensor.ClearField("shape")


def inline_functions(model: onnx.ModelProto, path: str) -> onnx.ModelProto:
    """Replaces calls of model-local functions by their bodies.

    Raises:
        InputError: Calls and functions do not fit.
    """
    if not model.functions:
        return model
    try:
        inlined: onnx.ModelProto = inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # the library raises plain C++ assertions
        raise InputError(
            f"the functions in {path} cannot be expanded: {first_line(error)}",
            remedy="export the model without functions",
        ) from error
    return inlined


def first_line(error: Exception) -> str:
    """The first line of a library's message, at a readable length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:240] if lines else type(error).__name__


def upgrade(model: onnx.ModelProto, path: str) -> onnx.ModelProto:
    """The same model in opset 21 and IR 10.

    Args:
        model: A model without local functions; changed in place.
        path: File name for messages.

    Raises:
        UnsupportedError: An operator has no equivalent in opset 21.
    """
    version = standard_opset(model, path)
    _keep_standard_domain(model, version)
    if version < 13:
        _prefer_last_axis(model, version)
    if version != OPSET:
        model = _convert(model, version)
    model.ir_version = IR_VERSION
    _check_known(model, version)
    return model


def _convert(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    names = [value.name for value in model.graph.input]
    with without_weights(model) as weights:
        try:
            converted: onnx.ModelProto = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the library raises plain C++ assertions
            raise UnsupportedError(
                f"the model cannot be taken from opset {version} to {OPSET}: {first_line(error)}",
                remedy=f"export it with opset {OPSET}",
            ) from error
    kept = [value for value in converted.graph.input if value.name in names]
    del converted.graph.input[:]
    converted.graph.input.extend(kept)
    present = {tensor.name for tensor in converted.graph.initializer}
    converted.graph.initializer.extend(t for t in weights if t.name not in present)
    return converted


@contextlib.contextmanager
def without_weights(model: onnx.ModelProto) -> Iterator[list[onnx.TensorProto]]:
    """Turns large initializers into graph inputs for the time being; yields the initializers."""
    graph = model.graph
    inputs = [helper.make_empty_tensor_value_info("") for _ in graph.input]
    for copy, value in zip(inputs, graph.input, strict=True):
        copy.CopyFrom(value)
    weights = list(graph.initializer)
    taken = [t for t in weights if t.ByteSize() > _LARGE_BYTES]
    names = {tensor.name for tensor in taken}
    small = [tensor for tensor in weights if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(small)
    for tensor in taken:
        graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    try:
        yield weights
    finally:
        del graph.initializer[:]
        graph.initializer.extend(weights)
        del graph.input[:]
        graph.input.extend(inputs)


def _prefer_last_axis(model: onnx.ModelProto, version: int) -> None:
    """Softmax on what is the last axis anyway says so, and then needs no Flatten.

    The ranks come from a first conversion: shape inference knows little in old opsets.
    """
    wanted = [n for n in model.graph.node if n.op_type in ("Softmax", "LogSoftmax", "Hardmax")]
    if not wanted:
        return
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    trial = _convert(trial, version)
    with without_weights(trial):
        try:
            inferred = shape_inference.infer_shapes(trial, data_prop=True)
        except Exception:
            return  # the real inference will tell, with a message
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
        if value.type.tensor_type.HasField("shape")
    }
    for node in wanted:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        rank = ranks.get(node.input[0])
        if rank and axis % rank == rank - 1:
            kept = [a for a in node.attribute if a.name != "axis"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("axis", -1)])


def _keep_standard_domain(model: onnx.ModelProto, version: int) -> None:
    """One import, of the standard domain: nodes of other domains were refused before."""
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    for node in model.graph.node:
        node.domain = ""


def _check_known(model: onnx.ModelProto, version: int) -> None:
    refusals = []
    for node in model.graph.node:
        if not onnx.defs.has(node.op_type, OPSET, ""):
            newer = onnx.defs.has(node.op_type, version, "")
            why = f"exists only since an opset after {OPSET}" if newer else "is no ONNX operator"
            refusals.append(
                Refusal(label(node), node.op_type, why, f"export the model with opset {OPSET}")
            )
    if refusals:
        raise UnsupportedError(f"the model has operators that opset {OPSET} lacks", refusals)
