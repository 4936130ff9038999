"""The networks of the zoo to compare with: FSRCNN and ESPCN, in float and in our own int8."""

from __future__ import annotations

from pathlib import Path

import onnx

from benchmarks.common import MissingDataError
from benchmarks.quantization import ours
from benchmarks.quantization.cases import Case, all_cases
from benchmarks.quantization.runners import IntegerRunner, Runner
from benchmarks.restoration.methods import (
    Bicubic,
    Cost,
    LumaNetwork,
    Method,
    convolution_weights,
    initializer_bytes,
)

#: By factor: the case of ``benchmarks.quantization`` (it knows how to calibrate), and the title.
NETWORKS = {
    2: (("fsrcnn_small_x2", "FSRCNN-small"), ("espcn_x2", "ESPCN")),
    4: (("fsrcnn_x4", "FSRCNN"),),
}


def enlarging_peers(
    factor: int, shared: Path, folder: Path, left_out: dict[str, str]
) -> list[Method]:
    """Bicubic enlargement, and each network in float and in int8.

    Args:
        factor: Output pixels for an input pixel, on a side.
        shared: The folder with models and data.
        folder: Where to convert.
        left_out: Gets the reason for each network whose file or calibration pictures are missing.
    """
    found: list[Method] = [Bicubic(factor)]
    for key, title in NETWORKS.get(factor, ()):
        try:
            case = all_cases(shared)[key]()
            proto = onnx.load(str(case.model))
            # Both families work at the size of the input up to their last layer.
            cost = Cost(initializer_bytes(proto), None, convolution_weights(proto))
            made = _integer(case, title, cost.products, folder / key)
        except MissingDataError as error:
            left_out[f"x{factor}, {title}"] = str(error)
            continue
        found.append(LumaNetwork(f"{title}, float", Runner(case.model, case.input), cost))
        found.append(made)
    return found


def _integer(case: Case, title: str, products: int | None, folder: Path) -> Method:
    """The recipe ``int8``, calibrated on pictures of T91."""
    bundle = ours.convert(ours.Variant("default"), case.model, case.input, case.draw(0), folder)
    model = onnx.load(str(bundle.folder / bundle.artifact("onnx-integer").path))
    cost = Cost(initializer_bytes(model), None, products)
    return LumaNetwork(f"{title}, int8", IntegerRunner(bundle), cost)
