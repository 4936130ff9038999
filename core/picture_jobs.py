"""Which pictures are read and where their results go; nothing that is read is overwritten."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.picture_files import KINDS, find_pictures, named_like_picture

_WRITTEN = ".png"


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        name: What to call it: its path below the folder given, with forward slashes.
        source: The file.
        result: The PNG file to write.
    """

    name: str
    source: Path
    result: Path


def is_pictures(path: str | Path) -> bool:
    """Whether ``path`` is a folder, or named like a picture."""
    place = Path(path)
    return place.is_dir() or named_like_picture(place)


def find_jobs(source: str | Path, out: str | Path) -> list[Job]:
    """Lists pictures and plans where results go.

    A folder is searched with the folders in it; results stand in the same places below ``out``,
    with the ending ``.png``. Two pictures that would get one name keep their own endings in it.

    Args:
        source: A picture, or a folder of pictures.
        out: A folder; for one picture a ``.png`` file, too.

    Returns:
        A job for each picture, by name.

    Raises:
        InputError: There is no picture.
        RecipeError: ``out`` is the source, a file where a folder is needed, or no PNG file.
    """
    place, target = Path(source), Path(out)
    if not place.exists():
        raise InputError(f"there is no file {place}", remedy="check the path of --input")
    if place.is_dir():
        jobs = _folder_jobs(place, target)
    else:
        jobs = [Job(place.name, place, _single_result(place, target))]
    read = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.result.resolve() in read:
            raise RecipeError(
                f"--output {out} would overwrite {job.result}, which is read",
                remedy="choose another folder",
            )
    return jobs


def _folder_jobs(folder: Path, out: Path) -> list[Job]:
    if out.exists() and not out.is_dir():
        raise RecipeError(f"--output {out} is a file", remedy="name a folder for the results")
    if named_like_picture(out) and not out.exists():
        raise RecipeError(
            f"--output {out} is named like a picture, and --input {folder} is a folder",
            remedy="name a folder for the results",
        )
    if out.resolve() == folder.resolve():
        raise RecipeError(
            f"--output {out} is the folder of the pictures", remedy="choose another folder"
        )
    # Results of an earlier run in a folder inside are no pictures of this one.
    results = out.resolve() if folder.resolve() in out.resolve().parents else None
    files = [file for file in find_pictures(folder) if results not in file.resolve().parents]
    if not files:
        raise InputError(f"there is no picture in {folder}", remedy=f"{KINDS} are read")
    names = _result_names([file.relative_to(folder) for file in files])
    return [
        Job(file.relative_to(folder).as_posix(), file, out / name)
        for file, name in zip(files, names, strict=True)
    ]


def _result_names(files: list[Path]) -> list[Path]:
    """Names of results, no two the same even where case does not count."""
    wanted = [file.with_suffix(_WRITTEN) for file in files]
    counts: dict[str, int] = {}
    for name in wanted:
        counts[_key(name)] = counts.get(_key(name), 0) + 1
    # Names that only one picture wants are taken first.
    taken = {key for key, count in counts.items() if count == 1}
    found = []
    for file, name in zip(files, wanted, strict=True):
        if counts[_key(name)] == 1:
            found.append(name)
            continue
        own = file.with_name(file.name + _WRITTEN)
        number = 2
        while _key(own) in taken:
            own = file.with_name(f"{file.name}_{number}{_WRITTEN}")
            number += 1
        taken.add(_key(own))
        found.append(own)
    return found


def _key(name: Path) -> str:
    return name.as_posix().casefold()


def _single_result(source: Path, out: Path) -> Path:
    if out.is_dir() or not out.suffix:
        return out / source.with_suffix(_WRITTEN).name
    if out.suffix.lower() != _WRITTEN:
        raise RecipeError(f"--output {out} is no .png file", remedy="name it so, or a folder")
    return out
