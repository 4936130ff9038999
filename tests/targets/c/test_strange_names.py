"""Models whose authors name things as they like: the emitted C compiles and does what it should."""

import threading

import numpy as np
import pytest

from intaglio.targets.c.header import argument_names
from intaglio.targets.c.naming import comment_text, identifier
from intaglio.targets.c.network import Block, Move, Network, Tensor
from tests.targets.c.harness import build, network_of

NAMES = (
    "y*/\n#error out\n/*",
    "x*\\ b",
    "*\\/ #error",
    "a\\",
    "what??/",
    "tab\there, \r\n and \x00 \x7f",
    "näme/日本:0",
    "int",
    "memory",
    "layer_0",
    "@weights@",
    "%s%n {name} |`",
    "a" * 300,
    "a" * 300 + "b",
    "",
)


def copy_of(source, name, **quantization):
    size = source.size
    block = Block(0, (size,), (1,), 0, (1,), 0)
    output = Tensor(name, source.shape, source.dtype, source=name, **quantization)
    return Move(name, (source,), output, (name,), (block,))


def test_no_name_leaves_its_comment():
    """A chain with every name, as tensor, layer, source and operand, compiles and copies."""
    tensor = start = Tensor(NAMES[0], (1, 5), "int8", 0.5, 3)
    layers = []
    for name in NAMES:
        layers.append(copy_of(tensor, name, scale=0.25, zero_point=-1))
        tensor = layers[-1].output
    network = network_of(*layers)
    library = build(network)
    data = np.arange(5, dtype=np.int8).reshape(1, 5)
    outputs, _ = library.run({start.name: data})
    np.testing.assert_array_equal(outputs[tensor.name], data)


@pytest.mark.parametrize("name", NAMES)
def test_comments_stay_on_their_line(name):
    text = comment_text(name)
    assert "*/" not in text
    assert "/*" not in text
    assert "\\" not in text
    assert text.isprintable()


@pytest.mark.parametrize(
    "name", ["stdint", "string", "math", "arm_mve", "all", "clean", "signal", "runner", "model"]
)
def test_a_model_named_like_a_header_or_a_tool(name):
    start = Tensor("x", (4,), "int8")
    network = network_of(copy_of(start, "y"), name=identifier(name))
    data = np.array([1, -2, 3, -4], np.int8)
    outputs, _ = build(network).run({"x": data})
    np.testing.assert_array_equal(outputs["y"], data)


def test_arguments_and_their_sizes_never_share_a_name():
    tensors = [Tensor(name, (2,), "int8") for name in ("a", "a_bytes", "A", "arena", "arena_bytes")]
    layers = [copy_of(tensor, f"{tensor.name}_out") for tensor in tensors]
    network = network_of(*layers)
    inputs, outputs = argument_names(network)
    names = [*inputs, *outputs]
    assert len({*names, *(f"{name}_bytes" for name in names)}) == 2 * len(names)
    feeds = {t.name: np.array([i, -i], np.int8) for i, t in enumerate(tensors)}
    found, _ = build(network).run(feeds)
    for tensor in tensors:
        np.testing.assert_array_equal(found[f"{tensor.name}_out"], feeds[tensor.name])


def test_parts_of_one_model_keep_their_ends():
    long = "a" * 60
    names = {identifier(long, "encoder"), identifier(long, "decoder"), identifier(long)}
    assert len(names) == 3
    assert all(len(name) <= 48 for name in names)
    assert identifier("", "device") == "model_device"


def test_nothing_in_or_out_of_a_layer():
    start, other = Tensor("x", (1, 0), "int8"), Tensor("z", (3,), "int8")
    network = network_of(copy_of(start, "y"), copy_of(other, "w"))
    found, _ = build(network).run({"x": np.zeros((1, 0), np.int8), "z": np.ones(3, np.int8)})
    assert found["y"].shape == (1, 0)
    assert found["w"].tolist() == [1, 1, 1]


def test_a_library_is_safe_between_threads():
    start = Tensor("x", (4096,), "int8")
    layers, tensor = [], start
    for place in range(6):
        layers.append(copy_of(tensor, f"t{place}"))
        tensor = layers[-1].output
    library = build(Network("threads", (start,), (tensor,), tuple(layers), "tflm", {}))
    wrong = []

    def work(seed):
        data = np.random.default_rng(seed).integers(-128, 128, 4096, np.int8)
        for _ in range(100):
            outputs, inner = library.run({"x": data}, ["t2"])
            if not (np.array_equal(outputs["t5"], data) and np.array_equal(inner["t2"], data)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
