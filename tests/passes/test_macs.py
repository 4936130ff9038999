"""Multiply-accumulates of integer operators; those of float ones are in ``test_inspection``."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from intaglio.passes.macs import count_macs, dimensions


def node_of(domain, operator, left, right, out):
    shapes = {"x": left, "w": right, "y": out}
    x, w, y = (
        ir.Value(name=name, shape=None if dims is None else ir.Shape(dims))
        for name, dims in shapes.items()
    )
    return ir.Node(domain, operator, [x, w], outputs=[y])


@pytest.mark.parametrize(
    ("operator", "left", "right", "out", "macs"),
    [
        ("ConvInteger", ["N", 4, 8, 8], [6, 2, 3, 3], ["N", 6, 4, 4], 6 * 16 * 18),
        ("ConvInteger16", [1, 4, 8, 8], [6, 4, 3, 3], [1, 6, 4, 4], 6 * 16 * 36),
        ("ConvTransposeInteger", ["N", 4, 5, 5], [4, 3, 2, 2], ["N", 3, 10, 10], 100 * 12),
        ("MatMulInteger", ["N", 7, 9], [9, 5], ["N", 7, 5], 7 * 5 * 9),
        ("MatMulInteger16", [2, 9], [9, 5], [2, 5], 2 * 5 * 9),
        ("MaxPool", [1, 4, 8, 8], [1], [1, 4, 4, 4], 0),
        ("ConvInteger", [1, 4, 8, "W"], [6, 4, 3, 3], [1, 6, 4, 4], None),
        ("ConvInteger", [1, 4, 8, 8], [6, 4, 3, 3], None, None),
        ("ConvInteger", [1, 4, 8, 8], [6, 4, 3, 3], [1, 6, 4, "W"], None),
    ],
)
def test_products_are_counted(operator, left, right, out, macs):
    assert count_macs(node_of("", operator, left, right, out)) == macs


def test_only_the_first_dimension_may_be_unknown():
    value = ir.Value(name="x", shape=ir.Shape(["N", 3]))
    assert dimensions(value) == [1, 3]
    assert dimensions(ir.Value(name="x", shape=ir.Shape([3, "N"]))) is None
    assert dimensions(ir.Value(name="x")) is None
    assert dimensions(None) is None
