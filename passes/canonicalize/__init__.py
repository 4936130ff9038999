"""Canonical form: the few shapes of graph that quantization and lowering know."""
