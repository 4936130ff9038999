"""Emitted table networks compiled for AArch64 and run by QEMU's user mode."""

import subprocess

import numpy as np

from intaglio.targets.c.emulated import COMPILER, EMULATOR, FLAGS
from intaglio.targets.c.images.writing import write_images
from tests.targets.c.harness import STRICT
from tests.targets.c.images.harness import SIZES, picture
from tests.targets.c.images.test_sanitized import MAIN


def check_emulated(network, variant, folder, sizes=SIZES, seed=0):
    """Compares every size with the definition, whole and in two bands, each in exact memory.

    Args:
        network: The network.
        variant: ``neon``, ``dotprod`` or ``portable``; the file holds that one and plain C.
        folder: To compile in.
        sizes: Heights and widths.
        seed: Of the pictures.
    """
    for name, text in write_images(network, "net", {variant}).files.items():
        (folder / name).write_text(text)
    (folder / "main.c").write_text(MAIN)
    forced = ["-DNET_PORTABLE"] if variant == "portable" else []
    program = folder / "main.elf"
    subprocess.run(
        [COMPILER, "-std=gnu99", "-static", *STRICT, *FLAGS[variant], *forced, "main.c", "net.c",
         "net_weights.c", "-o", str(program)],
        cwd=folder, check=True,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    planes = [picture(rng, *size, kind) for kind, size in enumerate(sizes)]
    words, fed = [], b""
    for plane in planes:
        height, width = plane.shape
        stride = plane.strides[0]
        words += [str(number) for number in (height, width, stride)]
        whole = plane if plane.base is None else plane.base
        fed += whole.tobytes()[: stride * (height - 1) + width]
    done = subprocess.run(
        [EMULATOR, "-cpu", "max", str(program), *words], input=fed, capture_output=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[:4000]
    found = np.frombuffer(done.stdout, np.uint8)
    at = 0
    for plane in planes:
        expected = network.apply(plane)
        for _ in range(2):
            made = found[at : at + expected.size].reshape(expected.shape)
            np.testing.assert_array_equal(made, expected, err_msg=f"{plane.shape}")
            at += expected.size
    assert at == found.size
