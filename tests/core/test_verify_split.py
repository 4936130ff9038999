"""``verify`` of split bundles: what holds, what it finds wrong, and the baselines."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intaglio
from intaglio.bundle import load
from intaglio.bundle_files import file_sha256, write_json
from intaglio.split_session import open_split, read_specification
from intaglio.transforms.split.coding import encode_features
from intaglio.transforms.split.frames import write_frame
from intaglio.transforms.split.specification import CodecSpecification
from intaglio.verification.split_baselines import (
    Tail,
    from_pixels,
    quantize_uniform,
    search_quality,
    through_pictures,
    to_pixels,
)
from tests.core.split_bundles import AT, DIGITS, split_digits

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_digits(tmp_path_factory.mktemp("split") / "digits")


@pytest.fixture(scope="module")
def report(bundle):
    return intaglio.verify(bundle, inputs=DIGITS / "test.npz", samples=70)


@pytest.fixture
def copy(bundle, tmp_path):
    """A copy of the bundle to damage."""
    shutil.copytree(bundle.folder, tmp_path / "copy")
    return tmp_path / "copy"


def samples(count):
    with np.load(DIGITS / "test.npz") as data:
        images = next(data[name] for name in data.files if name != "labels")
        return images[:count], data["labels"][:count]


def rehash(folder):
    """Makes the manifest say what the files are."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        artifact["sha256"] = file_sha256(folder / artifact["path"])
    for name in manifest["files"]:
        manifest["files"][name] = file_sha256(folder / name)
    write_json(folder / "manifest.json", manifest)
    return load(folder)


def pairs(report):
    return {(pair.artifact, pair.reference): pair for pair in report.pairs}


def test_parts_equal_the_definition_and_the_loss_is_reported(report):
    assert report.ok, report.failures
    found = pairs(report)
    for artifact in ("device/onnx-integer", "server/onnx-integer"):
        assert found[artifact, "numpy definition"].verdict == "exact"
        assert found[artifact, "numpy definition"].must_be_exact
    loss = found["split", "unsplit"]
    assert loss.max_error_lsb > 0
    assert 10 < loss.sqnr_db < 60
    assert {("split", "source"), ("unsplit", "source")} <= set(found)
    assert {"source", "unsplit", "split"} == set(report.accuracy)
    assert report.metric == "top1"


def test_traffic_is_that_of_whole_messages(bundle, report):
    codec, (images, _) = read_specification(bundle), samples(70)
    session = bundle.session("onnx-integer", "unsplit", quantize_io=True)
    features = session.run_inner({"image": images}, [AT]).inner
    codes, ranges = encode_features(codec, features)
    sizes = [len(write_frame(codec, codes[i : i + 1], ranges[i : i + 1])) for i in range(70)]
    assert report.traffic["bytes"] == pytest.approx(np.mean(sizes))
    assert report.traffic["largest_bytes"] == max(sizes)
    assert report.traffic["ratio_u8"] == pytest.approx(codec.elements / np.mean(sizes))
    assert report.traffic["ratio_fp32"] == pytest.approx(4 * codec.elements / np.mean(sizes))
    large = [len(write_frame(codec, codes[i : i + 32], ranges[i : i + 32])) for i in (0, 32)]
    assert report.traffic["bytes_batched"] == pytest.approx(sum(large) / 64)


def test_the_table_has_all_ways_to_send_with_their_accuracy(bundle, report):
    rows = {row["name"]: row for row in report.split["rows"]}
    elements = read_specification(bundle).elements
    assert rows["float model, features as floats"]["bytes"] == 4 * elements
    assert rows["uniform 8 bits, the unsplit model"]["bytes"] == elements
    assert rows["uniform 4 bits, a tensor"]["bytes"] == elements / 2 + 2
    assert rows["uniform 4 bits, a channel"]["bytes"] == elements / 2 + 2 * 16
    assert rows["split, one sample a message"]["bytes"] == report.traffic["bytes"]
    assert {"JPEG", "WebP"} <= set(rows)
    for row in rows.values():
        assert 0 <= row["metrics"]["top1"] <= 1
        assert row["metrics"]["samples"] == 70
        assert row["ratio_u8"] == pytest.approx(elements / row["bytes"])
    split = report.accuracy["split"]["top1"]
    assert rows["split, one sample a message"]["metrics"]["top1"] == split
    assert "lowest quality" in rows["JPEG"]["note"]  # No JPEG of 8 x 8 pixels is so small.


def test_accuracy_is_that_of_the_session(bundle, report):
    images, labels = samples(70)
    outputs = open_split(bundle, quantize_io=True).run({"image": images})["logits"]
    assert report.accuracy["split"]["top1"] == np.mean(outputs.argmax(1) == labels)


def test_stripes_are_counted_once_for_each_code(bundle, report):
    codec = read_specification(bundle)
    rows = report.split["stripes"]
    assert len(rows) == sum(len(feature.stripes) for feature in codec.features)
    assert sum(row["codes"] for row in rows) == 70 * codec.codes
    bits = sum(row["codes"] * row["coded"] for row in rows) / (70 * codec.elements)
    # What is on top of the coder's bits are headers, checksums and states.
    whole = report.traffic["bits_per_element"]
    assert bits < whole < bits + 8 * 40 / codec.elements


@needs_compiler
def test_both_coders_are_compared(report):
    coders = report.split["frames"]["coders"]
    assert set(coders) == {"c", "numpy"}
    assert coders["numpy"]["samples"] >= 16
    assert report.split["frames"]["equal"]


def test_verification_is_written_and_shown(bundle, report):
    written = json.loads((bundle.folder / "verify.json").read_text())
    assert written["traffic"]["bytes"] == report.traffic["bytes"]
    assert written["split"]["cut"] == [AT]
    page = (bundle.folder / "report.html").read_text()
    assert "Device and server" in page
    assert "uniform 4 bits, a channel" in page
    assert f"{report.traffic['bytes']:,.1f} bytes" in page


def test_requirements_do_not_speak_about_the_codec(bundle):
    report = intaglio.verify(bundle, samples=4, require=["exact"])
    assert report.ok, report.failures


@needs_compiler
def test_a_device_in_c_is_compared_and_sends(tmp_path):
    made = split_digits(tmp_path / "c", targets=["c"])
    report = intaglio.verify(made, samples=6)
    assert report.ok, report.failures
    names = [name for name, other in pairs(report) if other == "numpy definition"]
    assert any(name.startswith("device/c") for name in names)
    assert report.split["sent"] == 16
    source = made.folder / "c" / "digits_send.c"
    source.write_text(
        source.read_text().replace("_SEND_SAMPLES, frame", "_SEND_SAMPLES, 1 + frame")
    )
    report = intaglio.verify(rehash(made.folder), samples=6)
    assert any("function to send" in failure for failure in report.failures)


def shift_constants(path):
    """Changes the first table of bytes of a model by one everywhere."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.int8 and array.size >= 256:
            changed = (array.astype(np.int16) + 1).clip(-128, 127).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
            break
    else:
        raise AssertionError("there is no such table")
    onnx.save(model, path)


@pytest.mark.parametrize("role", ["device", "server"])
def test_a_part_that_computes_something_else_is_found(copy, role):
    shift_constants(copy / "onnx-integer" / f"{role}.onnx")
    report = intaglio.verify(rehash(copy), samples=6)
    assert not report.ok
    assert any(failure.startswith(f"{role}/onnx-integer") for failure in report.failures)


def test_a_codec_that_is_not_the_graphs_is_found(copy):
    data = json.loads((copy / "split.json").read_text())
    for stripe in data["features"][0]["stripes"]:
        stripe["encode"] = [stripe["encode"][0], *stripe["encode"][:-1]]
    (copy / "split.json").write_text(json.dumps(data, sort_keys=True, separators=(",", ":")))
    CodecSpecification.from_json((copy / "split.json").read_text())
    report = intaglio.verify(rehash(copy), samples=6)
    assert any("numpy definition" in failure for failure in report.failures)


def test_a_missing_part_and_a_changed_file_are_found(copy):
    (copy / "split.json").write_text("{}")
    assert not intaglio.verify(load(copy), samples=2).ok
    assert any("split" in text for text in intaglio.verify(rehash(copy), samples=2).failures)
    (copy / "onnx-integer" / "server.onnx").unlink()
    report = intaglio.verify(load(copy), samples=2)
    assert any("server.onnx is missing" in failure for failure in report.failures)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_uniform_quantizers_round_to_the_nearest_of_their_levels(bits, per_channel):
    generator = np.random.default_rng(bits)
    features = generator.integers(-128, 128, (3, 4, 5, 6)).astype(np.int8)
    features[1] = 7
    restored, size = quantize_uniform(features, bits, per_channel=per_channel)
    assert size == -(-4 * 5 * 6 * bits // 8) + 2 * (4 if per_channel else 1)
    steps = 2**bits - 1
    for sample, found in zip(features.astype(float), restored, strict=True):
        groups = sample.reshape(4 if per_channel else 1, -1)
        for group, values in zip(groups, found.reshape(groups.shape), strict=True):
            low, high = group.min(), group.max()
            levels = np.floor(low + np.arange(steps + 1) * (high - low) / steps + 0.5)
            assert set(values) <= set(levels)
            assert np.abs(values - group).max() <= (high - low) / (2 * steps) + 1
    np.testing.assert_array_equal(restored[1], features[1])
    if bits == 8:
        assert np.abs(restored.astype(int) - features).max() == 0


def test_the_tail_computes_what_the_whole_model_does(bundle):
    images, _ = samples(5)
    found = bundle.session("onnx-integer", "unsplit", quantize_io=True).run_inner(
        {"image": images}, [AT]
    )
    whole = bundle.session("onnx-integer", "unsplit")
    spec = whole.artifact.inputs[0]
    integers = np.rint(images / spec.scale + spec.zero_point).clip(-128, 127).astype(np.int8)
    tail = Tail(bundle.folder / "unsplit" / "model.onnx", [AT])
    expected = whole.run({"image": integers})["logits"]
    np.testing.assert_array_equal(tail.run({AT: found.inner[AT]})["logits"], expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
def test_pictures_keep_their_shape_and_nearly_their_pixels(kind, channels):
    ramp = np.arange(-64, 64, dtype=np.int8)
    values = np.broadcast_to(ramp, (2, channels, 16, 128)).copy()
    restored, size = through_pictures(to_pixels(values), kind, 95)
    assert size > 0
    back = from_pixels(restored)
    assert back.shape == values.shape
    assert np.abs(back.astype(int) - values).mean() < 4


@pytest.mark.parametrize(
    ("largest", "quality", "fits"),
    [(9.9, 1, False), (10, 1, True), (57.5, 48, True), (1e9, 100, True)],
)
def test_the_quality_is_the_best_that_is_not_larger(largest, quality, fits):
    found = search_quality(lambda chosen: 9.0 + chosen, "JPEG", largest)
    assert (found.quality, found.fits) == (quality, fits)
    assert found.bytes == 9.0 + quality
