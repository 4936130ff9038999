"""Which layer each operator of a file belongs to."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from intaglio.passes.provenance import stamp_sources
from intaglio.targets.ethos_u.files import FileOperator
from intaglio.targets.ethos_u.layers import layers_of, source_nodes


def test_nodes_are_found_by_the_values_they_make():
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["a"], name="block/relu"),
            helper.make_node("Split", ["a"], ["b", "c"], name="block/split", num_outputs=2),
        ],
        "main",
        [value("x", TensorProto.FLOAT, [4])],
        [value("b", TensorProto.FLOAT, [2]), value("c", TensorProto.FLOAT, [2])],
    )
    opset = [helper.make_opsetid("", 18)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=10))
    onnx.checker.check_model(ir.to_proto(model))
    stamp_sources(model)
    assert source_nodes(model) == {"a": "block/relu", "b": "block/split", "c": "block/split"}


def test_what_an_emitter_added_belongs_to_what_takes_it():
    operators = (
        FileOperator("CONST", ("weights",)),
        FileOperator("PAD", ("padded",), inputs=("x",)),
        FileOperator("CONV2D", ("sums",), inputs=("padded", "weights")),
        FileOperator("RESCALE", ("a",), inputs=("sums",)),
        # Two take what a shared helper makes: it counts for the first.
        FileOperator("RESHAPE", ("flat",), inputs=("a",)),
        FileOperator("MATMUL", ("b",), inputs=("flat", "w")),
        FileOperator("MATMUL", ("c",), inputs=("flat", "w")),
        FileOperator("ABS", ("nobody's",), inputs=("x",)),
    )
    nodes = {"a": "conv", "b": "dense1", "c": "dense2"}
    assert layers_of(operators, nodes) == (
        "conv", "conv", "conv", "conv", "dense1", "dense1", "dense2", "",
    )  # fmt: skip
    assert layers_of(operators, {}) == ("",) * 8
