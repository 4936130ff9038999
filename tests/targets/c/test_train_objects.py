"""What compilers make of a training step: no float, no heap, no mutable data, no warning."""

import ctypes
import functools

import numpy as np
import pytest

from intaglio.targets.c.training.sources import write_training_sources
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding
from tests.targets.c.test_object_code import (
    ARM_FLOAT,
    ARM_MOVES,
    MCU,
    X86,
    X86_FLOAT,
    check,
    compiled,
    need,
)
from tests.targets.c.training_models import CLASSES, Trainer, make

CASES = {
    "head": {"trains": "head"},
    "all": {"bias": True},
    "everything": {
        "bias": True, "mask": "hash", "probes": 3, "law": Law.BINOMIAL, "sharpness": True,
        "rounding": StepRounding.STOCHASTIC,
    },
    "squared": {"mask": "bits", "loss": "mean-squared-error", "rounding": StepRounding.FLOOR},
    "still": {"mask": "none", "probes": 2},
}  # fmt: skip


@functools.cache
def sources(name):
    model = make(**CASES[name])
    return write_training_sources(model.network, model.specification, model.initial)


LONG = ("head", "squared", "still")


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in CASES]
)
def folder(request, tmp_path):
    for name, text in sources(request.param).files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("variant", X86)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_x86_objects_hold_integers_only(folder, compiler, variant):
    need(compiler, compiler)
    level = "-O3" if compiler == "gcc" else "-O2"
    files = compiled(folder, [compiler, "-std=c99", "-fno-pie", level, *X86[variant]])
    check(files, "nm", "objdump", X86_FLOAT.search)


@pytest.mark.parametrize("processor", MCU)
def test_microcontroller_objects_hold_integers_only(folder, processor):
    need("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi")
    files = compiled(folder, ["arm-none-eabi-gcc", "-std=c99", "-O2", *MCU[processor]])
    check(
        files,
        "arm-none-eabi-nm",
        "arm-none-eabi-objdump",
        lambda line: ARM_FLOAT.search(line) and not ARM_MOVES.search(line),
    )


@pytest.mark.parametrize("target", [[], ["-march=armv8.2-a+dotprod"]])
def test_aarch64_objects_compile_without_a_warning(folder, target):
    need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    compiled(folder, ["aarch64-linux-gnu-gcc", "-std=c99", "-O2", *target])


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_sources_are_cplusplus_too(folder, compiler):
    need(compiler, compiler)
    quiet = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"] if compiler == "g++" else []
    for flags in X86.values():
        compiled(folder, [compiler, "-x", "c++", "-std=c++11", "-O0", *flags], quiet)


def test_the_same_model_gives_the_same_bytes():
    model = make(**CASES["everything"])
    again = write_training_sources(model.network, model.specification, model.initial)
    assert again.files == sources("everything").files


def test_wrong_arguments_change_nothing(tmp_path):
    """The functions themselves are called: the wrapper checks nothing."""
    model = make("head", probes=2)
    trainer = Trainer(model, tmp_path)
    library, functions = trainer.library, trainer.library._library
    x, labels = model.batch(2)
    labels = labels.astype(np.int32)
    plus, minus, signs = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int8)
    output = np.zeros(CLASSES, np.int8)
    weights, arena = library._weights.ctypes.data, library._arena.ctypes.data
    before = library.weights()

    def step(x_=x.ctypes.data, x_bytes=x.nbytes, targets=labels.ctypes.data, count=2, w=weights,
             p=plus.ctypes.data, m=minus.ctypes.data, s=signs.ctypes.data, memory=arena,
             size=library.arena_bytes):  # fmt: skip
        pointer, word = ctypes.c_void_p, ctypes.c_size_t
        return functions.model_step(
            pointer(x_), word(x_bytes), pointer(targets), word(count), pointer(w),
            ctypes.c_uint32(1), ctypes.c_uint32(0), pointer(p), pointer(m), pointer(s),
            pointer(memory), word(size),
        )  # fmt: skip

    def run(x_bytes=x.nbytes // 2, w=weights, y=output.ctypes.data, memory=arena):
        pointer, word = ctypes.c_void_p, ctypes.c_size_t
        return functions.model_run(
            pointer(x.ctypes.data), word(x_bytes), pointer(w), pointer(y), word(output.nbytes),
            pointer(memory), word(library.arena_bytes),
        )  # fmt: skip

    def replay(found, w=weights):
        array = np.array(found, np.int8)
        return functions.model_replay(
            ctypes.c_void_p(w), ctypes.c_uint32(1), ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint32(0),
        )  # fmt: skip

    for name in ("x_", "targets", "w", "p", "m", "s", "memory"):
        assert step(**{name: None}) == 1, name
    assert run(w=None) == run(y=None) == run(memory=None) == replay([0, 0], None) == 1
    assert step(x_bytes=x.nbytes - 1) == step(count=1) == step(count=3) == 2
    assert step(x_bytes=0, count=0) == run(x_bytes=x.nbytes) == 2
    assert step(size=library.arena_bytes - 1) == 3
    assert step(memory=arena + 8) == step(w=weights + 4) == run(w=weights + 8) == 4
    assert run(memory=arena + 1) == replay([0, 0], weights + 2) == 4
    for label in (-1, CLASSES, 2**31 - 1, -(2**31)):
        labels[1] = label
        assert step() == 5
    assert replay([0, 2]) == replay([-2, 0]) == replay([-128, 1]) == 5
    assert library.weights() == before
    labels[1] = CLASSES - 1
    assert step() == run() == replay([1, -1]) == 0
    assert library.weights() != before
