"""The structures of ``split_codec.h`` and ``split_fast.h`` for ctypes, filled."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.split.tables import crc_tables, fast_tables, starts_of
from intaglio.transforms.split.specification import CODINGS, CodecSpecification, Feature

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_uint32


class StripeStructure(ctypes.Structure):
    """``split_stripe``."""

    _fields_ = (("channels", _NUMBER), ("levels", _NUMBER), ("starts", _POINTER))


class FeatureStructure(ctypes.Structure):
    """``split_feature``."""

    _fields_ = (
        ("channels", _NUMBER),
        ("rows", _NUMBER),
        ("columns", _NUMBER),
        ("lanes", _NUMBER),
        ("caps", _NUMBER * 3),
        ("side_bytes", _NUMBER),
        ("stripe_count", _NUMBER),
        ("stripes", _POINTER),
        ("references", _POINTER),
    )


class FastStructure(ctypes.Structure):
    """``struct split_fast_feature``."""

    _fields_ = (
        ("reciprocals", _POINTER),
        ("pairs", _POINTER),
        ("entry_bases", _POINTER),
        ("rows", _POINTER),
        ("row_bases", _POINTER),
        ("steps", _POINTER),
        ("words", _NUMBER),
        ("reference_step", _NUMBER),
    )


class FastListStructure(ctypes.Structure):
    """``struct split_fast``."""

    _fields_ = (("features", _POINTER),)


class CodecStructure(ctypes.Structure):
    """``split_codec``."""

    _fields_ = (
        ("session", _NUMBER),
        ("coding", _NUMBER),
        ("codes", _NUMBER),
        ("side_bytes", _NUMBER),
        ("lanes", _NUMBER),
        ("feature_count", _NUMBER),
        ("features", _POINTER),
        ("crc_tables", _POINTER),
        ("fast", _POINTER),
    )


class FilledCodec:
    """A ``split_codec`` in memory, with all that it points to.

    Args:
        specification: What it says.
        fast: Whether it has the tables of the fast coder.

    Attributes:
        structure: The ``split_codec``.
    """

    def __init__(self, specification: CodecSpecification, fast: bool = True) -> None:
        # C has addresses only: what they point to lives as long as this.
        self._kept: list[Any] = []
        features = [self._feature(f, specification.coding) for f in specification.features]
        # The fast tables are arrays of words whose halves and quarters C reads one by one.
        tables = fast and specification.coding == "rans" and sys.byteorder == "little"
        self.structure = CodecStructure(
            session=specification.session,
            coding=CODINGS.index(specification.coding),
            codes=specification.codes,
            side_bytes=specification.side_bytes,
            lanes=max(feature.lanes for feature in specification.features),
            feature_count=len(features),
            features=self._list(FeatureStructure, features),
            crc_tables=self._array(crc_tables()) if fast else None,
            fast=self._fast(specification.features) if tables else None,
        )

    def _feature(self, feature: Feature, coding: str) -> FeatureStructure:
        coded = coding == "rans"
        stripes = [
            StripeStructure(s.channels, s.levels, self._array(starts_of(s)) if coded else None)
            for s in feature.stripes
        ]
        rows, columns = feature.code_plane
        used = coded and feature.caps[2] > 0 and max(feature.references) >= 0
        return FeatureStructure(
            channels=feature.code_channels,
            rows=rows,
            columns=columns,
            lanes=feature.lanes,
            caps=(_NUMBER * 3)(*feature.caps),
            side_bytes=feature.side_bytes,
            stripe_count=len(stripes),
            stripes=self._list(StripeStructure, stripes),
            references=self._array(np.array(feature.references, np.int32)) if used else None,
        )

    def _fast(self, features: Sequence[Feature]) -> int:
        filled = []
        for feature in features:
            tables = fast_tables(feature)
            if tables is None:
                filled.append(FastStructure())
                continue
            arrays = ("reciprocals", "pairs", "entry_bases", "rows", "row_bases", "steps")
            filled.append(
                FastStructure(
                    words=tables.words,
                    reference_step=tables.reference_step,
                    **{name: self._array(getattr(tables, name)) for name in arrays},
                )
            )
        return self._list(FastListStructure, [FastListStructure(self._list(FastStructure, filled))])

    def _list(self, kind: type[ctypes.Structure], items: Sequence[ctypes.Structure]) -> int:
        array = (kind * len(items))(*items)
        self._kept.append(array)
        return ctypes.addressof(array)

    def _array(self, array: NDArray[Any]) -> int:
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return int(array.ctypes.data)
