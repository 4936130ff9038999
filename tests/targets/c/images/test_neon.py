"""Table networks on AArch64 equal their definition, bit for bit; run by an emulator."""

import pytest

from intaglio.targets.c.emulated import missing_packages
from tests.targets.c.images.emulating import check_emulated
from tests.targets.c.images.networks import centred_network
from tests.targets.c.images.rotating_networks import rotating_network
from tests.targets.c.images.test_exact import CASES as CENTRED
from tests.targets.c.images.test_rotations import SIZES as SMALL

pytestmark = pytest.mark.skipif(bool(missing_packages()), reason="no AArch64 tools here")

ROTATING = {
    "S": {},
    "any scales": {"scales": "any", "stages": 2},
    "denoise": {"upscale": 1, "stages": 3, "depthwise": (1, 2), "lower_depthwise": (0,)},
    "one branch": {"lower": False, "stages": 2, "depthwise": (1,)},
    "x3, rails": {"upscale": 3, "least": 120, "scales": "none"},
    "9 channels": {"channels": 9, "upscale": 2, "stages": 2, "depthwise": (0,)},
}


@pytest.mark.parametrize("case", CENTRED)
def test_centred(case, tmp_path):
    check_emulated(centred_network(**CENTRED[case]), "neon", tmp_path)


@pytest.mark.parametrize("case", ROTATING)
def test_with_rotations(case, tmp_path):
    check_emulated(rotating_network(**ROTATING[case]), "neon", tmp_path, SMALL)


@pytest.mark.parametrize("variant", ["dotprod", "portable"])
def test_other_processors(variant, tmp_path):
    check_emulated(centred_network(windows="mixed"), variant, tmp_path)
    check_emulated(rotating_network(), variant, tmp_path, SMALL)
