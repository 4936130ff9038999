"""What a rotation does to the taps of a window and to the sub-pixels of a cell.

With ``T = rot90(P, k)`` the pixel ``T[i + a, j + b]`` stands in P, seen from the place of
``T[i, j]``, at ``(a, b)``, ``(b, -a)``, ``(-a, -b)`` or ``(-b, a)`` for k = 0 to 3. Windows reach
two rows up and two columns left in T: up in P for k = 0 and 1, down for k = 2 and 3.
"""

from __future__ import annotations

ROTATIONS = 4


def taps(rotation: int) -> list[tuple[int, int]]:
    """Of the nine taps, row by row in the turned window: line and column in the picture.

    Args:
        rotation: Quarter turns.

    Returns:
        Line 0 to 2 of the three that the window covers, from top to bottom, and the column's
        distance from the cell.
    """
    found = []
    for tap in range(9):
        a, b = tap // 3 - 2, tap % 3 - 2
        down, right = ((a, b), (b, -a), (-a, -b), (-b, a))[rotation]
        found.append((down + 2 if rotation < 2 else down, right))
    return found


def sub_pixels(rotation: int, upscale: int) -> list[int]:
    """For each sub-pixel of a cell, row by row, which one of the turned cell it is."""
    last = upscale - 1
    found = []
    for place in range(upscale**2):
        y, x = divmod(place, upscale)
        a, b = ((y, x), (last - x, y), (last - y, last - x), (x, last - y))[rotation]
        found.append(a * upscale + b)
    return found
