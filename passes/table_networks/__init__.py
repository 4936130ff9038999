"""Table networks as ONNX: written as layers of the dialect, and recognized in a model."""
