"""Pictures through a table network: planes, luma, transparency, bad files, threads."""

from __future__ import annotations

import threading

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from intaglio import picture_runs
from intaglio.errors import InputError, OutputError, RecipeError
from intaglio.fitting.picture_files import Picture, read_picture
from intaglio.passes.table_networks.write import network_model
from intaglio.picture_runs import process, run_pictures
from intaglio.plane_runner import LibraryRunner
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import rgb_to_ycbcr, rounded_luma, to_pixels, ycbcr_to_rgb
from intaglio.transforms.images.orientations import mean_of_orientations
from tests.transforms.table_networks.random_networks import centred


def noise(*shape, seed=7):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return centred(3, upscale=2, mixings=1, channels=8)


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "double.onnx"
    ir.save(network_model(network, "double", "superres x2"), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "deep/d.png")):
        Image.fromarray(noise(9 + number, 13, 3, seed=number)).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    return folder


def test_colors_go_through_apart(network):
    picture = Picture(noise(3, 7, 9))
    found = process(picture, network.apply)
    for plane, result in zip(picture.planes, found.planes, strict=True):
        np.testing.assert_array_equal(result, network.apply(plane))


def test_luma_goes_through_alone(network):
    picture = Picture(noise(3, 7, 9))
    pixels = picture.planes.transpose(1, 2, 0)
    seen = []

    def run(plane):
        seen.append(plane)
        return network.apply(plane)

    found = process(picture, run, luma=True)
    (plane,) = seen
    np.testing.assert_array_equal(plane, rounded_luma(pixels))
    tinted = resize_bicubic(to_pixels(rgb_to_ycbcr(pixels)[..., 1:]), (14, 18))
    wanted = to_pixels(ycbcr_to_rgb(np.dstack([network.apply(plane), tinted])))
    np.testing.assert_array_equal(found.planes, wanted.transpose(2, 0, 1))


def test_luma_that_stays_keeps_the_picture():
    # The color spaces are not the same grid: one level of 8 bits in Y, Cb or Cr is up to 1.2.
    picture = Picture(noise(3, 20, 30))
    found = process(picture, lambda plane: plane, luma=True)
    assert np.abs(found.planes.astype(int) - picture.planes).max() <= 2


def test_grey_pictures_have_no_luma_of_their_own(network):
    picture = Picture(noise(1, 7, 9))
    found = process(picture, network.apply, luma=True)
    np.testing.assert_array_equal(found.planes[0], network.apply(picture.planes[0]))


def test_transparency_is_interpolated(network):
    picture = Picture(noise(3, 7, 9), noise(7, 9))
    found = process(picture, network.apply)
    np.testing.assert_array_equal(found.alpha, resize_bicubic(picture.alpha, (14, 18)))
    same = process(picture, lambda plane: plane)
    np.testing.assert_array_equal(same.alpha, picture.alpha)


def test_a_picture_that_vanishes_is_refused():
    with pytest.raises(InputError, match="too small"):
        process(Picture(noise(1, 1, 1)), lambda plane: plane[:0])


def test_a_folder_with_a_bad_picture(network, model, pictures, tmp_path):
    told = []
    found = run_pictures(
        model, pictures, tmp_path / "out", progress=lambda *arguments: told.append(arguments)
    )
    assert [p.name for p in found.pictures] == ["a.png", "b.png", "c.png", "deep/d.png"]
    ((name, reason),) = found.bad
    assert name == "broken.png"
    assert reason.startswith("cannot be read as a picture")
    for picture in found.pictures:
        before = read_picture(pictures / picture.name).planes
        after = read_picture(tmp_path / "out" / picture.name).planes
        assert picture.result_size == (2 * picture.size[0], 2 * picture.size[1])
        np.testing.assert_array_equal(after, [network.apply(plane) for plane in before])
    written = sorted(f.name for f in (tmp_path / "out").rglob("*") if f.is_file())
    assert written == ["a.png", "b.png", "c.png", "d.png"]
    assert told[-1] == ("pictures", 5, 5)
    assert found.megapixels == pytest.approx(sum(4 * 13 * (9 + n) for n in range(4)) / 1e6)
    data = found.to_dict()
    assert data["bad"] == [{"name": name, "reason": reason}]
    assert data["megapixels_per_second"] > 0


def contents(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*.png")}


@pytest.mark.parametrize("luma", [False, True])
def test_threads_change_no_byte(model, pictures, tmp_path, luma):
    for threads in (1, 2, 5):
        found = run_pictures(model, pictures, tmp_path / str(threads), threads=threads, luma=luma)
        assert (found.threads, found.luma) == (threads, luma)
    first = contents(tmp_path / "1")
    assert len(first) == 4
    assert contents(tmp_path / "2") == contents(tmp_path / "5") == first


@pytest.mark.parametrize("count", [2, 4, 8])
def test_orientations_are_averaged(network, model, pictures, tmp_path, count):
    found = run_pictures(model, pictures, tmp_path / "out", orientations=count)
    assert found.orientations == count
    assert len(found.pictures) == 4
    for picture in found.pictures:
        before = read_picture(pictures / picture.name).planes
        after = read_picture(tmp_path / "out" / picture.name).planes
        for plane, result in zip(before, after, strict=True):
            assert np.array_equal(result, mean_of_orientations(network.apply, plane, count))


class Session:
    """Stands for emitted C: remembers how it was called."""

    def __init__(self):
        self.calls = []
        self._lock = threading.Lock()

    def run_plane(self, plane, threads):
        with self._lock:
            self.calls.append((plane.shape, threads))
        return plane


@pytest.mark.parametrize(("threads", "each"), [(1, 1), (3, 1), (5, 1), (10, 2), (16, 3)])
def test_threads_are_shared_between_pictures_and_bands(
    model, pictures, tmp_path, monkeypatch, threads, each
):
    session = Session()
    runner = LibraryRunner("c@some", session)
    monkeypatch.setattr(picture_runs, "open_planes", lambda *arguments: runner)
    found = run_pictures(model, pictures, tmp_path / "out", threads=threads)
    assert found.runtime == "c@some"
    assert len(session.calls) == 3 * 4
    assert {count for _, count in session.calls} == {each}


def test_a_result_that_cannot_be_written_ends_the_run(model, pictures, tmp_path):
    out = tmp_path / "out"
    (out / "b.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"b\.png"):
        run_pictures(model, pictures, out, threads=1)
    assert not [f for f in out.rglob("*") if f.name.endswith(".part")]


def test_a_place_that_cannot_be_made(model, pictures, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        run_pictures(model, pictures, tmp_path / "file" / "out")


def test_interrupts_leave_nothing_half_written(model, pictures, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(picture_runs, "process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_pictures(model, pictures, tmp_path / "out", threads=2)
    assert not contents(tmp_path / "out")


def test_all_bad_is_no_crash(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"no")
    found = run_pictures(model, tmp_path / "in", tmp_path / "out")
    assert (found.pictures, len(found.bad), found.megapixels) == ((), 1, 0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"threads": 0}, "leaves nothing to run"),
        ({"orientations": 3}, "no mean of 3 orientations"),
        ({"orientations": 0}, "no mean of 0 orientations"),
        ({"target": "c"}, "not part of a bundle"),
        ({"runtime": "c@avx2"}, "not part of a bundle"),
        ({"target": "c", "runtime": "onnx-integer@onnxruntime"}, "differ"),
    ],
)
def test_arguments_that_make_no_sense(model, pictures, tmp_path, arguments, match):
    with pytest.raises(RecipeError, match=match) as caught:
        run_pictures(model, pictures, tmp_path / "out", **arguments)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_other_models_take_no_pictures(pictures, tmp_path):
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [x])
    node.outputs[0].name = "y"
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 21}, name="g")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "relu.onnx")
    for path in (tmp_path / "relu.onnx", pictures / "a.png"):
        with pytest.raises(InputError, match="is not a table network"):
            run_pictures(path, pictures, tmp_path / "out")
    with pytest.raises(InputError, match="there is no file"):
        run_pictures(tmp_path / "none.onnx", pictures, tmp_path / "out")
