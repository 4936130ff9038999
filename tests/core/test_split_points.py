"""Where models can be cut, and what each cut costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.bundle_files import jsonable
from intaglio.errors import InputError, OutputError, RecipeError, UnsupportedError
from intaglio.report.split_points import describe_link, draw, plot_split_points
from intaglio.split_points import find_split_points
from tests.helpers import build

FASHION = Path(__file__).parents[2] / "sample_models" / "fashion"


@pytest.fixture(scope="module")
def fashion():
    return find_split_points(FASHION / "fashion.onnx", calibration=FASHION / "calibration.npz")


def save(folder, text, **weights):
    path = folder / "model.onnx"
    ir.save(build(text, **weights), path)
    return path


def test_a_residual_network_is_cut_behind_its_adds_and_across_its_skips(fashion):
    names = [point.name for point in fashion.points]
    assert names == [
        "stem_relu.out",
        "stage1.relu2.out",
        "stage2.relu1.out,stage2.shortcut.out",
        "stage2.conv2.out,stage2.shortcut.out",
        "stage2.relu2.out",
        "stage3.relu1.out,stage3.shortcut.out",
        "stage3.conv2.out,stage3.shortcut.out",
        "stage3.relu2.out",
        "pool.out",
    ]


def test_figures_of_a_cut_are_those_of_the_layers(fashion):
    [point] = [p for p in fashion.points if p.name == "stage2.relu2.out"]
    stem, stage1 = 28 * 28 * 16 * 9, 2 * 28 * 28 * 16 * 16 * 9
    stage2 = 14 * 14 * 32 * (16 * 9 + 32 * 9 + 16)
    assert point.device_macs == stem + stage1 + stage2
    assert point.device_macs + point.server_macs == 9345920
    assert point.shapes == (("N", 32, 14, 14),)
    assert (point.float_bytes, point.int8_bytes) == (4 * 6272, 6272)
    assert 0 < point.encoded_bytes < 6272 * 3 / 8
    # The first block: its input, the branch, and their sum.
    assert point.device_peak_bytes == 3 * 16 * 28 * 28
    seconds = 2e-9 * point.device_macs + 8 * point.encoded_bytes / 1e6 + 2e-11 * point.server_macs
    assert point.seconds == pytest.approx(seconds)


def test_front_and_best_follow_from_bytes_and_time(fashion):
    for point in fashion.points:
        beaten = any(
            (other.device_macs, other.sent_bytes) != (point.device_macs, point.sent_bytes)
            and other.device_macs <= point.device_macs
            and other.sent_bytes <= point.sent_bytes
            for other in fashion.points
        )
        assert point.pareto == (not beaten)
    assert fashion.best.seconds == min(point.seconds for point in fashion.points)
    assert sum(point.best for point in fashion.points) == 1
    assert fashion.samples == 32
    assert fashion.device_only_seconds == pytest.approx(2e-9 * 9345920)
    assert fashion.server_only_seconds == pytest.approx(2e-11 * 9345920 + 8 * 784 / 1e6)


def test_without_data_int8_bytes_are_what_is_sent(fashion):
    found = find_split_points(FASHION / "fashion.onnx", bandwidth="1Gbps", device_gops=1e-3)
    assert found.samples == 0
    assert all(point.encoded_bytes is None for point in found.points)
    assert [p.name for p in found.points] == [p.name for p in fashion.points]
    assert found.best.name == "stem_relu.out"
    first = found.points[0]
    seconds = 2e-6 * first.device_macs + 8 * 12544 / 1e9 + 2e-11 * first.server_macs
    assert first.seconds == pytest.approx(seconds)


def test_calibration_may_be_arrays(fashion):
    with np.load(FASHION / "calibration.npz") as data:
        arrays = {"image": data["image"]}
    found = find_split_points(FASHION / "fashion.onnx", calibration=arrays)
    assert [p.encoded_bytes for p in found.points] == [p.encoded_bytes for p in fashion.points]


def test_it_is_json(fashion):
    data = json.loads(json.dumps(jsonable(fashion.to_dict()), allow_nan=False))
    assert data["link"] == {"bandwidth": 1e6, "device_gops": 1.0, "server_gops": 100.0}
    assert data["points"][2]["name"] == "stage2.relu1.out,stage2.shortcut.out"
    assert data["points"][2]["shapes"] == [["N", 32, 14, 14], ["N", 32, 14, 14]]


def test_a_model_without_a_cut_has_none(tmp_path):
    found = find_split_points(save(tmp_path, "(float[1,4] x) => (float[1,4] y) { y = Sigmoid(x) }"))
    assert found.points == ()
    assert found.best is None
    assert draw(found, "svg").startswith(b"<?xml")


def test_a_side_without_products_is_best_only_where_there_is_no_other(tmp_path):
    text = "(float[1,1,4,4] x) => (float[1,1,1,1] y) { a = MaxPool<kernel_shape=[2,2]>(x) \
        y = GlobalAveragePool(a) }"
    found = find_split_points(save(tmp_path, text))
    assert [(p.name, p.best) for p in found.points] == [("a", True)]


def test_sizes_that_are_not_known_are_asked_for(tmp_path):
    text = "(float[1,1,H,W] x) => (float[1,1,H,W] y) { a = Conv<pads=[1,1,1,1]>(x, w) \
        y = Conv<pads=[1,1,1,1]>(a, w) }"
    path = save(tmp_path, text, w=np.ones((1, 1, 3, 3), np.float32))
    with pytest.raises(UnsupportedError, match=r"is not known \(name the sizes with --shape"):
        find_split_points(path)
    [point] = find_split_points(path, {"x": [1, 1, 5, 6]}).points
    assert (point.elements, point.device_macs) == (30, 270)


def test_bad_arguments_are_refused(tmp_path):
    path = FASHION / "fashion.onnx"
    with pytest.raises(RecipeError, match=r"'fast' is not a bandwidth.*--bandwidth"):
        find_split_points(path, bandwidth="fast")
    for speed in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match=r"speed of the server.*--server-gops"):
            find_split_points(path, server_gops=speed)
    with pytest.raises(InputError, match="no calibration data"):
        find_split_points(path, calibration=tmp_path / "none.npz")
    with pytest.raises(InputError):
        find_split_points(tmp_path / "none.onnx")


def test_samples_that_overflow_are_refused(tmp_path):
    text = "(float[N,2] x) => (float[N,2] y) { a = MatMul(x, w) y = MatMul(a, w) }"
    path = save(tmp_path, text, w=np.full((2, 2), 3e38, np.float32))
    samples = {"x": np.full((2, 2), 10, np.float32)}
    with pytest.raises(InputError, match="'a' becomes NaN or infinite"):
        find_split_points(path, calibration=samples)


def test_table_networks_are_refused():
    path = FASHION.parent / "superres_lut" / "superres_lut.onnx"
    with pytest.raises(UnsupportedError, match="table network"):
        find_split_points(path)


def test_the_plot_shows_the_front_with_its_names(fashion, tmp_path):
    plot_split_points(fashion, tmp_path / "cuts.svg")
    text = (tmp_path / "cuts.svg").read_text(encoding="utf-8")
    for point in fashion.points:
        assert (f">{point.name}<" in text) == point.pareto
    assert "fashion.onnx: where to cut at 1 Mbit/s" in text
    plot_split_points(fashion, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "cuts.svg").read_bytes()
    plot_split_points(fashion, tmp_path / "cuts.PNG")
    assert (tmp_path / "cuts.PNG").read_bytes().startswith(b"\x89PNG")


def test_plots_that_cannot_be_written_are_refused(fashion, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"neither an \.svg nor a \.png"):
        plot_split_points(fashion, tmp_path / "cuts.pdf")
    with pytest.raises(OutputError, match="cannot write"):
        plot_split_points(fashion, tmp_path / "none" / "cuts.svg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RecipeError, match=r"needs matplotlib.*intaglio\[plot\]"):
        plot_split_points(fashion, tmp_path / "cuts.svg")


def test_the_link_is_told_in_words(fashion):
    assert describe_link(fashion.link).startswith("1 Mbit/s, device 1 and server 100 Gop/s")


def test_resnet8_is_cut_behind_each_residual_add(zoo):
    found = find_split_points(zoo / "ic_resnet8_float.onnx")
    alone = {point.shapes[0][1:] for point in found.points if "add" in point.name.split(";")[-1]}
    assert alone == {(16, 32, 32), (32, 16, 16), (64, 8, 8)}
    pairs = [point for point in found.points if len(point.values) == 2]
    assert [p.shapes[0][1:] for p in pairs] == [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


@pytest.mark.parametrize(
    ("name", "shape"),
    [("selfie_segmentation.tflite", (16, 128, 128)), ("yunet_n_320_320.onnx", (64, 40, 40))],
)
def test_networks_with_skips_or_many_outputs_have_cuts(zoo, name, shape):
    found = find_split_points(zoo / name)
    assert any(shape in [s[1:] for s in point.shapes] for point in found.points)
    assert all(point.device_macs and point.device_peak_bytes for point in found.points)
