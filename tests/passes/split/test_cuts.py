"""Cuts of graphs: found, divided, marked, and compared with an exhaustive search."""

from __future__ import annotations

import itertools
import random
import time

import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.split import cut_search
from intaglio.passes.split.cut_names import find_named_cut
from intaglio.passes.split.cuts import CUT_KEY, divide, find_cuts, get_cut, set_cut

INT8, INT32, FLOAT = ir.DataType.INT8, ir.DataType.INT32, ir.DataType.FLOAT


def graph_of(inputs, nodes, outputs, shapes=None, kinds=None, constants=(), dtype=INT8):
    """A graph of ``(operator, reads, makes)``; values are ``dtype`` [1, 4] unless told so."""
    shapes, kinds = shapes or {}, kinds or {}
    values = {}

    def value(name):
        if name not in values:
            values[name] = ir.Value(
                name=name,
                shape=ir.Shape(shapes.get(name, [1, 4])),
                type=ir.TensorType(kinds.get(name, dtype)),
            )
        return values[name]

    made = []
    for operator, reads, makes in nodes:
        for name in reads:
            value(name)
        made.append(
            ir.Node(
                "",
                operator,
                [value(name) for name in reads],
                outputs=[value(name) for name in makes],
                name=f"make_{makes[0]}",
            )
        )
    for name, array in dict(constants).items():
        value(name).const_value = ir.tensor(array, name=name)
    return ir.Graph(
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        nodes=made,
        initializers=[values[name] for name in dict(constants)],
        opset_imports={"": 21},
    )


def names(graph, largest=2):
    return [cut.values for cut in find_cuts(graph, largest)]


def chain(count, dtype=INT8):
    """``x -> 1 -> 2 ...``"""
    line = ["x", *map(str, range(1, count + 1))]
    nodes = [("Mix", [a], [b]) for a, b in itertools.pairwise(line)]
    return graph_of(["x"], nodes, [line[-1]], dtype=dtype)


def halves(graph, values):
    device, server = divide(graph, values)
    return [n.name for n in device], [n.name for n in server]


def test_a_chain_can_be_cut_between_any_two_nodes():
    graph = chain(4)
    assert names(graph) == [("1",), ("2",), ("3",)]
    assert halves(graph, ["2"]) == (["make_1", "make_2"], ["make_3", "make_4"])


def test_a_single_node_cannot_be_cut():
    assert find_cuts(chain(1)) == []
    with pytest.raises(RecipeError, match="nothing is computed in front of 'x'"):
        divide(chain(1), ["x"])
    with pytest.raises(RecipeError, match="nothing is computed behind '1'"):
        divide(chain(1), ["1"])


def test_a_skip_that_is_the_tensor_itself_hides_what_the_branch_computes():
    graph = graph_of(
        ["x"],
        [
            ("Mix", ["x"], ["a"]),
            ("Mix", ["a"], ["b"]),
            ("Mix", ["b"], ["c"]),
            ("Add", ["a", "c"], ["d"]),
            ("Mix", ["d"], ["y"]),
        ],
        ["y"],
    )
    assert names(graph) == [("a",), ("d",)]
    with pytest.raises(RecipeError, match="'a' would cross beside 'b'"):
        divide(graph, ["b"])
    # Asked for by name, both may cross: the device then spares the server the node between.
    assert halves(graph, ["a", "b"]) == (["make_a", "make_b"], ["make_c", "make_d", "make_y"])


def test_a_skip_with_an_operator_of_its_own_gives_pairs():
    graph = graph_of(
        ["x"],
        [
            ("Mix", ["x"], ["a"]),
            ("Mix", ["a"], ["b"]),
            ("Mix", ["b"], ["c"]),
            ("Mix", ["a"], ["s"]),
            ("Add", ["c", "s"], ["d"]),
            ("Mix", ["d"], ["y"]),
        ],
        ["y"],
    )
    assert set(names(graph)) == {("a",), ("d",), ("b", "s"), ("c", "s")}
    assert names(graph, largest=1) == [("a",), ("d",)]
    device, server = halves(graph, ["s", "b"])
    assert device == ["make_a", "make_b", "make_s"]
    assert server == ["make_c", "make_d", "make_y"]


def test_three_branches_are_too_many():
    branches = [("Mix", ["x"], [name]) for name in "abc"]
    graph = graph_of(["x"], [*branches, ("Concat", ["a", "b", "c"], ["y"])], ["y"])
    assert find_cuts(graph) == []


def test_all_inputs_are_separated_from_all_outputs():
    graph = graph_of(
        ["x", "z"],
        [
            ("Mix", ["x"], ["a"]),
            ("Add", ["a", "z"], ["b"]),
            ("Mix", ["b"], ["c"]),
            ("Mix", ["c"], ["u"]),
            ("Mix", ["c"], ["v"]),
        ],
        ["u", "v"],
    )
    # "u" and "v" together leave the server nothing; the second input may cross as it is.
    assert set(names(graph)) == {("b",), ("c",), ("z", "a")}


def test_an_output_does_not_cross():
    graph = graph_of(
        ["x"],
        [
            ("Mix", ["x"], ["a"]),
            ("Mix", ["a"], ["u"]),
            ("Mix", ["a"], ["b"]),
            ("Mix", ["b"], ["v"]),
        ],
        ["u", "v"],
    )
    assert set(names(graph)) == {("a",)}
    with pytest.raises(RecipeError, match="'u' is an output of the model"):
        find_named_cut(graph, "u")


def test_a_node_with_two_outputs_is_on_one_side():
    graph = graph_of(
        ["x", "z"],
        [
            ("Mix", ["x"], ["e"]),
            ("Split", ["e"], ["p", "q"]),
            ("Add", ["p", "z"], ["f"]),
            ("Add", ["q", "f"], ["g"]),
            ("Mix", ["g"], ["y"]),
        ],
        ["y"],
    )
    # {e, f} separates, but the Split would be needed on both sides.
    assert set(names(graph)) == {("g",), ("z", "e"), ("q", "f")}


def test_accumulators_do_not_cross():
    graph = graph_of(
        ["x"],
        [
            ("Mix", ["x"], ["a"]),
            ("Mix", ["a"], ["b"]),
            ("Mix", ["b"], ["c"]),
            ("Mix", ["c"], ["y"]),
        ],
        ["y"],
        kinds={"b": INT32},
    )
    assert names(graph) == [("a",), ("c",)]


def test_tensors_without_channels_do_not_cross():
    shapes = {"a": [4], "b": [1, 2, 2, 2, 2], "c": [1, 2, 2]}
    nodes = [("Mix", [a], [b]) for a, b in itertools.pairwise("xabcy")]
    assert names(graph_of(["x"], nodes, ["y"], shapes)) == [("c",)]


def test_of_one_tensor_in_several_forms_the_first_stands_for_all():
    nodes = [
        ("Mix", ["x"], ["a"]),
        ("Flatten", ["a"], ["b"]),
        ("Identity", ["b"], ["c"]),
        ("Mix", ["c"], ["y"]),
    ]
    graph = graph_of(["x"], nodes, ["y"], {"a": [1, 4, 1, 1]})
    assert names(graph) == [("a",)]
    assert halves(graph, ["c"]) == (["make_a", "make_b", "make_c"], ["make_y"])


def test_a_side_that_only_relabels_does_nothing():
    nodes = [("Flatten", ["x"], ["a"]), ("Mix", ["a"], ["b"]), ("Reshape", ["b"], ["y"])]
    assert find_cuts(graph_of(["x"], nodes, ["y"])) == []


def test_a_float_graph_is_cut_where_quantization_puts_a_scale():
    nodes = [
        ("MatMul", ["x", "w"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("MatMul", ["b", "w"], ["c"]),
        ("Sigmoid", ["c"], ["d"]),
        ("Neg", ["d"], ["e"]),
        ("MatMul", ["e", "w"], ["y"]),
    ]
    weights = {"w": [[1.0] * 4] * 4}
    graph = graph_of(["x"], nodes, ["y"], {"w": [4, 4]}, constants=weights, dtype=FLOAT)
    found = find_cuts(graph)
    # "a" is within the product's clamp, "d" within the table of Sigmoid and Neg.
    assert [cut.values for cut in found] == [("b",), ("c",), ("e",)]
    assert [(cut.device_macs, cut.server_macs) for cut in found] == [(16, 32), (32, 16), (32, 16)]


def test_a_quantized_graph_is_cut_at_what_quantizers_read():
    constants = {"s": 0.5, "w": [[1.0] * 4] * 4}
    nodes = [
        ("MatMul", ["x", "w"], ["a"]),
        ("QuantizeLinear", ["a", "s"], ["a8"]),
        ("DequantizeLinear", ["a8", "s"], ["b"]),
        ("MatMul", ["b", "w"], ["y"]),
    ]
    graph = graph_of(
        ["x"], nodes, ["y"], {"w": [4, 4], "s": []}, {"a8": INT8}, constants, dtype=FLOAT
    )
    assert names(graph) == [("a",)]
    assert halves(graph, ["b"])[1] == ["make_y"]


def test_integer_products_are_counted_though_accumulators_have_no_shape():
    nodes = [
        ("ConvInteger", ["x", "w"], ["p"]),
        ("Add", ["p", "bias"], ["q"]),
        ("Mix", ["q"], ["a"]),
        ("Mix", ["a"], ["y"]),
    ]
    shapes = {"x": ["N", 2, 8, 8], "w": [3, 2, 3, 3], "a": ["N", 3, 6, 6], "bias": [3, 1, 1]}
    kinds = {"p": INT32, "q": INT32, "bias": INT32}
    constants = {
        "w": ir.tensor([0] * 54, dtype=INT8).numpy().reshape(3, 2, 3, 3),
        "bias": ir.tensor([0] * 3, dtype=INT32).numpy().reshape(3, 1, 1),
    }
    graph = graph_of(["x"], nodes, ["y"], shapes, kinds, constants)
    for node in list(graph)[:2]:
        node.outputs[0].shape = None
    [cut] = find_cuts(graph)
    assert cut.values == ("a",)
    assert cut.shapes == (("N", 3, 6, 6),)
    assert cut.elements == 3 * 36
    assert (cut.device_macs, cut.server_macs) == (3 * 36 * 18, 0)
    # The input stays until all of the convolution is done.
    assert cut.device_peak_bytes == 2 * 64 + 3 * 36


def test_peak_of_the_device_counts_what_is_alive_at_once():
    sizes = {"x": 10, "a": 100, "b": 30, "c": 50, "d": 7, "y": 1}
    nodes = [
        ("Mix", ["x"], ["a"]),
        ("Mix", ["a"], ["b"]),
        ("Mix", ["a"], ["c"]),
        ("Add", ["b", "c"], ["d"]),
        ("Mix", ["d"], ["y"]),
    ]
    graph = graph_of(["x"], nodes, ["y"], {name: [1, size] for name, size in sizes.items()})
    peaks = {cut.values: cut.device_peak_bytes for cut in find_cuts(graph)}
    assert peaks == {("a",): 110, ("b", "c"): 180, ("d",): 180}


def test_a_relabelled_tensor_takes_no_second_place():
    nodes = [
        ("Mix", ["x"], ["a"]),
        ("Reshape", ["a"], ["b"]),
        ("Mix", ["b"], ["c"]),
        ("Mix", ["c"], ["y"]),
    ]
    shapes = {"x": [1, 10], "a": [1, 100], "b": [1, 50, 2], "c": [1, 20]}
    peaks = {
        c.values: c.device_peak_bytes for c in find_cuts(graph_of(["x"], nodes, ["y"], shapes))
    }
    assert peaks == {("a",): 110, ("c",): 120}


def test_a_symbolic_batch_counts_as_one_and_other_unknown_sizes_are_refused():
    nodes = [("Mix", ["x"], ["a"]), ("Mix", ["a"], ["y"])]
    [cut] = find_cuts(graph_of(["x"], nodes, ["y"], {"a": ["N", 3, 5]}))
    assert (cut.elements, cut.shapes) == (15, (("N", 3, 5),))
    with pytest.raises(UnsupportedError, match=r"size of tensor 'a' is not known.*--shape"):
        find_cuts(graph_of(["x"], nodes, ["y"], {"a": ["N", 3, "width"]}))


def test_constants_may_stand_on_both_sides():
    nodes = [
        ("Neg", ["k"], ["m"]),
        ("Add", ["x", "m"], ["a"]),
        ("Add", ["a", "m"], ["y"]),
        ("Neg", ["a"], ["unused"]),
    ]
    graph = graph_of(["x"], nodes, ["y"], constants={"k": [[1.0] * 4]}, dtype=FLOAT)
    assert names(graph) == [("a",)]
    assert halves(graph, ["a"]) == (["make_m", "make_a"], ["make_m", "make_y"])


def test_what_does_not_separate_is_refused_with_the_reason():
    graph = chain(3)
    for wanted, message in (
        (["nothing"], "tensor 'nothing' is not there"),
        ([], "a cut needs a tensor"),
        (["1", "2"], "nothing behind the cut reads '1'.*cut at '2' alone"),
    ):
        with pytest.raises(RecipeError, match=message):
            divide(graph, wanted)
    with pytest.raises(ValueError, match="largest is 3"):
        find_cuts(graph, 3)


def test_what_lies_on_no_way_is_refused_by_name():
    graph = graph_of(
        ["x"], [("Mix", ["x"], ["a"]), ("Mix", ["a"], ["y"]), ("Mix", ["a"], ["u"])], ["y"]
    )
    with pytest.raises(RecipeError, match="'u' does not lie between inputs and outputs"):
        divide(graph, ["u"])


def test_the_mark_is_kept_in_the_metadata():
    model = ir.Model(chain(3), ir_version=10)
    assert get_cut(model) is None
    set_cut(model, ["a,b", "ü"])
    assert get_cut(model) == ("a,b", "ü")
    assert set(model.metadata_props) == {CUT_KEY}


@st.composite
def random_graphs(draw):
    """Small graphs of any shape, with several inputs and outputs and values that may not cross."""
    inputs = [f"i{n}" for n in range(draw(st.integers(1, 3)))]
    known, nodes, sizes, kinds = list(inputs), [], {}, {}
    for index in range(draw(st.integers(1, 9))):
        # Mostly what was made last, so that the graph is long and not flat.
        near = st.sampled_from(known[-3:]) if draw(st.integers(0, 3)) else st.sampled_from(known)
        reads = draw(st.lists(near, min_size=1, max_size=2, unique=True))
        makes = [f"v{index}_{n}" for n in range(draw(st.sampled_from([1, 1, 1, 2])))]
        nodes.append(("Mix", reads, makes))
        known += makes
        for name in makes:
            sizes[name] = [1, draw(st.integers(1, 4))]
            if draw(st.integers(0, 5)) == 0:
                kinds[name] = INT32
    outputs = draw(st.lists(st.sampled_from(known[-3:]), min_size=1, max_size=2, unique=True))
    if not any(name not in inputs and kinds.get(name) != INT32 for name in known):
        kinds = {}
    return inputs, nodes, outputs, sizes, kinds


def exhaustive(inputs, nodes, outputs, kinds):
    """Every cut of one or two values, straight from the definition."""
    maker = {name: index for index, (_, _, makes) in enumerate(nodes) for name in makes}

    def needed(targets, stops):
        """Nodes and inputs that ``targets`` depend on where ``stops`` are given."""
        seen, found, waiting = set(), set(), [t for t in targets if t not in stops]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in maker:
                found.add(maker[name])
                waiting += [r for r in nodes[maker[name]][1] if r not in stops]
        return found, {name for name in seen if name in inputs}

    def separates(values):
        return not needed(outputs, set(values))[1]

    active, fed = needed(outputs, set())
    values = [*fed, *(name for index in active for name in nodes[index][2])]
    # A sibling that no output depends on is not on a way.
    read = {r for index in active for r in nodes[index][1]} | set(outputs)
    found = set()
    for size in (1, 2):
        for choice in itertools.combinations([v for v in values if v in read], size):
            if any(kinds.get(v) == INT32 or v in outputs for v in choice) or not separates(choice):
                continue
            if size == 2 and any(separates([value]) for value in choice):
                continue
            device, server = needed(choice, set())[0], needed(outputs, set(choice))[0]
            if device and server and not device & server:
                found.add(frozenset(choice))
    return found


@settings(max_examples=400, deadline=None)
@given(random_graphs())
def test_cuts_are_those_of_an_exhaustive_search(made):
    inputs, nodes, outputs, sizes, kinds = made
    graph = graph_of(inputs, nodes, outputs, sizes, kinds)
    wanted = exhaustive(inputs, nodes, outputs, kinds)
    found = find_cuts(graph)
    assert {frozenset(cut.values) for cut in found} == wanted
    assert len(found) == len(wanted)
    for cut in found:
        device, server = divide(graph, cut.values)
        assert not set(device) & set(server)
        assert cut.elements == sum(sizes.get(name, [1, 4])[1] for name in cut.values)


@settings(max_examples=200, deadline=None)
@given(random_graphs())
@example(
    (
        ["i0", "i1"],
        [("Mix", ["i0"], ["v0"]), ("Mix", ["i0", "i1"], ["v1"])],
        ["v0", "v1"],
        {"v0": [1, 1]},
        {},
    )
)
def test_of_many_pairs_those_are_left_out_that_others_beat(made):
    inputs, nodes, outputs, sizes, kinds = made
    graph = graph_of(inputs, nodes, outputs, sizes, kinds)
    wanted = exhaustive(inputs, nodes, outputs, kinds)

    def cost(values):
        size = sum(sizes.get(name, [1, 4])[1] for name in values)
        return size, {node.name for node in divide(graph, sorted(values))[0]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_search, "MOST_PAIRS", 0)
        kept = {frozenset(cut.values) for cut in find_cuts(graph)}
    assert kept <= wanted
    for values in wanted - kept:
        size, device = cost(values)
        others = [cost(other) for other in kept]
        assert any(s <= size and d <= device for s, d in others), values


def test_long_branches_and_wide_graphs_take_seconds():
    length = 450
    nodes = [("Mix", ["x"], ["a0"]), ("Mix", ["x"], ["b0"])]
    for n in range(1, length):
        nodes += [("Mix", [f"{side}{n - 1}"], [f"{side}{n}"]) for side in "ab"]
    nodes.append(("Add", [f"a{length - 1}", f"b{length - 1}"], ["y"]))
    start = time.perf_counter()
    found = find_cuts(graph_of(["x"], nodes, ["y"]))
    assert 0 < len(found) < 3 * length
    # No value is on every way, and there are more of them than a stretch is searched for.
    generator = random.Random(0)
    known, nodes = ["x"], []
    for n in range(3000):
        nodes.append(("Mix", sorted(set(generator.choices(known[-40:], k=3))), [f"v{n}"]))
        known.append(f"v{n}")
    assert find_cuts(graph_of(["x"], nodes, known[-20:])) == []
    assert time.perf_counter() - start < 60
