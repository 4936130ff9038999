"""Compiles networks of one layer or more for a variant of this machine, and runs them."""

import tempfile
from pathlib import Path

from intaglio.targets.c.library import Library, Port
from intaglio.targets.c.network import Network
from intaglio.targets.c.source import write_sources

#: Strict words for the compiler; every test compiles with them.
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")

#: What selects each variant on x86.
FLAGS = {
    "portable": (),
    "avx2": ("-mavx2",),
    "vnni": (
        "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx512vbmi",
        "-mavx2",
    ),
}  # fmt: skip


def runs_here(variant):
    """Whether this machine's processor has what a variant needs."""
    try:
        found = Path("/proc/cpuinfo").read_text()
    except OSError:
        found = ""
    needs = {"avx2": ("avx2",), "vnni": ("avx512_vnni", "avx512vbmi", "avx512bw", "avx512vl")}
    return all(f" {flag}" in found for flag in needs.get(variant, ()))


def network_of(*layers, name="model"):
    """A network of independent or chained layers: what no layer makes is an input, what no layer
    reads is an output."""
    made = {id(layer.output) for layer in layers}
    inputs, read = [], set()
    for layer in layers:
        for tensor in layer.inputs:
            read.add(id(tensor))
            if tensor.data is None and id(tensor) not in made and tensor not in inputs:
                inputs.append(tensor)
    outputs = [layer.output for layer in layers if id(layer.output) not in read]
    return Network(name, tuple(inputs), tuple(outputs), tuple(layers), "tflm", {})


def build(network, variant="portable", *, flags=("-O2",), compiler=None, variants=None):
    """A library of the network for one variant; ``flags`` come behind those of the variant."""
    written = write_sources(network, variants or {variant})
    forced = (f"-D{network.name.upper()}_PORTABLE",) if variant == "portable" else ()
    outputs = [layer.output for layer in network.layers]
    # The library stays loaded when its file is gone.
    with tempfile.TemporaryDirectory(prefix="intaglio-c-") as place:
        folder = Path(place)
        for name, text in written.files.items():
            (folder / name).write_text(text)
        return Library(
            folder,
            network.name,
            *([Port(t.name, t.shape, t.dtype) for t in tensors]
              for tensors in (network.inputs, network.outputs, outputs)),
            folder,
            flags=(*STRICT, *FLAGS[variant], *forced, *flags),
            compiler=compiler,
        )  # fmt: skip


def run(network, inputs, variant="portable", **options):
    """Outputs of one inference by name, inner tensors among them."""
    library = build(network, variant, **options)
    outputs, inner = library.run(inputs, [layer.output.name for layer in network.layers])
    return {**inner, **outputs}
