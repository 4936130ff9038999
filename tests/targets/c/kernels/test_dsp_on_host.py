"""The kernels for Cortex-M with DSP in their form in C, on this machine: no undefined behaviour.

A header stands in for ``arm_acle.h``. The results are compared too, so that these tests say
something where no toolchain for Cortex-M is installed.
"""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.targets.c import lifetimes
from intaglio.targets.c.compiler import find_compiler
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.library import Library, Port
from intaglio.targets.c.network import Sum
from intaglio.targets.c.source import write_sources
from tests.targets.c.harness import STRICT, network_of
from tests.targets.c.kernels import (
    test_dsp_convolution as convolution,
)
from tests.targets.c.kernels import (
    test_dsp_convolution16 as convolution16,
)
from tests.targets.c.kernels import (
    test_dsp_elementwise as elements,
)
from tests.targets.c.reference import reference
from tests.targets.c.reference_functions import reference as elementwise

#: The instructions by their definition in the architecture manual.
ACLE = """\
#pragma once
#include <stdint.h>
typedef int32_t int8x4_t;
typedef int32_t int16x2_t;
static inline int32_t acle_pair(int64_t high, int64_t low)
{
    return (int32_t)(((uint32_t)high & 0xFFFFu) << 16 | ((uint32_t)low & 0xFFFFu));
}
#define acle_low(x) ((int64_t)(int16_t)((x) & 0xFFFF))
#define acle_high(x) ((int64_t)(int16_t)(((uint32_t)(x)) >> 16))
#define acle_byte(x, i) ((int64_t)(int8_t)(((uint32_t)(x) >> (8 * (i))) & 0xFF))
#define __sxtb16(x) acle_pair(acle_byte(x, 2), acle_byte(x, 0))
#define __sxtab16(a, x) \\
    acle_pair(acle_high(a) + acle_byte(x, 2), acle_low(a) + acle_byte(x, 0))
#define __sadd16(a, b) acle_pair(acle_high(a) + acle_high(b), acle_low(a) + acle_low(b))
#define __ssub16(a, b) acle_pair(acle_high(a) - acle_high(b), acle_low(a) - acle_low(b))
#define acle_dot(a, b) (acle_low(a) * acle_low(b) + acle_high(a) * acle_high(b))
#define __smlad(a, b, c) ((int32_t)(uint32_t)(uint64_t)((c) + acle_dot(a, b)))
#define __smlald(a, b, c) ((c) + acle_dot(a, b))
"""

_FLAGS = (
    "-D__ARM_FEATURE_DSP=1", "-D__ARM_ARCH_PROFILE='M'", "-DDSP_PLAIN", "-O1",
    "-fsanitize=undefined", *STRICT,
)  # fmt: skip


def _evaluated(layers, seed):
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer in layers:
        for tensor in layer.inputs:
            if tensor not in arrays:
                limits = np.iinfo(tensor.dtype)
                numbers = rng.integers(limits.min, limits.max, tensor.shape, endpoint=True)
                arrays[tensor] = numbers.astype(tensor.dtype)
        judge = elementwise if isinstance(layer, Sum) else reference
        arrays[layer.output] = judge(layer, [arrays[t] for t in layer.inputs])
    return arrays


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("budget", [0, 60_000])
@pytest.mark.parametrize("module", [convolution, convolution16, elements])
def test_nothing_is_undefined(tmp_path, monkeypatch, capfd, module, budget):
    layers = module.some_layers()
    network = network_of(*layers, name="layers")
    for name in ("implement", "implement_within"):
        monkeypatch.setattr(
            lifetimes, name, lambda layer, variant, _: implement(layer, variant, budget)
        )
    for name, text in write_sources(network, {"dsp"}).files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "arm_acle.h").write_text(ACLE)
    arrays = _evaluated(layers, budget)
    library = Library(
        tmp_path,
        network.name,
        [Port(t.name, t.shape, t.dtype) for t in network.inputs],
        [Port(t.name, t.shape, t.dtype) for t in network.outputs],
        [Port(layer.output.name, layer.output.shape, layer.output.dtype) for layer in layers],
        tmp_path,
        flags=(*_FLAGS, f"-I{tmp_path}"),
    )

    outputs, inner = library.run(
        {tensor.name: arrays[tensor] for tensor in network.inputs},
        [layer.output.name for layer in layers],
    )

    found = {**inner, **outputs}
    for layer in layers:
        np.testing.assert_array_equal(found[layer.output.name], arrays[layer.output], layer.name)
    assert "runtime error" not in capfd.readouterr().err
