"""A float network with the structure of TinyLUT's x4 model becomes tables that equal it exactly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

import intaglio
from intaglio.errors import UnsupportedError
from intaglio.passes.tables.tabulate_regions import TabulateRegions
from intaglio.registry import load_pass
from intaglio.targets.onnx.read import read_onnx
from intaglio.transforms.additive_tables import LayerSize, storage
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork, Stage
from tests.helpers import operators
from tests.passes.dialect.one_node import make_session

torch = pytest.importorskip("torch")

from tests.end_to_end.reference_table_network import (  # noqa: E402
    ReferenceTableNetwork,
    export,
)

#: The canonicalization of the recipes.
CANONICAL = (
    "fold_constants",
    "remove_identities",
    "normalize_operators",
    "sink_transposes",
    "fold_batch_norm",
    "fuse_bias",
    "fuse_pad",
    "fuse_activations",
)


@dataclasses.dataclass
class Case:
    """The network, its ONNX file, and what the pass made of that."""

    network: ReferenceTableNetwork
    path: Path
    exported: object
    model: ir.Model
    facts: dict

    def float_result(self, planes):
        return run(self.exported, planes)

    def tables_result(self, planes):
        return run(make_session(ir.to_proto(self.model)), planes)


def run(session, planes):
    [result] = session.run(None, {session.get_inputs()[0].name: planes})
    return result


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Narrow scalar networks, which are tables of the same size as the paper's wide ones."""
    return make_case(16, tmp_path_factory.mktemp("reference"))


def make_case(hidden, folder):
    torch.set_num_threads(1)
    path = folder / "network.onnx"
    network = ReferenceTableNetwork(hidden)
    export(network, path)
    model = read_onnx(path, {})
    outcome = TabulateRegions()(model)
    assert not outcome.skips
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return Case(network, path, make_session(onnx.load(path)), model, outcome.facts)


def picture(height, width, planes=2):
    """Ramps, edges and noise: every grey level, and both extremes side by side."""
    generator = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    ramp = (rows * 7 + columns * 3) % 256
    edges = np.where((rows // 5 + columns // 4) % 2, 255, 0)
    noise = generator.integers(0, 256, (height, width))
    image = np.where(columns < width // 3, ramp, np.where(columns < width // 2, edges, noise))
    stack = [np.roll(image, 11 * plane, axis=0) for plane in range(planes)]
    return np.stack(stack)[:, None].astype(np.uint8)


def test_every_scalar_network_is_a_table(case):
    kinds = operators(case.model)
    assert kinds.count("AdditiveLut") == 24
    assert "Conv" not in kinds
    layers = case.facts["layers"]
    assert all(layer["near_ties"] == 0 for layer in layers)
    # Runtimes cannot differ: float32's errors here are a hundred times smaller.
    assert all(layer["rounding_margin"] > 1e-3 for layer in layers)
    assert [layer["inputs_compared"] for layer in layers[:6]] == [64, 64, 64, 4, 4, 4]
    # Every entry of every table was compared, in all four rotations.
    entries = 16 * (9 + 16 + 16) * (64 + 4)
    assert case.facts["entries_compared"] == 4 * entries
    # The rotations share their tables.
    assert case.facts["table_bytes"] == entries == 44_608
    stored = [v for v in case.model.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    assert sum(value.const_value.nbytes for value in stored) == entries


def test_storage_is_that_of_the_paper(case):
    """Full rows of S, and what the learned scales prune here and in the released model."""
    layers = case.facts["layers"][:6]
    full = [
        [LayerSize(layer["tables"], layer["outputs"], layer["rows"]) for layer in layers[:3]],
        [LayerSize(layer["tables"], layer["outputs"], layer["rows"]) for layer in layers[3:]],
    ]
    figures = storage(full)
    print(figures)
    assert figures.stored_bytes == case.facts["table_bytes"]
    assert figures.discretization_ratio == pytest.approx(256 / 68)
    assert figures.separable_ratio > 7
    pruned = case.facts["pruned_bytes"]
    scales = [
        (branch, scale.detach().numpy().reshape(-1))
        for branch in (case.network.upper, case.network.lower)
        for scale in (branch.stem_scale, branch.mix_scale)
    ]
    levels = sum(
        int((np.clip(np.round(np.float32(b.high) * s), b.low, b.high)).sum())
        - int((np.clip(np.round(np.float32(b.low) * s), b.low, b.high)).sum())
        + len(s)
        for b, s in scales
    )
    assert pruned == 16 * (9 * 68 + levels) < figures.stored_bytes
    print(f"pruned ranges: {pruned:,} B, {figures.unsplit_bytes / pruned:.2f}x (DDM)")


def test_tables_equal_pytorch_and_the_float_graph_on_a_synthetic_picture(case):
    planes = picture(45, 38)
    got = case.tables_result(planes)
    assert got.shape == (2, 1, 180, 152)
    assert got.dtype == np.uint8
    with torch.no_grad():
        want = case.network(torch.from_numpy(planes)).numpy()
    assert len(np.unique(want)) > 200
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got, case.float_result(planes))


def test_the_smallest_picture(case):
    planes = picture(3, 3, planes=1)
    np.testing.assert_array_equal(case.tables_result(planes), case.float_result(planes))


@pytest.mark.long
def test_canonical_graphs_of_known_size_need_no_shapes_at_run_time(case):
    planes = picture(20, 24)
    model = read_onnx(case.path, {"planes_in": planes.shape})
    for name in CANONICAL:
        load_pass(f"canonicalize.{name}")()(model)
    TabulateRegions()(model)
    kinds = operators(model)
    assert kinds.count("AdditiveLut") == 24
    assert not {"Conv", "Reshape", "Gather", "Shape"} & set(kinds)
    got = run(make_session(ir.to_proto(model)), planes)
    np.testing.assert_array_equal(got, case.float_result(planes))


def numpy_network(case):
    """The converted tables in the numpy definition of the reference architecture."""
    nodes = [node for node in case.model.graph if node.op_type == "AdditiveLut"][:6]
    branches = []
    for place, module in enumerate((case.network.upper, case.network.lower)):
        levels = np.arange(module.low, module.high + 1)
        tables = []
        for node in nodes[3 * place : 3 * place + 3]:
            entries = node.inputs[1].const_value.numpy()
            rows = np.clip(levels - node.attributes["low"].as_int(), 0, entries.shape[1] - 1)
            tables.append(entries[:, rows])
        scales = [
            np.clip(np.round(levels.astype(np.float32) * scale.detach().numpy().reshape(-1, 1)),
                    module.low, module.high).astype(np.int8)
            for scale in (module.stem_scale, module.mix_scale)
        ]  # fmt: skip
        stage = Stage(pointwise=tables[1], pointwise_scale=scales[1])
        branches.append(
            Branch(
                index_shift=0 if place else 2,
                low=module.low,
                stem=tables[0],
                stages=(stage,),
                up=tables[2],
                stem_scale=scales[0],
            )
        )
    return ReferenceNetwork(tuple(branches), 4)


@pytest.fixture(scope="module")
def bundle(case, tmp_path_factory):
    out = tmp_path_factory.mktemp("tabulate") / "bundle"
    return intaglio.convert(case.path, recipe="tabulate", out=out)


def test_one_command_makes_tables_of_the_file(case, bundle):
    assert bundle.targets == ["onnx-qdq"]
    assert bundle.manifest["form"] == "tables"
    artifact = bundle.artifact("onnx-qdq")
    assert artifact.arithmetic == bundle.reference.arithmetic == "source"
    model = onnx.load(bundle.folder / artifact.path)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("AdditiveLut") == 24
    assert "Conv" not in kinds
    facts = bundle.conversion.facts["tables.tabulate_regions"]
    assert facts["entries_compared"] == case.facts["entries_compared"]
    # The reference is the file as it came: no step has touched its numbers.
    kept = onnx.load(bundle.folder / bundle.reference.path)
    assert [n.op_type for n in kept.graph.node] == [
        n.op_type for n in onnx.load(case.path).graph.node
    ]
    # Height and width stay open.
    session = bundle.session("onnx-qdq")
    for height, width in ((12, 31), (3, 3)):
        planes = picture(height, width)
        [got] = session.run({"planes_in": planes}).values()
        np.testing.assert_array_equal(got, case.float_result(planes))


def test_verify_shows_that_every_bit_is_the_sources(bundle):
    report = intaglio.verify(bundle, inputs={"planes_in": picture(24, 20)}, require="exact")
    assert report.ok, report.failures
    [pair] = report.pairs
    assert (pair.reference, pair.verdict, pair.must_be_exact) == ("source", "exact", True)
    assert pair.values == 2 * 24 * 20 * 16


def test_verify_sees_one_wrong_entry(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.folder, folder)
    path = folder / bundle.artifact("onnx-qdq").path
    model = onnx.load(path)
    [node] = [n for n in model.graph.node if n.op_type == "AdditiveLut"][:1]
    [tables] = [i for i in model.graph.initializer if i.name == node.input[1]]
    entries = onnx.numpy_helper.to_array(tables).copy()
    entries[0, :, 0] = entries[0, ::-1, 0]
    tables.CopyFrom(onnx.numpy_helper.from_array(entries, tables.name))
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    [stated] = [a for a in manifest["artifacts"] if a["target"] == "onnx-qdq"]
    stated["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    report = intaglio.verify(intaglio.load(folder), inputs={"planes_in": picture(24, 20)})
    assert not report.ok
    assert "differs from source" in report.failures[0]


@pytest.mark.parametrize("target", ["onnx-integer", "c", "tflite"])
def test_targets_of_integers_refuse_the_float_between_tables(case, target, tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        intaglio.convert(case.path, recipe="tabulate", targets=[target], out=tmp_path / "b")
    assert "use --target onnx-qdq" in str(caught.value)


def test_tables_equal_the_numpy_definition_of_the_architecture(case):
    network = numpy_network(case)
    planes = picture(29, 34)
    for plane, result in zip(planes, case.tables_result(planes), strict=True):
        np.testing.assert_array_equal(network.apply(plane[0]), result[0])


@pytest.mark.long
def test_tables_equal_the_network_on_every_pixel_of_set5(tmp_path, shared_data):
    case = make_case(64, tmp_path)
    files = sorted((shared_data / "sr" / "Set5" / "image_SRF_4").glob("*_LR.png"))
    assert len(files) == 5
    session = make_session(ir.to_proto(case.model))
    definition = numpy_network(case)
    compared = 0
    for file in files:
        planes = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)[:, None]
        planes = np.ascontiguousarray(planes)
        got = run(session, planes)
        np.testing.assert_array_equal(got, case.float_result(planes))
        np.testing.assert_array_equal(got[1, 0], definition.apply(planes[1, 0]))
        if file is files[-1]:
            with torch.no_grad():
                np.testing.assert_array_equal(got, case.network(torch.from_numpy(planes)).numpy())
        compared += got.size
    print(f"{compared:,} sub-pixels of Set5 equal")
    assert compared > 1_500_000
