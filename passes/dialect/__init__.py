"""Our ONNX functions: integer operators whose body is their specification."""
