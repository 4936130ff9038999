"""Names and numbers in C."""

import re
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.literals import number, rows
from intaglio.targets.c.naming import Names, identifier


@given(st.text(max_size=80))
def test_any_text_becomes_an_identifier(text):
    name = identifier(text)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert len(name) <= 50
    assert identifier(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ic_resnet8-int8.v2", "ic_resnet8_int8_v2"),
        ("8bit", "m_8bit"),
        ("int", "m_int"),
        ("", "model"),
        ("日本", "model"),
        ("/model/conv.1/Conv_output_0", "model_conv_1_conv_output_0"),
    ],
)
def test_examples(text, name):
    assert identifier(text) == name


def test_a_name_is_given_once():
    names = Names()
    assert [names.take("a"), names.take("a"), names.take("a_2"), names.take("a")] == [
        "a", "a_2", "a_2_2", "a_3",
    ]  # fmt: skip


def test_every_number_is_what_the_compiler_reads(tmp_path):
    arrays = {
        "int8": [-128, -1, 0, 127],
        "uint8": [0, 255],
        "int16": [-32768, 32767],
        "uint16": [0, 65535],
        "int32": [-(1 << 31), -1, (1 << 31) - 1],
        "uint32": [0, (1 << 32) - 1],
        "int64": [-(1 << 63), (1 << 63) - 1, 1 << 31, -(1 << 31)],
        "uint64": [0, (1 << 64) - 1],
    }
    text = "#include <stdint.h>\n#include <inttypes.h>\n#include <stdio.h>\nint main(void)\n{\n"
    for dtype, values in arrays.items():
        text += (
            f"    static const {dtype}_t a_{dtype}[] = {{\n{rows(np.array(values, dtype))}\n}};\n"
        )
        kind, form = ("uint64_t", "PRIu64") if dtype == "uint64" else ("int64_t", "PRId64")
        for place in range(len(values)):
            text += f'    printf("%" {form} "\\n", ({kind})a_{dtype}[{place}]);\n'
    (tmp_path / "a.c").write_text(text + "    return 0;\n}\n")
    command = [*require_compiler(), "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run([*command, "a.c", "-o", "a"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True)
    assert list(map(int, done.stdout.split())) == [v for vs in arrays.values() for v in vs]


def test_numbers_in_expressions():
    assert number(-(1 << 31)) == "(-2147483647 - 1)"
    assert number(1 << 40) == "INT64_C(1099511627776)"
    assert number(-5) == "-5"
