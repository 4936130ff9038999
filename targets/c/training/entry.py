"""The functions that users call: an inference, a step and a replay, with checked arguments."""

from __future__ import annotations

from collections.abc import Iterable
from string import Template

from intaglio.targets.c.header import argument_names
from intaglio.targets.c.layer_functions import LayerFunctions
from intaglio.targets.c.network import Network
from intaglio.targets.c.training.header import replay_prototype, run_prototype, step_prototype
from intaglio.targets.c.training.parameters import Parameters

_WIDTH = 80

_RUN = Template("""\
${prototype}
{
    if (${missing}) {
        return ${upper}_ERROR_NULL;
    }
    if (${sizes}) {
        return ${upper}_ERROR_SIZE;
    }
    if (arena_bytes < ${upper}_ARENA_BYTES) {
        return ${upper}_ERROR_ARENA;
    }
    if ((uintptr_t)arena % 16u != 0u || (uintptr_t)weights % 16u != 0u) {
        return ${upper}_ERROR_ALIGNMENT;
    }
${body}
    return ${upper}_OK;
}""")

_STEP = Template("""\
${prototype}
{
    size_t sample;
    uint32_t probe;
${declared}    if (${missing}) {
        return ${upper}_ERROR_NULL;
    }
    if (count == 0u || ${sizes}) {
        return ${upper}_ERROR_SIZE;
    }
    if (arena_bytes < ${upper}_ARENA_BYTES) {
        return ${upper}_ERROR_ARENA;
    }
    if ((uintptr_t)arena % 16u != 0u || (uintptr_t)weights % 16u != 0u) {
        return ${upper}_ERROR_ALIGNMENT;
    }
    for (sample = 0; sample < count; sample++) {
        if (!is_known(targets + sample * ${upper}_TARGETS)) {
            return ${upper}_ERROR_VALUE;
        }
    }
${before}    find_losses(${names}, targets, count, weights, (uint8_t *)arena, seed, 0,
        ${upper}_PROBES - 1u, loss_plus, loss_minus);
${after}    for (probe = 0; probe < ${upper}_PROBES; probe++) {
        signs[probe] = sign_of(loss_plus[probe], loss_minus[probe]);
    }
    update_weights(weights, seed, signs, step_shift);
    return ${upper}_OK;
}""")

_BEFORE = Template("""\
    /* One more pair tells where uphill is: the probes lie about a point there. */
    find_losses(${names}, targets, count, weights, (uint8_t *)arena, seed, ${upper}_PROBES,
        ${upper}_PROBES, &plus, &minus);
    uphill = sign_of(plus, minus);
    if (uphill != 0) {
        move_centre(weights, seed, ${upper}_PROBES, uphill);
    }
""")

_AFTER = Template("""\
    if (uphill != 0) {
        move_centre(weights, seed, ${upper}_PROBES, -uphill);
    }
""")

_SIGN = """\
/* 1 where the first loss is the larger one, 0 for a tie. */
static int8_t sign_of(int64_t plus, int64_t minus)
{
    return (int8_t)((plus > minus) - (plus < minus));
}"""

_REPLAY = Template("""\
${prototype}
{
    uint32_t probe;
    if (weights == NULL || signs == NULL) {
        return ${upper}_ERROR_NULL;
    }
    if ((uintptr_t)weights % 16u != 0u) {
        return ${upper}_ERROR_ALIGNMENT;
    }
    for (probe = 0; probe < ${upper}_PROBES; probe++) {
        if (signs[probe] < -1 || signs[probe] > 1) {
            return ${upper}_ERROR_VALUE;
        }
    }
    update_weights(weights, seed, signs, step_shift);
    return ${upper}_OK;
}""")


def _any(conditions: Iterable[str]) -> str:
    """Conditions of which one is enough, in lines of readable length."""
    lines = [""]
    for condition in conditions:
        if len(lines[-1]) + len(condition) > _WIDTH:
            lines.append("")
        lines[-1] += f" || {condition}"
    return "\n       ".join(lines)[4:]


def run_function(network: Network, parameters: Parameters, writer: LayerFunctions) -> str:
    """Function ``<name>_run``."""
    inputs, outputs = argument_names(network)
    border = [
        *zip(network.inputs, inputs, strict=True),
        *zip(network.outputs, outputs, strict=True),
    ]
    names = [*(name for _, name in border), "weights", "arena"]
    pointers = writer.pointers({**dict(border), **parameters.places(network)})
    wanted = network.needed(network.outputs)
    steps = [step for step, layer in enumerate(network.layers) if layer in wanted]
    lines = [
        writer.declared(step, pointers)
        for step in steps
        if network.layers[step].output not in network.outputs
    ]
    if lines or any(writer.uses_scratch[step] for step in steps):
        lines.insert(0, "    uint8_t *const memory = (uint8_t *)arena;\n")
    lines += [line for step in steps for line in writer.call(step, pointers)]
    return _RUN.substitute(
        prototype=run_prototype(network),
        upper=network.name.upper(),
        missing=_any(f"{name} == NULL" for name in names),
        sizes=_any(f"{name}_bytes != {tensor.bytes}u" for tensor, name in border),
        body="\n".join(lines),
    )


def step_functions(network: Network, parameters: Parameters) -> list[str]:
    """Functions ``<name>_step`` and ``<name>_replay``, and what they need."""
    inputs, _ = argument_names(network)
    pointers = ("targets", "weights", "loss_plus", "loss_minus", "signs", "arena")
    words = {"upper": network.name.upper(), "names": ", ".join(inputs)}
    sharp = parameters.specification.sharpness
    step = _STEP.substitute(
        words,
        prototype=step_prototype(network),
        missing=_any(f"{name} == NULL" for name in (*inputs, *pointers)),
        sizes=_any(
            f"{name}_bytes % {tensor.bytes}u != 0u || {name}_bytes / {tensor.bytes}u != count"
            for name, tensor in zip(inputs, network.inputs, strict=True)
        ),
        declared="    int64_t plus, minus;\n    int8_t uphill;\n" if sharp else "",
        before=_BEFORE.substitute(words) if sharp else "",
        after=_AFTER.substitute(words) if sharp else "",
    )
    replay = _REPLAY.substitute(words, prototype=replay_prototype(network))
    return [_SIGN, step, replay]
