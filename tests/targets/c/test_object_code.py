"""What compilers make of the emitted C: no float, no heap, no mutable data, no warning."""

import ctypes
import functools
import re
import shutil
import subprocess

import numpy as np
import pytest

from intaglio.targets.c.library import Library, Port
from intaglio.targets.c.source import write_sources
from tests.property.lowering_checks import Options
from tests.targets.c.harness import STRICT, build, runs_here
from tests.targets.c.models import of_sample, of_text

X86 = {
    "portable": ["-DMODEL_PORTABLE"],
    "avx2": ["-mavx2"],
    "vnni": ["-march=icelake-server"],
}
MCU = {
    "cortex-m0": ["-mcpu=cortex-m0", "-mthumb"],
    "cortex-m4": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-mthumb"],
    "cortex-m55": ["-mcpu=cortex-m55", "-mfloat-abi=hard", "-mthumb"],
}
#: Arithmetic, conversion and comparison of floats; moves and bitwise operations are none.
X86_FLOAT = re.compile(
    r"\tv?(?:add|sub|mul|div|sqrt|min|max|u?comi|cmp\w*|rcp\w*|rsqrt\w*|fn?m\w+|round|range|reduce|"
    r"scalef|getexp|getmant|fixupimm|hadd|hsub|addsub|dp)[sp][sdh]\b|\tv?cvt\w+|\tf[a-z0-9]+\b"
)
ARM_FLOAT = re.compile(r"\tv\w+\.(?:f16|f32|f64)(?:\.\w+)*\b")
ARM_MOVES = re.compile(r"\tv(?:mov|ldr|str|ldm\w*|stm\w*|push|pop)\w*\.")
FLOAT_CALL = re.compile(r"__aeabi_(?:f|d|i2|ui2|l2|ul2)\w*|__\w+[sd]f\w*|__fix\w+|__float\w+")
HEAP = re.compile(r"\b(?:malloc|calloc|realloc|free|_Zn\w+|sbrk)\b")
ALLOWED_CALL = re.compile(
    r"mem(?:cpy|set|move|cmp)|__aeabi_(?:mem\w+|l\w+|i?div\w*|uidiv\w*|u?ldivmod)|"
    r"__(?:gnu_)?thumb1_\w+|_GLOBAL_OFFSET_TABLE_|__(?:mul|ash|lsh)\w*[sd]i3"
)


#: Functions that sample models do not have.
FUNCTIONS = """
(float[1,4,6,6] x) => (float y) {
  a = Sigmoid (x)
  b = Tanh (x)
  c = Mul (a, b)
  r = Resize <mode: string = "linear"> (c, , , sizes)
  m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
  g = ReduceMean <keepdims = 1> (m, axes)
  s = Sub (m, g)
  t = Reshape (s, shape)
  u = Transpose <perm = [0, 2, 1]> (t)
  p = MatMul (t, u)
  y = Softmax (p)
}"""


@functools.cache
def sources(name):
    """Files of a model, named ``model`` whatever it is."""
    kind, _, activations = name.partition(" ")
    options = Options(activations=activations or "int8")
    if kind == "functions":
        sizes = {"sizes": [1, 4, 12, 12], "axes": [2, 3], "shape": [1, 4, 36]}
        arrays = {key: np.array(value, np.int64) for key, value in sizes.items()}
        network = of_text(FUNCTIONS, options, **arrays).network
    else:
        network = of_sample(kind, activations=options.activations).network
    renamed = type(network)(**{**vars(network), "name": "model"})
    return write_sources(renamed), renamed


@pytest.fixture(
    params=["digits", "spoken_digits", "superres", "digits int16", "functions", "functions int16"]
)
def folder(request, tmp_path):
    written, _ = sources(request.param)
    for name, text in written.files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def need(tool, package):
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool} (Debian: {package})")


def compiled(folder, command, last=()):
    """Object files of both sources; any warning is an error, but those that are turned off."""
    for stem in ("model", "model_weights"):
        done = subprocess.run(
            [*command, *STRICT, *last, "-c", f"{stem}.c", "-o", f"{stem}.o"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[:3000]
    return [folder / "model.o", folder / "model_weights.o"]


def symbols(nm, files):
    """``(kind, name)`` of every symbol."""
    out = subprocess.run([nm, *files], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^(?:[0-9a-f]+)? *([A-Za-z]) (\S+)$", out, re.MULTILINE)


def disassembly(objdump, file):
    done = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", file], capture_output=True, text=True, check=True
    )
    return done.stdout


def check(files, nm, objdump, is_float):
    found = symbols(nm, files)
    own = {name for kind, name in found if kind not in "Uw"}
    called = {name for kind, name in found if kind in "Uw"} - own
    assert not [name for name in called if FLOAT_CALL.fullmatch(name)]
    assert not [name for name in called if HEAP.fullmatch(name)]
    assert not [name for name in called if not ALLOWED_CALL.fullmatch(name)]
    assert not [name for kind, name in found if kind in "dDbBcCsSgG"], "mutable data"
    assert all(name.startswith("model_") for kind, name in found if kind in "TR")
    text = disassembly(objdump, files[0])
    assert len(text) > 1000
    assert [line for line in text.splitlines() if is_float(line)] == []


@pytest.mark.parametrize("variant", X86)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_x86_objects_hold_integers_only(folder, compiler, variant):
    need(compiler, compiler)
    # gcc makes vectors of plain loops at -O3; clang does at -O2 already.
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
    # The intrinsics of g++ 12 read their own undefined vectors: a known false alarm.
    quiet = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"] if compiler == "g++" else []
    for flags in X86.values():
        compiled(folder, [compiler, "-x", "c++", "-std=c++11", "-O0", *flags], quiet)


@pytest.mark.parametrize("instruction", [
    "\taddss xmm0,xmm1", "\tvmulps ymm0,ymm1,ymm2", "\tvcvtdq2ps zmm0,zmm1", "\tucomisd xmm0,xmm1",
    "\tvfmadd231ps zmm0,zmm1,zmm2", "\tfld1", "\tvcmpps k0,zmm0,zmm1",
])  # fmt: skip
def test_the_x86_pattern_sees_floats(instruction):
    assert X86_FLOAT.search(instruction)


@pytest.mark.parametrize("instruction", [
    "\tvpaddd zmm0,zmm1,zmm2", "\tmovaps xmm0,xmm1", "\tvxorps xmm0,xmm0,xmm0", "\tvpdpbusd zmm0",
    "\timul eax,ecx", "\tvextracti128 xmm0", "\tvmovups ymm0",
])  # fmt: skip
def test_the_x86_pattern_lets_moves_pass(instruction):
    assert not X86_FLOAT.search(instruction)


def test_the_same_model_gives_the_same_bytes():
    case = of_sample("digits")
    assert write_sources(case.network).files == write_sources(of_sample("digits").network).files


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    written, network = sources("digits")
    for name, text in written.files.items():
        (folder / name).write_text(text)
    ports = [[Port(t.name, t.shape, t.dtype) for t in tensors]
             for tensors in (network.inputs, network.outputs)]  # fmt: skip
    return Library(folder, "model", *ports, [], folder, flags=("-O1", "-DMODEL_PORTABLE"))


def test_wrong_arguments_give_error_codes(digits):
    """The library itself is called: the wrapper checks nothing."""
    image = np.zeros(digits.inputs[0].shape, np.int8)
    scores = np.zeros(digits.outputs[0].shape, np.int8)
    arena = np.zeros(digits.arena_bytes + 64, np.uint8)
    start = arena.ctypes.data + -arena.ctypes.data % 16

    def call(input_=image.ctypes.data, input_bytes=image.nbytes, output=scores.ctypes.data,
             output_bytes=scores.nbytes, memory=start, size=digits.arena_bytes):  # fmt: skip
        return digits._library.model_run(
            ctypes.c_void_p(input_), ctypes.c_size_t(input_bytes), ctypes.c_void_p(output),
            ctypes.c_size_t(output_bytes), ctypes.c_void_p(memory), ctypes.c_size_t(size),
        )  # fmt: skip

    assert call() == 0
    assert call(input_=None) == call(output=None) == call(memory=None) == 1
    assert call(input_bytes=image.nbytes - 1) == call(output_bytes=scores.nbytes + 1) == 2
    assert call(input_bytes=0) == 2
    assert call(size=digits.arena_bytes - 1) == call(size=0) == 3
    assert call(memory=start + 1) == call(memory=start + 8) == 4
    assert call(size=digits.arena_bytes + 16) == 0


@pytest.mark.parametrize("variant", X86)
def test_a_model_works_wherever_its_arrays_begin(variant):
    """Inputs and outputs of the caller may lie at any address."""
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")
    library = build(of_sample("digits").network, variant)
    [port] = library.inputs
    count = int(np.prod(port.shape))
    image = np.random.default_rng(0).integers(-128, 128, count, np.int8)
    wanted, _ = library.run({port.name: image.reshape(port.shape)})
    memory = np.zeros(count + 16, np.int8)
    for offset in (1, 3, 7, 8):
        shifted = memory[offset : offset + count]
        shifted[:] = image
        found, _ = library.run({port.name: shifted.reshape(port.shape)})
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)
