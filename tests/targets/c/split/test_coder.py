"""The compiled coder against the definition, and against the numpy twin."""

import ctypes
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings

from intaglio.errors import ToolError
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library
from intaglio.targets.c.split import compiled
from intaglio.targets.c.split.compiled import SOURCES, codec_library
from intaglio.targets.c.split.library import Coder, open_library
from intaglio.targets.c.split.structures import FilledCodec
from intaglio.targets.c.split.tables import crc_tables
from intaglio.transforms.split import frames
from intaglio.transforms.split.specification import CodecSpecification
from tests.targets.c.split import definition
from tests.targets.c.split.specifications import cases, feature, random_codes
from tests.targets.c.split.test_emitting import STRICT


def same(frame, kind, codes, ranges):
    assert (frame.kind, frame.samples) == (kind, len(codes))
    np.testing.assert_array_equal(frame.codes, codes)
    np.testing.assert_array_equal(frame.ranges, ranges)
    assert frame.codes.dtype == np.uint8
    assert frame.ranges.dtype == np.int8


@given(cases())
@settings(deadline=None, max_examples=80)
def test_frames_are_those_of_the_definition_and_come_back(case):
    specification, codes, ranges = case
    expected = definition.write_frame(specification, codes, ranges, 1)
    for fast in (True, False):
        coder = Coder(specification, fast=fast)
        assert coder.write_frame(codes, ranges, 1) == expected
        assert coder.write_frame(codes.view(np.int8), ranges, 1) == expected
        same(coder.read_frame(expected, len(codes)), 1, codes, ranges)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_numpy_and_c_write_and_read_the_same(case):
    specification, codes, ranges = case
    coder = Coder(specification)
    data = frames.write_frame(specification, codes, ranges)
    assert coder.write_frame(codes, ranges) == data
    theirs = frames.read_frame(specification, data, 3)
    same(coder.read_frame(data, 3), theirs.kind, theirs.codes, theirs.ranges)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_just_enough_memory_suffices_and_one_byte_less_does_not(case):
    specification, codes, ranges = case
    expected = definition.write_frame(specification, codes, ranges)
    library = codec_library()
    for fast in (True, False):
        filled = FilledCodec(specification, fast)
        for missing in (0, 1, len(expected) // 2, len(expected)):
            size = len(expected) - missing
            memory = np.full(size + 1, 0xA5, np.uint8)
            found = library.split_write_frame(
                ctypes.addressof(filled.structure), 0, codes.ctypes.data, ranges.ctypes.data,
                len(codes), memory.ctypes.data, size,
            )  # fmt: skip
            assert found == (-100 if missing else size)
            assert memory[-1] == 0xA5
            assert missing or memory[:-1].tobytes() == expected


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """The library without instructions that only some processors have, all warnings on."""
    folder = tmp_path_factory.mktemp("portable")
    compile_files(
        [*require_compiler(), *STRICT, "-O1", "-DSPLIT_FAST", "-DSPLIT_PORTABLE", "-shared",
         "-fPIC", *map(str, SOURCES), "-o", library_name("portable")],
        folder,
    )  # fmt: skip
    return compiled.declared(load_library(folder / library_name("portable")))


@given(cases())
@settings(deadline=None, max_examples=60)
def test_other_processors_make_the_same_frames(portable, case):
    specification, codes, ranges = case
    coder = Coder(specification)
    coder._library = portable
    data = definition.write_frame(specification, codes, ranges)
    assert coder.write_frame(codes, ranges) == data
    same(coder.read_frame(data, len(codes)), 0, codes, ranges)


def example(coding="rans", dynamic=True):
    rng = np.random.default_rng(5)
    found = feature(
        rng, (6, 5, 7), levels=(5,), stripes=2, caps=(2, 1, 3), lanes=2, coding=coding,
        dynamic=dynamic,
    )  # fmt: skip
    specification = CodecSpecification((found,), coding)
    return specification, *random_codes(rng, specification, 4)


def test_wrong_arguments_are_refused():
    specification, codes, ranges = example()
    coder = Coder(specification)
    for bad_codes, bad_ranges, bad_kind, words in (
        (codes[:, :-1], ranges, 0, "codes must be"),
        (codes[0], ranges, 0, "codes must be"),
        (codes.astype(np.int16), ranges, 0, "codes must be"),
        (codes, ranges[:, :-1], 0, "ranges must be"),
        (codes, ranges.view(np.uint8), 0, "ranges must be"),
        (codes, None, 0, "ranges must be"),
        (codes, ranges[:-1], 0, "ranges of 3 samples"),
        (codes, ranges, 5, "no kind 5"),
        (codes[:0], ranges[:0], 0, "1 to 65535 samples"),
        (np.full_like(codes, 5), ranges, 0, "number of levels"),
        (codes, np.full_like(ranges, [1, 0] * (ranges.shape[1] // 2)), 0, "range ends"),
    ):
        with pytest.raises(ValueError, match=words):
            coder.write_frame(bad_codes, bad_ranges, bad_kind)


def test_arrays_need_not_lie_side_by_side():
    specification, codes, ranges = example()
    coder = Coder(specification)
    expected = coder.write_frame(codes, ranges)
    apart = np.asfortranarray(codes), np.repeat(ranges, 2, 1)[:, ::2]
    assert coder.write_frame(*apart) == expected
    same(coder.read_frame(memoryview(bytearray(expected)), 4), 0, codes, ranges)


def test_static_ranges_may_be_left_out():
    specification, codes, _ = example(dynamic=False)
    coder = Coder(specification)
    assert coder.read_frame(coder.write_frame(codes), 4).ranges.shape == (4, 0)


def test_threads_do_not_disturb_each_other():
    specification, codes, ranges = example()
    coder = Coder(specification)
    expected = [coder.write_frame(codes[:n], ranges[:n]) for n in (1, 2, 3, 4)]
    wrong = []

    def work(count):
        for _ in range(200):
            data = coder.write_frame(codes[:count], ranges[:count])
            if data != expected[count - 1] or coder.read_frame(data, 4).samples != count:
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_crc_is_that_of_zlib():
    library = codec_library()
    data = np.random.default_rng(0).integers(0, 256, 1000, np.uint8)
    tables = crc_tables()
    for size in (0, 1, 7, 8, 9, 64, 1000):
        for given_tables in (None, tables.ctypes.data):
            found = library.split_crc(given_tables, data.ctypes.data, size)
            assert found == zlib.crc32(data[:size].tobytes())


def test_without_a_compiler_there_is_a_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    codec_library.cache_clear()
    try:
        with pytest.raises(ToolError) as caught:
            open_library()
        assert "CC" in caught.value.remedy
    finally:
        codec_library.cache_clear()


def test_the_library_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []
    monkeypatch.setattr(
        compiled, "build", lambda compiler, target: calls.append(target.write_bytes(b"x"))
    )
    first, second = compiled._compiled(("cc",)), compiled._compiled(("cc",))
    assert first == second
    assert first.parent == tmp_path / "intaglio" / "kernels"
    assert len(calls) == 1
    assert compiled._compiled(("cc", "-m32")) != first
    assert [path.name for path in first.parent.iterdir() if path.is_dir()] == []


def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(compiled, "build", lambda compiler, target: target.write_bytes(b"x"))
    assert compiled._compiled(("cc",)).exists()
