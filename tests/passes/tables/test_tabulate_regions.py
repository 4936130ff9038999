"""Scalar networks become tables that give the same bits; what does not is left with a reason."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from intaglio.passes.provenance import SOURCES_KEY
from intaglio.passes.tables.tabulate_regions import TabulateConfig, TabulateRegions
from tests.helpers import build, operators, reasons, run_float

CHANNELS, HIDDEN, OUTPUTS = 4, 8, 3


def scalar_weights(channels=CHANNELS, hidden=HIDDEN, outputs=OUTPUTS, seed=0, scale=1.0):
    """Weights of a network 1 -> hidden -> outputs for each channel; all sums are exact."""
    generator = np.random.default_rng(seed)

    def grid(*shape):
        return generator.integers(-8, 9, shape) / 8

    return {
        "w1": grid(channels * hidden, 1, 1, 1) / 4,
        "b1": grid(channels * hidden),
        "w2": grid(channels * outputs, hidden, 1, 1) * scale,
        "b2": grid(channels * outputs),
        "low": -128.0,
        "high": 127.0,
        "blocks": np.array([0, channels, outputs, 5, 6]),
        "one": np.array([1]),
        "two": np.array([2]),
    }


def body(source="f", group=CHANNELS):
    return (
        f" a = Conv<group = {group}>({source}, w1, b1) r = Relu(a)"
        f" c = Conv<group = {group}>(r, w2, b2) q = Round(c) e = Clip(q, low, high) "
    )


CAST = "f = Cast<to = 1>(x) "
HEAD = f"(int8[2,{CHANNELS},5,6] x) => (float y) {{ {CAST}"
SUMMED = body() + "s = Reshape(e, blocks) y = ReduceSum<keepdims = 0>(s, one) }"


def tabulate(model, inputs=None, **options):
    """Runs the pass and checks what holds for every model."""
    inputs = inputs or every_value(model)
    want = run_float(model, inputs)
    known = {node.name for node in model.graph}
    outcome = TabulateRegions(TabulateConfig(**options))(model)
    got = run_float(model, inputs)
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)
        assert len(np.unique(value)) > 2, "a constant proves nothing"
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert outcome.modified == bool(outcome.changes)
    for node in model.graph:
        assert SOURCES_KEY in node.metadata_props
        assert known & set(json.loads(node.metadata_props[SOURCES_KEY]))
    again = TabulateRegions(TabulateConfig(**options))(model)
    assert not again.modified
    return outcome


def every_value(model):
    """Inputs with all 256 values in every channel, as far as there is room."""
    feeds = {}
    for place, value in enumerate(model.graph.inputs):
        shape = [size if isinstance(size, int) else 7 for size in value.shape]
        dtype = value.dtype.numpy()
        count = int(np.prod(shape))
        levels = (np.arange(count) * 37 + 11 * place) % 256
        feeds[value.name] = levels.astype(np.uint8).view(dtype).reshape(shape)
    return feeds


def luts(model):
    return [node for node in model.graph if node.op_type == "AdditiveLut"]


def ints(node, name):
    return list(node.attributes[name].as_ints())


def tables(node):
    return node.inputs[1].const_value.numpy()


def test_a_network_and_the_sum_of_its_channels_is_one_layer():
    model = build(HEAD + SUMMED, **scalar_weights())
    outcome = tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast"]
    [node] = luts(model)
    assert tables(node).shape == (CHANNELS, 256, OUTPUTS)
    assert node.inputs[0].name == "x"
    [change] = outcome.changes
    assert change.before == "1 Cast, 2 Conv, 1 Relu, 1 Round, 1 Clip, 1 Reshape, 1 ReduceSum"
    assert change.after == "AdditiveLut with 256 rows of 3"
    [layer] = outcome.facts["layers"]
    assert layer["inputs_compared"] == 256
    assert layer["entries_compared"] == 256 * CHANNELS * OUTPUTS
    assert layer["sums_compared"] == 256 * OUTPUTS
    assert layer["near_ties"] == 0
    assert layer["rounding_margin"] is None, "all its weights are multiples of 1/32"
    assert layer["products_replaced"] == CHANNELS * HIDDEN * (1 + OUTPUTS)
    assert outcome.facts["table_bytes"] == tables(node).nbytes == 256 * CHANNELS * OUTPUTS


def test_unsigned_pixels():
    model = build(HEAD.replace("int8", "uint8") + SUMMED, **scalar_weights())
    tabulate(model)
    [node] = luts(model)
    assert node.attributes["low"].as_int() == 0
    assert node.inputs[0].dtype == ir.DataType.UINT8


def test_signals_with_one_image_axis():
    weights = scalar_weights()
    for name in ("w1", "w2"):
        weights[name] = weights[name][..., 0]
    weights["blocks"] = np.array([0, CHANNELS, OUTPUTS, 40])
    model = build(f"(int8[2,{CHANNELS},40] x) => (float y) {{ {CAST}" + SUMMED, **weights)
    tabulate(model)
    assert ints(luts(model)[0], "kernel_shape") == [1]


def test_a_sum_over_the_outputs_of_each_channel():
    """ReduceSum over the other axis: each channel by itself."""
    text = HEAD + SUMMED.replace("(s, one)", "(s, two)")
    model = build(text, **scalar_weights())
    tabulate(model, products_per_entry=0)
    [node] = luts(model)
    assert node.attributes["group"].as_int() == CHANNELS
    assert tables(node).shape == (1, 256, CHANNELS)


def test_without_a_sum_each_channel_has_its_own_outputs():
    text = HEAD + body() + "y = Identity(e) }"
    model = build(text, **scalar_weights())
    tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast"]
    [node] = luts(model)
    assert node.attributes["group"].as_int() == CHANNELS
    assert tables(node).shape == (1, 256, CHANNELS * OUTPUTS)


def test_a_convolution_of_ones_is_a_sum():
    ones = np.tile(np.eye(OUTPUTS), (1, CHANNELS)).reshape(OUTPUTS, -1, 1, 1)
    model = build(HEAD + body() + "y = Conv(e, ones) }", **scalar_weights(), ones=ones)
    tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast"]
    assert tables(luts(model)[0]).shape == (CHANNELS, 256, OUTPUTS)


def test_a_convolution_of_integers_over_a_window():
    generator = np.random.default_rng(1)
    window = generator.integers(-2, 3, (5, CHANNELS * OUTPUTS, 2, 3)).astype(float)
    bias = generator.integers(-9, 9, 5).astype(float)
    model = build(
        HEAD + body() + "y = Conv<strides = [2, 1], dilations = [2, 1]>(e, window, bias) }",
        **scalar_weights(),
        window=window,
        bias=bias,
    )
    tabulate(model)
    [node] = luts(model)
    assert ints(node, "kernel_shape") == [2, 3]
    assert ints(node, "strides") == [2, 1]
    assert ints(node, "dilations") == [2, 1]
    assert tables(node).dtype == np.int16
    assert tables(node).shape == (6 * CHANNELS, 256, 5)


def test_groups_of_channels():
    generator = np.random.default_rng(2)
    mix = generator.integers(0, 2, (4, CHANNELS * OUTPUTS // 2, 1, 1)).astype(float)
    model = build(HEAD + body() + "y = Conv<group = 2>(e, mix) }", **scalar_weights(), mix=mix)
    tabulate(model)
    [node] = luts(model)
    assert node.attributes["group"].as_int() == 2
    assert tables(node).shape == (CHANNELS // 2, 256, 4)


def test_padding_of_a_sum_is_not_a_value_of_the_input():
    """Zeros around the sum are no entry of a table: the region ends in front of it."""
    window = np.ones((2, CHANNELS * OUTPUTS, 3, 3))
    model = build(
        HEAD + body() + "y = Conv<pads = [1, 1, 1, 1]>(e, window) }",
        **scalar_weights(),
        window=window,
    )
    tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast", "Conv"]


def test_a_window_of_picked_pixels_is_the_window_of_the_layer():
    """A one-hot convolution puts the taps of a window into channels; zeros around it stay 0."""
    picker = np.zeros((CHANNELS, 1, 2, 2))
    picker[np.arange(4), 0, [0, 0, 1, 1], [1, 0, 1, 0]] = 1
    head = f"(int8[2,1,5,6] x) => (float y) {{ {CAST}"
    pick = "p = Conv<pads = [1, 0, 0, 1]>(f, picker) "
    text = head + pick + body("p") + "s = Reshape(e, blocks) y = ReduceSum<keepdims = 0>(s, one) }"
    model = build(text, **scalar_weights(), picker=picker)
    tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast"]
    [node] = luts(model)
    assert node.inputs[0].name == "x"
    assert ints(node, "kernel_shape") == [2, 2]
    assert ints(node, "pads") == [1, 0, 0, 1]


def test_taps_that_are_sliced_and_concatenated():
    """Another way to write a window: its channels are the tables' inputs."""
    head = "(int8[2,1,6,7] x) => (float y) { " + CAST
    slices = "".join(f"t{n} = Slice(f, begin{n}, end{n}, axes) " for n in range(4))
    text = head + slices + "p = Concat<axis = 1>(t0, t1, t2, t3) " + SUMMED.replace("(f,", "(p,")
    corners = ((0, 0), (0, 1), (1, 0), (1, 1))
    bounds = {f"begin{n}": np.array(corner) for n, corner in enumerate(corners)}
    bounds |= {f"end{n}": np.array([5 + row, 6 + col]) for n, (row, col) in enumerate(corners)}
    model = build(text, **scalar_weights(), **bounds, axes=np.array([2, 3]))
    outcome = tabulate(model)
    assert outcome.facts["layers"][0]["rows"] == 256
    assert tables(luts(model)[0]).shape == (4, 256, OUTPUTS)


def test_tables_start_where_the_range_is_smallest():
    """h = x >> 2 has 64 levels; a scale of each channel leaves fewer in most."""
    scale = np.array([1.0, 0.5, 0.25, -0.25]).reshape(1, CHANNELS, 1, 1)
    split = "d = Mul(f, quarter) h = Floor(d) m = Mul(h, scale) g = Round(m) "
    text = HEAD + split + SUMMED.replace("(f, w1", "(g, w1")
    model = build(text, **scalar_weights(), quarter=0.25, scale=scale)
    outcome = tabulate(model)
    [node] = luts(model)
    assert tables(node).shape == (CHANNELS, 64, OUTPUTS)
    assert node.attributes["low"].as_int() == -32
    [layer] = outcome.facts["layers"]
    # -32..31, round half to even of -16..15.5, -8..7.75 and of the mirror image of that.
    assert layer["pruned_bytes"] == (64 + 33 + 17 + 17) * OUTPUTS
    # Rows that a channel never reads repeat the nearest one.
    assert (tables(node)[2, :24] == tables(node)[2, 24]).all()
    assert "Mul" in operators(model)


def test_an_element_wise_operator_is_folded_where_it_saves_no_rows():
    text = HEAD + "n = Sub(minus, f) " + SUMMED.replace("(f, w1", "(n, w1")
    model = build(text, **scalar_weights(), minus=-1.0)
    tabulate(model)
    assert operators(model) == ["AdditiveLut", "Cast"]


def test_both_parts_of_a_split_index():
    lower = "q4 = Mul(h, four) l = Sub(f, q4) "
    split = "d = Mul(f, quarter) h = Floor(d) " + lower
    upper_part = SUMMED.replace("(f, w1", "(h, w1").replace("y = ", "u = ").rstrip("} ")
    names = {name: f"{name}2" for name in ("a", "r", "c", "q", "e", "s", "u")}
    lower_part = upper_part.replace("(h, w1", "(l, w1")
    for old, new in names.items():
        lower_part = lower_part.replace(f" {old} = ", f" {new} = ").replace(f"({old},", f"({new},")
        lower_part = lower_part.replace(f"({old})", f"({new})")
    text = HEAD + split + upper_part + lower_part + " y = Add(u, u2) }"
    model = build(text, **scalar_weights(), quarter=0.25, four=4.0)
    outcome = tabulate(model)
    assert [layer["rows"] for layer in outcome.facts["layers"]] == [64, 4]


def test_equal_layers_share_their_tables():
    copy = SUMMED.replace("y = ", "u = ").rstrip("} ")
    for old in ("a", "r", "c", "q", "e", "s", "u"):
        copy = copy.replace(f" {old} = ", f" {old}2 = ").replace(f"({old},", f"({old}2,")
        copy = copy.replace(f"({old})", f"({old}2)")
    first = SUMMED.replace("y = ", "u = ").rstrip("} ")
    text = (
        HEAD + "t = Transpose<perm = [0, 1, 3, 2]>(f) " + first + copy.replace("(f, w1", "(t, w1")
    )
    weights = scalar_weights()
    weights["blocks"] = np.array([0, CHANNELS, OUTPUTS, 5, 5])
    text = text.replace("[2,4,5,6]", "[2,4,5,5]") + " y = Add(u, u2) }"
    model = build(text, **weights)
    outcome = tabulate(model)
    first_node, second_node = luts(model)
    assert first_node.inputs[1] is second_node.inputs[1]
    assert outcome.facts["table_bytes"] == 256 * CHANNELS * OUTPUTS


def test_unknown_image_sizes():
    text = (
        f"(int8[N,{CHANNELS},H,W] x) => (float y) {{ {CAST}"
        + body()
        + "n = Shape<start = 0, end = 1>(x) i = Shape<start = 2>(x)"
        " shape = Concat<axis = 0>(n, parts, i)"
        " s = Reshape(e, shape) y = ReduceSum<keepdims = 0>(s, one) }"
    )
    weights = scalar_weights()
    weights.pop("blocks")
    model = build(text, **weights, parts=np.array([CHANNELS, OUTPUTS]))
    x = every_value(model)["x"]
    tabulate(model, {"x": x[:, :, :3]})
    assert len(luts(model)) == 1


def test_what_is_used_elsewhere_stays():
    text = HEAD + SUMMED.replace("y = ", "t = ").rstrip("} ") + " k = ReduceMean(r, all)"
    model = build(text + " y = Add(t, k) }", **scalar_weights(), all=np.array([1, 2, 3]))
    outcome = TabulateRegions()(model)
    kinds = operators(model)
    assert outcome.modified
    assert kinds.count("AdditiveLut") == 1
    assert kinds.count("Conv") == 1
    assert kinds.count("Relu") == 1


def refusal(text, weights, **options):
    model = build(text, **weights)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    outcome = TabulateRegions(TabulateConfig(**options))(model)
    assert not outcome.modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    return reasons(outcome)


def test_refuses_results_that_are_not_rounded():
    text = HEAD + SUMMED.replace("Round(c)", "Identity(c)")
    assert "not integers" in refusal(text, scalar_weights())


def test_refuses_what_does_not_pay():
    assert "tables do not pay: 12 entries read for 128 products" in refusal(
        HEAD + SUMMED, scalar_weights(), products_per_entry=12
    )


def test_refuses_tables_that_are_too_large():
    assert "would take 3,072 bytes" in refusal(HEAD + SUMMED, scalar_weights(), largest_bytes=3071)


def test_refuses_entries_beyond_16_bits():
    weights = scalar_weights(scale=4096.0)
    weights.update(low=-(2.0**18), high=2.0**18)
    assert "do not fit 16 bits" in refusal(HEAD + SUMMED, weights)


def test_takes_entries_of_16_bits():
    weights = scalar_weights(scale=64.0)
    weights.update(low=-30000.0, high=30000.0)
    model = build(HEAD + SUMMED, **weights)
    tabulate(model)
    assert tables(luts(model)[0]).dtype == np.int16


def test_refuses_entries_on_the_boundary_of_a_rounding_unless_asked():
    """0.1 * 5 is 0.5 in float32 and more in float64: the two round to 0 and 1."""
    weights = scalar_weights()
    weights["w1"] = np.full((CHANNELS * HIDDEN, 1, 1, 1), 0.1, np.float32)
    weights["b1"] = np.zeros(CHANNELS * HIDDEN)
    weights["w2"] = np.eye(OUTPUTS, HIDDEN)[:, :, None, None].repeat(CHANNELS, 0)
    weights["b2"] = np.zeros(CHANNELS * OUTPUTS)
    text = HEAD + SUMMED
    assert "boundary of a rounding" in refusal(text, weights)
    model = build(text, **weights)
    outcome = tabulate(model, accept_near_ties=True)
    [layer] = outcome.facts["layers"]
    assert layer["near_ties"] > 0
    assert layer["rounding_margin"] < 1e-6


def test_channels_that_mix_are_no_scalar_function():
    """The second convolution reads two channels at once."""
    weights = scalar_weights()
    weights["w2"] = np.ones((CHANNELS * OUTPUTS, 2 * HIDDEN, 1, 1)) / 8
    text = HEAD + SUMMED.replace("c = Conv<group = 4>", "c = Conv<group = 2>")
    model = build(text, **weights)
    outcome = TabulateRegions()(model)
    assert not outcome.modified


def test_values_at_other_positions_are_no_scalar_function():
    weights = scalar_weights()
    weights["w2"] = np.ones((CHANNELS * OUTPUTS, HIDDEN, 1, 3)) / 8
    weights["blocks"] = np.array([0, CHANNELS, OUTPUTS, 5, 4])
    model = build(HEAD + SUMMED, **weights)
    assert not TabulateRegions()(model).modified


def test_a_constant_that_differs_between_positions_is_no_scalar_function():
    mask = np.linspace(0, 1, 6).reshape(1, 1, 1, 6)
    text = HEAD + SUMMED.replace("r = Relu(a)", "k = Relu(a) r = Mul(k, mask)")
    model = build(text, **scalar_weights(), mask=mask)
    assert not TabulateRegions()(model).modified


def test_inputs_of_more_than_256_levels_are_left_alone():
    text = HEAD.replace("int8", "int16") + SUMMED
    model = build(text, **scalar_weights())
    assert not TabulateRegions()(model).modified
    # A clip of integers makes them few enough.
    text = HEAD.replace("int8", "int16") + "g = Clip(f, low, high) " + SUMMED.replace("(f,", "(g,")
    model = build(text, **scalar_weights())
    x = np.arange(-1200, 1200, 10)[: 2 * 4 * 30].reshape(2, 4, 5, 6).astype(np.int16)
    tabulate(model, {"x": x})
    assert operators(model) == ["Cast", "Clip", "Cast", "AdditiveLut", "Cast"]


@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed):
    """Sizes, sums and weights by chance."""
    generator = np.random.default_rng(seed)
    channels, hidden, outputs = (int(n) for n in generator.integers(1, 6, 3))
    weights = scalar_weights(channels, hidden, outputs, seed)
    sums = int(generator.integers(1, 4))
    kernel = tuple(generator.integers(1, 3, 2))
    mix = generator.integers(-1, 2, (sums, channels * outputs, *kernel)).astype(float)
    mix[0, :, 0, 0] = 1
    head = f"(int8[2,{channels},9,8] x) => (float y) {{ {CAST}"
    model = build(head + body(group=channels) + "y = Conv(e, mix) }", **weights, mix=mix)
    tabulate(model, products_per_entry=0)
    assert len(luts(model)) == 1
