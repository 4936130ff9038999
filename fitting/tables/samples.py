"""Sample pictures for the report: the liveliest part of a few pictures, before and after."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intaglio.fitting.tables.validation import Case, Restorer, ValidationSet

#: Pixels of the result that a sample shows on each side, at most.
SIZE = 120
COUNT = 3


def samples(validation: ValidationSet, restore: Restorer) -> list[dict[str, object]]:
    """A few pictures as the report shows them.

    Args:
        validation: The first, the middle and the last of its pictures are taken.
        restore: The network.

    Returns:
        For each the name, PSNR before and after in dB (of the whole picture), and crops as data
        addresses: ``input``, ``simple``, ``restored``, ``clean``.
    """
    count = len(validation.cases)
    chosen = sorted({0, count // 2, count - 1}) if count else []
    found: list[dict[str, object]] = []
    for index in chosen[:COUNT]:
        case = validation.cases[index]
        simple, restored = validation.simple(case.degraded), restore(case.degraded)
        row, column, height, width = liveliest(case, validation.task.factor)
        part = (slice(None), slice(row, row + height), slice(column, column + width))
        factor = validation.task.factor
        seen = (
            slice(None),
            slice(row // factor, (row + height) // factor),
            slice(column // factor, (column + width) // factor),
        )
        found.append(
            {
                "name": case.name,
                "before": validation.quality(case, simple),
                "after": validation.quality(case, restored),
                "width": width,
                "height": height,
                "input": data_address(case.degraded[seen]),
                "simple": data_address(simple[part]),
                "restored": data_address(restored[part]),
                "clean": data_address(case.clean[part]),
            }
        )
    return found


def liveliest(case: Case, factor: int) -> tuple[int, int, int, int]:
    """Where a picture changes most: first row and column, height and width of a part of it.

    Args:
        case: The picture.
        factor: All four are multiples of it.
    """
    plane = case.clean.astype(np.float64).mean(axis=0)
    height, width = (min(SIZE, size) // factor * factor for size in plane.shape)
    energy = np.zeros_like(plane)
    energy[1:] += np.abs(np.diff(plane, axis=0))
    energy[:, 1:] += np.abs(np.diff(plane, axis=1))
    total = np.pad(energy, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    best, place = -1.0, (0, 0)
    stride = 4 * factor
    for row in range(0, plane.shape[0] - height + 1, stride):
        for column in range(0, plane.shape[1] - width + 1, stride):
            value = float(
                total[row + height, column + width]
                - total[row, column + width]
                - total[row + height, column]
                + total[row, column]
            )
            if value > best:
                best, place = value, (row, column)
    return (*place, height, width)


def data_address(planes: NDArray[np.uint8]) -> str:
    """Planes, 1 or 3 of them, as a PNG in a ``data:`` address."""
    if len(planes) == 1:
        image = Image.fromarray(planes[0])
    else:
        image = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
