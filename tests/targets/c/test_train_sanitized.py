"""Training steps under AddressSanitizer and UndefinedBehaviorSanitizer.

Batch, weights, results and arena are allocations of just their size.
"""

import shutil
import subprocess

import numpy as np
import pytest

from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.training.packing import pack_weights, unpack_weights
from intaglio.targets.c.training.sources import write_training_sources
from intaglio.targets.c.variants import BY_NAME
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding
from tests.targets.c.harness import FLAGS, runs_here
from tests.targets.c.test_sanitized import SANITIZERS
from tests.targets.c.training_models import make

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"

#define COUNT {count}

static void *room(size_t bytes)
{{
    return aligned_alloc(16, (bytes + 15) / 16 * 16);
}}

int main(void)
{{
    int8_t *input = malloc(COUNT * MODEL_INPUT_BYTES);
    int8_t *output = malloc(MODEL_OUTPUT_BYTES);
    int32_t *targets = malloc(COUNT * MODEL_TARGETS * sizeof *targets);
    struct model_weights *weights = room(sizeof *weights);
    int64_t *plus = malloc(MODEL_PROBES * sizeof *plus);
    int64_t *minus = malloc(MODEL_PROBES * sizeof *minus);
    int8_t *signs = malloc(MODEL_PROBES);
    void *arena = room(MODEL_ARENA_BYTES);
    uint32_t seed = {seed}u;
    int step, code = 0;
    if (fread(input, 1, COUNT * MODEL_INPUT_BYTES, stdin) != COUNT * MODEL_INPUT_BYTES
        || fread(targets, sizeof *targets, COUNT * MODEL_TARGETS, stdin) != COUNT * MODEL_TARGETS
        || fread(weights, 1, sizeof *weights, stdin) != sizeof *weights) {{
        return 100;
    }}
    for (step = 0; step < {steps} && code == 0; step++) {{
        code = model_step(input, COUNT * MODEL_INPUT_BYTES, targets, COUNT, weights, seed,
            (uint32_t)step, plus, minus, signs, arena, MODEL_ARENA_BYTES);
        seed += MODEL_SEEDS;
    }}
    if (code == 0) {{
        code = model_replay(weights, seed, signs, 0);
    }}
    if (code == 0) {{
        code = model_run(input, MODEL_INPUT_BYTES, weights, output, MODEL_OUTPUT_BYTES, arena,
            MODEL_ARENA_BYTES);
    }}
    fwrite(weights, 1, sizeof *weights, stdout);
    free(input);
    free(output);
    free(targets);
    free(weights);
    free(plus);
    free(minus);
    free(signs);
    free(arena);
    return code;
}}
"""

COUNT, STEPS, SEED = 2, 3, 2**32 - 2

OPTIONS = (
    {"trains": "head"},
    {"bias": True, "law": Law.BINOMIAL, "sharpness": True, "mask": "bits", "probes": 2},
    {"bias": True, "rounding": StepRounding.STOCHASTIC, "mask": "hash", "loss_bits": 0},
    {"loss": "mean-squared-error", "rounding": StepRounding.FLOOR, "probes": 3},
)


def check_program(model, variant, folder, compiler, flags, emulator=()):
    """A program of its own that makes steps, replays one and infers; its weights are right."""
    # Weights at their limits: probes reach the ends of the types.
    for parameter in model.specification.parameters:
        flat = model.initial[parameter.name].reshape(-1)
        flat[::3], flat[1::3] = parameter.limit, -parameter.limit
    written = write_training_sources(model.network, model.specification, model.initial, {variant})
    for name, text in written.files.items():
        (folder / name).write_text(text)
    (folder / "main.c").write_text(MAIN.format(count=COUNT, steps=STEPS, seed=SEED))
    subprocess.run(
        [*compiler, "-std=gnu11", "-O1", "-g", *flags, "main.c", "model.c", "model_weights.c",
         "-o", "main"],
        cwd=folder, check=True,
    )  # fmt: skip
    x, targets = model.batch(COUNT)
    packed = written.parameters.packed
    given = x.tobytes() + targets.astype("<i4").tobytes() + pack_weights(packed, model.initial)
    done = subprocess.run(
        [*emulator, str(folder / "main")], input=given, capture_output=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[:4000]
    wanted, results = dict(model.initial), []
    for step in range(STEPS):
        model.initial = wanted
        at = model.specification.step_seed(SEED, step)
        wanted, found = model.trained(x, targets, 1, seed=at, step_shift=step)
        results += found
    model.initial = wanted
    at = model.specification.step_seed(SEED, STEPS)
    wanted = model.replayed([results[-1].signs], seed=at)
    for name, array in unpack_weights(packed, done.stdout).items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


@pytest.mark.parametrize("variant", ["portable", "avx2", "vnni"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_stay_within_their_memory(options, variant, tmp_path):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")
    forced = ["-DMODEL_PORTABLE"] if variant == "portable" else []
    flags = [*SANITIZERS, *FLAGS[variant], *forced]
    check_program(make(**options), variant, tmp_path, require_compiler(), flags)


@pytest.mark.parametrize("variant", ["neon", "dotprod"])
@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_an_emulated_aarch64_makes_the_same_steps(options, variant, tmp_path):
    if not shutil.which("aarch64-linux-gnu-gcc") or not shutil.which("qemu-aarch64"):
        pytest.skip(
            "needs the Debian packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
        )
    flags = ["-static", *BY_NAME[variant].flags]
    compiler = ["aarch64-linux-gnu-gcc"]
    check_program(make(**options), variant, tmp_path, compiler, flags, ["qemu-aarch64"])
