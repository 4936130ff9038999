"""Folders of images and of wav files as samples, decoded one at a time."""

from __future__ import annotations

import abc
import math
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.array_sources import ArraySource
from intaglio.fitting.data_options import DataOptions

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
AUDIO_SUFFIXES = frozenset({".wav"})

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Dims = Sequence[int | str]


class _FileSource(ArraySource):
    """Files in the order of their names; each is one sample."""

    def __init__(self, folder: Path, files: Sequence[Path], shape: tuple[int | None, ...]) -> None:
        self.label = str(folder)
        self.shape = (len(files), *shape)
        self.dtype = np.dtype(np.float32)
        self._files = list(files)

    def chunks(self, size: int, limit: int) -> Iterator[NDArray[Any]]:
        """See :meth:`ArraySource.chunks`; a change of shape ends an array early."""
        held: list[NDArray[Any]] = []
        for file in self._files[:limit]:
            sample = self._decode(file)
            if held and (len(held) == size or held[0].shape != sample.shape):
                yield np.stack(held)
                held = []
            held.append(sample)
        if held:
            yield np.stack(held)

    @abc.abstractmethod
    def _decode(self, file: Path) -> NDArray[Any]:
        """The sample in ``file``."""


class ImageFolder(_FileSource):
    """Images as float32 samples of a model input.

    Args:
        folder: The folder, for messages.
        files: The image files, in order.
        dims: Dimensions of the model's input, batch included: 4 of them.
        options: How a picture becomes numbers.

    Raises:
        RecipeError: The input is no image, or the options contradict it.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], dims: Dims, options: DataOptions
    ) -> None:
        self._options = options
        self._layout = _image_layout(dims, options)
        channel_axis = 1 if self._layout == "NCHW" else 3
        height, width = (dims[2], dims[3]) if self._layout == "NCHW" else (dims[1], dims[2])
        declared = dims[channel_axis]
        channels = options.channels or (declared if isinstance(declared, int) else 3)
        if channels not in (1, 3) or (isinstance(declared, int) and declared != channels):
            raise RecipeError(
                f"images have 1 or 3 channels; the model's input has {declared}",
                remedy="set data.channels and data.layout, or give an .npz",
            )
        self._channels = int(channels)
        self._size = options.size
        if isinstance(height, int) and isinstance(width, int):
            if options.size not in (None, (height, width)):
                raise RecipeError(
                    f"data.size is {options.size}, the model's input is {(height, width)}",
                    remedy="leave data.size out",
                )
            self._size = (height, width)
        self._mean = _per_channel("mean", options.mean, self._channels)
        self._std = _per_channel("std", options.std, self._channels)
        sides = self._size or (None, None)
        shape = (channels, *sides) if self._layout == "NCHW" else (*sides, channels)
        super().__init__(folder, files, shape)

    def _decode(self, file: Path) -> NDArray[np.float32]:
        try:
            with Image.open(file) as opened:
                picture = opened.convert("L" if self._channels == 1 else "RGB")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{file} is not a readable image: {error}", remedy="remove it") from (
                error
            )
        if self._size is not None:
            picture = _fit(picture, self._size, self._options, file)
        pixels = np.asarray(picture, np.float64).reshape(picture.height, picture.width, -1)
        if self._channels == 3 and self._options.order == "bgr":
            pixels = pixels[:, :, ::-1]
        scaled = ((pixels * self._options.scale - self._mean) / self._std).astype(np.float32)
        return scaled.transpose(2, 0, 1) if self._layout == "NCHW" else scaled


def _image_layout(dims: Dims, options: DataOptions) -> str:
    if len(dims) != 4:
        raise RecipeError(
            f"a folder of images needs an input of 4 dimensions, not {len(dims)}",
            remedy="give an .npz or .npy of samples",
        )
    if options.layout is not None:
        return options.layout
    if dims[1] in (1, 3):
        return "NCHW"
    if dims[3] in (1, 3):
        return "NHWC"
    raise RecipeError(
        f"cannot tell the channel axis of an input of shape {tuple(dims)}",
        remedy="set data.layout and data.channels",
    )


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> NDArray[np.float64]:
    if len(values) not in (1, channels):
        raise RecipeError(
            f"data.{name} has {len(values)} values for {channels} channels",
            remedy=f"give 1 or {channels}",
        )
    return np.asarray(values, np.float64)


def _fit(
    picture: Image.Image, size: tuple[int, int], options: DataOptions, file: Path
) -> Image.Image:
    """Brings a picture to ``size`` (height, width)."""
    height, width = size
    chosen = _FILTERS[options.interpolation]
    if options.resize == "stretch":
        return picture.resize((width, height), chosen)
    if options.resize == "crop":
        factor = max(height / picture.height, width / picture.width)
        wanted = (
            max(width, round(picture.width * factor)),
            max(height, round(picture.height * factor)),
        )
        if wanted != picture.size:
            picture = picture.resize(wanted, chosen)
    if picture.height < height or picture.width < width:
        raise InputError(
            f"{file} is {picture.height}x{picture.width}, smaller than {height}x{width}",
            remedy="set data.resize to crop or stretch",
        )
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


class AudioFolder(_FileSource):
    """Mono wav files as float32 samples in [-1, 1], cut or padded with silence at the end.

    Args:
        folder: The folder, for messages.
        files: The wav files, in order.
        dims: Dimensions of the model's input, batch included; all but one after it are 1.
        options: Which sample rate to expect.

    Raises:
        RecipeError: The input takes no raw audio of a fixed length.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], dims: Dims, options: DataOptions
    ) -> None:
        sample = tuple(dims[1:])
        fixed = [d for d in sample if isinstance(d, int)]
        if len(fixed) != len(sample) or sum(d != 1 for d in fixed) != 1:
            raise RecipeError(
                f"wav files need an input of one fixed length, not of shape {tuple(dims)}",
                remedy="give the model's features as .npz, or bind the length with --shape",
            )
        self._length = math.prod(fixed)
        self._rate = options.sample_rate
        super().__init__(folder, files, tuple(fixed))

    def _decode(self, file: Path) -> NDArray[np.float32]:
        try:
            with wave.open(str(file), "rb") as opened:
                channels, width = opened.getnchannels(), opened.getsampwidth()
                rate = opened.getframerate()
                data = opened.readframes(self._length)
        except (wave.Error, EOFError, OSError) as error:
            raise InputError(f"{file} is not a PCM wav: {error}", remedy="remove it") from error
        if channels != 1:
            raise InputError(f"{file} has {channels} channels", remedy="convert it to mono")
        if self._rate is not None and rate != self._rate:
            raise InputError(
                f"{file} has {rate} Hz, not {self._rate}",
                remedy="resample it, as the model expects",
            )
        signal = np.zeros(self._length, np.float32)
        decoded = _decode_pcm(data, width, file)
        signal[: len(decoded)] = decoded
        return signal.reshape(tuple(int(d or 0) for d in self.shape[1:]))


def _decode_pcm(data: bytes, width: int, file: Path) -> NDArray[np.float32]:
    """PCM to [-1, 1): 8 bit is unsigned, wider ones are signed little-endian."""
    if width not in (1, 2, 4):
        raise InputError(f"{file} has {8 * width}-bit samples", remedy="convert it to 16 bit")
    data = data[: len(data) - len(data) % width]
    if width == 1:
        return ((np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128).astype(np.float32)
    integers = np.frombuffer(data, f"<i{width}").astype(np.float64)
    return (integers / 2.0 ** (8 * width - 1)).astype(np.float32)


def open_folder(folder: Path, dims: Dims, options: DataOptions) -> ArraySource:
    """A folder of images or of wav files, in the order of their names.

    Args:
        folder: The folder; hidden files and subfolders are not looked at.
        dims: Dimensions of the model's only input.
        options: How files become numbers.

    Raises:
        InputError: It holds neither, or both.
        RecipeError: The model's input does not take such files.
    """
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    images = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
    sounds = [f for f in files if f.suffix.lower() in AUDIO_SUFFIXES]
    if images and sounds:
        raise InputError(f"{folder} holds both images and wav files", remedy="separate them")
    if images:
        return ImageFolder(folder, images, dims, options)
    if sounds:
        return AudioFolder(folder, sounds, dims, options)
    raise InputError(
        f"{folder} holds no PNG, JPEG, BMP or wav file",
        remedy="put the files directly into the folder, without subfolders",
    )
