"""Losses of a batch in C: layers that run once a sample, and layers that run for every loss."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

from intaglio.targets.c.header import argument_names
from intaglio.targets.c.layer_functions import LayerFunctions
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Tensor
from intaglio.targets.c.training.parameters import Parameters
from intaglio.targets.c.training.schedule import Schedule

_BY_SAMPLE = Template("""\
/* Losses of find_losses: the frozen layers run once a sample, and the weights move for each. */
static void find_by_sample(${arguments})
{
    size_t sample;
    uint32_t probe;
    for (probe = first; probe <= last; probe++) {
        plus[probe - first] = 0;
        minus[probe - first] = 0;
    }
    for (sample = 0; sample < count; sample++) {
${frozen}        for (probe = first; probe <= last; probe++) {
            move_weights(weights, seed, probe, 1);
            plus[probe - first] += ${loss};
            move_weights(weights, seed, probe, -2);
            minus[probe - first] += ${loss};
            move_weights(weights, seed, probe, 1);
        }
    }
}""")

_BY_PROBE = Template("""\
/* Loss of the batch with the weights as they are. */
static int64_t batch_loss(${parameters}, const int32_t *targets, size_t count,
    const struct ${name}_weights *weights, uint8_t *memory)
{
    int64_t total = 0;
    size_t sample;
    for (sample = 0; sample < count; sample++) {
${frozen}        total += ${loss};
    }
    return total;
}

/* Losses of find_losses: the weights move once a probe, and every layer runs for every loss. */
static void find_by_probe(${arguments})
{
    uint32_t probe;
    for (probe = first; probe <= last; probe++) {
        move_weights(weights, seed, probe, 1);
        plus[probe - first] = batch_loss(${names}, targets, count, weights, memory);
        move_weights(weights, seed, probe, -2);
        minus[probe - first] = batch_loss(${names}, targets, count, weights, memory);
        move_weights(weights, seed, probe, 1);
    }
}""")

_ARGUMENTS = Template("""\
${parameters}, const int32_t *targets, size_t count,
    struct ${name}_weights *weights, uint8_t *memory, uint32_t seed,
    uint32_t first, uint32_t last, int64_t *plus, int64_t *minus""")

_FIND = Template("""\
/* Losses of the batch on both sides of the weights, for the probes first to last. */
static void find_losses(${arguments})
{
${body}
}""")

_CALL = Template("""\
find_by_${way}(${names}, targets, count, weights, memory, seed, first, last,
${indent}    plus, minus);""")


class Passes:
    """Writes what goes through a batch.

    Args:
        schedule: Which layers run how often.
        parameters: What is trained.
        writer: The layers' functions.
    """

    def __init__(self, schedule: Schedule, parameters: Parameters, writer: LayerFunctions) -> None:
        self._schedule = schedule
        self._network = schedule.network
        self._parameters = parameters
        self._writer = writer
        self._names, _ = argument_names(self._network)

    def functions(self) -> list[str]:
        """All functions, in order."""
        name, network = self._network.name, self._network
        arguments = self._arguments()
        at_sample = [
            f"{one} + sample * {tensor.size}u"
            for one, tensor in zip(self._names, network.inputs, strict=True)
        ]
        words = {
            "name": name,
            "parameters": ", ".join(arguments),
            "names": ", ".join(self._names),
            "frozen": "",
            "loss": f"sample_loss({', '.join(at_sample)},\n                "
            f"targets + sample * {name.upper()}_TARGETS, weights, memory)",
            "arguments": _ARGUMENTS.substitute(name=name, parameters=", ".join(arguments)),
        }
        if self._schedule.prefix:
            words["frozen"] = f"        run_frozen({', '.join(at_sample)}, memory);\n"
        found = [
            self._move("move_weights", "distance", "Moves the weights times * delta of a probe."),
            self._frozen() if self._schedule.prefix else "",
            self._sample(),
            *self._ways(words),
            self._update(),
        ]
        if self._parameters.specification.sharpness:
            said = "Moves the weights times * the way to the centre of the probes."
            found.insert(1, self._move("move_centre", "radius", said))
        return found

    def _ways(self, words: dict[str, str]) -> list[str]:
        """The ways through a batch, and what chooses between them."""
        most = self._schedule.most_by_sample
        found = [] if most == 0 else [_BY_SAMPLE.substitute(words)]
        found += [] if most is None else [_BY_PROBE.substitute(words)]

        def call(way: str, indent: str) -> str:
            return indent + _CALL.substitute(words, way=way, indent=indent)

        if not most:
            body = call("sample" if most is None else "probe", "    ")
        else:
            body = f"    if (count <= {most}u) {{\n{call('sample', '        ')}\n    }} else {{\n"
            body += f"{call('probe', '        ')}\n    }}"
        return [*found, _FIND.substitute(words, body=body)]

    def _arguments(self) -> list[str]:
        return [
            f"const {c_type(tensor.dtype)} *{one}"
            for one, tensor in zip(self._names, self._network.inputs, strict=True)
        ]

    def _move(self, name: str, distance: str, said: str) -> str:
        calls = self._parameters.moves(distance)
        unused = [f"    (void){word};" for word in ("weights", "seed", "probe", "times")]
        return (
            f"/* {said} */\nstatic void {name}(struct {self._network.name}_weights *weights, "
            "uint32_t seed,\n    uint32_t probe, int32_t times)\n{\n"
            + "\n".join(calls or unused)
            + "\n}"
        )

    def _update(self) -> str:
        return (
            f"/* Changes the weights by the signs of a step. */\nstatic void update_weights("
            f"struct {self._network.name}_weights *weights, uint32_t seed,\n"
            "    const int8_t *signs, uint32_t step_shift)\n{\n"
            + "\n".join(self._parameters.updates())
            + "\n}"
        )

    def _frozen(self) -> str:
        arguments = ", ".join([*self._arguments(), "uint8_t *memory"])
        body = self._layers(range(self._schedule.prefix))
        return (
            "/* Layers that depend on no trained weight; what others read of them stays in the "
            f"arena. */\nstatic void run_frozen({arguments})\n{{\n{body}\n}}"
        )

    def _sample(self) -> str:
        """Function ``sample_loss``."""
        network = self._network
        assert network.logits is not None
        first = self._schedule.prefix
        body = self._layers(range(first, first + self._schedule.probed))
        logits = self._writer.pointers(self._places())[network.logits]
        arguments = (
            f"{', '.join(self._arguments())}, const int32_t *target,\n"
            f"    const struct {network.name}_weights *weights, uint8_t *memory"
        )
        unused = "\n".join(f"    (void){name};" for name in self._names)
        return (
            "/* Loss of one sample with the weights as they are. */\n"
            f"static int64_t sample_loss({arguments})\n{{\n{body}\n{unused}\n"
            f"    return loss({logits}, target);\n}}"
        )

    def _places(self) -> dict[Tensor, str]:
        inputs = dict(zip(self._network.inputs, self._names, strict=True))
        return {**inputs, **self._parameters.places(self._network)}

    def _layers(self, steps: Sequence[int]) -> str:
        """Statements that run some layers."""
        pointers = self._writer.pointers(self._places())
        layers = self._network.layers
        used = {t for step in steps for t in (*layers[step].inputs, layers[step].output)}
        declared = [
            self._writer.declared(step, pointers)
            for step, layer in enumerate(layers)
            if layer.output in used
        ]
        calls = [line for step in steps for line in self._writer.call(step, pointers)]
        return "\n".join([*declared, *calls])
