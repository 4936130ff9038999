"""ONNX as a format: reading, and the two ONNX targets."""
