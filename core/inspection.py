"""What is in a model or a bundle: operators, shapes, parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from intaglio.border import border_quantization, border_specs
from intaglio.bundle import load
from intaglio.passes.macs import count_macs, dimensions
from intaglio.passes.marks import is_quantized, reading_warnings
from intaglio.passes.provenance import source_name
from intaglio.table_networks import describe_network, open_table_network
from intaglio.targets.base import TensorSpec, spec_of

Shape = tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One node of a model.

    Attributes:
        name: Name of the source node.
        operator: Operator type.
        inputs: Names of the tensors it reads, constants left out.
        output_shape: Shape of its first output.
        parameters: Elements of its constant inputs.
        parameter_bytes: Their size as stored.
        macs: Multiply-accumulates of one run, None where a dimension is not known. A symbolic
            first dimension counts as 1.
        output_bytes: Size of its outputs, None likewise.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    output_shape: Shape
    parameters: int
    parameter_bytes: int
    macs: int | None
    output_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is in a model.

    Attributes:
        path: The file as given.
        quantized: Whether it holds QuantizeLinear or DequantizeLinear.
        inputs: Inputs in order.
        outputs: Outputs in order.
        operators: Number of nodes by operator type.
        parameters: Elements of all constants.
        parameter_bytes: Their size as stored.
        macs: Multiply-accumulates of one run, None where a dimension is not known.
        layers: Every node, in order.
        warnings: What was repaired on reading.
        table_network: Structure, bytes and look-ups of a table network
            (:func:`intaglio.table_networks.describe_network`); None for other models.
    """

    path: str
    quantized: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: dict[str, int]
    parameters: int
    parameter_bytes: int
    macs: int | None
    layers: tuple[LayerInfo, ...]
    warnings: tuple[str, ...] = ()
    table_network: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the inspection as JSON-friendly data."""
        return dataclasses.asdict(self)


def inspect_model(
    path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None
) -> Inspection:
    """Reads a model and counts what is in it.

    Args:
        path: An ONNX or TFLite file.
        shapes: Dimensions by input name, for inputs whose shape is symbolic in the file.

    Returns:
        The counts, of the model as it stands in the file (brought up to date, not simplified).

    Raises:
        InputError: The file is missing, damaged or no such model.
        UnsupportedError: It has something that cannot be read.
        RecipeError: ``shapes`` does not fit the model.
    """
    from intaglio.targets.reading import read_model

    fitted = open_table_network(path)
    # The functions of a table network are its layers; of other models they are dissolved.
    model = read_model(path, shapes) if fitted is None else fitted
    quantization = border_quantization(model)
    layers = tuple(_layer(node) for node in model.graph)
    tensors = [v.const_value for v in model.graph.initializers.values() if v.const_value]
    macs = [layer.macs for layer in layers]
    return Inspection(
        path=str(path),
        quantized=is_quantized(model),
        inputs=tuple(border_specs(model.graph.inputs, quantization)),
        outputs=tuple(border_specs(model.graph.outputs, quantization)),
        operators=dict(sorted(Counter(layer.operator for layer in layers).items())),
        parameters=sum(tensor.size for tensor in tensors),
        parameter_bytes=sum(tensor.nbytes for tensor in tensors),
        # Those of a table network are counted for a cell.
        macs=None if fitted or None in macs else sum(m for m in macs if m),
        layers=layers,
        warnings=tuple(reading_warnings(model)),
        table_network=None if fitted is None else describe_network(fitted),
    )


def inspect_bundle(path: str | Path) -> dict[str, Any]:
    """What is in a bundle, whether its files are as written, and what its artifacts measure here.

    Args:
        path: The bundle's folder.

    Returns:
        JSON-friendly data.

    Raises:
        InputError: There is no bundle, or it is damaged.
        VerificationError: Its files differ from the manifest.
    """
    bundle = load(path)
    bundle.check_hashes()
    report = bundle.report()
    steps = [
        {
            "name": step["name"],
            "phase": step["phase"],
            "changes": len(step["changes"]),
            "skips": len(step["skips"]),
        }
        for step in report["steps"]
    ]
    measured = [
        {"artifact": artifact.path, **dataclasses.asdict(figure)}
        for artifact in bundle.artifacts
        for figure in bundle.opener(artifact).measure(artifact, bundle.folder)
    ]
    reports = {
        artifact.path: dict(said)
        for artifact in bundle.artifacts
        if (said := bundle.opener(artifact).report(artifact, bundle.folder))
    }
    return {
        "path": str(path),
        "measured": measured,
        "reports": reports,
        "source": bundle.manifest["source"],
        "recipe": bundle.manifest["recipe"]["name"],
        "profile": bundle.manifest["profile"],
        "calibration": bundle.manifest["calibration"],
        "table_network": bundle.manifest.get("table_network"),
        "artifacts": bundle.manifest["artifacts"],
        "steps": steps,
    }


def _layer(node: ir.Node) -> LayerInfo:
    constants = {
        id(v): v.const_value for v in node.inputs if v is not None and v.const_value is not None
    }
    sizes = [_bytes(value) for value in node.outputs]
    return LayerInfo(
        name=source_name(node),
        operator=node.op_type,
        inputs=tuple(str(v.name) for v in node.inputs if v is not None and v.const_value is None),
        output_shape=spec_of(node.outputs[0]).shape if node.outputs[0].dtype else (),
        parameters=sum(tensor.size for tensor in constants.values()),
        parameter_bytes=sum(tensor.nbytes for tensor in constants.values()),
        macs=count_macs(node),
        output_bytes=None if any(s is None for s in sizes) else sum(s for s in sizes if s),
    )


def _bytes(value: ir.Value) -> int | None:
    dims = dimensions(value)
    if dims is None or value.dtype is None:
        return None
    return math.ceil(math.prod(dims) * value.dtype.itemsize)
