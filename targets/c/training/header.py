"""The header of a training step: the weights as a struct, and the functions that work on them."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.targets.c.guards import Guards
from intaglio.targets.c.header import ERRORS, arena_size, argument_names, described_tensors
from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.naming import comment_text
from intaglio.targets.c.network import Network
from intaglio.targets.c.training.loss import Loss
from intaglio.targets.c.training.packing import Packed
from intaglio.targets.c.training.parameters import Parameters
from intaglio.transforms.forward_gradient.specification import StepSpecification

#: Results of the functions.
TRAINING_ERRORS = (
    ("OK", 0, "done"),
    ("ERROR_NULL", 1, "a pointer is NULL"),
    ("ERROR_SIZE", 2, "an input or output has another size than stated, or there is no sample"),
    ("ERROR_ARENA", 3, ERRORS[3][2]),
    ("ERROR_ALIGNMENT", 4, "the arena or the weights do not begin at a multiple of 16"),
    ("ERROR_VALUE", 5, "a label, a target or a sign is out of range; nothing has changed"),
)


def run_prototype(network: Network) -> str:
    """Declaration of the inference, without a semicolon."""
    inputs, outputs = argument_names(network)
    arguments = []
    for tensor, name in zip(network.inputs, inputs, strict=True):
        arguments += [f"const {c_type(tensor.dtype)} *{name}, size_t {name}_bytes"]
    arguments.append(f"const struct {network.name}_weights *weights")
    for tensor, name in zip(network.outputs, outputs, strict=True):
        arguments += [f"{c_type(tensor.dtype)} *{name}, size_t {name}_bytes"]
    arguments.append("void *arena, size_t arena_bytes")
    return _prototype(f"{network.name}_run", arguments)


def step_prototype(network: Network) -> str:
    """Declaration of the step, without a semicolon."""
    inputs, _ = argument_names(network)
    arguments = [
        f"const {c_type(tensor.dtype)} *{name}, size_t {name}_bytes"
        for tensor, name in zip(network.inputs, inputs, strict=True)
    ]
    arguments += [
        "const int32_t *targets, size_t count",
        f"struct {network.name}_weights *weights",
        "uint32_t seed, uint32_t step_shift",
        "int64_t *loss_plus, int64_t *loss_minus, int8_t *signs",
        "void *arena, size_t arena_bytes",
    ]
    return _prototype(f"{network.name}_step", arguments)


def replay_prototype(network: Network) -> str:
    """Declaration of the replay, without a semicolon."""
    arguments = [
        f"struct {network.name}_weights *weights",
        "uint32_t seed, const int8_t *signs, uint32_t step_shift",
    ]
    return _prototype(f"{network.name}_replay", arguments)


def _prototype(name: str, arguments: list[str]) -> str:
    return f"int {name}(\n    " + ",\n    ".join(arguments) + ")"


def weights_struct(network: Network, parameters: Parameters) -> str:
    """The struct with the weights."""
    lines = [_member(place, parameters.specification) for place in parameters.packed]
    return f"struct {network.name}_weights {{\n{chr(10).join(lines)}\n}};"


def _member(place: Packed, specification: StepSpecification) -> str:
    scale = next(p.scale for p in specification.parameters if p.name == place.name)
    shape = " x ".join(str(place.shape[axis]) for axis in place.permutation)
    said = f"'{comment_text(place.name)}': {shape}, scale {scale!r}"
    return f"    {place.dtype}_t {place.member}[{place.count}]; /* {said} */"


def training_header(
    network: Network,
    layouts: Mapping[str, Layout],
    guards: Guards,
    parameters: Parameters,
    loss: Loss,
) -> str:
    """Text of ``<name>.h``."""
    upper, name = network.name.upper(), network.name
    inputs, outputs = argument_names(network)
    described = [
        *described_tensors(upper, "INPUT", network.inputs, inputs),
        *described_tensors(upper, "OUTPUT", network.outputs, outputs),
    ]
    sizes = guards.choose([(key, arena_size(upper, key, layouts)) for key in layouts])
    codes = "\n".join(
        f"#define {upper}_{key} {value} /* {meaning} */" for key, value, meaning in TRAINING_ERRORS
    )
    specification = parameters.specification
    return f"""\
/* {name}: inference and training in integers. Arithmetic profile: {network.profile}. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* The processor that is compiled for; define {upper}_PORTABLE to use plain C everywhere. */
{guards.ladder()}

/* Bytes of working memory, of an inference and of a step alike. */
{sizes}

{chr(10).join(described)}

/* Pairs of losses of a step; steps must take seeds that lie SEEDS apart. */
#define {upper}_PROBES {specification.probes}
#define {upper}_SEEDS {specification.seeds_per_step}
/* Numbers of a sample's target: {loss.meaning}. */
#define {upper}_TARGETS {loss.targets}

/*
 * The weights that are trained; arrays are filled up to 16 bytes. Yours lie in memory that can be
 * written, at a multiple of 16, and begin as a copy of the initial ones.
 */
{weights_struct(network, parameters)}
extern const struct {name}_weights {name}_initial_weights;

/* Results of the functions. */
{codes}

/*
 * Runs one inference. Inputs, outputs, weights and the arena must not overlap; the arena may be
 * used for other things between two calls, and two calls at once need an arena each.
 */
{run_prototype(network)};

/*
 * Makes one training step on a batch of `count` samples, one behind the other; targets likewise.
 * The weights are moved to and fro while it runs. Where it returns OK, `loss_plus`, `loss_minus`
 * and `signs` hold a number for each probe, and the weights have changed; else nothing has.
 * `step_shift` halves the step so many times.
 */
{step_prototype(network)};

/* Changes the weights as the step with this seed did that found these signs: 1, 0 or -1 each. */
{replay_prototype(network)};

#ifdef __cplusplus
}}
#endif

#endif
"""
