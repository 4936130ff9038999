"""``calibrate.choose_cut`` on the integer graphs of models with skips, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.fitting.choose_cut import ChooseCut, ChooseCutConfig, integer_feed
from intaglio.fitting.data import open_data, random_data
from intaglio.pipeline import prepare_for_target, run_recipe
from intaglio.recipe import load_recipe
from intaglio.settings import build_config
from intaglio.split_points import find_split_points
from intaglio.targets.base import spec_of
from intaglio.targets.reading import read_model
from intaglio.transforms.split.estimate import estimate_bits
from tests.helpers import build, open_session

FASHION = Path(__file__).parents[2] / "sample_models" / "fashion"
LOWER = ("lower.shift_unsigned", "lower.to_integer")


def lowered(path, shapes=None):
    """The integer graph of a model, calibrated on random numbers, and those."""
    model = read_model(path, shapes or {})
    data = random_data([spec_of(value) for value in model.graph.inputs], 4)
    recipe = load_recipe("int8")
    model = run_recipe(model, recipe, data=data).model
    prepare_for_target(model, LOWER, recipe, "test")
    return model, data


@pytest.fixture(scope="module")
def fashion():
    return lowered(FASHION / "fashion.onnx")


@pytest.fixture
def whole(fashion):
    """The integer graph, not cut yet."""
    return fashion[0].clone(deep_copy=True), fashion[1]


def choose(model, data=None, **options):
    return ChooseCut(ChooseCutConfig(**options), data)(model)


def marked(model):
    return json.loads(model.metadata_props["intaglio.cut"])


def test_a_tensor_is_marked_by_name(whole):
    model, _ = whole
    done = choose(model, at="stage1.relu2.out")
    assert marked(model) == ["stage1.relu2.out"]
    assert done.modified
    assert [(c.kind, c.node, c.after) for c in done.changes] == [
        ("cut", "stage1.relu2.out", "stage1.relu2.out")
    ]
    chosen = [row for row in done.facts["candidates"] if row["chosen"]]
    assert [row["values"] for row in chosen] == [("stage1.relu2.out",)]
    assert not chosen[0]["estimated"]


@pytest.mark.parametrize(
    "at",
    [
        "stage2.relu1.out,stage2.shortcut.out",
        "stage2.shortcut.out, stage2.relu1.out",
        "stage2.relu1,stage2.shortcut",
    ],
)
def test_two_tensors_or_nodes_are_joined_by_a_comma(whole, at):
    choose(whole[0], at=at)
    assert marked(whole[0]) == ["stage2.relu1.out", "stage2.shortcut.out"]


def test_a_node_stands_for_its_result(whole):
    choose(whole[0], at="stage2.add")
    assert marked(whole[0]) == ["stage2.relu2.out"]


def test_a_second_run_changes_nothing(whole):
    model, data = whole
    choose(model, at="stage1.relu2.out")
    again = choose(model, data, at="stage2.relu2.out")
    assert not again.modified
    assert [skip.node for skip in again.skips] == ["stage1.relu2.out"]
    assert marked(model) == ["stage1.relu2.out"]


def test_auto_takes_the_least_time_of_its_own_table(whole):
    model, data = whole
    done = choose(model, data)
    rows = [row for row in done.facts["candidates"] if row["server_macs"]]
    best = min(rows, key=lambda row: row["seconds"])
    assert best["chosen"]
    assert marked(model) == list(best["values"])
    assert all(row["estimated"] for row in rows)
    for row in rows:
        expected = 2e-9 * row["device_macs"] + row["bits"] / 1e6 + 2e-11 * row["server_macs"]
        assert row["seconds"] == pytest.approx(expected)


def test_bits_are_estimated_on_what_the_integer_graph_computes(whole):
    model, data = whole
    done = choose(model, data, samples=3)
    bits = {row["values"]: row["bits"] for row in done.facts["candidates"]}
    inner = next(v for n in model.graph for v in n.outputs if v.name == "stage2.relu2.out")
    model.graph.outputs.append(inner)
    session = open_session(model)
    feed = integer_feed(model, next(data.batches(3, 3)))
    [found] = session.run(["stage2.relu2.out"], feed)
    assert bits["stage2.relu2.out",] == pytest.approx(estimate_bits(found))


def test_link_and_speeds_move_the_cut(fashion):
    found = {}
    for name, options in {
        "slow link": {"bandwidth": "1kbps"},
        "slow device": {"device_gops": 1e-4},
    }.items():
        model = fashion[0].clone(deep_copy=True)
        choose(model, fashion[1], **options)
        found[name] = marked(model)
    assert found == {"slow link": ["pool.out"], "slow device": ["stem_relu.out"]}


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("stage1.relu2.outt", r"no 8-bit tensor and no node called 'stage1.relu2.outt'.*"
         r"did you mean stage1.relu2.out .*--split-points"),
        ("nothing", r"called 'nothing' to cut at \(`intaglio inspect MODEL --split-points`"),
        ("stage2.relu1.out,nothing", "called 'nothing' to cut"),
        ("stage1.relu1.out", "'stem_relu.out' would cross beside 'stage1.relu1.out'"),
        ("stage1.relu1.out,stage1.relu2.out", "nothing behind the cut reads 'stage1.relu1.out'"),
        ("image", "nothing is computed in front of 'image'"),
        ("logits", "'logits' is an output of the model, which a cut would leave on the device"),
        ("stem_relu.out_accumulator", "no 8-bit tensor"),
        ("", "no 8-bit tensor"),
    ],
)  # fmt: skip
def test_where_no_cut_is_is_refused_with_the_reason(whole, at, message):
    with pytest.raises(RecipeError, match=message):
        choose(whole[0], at=at)
    assert "intaglio.cut" not in whole[0].metadata_props


def test_auto_needs_data(whole):
    with pytest.raises(RecipeError, match="needs calibration data"):
        choose(whole[0])


def test_a_bandwidth_that_is_none_is_refused(whole):
    with pytest.raises(RecipeError, match=r"calibrate.choose_cut: 'fast' is not a bandwidth"):
        choose(whole[0], whole[1], bandwidth="fast")
    with pytest.raises(RecipeError, match="device_gops"):
        build_config("calibrate.choose_cut", {"device_gops": 0})


def test_a_float_graph_is_refused():
    model = build("(float[1,4] x) => (float[1,4] y) { a = Sigmoid(x) y = Sqrt(a) }")
    with pytest.raises(RecipeError, match="works on a graph of integers"):
        choose(model, at="a")


def test_a_model_without_a_cut_is_refused(tmp_path):
    model = build("(float[1,4] x) => (float[1,4] y) { y = Sigmoid(x) }")
    ir.save(model, tmp_path / "one.onnx")
    integers, data = lowered(tmp_path / "one.onnx")
    with pytest.raises(UnsupportedError, match="cannot be cut in two"):
        choose(integers, data)


def test_samples_become_integers_as_the_inputs_say(fashion):
    model, data = fashion
    [image] = model.graph.inputs
    feed = next(data.batches(2, 2))
    quantized = integer_feed(model, feed)["image"]
    assert quantized.dtype == np.int8
    scale = json.loads(image.metadata_props["intaglio.quantization"])
    expected = np.rint(feed["image"] / scale["scale"][0]) + scale["zero_point"][0]
    assert np.array_equal(quantized, np.clip(expected, -128, 127))
    integers = np.array([[0, 128, 255]], np.uint8)
    assert integer_feed(model, {"image": integers})["image"].tolist() == [[-128, 0, 127]]
    assert integer_feed(model, {"image": quantized})["image"] is quantized


def same_figures(found, row):
    names = ("elements", "device_macs", "server_macs", "device_peak_bytes")
    return all(getattr(found, name) == row[name] for name in names)


def check_every_listed_name(path, integers):
    points = find_split_points(path).points
    assert points
    for point in points:
        model = integers.clone(deep_copy=True)
        rows = choose(model, at=point.name).facts["candidates"]
        [row] = [row for row in rows if row["chosen"]]
        assert same_figures(point, row), point.name


def test_every_listed_cut_is_one_of_the_integer_graph(fashion):
    check_every_listed_name(FASHION / "fashion.onnx", fashion[0])


def test_every_listed_cut_of_resnet8_is_one_of_its_integer_graph(zoo):
    path = zoo / "ic_resnet8_float.onnx"
    check_every_listed_name(path, lowered(path)[0])


def test_real_samples_of_the_source_are_taken(whole):
    model = whole[0]
    source = read_model(FASHION / "fashion.onnx", {})
    specs = [spec_of(value) for value in source.graph.inputs]
    data = open_data(FASHION / "calibration.npz", specs)
    rows = choose(model, data).facts["candidates"]
    assert all(0 < row["bits"] < 3 * row["elements"] for row in rows)
