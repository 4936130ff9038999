"""Fixed-point forward gradients: the numbers that every runtime computes bit for bit.

A training step evaluates the loss at ``w + d`` and at ``w - d``, takes the sign of the difference
and moves the weights along ``d`` by a fixed step: a sign-based simultaneous perturbation (SPSA, m
probes). Source: Feng et al., "Stepping Forward on the Last Mile", NeurIPS 2024 (QZO-FF), in our own
fixed-point definition (``docs/design/forward-gradient.md``).
"""
