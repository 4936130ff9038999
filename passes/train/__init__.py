"""From an inference graph to a training step: which tensors train, and what a step does."""
