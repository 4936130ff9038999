"""What the folders of all kinds of runs have in common: the lock, whole files, full disks."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from intaglio.errors import OutputError, RecipeError
from intaglio.fitting import run_folder
from intaglio.fitting.run_folder import RunFolder

posix = pytest.mark.skipif(os.name == "nt", reason="needs the locks of POSIX systems")


class Folder(RunFolder):
    ours = re.compile(r"(told\.json|data)(\.new)?")
    does, do, told_in = "works", "work", "told.json"


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_a_closed_folder_holds_no_lock(tmp_path):
    folder = Folder(tmp_path / "run")
    folder.begin({"b": 1, "a": 2})
    assert names(tmp_path / "run") == ["lock", "told.json"]
    folder.close()
    folder.close()
    assert names(tmp_path / "run") == ["told.json"]
    assert (tmp_path / "run" / "told.json").read_bytes() == b'{\n "a": 2,\n "b": 1\n}\n'


@posix
def test_a_refused_process_leaves_the_lock_of_the_other(tmp_path):
    first = Folder(tmp_path)
    for _ in range(2):
        with pytest.raises(RecipeError, match="another process works in"):
            Folder(tmp_path)
    assert names(tmp_path) == ["lock"]
    first.close()
    Folder(tmp_path).close()


@posix
def test_a_lock_that_was_removed_is_not_taken(tmp_path, monkeypatch):
    """Opened before its owner removed it: a third process could make a new one."""
    import fcntl

    owner, third = Folder(tmp_path), []
    real = fcntl.flock

    def flock(descriptor, flags):
        if not third:
            owner.close()
            third.append(None)
            third[0] = Folder(tmp_path)
        real(descriptor, flags)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RecipeError, match="another process"):
        Folder(tmp_path)
    third[0].close()
    Folder(tmp_path).close()


def test_a_file_of_that_name_that_is_no_lock_stays(tmp_path):
    (tmp_path / "lock").write_text("of my bicycle")
    folder = Folder(tmp_path)
    with pytest.raises(RecipeError, match="holds lock"):
        folder.begin({})
    folder.close()
    assert (tmp_path / "lock").read_text() == "of my bicycle"


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.write("data", b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    with pytest.raises(OutputError, match=r"data: No space left") as caught:
        folder.write("data", b"new")
    assert "--resume" in caught.value.remedy
    assert names(tmp_path) == ["data", "lock"]
    assert (tmp_path / "data").read_bytes() == b"old"
    folder.close()


def test_a_log_grows_and_names_itself(tmp_path):
    folder = Folder(tmp_path)
    with folder.append_to("data", b"ab") as log:
        log.write(b"")
        log.write(b"cd")
        assert (tmp_path / "data").read_bytes() == b"abcd"
    folder.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_log_on_a_full_disk_is_an_error_with_its_name():
    with pytest.raises(OutputError, match="/dev/full: No space left"):
        run_folder.Log(Path("/dev/full")).write(b"x")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Folder(tmp_path / "file" / "run")


def test_what_was_made_for_nothing_is_taken_away(tmp_path):
    Folder(tmp_path / "new").discard()
    assert not (tmp_path / "new").exists()
    Folder(tmp_path).discard()
    assert tmp_path.exists()
