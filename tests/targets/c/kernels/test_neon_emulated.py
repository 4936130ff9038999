"""What the emulated program and its errors tell."""

import re

import numpy as np
import pytest

from intaglio.errors import InputError, ToolError
from intaglio.targets.c import emulated
from intaglio.targets.c.emulated import Emulated, missing_packages, run_aarch64
from intaglio.targets.c.library import Port
from tests.targets.c.kernels.neon_programs import needs_tools

MODEL = """\
#include <string.h>
#define TINY_ARENA_BYTES 16
#ifndef TINY_TAP
#define TINY_TAP(index, output, bytes)
#endif
int tiny_run(const int8_t *x, size_t x_bytes, const int16_t *w, size_t w_bytes, int16_t *y,
             size_t y_bytes, void *arena, size_t arena_bytes)
{
    int8_t *inner = (int8_t *)arena;
    (void)x_bytes; (void)w_bytes; (void)y_bytes; (void)arena_bytes;
    for (int i = 0; i < 3; i++) {
        inner[i] = (int8_t)(x[i] + 1);
    }
    TINY_TAP(0, inner, 3u)
    for (int i = 0; i < 3; i++) {
        y[i] = (int16_t)(inner[i] * w[0]);
    }
    TINY_TAP(1, y, 6u)
    BODY
    return CODE;
}
"""

X, W, Y = Port("x", (3,), "int8"), Port("w", (1,), "int16"), Port("y", (3,), "int16")
INNER = Port("inner", (3,), "int8")
FEEDS = {"x": np.array([1, -128, 5], np.int8), "w": np.array([-300], np.int16)}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


def write(path, body="", code="0"):
    (path / "tiny.c").write_text(MODEL.replace("BODY", body).replace("CODE", code))
    (path / "tiny_weights.c").write_text("extern int nothing;\nint nothing;\n")


@needs_tools
def test_outputs_and_inner_tensors(folder):
    outputs, inner = run_aarch64(
        folder, "tiny", FEEDS, [Y], layers=[INNER, Y], inner=["inner"], flags=["-O1"]
    )
    assert outputs["y"].tolist() == [-600, 38100 - 65536, -1800]
    assert inner["inner"].tolist() == [2, -127, 6]
    assert set(inner) == {"inner"}


@needs_tools
def test_several_inferences_and_their_instructions(folder):
    program = Emulated(folder, "tiny", [X, W], [Y], folder)
    second = {**FEEDS, "w": np.array([2], np.int16)}
    results = program.run([FEEDS, second, FEEDS])
    assert [outputs["y"][0] for outputs, _ in results] == [-600, 4, -600]
    count = program.count_instructions(FEEDS)
    assert 10 < count < 200
    assert program.count_instructions(second) == count


@needs_tools
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("y[3] = 1;", "0", "SIGSEGV"),
        ("y[-1] = 1;", "0", "wrote beyond its arena or its outputs"),
        ("inner[-1] = 1;", "0", "wrote beyond its arena or its outputs"),
        ("y[0] = x[3];", "0", "SIGSEGV"),
        ("", "2", "refused its arguments with code 2"),
    ],
)
def test_errors_of_the_code(folder, body, code, message):
    write(folder, body, code)
    program = Emulated(folder, "tiny", [X, W], [Y], folder, flags=["-O0"])
    with pytest.raises(ToolError, match=message):
        program.run([FEEDS])


@needs_tools
def test_code_that_does_not_compile(folder):
    write(folder, "nonsense;")
    with pytest.raises(ToolError, match="nonsense"):
        Emulated(folder, "tiny", [X, W], [Y], folder)


@needs_tools
def test_inputs_that_do_not_fit(folder):
    program = Emulated(folder, "tiny", [X, W], [Y], folder)
    for wrong in ({"x": FEEDS["x"]}, {**FEEDS, "x": np.zeros(4, np.int8)}):
        with pytest.raises(InputError, match=r"input '[xw]'"):
            program.run([wrong])


def test_missing_tools_are_named(folder, monkeypatch):
    monkeypatch.setattr(emulated.shutil, "which", lambda name: None)
    assert missing_packages() == ["gcc-aarch64-linux-gnu libc6-dev-arm64-cross", "qemu-user"]
    with pytest.raises(ToolError) as raised:
        Emulated(folder, "tiny", [X, W], [Y], folder)
    assert re.search("apt-get install gcc-aarch64-linux-gnu .* qemu-user", raised.value.remedy)
