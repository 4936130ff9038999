"""Emitted table networks under AddressSanitizer and UndefinedBehaviorSanitizer.

Image, result and scratch memory are allocations of just their size, so that one byte read or
written beyond them ends the program.
"""

import subprocess

import numpy as np
import pytest

from intaglio.targets.c.compiler import require_compiler
from tests.targets.c.harness import runs_here
from tests.targets.c.images.harness import picture, write
from tests.targets.c.images.networks import centred_network

SANITIZERS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(int count, char **words)
{
    int place;
    for (place = 1; place + 2 < count; place += 3) {
        const int height = atoi(words[place]), width = atoi(words[place + 1]);
        const int stride = atoi(words[place + 2]);
        const int across = width * NET_UPSCALE / NET_STRIDE;
        const int down = height * NET_UPSCALE / NET_STRIDE;
        const size_t bytes = (size_t)stride * (size_t)(height - 1) + (size_t)width;
        const size_t made = (size_t)across * (size_t)down;
        const int rows = NET_CELL_ROWS(height);
        uint8_t *image = malloc(bytes), *result = malloc(made);
        void *scratch = malloc(net_scratch_bytes(width));
        if (fread(image, 1, bytes, stdin) != bytes) {
            return 1;
        }
        net_run(image, stride, width, height, result, across, scratch);
        fwrite(result, 1, made, stdout);
        net_run_band(image, stride, width, height, result, across, 0, rows / 2, scratch);
        net_run_band(image, stride, width, height, result, across, rows / 2, rows, scratch);
        fwrite(result, 1, made, stdout);
        free(image);
        free(result);
        free(scratch);
    }
    return 0;
}
"""

CASES = {
    "x4": {"mixings": 2, "windows": "mixed", "seed": 2},
    "x3": {"mixings": 1, "channels": 64, "upscale": 3, "extreme": True, "kernel": 5},
    "denoise": {"stride": 2, "upscale": 2, "kernel": 6, "channels": 24},
    "half": {"stride": 2, "upscale": 1, "kernel": 2, "mixings": 0, "windows": "single"},
}
SIZES = ((1, 1), (1, 2), (3, 1), (5, 31), (4, 33), (3, 97), (2, 200))


@pytest.mark.parametrize("variant", ["portable", "avx2", "vnni"])
@pytest.mark.parametrize("case", CASES)
def test_stays_in_its_memory(case, variant, tmp_path):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")
    network = centred_network(**CASES[case])
    own = write(network, variant, tmp_path)
    (tmp_path / "main.c").write_text(MAIN)
    subprocess.run(
        [*require_compiler(), "-std=gnu11", "-O1", "-g", *SANITIZERS, *own, "main.c", "net.c",
         "net_weights.c", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    planes = [picture(rng, *size, kind) for kind, size in enumerate(SIZES)]
    words = [str(n) for p in planes for n in (*p.shape, p.strides[0])]
    fed = b"".join((p.base if p.base is not None else p).tobytes()[: _bytes(p)] for p in planes)
    done = subprocess.run(
        [tmp_path / "main", *words], input=fed, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()[:4000]
    expected = b"".join(2 * network.apply(plane).tobytes() for plane in planes)
    assert done.stdout == expected


def _bytes(plane):
    height, width = plane.shape
    return plane.strides[0] * (height - 1) + width
