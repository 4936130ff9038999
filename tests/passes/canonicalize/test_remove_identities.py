from __future__ import annotations

import numpy as np
import pytest

from intaglio.passes.provenance import sources
from tests.helpers import build, operators, reasons, run_pass

X = "(float[1,2,3,4] x) => (float y) "

REMOVED = {
    "identity": ("a = Identity(x) y = Relu(a)", {}),
    "dropout": ("a = Dropout(x, r) y = Relu(a)", {"r": 0.5}),
    "dropout_not_training": (
        "a = Dropout(x, r, t) y = Relu(a)",
        {"r": np.float32(0.5), "t": np.asarray(False)},
    ),
    "reshape": ("a = Reshape(x, s) y = Relu(a)", {"s": [1, 2, -1, 4]}),
    "transpose": ("a = Transpose<perm = [0,1,2,3]>(x) y = Relu(a)", {}),
    "transpose_pair": (
        "a = Transpose<perm = [0,2,3,1]>(x) b = Transpose<perm = [0,3,1,2]>(a) y = Relu(b)",
        {},
    ),
    "cast": ("a = Cast<to = 1>(x) y = Relu(a)", {}),
    "pad": ("a = Pad(x, p) y = Relu(a)", {"p": [0] * 8}),
    "concat": ("a = Concat<axis = 1>(x) y = Relu(a)", {}),
    "sum_of_one": ("a = Sum(x) y = Relu(a)", {}),
    "slice": (
        "a = Slice(x, lo, hi, ax) y = Relu(a)",
        {"lo": [0], "hi": [9], "ax": [2]},
    ),
    "expand": ("a = Expand(x, s) y = Relu(a)", {"s": [1, 1, 3, 4]}),
    "squeeze_pair": ("a = Unsqueeze(x, ax) b = Squeeze(a, ax) y = Relu(b)", {"ax": [2]}),
    "add_zero": ("a = Add(x, z) y = Relu(a)", {"z": 0.0}),
    "multiply_by_one": ("a = Mul(one, x) y = Relu(a)", {"one": np.ones((2, 1, 1))}),
    "divide_by_one": ("a = Div(x, one) y = Relu(a)", {"one": 1.0}),
    "clip_without_bounds": ("a = Clip(x) y = Relu(a)", {}),
    "resize_by_one": (
        'a = Resize<mode = "linear">(x, , s) y = Relu(a)',
        {"s": [1.0, 1.0, 1.0, 1.0]},
    ),
    "pool_of_one": ("a = MaxPool<kernel_shape = [1,1]>(x) y = Relu(a)", {}),
    "dead_code": ("a = Neg(x) b = Exp(a) y = Relu(x)", {}),
    "output_name": ("a = Relu(x) y = Identity(a)", {}),
}


@pytest.mark.parametrize("case", REMOVED)
def test_what_does_nothing_is_removed(case):
    nodes, weights = REMOVED[case]
    model = build(f"{X}{{ {nodes} }}", **weights)
    outcome = run_pass(model, "remove_identities")
    assert operators(model) == ["Relu"]
    assert outcome.modified
    assert not model.graph.initializers
    assert [value.name for value in model.graph.outputs] == ["y"]


KEPT = {
    "dropout_in_training": ("y = Dropout(x, r, t)", {"r": np.float32(0), "t": np.asarray(True)}),
    "reshape": ("y = Reshape(x, s)", {"s": [1, 2, 12]}),
    "transpose": ("y = Transpose<perm = [0,1,3,2]>(x)", {}),
    "cast": ("y = Cast<to = 7>(x)", {}),
    "pad": ("y = Pad(x, p)", {"p": [0, 0, 0, 1, 0, 0, 0, 0]}),
    "backwards_slice": (
        "y = Slice(x, lo, hi, ax, st)",
        {"lo": [-1], "hi": [-9], "ax": [2], "st": [-1]},
    ),
    "add_zero_that_enlarges": ("y = Add(x, z)", {"z": np.zeros((5, 1, 1, 1))}),
    "divide_into_one": ("y = Div(one, x)", {"one": 1.0}),
    "subtract_from_zero": ("y = Sub(z, x)", {"z": 0.0}),
    "expand": ("y = Expand(x, s)", {"s": [6, 1, 1, 1]}),
    "flatten": ("y = Flatten(x)", {}),
    "pool_with_stride": ("y = MaxPool<kernel_shape = [1,1], strides = [2,2]>(x)", {}),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_does_something_stays(case):
    nodes, weights = KEPT[case]
    kind = "int64" if case == "cast" else "float"
    model = build(f"(float[1,2,3,4] x) => ({kind} y) {{ {nodes} }}", **weights)
    outcome = run_pass(model, "remove_identities")
    assert len(operators(model)) == 1
    assert not outcome.modified


def test_an_output_that_is_the_input_keeps_its_identity():
    model = build("(float[1,2] x) => (float y, float z) { y = Identity(x) z = Relu(x) }")
    outcome = run_pass(model, "remove_identities")
    assert operators(model) == ["Identity", "Relu"]
    assert "border needs it" in reasons(outcome)


def test_two_outputs_of_one_value_keep_their_names():
    model = build("(float[1,2] x) => (float y, float z) { y = Relu(x) z = Identity(y) }")
    run_pass(model, "remove_identities")
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert operators(model) == ["Relu", "Identity"]


def test_transposes_in_a_row_become_one():
    model = build(
        "(float[2,3,4] x) => (float y)"
        " { a = Transpose<perm = [1,0,2]>(x) b = Transpose<perm = [2,1,0]>(a) y = Relu(b) }"
    )
    run_pass(model, "remove_identities")
    assert operators(model) == ["Transpose", "Relu"]


def test_a_transpose_that_others_read_stays_for_them():
    model = build(
        "(float[2,3] x) => (float y, float z) { a = Transpose<perm = [1,0]>(x)"
        " b = Transpose<perm = [1,0]>(a) y = Relu(b) z = Neg(a) }"
    )
    run_pass(model, "remove_identities")
    assert sorted(operators(model)) == ["Neg", "Relu", "Transpose"]


def test_chains_of_reshapes_become_one():
    model = build(
        "(float[N,2,3,4] x) => (float y) { a = Reshape(x, s) b = Flatten(a)"
        " c = Unsqueeze(b, ax) y = Squeeze(c, ax) }",
        s=[0, 6, 4],
        ax=[1],
    )
    run_pass(model, "remove_identities")
    assert operators(model) == ["Reshape"]
    assert model.graph.node(0).inputs[1].const_value.numpy().tolist() == [-1, 24]


def test_moving_axes_of_size_one_is_a_transpose_where_sizes_are_symbolic():
    model = build(
        "(float[1,H,W,1] x) => (float y) { a = Unsqueeze(x, ax) b = Reshape(a, s) y = Relu(b) }",
        ax=[0],
        s=[1, 1, 0, 0],
    )
    run_pass(model, "remove_identities")
    assert operators(model) == ["Transpose", "Relu"]
    assert list(model.graph.node(0).attributes["perm"].as_ints()) in ([0, 3, 1, 2], [3, 0, 1, 2])


def test_unused_second_outputs_are_dropped():
    model = build("(float[1,1,4,4] x) => (float y) { y, i = MaxPool<kernel_shape = [2,2]>(x) }")
    run_pass(model, "remove_identities")
    assert len(model.graph.node(0).outputs) == 1


def test_the_source_of_a_removed_node_moves_to_its_producer():
    model = build("(float[1,2] x) => (float y) { a = Relu(x) b = Identity(a) y = Neg(b) }")
    names = {node.op_type: node.name for node in model.graph}
    run_pass(model, "remove_identities")
    assert sources(model.graph.node(0)) == [names["Relu"], names["Identity"]]
