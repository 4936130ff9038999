"""A channels-last integer graph as the layers of :mod:`intaglio.targets.c.network`."""

from intaglio.targets.c.grouping.read import Grouped, read_network

__all__ = ["Grouped", "read_network"]
