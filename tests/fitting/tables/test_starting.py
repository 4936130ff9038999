"""Beginning with the weights of an earlier network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx_ir as ir  # noqa: E402

from intaglio.errors import InputError, RecipeError  # noqa: E402
from intaglio.fitting.image_pairs import denoising, enlarging  # noqa: E402
from intaglio.fitting.tables.learners import make_learner, network_of  # noqa: E402
from intaglio.fitting.tables.presets import Structure  # noqa: E402
from intaglio.fitting.tables.starting import start_from  # noqa: E402
from intaglio.passes.table_networks.write import network_model  # noqa: E402

STRUCTURE = Structure(channels=16, mixings=4, share=2, kernel=3)


def saved(path: Path, structure: Structure = STRUCTURE, seed: int = 1) -> Path:
    network = network_of(make_learner(structure, enlarging(2), seed))
    ir.save(network_model(network, "earlier"), path)
    return path


def test_the_first_result_is_that_of_the_network(tmp_path: Path) -> None:
    earlier = make_learner(STRUCTURE, enlarging(2), 1)
    module = make_learner(STRUCTURE, enlarging(2), 2)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 9, 11), np.uint8))
    assert not torch.equal(earlier.image(image), module.image(image))
    start_from(module, saved(tmp_path / "model.onnx"))
    assert torch.equal(earlier.image(image), module.image(image))
    # What it stands for is the same network, integer by integer.
    assert network_of(module).storage_bytes == network_of(earlier).storage_bytes


@pytest.mark.parametrize(
    "other",
    [
        Structure(channels=24, mixings=4, share=2, kernel=3),
        Structure(channels=16, mixings=4, share=1, kernel=3),
        Structure(channels=16, mixings=3, share=2, kernel=3),
        Structure(channels=16, mixings=4, share=2, kernel=5),
    ],
)
def test_another_structure_is_refused(tmp_path: Path, other: Structure) -> None:
    path = saved(tmp_path / "model.onnx")
    with pytest.raises(RecipeError, match="another structure"):
        start_from(make_learner(other, enlarging(2), 1), path)


@pytest.mark.parametrize("mixings", [3, 4, 7])
def test_a_deeper_network_begins_with_the_result_of_the_shallower(
    tmp_path: Path, mixings: int
) -> None:
    shallow = dataclasses.replace(STRUCTURE, mixings=2, share=1)
    earlier = make_learner(shallow, enlarging(2), 1)
    module = make_learner(dataclasses.replace(shallow, mixings=mixings), enlarging(2), 2)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 9, 11), np.uint8))
    assert not torch.equal(earlier.image(image), module.image(image))
    start_from(module, saved(tmp_path / "model.onnx", shallow))
    assert torch.equal(earlier.image(image), module.image(image))
    assert len(network_of(module).mixings) == mixings


def test_another_task_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx")
    halved = Structure(channels=16, mixings=4, share=2, kernel=6)
    module = make_learner(halved, denoising(25), 1)
    with pytest.raises(RecipeError, match="another structure"):
        start_from(module, path)


def test_a_network_with_rotations_goes_on_too(tmp_path: Path) -> None:
    structure = Structure("reference", channels=16, mixings=2)
    earlier, module = (make_learner(structure, enlarging(2), seed) for seed in (1, 2))
    with torch.no_grad():
        for name, parameter in earlier.named_parameters():
            if name.endswith("_scale"):
                parameter.uniform_(0.06, 1.0)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 9, 11), np.uint8))
    assert not torch.equal(earlier.image(image), module.image(image))
    path = tmp_path / "model.onnx"
    ir.save(network_model(network_of(earlier), "earlier"), path)
    start_from(module, path)
    assert torch.equal(earlier.image(image), module.image(image))
    with pytest.raises(RecipeError, match="another structure"):
        start_from(make_learner(STRUCTURE, enlarging(2), 1), path)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    module = make_learner(STRUCTURE, enlarging(2), 1)
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(InputError, match="cannot read"):
        start_from(module, text)
    other = Path("sample_models/digits/digits.onnx")
    with pytest.raises(InputError, match="no network"):
        start_from(module, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head_shift": 13}, "head_shift 13"),
        ({"head_shift": 12, "out_shift": 24}, "float32"),
        ({"stem_bias": np.full(20, 2**20 + 1, np.int32)}, "bias"),
    ],
)
def test_sums_beyond_float32_are_refused(tmp_path: Path, changes: dict, said: str) -> None:
    network = network_of(make_learner(STRUCTURE, enlarging(2), 1))
    path = tmp_path / "model.onnx"
    ir.save(network_model(dataclasses.replace(network, **changes), "wide"), path)
    module = make_learner(STRUCTURE, enlarging(2), 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(RecipeError, match=said) as caught:
        start_from(module, path)
    assert "--start" in str(caught.value.remedy)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_largest_shifts_that_are_taken_are_exact(tmp_path: Path) -> None:
    """With all entries at their ends the module makes the pixels of the integer network."""
    random = np.random.default_rng(0)
    network = network_of(make_learner(STRUCTURE, enlarging(2), 1))
    extreme = dataclasses.replace(
        network,
        head_tables=random.choice([-127, 126, 127], network.head_tables.shape).astype(np.int8),
        stem_bias=random.choice([2**20, 1 - 2**20], 20).astype(np.int32),
        head_shift=12,
        out_shift=15,
    )
    path = tmp_path / "model.onnx"
    ir.save(network_model(extreme, "wide"), path)
    module = make_learner(STRUCTURE, enlarging(2), 2)
    start_from(module, path)
    plane = random.integers(0, 256, (21, 18), np.uint8)
    found = module.image(torch.from_numpy(plane[None])).numpy()[0]
    assert np.array_equal(found, extreme.apply(plane))
