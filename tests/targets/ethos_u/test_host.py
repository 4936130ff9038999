"""A Softmax at the end of a TOSA file: on the NPU where that has GATHER, else on the host."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

import intaglio

TEXT = """<ir_version: 9, opset_import: ["": 17]>
net (float[1, 8] x) => (float[1, 5] p) <float[8, 5] w = {WEIGHTS}> {
    y = MatMul(x, w)
    p = Softmax(y)
}"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    weights = np.random.default_rng(0).normal(0, 0.3, 40).round(3)
    text = TEXT.replace("WEIGHTS", ", ".join(map(str, weights)))
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def convert(model, out, **options):
    samples = np.random.default_rng(1).normal(0, 1, (32, 8)).astype(np.float32)
    bundle = intaglio.convert(
        model,
        targets=["ethos-u"],
        calibration={"x": samples},
        out=out,
        sets={"ethos-u.via": "tosa", **options},
    )
    artifact = bundle.artifact("ethos-u")
    return artifact, bundle.opener(artifact).report(artifact, bundle.folder)


@pytest.mark.parametrize(
    ("accelerator", "softmax", "on_host"),
    [
        ("ethos-u55-128", "auto", True),
        ("ethos-u85-256", "auto", False),
        ("ethos-u85-256", "host", True),
    ],
)
def test_the_file_ends_at_the_logits_where_the_softmax_is_on_the_host(
    model, tmp_path, accelerator, softmax, on_host
):
    pytest.importorskip("ethosu.vela")
    options = {"ethos-u.accelerator": accelerator, "ethos-u.softmax": softmax}
    artifact, report = convert(model, tmp_path / "bundle", **options)
    [output] = artifact.outputs
    assert report["host"] == ({"p": "y"} if on_host else {})
    assert (output.name, output.shape, output.dtype) == ("y" if on_host else "p", (1, 5), "int8")
    # Probabilities are always in 256ths; logits have a scale of their own.
    assert (output.scale == 1 / 256) != on_host
    assert report["cpu_operators"] == 0
    assert any(each["operator"] == "GATHER" for each in report["operators"]) != on_host


@pytest.mark.parametrize(("outputs", "left"), [("pp", "y"), ("py", "y"), ("yp", "y")])
def test_logits_are_an_output_once(model, tmp_path, outputs, left):
    pytest.importorskip("ethosu.vela")
    proto = onnx.load(model)
    known = {"p": proto.graph.output[0], "y": onnx.ValueInfoProto(name="y")}
    known["y"].type.CopyFrom(known["p"].type)
    listed = [known[name] for name in outputs]
    del proto.graph.output[:]
    proto.graph.output.extend(listed)
    onnx.save(proto, tmp_path / "net.onnx")
    artifact, report = convert(tmp_path / "net.onnx", tmp_path / "bundle")
    assert [spec.name for spec in artifact.outputs] == [left]
    assert report["host"] == {"p": "y"}
