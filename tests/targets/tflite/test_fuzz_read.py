"""The reader on damaged files: only InputError and UnsupportedError come out, in bounded memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

#: Small files, and every kind of operator that the larger ones have.
FILES = (
    "emlearn_mnist_cnn_fp32",
    "emlearn_mnist_cnn_int8",
    "hello_world_int8",
    "kws_ref_model_int8",
    "micro_speech_quantized",
    "audio_preprocessor_int8",
    "ic_resnet8_int8",
    "selfie_segmentation",
)


def fuzz(zoo, seconds, seed):
    files = [str(zoo / f"{name}.tflite") for name in FILES]
    command = [sys.executable, "-m", "tests.targets.tflite.fuzz_reader", str(seconds), str(seed)]
    done = subprocess.run(
        [*command, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(found):
    assert not found["wrong"], "\n".join(found["wrong"])
    assert found["refused"] > found.get("unpackable", 0) / 100
    assert found["refused"] + found["read"] >= 50


def test_damaged_files_are_refused_for_ten_seconds(zoo):
    check(fuzz(zoo, 10, 1))


@pytest.mark.long
def test_damaged_files_are_refused_for_ten_minutes(zoo):
    check(fuzz(zoo, 600, int.from_bytes(os.urandom(4), "little")))
