"""Sparse constants made dense.

A sparse tensor is stored level by level, in its traversal order. A dense level of size n gives each
entry before it n children; a compressed one gives entry p the children ``indices[segments[p] :
segments[p + 1]]``. Levels beyond the tensor's rank are the dense blocks that ``block_map`` assigns
to dimensions. Format: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/
internal/utils/sparsity_format_converter.h
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tflite.flatfile import SparseDimension, Sparsity


def to_dense(values: NDArray[Any], sparsity: Sparsity, shape: Sequence[int]) -> NDArray[Any]:
    """The dense tensor that ``values`` stand for.

    Args:
        values: The stored elements, one-dimensional.
        sparsity: Where they belong.
        shape: The dense shape.

    Returns:
        Array of ``shape`` in the dtype of ``values``, zero where nothing is stored.

    Raises:
        ValueError: The description contradicts itself, the shape or the number of values.
    """
    rank = len(shape)
    levels = _levels(sparsity, shape)
    total = math.prod(shape)
    flat: NDArray[np.int64] = np.zeros(1, np.int64)
    for dimension, size, stride in levels:
        flat = _expand(flat, dimension, size, stride, total)
    if flat.size != values.size or rank == 0:
        raise ValueError(f"{values.size} values are stored for {flat.size} places")
    dense = np.zeros(total, values.dtype)
    dense[flat] = values
    return dense.reshape(tuple(shape))


def _levels(sparsity: Sparsity, shape: Sequence[int]) -> list[tuple[SparseDimension, int, int]]:
    """Each level with its size, and how far apart in the dense tensor its indices are."""
    rank, order, blocks = len(shape), sparsity.order, sparsity.block_map
    if sorted(order) != list(range(rank + len(blocks))):
        raise ValueError("the traversal order is no order of the dimensions")
    if len(sparsity.dimensions) != len(order) or any(not 0 <= b < rank for b in blocks):
        raise ValueError("dimensions and blocks do not belong together")
    if len(set(blocks)) != len(blocks):
        raise ValueError("a dimension has two blocks")
    by_dimension = dict(zip(order, sparsity.dimensions, strict=True))
    block_sizes = {d: by_dimension[rank + i].size for i, d in enumerate(blocks)}
    levels = []
    for dimension, index in zip(sparsity.dimensions, order, strict=True):
        if index < rank:
            target, block = index, block_sizes.get(index, 1)
            if block < 1 or shape[target] % block:
                raise ValueError(f"blocks of {block} do not divide {shape[target]}")
            size, step = shape[target] // block, block
        else:
            target, step = blocks[index - rank], 1
            size = dimension.size
        if not dimension.sparse and dimension.size != size:
            raise ValueError(f"a dimension of {size} is stated as {dimension.size}")
        levels.append((dimension, size, step * math.prod(shape[target + 1 :])))
    return levels


def _expand(
    flat: NDArray[np.int64], dimension: SparseDimension, size: int, stride: int, total: int
) -> NDArray[np.int64]:
    """The places of one level's entries, from those of the level before it."""
    if not dimension.sparse:
        if flat.size * size > total:
            raise ValueError("it has more entries than the dense tensor")
        return (flat[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    if dimension.segments is None or dimension.indices is None:
        raise ValueError("a compressed dimension lacks its segments or indices")
    segments = dimension.segments.astype(np.int64)
    indices = dimension.indices.astype(np.int64)
    counts = np.diff(segments)
    if segments.size != flat.size + 1 or (counts < 0).any() or segments[0] != 0:
        raise ValueError("segments do not fit the level before")
    if segments[-1] != indices.size or (indices < 0).any() or (indices >= size).any():
        raise ValueError("indices are outside of their dimension")
    return np.repeat(flat, counts) + indices * stride
