"""The firmware of the manual builds as it stands, and reads its stored picture."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import intaglio

ROOT = Path(__file__).resolve().parents[4]
EXAMPLE = ROOT / "docs" / "examples" / "cortex-m"
DIGITS = ROOT / "sample_models" / "digits"

pytestmark = [
    pytest.mark.usefixtures("toolchain"),
    pytest.mark.skipif(shutil.which("make") is None, reason="needs the Debian package make"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The example and the sample model as the manual has them: side by side in one folder."""
    root = tmp_path_factory.mktemp("firmware")
    folder = root / "docs" / "examples" / "cortex-m"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.o", "*.elf"))
    bundle = intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-integer", "c"],
        calibration=DIGITS / "calibration.npz",
        out=root / "build" / "digits-c",
    )
    return folder, bundle


def _make(folder, *words):
    done = subprocess.run(
        ["make", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _picture():
    text = (EXAMPLE / "picture.h").read_text()
    numbers = re.search(r"\{(.*)\}", text, re.DOTALL)[1]
    return np.array([int(n) for n in re.findall(r"\d+", numbers)], np.uint8)


def _printed(folder):
    """What the firmware prints, without what make does."""
    said = _make(folder, "--silent", "run").stdout
    return [line.rstrip() for line in said.splitlines()]


def test_the_firmware_prints_the_digit_that_it_sees(workplace):
    folder, bundle = workplace
    built = _make(folder)
    printed = _printed(folder)

    codes = (_picture().astype(np.int16) - 128).astype(np.int8).reshape(1, 1, 8, 8)
    logits = bundle.session("onnx-integer").run({"image": codes})["logits"]
    assert printed[-1] == f"digit {int(np.argmax(logits))}"
    assert len(printed) == 9
    assert "warning" not in built.stderr


def test_the_stored_picture_is_what_its_comment_says():
    session = pytest.importorskip("onnxruntime").InferenceSession(str(DIGITS / "digits.onnx"))
    picture = (_picture() / 255).astype(np.float32).reshape(1, 1, 8, 8)
    [logits] = session.run(None, {"image": picture})

    assert f"It shows an {int(np.argmax(logits))}." in (EXAMPLE / "picture.h").read_text()


def test_one_step_of_the_input_is_a_255th(workplace):
    _, bundle = workplace
    [spec] = bundle.artifact("c").inputs

    assert spec.scale == pytest.approx(1 / 255, rel=1e-6)
    assert spec.zero_point == -128


def test_the_page_shows_what_the_firmware_prints(workplace):
    folder, _ = workplace
    _make(folder)

    assert "\n".join(_printed(folder)) in (ROOT / "docs" / "c.md").read_text()
