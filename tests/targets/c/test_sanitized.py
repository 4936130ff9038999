"""Emitted C under AddressSanitizer and UndefinedBehaviorSanitizer.

Every tensor of the caller and the arena are allocations of just their size, so that one byte read
or written beyond them ends the program.
"""

import subprocess

import numpy as np
import pytest

from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.source import write_sources
from tests.targets.c.harness import FLAGS, build, runs_here
from tests.targets.c.models import of_file, of_sample

SANITIZERS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "{name}.h"

int main(void)
{{
    {input} *input = malloc({input_bytes});
    {output} *output = malloc({output_bytes});
    void *arena = aligned_alloc(16, ({upper}_ARENA_BYTES + 15) / 16 * 16);
    int code = 0;
    while (code == 0 && fread(input, 1, {input_bytes}, stdin) == {input_bytes}) {{
        code = {name}_run(input, {input_bytes}, output, {output_bytes}, arena, {upper}_ARENA_BYTES);
        fwrite(output, 1, {output_bytes}, stdout);
    }}
    free(input);
    free(output);
    free(arena);
    return code;
}}
"""


def run_sanitized(network, variant, batch, folder):
    """Raw outputs of a program that is built with the sanitizers."""
    for name, text in write_sources(network, {variant}).files.items():
        (folder / name).write_text(text)
    name = network.name
    [source], [result] = network.inputs, network.outputs
    (folder / "main.c").write_text(
        MAIN.format(
            name=name, upper=name.upper(), input=f"{source.dtype}_t", input_bytes=source.bytes,
            output=f"{result.dtype}_t", output_bytes=result.bytes,
        )
    )  # fmt: skip
    forced = [f"-D{name.upper()}_PORTABLE"] if variant == "portable" else []
    subprocess.run(
        [*require_compiler(), "-std=gnu11", "-O1", "-g", *SANITIZERS, *FLAGS[variant], *forced,
         "main.c", f"{name}.c", f"{name}_weights.c", "-o", "main"],
        cwd=folder, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [folder / "main"], input=b"".join(a.tobytes() for a in batch), capture_output=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[:4000]
    return np.frombuffer(done.stdout, result.dtype).reshape(len(batch), *result.shape)


def check(case, variant, folder):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")
    network = case.network
    [source], [result] = network.inputs, network.outputs
    limits = np.iinfo(source.dtype)
    rng = np.random.default_rng(0)
    batch = [
        rng.integers(limits.min, limits.max, source.shape, source.dtype, endpoint=True),
        np.full(source.shape, limits.min, source.dtype),
        np.full(source.shape, limits.max, source.dtype),
    ]
    found = run_sanitized(network, variant, batch, folder)
    library = build(network, variant)
    for array, got in zip(batch, found, strict=True):
        wanted, _ = library.run({source.name: array})
        np.testing.assert_array_equal(got, wanted[result.name])


@pytest.mark.parametrize("variant", ["portable", "avx2", "vnni"])
@pytest.mark.parametrize(
    ("name", "activations"),
    [("digits", "int8"), ("spoken_digits", "int8"), ("superres", "int8"), ("superres", "int16")],
)
def test_a_sample_model_stays_within_its_memory(name, activations, variant, tmp_path):
    check(of_sample(name, activations=activations), variant, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("variant", ["portable", "avx2", "vnni"])
@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_ref_model_int8", "vww_96_int8"])
def test_a_published_model_stays_within_its_memory(zoo, name, variant, tmp_path):
    check(of_file(zoo / f"{name}.tflite"), variant, tmp_path)


def test_the_sanitizers_see_a_read_beyond_the_input(tmp_path):
    """The judge itself: a program that reads one byte too much is stopped."""
    (tmp_path / "a.c").write_text(
        "#include <stdlib.h>\nint main(int n, char **a)\n{\n    char *p = malloc(8);\n"
        "    (void)a;\n    p[0] = 1;\n    return p[7 + n];\n}\n"
    )
    subprocess.run(
        [*require_compiler(), "-O1", *SANITIZERS, "a.c", "-o", "a"], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "a"], capture_output=True, check=False)
    assert done.returncode != 0
    assert b"insufficient space" in done.stderr or b"heap-buffer-overflow" in done.stderr
