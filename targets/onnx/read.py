"""Reading an ONNX file: float or quantized, any opset, into the one form the passes know.

In order: recognize what is no ONNX model; parse; check the structure; refuse what is not
supported; load external data; check the weights; bring old forms, IR and opset up to date; bind
and infer shapes; check the result; give every node its source name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import google.protobuf.message
import onnx
import onnx_ir as ir

from intaglio.errors import InputError
from intaglio.passes.provenance import stamp_sources
from intaglio.targets.model_files import read_model_bytes
from intaglio.targets.onnx import read_structure as structure
from intaglio.targets.onnx.read_dtypes import to_float32
from intaglio.targets.onnx.read_legacy import complete_legacy
from intaglio.targets.onnx.read_sniff import refuse_foreign
from intaglio.targets.onnx.read_upgrade import (
    check_valid,
    inline_functions,
    standard_opset,
    upgrade,
)
from intaglio.targets.onnx.read_weights import check_weights, load_external_data
from intaglio.targets.onnx.shapes import bind_shapes, infer_shapes


def read_onnx(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Reads an ONNX model.

    Args:
        path: The file; external data is looked for in its folder.
        shapes: Dimensions by input name, for inputs whose shape is symbolic in the file.

    Returns:
        The model in opset 21 and IR 10: one flat graph, initializers that are no inputs, float
        tensors in float32, element type and rank known of every value, source names stamped.

    Raises:
        InputError: The file is missing, damaged, not ONNX, or no sound model.
        UnsupportedError: It has operators, types or structure that cannot be converted.
        RecipeError: ``shapes`` names no input of the model or does not fit it.
    """
    file = Path(path)
    proto = parse(file)
    try:
        return read_proto(proto, file, shapes or {})
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} holds names that are not text", remedy="the file is damaged; export it again"
        ) from error


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file in hex, read in pieces.

    Raises:
        InputError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", remedy="check the path and its permissions"
        ) from error
    return digest.hexdigest()


def parse(path: Path) -> onnx.ModelProto:
    """Parses a file into the raw message, external data not loaded.

    Raises:
        InputError: The file is missing, empty, of another format or damaged.
    """
    data = read_model_bytes(
        path,
        ".onnx or .tflite",
        "an ONNX file can have",
        "save it with its weights as external data",
    )
    if not data:
        raise InputError(f"{path} is empty", remedy="export or copy the model again")
    refuse_foreign(data[:1024], str(path))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (google.protobuf.message.DecodeError, ValueError, RuntimeError) as error:
        kind = "TFLite or ONNX" if path.suffix == ".tflite" else "ONNX"
        raise InputError(
            f"{path} is not a whole {kind} model: it is truncated, damaged or of another format",
            remedy="export or copy the model again",
        ) from error
    if not model.HasField("graph") or model.ir_version < 1:
        raise InputError(
            f"{path} is not an ONNX model: it has no graph",
            remedy="export or copy the model again",
        )
    return model


def read_proto(model: onnx.ModelProto, path: Path, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """Takes a parsed model the rest of the way; see :func:`read_onnx`."""
    name = str(path)
    graph = model.graph
    structure.check_text(model, name)
    structure.drop_initializer_inputs(graph)
    structure.check_border(graph, name)
    structure.sort_nodes(graph, name)
    structure.check_not_constant(graph, name)
    del model.training_info[:]
    del graph.quantization_annotation[:]
    complete_legacy(model)
    standard_opset(model, name)
    structure.refuse_unsupported(model)
    structure.check_functions(model, name)
    load_external_data(model, path)
    check_weights(model)
    bind_shapes(model, shapes)
    check_valid(model, name)
    model = inline_functions(model, name)
    structure.refuse_unsupported(model)
    model = upgrade(model, name)
    to_float32(model)
    infer_shapes(model, name)
    check_valid(model, name)
    found = ir.from_proto(model)
    stamp_sources(found)
    return found
