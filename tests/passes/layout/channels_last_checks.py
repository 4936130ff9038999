"""What must hold of every integer graph that is brought to channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.passes.annotations import (
    LAYOUT_KEY,
    all_values,
    get_layout,
    get_quantization,
    get_source_value,
)
from intaglio.passes.base import Outcome
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.layout.to_channels_last import ToChannelsLast, is_spatial
from intaglio.passes.provenance import SOURCES_KEY
from tests.helpers import run_float


def integer_feeds(model: ir.Model, seed: int = 0, size: int = 20) -> dict[str, Any]:
    """Integers of the whole range for each input (real numbers where it is a float)."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        shape = [
            d if isinstance(d, int) else 1 if axis == 0 else size + axis
            for axis, d in enumerate(value.shape)
        ]
        dtype = value.dtype.numpy()
        if np.issubdtype(dtype, np.floating):
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            feeds[value.name] = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return feeds


def check_channels_last(model: ir.Model, feeds: dict[str, Any] | None = None) -> Outcome:
    """Runs the pass and checks that the bits are the same and the form is the promised one."""
    feeds = feeds or integer_feeds(model)
    border = (*model.graph.inputs, *model.graph.outputs)
    layouts = {v.name: get_layout(v) for v in border}
    want = run_float(model, feeds)
    # What only moves may vanish; everything else goes on standing for its float tensor.
    noted = {v.name: get_source_value(v) for v in all_values(model) if not _is_move(v.producer())}
    result = ToChannelsLast()(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)

    def turned(value: ir.Value, array: Any) -> Any:
        return array if get_layout(value) == layouts[value.name] else array.transpose(0, 2, 3, 1)

    fed = {v.name: turned(v, feeds[v.name]) for v in model.graph.inputs}
    got = run_float(model, fed)
    assert list(got) == list(want)
    for value in model.graph.outputs:
        np.testing.assert_array_equal(got[value.name], turned(value, want[value.name]))
    check_form(model)
    # So does what keeps its name; elements in another order stand for no tensor.
    names = {v.name for v in all_values(model)}
    shuffled = {name for name in noted if f"{name}_reordered" in names - set(noted)}
    kept = {source for name, source in noted.items() if name not in shuffled}
    assert kept <= {get_source_value(v) for v in all_values(model)}
    assert result.facts["transposes_remaining"] == count_transposes(model)
    again = ToChannelsLast()(model)
    assert not again.modified, again.changes
    assert ir.to_proto(model).SerializeToString() == proto.SerializeToString()
    return result


def _is_move(node: ir.Node | None) -> bool:
    return node is not None and node.op_type in ("Transpose", "Reshape")


def check_form(model: ir.Model) -> None:
    """Every channels-first operator stands between two transposes of its own."""
    for node in model.graph:
        assert SOURCES_KEY in node.metadata_props
        if is_inside(node):
            assert node.op_type == "Transpose"
            assert node.metadata_props[LAYOUT_KEY] == "inside"
        if not is_spatial(node) or len(node.inputs[0].shape) != 4:
            continue
        before = node.inputs[0].producer()
        [use] = node.outputs[0].uses()
        assert is_inside(before)
        assert is_inside(use.node)
        assert list(before.attributes["perm"].as_ints()) == [0, 3, 1, 2]
        assert list(use.node.attributes["perm"].as_ints()) == [0, 2, 3, 1]
        assert len(before.outputs[0].uses()) == 1
        assert not node.outputs[0].is_graph_output()
        outside = use.node.outputs[0]
        assert get_quantization(outside) == get_quantization(node.outputs[0])
        assert get_source_value(outside) == get_source_value(node.outputs[0])


def count_transposes(model: ir.Model) -> int:
    """Transposes that are operators of their own."""
    return sum(node.op_type == "Transpose" and not is_inside(node) for node in model.graph)
