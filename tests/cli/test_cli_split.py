"""``intaglio convert --recipe split`` as users run it."""

from __future__ import annotations

import json

import numpy as np
import pytest

_QUICK = [
    "--set", "calibrate.equalize_channels.enabled=false",
    "--set", "calibrate.fit_channels.enabled=false",
    "--set", "calibrate.round_weights.enabled=false",
    "--set", "calibrate.fit_codec.samples=64",
]  # fmt: skip


@pytest.fixture(scope="module")
def split(tmp_path_factory, cli, digits, digits_data):
    """A bundle that was cut at a named place, and what the command said."""
    out = tmp_path_factory.mktemp("split") / "digits"
    done = cli(
        "convert", digits, "-r", "int8,split", "--split-at", "pool.out", "-t", "onnx-integer",
        "--bits-per-element", "1.5", "-c", digits_data, "--out", out, "--json", *_QUICK,
    )  # fmt: skip
    assert done.code == 0, done.err
    return out, json.loads(done.out)


def test_convert_says_where_it_cut(split):
    _, said = split
    assert said["split"]["cut"] == ["pool.out"]
    assert said["split"]["bits_per_element"] <= 1.5
    roles = [artifact["role"] for artifact in said["artifacts"]]
    assert roles == ["device", "server", "unsplit", "reference"]


def test_verify_shows_traffic_and_other_ways_to_send(split, cli, test_data):
    out, _ = split
    wide = {"COLUMNS": "220"}
    done = cli("verify", out, "--inputs", test_data, "--samples", 40, env=wide)
    assert done.code == 0, done.out
    for text in ("split, one sample a message", "uniform 4 bits, a channel", "bits an element"):
        assert text in done.out
    said = json.loads(cli("verify", out, "--samples", 4, "--json").out)
    assert said["ok"]
    assert said["traffic"]["ratio_fp32"] == pytest.approx(4 * said["traffic"]["ratio_u8"])
    assert {"bytes", "ratio_fp32", "ratio_u8"} <= set(said["traffic"])


def test_auto_is_the_default_and_follows_the_link(tmp_path, cli, digits, digits_data):
    cuts = {}
    for name, link in (("slow", ["--bandwidth", "10kbps"]), ("fast", ["--bandwidth", "10Gbps"])):
        out = tmp_path / name
        done = cli(
            "convert", digits, "-r", "split", "-t", "onnx-integer", "-c", digits_data,
            "--out", out, "--json", *link, "--device-gops", "0.01", *_QUICK,
        )  # fmt: skip
        assert done.code == 0, done.err
        cuts[name] = json.loads(done.out)["split"]["cut"]
    # A slow link wants few bytes, a fast one little work of a slow device.
    assert cuts["fast"] == ["relu1.out"]
    assert cuts["slow"] != cuts["fast"]


def test_inspect_and_run_know_parts(split, cli, tmp_path):
    out, _ = split
    assert cli("inspect", out).code == 0
    assert "server" in cli("inspect", out).out
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((3, 1, 8, 8), np.float32))
    done = cli("run", out, "--input", images, "--quantize-io", "--json")
    assert done.code == 0
    [logits] = json.loads(done.out)["outputs"].values()
    assert logits["shape"] == [3, 10]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--split-at", "auto"], "does not cut"),
        (["--bandwidth", "1Mbps"], "does not cut"),
        (["--bits-per-element", "0.5"], "does not cut"),
        (["-r", "split", "--split-at", "pool.out", "--server-gops", "1"], "no effect"),
        (["-r", "split", "--bandwidth", "quick"], "bandwidth"),
        (["-r", "split", "--bits-per-element", "0"], "bits_per_element"),
        (["-r", "split", "--device-gops", "-1"], "device_gops"),
        (["-r", "split", "-t", "onnx-qdq"], "QuantizeLinear"),
        (["-r", "split", "--io", "float"], "integers"),
    ],
)
def test_nonsense_is_refused_with_a_remedy(options, word, tmp_path, cli, digits, digits_data):
    done = cli("convert", digits, "-c", digits_data, "--out", tmp_path / "b", *options)
    assert done.code == 2
    assert word in done.err
    assert "remedy" in done.err
    assert not (tmp_path / "b").exists()


def test_without_samples_nothing_is_cut(tmp_path, cli, digits):
    done = cli("convert", digits, "-r", "split", "--out", tmp_path / "b")
    assert done.code == 2
    assert "--calibration" in done.err
