"""Cutting a graph in two: where that can be done, and the codec between the halves."""
