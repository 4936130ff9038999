"""The C reader under AddressSanitizer and UndefinedBehaviorSanitizer, fed with damaged frames."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.literals import rows
from intaglio.targets.c.split.compiled import HEADERS, SOURCES
from intaglio.targets.c.split.emitting import codec_sources
from intaglio.targets.c.split.library import Coder
from intaglio.targets.c.split.tables import fast_tables
from intaglio.transforms.split.specification import CodecSpecification
from tests.targets.c.split.specifications import feature, random_codes
from tests.targets.c.test_sanitized import SANITIZERS

OPTIONS = ("-std=gnu99", "-O1", "-g", "-DSPLIT_FAST", *SANITIZERS)
_SAMPLES = 3
_POINTERS = ("reciprocals", "pairs", "entry_bases", "rows", "row_bases", "steps")


def codecs():
    """Two features each; every loop of the fast coder in one of them."""
    rng = np.random.default_rng(2)
    shapes = (
        (((8, 4, 5), (4,), 4), ((3, 2, 2), (1, 5), 3)),
        (((9, 3, 6), (8,), 8), ((2, 300), (6,), 1)),
        (((17, 2, 3), (16,), 16), ((5, 1, 1), (17,), 5)),
        (((6, 3, 3), (40, 256), 2), ((70,), (3,), 64)),
    )
    for coding in ("rans", "packed", "raw"):
        for index, parts in enumerate(shapes if coding == "rans" else shapes[-1:]):
            caps = (3, 2, 3) if index < 3 else (1, 0, 1)
            features = tuple(
                feature(
                    rng, shape, levels=levels, stripes=2, caps=caps,
                    lanes=lanes, coding=coding, dynamic=index % 2 == 1,
                )
                for shape, levels, lanes in parts
            )  # fmt: skip
            yield pytest.param(CodecSpecification(features, coding).check(), id=f"{coding}-{index}")


def fast_text(specification):
    """The tables of the fast coder in C."""
    parts, items = ['#include "split_fast.h"\nextern const struct split_fast model_fast;\n'], []
    for index, found in enumerate(specification.features):
        tables = fast_tables(found)
        if tables is None:
            items.append("{NULL, NULL, NULL, NULL, NULL, NULL, 0, 0}")
            continue
        for name in _POINTERS:
            data = getattr(tables, name)
            kind = f"{data.dtype.name}_t"
            parts.append(
                f"static const {kind} {name}_{index}[{data.size}] = {{\n{rows(data)}\n}};\n"
            )
        names = ", ".join(f"{name}_{index}" for name in _POINTERS)
        items.append(f"{{{names}, {tables.words}, {tables.reference_step}}}")
    listed = ",\n    ".join(items)
    parts.append(f"static const struct split_fast_feature features[] = {{\n    {listed}\n}};\n")
    parts.append("const struct split_fast model_fast = {features};\n")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Folder with what is the same for all codecs, compiled; loops are not unrolled: quicker."""
    folder = tmp_path_factory.mktemp("fuzz")
    for path in (*SOURCES, *HEADERS):
        (folder / path.name).write_text(path.read_text())
    compile_files(
        [*require_compiler(), *OPTIONS, "-DSPLIT_UNROLL=", "-c", *(path.name for path in SOURCES)],
        folder,
    )
    return folder


def fuzz(specification, objects, folder, seed, rounds):
    """Frames taken and refused; fails where the program ends by a sanitizer or a difference."""
    for name, text in codec_sources(specification, "model").items():
        (folder / name).write_text(text)
    (folder / "model_fast.c").write_text(fast_text(specification))
    main = Path(__file__).with_name("fuzz_main.c")
    compile_files(
        [*require_compiler(), *OPTIONS, f"-I{objects}", "-I.", "model_codec.c", "model_fast.c",
         str(main), *(str(objects / f"{path.stem}.o") for path in SOURCES), "-o", "fuzz"],
        folder,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    coder = Coder(specification)
    with (folder / "frames").open("wb") as file:
        for _ in range(12):
            samples = int(rng.integers(1, _SAMPLES + 1))
            data = coder.write_frame(*random_codes(rng, specification, samples))
            file.write(len(data).to_bytes(4, "little") + data)
    done = subprocess.run(
        ["./fuzz", "frames", str(seed), str(rounds), str(_SAMPLES)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return map(int, done.stdout.split())


@pytest.mark.parametrize("specification", list(codecs()))
def test_damaged_frames_do_no_harm(specification, objects, tmp_path):
    taken, refused = fuzz(specification, objects, tmp_path, 1, 3000)
    assert taken > 100
    assert refused > 100


@pytest.mark.long
@pytest.mark.parametrize("specification", list(codecs()))
def test_many_damaged_frames_do_no_harm(specification, objects, tmp_path):
    taken, refused = fuzz(specification, objects, tmp_path, 7, 300_000)
    assert taken > 1000
    assert refused > 1000
