"""The codec as emitted for a device: it compiles everywhere, and makes the same frames."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from intaglio.targets.c.split.emitting import codec_sources, table_bytes
from intaglio.targets.c.split.library import Coder
from intaglio.transforms.split.specification import CodecSpecification
from tests.targets.c.split import definition
from tests.targets.c.split.specifications import feature, random_codes

STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror",
)  # fmt: skip
CORTEX = ("-mcpu=cortex-m4", "-mthumb", "-Os", "-DSPLIT_WRITER_ONLY")


def made(coding, dynamic):
    rng = np.random.default_rng(11)
    first = feature(
        rng, (9, 6, 5), levels=(2, 7), stripes=3, caps=(3, 3, 3), lanes=4, coding=coding,
        dynamic=dynamic, tile=4,
    )  # fmt: skip
    second = feature(rng, (5, 3), levels=(200,), coding=coding, dynamic=dynamic)
    specification = CodecSpecification((first, second), coding, "ab").check()
    return specification, *random_codes(rng, specification, 2)


def written(folder, specification, name="My Model"):
    files = codec_sources(specification, name)
    for file, text in files.items():
        assert text.isascii()
        (folder / file).write_text(text)
    return sorted(file for file in files if file.endswith(".c"))


@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
def test_the_bytes_of_the_tables_are_those_that_are_written(coding):
    specification = made(coding, False)[0]
    text = codec_sources(specification, "a")["a_codec.c"]
    found = re.findall(r"static const (uint16_t|int32_t) \w+\[(\d+)\]", text)
    width = {"uint16_t": 2, "int32_t": 4}
    assert table_bytes(specification) == sum(width[kind] * int(count) for kind, count in found)
    assert (table_bytes(specification) > 0) == (coding == "rans")


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_emitted_code_writes_the_same_frame(compiler, coding, dynamic, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    specification, codes, ranges = made(coding, dynamic)
    sources = written(tmp_path, specification)
    assert sources == ["my_model_codec.c", "split_codec.c"]
    subprocess.run(
        [compiler, *STRICT, "-O1", "-DSPLIT_WRITER_ONLY", "-shared", "-fPIC", *sources,
         "-o", "codec.so"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    library = ctypes.CDLL(str(tmp_path / "codec.so"))
    write = library.my_model_write_frame
    write.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t,
    ]  # fmt: skip
    write.restype = ctypes.c_int32
    expected = definition.write_frame(specification, codes, ranges)
    assert Coder(specification).write_frame(codes, ranges) == expected
    fixed, each = re.search(
        r"FRAME_BYTES\(samples\) \((\d+)u \+ (\d+)u", (tmp_path / "my_model_codec.h").read_text()
    ).groups()
    most = int(fixed) + int(each) * 2
    library.split_frame_bytes.restype = ctypes.c_uint64
    codec = ctypes.addressof(ctypes.c_char.in_dll(library, "my_model_codec"))
    assert library.split_frame_bytes(ctypes.c_void_p(codec), 2) == most
    frame = np.zeros(most, np.uint8)
    size = write(codes.ctypes.data, ranges.ctypes.data, 2, frame.ctypes.data, most)
    assert frame[:size].tobytes() == expected
    assert write(codes.ctypes.data, ranges.ctypes.data, 2, frame.ctypes.data, size - 1) == -100


@pytest.mark.parametrize("coding", ["raw", "packed", "rans"])
def test_emitted_code_compiles_for_a_microcontroller(coding, tmp_path):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    sources = written(tmp_path, made(coding, True)[0])
    for options in (CORTEX, CORTEX[:-1]):
        subprocess.run(["arm-none-eabi-gcc", *STRICT, *options, "-c", *sources],
                       cwd=tmp_path, check=True)  # fmt: skip
    # Nothing is called but copies of memory: no floats, no division of 64 bits, no allocation.
    names = subprocess.run(
        ["arm-none-eabi-nm", "-u", "split_codec.o", "my_model_codec.o"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    called = {name for name in names if name not in ("U",) and not name.endswith(":")}
    own = {name for name in called if name.startswith(("split_", "my_model_"))}
    assert called - own <= {"memcpy", "memmove", "memset"}


def test_emitted_code_is_cpp_too(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    sources = written(tmp_path, made("rans", True)[0])
    subprocess.run(
        ["g++", "-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-c", *sources],
        cwd=tmp_path, check=True,
    )  # fmt: skip
