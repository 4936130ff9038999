"""Run a table network's model in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.table_networks.write import network_model
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import ReferenceNetwork
from tests.passes.dialect.one_node import make_session


class Runner:
    """The model of one network, checked by onnx and opened."""

    def __init__(self, network: CentredNetwork | ReferenceNetwork) -> None:
        self.network = network
        proto = ir.to_proto(network_model(network, "network"))
        onnx.checker.check_model(proto, full_check=True)
        self._session = make_session(proto)

    def run(self, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (N, height, width) in, the results likewise."""
        (result,) = self._session.run(None, {"image": planes[:, None]})
        return np.asarray(result[:, 0])

    def check(self, planes: NDArray[np.uint8]) -> None:
        """Compares every pixel with the definition."""
        found = self.run(planes)
        expected = np.stack([self.network.apply(plane) for plane in planes])
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
