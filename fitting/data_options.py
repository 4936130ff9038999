"""How files become samples: options of calibration data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from intaglio.passes.base import PassConfig


class DataOptions(PassConfig):
    """Options of folders of images and of wav files (``--set data.NAME=VALUE``).

    A pixel ``p`` (0 to 255) becomes ``(p * scale - mean) / std``; an audio sample is scaled to
    [-1, 1]. Arrays (``.npz``, ``.npy``) are taken as they are.

    Attributes:
        size: Height and width of an image; None means those of the model's input, or the image's
            own where the input leaves them open.
        resize: ``crop`` scales the image until it covers the size and cuts its center out;
            ``stretch`` ignores the aspect; ``none`` cuts the center without scaling.
        interpolation: Filter for scaling.
        channels: 1 (luma) or 3; None means that of the model's input.
        order: Order of three channels.
        scale: Factor on pixels; 1/255 by default.
        mean: Subtracted after scaling: one value, or one a channel.
        std: Divided by after that: one value, or one a channel.
        layout: ``NCHW`` or ``NHWC``; None means where the model's input has 1 or 3 channels.
        sample_rate: Rate in Hz that wav files must have; None takes any.
    """

    size: tuple[int, int] | None = None
    resize: Literal["crop", "stretch", "none"] = "crop"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal[1, 3] | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    scale: float = Field(default=1.0 / 255.0, gt=0.0, allow_inf_nan=False)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] | None = None
    sample_rate: int | None = Field(default=None, gt=0)

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_value_is_enough(cls, value: object) -> object:
        return (value,) if isinstance(value, (int, float)) else value

    @model_validator(mode="after")
    def _check(self) -> DataOptions:
        if self.size is not None and min(self.size) < 1:
            raise ValueError("size must be positive")
        if not 1 <= len(self.mean) <= 3 or not 1 <= len(self.std) <= 3:
            raise ValueError("mean and std have one value, or one a channel")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self
