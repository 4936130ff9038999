"""Kernels for Cortex-M55 and M85: Helium, the M-profile vector extension."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Kernels
from intaglio.targets.c.kernels.mve import convolution
from intaglio.targets.c.network import Convolution

KERNELS: Kernels = {Convolution: convolution.implement}
