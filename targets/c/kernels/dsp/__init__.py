"""Kernels for Cortex-M4, M7 and M33: the DSP extension."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels
from intaglio.targets.c.kernels.dsp import convolution, pooling, sums, trained
from intaglio.targets.c.network import Convolution, Pool, Reduction, Sum, TrainedConvolution

KERNELS: Kernels = {
    Convolution: convolution.implement,
    Pool: pooling.average,
    Reduction: pooling.mean,
    Sum: sums.implement,
    TrainedConvolution: trained.implement,
}
