"""Table networks on emulated Cortex-M boards equal their definition; instructions are counted."""

import numpy as np
import pytest

from intaglio.targets.c.boards import BOARDS, BuildOptions, measure, missing_packages
from intaglio.targets.c.boards.buffers import Spec
from intaglio.targets.c.images.cortex_m.windows import levels_of
from intaglio.targets.c.images.on_boards import PREFIX, wrapped
from tests.targets.c.harness import STRICT
from tests.targets.c.images.harness import picture
from tests.targets.c.images.networks import centred_network
from tests.targets.c.images.rotating_networks import rotating_network
from tests.transforms.table_networks.random_networks import centred, reference

pytestmark = pytest.mark.skipif(bool(missing_packages()), reason="no Cortex-M tools here")

CENTRED = {
    "single": {"windows": "single"},
    "general": {},
    "mixed": {"windows": "mixed", "mixings": 4, "channels": 24, "upscale": 3},
    "many weights": {"windows": "single", "extreme": True, "seed": 3},
    "denoise": {"stride": 2, "upscale": 2, "kernel": 6, "channels": 8, "windows": "single"},
    "no mixings": {"mixings": 0, "upscale": 1, "kernel": 7, "channels": 40},
    "rails": {"extreme": True, "channels": 64, "mixings": 1, "upscale": 2},
}
ROTATING = {
    "S": {},
    "any scales": {"scales": "any", "upscale": 2},
    "deep": {"stages": 3, "depthwise": (1, 2), "upscale": 3, "lower_depthwise": (0,)},
    "rails": {"least": 120, "scales": "none"},
}


def run(network, folder, board="cortex-m4", height=5, width=37, samples=2, flags=()):
    """Runs pictures and compares them; what was measured."""
    for name, text in wrapped(network, BOARDS[board], width, height).items():
        (folder / name).write_text(text)
    rng = np.random.default_rng(0)
    planes = [np.ascontiguousarray(picture(rng, height, width, kind)) for kind in range(samples)]
    results = [network.apply(plane) for plane in planes]
    found = measure(
        BOARDS[board], folder, PREFIX, [[plane] for plane in planes], [Spec.of(results[0])],
        expected=[[result] for result in results],
        options=BuildOptions(flags=(*STRICT, *flags)),
    )  # fmt: skip
    assert found.differing == 0
    return found


@pytest.mark.parametrize("case", CENTRED)
def test_centred(case, tmp_path):
    run(centred_network(**CENTRED[case]), tmp_path)


@pytest.mark.parametrize("case", ROTATING)
def test_with_rotations(case, tmp_path):
    run(rotating_network(**ROTATING[case]), tmp_path, samples=1)


@pytest.mark.parametrize("board", ["cortex-m7", "cortex-m55"])
def test_other_boards(board, tmp_path):
    run(centred_network(windows="mixed", mixings=3), tmp_path, board)


@pytest.mark.parametrize(
    ("network", "least"),
    [(centred(0, mixings=4, single=True), 2.0), (centred(0, mixings=4), 1.8), (reference(0), 1.6)],
    ids=["single taps", "windows", "rotations"],
)
def test_the_extension_pays(network, least, tmp_path):
    fast = run(network, tmp_path, samples=1, width=32)
    plain = run(network, tmp_path, samples=1, width=32, flags=("-DNET_PORTABLE",))
    assert least * fast.instructions[0] < plain.instructions[0]


@pytest.mark.parametrize(("weight", "shift"), [(1, 0), (-64, 10), (127, 3), (-128, 14), (0, 5)])
def test_rows_of_single_taps(weight, shift):
    for feature, row in zip(range(-128, 128), levels_of(weight, shift), strict=True):
        half = (1 << shift) >> 1
        assert row == min(max((feature * weight + half) >> shift, -8), 7) + 8
