"""The ``.tflite`` side of the quantization benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quantization import litert_peers, speech_features
from benchmarks.quantization.litert_runner import LiteRtRunner
from benchmarks.quantization.tflite_files import before_softmax, modernized
from intaglio.targets.tflite.schema import schema


@pytest.fixture
def mnist(zoo):
    return zoo / "emlearn_mnist_cnn_fp32.tflite"


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((6, 28, 28, 1)).astype(np.float32)


def test_the_logits_are_what_the_softmax_reads(mnist, pictures):
    runner = LiteRtRunner(mnist)
    logits, outputs = runner.logits(pictures), runner.run(pictures)[0]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), outputs, atol=1e-6)


def test_a_model_without_softmax_has_no_logits(zoo):
    assert before_softmax((zoo / "hello_world_float.tflite").read_bytes()) is None


def test_an_old_file_gets_a_signature_and_codes_and_computes_the_same(zoo, tmp_path):
    source = zoo / "mobilenet_v1_0.25_224_float.tflite"
    content, name = modernized(source.read_bytes())
    (tmp_path / "new.tflite").write_bytes(content)
    found = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    assert found.signatureDefs[0].inputs[0].name.decode() == name
    assert {code.builtinCode for code in found.operatorCodes} != {0}
    x = np.random.default_rng(1).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    for before, after in zip(
        LiteRtRunner(source).run(x), LiteRtRunner(tmp_path / "new.tflite").run(x), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.skipif(not litert_peers.installed(), reason="needs ai-edge-quantizer")
@pytest.mark.parametrize("method", litert_peers.PEERS)
def test_the_peer_quantizes_weights_and_stays_near_float(mnist, pictures, tmp_path, method):
    out = litert_peers.quantize(method, mnist, pictures, tmp_path / "q.tflite")
    assert out.stat().st_size < mnist.stat().st_size
    want, found = LiteRtRunner(mnist).run(pictures)[0], LiteRtRunner(out).run(pictures)[0]
    assert np.abs(want - found).max() < 0.2
    assert np.abs(want - found).max() > 0.0


def test_silence_gives_the_smallest_first_coefficient():
    found = speech_features.mfcc(np.zeros(speech_features.RATE))
    assert found.shape == (49, 10, 1)
    # The orthogonal transform of 40 equal logarithms of 1e-6.
    np.testing.assert_allclose(found[:, 0, 0], 40 * np.log(1e-6) * 2 / np.sqrt(80), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1:], 0.0, atol=1e-4)


def test_a_higher_tone_moves_the_second_coefficient_down():
    time = np.arange(speech_features.RATE) / speech_features.RATE
    low, high = (
        speech_features.mfcc(np.sin(2 * np.pi * hertz * time))[:, 1].mean() for hertz in (300, 3000)
    )
    assert low > high
