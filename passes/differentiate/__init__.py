"""Backpropagation as a graph: the training graph of a float model in plain standard ONNX."""
