"""The emitted function that goes from an input to a frame: its bytes, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import onnx
import pytest

import intaglio
from intaglio.split_session import open_split
from intaglio.targets.c.build_files import cmake_lists, makefile
from intaglio.targets.c.sender import Sender
from intaglio.targets.c.sending import RUN_FAULT
from intaglio.targets.c.split.emitting import codec_sources
from tests.core.split_bundles import DIGITS, QUICK, split_digits

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)

CAPACITY = 100
ERROR_NULL, ERROR_ARENA = 1, 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_digits(tmp_path_factory.mktemp("sending") / "digits", targets=["c"])


@pytest.fixture(scope="module")
def sender(bundle):
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic")
    return Sender(bundle.artifact("c", "device"), bundle.folder, flags)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(-128, 128, (6, 1, 8, 8, 1)).astype(np.int8)


def test_it_writes_the_frame_of_the_numpy_coder(bundle, sender, images):
    session = open_split(bundle, "c", coder="numpy")
    for image in images:
        assert sender.send({"image": image}) == session.device({"image": image})


def test_a_frame_that_does_not_fit_is_refused_and_any_that_does_is_written(sender, images):
    whole = sender.send({"image": images[0]})
    assert sender.call({"image": images[0]}, frame_bytes=len(whole) // 2) == (-CAPACITY, b"")
    assert sender.call({"image": images[0]}, frame_bytes=0)[0] == -CAPACITY
    # Somewhere between what the frame has and what always suffices it fits.
    sizes = np.linspace(len(whole), sender.frame_bytes, 9, dtype=int)
    found = [sender.call({"image": images[0]}, frame_bytes=int(size))[0] for size in sizes]
    assert set(found) <= {-CAPACITY, len(whole)}
    assert found == sorted(found)
    assert found[-1] == len(whole)


def test_too_little_working_memory_is_refused(sender, images):
    for size in (0, 16, sender.work_bytes - 1):
        result, _ = sender.call({"image": images[0]}, work_bytes=size)
        assert result == -(RUN_FAULT + ERROR_ARENA)
    assert sender.call({"image": images[0]}, work_bytes=sender.work_bytes)[0] > 0


def test_arrays_that_do_not_fit_are_refused_before_the_call(sender, images):
    for array in (images[0].astype(np.uint8), images[0][:, :4], images[0].transpose(0, 3, 1, 2)):
        with pytest.raises(intaglio.InputError):
            sender.send({"image": array})
    with pytest.raises(intaglio.InputError):
        sender.send({})


def test_null_pointers_are_refused(bundle, tmp_path):
    upper = "DIGITS"
    program = f"""
    #include <stdio.h>
    #include "digits_send.h"
    static uint8_t work[{upper}_SEND_WORK_BYTES] __attribute__((aligned(16)));
    static uint8_t frame[{upper}_SEND_FRAME_BYTES];
    static int8_t input[{upper}_INPUT_COUNT];
    int main(void)
    {{
        printf("%d %d %d %d\\n",
            (int)digits_send(NULL, sizeof input, frame, sizeof frame, work, sizeof work),
            (int)digits_send(input, sizeof input, NULL, sizeof frame, work, sizeof work),
            (int)digits_send(input, sizeof input, frame, sizeof frame, NULL, sizeof work),
            (int)digits_send(input, 3, frame, sizeof frame, work, sizeof work));
        return digits_send(input, sizeof input, frame, sizeof frame, work, sizeof work) <= 0;
    }}
    """
    (tmp_path / "main.c").write_text(program)
    shutil.copytree(bundle.folder / "c", tmp_path / "c")
    subprocess.run(["make", "-s", "-C", "c"], cwd=tmp_path, check=True)
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    command = [compiler, "-std=c99", "-Ic", "main.c", "c/libdigits.a", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True)
    wanted = [RUN_FAULT + ERROR_NULL] * 3 + [RUN_FAULT + 2]
    assert [-int(word) for word in done.stdout.split()] == wanted


def test_the_readme_says_how_to_send(bundle):
    text = (bundle.folder / "c" / "README.md").read_text()
    assert "digits_send(input, sizeof input, frame, sizeof frame, work, sizeof work)" in text
    assert bundle.manifest["split"]["session"] in text


def test_build_files_name_all_sources(bundle):
    codec = open_split(bundle, "c", coder="numpy").specification
    for name in codec_sources(codec, "digits"):
        assert (bundle.folder / "c" / name).is_file()
    for text in (makefile(["m"], ["split_codec"]), cmake_lists(["m"], ["split_codec"])):
        assert "split_codec" in text
        assert "split_codec" not in makefile(["m"])


def test_a_model_called_split_does_not_hide_the_codec(tmp_path):
    model = onnx.load(DIGITS / "digits.onnx")
    onnx.save(model, tmp_path / "split.onnx")
    made = intaglio.convert(
        tmp_path / "split.onnx",
        recipe="split",
        targets=["c"],
        calibration=DIGITS / "calibration.npz",
        out=tmp_path / "b",
        sets={**QUICK, "calibrate.choose_cut.at": "relu3.out"},
    )
    artifact = made.artifact("c", "device")
    assert artifact.path == "c/m_split.c"
    assert Sender(artifact, made.folder).send({"image": np.zeros((1, 8, 8, 1), np.int8)})
