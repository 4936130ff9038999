"""Picture files: every kind becomes planes of bytes, damaged ones are named, and nothing is half
written."""

from __future__ import annotations

import errno
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from intaglio.errors import InputError, OutputError
from intaglio.fitting.picture_files import Picture, find_pictures, read_picture
from intaglio.pictures import write_picture
from tests.fitting.deep_pictures import png_of_16_bits


def noise(*shape, dtype=np.uint8):
    limit = np.iinfo(dtype).max
    return np.random.default_rng(7).integers(0, limit, shape, endpoint=True).astype(dtype)


def saved(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options)
    return path


def test_colors_are_three_planes(tmp_path):
    pixels = noise(5, 7, 3)
    found = read_picture(saved(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(found.planes, pixels.transpose(2, 0, 1))
    assert (found.alpha, found.notes, found.size) == (None, (), (5, 7))


def test_grey_is_one_plane(tmp_path):
    pixels = noise(5, 7)
    for name in ("a.png", "a.bmp"):
        found = read_picture(saved(tmp_path / name, pixels))
        np.testing.assert_array_equal(found.planes, pixels[None])


@pytest.mark.parametrize(("channels", "count"), [(2, 1), (4, 3)])
def test_transparency_is_kept_apart(tmp_path, channels, count):
    pixels = noise(5, 7, channels)
    found = read_picture(saved(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(found.planes, pixels[..., :count].transpose(2, 0, 1))
    np.testing.assert_array_equal(found.alpha, pixels[..., count])


def test_palettes_become_colors(tmp_path):
    image = Image.fromarray(noise(5, 7) % 4, "P")
    colors = [(1, 2, 3), (250, 0, 9), (0, 255, 0), (7, 7, 7)]
    image.putpalette([value for color in colors for value in color])
    image.save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    wanted = np.array(colors)[np.asarray(image)]
    np.testing.assert_array_equal(found.planes, wanted.transpose(2, 0, 1))
    assert found.alpha is None
    image.save(tmp_path / "b.png", transparency=2)
    found = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(found.alpha, np.where(np.asarray(image) == 2, 0, 255))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_with_one_transparent_level(tmp_path, mode):
    pixels = noise(6, 6) % 2 * 255
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(
        tmp_path / "a.png", transparency=255
    )
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.planes[0], pixels)
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha, np.where(pixels == 255, 0, 255))


def test_black_and_white(tmp_path):
    pixels = noise(9, 11) > 99
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").planes[0], 255 * pixels)


def test_16_bit_grey_is_rounded(tmp_path):
    values = np.array([[0, 128, 129, 257, 385, 386, 65535, 65406, 65407]], np.uint16)
    found = read_picture(saved(tmp_path / "a.png", values))
    assert found.planes[0].tolist() == [[0, 0, 1, 1, 1, 2, 255, 254, 255]]
    assert found.notes == ("16 bits reduced to 8",)


def test_16_bit_colors_are_noted(tmp_path):
    pixels = noise(4, 5, 3, dtype=np.uint16)
    png_of_16_bits(tmp_path / "a.png", pixels)
    found = read_picture(tmp_path / "a.png")
    assert found.notes == ("16 bits reduced to 8",)
    difference = found.planes.transpose(1, 2, 0) - pixels / 257
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("largest", "said"), [(255, False), (1000, True), (65535, True)])
def test_16_bit_ppm_is_noted(tmp_path, largest, said):
    pixels = noise(4, 5, 3, dtype=np.uint16).astype(np.int64) * largest // 65535
    kind = ">u2" if largest > 255 else "u1"
    head = f"P6 5 4 {largest}\n".encode()
    (tmp_path / "a.ppm").write_bytes(head + pixels.astype(kind).tobytes())
    found = read_picture(tmp_path / "a.ppm")
    assert found.notes == (("16 bits reduced to 8",) if said else ())
    difference = found.planes.transpose(1, 2, 0) - 255 * pixels / largest
    assert np.abs(difference).max() <= 1


def test_16_bit_tiff_is_noted(tmp_path):
    """A file of three 16-bit values a pixel, which PIL reads as 8 bits without a word."""
    pixels = noise(4, 5, 3, dtype=np.uint16)
    tags = [
        (256, 4, 5), (257, 4, 4), (258, 3, 182), (259, 3, 1), (262, 3, 2), (273, 4, 188),
        (277, 3, 3), (278, 4, 4), (279, 4, pixels.nbytes),
    ]  # fmt: skip
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag, kind, value in tags:
        head += struct.pack("<HHII", tag, kind, 3 if tag == 258 else 1, value)
    head = (head + b"\0" * 4).ljust(182, b"\0") + struct.pack("<3H", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(head + pixels.astype("<u2").tobytes())
    found = read_picture(tmp_path / "a.tif")
    assert found.notes == ("16 bits reduced to 8",)
    assert found.size == (4, 5)


def test_folders_are_searched_and_hidden_files_are_passed_over(tmp_path):
    for name in ("b.webp", "a/c.TIF", ".hidden.png", ".folder/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [file.relative_to(tmp_path).as_posix() for file in find_pictures(tmp_path)]
    assert found == ["a/c.TIF", "b.webp"]


def test_jpeg_of_four_inks_becomes_three_planes(tmp_path):
    Image.fromarray(noise(8, 8, 4), "CMYK").save(tmp_path / "a.jpg", icc_profile=b"inks")
    found = read_picture(tmp_path / "a.jpg")
    assert found.planes.shape == (3, 8, 8)
    assert found.profile is None


def test_what_a_viewer_turns_is_turned(tmp_path):
    pixels = noise(8, 16, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees.
    saved(tmp_path / "a.jpg", pixels, exif=exif, quality=95)
    assert read_picture(tmp_path / "a.jpg").size == (16, 8)


def test_reals_are_refused(tmp_path):
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif has pixels of real numbers"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "flipped", "folder", "missing", "huge"])
def test_bad_files_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "bad.png"
    whole = saved(tmp_path / "good.png", noise(40, 40, 3)).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    header = bytearray(whole)
    header[16:24] = struct.pack(">II", 2**30, 2**30)
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(damaged),
        "huge": bytes(header),
    }
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    with pytest.raises(InputError, match=r"bad\.png cannot be read as a picture") as caught:
        read_picture(path)
    assert caught.value.remedy


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_what_was_written_is_read(tmp_path, planes, alpha):
    picture = Picture(noise(planes, 6, 9), noise(6, 9) if alpha else None)
    write_picture(tmp_path / "a.png", picture)
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.planes, picture.planes)
    if alpha:
        np.testing.assert_array_equal(found.alpha, picture.alpha)
    else:
        assert found.alpha is None
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_the_color_profile_is_handed_through(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = read_picture(saved(tmp_path / "a.png", noise(4, 4, 3), icc_profile=profile))
    write_picture(tmp_path / "b.png", found)
    assert Image.open(tmp_path / "b.png").info["icc_profile"] == profile


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def full(self, place, **options):
        place.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write_picture(path, Picture(noise(1, 3, 3)))
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
