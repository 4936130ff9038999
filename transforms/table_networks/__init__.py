"""Image networks whose layers are look-up tables: the integers that every runtime computes.

A layer sums one-dimensional tables, one for each input channel or tap (Li et al., "TinyLUT",
NeurIPS 2024). Two structures: the paper's, with two bit branches and four rotations
(:mod:`reference`), and our own without rotations (:mod:`centred`).
"""
