"""Training on data: order of the samples, checkpoints, and the loop over the steps."""
