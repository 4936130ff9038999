"""The benchmark of restoration: scores, tables, the ceiling, and the driver of emitted C."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from benchmarks.common import MissingDataError
from benchmarks.restoration import emitted, latency, latency_report, report
from benchmarks.restoration.data import enlarging_pairs, noisy_pairs
from benchmarks.restoration.emitted import PictureContestant, Sources, compile_driver, example
from benchmarks.restoration.latency import Entry, measure, networks
from benchmarks.restoration.methods import Bicubic, PlaneNetwork, convolution_weights
from benchmarks.restoration.quality import (
    add_rows,
    denoising_rows,
    enlarging_rows,
    main,
    open_model,
    score,
)
from benchmarks.restoration.roofline import LOOKUPS, Roofline, rate
from intaglio.passes.table_networks.write import network_model
from intaglio.targets.c.host import host_variants
from intaglio.timing import Contestant, Sample
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import luma
from intaglio.transforms.images.noise import noisy_pixels
from intaglio.transforms.images.quality import psnr, ssim
from intaglio.transforms.table_networks.centred import CentredNetwork, Mixing, Window
from tests.helpers import build_proto

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


def _enlarger(path, factor=4, **notes):
    """Repeats every pixel."""
    proto = build_proto(
        "(uint8[N,1,H,W] image) => (uint8[N,1,H2,W2] result) "
        '{ result = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor"> (image, , scales) }',
        scales=np.array([1, 1, factor, factor], np.float32),
    )
    for key, value in notes.items():
        proto.metadata_props.add(key=f"intaglio.{key}", value=value)
    onnx.save(proto, str(path))
    return path


@pytest.fixture
def shared(tmp_path):
    """Small pictures where the benchmark looks for its data."""
    random = np.random.default_rng(0)
    for name in ("Set5", "Set14"):
        for factor in (2, 4):
            folder = tmp_path / "data" / "sr" / name / f"image_SRF_{factor}"
            folder.mkdir(parents=True)
            for index in range(2):
                coarse = random.integers(0, 256, (9, 12, 3), np.uint8)
                large = resize_bicubic(coarse, 4)
                small = resize_bicubic(large, 1 / factor)
                Image.fromarray(large).save(folder / f"img_00{index}_SRF_{factor}_HR.png")
                Image.fromarray(small).save(folder / f"img_00{index}_SRF_{factor}_LR.png")
    folder = tmp_path / "data" / "denoise" / "Set12"
    folder.mkdir(parents=True)
    for index in range(2):
        plane = resize_bicubic(random.integers(0, 256, (9, 12), np.uint8), 4)
        Image.fromarray(plane).save(folder / f"{index}.png")
    return tmp_path


def test_pairs_are_those_of_the_files(shared):
    pairs = enlarging_pairs(shared / "data/sr/Set5", 4)

    assert [(p.degraded.shape, p.true.shape) for p in pairs] == [((9, 12, 3), (36, 48, 3))] * 2
    np.testing.assert_array_equal(pairs[1].degraded, resize_bicubic(pairs[1].true, 0.25))


def test_every_draw_and_picture_has_noise_of_its_own(shared):
    folder = shared / "data/denoise/Set12"

    first, again, other = (noisy_pairs(folder, 25, draw) for draw in (0, 0, 1))

    np.testing.assert_array_equal(first[1].degraded, noisy_pixels(first[1].true, 25, 1))
    np.testing.assert_array_equal(other[1].degraded, noisy_pixels(first[1].true, 25, 1001))
    np.testing.assert_array_equal(first[0].degraded, again[0].degraded)


def test_scores_are_of_luma_without_the_border(shared):
    pairs = enlarging_pairs(shared / "data/sr/Set14", 4)

    found = score(Bicubic(4), pairs, 4)

    wanted = [
        (function(luma(resize_bicubic(p.degraded, 4)), luma(p.true), 4))
        for function in (psnr, ssim)
        for p in pairs
    ]
    assert (found.psnr, found.ssim) == (np.mean(wanted[:2]), np.mean(wanted[2:]))
    assert found.luma_psnr is None


def test_a_network_gets_planes_apart_and_luma_alone(tmp_path, shared):
    model = PlaneNetwork(_enlarger(tmp_path / "m.onnx"))
    pair = enlarging_pairs(shared / "data/sr/Set5", 4)[0]

    repeated = pair.degraded.repeat(4, axis=0).repeat(4, axis=1)

    assert model.factor == 4
    np.testing.assert_array_equal(model.luma(pair.degraded), luma(repeated))
    alone = model.luma_alone(pair.degraded)
    np.testing.assert_array_equal(alone, np.floor(luma(repeated) + 0.5))


def test_costs_are_read_from_the_model_or_from_its_constants(tmp_path):
    told = PlaneNetwork(
        _enlarger(tmp_path / "a.onnx", table_bytes="1234", lookups="56", multiplications="78")
    )
    counted = open_model(f"mine={_enlarger(tmp_path / 'b.onnx', task='denoise 25')}")

    assert (told.cost.bytes, told.cost.lookups, told.cost.products) == (1234, 56, 78)
    assert (counted.cost.bytes, counted.cost.lookups, counted.cost.products) == (16, None, None)
    assert (counted.name, counted.sigma, told.name, told.sigma) == ("mine", 25, "a", None)


def test_other_models_are_refused(tmp_path):
    proto = build_proto("(float[1,1,4,4] x) => (float[1,1,4,4] y) { y = Relu(x) }")
    onnx.save(proto, str(tmp_path / "float.onnx"))

    with pytest.raises(MissingDataError, match="8-bit plane"):
        PlaneNetwork(tmp_path / "float.onnx")
    with pytest.raises(MissingDataError, match="nowhere"):
        PlaneNetwork(tmp_path / "nowhere.onnx")


def test_products_of_a_network_are_its_convolutions_weights():
    proto = build_proto(
        "(float[1,2,8,8] x) => (float[1,3,6,6] y) { y = Conv(x, w, b) }",
        w=np.ones((3, 2, 3, 3), np.float32),
        b=np.ones(3, np.float32),
    )

    assert convolution_weights(proto) == 54


def test_models_of_the_factor_are_scored_beside_bicubic_and_papers(tmp_path, shared):
    models = [PlaneNetwork(_enlarger(tmp_path / f"x{f}.onnx", f)) for f in (2, 4)]
    left_out = {}

    rows = enlarging_rows(models, 4, shared, tmp_path, left_out)

    assert [row.name for row in rows[:2]] == ["x4", "bicubic"]
    assert {row.kind for row in rows[2:]} == {"published"}
    assert rows[1].psnr["Set5"] > rows[0].psnr["Set5"]
    assert set(rows[0].luma_psnr) == {"Set5", "Set14"}
    assert "FSRCNN_x4.onnx is not in" in left_out["x4, FSRCNN"]


def test_denoisers_of_one_name_make_one_row(tmp_path, shared):
    tasks = {15: "denoise 15", 25: "denoise 25"}
    models = []
    for sigma, task in tasks.items():
        path = _enlarger(tmp_path / f"{sigma}.onnx", 1, task=task, table_bytes=str(sigma))
        models.append(PlaneNetwork(path, "own"))

    rows = denoising_rows(models, 2, shared)

    own, untouched = rows[:2]
    assert (own.name, set(own.psnr), own.bytes) == ("own", {"15", "25"}, 25)
    assert (untouched.name, set(untouched.psnr)) == ("noisy input", {"15", "25", "50"})
    # Nothing but copying is done here.
    assert own.psnr["25"] == untouched.psnr["25"]
    assert untouched.psnr["15"] > untouched.psnr["25"] > untouched.psnr["50"]


def test_a_run_writes_all_its_results_and_what_is_missing(tmp_path, shared, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    model = _enlarger(tmp_path / "nearest.onnx", 4, table_bytes="2048", lookups="7")
    shutil.rmtree(shared / "data/sr/Set14/image_SRF_2")
    out = tmp_path / "out"
    (out).mkdir()
    times = [
        {"method": "nearest", "planes": 1, "threads": 1, "p10_ms": 2.5},
        {"method": "nearest", "planes": 1, "threads": 1, "p10_ms": 1.25},
        {"method": "nearest", "planes": 3, "threads": 1, "p10_ms": 0.1},
    ]
    (out / "latency.json").write_text(json.dumps({"rows": times}))
    arguments = ["quality", str(model), "--shared", str(shared), "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)

    main()

    text = (out / "quality.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| **nearest** | 2.0 | 7 |  | 1.25 |" in text
    assert "TinyLUT-S (published) | 36.9 | 5,248 |  |  | 30.22 / 0.8535 |" in text
    assert "Left out: x2: no *_HR.png" in text
    assert "σ 50" in text
    assert (out / "quality.png").stat().st_size > 1000
    data = json.loads((out / "quality.json").read_text())
    assert {row["task"] for row in data["rows"]} == {"x4", "denoise"}
    monkeypatch.setattr("sys.argv", ["quality", "--tables", "--out", str(out)])
    main()
    assert (out / "quality.md").read_text() == text

    monkeypatch.setattr("sys.argv", [*arguments, "--add", "--orientations", "4"])
    main()
    added = json.loads((out / "quality.json").read_text())["rows"]
    names = [row["name"] for row in added]
    assert names[:2] == ["nearest", "nearest, 4 orientations"]
    assert [row for row in added if row["name"] != names[1]] == data["rows"]
    # Pixels that are repeated are so in every orientation: the same score at four times the work.
    assert added[1] == {**added[0], "name": names[1], "lookups": 4 * 7}
    main()
    assert json.loads((out / "quality.json").read_text())["rows"] == added


def test_a_model_of_another_sigma_keeps_the_scores_of_its_row():
    def row(name, kind="ours", **scores):
        facts = {"task": "denoise", "name": name, "kind": kind}
        return {**facts, "psnr": scores, "ssim": {}, "luma_psnr": {}}

    earlier = {"rows": [row("large", s15=32.0, s25=29.0), row("noisy", "peer", s15=24.0)]}
    found = add_rows(earlier, [row("large", s15=32.1), row("new", s15=31.0)])["rows"]
    assert [each["name"] for each in found] == ["large", "new", "noisy"]
    assert found[0]["psnr"] == {"s15": 32.1, "s25": 29.0}
    assert earlier["rows"][0]["psnr"]["s15"] == 32.0


def test_published_figures_have_no_time_of_this_machine():
    row = {
        "task": "x4",
        "name": "FSRCNN, float",
        "kind": "published",
        "bytes": 1024,
        "lookups": None,
        "products": None,
        "psnr": {"Set5": 30.0},
        "ssim": {},
        "luma_psnr": {},
    }
    found = {"processor": "p", "onnxruntime": "1", "date": "2020-01-01"}
    data = {"rows": [row], "draws": 3, "left_out": {}, "environment": found}

    text = report.tables(data, {"FSRCNN, float": 9.87})

    assert "9.87" not in text
    assert "Noise: 3 draws" in text


@needs_compiler
def test_the_ceiling_is_of_correct_look_ups():
    for variant in host_variants():
        roof = Roofline(variant)
        sample = roof.batch(1)
        wanted = roof.tables.astype(int)[np.arange(24)[None], roof.rows].sum(axis=1)
        np.testing.assert_array_equal(roof.sums(), wanted)
        assert rate(sample.wall) == pytest.approx(1000 * LOOKUPS / sample.wall)


_REPEATING = """
#include "twice.h"
size_t twice_scratch_bytes(int width) { return (size_t)width; }
void twice_run_band(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
                    ptrdiff_t out_stride, int first, int end, void *scratch)
{
    int y, x;
    (void)height;
    for (y = 2 * first; y < 2 * end; y++) {
        /* The scratch memory must be one's own. */
        for (x = 0; x < width; x++) ((uint8_t *)scratch)[x] = in[y / 2 * in_stride + x];
        for (x = 0; x < 2 * width; x++) out[y * out_stride + x] = ((uint8_t *)scratch)[x / 2];
    }
}
"""
_HEADER = """
#include <stddef.h>
#include <stdint.h>
size_t twice_scratch_bytes(int width);
void twice_run_band(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
                    ptrdiff_t out_stride, int first, int end, void *scratch);
"""


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_driver_shares_rows_among_threads(tmp_path, threads):
    folder = tmp_path / "twice"
    folder.mkdir()
    (folder / "twice.c").write_text(_REPEATING)
    (folder / "twice.h").write_text(_HEADER)
    sources = Sources(folder, "twice", 1, 2)
    library = compile_driver(sources, host_variants()[-1], tmp_path)
    picture = example(37, 52)

    contestant = PictureContestant(library, sources, picture, threads)
    sample = contestant.batch(20)

    assert contestant.threads == threads
    assert sample.wall > 0
    np.testing.assert_array_equal(contestant.result, picture.repeat(2, axis=0).repeat(2, axis=1))


def _network(upscale):
    random = np.random.default_rng(0)
    channels, outputs = 8, 8 + upscale**2
    taps = np.zeros((channels, 3, 3), np.int8)
    taps[:, 1, 1] = 64
    window = Window(taps, 9)
    tables = random.integers(-40, 41, (channels, 16, channels), np.int8)
    return CentredNetwork(
        random.integers(-20, 21, (outputs, 3, 3), np.int8),
        random.integers(-99, 100, outputs, np.int32),
        5,
        (Mixing(window, tables, 3),),
        window,
        random.integers(-40, 41, (channels, 16, upscale**2), np.int8),
        2,
        8,
        1,
        upscale,
    )


@pytest.fixture
def small_picture(monkeypatch):
    """Networks are compared and timed on 21x34 pixels, in plain C."""
    for module in (emitted, latency):
        monkeypatch.setattr(module, "HEIGHT", 21)
        monkeypatch.setattr(module, "WIDTH", 34)
    monkeypatch.setattr(emitted, "host_variants", lambda: host_variants()[-1:])


@needs_compiler
@pytest.mark.usefixtures("small_picture")
def test_a_network_is_timed_as_c_that_gives_what_onnxruntime_gives(tmp_path):
    four = _network(4)
    ir.save(network_model(four, "four"), str(tmp_path / "four.onnx"))
    ir.save(network_model(_network(2), "two"), str(tmp_path / "two.onnx"))
    left_out = {}

    names = [f"mine={tmp_path / 'four.onnx'}", str(tmp_path / "two.onnx")]
    entries = list(networks(names, tmp_path / "build", left_out))

    assert {e.key for e in entries} == {
        f"mine | our C, portable | 1 planes | {threads} threads" for threads in (1, 2)
    }
    assert left_out == {"two": "two.onnx does not enlarge by 4"}
    wanted = four.apply(example(21, 34))
    for entry in entries:
        np.testing.assert_array_equal(entry.contestant.result, wanted)
        assert entry.lookups == four.lookups * 21 * 34
        assert entry.working_set > four.storage_bytes


@needs_compiler
@pytest.mark.usefixtures("small_picture")
def test_times_are_written_with_what_is_missing(tmp_path, monkeypatch, capsys):
    ir.save(network_model(_network(4), "four"), str(tmp_path / "four.onnx"))
    out = tmp_path / "out"
    arguments = ["latency", str(tmp_path / "four.onnx"), "--samples", "2", "--seconds", "0.05"]
    places = ["--shared", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*arguments, *places])

    latency.main()

    text = (out / "latency.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| four | our C, portable |" in text
    assert "luma, 2 threads" in text
    assert "34×21 enlarged by 4" in text
    assert "Left out: FSRCNN: FSRCNN_x4.onnx is not in" in text
    assert report.read_times(out)["four"] > 0
    monkeypatch.setattr("sys.argv", ["latency", "--tables", "--out", str(out)])
    latency.main()
    assert (out / "latency.md").read_text() == text


@needs_compiler
@pytest.mark.usefixtures("small_picture")
def test_c_that_computes_something_else_is_not_timed(tmp_path, monkeypatch):
    ir.save(network_model(_network(4), "four"), str(tmp_path / "four.onnx"))
    other = dataclasses.replace(_network(4), out_shift=9)
    monkeypatch.setattr(emitted, "read_network", lambda _model: other)

    with pytest.raises(RuntimeError, match="and onnxruntime differ"):
        next(emitted.emitted_contestants(tmp_path / "four.onnx", (1,), tmp_path / "build"))


class _Counting(Contestant):
    """Says that it takes 2 ms; its loop takes no time."""

    how = "not at all"

    def __init__(self, seconds):
        self.seconds = seconds

    def batch(self, count):
        return Sample(self.seconds, self.seconds)


@needs_compiler
def test_times_are_set_beside_float_fsrcnn_and_the_ceiling():
    entries = [
        Entry("own", "our C, vnni", 1, _Counting(0.002), 10_000_000, 102_400),
        Entry("FSRCNN, float", "onnxruntime", 1, _Counting(0.05)),
    ]

    data = measure(entries, 3, 0.05)

    assert [(r["method"], r["planes"], round(r["p10_ms"], 6)) for r in data["rows"]] == [
        ("own", 1, 2.0),
        ("own", 3, 6.0),
        ("FSRCNN, float", 1, 50.0),
        ("FSRCNN, float", 3, 150.0),
    ]
    assert data["rows"][1]["lookups"] == 30_000_000
    assert set(data["peaks"]) == {variant.name for variant in host_variants()}
    text = latency_report.table(
        {
            **data,
            "peaks": {"vnni": {"kernel": "vpermb", "per_s": 1e11}},
            "size": [320, 180],
            "versions": {"onnxruntime": "1"},
            "environment": {"processor": "a processor", "date": "2020-01-01"},
        }
    )
    assert "| own | our C, vnni | 2.00 (25.0×) | 6.00 (25.0×) | 5.0 (5 %) | 100 |" in text
    assert "| FSRCNN, float | onnxruntime | 50.00 | 150.00 |  |  |" in text
    assert "100·10⁹/s with vpermb (vnni)" in text
