"""Runs an emitted network under the sanitizers, in memory of just its size."""

import subprocess

import numpy as np

from intaglio.targets.c.compiler import require_compiler
from tests.targets.c.images.harness import picture, write
from tests.targets.c.images.test_sanitized import MAIN, SANITIZERS, SIZES


def run_sanitized(network, variant, folder):
    """Compares every size with the definition, whole and in two bands; folder: to compile in."""
    own = write(network, variant, folder)
    (folder / "main.c").write_text(MAIN)
    subprocess.run(
        [*require_compiler(), "-std=gnu11", "-O1", "-g", *SANITIZERS, *own, "main.c", "net.c",
         "net_weights.c", "-o", "main"],
        cwd=folder, check=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    planes = [picture(rng, *size, kind) for kind, size in enumerate(SIZES)]
    words, fed = [], b""
    for plane in planes:
        height, width = plane.shape
        stride = plane.strides[0]
        words += [str(number) for number in (height, width, stride)]
        whole = plane if plane.base is None else plane.base
        fed += whole.tobytes()[: stride * (height - 1) + width]
    done = subprocess.run(
        [folder / "main", *words], input=fed, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()[:4000]
    assert done.stdout == b"".join(2 * network.apply(plane).tobytes() for plane in planes)
