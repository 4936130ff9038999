from __future__ import annotations

import errno
import json
import os
import stat
import time

import numpy as np
import pytest

from intaglio.bundle_files import jsonable, list_files, replacing, write_json, write_samples
from intaglio.errors import OutputError


def fill(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text, encoding="utf-8")


def fail_halfway(out, error):
    with replacing(out) as work:
        fill(work, "half")
        raise error


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path):
    out = tmp_path / "out"
    fill(out, "old")
    (out / "only-old").mkdir()
    with replacing(out) as work:
        fill(work, "new")
        assert work.name == "out"
        assert (out / "file").read_text(encoding="utf-8") == "old"
    assert list_files(out) == ["file"]
    assert (out / "file").read_text(encoding="utf-8") == "new"
    assert not (out / "only-old").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_folder_and_no_litter(tmp_path, error):
    out = tmp_path / "out"
    fill(out, "old")
    with pytest.raises(error):
        fail_halfway(out, error)
    assert (out / "file").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_removes_parents_that_were_made_for_it(tmp_path):
    with pytest.raises(RuntimeError):
        fail_halfway(tmp_path / "a" / "b" / "c", RuntimeError)
    assert [p.name for p in tmp_path.iterdir()] == []


def test_an_interrupt_between_the_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    fill(out, "old")
    rename = type(out).rename

    def interrupted(self, target):
        if self.name == "out" and self.parent.name.startswith(".out."):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(out), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(out) as work:
        fill(work, "new")
    assert (out / "file").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_old_folder_that_cannot_be_put_back_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    fill(out, "old")
    rename = type(out).rename

    def denied(self, target):
        if self.parent.name.startswith(".out."):
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(type(out), "rename", denied)
    with pytest.raises(OutputError), replacing(out) as work:
        fill(work, "new")
    (holder,) = tmp_path.iterdir()
    assert (holder / "earlier" / "file").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "permissions")]
)
def test_system_errors_become_output_errors(tmp_path, code, remedy):
    with pytest.raises(OutputError, match="cannot write") as caught, replacing(tmp_path / "out"):
        raise OSError(code, os.strerror(code))
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "real"
    fill(real, "old")
    (tmp_path / "link").symlink_to(real)
    with replacing(tmp_path / "link") as work:
        fill(work, "new")
    assert (tmp_path / "link").is_symlink()
    assert (real / "file").read_text(encoding="utf-8") == "new"


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
def test_the_folder_has_the_permissions_of_any_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    with replacing(tmp_path / "out"):
        pass
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out")]
    assert modes[0] == modes[1]


def test_json_is_sorted_and_has_no_infinities(tmp_path):
    data = {
        "b": (np.float32(0.5), np.int64(3), float("inf"), np.nan),
        "a": {"é": np.arange(2), 1: {"z", "y"}},
    }
    write_json(tmp_path / "x.json", data)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": {"1": ["y", "z"], "é": [0, 1]}, "b": [0.5, 3, None, None]}
    assert text.index('"a"') < text.index('"b"')
    assert jsonable(True) is True


def test_samples_have_the_same_bytes_at_any_time(tmp_path):
    arrays = {"y": np.arange(6.0).reshape(2, 3).T, "x": np.ones((2, 2), np.int8)}
    write_samples(tmp_path / "1.npz", arrays)
    time.sleep(2.1)  # Zip entries count time in steps of two seconds.
    write_samples(tmp_path / "2.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz", allow_pickle=False) as back:
        assert {name: back[name].tolist() for name in back} == {
            name: array.tolist() for name, array in arrays.items()
        }
