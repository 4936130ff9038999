"""The training step of a model in C: two inferences a probe, in place, in the arena of one."""
