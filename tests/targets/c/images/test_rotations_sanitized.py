"""Networks with rotations under AddressSanitizer and UndefinedBehaviorSanitizer."""

import pytest

from tests.targets.c.harness import runs_here
from tests.targets.c.images.rotating_networks import rotating_network
from tests.targets.c.images.sanitizing import run_sanitized

CASES = {
    "S": {},
    "x3": {"upscale": 3, "stages": 2, "depthwise": (0, 1), "scales": "any"},
    "denoise": {"upscale": 1, "stages": 3, "depthwise": (1, 2), "lower_depthwise": (0,)},
    "9 channels": {"channels": 9, "upscale": 2, "stages": 2, "depthwise": (1,)},
}


@pytest.mark.parametrize("variant", ["portable", "avx2", "vnni"])
@pytest.mark.parametrize("case", CASES)
def test_stays_in_its_memory(case, variant, tmp_path):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")
    run_sanitized(rotating_network(**CASES[case]), variant, tmp_path)
