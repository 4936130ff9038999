"""The integer artifact gives the same bits on a processor that saturates mixed-sign products."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.portability import emulation, run

pytestmark = pytest.mark.skipif(
    not emulation.available(),
    reason=f"needs {emulation.QEMU}, in Debian's package {emulation.PACKAGE}",
)


def test_the_integer_artifact_gives_the_same_bits_without_vnni(tmp_path):
    rows, extensions = run.compare(["digits"], [run.digits_job(tmp_path)])
    assert "AVX2" in extensions
    assert not [name for name in extensions if "VNNI" in name or "AVX512" in name]
    assert rows[0].total > 70 * 10, "the outputs of 64 images and 6 made up inputs, and more"
    assert rows[0].different == 0


def test_the_emulated_processor_gets_mixed_signs_wrong_and_equal_signs_right(tmp_path):
    """The control: without it, equal bits above would prove nothing."""
    made = [emulation.control(tmp_path, *types) for types in emulation.CONTROLS]
    outputs = emulation.run_jobs([job for job, _ in made], emulated=True).outputs
    for (operator, x_type, w_type), (_, exact), found in zip(
        emulation.CONTROLS, made, outputs, strict=True
    ):
        wrong = int(np.count_nonzero(found["y"] != exact))
        if x_type == w_type:
            assert wrong == 0, (operator, x_type, w_type)
        else:
            assert wrong > exact.size // 2, (operator, x_type, w_type)
