"""Reading a model file of any format that is known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from intaglio.targets.tflite.flatbuffer import IDENTIFIER


def read_model(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Reads a model; the format is told from the file's contents, not from its name.

    Args:
        path: An ONNX or TFLite file.
        shapes: Dimensions by input name, for inputs whose shape is symbolic in the file.

    Returns:
        The model in standard ONNX operators, shapes inferred, sources stamped. A quantized TFLite
        file comes with QuantizeLinear and DequantizeLinear.

    Raises:
        InputError: The file is missing, damaged or no such model.
        UnsupportedError: It has something that cannot be read.
        RecipeError: ``shapes`` does not fit the model.
    """
    # Imported here: each takes a while to load.
    if is_tflite(Path(path)):
        from intaglio.targets.tflite.read import read_tflite

        return read_tflite(Path(path), shapes or {})
    from intaglio.targets.onnx.read import read_onnx

    return read_onnx(path, shapes)


def is_tflite(path: Path) -> bool:
    """Whether a file starts like a TFLite file; False for what cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(8)[4:] == IDENTIFIER
    except OSError:
        return False
