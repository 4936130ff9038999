"""A table network as an ONNX model: one node of the dialect for each step of a layer.

The model takes planes of bytes of any size, uint8 [N, 1, H, W], and gives planes of bytes. It holds
integers only and is marked as being in the integer form. onnxruntime runs it, since the bodies of
the functions come with it.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.dialect.functions import OPSET, add_functions
from intaglio.passes.marks import mark_integer
from intaglio.passes.provenance import stamp_sources
from intaglio.passes.table_networks.facts import METADATA, TASK
from intaglio.passes.table_networks.graph import GraphWriter
from intaglio.passes.table_networks.write_branches import reference_graph
from intaglio.transforms.table_networks.centred import LOWEST, CentredNetwork, Window
from intaglio.transforms.table_networks.reference import ReferenceNetwork

#: Names of the model's input and output.
INPUT, OUTPUT = "image", "result"

#: What table networks state as their arithmetic: shifts only, which all profiles share.
PROFILE = "tflm"

_IR_VERSION = 10


def network_model(
    network: CentredNetwork | ReferenceNetwork, name: str, task: str = ""
) -> ir.Model:
    """Writes a network as a model.

    Args:
        network: The network.
        name: Name of the graph.
        task: What it was fitted for, such as ``superres x4`` or ``denoise 25``; free text.

    Returns:
        The model. Its metadata tell the bytes of the tables, look-ups and multiplications for a
        cell, and the task.
    """
    graph = GraphWriter()
    image = _border(INPUT, "H", "W")
    if isinstance(network, CentredNetwork):
        result = centred_graph(graph, network, image, OUTPUT)
    else:
        result = reference_graph(graph, network, image, OUTPUT)
    result.shape = ir.Shape(["N", 1, "H_out", "W_out"])
    model = ir.Model(
        ir.Graph(
            [image],
            [result],
            nodes=graph.nodes,
            initializers=graph.initializers,
            opset_imports={"": OPSET},
            name=name,
        ),
        ir_version=_IR_VERSION,
        producer_name="intaglio",
    )
    add_functions(model)
    stamp_sources(model)
    mark_integer(model, PROFILE)
    model.metadata_props.update({key: str(read(network)) for key, read in METADATA.items()})
    if task:
        model.metadata_props[TASK] = task
    return model


def centred_graph(
    graph: GraphWriter, network: CentredNetwork, image: ir.Value, output: str
) -> ir.Value:
    """Adds the layers of a centred network.

    Args:
        graph: Where to.
        network: The network.
        image: Its input.
        output: Name of its output.

    Returns:
        The output.
    """
    strides = (network.stride, network.stride)
    weights = graph.constant(network.stem_weights, "stem_weights", "taps")
    bias = graph.constant(network.stem_bias, "stem_bias")
    sums = graph.call("CellStem", [image, weights, bias], "int32", "stem", strides=strides)
    features = graph.call(
        "CellFeatures",
        [sums],
        "int8",
        "features",
        channels=network.channels,
        shift=network.stem_shift,
    )
    for number, mixing in enumerate(network.mixings, 1):
        name = f"mixing{number}"
        rows = _rows(graph, features, mixing.window, name)
        tables = graph.constant(mixing.tables, f"{name}_tables")
        change = graph.call("AdditiveLut", [rows, tables], "int32", f"{name}_sums", low=LOWEST)
        features = graph.call("CellResidual", [features, change], "int8", name, shift=mixing.shift)
    rows = _rows(graph, features, network.head_window, "head")
    tables = graph.constant(network.head_tables, "head_tables")
    change = graph.call("AdditiveLut", [rows, tables], "int32", "head_sums", low=LOWEST)
    return graph.call(
        "CellHead",
        [image, change, sums],
        "uint8",
        output,
        upscale=network.upscale,
        strides=strides,
        head_shift=network.head_shift,
        out_shift=network.out_shift,
    )


def _rows(graph: GraphWriter, features: ir.Value, window: Window, name: str) -> ir.Value:
    taps = graph.constant(window.taps, f"{name}_taps", "taps")
    return graph.call(
        "CellRows",
        [features, taps],
        "int8",
        f"{name}_rows",
        group=int(window.taps.shape[0]),
        shift=window.shift,
    )


def _border(name: str, height: str, width: str) -> ir.Value:
    return ir.Value(
        name=name,
        shape=ir.Shape(["N", 1, height, width]),
        type=ir.TensorType(ir.DataType.UINT8),
    )
