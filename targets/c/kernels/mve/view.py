"""How a depthwise convolution goes through an image."""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.network import Window

_MOST_OFFSET = 0xFFFF


@dataclasses.dataclass(frozen=True)
class View:
    """An image as planes show it: as it is, or with rows and columns swapped.

    Attributes:
        swapped: Whether they are.
        stride: 1 or 2.
        image: Rows and columns.
        result: Likewise.
        channels: Channels.
        pads: Rows and columns of padding in front.
        x: Bytes from one row, and from one column, to the next in the image.
        y: Likewise in the result.
    """

    swapped: bool
    stride: int
    image: tuple[int, int]
    result: tuple[int, int]
    channels: int
    pads: tuple[int, int]
    x: tuple[int, int]
    y: tuple[int, int]

    @staticmethod
    def of(window: Window, swapped: bool) -> View:
        """A view of the images of a window."""
        channels = window.image[2]
        view = View(
            False,
            window.strides[0],
            window.image[:2],
            window.result[:2],
            channels,
            window.pads,
            (window.image[1] * channels, channels),
            (window.result[1] * channels, channels),
        )
        if not swapped:
            return view
        return dataclasses.replace(
            view,
            swapped=True,
            image=_turned(view.image),
            result=_turned(view.result),
            pads=_turned(view.pads),
            x=_turned(view.x),
            y=_turned(view.y),
        )

    @property
    def rows_each(self) -> int:
        """Rows of results that a plane gives."""
        return 2 if self.stride == 1 else 1

    @property
    def four(self) -> int:
        """Columns of four results."""
        return 2 if self.stride == 1 else 4

    @property
    def row_step(self) -> int:
        """Rows of results from one plane to the next."""
        return 1 if self.result[0] == 3 else self.rows_each

    @property
    def planes(self) -> int:
        """Planes that lie so far apart."""
        return (self.result[0] - self.rows_each) // self.row_step + 1

    @property
    def is_odd(self) -> bool:
        """Whether one more plane is needed for the last row."""
        return (self.planes - 1) * self.row_step + self.rows_each < self.result[0]

    @property
    def fits(self) -> bool:
        """Whether there is a plane, and halfwords can count the places of its results."""
        farthest = (self.rows_each - 1) * self.y[0] + (2 * self.four - 1) * self.y[1]
        least = 2 if self.stride == 1 else 1
        return min(self.result) >= least and farthest <= _MOST_OFFSET

    @property
    def has_whole_vectors(self) -> bool:
        """Whether a row is vectors of two or four columns with all their channels."""
        return self.channels in (4, 8) and not self.swapped and self.x[0] % 16 == 0

    @property
    def work(self) -> int:
        """Instructions a channel, roughly: 29 for eight results, 17 for four."""
        groups, rest = divmod(self.result[1], 2 * self.four)
        each = 29 * groups + 17 * -(-rest // self.four) + 7 + self.image[1] // 2
        return (self.planes + self.is_odd) * each + 21 * (1 + self.is_odd)


def _turned(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]
