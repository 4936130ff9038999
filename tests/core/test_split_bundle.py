"""Bundles of recipe ``split``: what they hold, and device, frame and server run from Python."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import intaglio
from intaglio.errors import InputError, RecipeError
from intaglio.registry import load_target
from intaglio.running import open_runnable
from intaglio.split_options import split_settings
from intaglio.split_parts import require_split_targets
from intaglio.split_running import Joined
from intaglio.split_session import NumpyCoder, SplitSession, open_coder, read_specification
from intaglio.transforms.split.coding import decode_features, encode_features
from intaglio.transforms.split.frames import HEADER, read_frame, write_frame
from tests.core.split_bundles import AT, DIGITS, QUICK, split_digits

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_digits(tmp_path_factory.mktemp("split") / "digits")


@pytest.fixture(scope="module")
def images():
    with np.load(DIGITS / "test.npz") as data:
        return next(data[name] for name in data.files if name != "labels")[:40]


def roles(bundle):
    return {(a.role, a.target): a for a in bundle.artifacts}


def test_a_bundle_holds_both_parts_the_unsplit_model_and_the_codec(bundle):
    assert set(roles(bundle)) == {
        ("device", "onnx-integer"),
        ("server", "onnx-integer"),
        ("unsplit", "onnx-integer"),
        ("reference", "source"),
    }
    codec = read_specification(bundle)
    device, server = (roles(bundle)[role, "onnx-integer"] for role in ("device", "server"))
    assert [spec.shape for spec in device.outputs] == [("N", codec.codes)]
    assert device.outputs[0] == server.inputs[0]
    # Codes are plain integers: nothing quantizes or dequantizes them on the way.
    assert device.outputs[0].dtype == "int8"
    assert device.outputs[0].scale is None
    assert roles(bundle)["unsplit", "onnx-integer"].path == "unsplit/model.onnx"
    bundle.check_hashes()


def test_the_manifest_says_where_and_how_it_is_cut(bundle):
    entry, codec = bundle.manifest["split"], read_specification(bundle)
    assert entry["cut"] == [feature.name for feature in codec.features] == [AT]
    assert entry["session"] == f"{codec.session:08x}"
    assert codec.model_hash == bundle.manifest["source"]["sha256"]
    assert entry["elements"] == 16 * 4 * 4
    bits = bundle.manifest["facts"]["calibrate.fit_codec"]["bits_per_element"]
    assert entry["bits_per_element"] == bits
    assert entry["ratio_u8"] == pytest.approx(8 / bits)
    assert entry["ratio_fp32"] == pytest.approx(32 / bits)


def test_the_unsplit_model_is_what_recipe_int8_makes(bundle, images, tmp_path):
    whole = intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-integer"],
        calibration=DIGITS / "calibration.npz",
        out=tmp_path / "whole",
        sets={name: value for name, value in QUICK.items() if "fit_codec" not in name},
    )
    feed = {roles(bundle)["device", "onnx-integer"].inputs[0].name: images}
    expected = whole.session("onnx-integer", quantize_io=True).run(feed)
    found = bundle.session("onnx-integer", "unsplit", quantize_io=True).run(feed)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_same_conversion_gives_the_same_bytes(bundle, tmp_path):
    again = split_digits(tmp_path / "again")
    assert again.manifest == bundle.manifest
    assert (again.folder / "split.json").read_bytes() == (bundle.folder / "split.json").read_bytes()


def test_device_frame_and_server_compute_what_the_definition_says(bundle, images):
    codec, feature = read_specification(bundle), AT
    feed = {"image": images}
    session = intaglio.open_split(bundle, quantize_io=True, coder="numpy")
    inner = bundle.session("onnx-integer", "unsplit", quantize_io=True).run_inner(feed, [feature])
    codes, ranges = encode_features(codec, {feature: inner.inner[feature]})
    frame = session.device(feed)
    assert frame == write_frame(codec, codes, ranges)
    decoded = decode_features(codec, codes, ranges)[feature]
    assert not np.array_equal(decoded, inner.inner[feature])  # The codec is lossy.
    outputs = session.server(frame)
    assert session.run(feed).keys() == outputs.keys()
    same = (outputs["logits"].argmax(1) == inner.outputs["logits"].argmax(1)).mean()
    assert same >= 0.9
    one = [session.server(session.device({"image": image[None]}))["logits"] for image in images]
    np.testing.assert_array_equal(np.concatenate(one), outputs["logits"])


@needs_compiler
def test_the_compiled_coder_writes_the_same_bytes(bundle, images):
    frames = {
        coder: intaglio.open_split(bundle, quantize_io=True, coder=coder).device({"image": images})
        for coder in ("c", "numpy")
    }
    assert frames["c"] == frames["numpy"]


def test_without_a_compiler_frames_are_coded_in_numpy_with_a_warning(
    bundle, images, monkeypatch, tmp_path
):
    from intaglio.targets.c.split.compiled import codec_library

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    codec_library.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="coded in numpy"):
            session = intaglio.open_split(bundle, quantize_io=True)
        with pytest.raises(intaglio.ToolError):
            open_coder(read_specification(bundle), "c")
    finally:
        codec_library.cache_clear()
    assert isinstance(session.coder, NumpyCoder)
    assert session.run({"image": images[:2]})["logits"].shape == (2, 10)


def damaged(frame):
    """Frames that a server must refuse, by what is wrong."""
    flipped = bytearray(frame)
    flipped[len(frame) // 2] ^= 1
    session = bytearray(frame)
    session[4] ^= 1
    return {
        "shorter": frame[:10],
        "IF": b"XY" + frame[2:],
        "session": bytes(session),
        "long": frame + b"\0",
        "checksum": bytes(flipped),
    }


@pytest.mark.parametrize("coder", ["numpy", pytest.param("c", marks=needs_compiler)])
def test_what_is_no_frame_of_this_bundle_is_an_input_error(bundle, images, coder):
    session = intaglio.open_split(bundle, quantize_io=True, coder=coder)
    frame = session.device({"image": images[:3]})
    for word, data in damaged(frame).items():
        with pytest.raises(InputError, match=word) as caught:
            session.server(data)
        assert caught.value.remedy
    few = intaglio.open_split(bundle, coder=coder, largest_samples=2)
    with pytest.raises(InputError, match="samples") as caught:
        few.server(frame)
    assert "at most 2 samples" in caught.value.remedy
    assert few.server(bytearray(session.device({"image": images[:2]})))
    with pytest.raises(InputError, match="bytes, not NoneType"):
        few.server(None)
    codec = read_specification(bundle)
    other = read_frame(codec, frame, 3)
    gradient = write_frame(codec, other.codes, other.ranges, kind=1)
    with pytest.raises(InputError, match="kind 1"):
        session.server(gradient)


def test_both_parts_run_as_one(bundle, images):
    joined = open_runnable(bundle.folder, quantize_io=True)
    assert joined.artifact.inputs == bundle.artifact("onnx-integer", "device").inputs
    assert joined.artifact.outputs == bundle.artifact("onnx-integer", "server").outputs
    feed = {"image": images}
    expected = intaglio.open_split(bundle, quantize_io=True).run(feed)
    found = joined.run(feed)
    assert list(found) == list(expected)
    for name, array in found.items():
        assert np.array_equal(array, expected[name])
    reference = open_runnable(bundle.folder, "source")
    assert reference.artifact.role == "reference"


def test_more_samples_than_a_frame_may_hold_take_several(bundle, images):
    split = intaglio.open_split(bundle, quantize_io=True, largest_samples=16)
    found = Joined(split).run({"image": images}).outputs
    expected = intaglio.open_split(bundle, quantize_io=True).run({"image": images})
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_another_codec_is_another_session(bundle, tmp_path, images):
    other = split_digits(tmp_path / "other", bits_per_element=1.0)
    frame = intaglio.open_split(bundle, quantize_io=True, coder="numpy").device(
        {"image": images[:1]}
    )
    with pytest.raises(InputError, match="session"):
        intaglio.open_split(other, coder="numpy").server(frame)


def test_a_frame_is_a_header_a_payload_and_a_checksum(bundle, images):
    session = intaglio.open_split(bundle, quantize_io=True, coder="numpy")
    frame = session.device({"image": images[:5]})
    *_, number, samples, payload = HEADER.unpack(frame[: HEADER.size])
    assert (number, samples) == (session.specification.session, 5)
    assert len(frame) == HEADER.size + payload + 4


def test_samples_outside_what_a_frame_holds_are_refused(bundle):
    session = intaglio.open_split(bundle, coder="numpy")
    with pytest.raises(InputError, match="1 to 65535"):
        session.device({"image": np.zeros((0, 1, 8, 8), np.int8)})
    with pytest.raises(InputError, match="real values"):
        session.device({"image": np.zeros((1, 1, 8, 8), np.float32)})


def test_the_server_is_written_whatever_the_target(tmp_path, images, bundle):
    made = split_digits(tmp_path / "c", targets=["c"])
    assert {("device", "c"), ("server", "onnx-integer")} <= set(roles(made))
    assert not (made.folder / "onnx-integer" / "device.onnx").exists()
    files = {"digits_send.c", "digits_codec.c", "split_codec.c"}
    assert files <= {path.name for path in (made.folder / "c").iterdir()}
    assert made.manifest["split"] == bundle.manifest["split"]
    ours = roles(made)["server", "onnx-integer"].sha256
    assert ours == roles(bundle)["server", "onnx-integer"].sha256


@needs_compiler
def test_a_device_in_c_sends_the_same_frame(tmp_path, images, bundle):
    made = split_digits(tmp_path / "c", targets=["c"])
    moved = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    found = intaglio.open_split(made, "c", quantize_io=True).device({"image": moved})
    want = intaglio.open_split(bundle, quantize_io=True).device({"image": images})
    assert found == want


@pytest.mark.parametrize(
    "options",
    [{"ranges": "dynamic"}, {"coding": "packed"}, {"coding": "raw"}, {"at": "relu1.out"}],
    ids=str,
)
def test_other_codecs_run_and_verify(tmp_path, options):
    made = split_digits(tmp_path / "b", **options)
    report = intaglio.verify(made, samples=8)
    assert report.ok, report.failures
    session = intaglio.open_split(made, quantize_io=True, coder="numpy")
    assert isinstance(session, SplitSession)
    assert bool(session.specification.side_bytes) == (options.get("ranges") == "dynamic")


def refused(error=RecipeError, **options):
    given = {"recipe": "split", "calibration": DIGITS / "calibration.npz", **options}
    with pytest.raises(error) as caught:
        intaglio.convert(DIGITS / "digits.onnx", **given)
    assert caught.value.remedy
    return str(caught.value)


def test_nonsense_is_refused_before_any_work(tmp_path):
    out = tmp_path / "b"
    assert "QuantizeLinear" in refused(out=out, targets=["onnx-qdq"])
    assert "integers" in refused(out=out, sets=["io=float"])
    assert "real samples" in refused(out=out, calibration=None)
    sets = ["calibrate.choose_cut.bandwidth=fast"]
    assert "bandwidth" in refused(out=out, sets=sets)
    assert not out.exists()


def test_a_place_that_cuts_nothing_is_refused(tmp_path):
    sets = ["calibrate.choose_cut.at=nowhere", *(f"{k}={v}" for k, v in QUICK.items())]
    sets = [text.replace("True", "true").replace("False", "false") for text in sets]
    assert "nowhere" in refused(out=tmp_path / "b", sets=sets)


def test_quantized_models_need_samples_too(tmp_path):
    path = tmp_path / "whole"
    whole = intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-qdq"],
        calibration=DIGITS / "calibration.npz",
        out=path,
        sets={name: value for name, value in QUICK.items() if "fit_codec" not in name},
    )
    model = whole.folder / "onnx-qdq" / "model.onnx"
    with pytest.raises(RecipeError, match="real samples"):
        intaglio.convert(model, recipe="split", out=tmp_path / "b")
    made = intaglio.convert(
        model,
        recipe="split",
        targets=["onnx-integer"],
        calibration=DIGITS / "calibration.npz",
        out=tmp_path / "b",
        sets={"calibrate.choose_cut.at": AT, "calibrate.fit_codec.samples": 64},
    )
    assert intaglio.verify(made, samples=8).ok


def test_whole_bundles_are_no_split_sessions(digits_bundle):
    with pytest.raises(RecipeError, match="whole"):
        intaglio.open_split(digits_bundle)


def test_a_damaged_codec_is_an_input_error(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    (copy / "split.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(InputError, match="damaged"):
        intaglio.open_split(copy)


def test_options_of_a_cut_are_for_recipes_that_cut():
    found = split_settings("int8,split", at="auto", bandwidth="2Mbps", bits_per_element=0.8)
    assert found == {
        "calibrate.choose_cut.at": "auto",
        "calibrate.choose_cut.bandwidth": "2Mbps",
        "calibrate.fit_codec.bits_per_element": 0.8,
    }
    assert split_settings("int8") == {}
    with pytest.raises(RecipeError, match="--bandwidth"):
        split_settings("int8", bandwidth="2Mbps")
    with pytest.raises(RecipeError, match="no effect"):
        split_settings("split", at="relu1", device_gops=2.0)


def test_int8_and_split_together_are_split():
    both, alone = intaglio.load_recipe("int8,split"), intaglio.load_recipe("split")
    assert [step.pass_name for step in both.steps] == [step.pass_name for step in alone.steps]


def test_targets_are_asked_only_where_the_recipe_cuts():
    qdq = load_target("onnx-qdq")
    require_split_targets(intaglio.load_recipe("int8"), [qdq], False)
    recipe = intaglio.load_recipe("split")
    off = [
        step.model_copy(update={"enabled": step.pass_name != "split.insert_codec"})
        for step in recipe.steps
    ]
    require_split_targets(recipe.model_copy(update={"steps": tuple(off)}), [qdq], False)
