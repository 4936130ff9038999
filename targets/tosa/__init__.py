"""TOSA 1.0: the operator set that NPUs are specified against, and its reference model."""
