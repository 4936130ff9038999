"""Which pictures are read, and where results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from intaglio.errors import InputError, RecipeError
from intaglio.picture_jobs import find_jobs, is_pictures


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def results(jobs, out):
    return {job.name: job.result.relative_to(out).as_posix() for job in jobs}


def test_folders_are_searched_and_kept(tmp_path):
    touch(tmp_path / "in", "b.png", "deep/er/a.JPG", "deep/c.bmp", "notes.txt", "x.npy")
    jobs = find_jobs(tmp_path / "in", tmp_path / "out")
    assert results(jobs, tmp_path / "out") == {
        "b.png": "b.png",
        "deep/c.bmp": "deep/c.png",
        "deep/er/a.JPG": "deep/er/a.png",
    }


def test_hidden_files_are_left_out(tmp_path):
    touch(tmp_path / "in", "a.png", "._a.png", ".trash/b.png")
    assert [job.name for job in find_jobs(tmp_path / "in", tmp_path / "out")] == ["a.png"]


def test_names_that_clash_keep_their_endings(tmp_path):
    touch(tmp_path / "in", "a.png", "a.jpg", "A.bmp", "a.jpg.png", "b.png")
    found = results(find_jobs(tmp_path / "in", tmp_path / "out"), tmp_path / "out")
    assert found["b.png"] == "b.png"
    assert found["a.jpg.png"] == "a.jpg.png"
    assert len({name.casefold() for name in found.values()}) == 5
    assert all(name.endswith(".png") for name in found.values())


def test_results_inside_the_folder_are_not_read_again(tmp_path):
    touch(tmp_path / "in", "a.png", "out/a.png", "out/deep/b.png")
    jobs = find_jobs(tmp_path / "in", tmp_path / "in" / "out")
    assert [job.name for job in jobs] == ["a.png"]


@pytest.mark.parametrize(
    ("out", "result"),
    [("r.png", "r.png"), ("folder", "folder/a.png"), ("there.is", "there.is/a.png")],
)
def test_one_picture_goes_to_a_file_or_a_folder(tmp_path, out, result):
    touch(tmp_path, "a.jpg")
    (tmp_path / "there.is").mkdir()
    (job,) = find_jobs(tmp_path / "a.jpg", tmp_path / out)
    assert job.result == tmp_path / result


def refused(error, match, source, out):
    with pytest.raises(error, match=match) as caught:
        find_jobs(source, out)
    assert caught.value.remedy


def test_inputs_are_never_overwritten(tmp_path):
    touch(tmp_path / "in", "a.png", "b.jpg")
    refused(RecipeError, "folder of the pictures", tmp_path / "in", tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    refused(RecipeError, "folder of the pictures", tmp_path / "in", tmp_path / "link")
    refused(RecipeError, "would overwrite", tmp_path / "in" / "a.png", tmp_path / "in" / "a.png")
    refused(RecipeError, "would overwrite", tmp_path / "in" / "a.png", tmp_path / "in")


def test_a_link_to_an_input_is_not_overwritten(tmp_path):
    touch(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    refused(RecipeError, "would overwrite", tmp_path / "in", tmp_path / "out")


def test_places_that_make_no_sense(tmp_path):
    touch(tmp_path / "in", "a.png")
    touch(tmp_path, "file", "empty/notes.txt")
    refused(InputError, "no file", tmp_path / "missing.png", tmp_path / "out")
    refused(InputError, "no picture in", tmp_path / "empty", tmp_path / "out")
    refused(RecipeError, "is a file", tmp_path / "in", tmp_path / "file")
    refused(RecipeError, "named like a picture", tmp_path / "in", tmp_path / "new.png")
    refused(RecipeError, r"no \.png file", tmp_path / "in" / "a.png", tmp_path / "b.jpg")


def test_what_counts_as_pictures(tmp_path):
    assert is_pictures(tmp_path)
    assert is_pictures("x.PNG")
    assert is_pictures(Path("x.jpeg"))
    assert not is_pictures("x.npy")


def test_results_may_go_above_the_pictures(tmp_path):
    touch(tmp_path / "in", "a.png")
    jobs = find_jobs(tmp_path / "in", tmp_path)
    assert results(jobs, tmp_path) == {"a.png": "a.png"}
