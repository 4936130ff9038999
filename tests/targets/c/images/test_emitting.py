"""Table networks as artifacts of target c: files, memory, sessions on images of any size."""

import json
import shutil
import subprocess

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import InputError
from intaglio.passes.table_networks.write import network_model
from intaglio.targets.base import Prepared, spec_of
from intaglio.targets.c.images.writing import write_images
from intaglio.targets.c.target import C
from tests.targets.c.images.networks import centred_network


def prepared(network):
    model = network_model(network, "upscaler", "superres x4")
    specs = [[spec_of(v)] for v in (model.graph.inputs[0], model.graph.outputs[0])]
    return Prepared(
        {"model": model}, "tflm", "integer", {"model": specs[0]}, {"model": specs[1]}, "upscaler"
    )


@pytest.fixture(scope="module")
def network():
    return centred_network(windows="mixed", seed=6)


@pytest.fixture(scope="module")
def emitted(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    target = C()
    made = prepared(network)
    assert target.check(made) == []
    [artifact] = target.emit(made, folder)
    return target, artifact, folder


def test_every_runtime_here_runs_batches_of_any_size(emitted, network):
    target, artifact, folder = emitted
    runtimes = [runtime.name for runtime in target.runtimes(artifact)]
    assert "portable" in runtimes
    planes = np.random.default_rng(0).integers(0, 256, (3, 1, 9, 35)).astype(np.uint8)
    expected = np.stack([network.apply(plane[0]) for plane in planes])[:, None]
    for runtime in runtimes:
        session = target.open(artifact, folder, runtime)
        [found] = session.run({artifact.inputs[0].name: planes}).outputs.values()
        np.testing.assert_array_equal(found, expected)
        # Other sizes, columns that do not lie side by side, and threads.
        turned = planes[0, 0].T
        np.testing.assert_array_equal(session.run_plane(turned, threads=3), network.apply(turned))


def test_borders_stay_open(emitted):
    _, artifact, _ = emitted
    assert [spec.dtype for spec in (*artifact.inputs, *artifact.outputs)] == ["uint8", "uint8"]
    assert all(isinstance(d, str) for d in artifact.inputs[0].shape[2:])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"image": np.zeros((1, 1, 4, 4), np.int8)},
        {"image": np.zeros((4, 4), np.uint8)},
        {"image": np.zeros((1, 3, 4, 4), np.uint8)},
        {"image": np.zeros((1, 1, 0, 4), np.uint8)},
        {"image": np.zeros((1, 1, 4, 4), np.uint8), "other": np.zeros(1)},
    ],
)
def test_refuses_what_is_no_plane(emitted, wrong):
    target, artifact, folder = emitted
    session = target.open(artifact, folder, "portable")
    with pytest.raises(InputError):
        session.run(wrong)


def test_measures_memory_and_time(emitted):
    target, artifact, folder = emitted
    found = {m.name: m.value for m in target.measure(artifact, folder)}
    assert found["scratch_bytes"] > 0
    assert found["latency_ms"] > 0


def test_reports_its_sizes(emitted, network):
    _, artifact, folder = emitted
    report = json.loads((folder / artifact.path).with_suffix(".json").read_text())
    assert report["lookups"] == network.lookups
    assert report["table_bytes"] == network.storage_bytes


def test_a_window_of_the_stem_that_is_too_large_is_refused():
    [refusal] = C().check(prepared(centred_network(kernel=17, mixings=0)))
    assert "17 rows" in refusal.reason


def test_tables_and_rows_of_a_medium_network_fit_128_kib():
    network = centred_network(channels=24, mixings=6)
    sources = write_images(network, "net")
    for name, scratch in sources.scratch_bytes.items():
        assert scratch + sources.constant_bytes[name] <= 128 * 1024, name
    # Nothing grows with the image any more.
    structure = sources.structure
    assert structure.scratch_bytes(1 << 12, "portable") == structure.scratch_bytes(
        1 << 20, "portable"
    )


def test_shared_tables_are_written_once():
    sources = write_images(centred_network(mixings=4, shared=True), "net", {"vnni", "avx2"})
    own = write_images(centred_network(mixings=4), "net", {"vnni", "avx2"})
    for name in sources.constant_bytes:
        saved = own.constant_bytes[name] - sources.constant_bytes[name]
        assert saved == 3 * 16 * 16 * 16, name


def test_same_network_same_files(network):
    again = centred_network(windows="mixed", seed=6)
    assert write_images(network, "net").files == write_images(again, "net").files


@pytest.mark.parametrize("flags", [(), ("-mavx2",)])
def test_is_cpp_too(network, flags, tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    for name, text in write_images(network, "net").files.items():
        (tmp_path / name).write_text(text)
    for name in ("net.c", "net_weights.c"):
        subprocess.run(
            [compiler, "-std=c++11", "-x", "c++", "-Wall", "-Wextra", "-Werror", *flags, "-c", name,
             "-o", "out.o"],
            cwd=tmp_path, check=True,
        )  # fmt: skip


def test_a_graph_that_is_more_than_a_network_is_not_one(network):
    made = prepared(network)
    graph = made.models["model"].graph
    result = graph.outputs[0]
    node = ir.node("Identity", [result])
    graph.append(node)
    graph.outputs[0] = node.outputs[0]
    node.outputs[0].type, node.outputs[0].shape = result.type, result.shape
    assert C().check(made) != []
